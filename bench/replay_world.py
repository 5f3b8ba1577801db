"""A world in which time and chance belong to the benchmark: a loop with virtual time, operations whose latencies come
from a seed, a person who answers in a seeded order, and a journal that dies at a chosen append.

Time stands still while anything real is under way (a turn in a worker, a commit, a reading); when nothing is, the loop
jumps to its next timer. Latencies count from the moment at which a call was first issued, so a call that is issued again
after a stop ends when it would have ended. So an interrupted run can be compared with an uninterrupted one entry by
entry, clock included.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import selectors
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar

from inhabit.connectors.functions import Capability
from inhabit.contracts.run import Entry, Intent, Journal, Resumed, RunRecord, Write
from inhabit.errors import CallError, Rejected, Unavailable

__all__ = ["BASE_MS", "Gate", "MortalJournal", "VirtualLoop", "WatchedPool", "World", "drawn"]

BASE_MS = 1_700_000_000_000
_T = TypeVar("_T")


def drawn(*of: object, below: int) -> int:
    """A number that depends on `of` alone, in every process."""
    return int.from_bytes(hashlib.blake2b(repr(of).encode(), digest_size=6).digest(), "big") % below


class Gate:
    """What is really under way. `idle` is asked when nothing is, before time jumps: whether it set something going."""

    def __init__(self) -> None:
        self.busy = 0
        self.virtual = False
        self.idle: Callable[[], bool] = lambda: False

    async def during(self, work: Awaitable[_T]) -> _T:
        self.busy += 1
        try:
            return await work
        finally:
            self.busy -= 1


class _Selector(selectors.DefaultSelector):
    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self._gate = gate
        self.now_us = 0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        begun = time.perf_counter()
        if not self._gate.virtual or self._gate.busy or timeout is None:
            if self._gate.virtual and not self._gate.busy and self._gate.idle():
                return []
            ready = super().select(0.5 if timeout is None else min(timeout, 0.5))
            if not self._gate.virtual:
                self.now_us += round((time.perf_counter() - begun) * 1e6)
            return ready
        if not self._gate.idle():
            self.now_us += max(1, round(timeout * 1e6))
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """`gate.virtual = True` from when workers and files are open."""

    def __init__(self, gate: Gate) -> None:
        self._virtual = _Selector(gate)
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now_us / 1e6


class World:
    """One program's outside world. `uninterrupted`: `sell` waits for the person inside the operation, where otherwise the
    run is asked: no suspension, the same moment, the same answer.
    """

    def __init__(self, seed: int, gate: Gate, *, uninterrupted: bool) -> None:
        self._seed = seed
        self._gate = gate
        self._uninterrupted = uninterrupted
        self._zero_us = 0
        self._active = 0
        self._people: dict[int, asyncio.Future[None]] = {}
        self.issued_ms: dict[int, int] = {}
        self.effects: Counter[tuple[str, int]] = Counter()

    def begin(self, now_ms: int = BASE_MS) -> None:
        """It is `now_ms` from this moment on, for whoever asks."""
        self._zero_us = round(asyncio.get_running_loop().time() * 1e6) - (now_ms - BASE_MS) * 1000
        self._active = 0
        self._people.clear()
        self._gate.idle = self._release

    def now_ms(self) -> int:
        return BASE_MS + (round(asyncio.get_running_loop().time() * 1e6) - self._zero_us) // 1000

    def resume(self, record: RunRecord) -> None:
        """Take up where the record ends: the time of its last entry, calls counting from when they were first issued."""
        at_ms = BASE_MS
        for stored in record.entries:
            entry = stored.entry
            at_ms = max(at_ms, getattr(entry, "at_ms", 0), getattr(entry, "clock_ms", 0))
            if isinstance(entry, Intent) and entry.decision.get("verdict") != "ask":
                self.issued_ms[entry.sequence] = entry.at_ms
            elif isinstance(entry, Resumed) and entry.reason == "approved":
                self.issued_ms |= dict.fromkeys(entry.reissued, entry.at_ms)
        self.begin(at_ms)

    def approves(self, n: int) -> bool:
        return drawn("approve", self._seed, n, below=4) != 0

    def turn_of(self, n: int) -> int:
        """Which of several questions is answered first: the least."""
        return drawn("order", self._seed, n, below=1_000_000)

    def capability(self) -> Capability:
        world = Capability("world")

        @world.operation(reads="public", idempotent=True)
        async def look(n: int, x: Any = None) -> dict[str, int]:
            return await self._done("look", n, x)

        @world.operation(writes="internal", idempotent=True, irreversible=False)
        async def put(n: int, x: Any = None) -> dict[str, int]:
            return await self._done("put", n, x)

        @world.operation(writes="internal", irreversible=False)
        async def send(n: int) -> dict[str, int]:
            return await self._done("send", n, None)

        @world.operation(writes="internal", irreversible=False)
        async def sell(n: int) -> dict[str, int]:
            if self._uninterrupted:
                await self._asked(n)
            return await self._done("sell", n, None)

        return world

    async def _asked(self, n: int) -> None:
        answer = self._people[n] = asyncio.get_running_loop().create_future()
        await answer
        self.issued_ms[n] = self.now_ms()

    def _release(self) -> bool:
        """The person answers when all that is left to wait for is people, as a sleeping run is answered."""
        if self._active or not self._people:
            return False
        n = min(self._people, key=self.turn_of)
        answer = self._people.pop(n)
        if self.approves(n):
            answer.set_result(None)
        else:
            answer.set_exception(Rejected("the call was rejected: no", details={"by": "default/boss"}))
        return True

    async def _done(self, kind: str, n: int, x: Any) -> dict[str, int]:
        self._active += 1
        self.effects[kind, n] += 1
        try:
            issued_ms = self.issued_ms.setdefault(n, self.now_ms())
            due_us = (issued_ms - BASE_MS + 1 + drawn("latency", self._seed, n, below=50)) * 1000 + 10 * (n % 90 + 1) + self._zero_us
            waiting = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_at(due_us / 1e6, _wake, waiting)
            await waiting
        finally:
            self._active -= 1
        if x == "fail":
            raise CallError(f"look {n} failed", code="gone", effect="none")
        return {"n": n, "v": drawn("value", self._seed, n, below=1000)}


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


class _Kept:
    """A ticket that is on disk once everything before it was handed on."""

    def __init__(self, journal: MortalJournal) -> None:
        self._journal = journal

    async def durable(self) -> None:
        await self._journal.flush()


class MortalJournal:
    """A process's journal until its `dies_at`-th append: nothing is recorded from there on, and of what nobody had waited
    for, only a part. `killed`: not played, the process is killed there. `only`: the run that a start finds unfinished.
    """

    def __init__(self, journal: Journal, gate: Gate, *, dies_at: int | None = None, kept: float = 1.0, killed: bool = False) -> None:
        self._journal = journal
        self._gate = gate
        self._dies_at = dies_at
        self._kept = kept
        self._killed = killed
        self._pending: list[tuple[str, tuple[Entry, ...], Sequence[Write]]] = []
        self.only: str | None = None
        self.dead = False
        self.appends = 0

    failure = None

    def gauges(self) -> dict[str, int]:
        return {}

    def begin(self, header: Any) -> Any:
        self.only = header.run_id
        return _Waited(self._journal.begin(header), self._gate)

    def append(self, run_id: str, *entries: Entry, also: Sequence[Write] = ()) -> _Kept:
        if not self.dead:
            self.appends += 1
            if self.appends == self._dies_at:
                self._die()
        if self.dead:
            raise Unavailable("this process is dead")
        self._pending.append((run_id, entries, also))
        return _Kept(self)

    def _die(self) -> None:
        if self._killed:
            os.kill(os.getpid(), signal.SIGKILL)
        for run_id, entries, also in self._pending[:round(self._kept * len(self._pending))]:
            self._journal.append(run_id, *entries, also=also)
        self._pending.clear()
        self.dead = True

    async def flush(self) -> None:
        if self.dead:
            raise Unavailable("this process is dead")
        last = None
        for run_id, entries, also in self._pending:
            last = self._journal.append(run_id, *entries, also=also)
        self._pending.clear()
        if last is not None:
            await self._gate.during(last.durable())

    async def unfinished(self) -> AsyncIterator[RunRecord]:
        if self.only is not None:
            record = await self._gate.during(self._journal.read(self.only, tenant="default"))
            if record.state == "running":
                yield record

    async def read(self, run_id: str, *, tenant: str) -> RunRecord:
        await self.flush()
        return await self._gate.during(self._journal.read(run_id, tenant=tenant))

    async def summary(self, run_id: str, *, tenant: str) -> Any:
        await self.flush()
        return await self._gate.during(self._journal.summary(run_id, tenant=tenant))

    async def ending(self, run_id: str, *, tenant: str) -> Any:
        await self.flush()
        return await self._gate.during(self._journal.ending(run_id, tenant=tenant))


class _Waited:
    def __init__(self, ticket: Any, gate: Gate) -> None:
        self._ticket = ticket
        self._gate = gate

    async def durable(self) -> None:
        await self._gate.during(self._ticket.durable())


class WatchedPool:
    """A pool that outlives the runtimes over it; what goes on in its workers holds time."""

    def __init__(self, pool: Any, gate: Gate) -> None:
        self._pool = pool
        self._gate = gate

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def acquire(self, language: Any, tenant: str, limits: Any) -> WatchedIsolate:
        return WatchedIsolate(await self._gate.during(self._pool.acquire(language, tenant, limits)), self._gate)


class WatchedIsolate:
    def __init__(self, isolate: Any, gate: Gate) -> None:
        self._isolate = isolate
        self._gate = gate
        self.engine_version = isolate.engine_version

    async def prepare(self, program: Any, names: Any) -> Any:
        return await self._gate.during(self._isolate.prepare(program, names))

    async def typecheck(self, code: str, stubs: str) -> Any:
        return await self._gate.during(self._isolate.typecheck(code, stubs))

    async def start(self, boot: Any) -> Any:
        return await self._gate.during(self._isolate.start(boot))

    async def deliver(self, deliveries: Any) -> Any:
        return await self._gate.during(self._isolate.deliver(deliveries))

    async def close(self) -> None:
        await self._gate.during(self._isolate.close())

