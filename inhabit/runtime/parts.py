"""What `app.py` joins, and what everything in this room is given."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol

from inhabit.contracts.clock import now_ms
from inhabit.contracts.program import IsolatePool
from inhabit.contracts.run import Blobs, Journal, RunHeader
from inhabit.limits import DEFAULT_LIMITS, LIVE_RUNS, Limits, LiveRuns
from inhabit.runtime.context import NO_CONTROL, Control
from inhabit.runtime.conversations import NO_CONVERSATIONS, Conversations
from inhabit.runtime.directory import ConnectedCatalog
from inhabit.runtime.questions import OpenQuestions

__all__ = ["Keeping", "Parts"]


class Keeping(Protocol):
    """Tenants' stores are opened when they are needed and closed when they are not."""

    async def ready(self, tenant: str) -> None:
        """Open the tenant's store, so that a run can begin without waiting for the disk."""
        ...

    def hold(self, tenant: str) -> AbstractContextManager[object]:
        """Keep it open until the end of the block."""
        ...


class _AlwaysOpen:
    async def ready(self, tenant: str) -> None: ...

    def hold(self, tenant: str) -> AbstractContextManager[object]:
        return nullcontext()


_ALWAYS_OPEN = _AlwaysOpen()


async def _always(_header: RunHeader) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Parts:
    """`now_ms` and `random_seed` are passed in, so that tests own time and chance."""

    directory: ConnectedCatalog
    pool: IsolatePool
    journal: Journal
    blobs: Blobs
    new_run_id: Callable[[], str]
    limits: Limits = DEFAULT_LIMITS
    now_ms: Callable[[], int] = now_ms
    random_seed: Callable[[], int] = lambda: secrets.randbits(53)
    live_runs: LiveRuns = LIVE_RUNS
    control: Control = NO_CONTROL
    conversations: Conversations = NO_CONVERSATIONS
    questions: OpenQuestions = field(default_factory=OpenQuestions)
    alive: Callable[[RunHeader], Awaitable[bool]] = _always
    stores: Keeping = _ALWAYS_OPEN
