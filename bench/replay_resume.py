"""How long a sleeping run with 1,000 recorded calls takes from a person's answer to its next live call."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from bench.replay_runs import ADA, ASKING
from inhabit.catalog import Catalog
from inhabit.connectors.functions import Capability
from inhabit.contracts.clock import now_ms
from inhabit.contracts.principal import Principal
from inhabit.isolates.pool import WorkerPool
from inhabit.runtime.approvals import Approver, Desk
from inhabit.runtime.directory import ConnectedCatalog
from inhabit.runtime.service import Parts, Runtime
from inhabit.store.ids import new_run_id
from inhabit.store.store import Store

__all__ = ["CALLS", "resume_ms"]

CALLS = 1_000
_PROGRAM = f"""
for (let i = 1; i < {CALLS}; i++) await world.look({{ n: i }});
return await world.sell({{ n: {CALLS} }});
"""


def resume_ms(folder: Path, rounds: int) -> list[float]:
    """One figure a round, in a runtime as a server has it: real time, jailed workers that are ready."""
    return asyncio.run(_measure(folder, rounds))


async def _measure(folder: Path, rounds: int) -> list[float]:
    world, sold = Capability("world"), list[float]()

    @world.operation(reads="public", idempotent=True)
    async def look(n: int) -> dict[str, int]:
        return {"n": n, "v": n * 7}

    @world.operation(writes="internal", irreversible=False)
    async def sell(n: int) -> dict[str, int]:
        sold.append(time.perf_counter())
        return {"n": n}

    store = Store.open(folder / "resume.db")
    directory = ConnectedCatalog(Catalog(folder))
    await directory.add(world.connector())
    runtime = Runtime(Parts(directory, WorkerPool(folder), store.journal, store.blobs, lambda: new_run_id(now_ms()), control=ASKING))
    await runtime.start()
    try:
        return [await _resumed(runtime, store, sold) for _ in range(rounds + 1)][1:]
    finally:
        await runtime.stop()
        await store.close()


async def _resumed(runtime: Runtime, store: Store, sold: list[float]) -> float:
    run = await runtime.execute(_PROGRAM, ADA)
    assert run.state == "suspended" and run.calls == CALLS, run
    (asked,) = await store.approvals.of_run(run.run_id, tenant="default")
    begun = time.perf_counter()
    await Desk(runtime, store.approvals).decide(asked.asked.approval, "approve", Approver(Principal("boss"), "bench"))
    while (result := await runtime.wait(run.run_id, ADA, wait_s=10)).state != "completed" or run.run_id in runtime.live:
        assert result.state != "failed", result.error
        await asyncio.sleep(0)
    return (sold[-1] - begun) * 1000
