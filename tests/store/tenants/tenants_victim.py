"""Writes runs of two tenants until it is killed; prints each run once its end is on disk. A third tenant now and then makes
the stores change places: two may be open at once.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from inhabit.errors import Unavailable
from tests.store.tenants.tenants_kit import opened, recorded


async def main(home: Path, begin: int) -> None:
    stores = opened(home, most=2, wait_s=30)

    async def tenant(name: str, pause_s: float) -> None:
        for n in range(begin, begin + 100_000):
            try:
                print(name, await recorded(stores, name, n), flush=True)  # noqa: T201
            except Unavailable:     # all stores were in use for a moment: said, and nothing acknowledged
                continue
            await asyncio.sleep(pause_s)

    await asyncio.gather(tenant("a", 0), tenant("b", 0), tenant("c", 0.02))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
