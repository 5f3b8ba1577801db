"""F01: SIGKILL while two tenants write: what either was told is there, and in its own file alone."""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path

from tests.store.tenants.tenants_kit import opened

KILLS = 8


async def test_F01_kills_with_several_tenants_writing_lose_nothing_of_either(tmp_path: Path) -> None:
    told: set[tuple[str, str]] = set()
    chance = random.Random(9)
    for kill in range(KILLS):
        victim = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.store.tenants.tenants_victim", str(tmp_path), str(kill * 100_000),
            stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[3])
        assert victim.stdout is not None, "it was asked for"
        lines = [await victim.stdout.readline() for _ in range(chance.randint(2, 30))]
        victim.kill()
        lines += (await victim.stdout.read()).splitlines(keepends=True)
        assert await victim.wait() == -9
        told |= {(tenant, run) for tenant, run in (line.decode().split() for line in lines if line.endswith(b"\n"))}
    assert {tenant for tenant, _ in told} >= {"a", "b"}
    stores = opened(tmp_path)
    for tenant, run in told:
        assert (await stores.journal.read(run, tenant=tenant)).state == "completed"
    assert await stores.check() == ()
    await stores.close()
