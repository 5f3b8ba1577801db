"""The pool: jailed workers, each bound to one tenant from its first run until it dies.

Model: a few spare workers per language wait, jailed and bound to nobody. A tenant's first run takes one; further
runs of the tenant share its workers, spread over several when they compute at once. A worker in which a guest
hit a limit, trapped or broke the wire takes no new guest and ends when its last one is closed; one that is idle
for long ends. Ended workers are replaced by fresh spares, never handed on.
When `max_workers` live and none is idle, runs wait, tenants taking turns; the line and the wait are bounded. One
tenant takes three quarters of them at most.

Invariants: a worker's tenant never changes; what a worker is (pid, socket, tenant, layers) is in this table and
nowhere on the wire; every worker that was started is in the table until its process is killed.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter, OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from inhabit.contracts.program import Language
from inhabit.errors import InhabitError, Unavailable
from inhabit.isolates.jail import JailPolicy, Layer
from inhabit.isolates.looking import CORES, LOOKS_S, cores
from inhabit.isolates.pool.channel import Channel, Request
from inhabit.isolates.pool.control import Settings
from inhabit.isolates.pool.images import images_folder
from inhabit.isolates.pool.isolate import PooledIsolate
from inhabit.isolates.pool.nursery import Nursery
from inhabit.isolates.pool.watch import Watch
from inhabit.limits import Limits
from inhabit.wire.frames import Kind
from inhabit.wire.replies import Ready, decode_ready

__all__ = ["ENGINES", "PoolSettings", "WorkerPool"]

ENGINES: Mapping[str, str] = {
    "typescript": "inhabit.isolates.javascript:JavaScriptEngine", "python": "inhabit.isolates.python:PythonEngine",
}
_READY_MS = 20_000
_SWEEP_S = 1.0


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """Bounds of a pool. `guests_per_worker` isolates share a process of one tenant at most; a tenant has at most
    `workers_per_tenant` processes of a language before they are full; `spread_at` live guests in each make it take
    another. The workers of an `exclusive` language hold one guest at a time."""

    min_spare: int = 2
    max_workers: int = 64
    workers_per_tenant: int = max(2, os.cpu_count() or 2)
    guests_per_worker: int = 64
    spread_at: int = 4
    idle_s: float = 60.0
    exclusive: frozenset[str] = frozenset({"python"})
    waiting: int = 1_000
    wait_s: float = 30.0


@dataclass(eq=False, slots=True)
class _Worker:
    channel: Channel
    language: Language
    engine_version: str
    tenant: str | None = None
    guests: int = 0
    idle_since_s: float = 0.0


@dataclass(eq=False, slots=True)
class _Tenant:
    """A tenant's workers of one language, and its runs that wait for one."""

    workers: list[_Worker] = field(default_factory=list[_Worker])
    waiting: deque[asyncio.Future[None]] = field(default_factory=deque[asyncio.Future[None]])


class WorkerPool:
    """Implements `inhabit.contracts.program.IsolatePool` for the loop it was started on.

    `cache` holds compiled engine images where the user has no folder for them (`images`). `engines` maps a language to "module:Class" (tests give their own).
    """

    def __init__(self, cache: Path, *, jail: JailPolicy | None = None, settings: PoolSettings | None = None,
                 engines: Mapping[str, str] = ENGINES) -> None:
        self._policy = jail or JailPolicy()
        self._settings = settings or PoolSettings()
        self._engines = dict(engines)
        self._cache = cache
        self._live: set[_Worker] = set()
        self._spares: dict[str, deque[_Worker]] = {language: deque() for language in engines}
        self._tenants: OrderedDict[tuple[str, str], _Tenant] = OrderedDict()
        self._starting = 0
        self._wanted: dict[str, int] = dict.fromkeys(engines, 0)   # spares being made
        self._tasks: set[asyncio.Task[None]] = set()
        self._making: Counter[str] = Counter()    # workers being made, by the tenant that waits for them
        self._next_id = 0
        self._sweeper: asyncio.TimerHandle | None = None
        self._open = False
        self.layers: tuple[Layer, ...] = ()
        self.warnings: tuple[str, ...] = ()

    # -- life ---------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Load the engines and make the first spare of each language. Raises `Unavailable`, naming the jail layer
        or the engine that is missing."""
        self._loop = asyncio.get_running_loop()
        self._watch = Watch(self._loop)
        looks_s = LOOKS_S if cores() >= CORES else 0.0
        self._nursery = Nursery(self._loop, Settings(
            self._engines, os.path.abspath(images_folder(self._cache)), os.getpid(), looks_s, self._policy))
        self._open = True
        try:
            self._starting = len(self._engines)
            await asyncio.gather(*(self._make_spare(language) for language in self._engines))
        except BaseException:
            await self.close()
            raise
        for language in self._engines:
            self._refill(language)
        self._sweeper = self._loop.call_later(_SWEEP_S, self._sweep)

    async def close(self) -> None:
        """End every worker and the zygote. Runs that wait get `Unavailable`. Idempotent."""
        if not self._open:
            return
        self._open = False
        if self._sweeper:
            self._sweeper.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for worker in tuple(self._live):
            worker.channel.kill(Unavailable("the pool was closed"))
        for tenant in self._tenants.values():
            for waiting in tenant.waiting:
                if not waiting.done():
                    waiting.set_result(None)
        self._tenants.clear()
        self._watch.close()
        await self._nursery.close()

    @property
    def spares(self) -> dict[str, int]:
        """Jailed workers of each language that wait for a tenant's first run."""
        return {language: len(queue) for language, queue in self._spares.items()}

    @property
    def live(self) -> int:
        """Workers that are ready, spares included."""
        return len(self._live)

    @property
    def zygote_pid(self) -> int | None:
        """The process that workers are forked from, while there is one."""
        return self._nursery.pid if self._open else None

    # -- isolates -----------------------------------------------------------------------------------------

    async def acquire(self, language: Language, tenant: str, limits: Limits) -> PooledIsolate:
        """An isolate in a worker of this tenant. Raises `Unavailable` when none can be had in time."""
        if language not in self._engines:
            raise Unavailable(f"no engine for {language} is set up", fix=f"one of {', '.join(self._engines)}")
        worker = self._choose(language, tenant)
        if worker is None:
            worker = await self._worker_in_time(language, tenant)
        worker.guests += 1
        self._next_id = self._next_id % 0xFFFFFFFF + 1
        return PooledIsolate(self._next_id, worker.channel, language, limits, worker.engine_version,
                             lambda _isolate: self._released(worker))

    def _choose(self, language: Language, tenant: str) -> _Worker | None:
        """A worker that can take a guest now, at no wait: the least busy of the tenant's, else a spare."""
        if not self._open:
            raise Unavailable("the pool is not started or was closed")
        own = self._tenants.get((language, tenant))
        best = min((w for w in own.workers if self._takes_guests(w)), key=_load, default=None) if own else None
        if best is not None and (best.guests < self._settings.spread_at and best.channel.head is None):
            return best
        count = len(own.workers) if own else 0
        spares = self._spares[language]
        while spares and (best is None or count < self._settings.workers_per_tenant) and not self._has_its_share(tenant):
            spare = spares.popleft()
            if spare.channel.broken is None:
                return self._bind(spare, language, tenant)
        return best

    def _takes_guests(self, worker: _Worker) -> bool:
        channel = worker.channel
        most = 1 if worker.language in self._settings.exclusive else self._settings.guests_per_worker
        return channel.broken is None and not channel.failed and worker.guests < most

    def _bind(self, worker: _Worker, language: Language, tenant: str) -> _Worker:
        worker.tenant = tenant
        self._tenants.setdefault((language, tenant), _Tenant()).workers.append(worker)
        self._refill(language)
        return worker

    def _released(self, worker: _Worker) -> None:
        worker.guests -= 1
        worker.idle_since_s = self._loop.time()
        if worker.channel.failed and not worker.guests:
            worker.channel.kill(Unavailable("the worker was replaced"))
        else:
            self._wake(worker.language, worker.tenant)

    # -- waiting ------------------------------------------------------------------------------------------

    async def _worker_in_time(self, language: Language, tenant: str) -> _Worker:
        try:
            async with asyncio.timeout(self._settings.wait_s):
                return await self._worker(language, tenant)
        except TimeoutError:
            raise Unavailable(
                f"no worker became free within {self._settings.wait_s:g} s ({len(self._live)} of {self._settings.max_workers} live)",
                fix="try again later, or raise pool.max_workers") from None

    async def _worker(self, language: Language, tenant: str) -> _Worker:
        while True:
            if not self._has_its_share(tenant) and self._room(tenant):
                self._starting += 1
                self._making[tenant] += 1
                try:
                    worker = await self._make(language)
                finally:
                    self._making[tenant] -= 1
                    if not self._making[tenant]:
                        del self._making[tenant]
                if worker.tenant is None and worker.channel.broken is None:
                    return self._bind(worker, language, tenant)
            else:
                await self._turn_in_line(language, tenant)
            worker = self._choose(language, tenant)
            if worker is not None:
                return worker

    def _has_its_share(self, tenant: str | None) -> bool:
        """Whether the tenant holds all that one may: sleeping programs of one would shut the others out for minutes."""
        most = max(1, self._settings.max_workers - self._settings.max_workers // 4)
        making = self._making[tenant] if tenant is not None else 0
        return making + sum(worker.tenant == tenant for worker in self._live) >= most

    def _room(self, tenant: str) -> bool:
        """Whether one more worker may be made; ends an idle one of another tenant if that is what it takes."""
        if len(self._live) + self._starting < self._settings.max_workers:
            return True
        idle = [worker for worker in self._live if worker.tenant not in (None, tenant) and not worker.guests]
        spare = next((queue for queue in self._spares.values() if queue), None)
        if idle:
            victim = min(idle, key=lambda worker: worker.idle_since_s)
        elif spare:
            victim = spare.popleft()
        else:
            return False
        victim.channel.kill(Unavailable("the worker was replaced"))
        return True

    async def _turn_in_line(self, language: Language, tenant: str) -> None:
        if sum(len(each.waiting) for each in self._tenants.values()) >= self._settings.waiting:
            raise Unavailable(f"{self._settings.waiting} runs wait for a worker already", fix="try again later, or raise pool.max_workers")
        waiting = self._loop.create_future()
        line = self._tenants.setdefault((language, tenant), _Tenant()).waiting
        line.append(waiting)
        try:
            await waiting
        finally:
            if waiting in line:
                line.remove(waiting)

    def _wake(self, language: str, tenant: str | None) -> None:
        """Let one waiting run look again: of the tenant whose worker has room, else of the tenant whose turn it is."""
        own = self._tenants.get((language, tenant)) if tenant is not None else None
        for key, each in ((None, own), *self._tenants.items()) if own else tuple(self._tenants.items()):
            if key is not None and each is not own and self._has_its_share(key[1]):
                continue   # it could take nothing, and the call would be lost on it
            while each.waiting:
                waiting = each.waiting.popleft()
                if not waiting.done():
                    waiting.set_result(None)
                    if key is not None:
                        self._tenants.move_to_end(key)
                    return

    # -- workers ------------------------------------------------------------------------------------------

    def _refill(self, language: str) -> None:
        """Start making spares, up to `min_spare`, where `max_workers` leaves room."""
        missing = self._settings.min_spare - len(self._spares[language]) - self._wanted[language]
        room = self._settings.max_workers - len(self._live) - self._starting
        for _ in range(min(missing, room)):
            self._wanted[language] += 1
            self._starting += 1
            task = self._loop.create_task(self._refill_one(language))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _refill_one(self, language: str) -> None:
        try:
            await self._make_spare(language)
        except InhabitError:
            return   # whoever needs a worker makes one and hears why it fails
        finally:
            self._wanted[language] -= 1

    async def _make_spare(self, language: str) -> None:
        worker = await self._make(language)
        if worker.channel.broken is None:
            self._spares[language].append(worker)
            self._wake(language, None)

    async def _make(self, language: str) -> _Worker:
        """A fresh worker, READY, its layers judged. Raises `Unavailable`. Its caller counted it in `_starting`."""
        channel: Channel | None = None
        try:
            connection, process = await self._nursery.fork(language)
            channel = Channel(self._loop, connection, process, self._lost, self._watch)
            answer = self._loop.create_future()
            channel.expect(Request(0, Kind.READY, decode_ready, answer, _READY_MS, ("ready_ms", _READY_MS)))
            ready: Ready = await answer
            layers = (*(Layer(each.name, each.active, each.detail, each.fix) for each in ready.layers), Layer("kill_timer", True))
            self.warnings = self._policy.judge(layers)
            self.layers = layers
        except BaseException as error:
            if channel is not None:
                channel.kill(Unavailable("the worker was not taken"))
            if isinstance(error, InhabitError) and not isinstance(error, Unavailable):
                raise Unavailable(f"a worker for {language} did not get ready: {error.message}", fix=error.fix) from None
            raise
        finally:
            self._starting -= 1
        process.meet_children()
        channel.settle()
        self._watch.settle(process)
        worker = _Worker(channel, language, ready.engines.get(language, "?"), idle_since_s=self._loop.time())   # type: ignore[arg-type]
        self._live.add(worker)
        return worker

    def _lost(self, channel: Channel) -> None:
        """A worker is gone: out of the table, and someone may take its place."""
        for worker in tuple(self._live):
            if worker.channel is channel:
                self._live.discard(worker)
                if worker.tenant is not None and (own := self._tenants.get((worker.language, worker.tenant))):
                    own.workers.remove(worker)
                    if not own.workers and not own.waiting:
                        del self._tenants[worker.language, worker.tenant]
                elif worker in self._spares[worker.language]:
                    self._spares[worker.language].remove(worker)
                if self._open:
                    self._wake(worker.language, worker.tenant)
                    self._refill(worker.language)

    def _sweep(self) -> None:
        """End the workers that no run of their tenant has used for long."""
        oldest = self._loop.time() - self._settings.idle_s
        for worker in tuple(self._live):
            if worker.tenant is not None and not worker.guests and worker.idle_since_s < oldest:
                worker.channel.kill(Unavailable("the worker was idle"))
        self._sweeper = self._loop.call_later(_SWEEP_S, self._sweep)


def _load(worker: _Worker) -> tuple[bool, int]:
    return worker.channel.head is not None, worker.guests
