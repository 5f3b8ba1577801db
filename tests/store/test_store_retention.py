"""What is forgotten goes whole, and nothing else goes."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inhabit.contracts.run import Logged
from inhabit.errors import ConfigError, NotFound
from inhabit.store.blobs import SqliteBlobs
from inhabit.store.retention import Retention
from inhabit.store.store import Store
from tests.store.store_samples import ended, header, intent, outcome

DAY_MS = 86_400_000


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = Store.open(tmp_path / "journal.db")
    yield opened
    await opened.close()


async def left(store: Store) -> list[str]:
    return [s.run_id for s in await store.journal.list(tenant="default", limit=500)][::-1]


async def test_old_finished_runs_go_and_unfinished_stay(store: Store) -> None:
    heads = [header(n) for n in range(130)]
    for day, head in enumerate(heads):
        store.journal.begin(head)
        store.journal.append(head.run_id, intent(1), outcome(1))
        if day % 10:
            store.journal.append(head.run_id, ended(day * DAY_MS))
    pruned = await store.prune(130 * DAY_MS)
    kept = [head.run_id for day, head in enumerate(heads) if day % 10 == 0 or day >= 100]
    assert await left(store) == kept
    assert pruned.runs == 130 - len(kept)
    assert pruned.log_cut
    assert await store.check() == ()
    assert len([r async for r in store.journal.unfinished()]) == 13


async def test_beyond_the_size_the_oldest_go_first(store: Store, tmp_path: Path) -> None:
    heads = [header(n) for n in range(40)]
    for n, head in enumerate(heads):
        store.journal.begin(head)
        store.journal.append(head.run_id, intent(1), outcome(1, bytes([n]) * 100_000), ended(n))
    size = 2_000_000
    pruned = await store.prune(100, Retention(max_bytes=size))
    kept = await left(store)
    assert kept == [head.run_id for head in heads[-len(kept):]]
    assert 10 <= len(kept) <= 20
    assert (pruned.runs, pruned.values, pruned.over_bytes) == (40 - len(kept), 40 - len(kept), 0)
    assert (tmp_path / "journal.db").stat().st_size <= size
    assert (tmp_path / "journal.db-wal").stat().st_size == 0
    assert await store.check() == ()


async def test_what_cannot_go_is_said(store: Store) -> None:
    head = header()
    store.journal.begin(head)
    store.journal.append(head.run_id, outcome(1, b"x" * 1_000_000))
    pruned = await store.prune(100 * DAY_MS, Retention(max_bytes=100_000))
    assert pruned.over_bytes > 900_000
    assert await left(store) == [head.run_id]


async def test_a_shared_value_stays_while_a_run_needs_it(store: Store) -> None:
    old, new = header(1), header(2)
    value = b"s" * 10_000
    for head, at_ms in ((old, 1), (new, 99 * DAY_MS)):
        store.journal.begin(head)
        store.journal.append(head.run_id, outcome(1, value), ended(at_ms))
    pruned = await store.prune(100 * DAY_MS)
    assert (pruned.runs, pruned.values) == (1, 0)
    assert (await store.journal.read(new.run_id, tenant="default")).entries[0].entry == outcome(1, value)
    pruned = await store.prune(200 * DAY_MS)
    assert (pruned.runs, pruned.values) == (1, 1)


async def test_a_binary_value_lives_as_long_as_a_record_names_it(store: Store) -> None:
    blobs = SqliteBlobs(store.database, now_ms=lambda: 1)
    named = await blobs.put(b"named", tenant="default", mime="text/plain")
    unnamed = await blobs.put(b"unnamed", tenant="default", mime="text/plain")
    head = header()
    store.journal.begin(head)
    text = b'{"file": {"$binary": "%s", "type": "text/plain", "size": 5}}' % named["$binary"].encode()
    await store.journal.append(head.run_id, outcome(1, text)).durable()
    assert (await store.prune(6 * DAY_MS)).values == 0
    assert (await store.prune(8 * DAY_MS)).values == 1
    assert await blobs.get(named, tenant="default") == b"named"
    with pytest.raises(NotFound):
        await blobs.get(unnamed, tenant="default")
    store.journal.append(head.run_id, ended(9 * DAY_MS))
    assert (await store.prune(100 * DAY_MS)).values == 1
    with pytest.raises(NotFound):
        await blobs.get(named, tenant="default")


async def test_F15_nothing_of_a_pruned_run_is_in_the_files(store: Store, tmp_path: Path) -> None:
    canary = b"CANARY_7d1f"
    heads = [header(n, source=canary.decode() + "S", input=canary + b"I" * (n % 7) * 1_000) for n in range(120)]
    for n, head in enumerate(heads):
        store.journal.begin(head)
        for sequence in range(n % 9):
            store.journal.append(head.run_id, intent(sequence, canary + b"A" * (sequence * 300)),
                                 outcome(sequence, canary + b"V" * (sequence * 2_000)), Logged("log", canary.decode()))
        await asyncio.sleep(0)
    for head in heads:
        store.journal.append(head.run_id, ended(1, canary + b"T"))
    keep = header(500)
    store.journal.begin(keep)
    await store.journal.append(keep.run_id, intent(1), outcome(1, b"KEEP_ME"), ended(35 * DAY_MS)).durable()
    assert sum(file.read_bytes().count(canary) for file in tmp_path.iterdir()) > 1_000
    pruned = await store.prune(40 * DAY_MS)
    assert (pruned.runs, pruned.log_cut) == (120, True)
    assert await left(store) == [keep.run_id]
    for file in tmp_path.iterdir():
        assert canary not in file.read_bytes(), file.name


async def test_a_long_reading_keeps_the_log_and_that_is_said(store: Store) -> None:
    for n in range(20):
        head = header(n)
        store.journal.begin(head)
        store.journal.append(head.run_id, outcome(1, b"p" * 9_000), ended(1))
    await store.journal.list(tenant="default")
    reading, stop = threading.Event(), threading.Event()

    def hold(connection: sqlite3.Connection) -> None:
        connection.execute("SELECT count(*) FROM runs").fetchone()
        reading.set()
        stop.wait(30)

    held = asyncio.create_task(store.database.read(hold))
    await asyncio.to_thread(reading.wait, 30)
    pruned = await store.prune(40 * DAY_MS)
    assert (pruned.runs, pruned.log_cut) == (20, False)
    stop.set()
    await held
    assert (await store.prune(40 * DAY_MS)).log_cut


async def test_appends_pass_while_pruning(store: Store) -> None:
    for n in range(300):
        head = header(n)
        store.journal.begin(head)
        store.journal.append(head.run_id, outcome(1, b"p" * 5_000), ended(1))
    live = header(999)
    await store.journal.begin(live).durable()
    pruning = asyncio.create_task(store.prune(40 * DAY_MS))
    appended = 0
    while not pruning.done():
        await store.journal.append(live.run_id, outcome(appended)).durable()
        appended += 1
    assert (await pruning).runs == 300
    assert appended > 3
    assert len((await store.journal.read(live.run_id, tenant="default")).entries) == appended


async def test_a_start_after_pruning_is_no_alarm(tmp_path: Path) -> None:
    store, head = Store.open(tmp_path / "journal.db"), header()
    store.journal.begin(head)
    await store.journal.append(head.run_id, ended(1)).durable()
    assert (await store.prune(40 * DAY_MS)).runs == 1
    await store.close()
    await Store.open(tmp_path / "journal.db").close()


@pytest.mark.parametrize("given", [{"max_age_days": 0}, {"max_bytes": -1}, {"max_age_days": float("inf")},
                                   {"max_age_days": float("nan")}, {"max_bytes": True}, {"max_age_days": 1e12}])
def test_retention_is_never_off_by_mistake(given: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="positive number"):
        Retention(**given)  # pyright: ignore[reportArgumentType]
