"""SIGKILL at random points: what was acknowledged is there, whatever was going on."""

from __future__ import annotations

import random
from pathlib import Path

from bench.crash_storage import Acknowledged, Nursery, lost_records


async def test_F01_a_hundred_kills_lose_nothing(tmp_path: Path) -> None:
    path, told, chance = tmp_path / "journal.db", Acknowledged(), random.Random()
    kills, longest_s = 0, 0.06
    with Nursery(path) as nursery:
        while kills < 100 or len(told.entries) <= 100 or len(told.ended) <= 20:
            assert nursery.kill_one(chance.uniform(0.0, longest_s), told) == -9
            kills += 1
            longest_s *= 1 if kills % 100 else 2   # beside many others a victim needs longer to get to work
    assert await lost_records(path, told) == []
