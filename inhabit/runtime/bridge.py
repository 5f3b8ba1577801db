"""The bridge: the only door between a program and the world.

Every call of every program on every rung passes `admit` and then `perform`, in this order:

    decode → known and shown? → handles → arguments fit? → decide → intent (journal) → connector → result fits? → redact → outcome (journal)

Invariants
- Nothing is called that was not decided and whose intent was not handed to the journal first; where the call
  may write, the intent is on disk before the connector is reached. No record, no effect.
- `admit` is synchronous and is applied to the calls of a turn in program order, so intents stand in that order.
- Who calls (principal, grant, run) comes from the run's own context, never from what the program sent.
- A program receives plain data: values, or an error as `{code, message, ...}`. Nothing of the host's exceptions.
- The bridge never retries.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from inhabit.contracts.connector import Call, Connector
from inhabit.contracts.operation import Operation
from inhabit.contracts.principal import Principal
from inhabit.contracts.program import IssuedCall
from inhabit.contracts.run import Blobs, Intent, Outcome, Recorder, Ticket, Write
from inhabit.errors import Denied, InhabitError, InvalidInput, LimitExceeded, NotFound
from inhabit.kernel.decide import Decision, Facts, decide, settled
from inhabit.kernel.policy import NO_POLICY
from inhabit.runtime.binaries import CallBlobs
from inhabit.runtime.bodies import binaries_in, error_body, result_body
from inhabit.runtime.calling import Calling
from inhabit.runtime.context import NO_CONTROL, Admitted, Control, RunContext, Standing
from inhabit.runtime.handles import SUFFIX, Given, kept_error, only_reads, told_by, veiled
from inhabit.runtime.intents import UNDECIDED, brought_by, decoded, intended
from inhabit.runtime.previewing import Previews, previewed
from inhabit.runtime.reconciling import Reconciling, Settled
from inhabit.runtime.schemas import Validators
from inhabit.runtime.shaping import ResultRules, discreet
from inhabit.wire.values import decode_value, encode_value

__all__ = ["Bridge", "Directory"]

class Directory(Protocol):
    """Where operations and their connectors are found (the catalog, joined with the connectors)."""

    def operation(self, name: str) -> Operation | None: ...

    def connector_of(self, operation: Operation) -> Connector: ...

    def nearest(self, name: str, visible: Callable[[str], bool] | None) -> tuple[str, ...]: ...

    def observe(self, operation: Operation, principal: Principal, value: Any) -> None: ...


class Bridge:
    """One for the whole server: it holds no state of any run."""

    def __init__(self, directory: Directory, journal: Recorder, blobs: Blobs, now_ms: Callable[[], int],
                 control: Control = NO_CONTROL) -> None:
        self._directory = directory
        self._journal = journal
        self._blobs = blobs
        self._now_ms = now_ms
        self._control = control
        self._validators = Validators()
        self._result_rules = ResultRules()
        self._calling = Calling()
        self._previews = Previews(directory, self._calling, self._result_rules, now_ms)
        self._reconciling = Reconciling(directory, self._validators, self._result_rules, self._calling, blobs)
        self._hashes: OrderedDict[str, tuple[Operation, str]] = OrderedDict()

    @property
    def approval_ms(self) -> int:
        """How long a question stays open."""
        return self._control.approval_ms

    def admit(self, context: RunContext, issued: IssuedCall) -> Admitted:
        """Decode, check and decide. Never raises for what the program sent; raises `LimitExceeded` when the
        run as a whole is over its bounds. A call that is asked or held is admitted with that verdict and nothing booked.
        """
        context.count(len(issued.arguments))
        return self._admitted(context, issued, issued.arguments, approved=False)

    def admit_approved(self, context: RunContext, issued: IssuedCall, edited: bytes | None) -> Admitted:
        """Decide a call that a person approved, as it stood or as they edited it: anew, with the approval in hand."""
        return self._admitted(context, issued, issued.arguments if edited is None else edited, approved=True)

    def admit_again(self, context: RunContext, issued: IssuedCall, made: Intent, *, approved: bool = False) -> Admitted:
        """Decide a recorded call whose answer was lost and which is made again: anew, but what it was charged it is not
        charged again. One that is refused now may have taken effect then, unless `approved` says that it has not.
        """
        again = self._admitted(context, issued, made.arguments, approved=approved, made=made)
        if again.error is not None and not approved and made.may_write:
            again.error.effect = "unknown"
        return again

    def admit_recorded(self, context: RunContext, issued: IssuedCall, intent: Intent) -> None:
        """Count a call that the journal has, as it was decided then. Its operation may be gone by now."""
        context.count(len(issued.arguments))
        context.repeated(issued, intent)
        if self._control.policy(context.principal) is not NO_POLICY:
            context.history.append({"operation": intent.operation, "args": decode_value(intent.arguments), "ok": intent.decision.get("verdict") != "deny"})

    def _admitted(self, context: RunContext, issued: IssuedCall, body: bytes, *, approved: bool,
                  made: Intent | None = None) -> Admitted:
        now_ms = self._now_ms()
        standing, arguments, decision, given = None, dict[str, Any](), _REFUSED, Given({})
        name, kept = self._meant(issued.operation)
        error: InhabitError | None = None
        also: tuple[Write, ...] = ()
        try:
            standing = self._standing(context, name)
            operation = standing.operation
            if kept:
                only_reads(operation)
            arguments = decoded(context, operation, body)
            given = context.handles.given(arguments, body, context.limits.value_bytes, operation)
            self._fits(context, operation, given, body)
            reviewed = context.approves(issued, standing, arguments)
            usage = (context.granted_calls, context.charges) if made is None else context.without(made)
            decision = standing.decision or decide(
                Facts(operation, given.value, now_ms, usage[0], context.run, context.labels.joined(given.labels),
                      usage[1], approved or reviewed is not None, reviewed or frozenset(), *context.provenance(issued.sequence, operation, given)), context.grant, standing.policy)
            context.agrees(issued, standing, decision)
            if decision.verdict == "deny":
                raise Denied(f"{operation.name}: {decision.reason}", details=decision.as_value(), fix=_FLOW_FIX if "information flow" in decision.rule else None)
            if context.in_flight >= context.limits.calls_in_flight:
                raise LimitExceeded.of("calls_in_flight", context.limits.calls_in_flight, "calls", what=operation.name,
                                       fix="await some of the calls before making more")
            if decision.verdict == "allow" and made is None:
                also = self._book(context, decision)
            if decision.verdict != "ask":
                context.in_flight += 1
        except InhabitError as refused:
            error = refused
        if standing is not None and standing.policy is not NO_POLICY and made is None:
            context.history.append({"operation": issued.operation, "args": arguments, "ok": error is None})
        intent = intended(context, issued, standing, arguments, body, decision, error, now_ms)
        shown = veiled(error, name) if error is not None and given.any else error
        return Admitted(issued, intent, standing, given.value, shown, also, given.labels, kept)

    def _book(self, context: RunContext, decision: Decision) -> tuple[Write, ...]:
        if not decision.charges:
            return ()
        context.book([charge.key for charge in decision.charges if charge.window_ms is None])
        return context.charges.reserve(decision.charges, context.run_id)

    async def perform(self, context: RunContext, admitted: Admitted, recorded: Ticket,
                      progress: Callable[[str], None]) -> Outcome:
        """Carry out an admitted call once its intent is recorded, and record how it ended.

        Raises `Unavailable` when the journal cannot record, `LimitExceeded` when the run's quota is used up,
        and `asyncio.CancelledError`; every failure of the call itself is an outcome.
        """
        started = time.perf_counter()
        error = admitted.error
        held = admitted.verdict == "hold"
        blobs = CallBlobs(self._blobs)
        body = b""
        brought = told_by(error, admitted.carried)
        if error is None:
            try:
                if admitted.intent.may_write and not held:
                    await recorded.durable()
                body = await (self._hold(context, admitted) if held else self._carry_out(context, admitted, blobs, progress))
            except InhabitError as failed:
                if failed.code == "unavailable":
                    raise
                assert admitted.standing is not None
                error = discreet(admitted.standing.results, context.run, failed)
            finally:
                context.in_flight -= 1
            brought = brought_by(admitted, self._still(context, previewed(admitted)) if held else None)
        if error is not None:
            body = error_body(error, admitted.issued.operation)
        kept = body if admitted.kept and admitted.error is None else None
        if kept is not None:
            body = context.handles.new() if error is None else kept_error()
        outcome = Outcome(admitted.issued.sequence, error is None, body,
                          round((time.perf_counter() - started) * 1000, 3), self._now_ms(), brought.names, blobs.kept, held, kept,
                          context.holder.seen(admitted.issued.sequence) if context.holder is not None else "")
        context.count(len(body) + len(kept or b""))
        self._journal.append(context.run_id, outcome)
        context.learn(admitted.intent, outcome, brought)
        return outcome

    def refuse(self, context: RunContext, issued: IssuedCall, error: InhabitError) -> Outcome:
        """Record that a call that was asked for will not be made."""
        outcome = Outcome(issued.sequence, False, error_body(error, issued.operation), 0.0, self._now_ms())
        context.count(len(outcome.value))
        self._journal.append(context.run_id, outcome)
        return outcome

    async def reconciled(self, context: RunContext, target: Intent) -> Settled:
        """Whether a call that nobody knows the end of took effect, as far as its operation can say. Raises nothing of it."""
        return await self._reconciling.ask(context, target, self._still(context, target.operation), self._now_ms())

    def settled(self, context: RunContext, issued: IssuedCall, target: Intent, settled: Settled) -> Outcome:
        """Record the outcome of a call whose end is known by now; `issued` may be the one that asked for it (a rollback's)."""
        told = self._reconciling.told(context, issued, target, self._still(context, target.operation), settled)
        outcome = Outcome(issued.sequence, told.ok, told.body, 0.0, self._now_ms(), told.labels.names)
        context.count(len(told.body))
        self._journal.append(context.run_id, outcome)
        context.learn(target, outcome, told.labels)
        return outcome

    # -- admitting ----------------------------------------------------------------------------------------

    def _meant(self, called: str) -> tuple[str, bool]:
        """The operation that a call means, and whether its result is to stay here, behind a handle."""
        kept = called.endswith(SUFFIX) and self._directory.operation(called) is None
        return (called.removesuffix(SUFFIX), True) if kept else (called, False)

    def _standing(self, context: RunContext, name: str) -> Standing:
        """Raises `NotFound` for what is not there or not shown. A grant never changes within a run; an operation and the
        policy may.
        """
        held = context.standings.get(name)
        operation = self._directory.operation(name) if held is not None or context.grant.shows(name) else None
        if operation is None:
            nearest = self._directory.nearest(name, context.grant.shows)
            raise NotFound(f"there is no operation {name!r}" + (f"; nearest: {', '.join(nearest)}" if nearest else ""),
                           fix="use search to find operations", details={"nearest": list(nearest)}, code="unknown_operation")
        policy = self._control.policy(context.principal)
        if held is None or held.operation is not operation or held.policy is not policy:
            if len(context.standings) >= _STANDINGS_KEPT:
                context.standings.clear()
            self._validators.ready(operation)
            most_ms = context.limits.call_ms
            held = context.standings[name] = Standing(
                operation, self._schema_hash(operation), operation.effects.may_write, operation.effects.idempotent,
                min(operation.timeout_ms or most_ms, most_ms),
                settled(operation, context.grant, policy, planning=context.run.planning), policy, policy.applicable(operation).results)
        return held

    def _still(self, context: RunContext, name: str) -> Standing | None:
        try:
            return self._standing(context, name) if name else None
        except InhabitError:
            return None

    def _fits(self, context: RunContext, operation: Operation, given: Given, body: bytes) -> None:
        """Raises `InvalidInput` for arguments that break the schema or refer to bytes that the run was not given."""
        self._validators.arguments(operation, given.whole())
        if not binaries_in(body) <= context.binaries or (
                given.any and not binaries_in(encode_value(given.value)) <= context.binaries | context.handles.binaries):
            raise InvalidInput(f"{operation.name}: a $binary reference that this run was not given", code="arguments_invalid")

    def _schema_hash(self, operation: Operation) -> str:
        """The pin of an operation, computed once for as long as the connector gives the same object."""
        held = self._hashes.get(operation.name)
        if held is None or held[0] is not operation:
            held = self._hashes[operation.name] = (operation, operation.schema_hash())
            if len(self._hashes) > _HASHES_KEPT:
                self._hashes.popitem(last=False)
        return held[1]

    # -- performing ---------------------------------------------------------------------------------------

    async def _carry_out(self, context: RunContext, admitted: Admitted, blobs: CallBlobs, progress: Callable[[str], None]) -> bytes:
        standing = admitted.standing
        assert standing is not None, "an admitted call without error has an operation"
        operation = standing.operation
        loop = asyncio.get_running_loop()
        call = Call(
            operation, admitted.arguments, context.principal, context.run_id, admitted.issued.sequence,
            admitted.intent.idempotency_key, loop.time() + standing.limit_ms / 1000, blobs, progress)
        live = partial(self._calling.reach, self._directory.connector_of(operation), call, loop, standing.limit_ms)
        shaped = partial(self._result_rules.shaped, operation, standing.results, context.run)
        value = await (live() if context.holder is None else context.holder.read(admitted, live, shaped))
        body = result_body(operation, value, context.limits)
        self._validators.result(operation, value, len(body))
        if standing.results:
            body = result_body(operation, value := shaped(value), context.limits)
        if operation.output_schema is None:
            self._directory.observe(operation, context.principal, value)
        return body

    async def _hold(self, context: RunContext, admitted: Admitted) -> bytes:
        assert admitted.standing is not None
        operation = admitted.standing.operation
        if context.holder is None:
            raise Denied(f"{operation.name} is held for review, and this run has nobody to hold it", fix="run it as a plan, which holds it and is applied later, or let the policy ask a person")
        preview = self._still(context, previewed(admitted))
        answer = await context.holder.answer(admitted, preview and partial(self._previews.ask, context, admitted, preview))
        if admitted.standing.results:
            answer = self._result_rules.shaped(operation, admitted.standing.results, context.run, answer)
        return result_body(operation, answer, context.limits)


_HASHES_KEPT = 4_000
_STANDINGS_KEPT = 256
_FLOW_FIX = "confirm what these operations do (inhabit effects review), pass data on as a handle, or run where a person can be asked"
_REFUSED = Decision("deny", UNDECIDED, "refused before a decision")
