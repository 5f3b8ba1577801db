"""One tenant against the others, over real jailed workers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from inhabit.errors import Unavailable
from inhabit.isolates.pool import PoolSettings, WorkerPool
from inhabit.limits import Limits

SCRIPTED = "tests.isolates.scripted_engine:ScriptedEngine"


async def test_B29_H06_sleeping_programs_of_one_tenant_leave_workers_to_the_others(tmp_path: Path):
    settings = PoolSettings(max_workers=4, min_spare=1, exclusive=frozenset({"python"}), wait_s=0.5)
    pool = WorkerPool(tmp_path, settings=settings, engines={"python": SCRIPTED})
    await pool.start()
    try:
        asked = [asyncio.create_task(pool.acquire("python", "evil", Limits())) for _ in range(8)]
        await asyncio.wait(asked)
        held = [task.result() for task in asked if task.exception() is None]
        assert len(held) == 3 and all(isinstance(task.exception(), Unavailable) for task in asked if task.exception())
        honest = await asyncio.wait_for(pool.acquire("python", "good", Limits()), 5)
        waiting = [asyncio.create_task(pool.acquire("python", tenant, Limits())) for tenant in ("evil", "good")]
        await asyncio.sleep(0)
        await honest.close()
        done, _ = await asyncio.wait(waiting, timeout=5)
        assert len(done) == 2
        assert waiting[1].exception() is None, "the worker that was given back went to who may have it"
        with pytest.raises(Unavailable):
            waiting[0].result()
        for isolate in (*held, waiting[1].result()):
            await isolate.close()
    finally:
        await pool.close()
