"""Asking an operation's `preview` what a held call of it would answer. Part of the bridge.

A preview is an operation that only reads. It is decided like any call of the program, is given the arguments that it has
parameters for, cannot keep bytes, and is carried out as `preview`: its connector gives it no way out and nothing to
write with, or refuses it. What it says is shaped by the rules on its own results, before those on the write's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from inhabit.contracts.connector import Call, Connector
from inhabit.contracts.operation import Operation
from inhabit.errors import Denied, InhabitError
from inhabit.kernel.decide import Facts, decide
from inhabit.runtime.calling import Calling
from inhabit.runtime.context import Admitted, RunContext, Standing
from inhabit.runtime.handles import only_reads
from inhabit.runtime.shaping import ResultRules, discreet

__all__ = ["Previews", "previewed"]


class Sources(Protocol):
    def connector_of(self, operation: Operation) -> Connector: ...


class Previews:
    def __init__(self, sources: Sources, calling: Calling, rules: ResultRules, now_ms: Callable[[], int]) -> None:
        self._sources = sources
        self._calling = calling
        self._rules = rules
        self._now_ms = now_ms

    async def ask(self, context: RunContext, held: Admitted, preview: Standing) -> Any:
        """Raises `Denied` when the program may not call it itself, and what it raises."""
        operation = preview.operation
        only_reads(operation)
        arguments = {name: held.arguments[name] for name in operation.input_schema.get("properties", {}) if name in held.arguments}
        decision = preview.decision or decide(
            Facts(operation, arguments, self._now_ms(), context.granted_calls, context.run, context.labels.joined(held.carried),
                  context.charges), context.grant, preview.policy)
        if decision.verdict != "allow":
            raise Denied(f"{operation.name}: {decision.reason}", details=decision.as_value())
        if decision.charges:   # nothing is charged for a plan, and what is counted is not to be had uncounted
            raise Denied(f"{operation.name}: its calls are counted, and a preview's are not", details=decision.as_value())
        loop = asyncio.get_running_loop()
        call = Call(operation, arguments, context.principal, context.run_id, held.issued.sequence, held.intent.idempotency_key,
                    loop.time() + preview.limit_ms / 1000, _NoBytes(), preview=True,
                    planned=context.holder.planned(held) if context.holder is not None else None)
        try:
            value = await self._calling.reach(self._sources.connector_of(operation), call, loop, preview.limit_ms)
        except InhabitError as failed:
            raise discreet(preview.results, context.run, failed) from None
        return self._rules.shaped(operation, preview.results, context.run, value) if preview.results else value


def previewed(held: Admitted) -> str:
    """The operation that says what a held call would do, "" where none does."""
    return held.standing.operation.preview or "" if held.standing is not None else ""


class _NoBytes:
    async def put(self, data: bytes, *, tenant: str, mime: str) -> dict[str, Any]:
        raise Denied("a preview keeps no bytes")

    async def get(self, reference: Mapping[str, Any], *, tenant: str) -> bytes:
        raise Denied("a preview opens no bytes")
