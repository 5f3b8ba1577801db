"""What one commit carries, and the waiting for it.

A batch gathers records until the writer takes it; then nothing is added. Whoever appended holds the batch as its
ticket. Invariant: a batch is settled exactly once, with an error or without; only settled without is "durable".
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from typing import Any, NamedTuple

from inhabit.contracts.run import RunHeader, Write
from inhabit.errors import Unavailable
from inhabit.store.packing import Draft

__all__ = ["Batch", "Ending", "Job", "OpenRun", "Row"]


class OpenRun:
    """The counters of a run without a terminal entry, kept by the appending side."""

    __slots__ = ("active", "asked", "bytes", "calls", "generation", "key", "number", "run_id", "salt", "tenant")

    def __init__(self, key: int, run_id: str, tenant: str, generation: int, salt: bytes, *, number: int = 0,
                 calls: int = 0, size: int = 0, asked: bool = False) -> None:
        self.key = key
        self.run_id = run_id
        self.tenant = tenant
        self.generation = generation
        self.salt = salt     # of the audit log's leaves
        self.number = number
        self.calls = calls
        self.bytes = size
        self.asked = asked   # may have asked a person something
        self.active = False  # recorded by this process, and neither ended nor asleep


class Row(NamedTuple):
    run: OpenRun
    number: int
    draft: Draft


class Ending(NamedTuple):
    run: OpenRun
    state: str
    ended_ms: int
    calls: int
    bytes: int


class Job:
    """Other work of the one writer: inside the batch's transaction, where its failure undoes only itself, or
    (`Batch.after`) behind it, for what SQLite does outside transactions alone."""

    __slots__ = ("error", "result", "work")

    def __init__(self, work: Callable[[sqlite3.Connection], Any]) -> None:
        self.work = work
        self.result: Any = None
        self.error: Exception | None = None


class Batch:
    """Implements `contracts.run.Ticket`."""

    __slots__ = ("_ask", "after", "also", "begun", "ended", "error", "jobs", "rows", "settled", "size", "waiters")

    def __init__(self, ask: Callable[[Batch], asyncio.Future[None] | None]) -> None:
        self._ask = ask
        self.begun: list[tuple[OpenRun, RunHeader, Draft]] = []
        self.rows: list[Row] = []
        self.ended: list[Ending] = []
        self.also: list[Write] = []
        self.jobs: list[Job] = []
        self.after: list[Job] = []
        self.size = 0
        self.waiters: list[asyncio.Future[None]] = []
        self.settled = False
        self.error: Unavailable | None = None

    @property
    def empty(self) -> bool:
        return not (self.rows or self.begun or self.jobs or self.after)

    async def durable(self) -> None:
        """Return once this is on disk. Raises `Unavailable` if it could not be written."""
        if not self.settled:
            waiting = self._ask(self)
            if waiting is not None:
                await waiting
        if self.error is not None:
            raise again(self.error)


def again(error: Unavailable) -> Unavailable:
    """A fresh exception of the same content: one instance must not be raised in many tasks."""
    return Unavailable(error.message, fix=error.fix, effect=error.effect, details=error.details,
                       code=error.specific_code)
