"""Sleeping runs: how long one with 1,000 recorded calls takes from a person's answer to its next live call, what that costs
in CPU time on either side, and what 1,000 of them hold while they sleep. Nobody polls meanwhile: the call wakes the measurer.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from bench.replay_runs import ADA, ASKING
from inhabit.catalog import Catalog
from inhabit.connectors.functions import Capability
from inhabit.contracts.clock import now_ms
from inhabit.contracts.principal import Principal
from inhabit.isolates.pool import WorkerPool
from inhabit.limits import Questions
from inhabit.runtime.approvals import Approver, Desk
from inhabit.runtime.directory import ConnectedCatalog
from inhabit.runtime.questions import OpenQuestions
from inhabit.runtime.service import Parts, Runtime
from inhabit.store.ids import new_run_id
from inhabit.store.store import Store

__all__ = ["CALLS", "SLEEPERS", "Resumed", "resumes", "sleeping"]

CALLS = 1_000
_PROGRAM = f"""
for (let i = 1; i < {CALLS}; i++) await world.look({{ n: i }});
return await world.sell({{ n: {CALLS} }});
"""

SLEEPERS = 1_000


class Resumed(NamedTuple):
    """One resume: on the wall, and the CPU time of the host's process and of its workers."""

    wall_ms: float
    host_cpu_ms: float
    worker_cpu_ms: float


def resumes(folder: Path, rounds: int) -> list[Resumed]:
    """One a round, in a runtime as a server has it: real time, jailed workers that are ready."""
    return asyncio.run(_measure(folder, rounds))


def sleeping(folder: Path) -> tuple[float, int]:
    """KiB of the server's memory and processes that a sleeping run holds, over `SLEEPERS` of them."""
    return asyncio.run(_sleepers(folder))


async def _sleepers(folder: Path) -> tuple[float, int]:
    async with _opened(folder / "sleeping.db") as (runtime, _, _sold):
        async def asleep(count: int) -> tuple[int, int]:
            for _ in range(count):
                run = await runtime.execute("return await world.sell({ n: 1 })", ADA)
                assert run.state == "suspended", run
            gc.collect()
            return _resident_bytes(), len(_below())

        await asleep(SLEEPERS // 2)   # what grows once: caches, the allocator's arenas, spare workers
        before, idle = await asleep(0)
        after, all_asleep = await asleep(SLEEPERS)
        return (after - before) / SLEEPERS / 1024, all_asleep - idle


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class _Sold:
    """The call that a program ends with: when it was made, and the CPU time of this process by then."""

    def __init__(self) -> None:
        self.at_s = self.cpu_s = 0.0
        self.made = asyncio.Event()

    def note(self) -> None:
        self.at_s, self.cpu_s = time.perf_counter(), time.process_time()
        self.made.set()


def _workers_cpu_s() -> float:
    spent_ns = 0
    for pid in _below():
        with contextlib.suppress(OSError):   # it has ended
            spent_ns += int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])
    return spent_ns / 1e9


def _below() -> set[int]:
    """Processes below this one, however deep."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    ours, found = {os.getpid()}, True
    while found:
        found = {pid for pid, parent in parents.items() if parent in ours} - ours
        ours |= found
    return ours - {os.getpid()}


@asynccontextmanager
async def _opened(file: Path) -> AsyncGenerator[tuple[Runtime, Store, _Sold]]:
    """A runtime as a server has it: real time, jailed workers that are ready."""
    world, sold = Capability("world"), _Sold()

    @world.operation(reads="public", idempotent=True)
    async def look(n: int) -> dict[str, int]:
        return {"n": n, "v": n * 7}

    @world.operation(writes="internal", irreversible=False)
    async def sell(n: int) -> dict[str, int]:
        sold.note()
        return {"n": n}

    store = Store.open(file)
    directory = ConnectedCatalog(Catalog(file.parent))
    await directory.add(world.connector())
    runtime = Runtime(Parts(directory, WorkerPool(file.parent), store.journal, store.blobs, lambda: new_run_id(now_ms()), control=ASKING,
                            questions=OpenQuestions(Questions(questions_per_tenant=10 * SLEEPERS))))
    await runtime.start()
    try:
        yield runtime, store, sold
    finally:
        await runtime.stop()
        await store.close()


async def _measure(folder: Path, rounds: int) -> list[Resumed]:
    async with _opened(folder / "resume.db") as (runtime, store, sold):
        return [await _resumed(runtime, store, sold) for _ in range(rounds + 1)][1:]


async def _resumed(runtime: Runtime, store: Store, sold: _Sold) -> Resumed:
    run = await runtime.execute(_PROGRAM, ADA)
    assert run.state == "suspended" and run.calls == CALLS, run
    (asked,) = (await store.journal.ending(run.run_id, tenant="default")).asked
    sold.made.clear()
    workers_s, begun_s, spent_s = _workers_cpu_s(), time.perf_counter(), time.process_time()
    await Desk(runtime, store.approvals).decide(asked.approval, "approve", Approver(Principal("boss"), "bench"))
    await asyncio.wait_for(sold.made.wait(), 60)
    resumed = Resumed((sold.at_s - begun_s) * 1000, (sold.cpu_s - spent_s) * 1000, (_workers_cpu_s() - workers_s) * 1000)
    while (result := await runtime.wait(run.run_id, ADA, wait_s=10)).state != "completed" or run.run_id in runtime.live:
        assert result.state != "failed", result.error
        await asyncio.sleep(0)
    return resumed
