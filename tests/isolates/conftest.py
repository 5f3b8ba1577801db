"""A pool over the scripted engine, and the oracles that every attack is judged by."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from inhabit.contracts.program import Boot, Turn
from inhabit.isolates.jail import JailPolicy
from inhabit.isolates.pool import PoolSettings, WorkerPool
from inhabit.limits import Limits

sys.path.insert(0, str(Path(__file__).parent))   # the zygote imports the scripted engine by name

SCRIPTED = {"typescript": "scripted_engine:ScriptedEngine"}
RSS_GROWTH_BYTES = 64 * 1024 * 1024


@dataclass
class Ground:
    """A pool and what to judge it by."""

    pool: WorkerPool
    canaries: list[str]

    async def spare(self) -> None:
        """Return once a spare worker waits."""
        async with asyncio.timeout(10):
            while not self.pool.spares["typescript"]:
                await asyncio.sleep(0.002)

    async def turn(self, code: str, *, tenant: str = "evil", **limits: int) -> Turn:
        bounds = Limits(**limits)
        isolate = await self.pool.acquire("typescript", tenant, bounds)
        try:
            return await isolate.start(Boot(code, (), limits=bounds))
        finally:
            await isolate.close()

    async def run(self, code: str, *, tenant: str = "evil", **limits: int) -> Any:
        """The `result` of a program of the scripted engine; no canary is in it."""
        turn = await self.turn(code, tenant=tenant, **limits)
        assert turn.finished is not None
        assert not any(canary.encode() in turn.finished.value for canary in self.canaries)
        return json.loads(turn.finished.value)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def children() -> set[int]:
    return {int(pid) for thread in Path("/proc/self/task").iterdir() for pid in (thread / "children").read_text().split()}


@pytest.fixture
def ground_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Awaitable[Ground]]:
    """Start a pool; at the end of the test it is closed, and nothing of it may be left."""
    canaries = [f"CANARY_{kind}_{uuid.uuid4().hex}" for kind in ("FS", "ENV")]
    (tmp_path / "passwd").write_text(canaries[0])
    monkeypatch.setenv("CANARY_ENV", canaries[1])

    async def start(policy: JailPolicy | None = None, **settings: Any) -> Ground:
        pool = WorkerPool(tmp_path, jail=policy or JailPolicy(), settings=PoolSettings(**{"min_spare": 1, **settings}), engines=SCRIPTED)
        await pool.start()
        return Ground(pool, canaries)
    return start


@pytest.fixture
async def ground(ground_of: Callable[..., Awaitable[Ground]]) -> AsyncIterator[Ground]:
    """The oracles: no canary in what comes out (see `run`), the host alive and not grown, nothing leaked, and the
    honest neighbour answered."""
    gc.collect()   # what earlier tests left is not to be missed at the end
    before, was_resident = (descriptors(), children()), resident_bytes()
    ground = await ground_of()
    yield ground
    assert await ground.run("result = 6 * 7", tenant="honest") == 42
    await ground.pool.close()
    await asyncio.sleep(0)
    gc.collect()
    assert (descriptors(), children()) == before
    assert resident_bytes() - was_resident < RSS_GROWTH_BYTES
