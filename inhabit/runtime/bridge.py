"""The bridge: the only door between a program and the world.

Every call of every program on every rung passes `admit` and then `perform`, in this order:

    decode → known and shown? → arguments fit? → decide → intent (journal) → connector → result fits? → outcome (journal)

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
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, cast

from inhabit.contracts.connector import Call, Connector
from inhabit.contracts.operation import Operation
from inhabit.contracts.principal import Principal
from inhabit.contracts.program import IssuedCall
from inhabit.contracts.run import Blobs, Intent, Outcome, Recorder, Ticket
from inhabit.errors import (
    CallError,
    CallTimeout,
    Denied,
    InhabitError,
    InvalidInput,
    LimitExceeded,
    NotFound,
    ProtocolError,
)
from inhabit.kernel.decide import Decision, Facts, decide, settled
from inhabit.kernel.grants import Grant
from inhabit.limits import MAX_JSON_DEPTH, Limits
from inhabit.runtime.binaries import CallBlobs
from inhabit.runtime.bodies import NAME_CHARS, binaries_in, error_body, readable, result_body
from inhabit.runtime.deadlines import Deadlines
from inhabit.runtime.schemas import Validators
from inhabit.wire.values import TOO_MANY_ITEMS, decode_value, encode_value

__all__ = ["Admitted", "Bridge", "Directory", "RunContext"]

_log = logging.getLogger(__name__)


class Directory(Protocol):
    """Where operations and their connectors are found (the catalog, joined with the connectors)."""

    def operation(self, name: str) -> Operation | None: ...

    def connector_of(self, operation: Operation) -> Connector: ...

    def nearest(self, name: str, visible: Callable[[str], bool] | None) -> tuple[str, ...]: ...

    def observe(self, operation: Operation, principal: Principal, value: Any) -> None: ...


class Standing(NamedTuple):
    """What all calls of one operation in one run have in common. `decision`: None where the grant looks at each call."""

    operation: Operation
    schema_hash: str
    may_write: bool
    idempotent: bool
    limit_ms: int
    decision: Decision | None


@dataclass(slots=True)
class RunContext:
    """One run's authority and counters; lives on the host, survives a resume by being rebuilt from the journal."""

    run_id: str
    principal: Principal
    grant: Grant
    limits: Limits
    granted_calls: dict[str, int] = field(default_factory=dict[str, int])
    standings: dict[str, Standing] = field(default_factory=dict[str, Standing])
    binaries: set[str] = field(default_factory=set[str])
    journaled_bytes: int = 0
    in_flight: int = 0

    def count(self, size: int) -> None:
        """Raises `LimitExceeded` once the run has recorded more than it may."""
        self.journaled_bytes += size
        if self.journaled_bytes > self.limits.journal_bytes:
            raise LimitExceeded.of("journal_bytes", self.limits.journal_bytes, "bytes")


class Admitted(NamedTuple):
    """A call that was decided. `error` is set when it is already over: refused, and why."""

    issued: IssuedCall
    intent: Intent
    standing: Standing | None
    arguments: dict[str, Any]
    error: InhabitError | None = None


class Bridge:
    """One for the whole server: it holds no state of any run."""

    def __init__(self, directory: Directory, journal: Recorder, blobs: Blobs, now_ms: Callable[[], int]) -> None:
        self._directory = directory
        self._journal = journal
        self._blobs = blobs
        self._now_ms = now_ms
        self._validators = Validators()
        self._deadlines = Deadlines()
        self._hashes: OrderedDict[str, tuple[Operation, str]] = OrderedDict()

    def admit(self, context: RunContext, issued: IssuedCall) -> Admitted:
        """Decode, check and decide. Never raises for what the program sent; raises `LimitExceeded` when the
        run as a whole is over its bounds.
        """
        context.count(len(issued.arguments))
        now_ms = self._now_ms()
        standing, arguments, decision = None, dict[str, Any](), _REFUSED
        error: InhabitError | None = None
        try:
            standing = self._standing(context, issued.operation)
            operation = standing.operation
            arguments = self._arguments(context, operation, issued.arguments)
            decision = standing.decision or decide(Facts(operation, arguments, now_ms, context.granted_calls), context.grant)
            if decision.verdict != "allow":
                raise Denied(f"{operation.name}: {decision.reason}", details=decision.as_value())
            if context.in_flight >= context.limits.calls_in_flight:
                raise LimitExceeded.of("calls_in_flight", context.limits.calls_in_flight, "calls", what=operation.name,
                                       fix="await some of the calls before making more")
            for charge in decision.charges:
                context.granted_calls[charge.key] = context.granted_calls.get(charge.key, 0) + int(charge.amount)
            context.in_flight += 1
        except InhabitError as refused:
            error = refused
        return Admitted(issued, _intent(context, issued, standing, arguments, decision, error, now_ms), standing, arguments, error)

    async def perform(self, context: RunContext, admitted: Admitted, recorded: Ticket,
                      progress: Callable[[str], None]) -> Outcome:
        """Carry out an admitted call once its intent is recorded, and record how it ended.

        Raises `Unavailable` when the journal cannot record, `LimitExceeded` when the run's quota is used up,
        and `asyncio.CancelledError`; every failure of the call itself is an outcome.
        """
        started = time.perf_counter()
        error = admitted.error
        blobs = CallBlobs(self._blobs)
        body = b""
        if error is None:
            try:
                if admitted.intent.may_write:
                    await recorded.durable()
                body = await self._carry_out(context, admitted, blobs, progress)
            except InhabitError as failed:
                if failed.code == "unavailable":
                    raise
                error = failed
            finally:
                context.in_flight -= 1
        if error is not None:
            body = error_body(error, admitted.issued.operation)
        outcome = Outcome(admitted.issued.sequence, error is None, body,
                          round((time.perf_counter() - started) * 1000, 3), self._now_ms(), (), blobs.kept)
        context.count(len(body))
        self._journal.append(context.run_id, outcome)
        context.binaries.update(blobs.kept)
        return outcome

    def learn_binaries(self, context: RunContext, given: bytes) -> None:
        """A run may use the references in its input: they are the word of whoever starts it."""
        context.binaries |= binaries_in(given)

    # -- admitting ----------------------------------------------------------------------------------------

    def _standing(self, context: RunContext, name: str) -> Standing:
        """Raises `NotFound` for what is not there or not shown. A grant never changes within a run, an operation may."""
        held = context.standings.get(name)
        operation = self._directory.operation(name) if held is not None or context.grant.shows(name) else None
        if operation is None:
            nearest = self._directory.nearest(name, context.grant.shows)
            raise NotFound(f"there is no operation {name!r}" + (f"; nearest: {', '.join(nearest)}" if nearest else ""),
                           fix="use search to find operations", details={"nearest": list(nearest)}, code="unknown_operation")
        if held is None or held.operation is not operation:
            if len(context.standings) >= _STANDINGS_KEPT:
                context.standings.clear()
            self._validators.ready(operation)
            most_ms = context.limits.call_ms
            held = context.standings[name] = Standing(
                operation, self._schema_hash(operation), operation.effects.may_write, operation.effects.idempotent,
                min(operation.timeout_ms or most_ms, most_ms), settled(operation, context.grant))
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
        value = await self._ask(self._directory.connector_of(operation), call, loop, standing.limit_ms)
        body = result_body(operation, value, context.limits)
        self._validators.result(operation, value, len(body))
        if operation.output_schema is None:
            self._directory.observe(operation, context.principal, value)
        return body

    async def _ask(self, connector: Connector, call: Call, loop: asyncio.AbstractEventLoop, limit_ms: int) -> Any:
        operation = call.operation
        doubt = "unknown" if operation.effects.may_write else "none"
        try:
            with self._deadlines.at(loop, call.deadline_s):
                return await connector.call(call)
        except TimeoutError:
            raise CallTimeout(f"{operation.name} did not answer within {limit_ms} ms", effect=doubt,
                              fix="it may have taken effect: read before trying again" if doubt == "unknown" else None) from None
        except InhabitError:
            raise
        except Exception as error:  # noqa: BLE001 - the one place where a stranger's code is called
            # The program learns that it failed, never how our inside looks; the operator reads the log.
            _log.exception("connector %s failed in %s (run %s)", connector.name, operation.name, call.run_id)
            raise CallError(f"{operation.name} failed inside its connector ({type(error).__name__})", effect=doubt) from None


def _intent(context: RunContext, issued: IssuedCall, standing: Standing | None, arguments: dict[str, Any],
            decision: Decision, error: InhabitError | None, now_ms: int) -> Intent:
    shown: dict[str, Any] = {"verdict": decision.verdict, "rule": decision.rule, "reason": decision.reason}
    if error is not None:
        shown = {**(shown if decision.verdict != "allow" else {"verdict": "deny", "rule": "limits"}), "reason": error.message}
    effective = standing if error is None else None
    return Intent(
        issued.sequence, issued.operation[:NAME_CHARS],
        encode_value(arguments, canonical=True) if standing is not None and arguments else readable(issued.arguments),
        shown, standing.schema_hash if standing is not None else "", f"{context.run_id}:{issued.sequence}",
        effective is not None and effective.may_write, effective is not None and effective.idempotent, now_ms)


_HASHES_KEPT = 4_000
_STANDINGS_KEPT = 256
_REFUSED = Decision("deny", "bridge", "refused before a decision")
