"""The bridge: the only door between a program and the world.

Every call of every program on every rung passes `admit` and then `perform`, in this order:

    decode → known and shown? → arguments fit? → decide → intent (journal) → connector → result fits? → redact → outcome (journal)

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
from typing import Any, Protocol, cast

from inhabit.contracts.connector import Call, Connector
from inhabit.contracts.operation import Operation
from inhabit.contracts.principal import Principal
from inhabit.contracts.program import IssuedCall
from inhabit.contracts.run import Blobs, Intent, Outcome, Recorder, Ticket, Write
from inhabit.errors import (
    Denied,
    InhabitError,
    InvalidInput,
    LimitExceeded,
    NotFound,
    ProtocolError,
)
from inhabit.kernel.decide import Decision, Facts, decide, settled
from inhabit.kernel.flow import Source, labels_of
from inhabit.kernel.policy import NO_POLICY
from inhabit.limits import MAX_JSON_DEPTH
from inhabit.runtime.binaries import CallBlobs
from inhabit.runtime.bodies import NAME_CHARS, binaries_in, canonical, error_body, result_body
from inhabit.runtime.calling import Calling
from inhabit.runtime.context import NO_CONTROL, Admitted, Control, RunContext, Standing
from inhabit.runtime.schemas import Validators
from inhabit.runtime.shaping import ResultRules, discreet
from inhabit.wire.values import TOO_MANY_ITEMS, decode_value, encode_value

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

    def admit_recorded(self, context: RunContext, issued: IssuedCall, intent: Intent) -> Admitted:
        """A call that the journal has: as it was decided then. Its operation may be gone by now."""
        context.count(len(issued.arguments))
        context.book(intent.decision.get("counts", ()))
        if self._control.policy(context.principal) is not NO_POLICY:
            context.history.append({"operation": intent.operation, "args": decode_value(intent.arguments), "ok": intent.decision.get("verdict") != "deny"})
        return Admitted(issued, intent, None, {})

    def _admitted(self, context: RunContext, issued: IssuedCall, body: bytes, *, approved: bool) -> Admitted:
        now_ms = self._now_ms()
        standing, arguments, decision = None, dict[str, Any](), _REFUSED
        error: InhabitError | None = None
        also: tuple[Write, ...] = ()
        try:
            standing = self._standing(context, issued.operation)
            operation = standing.operation
            arguments = self._arguments(context, operation, body)
            decision = standing.decision or decide(
                Facts(operation, arguments, now_ms, context.granted_calls, context.run, context.labels, context.charges,
                      approved), context.grant, standing.policy)
            if decision.verdict == "deny":
                raise Denied(f"{operation.name}: {decision.reason}", details=decision.as_value())
            if context.in_flight >= context.limits.calls_in_flight:
                raise LimitExceeded.of("calls_in_flight", context.limits.calls_in_flight, "calls", what=operation.name,
                                       fix="await some of the calls before making more")
            if decision.verdict == "allow":
                also = self._book(context, decision)
            if decision.verdict != "ask":
                context.in_flight += 1
        except InhabitError as refused:
            error = refused
        if standing is not None and standing.policy is not NO_POLICY:
            context.history.append({"operation": issued.operation, "args": arguments, "ok": error is None})
        return Admitted(issued, _intent(context, issued, standing, arguments, body, decision, error, now_ms), standing, arguments, error, also)

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
        labels: tuple[str, ...] = ()
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
            labels = self._label(context, admitted)
        if error is not None:
            body = error_body(error, admitted.issued.operation)
        outcome = Outcome(admitted.issued.sequence, error is None, body,
                          round((time.perf_counter() - started) * 1000, 3), self._now_ms(), labels, blobs.kept, held)
        context.count(len(body))
        self._journal.append(context.run_id, outcome)
        context.binaries.update(blobs.kept)
        return outcome

    def refuse(self, context: RunContext, issued: IssuedCall, error: InhabitError) -> Outcome:
        """Record that a call that was asked for will not be made."""
        outcome = Outcome(issued.sequence, False, error_body(error, issued.operation), 0.0, self._now_ms())
        context.count(len(outcome.value))
        self._journal.append(context.run_id, outcome)
        return outcome

    def _label(self, context: RunContext, admitted: Admitted) -> tuple[str, ...]:
        """What the answer brings joins the run's labels before it is delivered, an error's words like a result's."""
        assert admitted.standing is not None
        brought = labels_of(admitted.standing.operation.effects, Source(admitted.issued.operation, admitted.issued.sequence))
        context.labels = context.labels.joined(brought)
        return brought.names

    def learn_binaries(self, context: RunContext, given: bytes) -> None:
        """A run may use the references in its input: they are the word of whoever starts it."""
        context.binaries |= binaries_in(given)

    # -- admitting ----------------------------------------------------------------------------------------

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

    def _arguments(self, context: RunContext, operation: Operation, body: bytes) -> dict[str, Any]:
        if len(body) > context.limits.value_bytes:
            raise LimitExceeded.of("value_bytes", context.limits.value_bytes, "bytes", what=f"the argument of {operation.name}")
        try:
            value = decode_value(body, max_depth=MAX_JSON_DEPTH, max_items=context.limits.value_items)
        except ProtocolError as error:
            if error.specific_code == TOO_MANY_ITEMS:
                raise LimitExceeded.of("value_items", context.limits.value_items, "items", what=f"the argument of {operation.name}") from None
            raise InvalidInput(f"{operation.name}: {error.message}", code="arguments_invalid") from None
        if not isinstance(value, dict):
            raise InvalidInput(f"{operation.name} takes one object of named arguments", code="arguments_invalid")
        arguments = cast(dict[str, Any], value)
        self._validators.arguments(operation, arguments)
        if not binaries_in(body) <= context.binaries:
            raise InvalidInput(f"{operation.name}: a $binary reference that this run was not given", code="arguments_invalid")
        return arguments

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
        value = await self._calling.reach(self._directory.connector_of(operation), call, loop, standing.limit_ms)
        if context.holder is not None:
            value = await context.holder.read(context, admitted, value)
        body = result_body(operation, value, context.limits)
        self._validators.result(operation, value, len(body))
        if standing.results:
            value = self._result_rules.shaped(operation, standing.results, context.run, value)
            body = result_body(operation, value, context.limits)
        if operation.output_schema is None:
            self._directory.observe(operation, context.principal, value)
        return body

    async def _hold(self, context: RunContext, admitted: Admitted) -> bytes:
        assert admitted.standing is not None
        operation = admitted.standing.operation
        if context.holder is None:
            raise Denied(f"{operation.name} is held for review, and this run has nobody to hold it", fix="run it with mode=\"plan\"")
        answer = await context.holder.answer(context, admitted)
        if admitted.standing.results:
            answer = self._result_rules.shaped(operation, admitted.standing.results, context.run, answer)
        return result_body(operation, answer, context.limits)


def _intent(context: RunContext, issued: IssuedCall, standing: Standing | None, arguments: dict[str, Any], body: bytes,
            decision: Decision, error: InhabitError | None, now_ms: int) -> Intent:
    shown: dict[str, Any] = {"verdict": decision.verdict, "rule": decision.rule, "reason": decision.reason}
    if error is not None:
        shown = {**(shown if decision.verdict != "allow" else {"verdict": "deny", "rule": "limits"}), "reason": error.message}
    elif decision.charges:
        shown["counts"] = [charge.key for charge in decision.charges if charge.window_ms is None]
    effective = standing if error is None else None
    return Intent(
        issued.sequence, issued.operation[:NAME_CHARS],
        encode_value(arguments, canonical=True) if arguments else canonical(body),
        shown, standing.schema_hash if standing is not None else "", f"{context.run_id}:{issued.sequence}",
        effective is not None and effective.may_write, effective is not None and effective.idempotent, now_ms)


_HASHES_KEPT = 4_000
_STANDINGS_KEPT = 256
_REFUSED = Decision("deny", "bridge", "refused before a decision")
