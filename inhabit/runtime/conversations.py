"""What a model has read in earlier runs, as the runtime needs it: a run begins with it, and adds to it before it is answered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from inhabit.contracts.principal import Principal
from inhabit.contracts.run import Intent, Outcome, RunHeader, RunRecord, Write
from inhabit.kernel.flow import Labels

__all__ = ["NO_CONVERSATIONS", "Conversations", "brought", "had_read"]


class Conversations(Protocol):
    """Labels are `(name, operation that brought it)`."""

    async def labels(self, principal: Principal, scope: str) -> tuple[tuple[str, str], ...]: ...

    def writes(self, principal: Principal, scope: str, run_id: str, labels: Sequence[tuple[str, str]], now_ms: int) -> tuple[Write, ...]: ...

    async def join(self, principal: Principal, scope: str, run_id: str, labels: Sequence[tuple[str, str]], now_ms: int) -> None: ...


class _NoConversations:
    async def labels(self, principal: Principal, scope: str) -> tuple[tuple[str, str], ...]:
        return ()

    def writes(self, principal: Principal, scope: str, run_id: str, labels: Sequence[tuple[str, str]], now_ms: int) -> tuple[Write, ...]:
        return ()

    async def join(self, principal: Principal, scope: str, run_id: str, labels: Sequence[tuple[str, str]], now_ms: int) -> None: ...


NO_CONVERSATIONS = _NoConversations()


def brought(header: RunHeader, labels: Labels) -> list[tuple[str, str]]:
    """What a run gives its conversation; nothing where it has none."""
    return [(name, source.operation) for name, source in zip(Labels._fields, labels, strict=True) if source] if header.conversation else []


def had_read(record: RunRecord, also: Sequence[tuple[str, str]] = ()) -> tuple[tuple[str, str], ...]:
    """The labels of a recorded run as far as it went, and `also`; the earlier source of each stays. What a handle holds it has not read."""
    made = {e.entry.sequence: e.entry.operation for e in record.entries if isinstance(e.entry, Intent)}
    told = [e.entry for e in record.entries if isinstance(e.entry, Outcome) and e.entry.kept is None]
    found = [*record.header.labels, *((name, made.get(outcome.sequence, "")) for outcome in told for name in outcome.labels), *also]
    return tuple(dict(reversed(found)).items())
