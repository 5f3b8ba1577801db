"""SIGKILL at random points: what was acknowledged is there, whatever was going on."""

from __future__ import annotations

import random
from pathlib import Path

from bench.crash_storage import Acknowledged, Nursery, lost_records


async def test_F01_a_hundred_kills_lose_nothing(tmp_path: Path) -> None:
    path, told, chance = tmp_path / "journal.db", Acknowledged(), random.Random()
    with Nursery(path) as nursery:
        for _ in range(100):
            assert nursery.kill_one(chance.uniform(0.0, 0.06), told) == -9
    assert len(told.entries) > 100, "the victims did not get to work"
    assert len(told.ended) > 20
    assert await lost_records(path, told) == []
