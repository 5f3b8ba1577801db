"""Asking an operation whether a call of it took effect, and what its answer makes of the call.

A `reconcile` is an operation that only reads. It is given what its parameters are named after: the arguments of the call,
and `idempotency_key`. The call that it settles was granted and decided, so the grant is not asked again; the policy is, and
whatever is not allowed at once, not there, fails or does not fit counts as "nobody can say". Nothing is derived: an
operation without a declared `reconcile` is settled by a person.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from inhabit.contracts.connector import Call, Connector
from inhabit.contracts.json import is_object
from inhabit.contracts.operation import Operation
from inhabit.contracts.program import IssuedCall
from inhabit.contracts.run import Blobs, Decided, Intent
from inhabit.errors import InhabitError, ResultInvalid
from inhabit.kernel.decide import Facts, decide
from inhabit.kernel.flow import CLEAN, Labels, Source, labels_of
from inhabit.kernel.grants import Grant
from inhabit.runtime.binaries import CallBlobs
from inhabit.runtime.bodies import canonical, error_body, result_body
from inhabit.runtime.calling import Calling
from inhabit.runtime.context import RunContext, Standing
from inhabit.runtime.handles import only_reads
from inhabit.runtime.intents import decoded
from inhabit.runtime.rollback import SETTLE
from inhabit.runtime.schemas import Validators
from inhabit.runtime.shaping import ResultRules
from inhabit.wire.values import decode_value, encode_value

__all__ = ["NOT_DONE", "UNSETTLED", "Reconciling", "Settled", "Told", "said", "to_settle"]

_log = logging.getLogger(__name__)
_KEY = "idempotency_key"


class Settled(NamedTuple):
    """What is known of a call by now. `by`: who said it, in words. `labels`: what saying it has read."""

    state: str
    value: Any = None
    by: str = ""
    labels: Labels = CLEAN


class Told(NamedTuple):
    """What the program is told of a call that took effect: its outcome's parts."""

    ok: bool
    body: bytes
    labels: Labels


UNSETTLED = Settled("unknown")
NOT_DONE = "not_done"


class Sources(Protocol):
    def operation(self, name: str) -> Operation | None: ...

    def connector_of(self, operation: Operation) -> Connector: ...


class Reconciling:
    """Part of the bridge."""

    def __init__(self, directory: Sources, validators: Validators, rules: ResultRules, calling: Calling, blobs: Blobs) -> None:
        self._directory = directory
        self._validators = validators
        self._rules = rules
        self._calling = calling
        self._blobs = blobs

    async def ask(self, context: RunContext, target: Intent, standing: Standing | None, now_ms: int) -> Settled:
        """Raises nothing that comes of the call."""
        name = standing.operation.reconcile if standing is not None else None
        reads = self._directory.operation(name) if name is not None else None
        if standing is None or reads is None:
            return UNSETTLED
        try:
            only_reads(reads)
            given = context.handles.given(decoded(context, standing.operation, target.arguments), target.arguments, context.limits.value_bytes)
            arguments = _arguments(reads, given.whole(), target.idempotency_key)
            self._validators.arguments(reads, arguments)
            labels = context.labels.joined(given.labels)
            said = decide(Facts(reads, arguments, now_ms, {}, context.run, labels, context.charges), Grant.of(reads.name), standing.policy)
            if said.verdict != "allow":
                return UNSETTLED
            loop = asyncio.get_running_loop()
            limit_ms = min(reads.timeout_ms or context.limits.call_ms, context.limits.call_ms)
            call = Call(reads, arguments, context.principal, context.run_id, target.sequence, target.idempotency_key,
                        loop.time() + limit_ms / 1000, CallBlobs(self._blobs))
            value = await self._calling.reach(self._directory.connector_of(reads), call, loop, limit_ms)
            self._validators.result(reads, value, len(result_body(reads, value, context.limits)))
            if rules := standing.policy.applicable(reads).results:
                value = self._rules.shaped(reads, rules, context.run, value)
            return _settled(reads, value, labels_of(reads.effects, Source(reads.name, target.sequence)).joined(given.labels))
        except InhabitError as failed:
            _log.warning("%s could not say whether call %d of run %s took effect: %s", reads.name, target.sequence, context.run_id, failed)
            return UNSETTLED

    def told(self, context: RunContext, issued: IssuedCall, target: Intent, standing: Standing | None, settled: Settled) -> Told:
        """What the call would have answered, held against its schema and shaped by the policy as an answer of its own. A
        rollback, which asks for it (`SETTLE`), is told the state too.
        """
        told = Told(True, b"null", settled.labels) if settled.state != "done" else self._answer(context, target, standing, settled)
        if issued.operation != SETTLE:
            return told
        return Told(True, encode_value({"state": settled.state, "value": decode_value(told.body) if told.ok else None}), told.labels)

    def _answer(self, context: RunContext, target: Intent, standing: Standing | None, settled: Settled) -> Told:
        if standing is None:   # the operation is gone by now
            return Told(True, encode_value(settled.value), settled.labels)
        operation = standing.operation
        labels = labels_of(operation.effects, Source(operation.name, target.sequence)).joined(settled.labels)
        try:
            body = result_body(operation, settled.value, context.limits)
            self._validators.result(operation, settled.value, len(body))
            if standing.results:
                body = result_body(operation, self._rules.shaped(operation, standing.results, context.run, settled.value), context.limits)
            return Told(True, body, labels)
        except InhabitError as refused:
            refused.effect = "happened"
            return Told(False, error_body(refused, operation.name), labels)


def said(decided: Decided) -> Settled:
    """What a person's answer makes of a doubt."""
    if decided.verdict == "happened":
        return Settled("done", decode_value(decided.arguments or b"null"), decided.by)
    return Settled(NOT_DONE if decided.verdict == NOT_DONE else "unknown", by=decided.by or "nobody in time")


def to_settle(issued: IssuedCall, at_ms: int) -> tuple[Intent, Intent]:
    """The intent of a rollback's question about a call of the run that it undoes, and the call that is meant."""
    meant = decode_value(issued.arguments)
    intent = Intent(issued.sequence, SETTLE, canonical(issued.arguments), {"verdict": "allow", "rule": "rollback", "reason": "did it take effect?"},
                    "", meant["idempotency_key"], False, True, at_ms)
    return intent, intent._replace(operation=meant["operation"], arguments=encode_value(meant["arguments"], canonical=True))


def _arguments(reads: Operation, given: Mapping[str, Any], key: str) -> dict[str, Any]:
    properties: Mapping[str, Any] = reads.input_schema.get("properties", {})
    known = {**given, _KEY: key}
    return {name: known[name] for name in properties if name in known}


def _settled(reads: Operation, value: Any, labels: Labels) -> Settled:
    state = value.get("state") if is_object(value) else None
    if state not in ("done", NOT_DONE, "unknown"):
        raise ResultInvalid(f"{reads.name} answered with something that is no `Reconciled`")
    return Settled(state, value.get("value"), reads.name, labels)
