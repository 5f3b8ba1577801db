"""Who follows a run gets its entries as they are recorded, to its end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from inhabit.errors import NotFound, Unavailable
from tests.store.store_samples import END, header, intent, outcome
from tests.store.tenants.tenants_kit import opened


async def test_a_follower_wakes_on_entries_and_ends_with_the_run(tmp_path: Path) -> None:
    stores, head, seen = opened(tmp_path), header(), asyncio.Queue[int]()
    await stores.journal.ready("default")
    stores.journal.begin(head)

    async def reader() -> list[int]:
        numbers: list[int] = []
        async for stored in stores.journal.follow(head.run_id, tenant="default", after=1):
            numbers.append(stored.number)
            seen.put_nowait(stored.number)
        return numbers

    reading = asyncio.create_task(reader())
    async with asyncio.timeout(10):
        stores.journal.append(head.run_id, outcome(1), outcome(2))
        assert await seen.get() == 2
        stores.journal.append(head.run_id, outcome(3))
        assert await seen.get() == 3
        stores.journal.append(head.run_id, END)
        assert await reading == [2, 3, 4]
    await stores.close()


async def test_a_follower_reads_a_long_run_in_pieces(tmp_path: Path) -> None:
    stores, head = opened(tmp_path), header()
    await stores.journal.ready("default")
    stores.journal.begin(head)
    for n in range(1, 501):
        stores.journal.append(head.run_id, intent(n), outcome(n))
    stores.journal.append(head.run_id, END)
    seen = [stored.number async for stored in stores.journal.follow(head.run_id, tenant="default", after=300)]
    assert seen == list(range(301, 1_002))
    await stores.close()


async def test_a_follower_is_told_that_the_journal_has_failed(tmp_path: Path) -> None:
    stores, head = opened(tmp_path), header()
    await stores.journal.ready("default")
    await stores.journal.begin(head).durable()
    following = asyncio.create_task(anext(stores.journal.follow(head.run_id, tenant="default")))
    async with asyncio.timeout(10):
        await asyncio.sleep(0)      # it reads
        while any(one.users for one in stores.opening.opened):
            await asyncio.sleep(0)
    with stores.journal.hold("default") as held:
        held.store.database.writer.stop()
        with pytest.raises(Unavailable, match="closed"):
            stores.journal.append(head.run_id, outcome(1))
        async with asyncio.timeout(10):
            with pytest.raises(Unavailable, match="closed"):
                await following
    await stores.close()


async def test_E18_another_tenants_run_is_not_followed(tmp_path: Path) -> None:
    stores, head = opened(tmp_path), header(tenant="acme")
    await stores.journal.ready("acme")
    await stores.journal.begin(head).durable()
    with pytest.raises(NotFound, match="no run"):
        await anext(stores.journal.follow(head.run_id, tenant="other"))
    await stores.close()
