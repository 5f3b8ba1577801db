"""E18, F07: tenants' stores are separate files, opened when needed, closed when idle, and nobody's failure is another's."""

from __future__ import annotations

import asyncio
import itertools
import os
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from inhabit.contracts.clock import now_ms
from inhabit.contracts.run import Decided, Suspended
from inhabit.errors import InvalidInput, NotFound, Unavailable
from inhabit.kernel.decide import Charge
from inhabit.store.ownership import Ownership
from inhabit.store.store import Store
from inhabit.store.tenants.naming import tenant_folder
from inhabit.store.tenants.opening import Bounds
from inhabit.store.tenants.stores import Stores
from tests.store.store_samples import ended, header, intent
from tests.store.tenants.tenants_kit import files_with, opened, recorded


async def test_E18_what_one_tenant_recorded_is_in_no_file_of_another(tmp_path: Path) -> None:
    stores = opened(tmp_path)
    names = ("acme", "Acme", "acme.", "B" * 128)
    runs = dict(zip(names, await asyncio.gather(*(recorded(stores, name, n, f"canary{n}end") for n, name in enumerate(names))), strict=True))
    for check in range(2):
        for n, name in enumerate(names):
            held = files_with(tmp_path, f"canary{n}end".encode())
            folder = tenant_folder(tmp_path, name)
            assert held and {tmp_path / file for file in held} <= set(folder.rglob("*")), (check, name)
            for other in names:
                if other != name:
                    with pytest.raises(NotFound):
                        await stores.journal.read(runs[name], tenant=other)
        if not check:
            await stores.close()
            stores = opened(tmp_path)
    assert await stores.check() == ()
    await stores.close()


async def test_what_is_only_asked_for_makes_no_store(tmp_path: Path) -> None:
    stores = opened(tmp_path)
    with pytest.raises(NotFound):
        await stores.journal.read("r", tenant="nobody")
    assert await stores.journal.list(tenant="nobody") == [] and await stores.approvals.pending(tenant="nobody") == []
    assert await stores.conversations.list(tenant="nobody") == [] and stores.tenants() == ()
    await stores.close()


async def test_F07_a_second_server_on_the_home_is_refused(tmp_path: Path) -> None:
    stores = opened(tmp_path)
    with pytest.raises(Unavailable, match=r"server\.db is in use by another process"):
        opened(tmp_path)
    await stores.close()
    await opened(tmp_path).close()


async def test_F07_a_server_whose_home_was_taken_writes_to_no_tenants_store_any_more(tmp_path: Path) -> None:
    first = opened(tmp_path)
    run = await recorded(first, "acme", 1, end=False)
    for lock in tmp_path.rglob("*.lock"):
        lock.unlink()
    second = opened(tmp_path)
    assert (await second.journal.read(run, tenant="acme")).header.run_id == run
    with pytest.raises(Unavailable, match="taken over"):
        await first.journal.append(run, intent(9)).durable()
    await second.close()
    await first.close()


async def test_askers_who_are_cancelled_before_their_store_is_opened_take_no_place(tmp_path: Path) -> None:
    stores, go_on = opened(tmp_path, most=2, wait_s=0.2), threading.Event()
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(max_workers=1))
    busy = loop.run_in_executor(None, go_on.wait)
    askers = [asyncio.create_task(stores.journal.ready(f"t{n}")) for n in range(2)]
    await asyncio.sleep(0)
    for asker in askers:
        asker.cancel()
    await asyncio.wait(askers)
    go_on.set()
    await busy
    await stores.journal.ready("late")
    await stores.close()


def threads() -> set[threading.Thread]:
    """The threads that write and read journals; a whole run of tests has others of its own."""
    return {thread for thread in threading.enumerate() if thread.name.startswith("inhabit-journal")}


async def test_stores_are_closed_when_others_are_needed_and_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    """Runs of 12 tenants at once where 3 stores may be open: each append may find its store closed and open it again."""
    before = threads()
    stores = opened(tmp_path, most=3, wait_s=60)
    told: dict[str, list[str]] = {}

    async def tenant(name: str) -> None:
        for n in range(4):
            told.setdefault(name, []).append(await recorded(stores, name, n))
            assert len(stores.opening.opened) <= 3

    await asyncio.gather(*(tenant(f"t{n}") for n in range(12)))
    assert len([thread for thread in threads() - before if thread.name == "inhabit-journal"]) <= 4   # and that of the home
    await stores.close()
    assert not threads() - before
    again = opened(tmp_path)
    for name, runs in told.items():
        assert [(await again.journal.read(run, tenant=name)).state for run in runs] == ["completed"] * 4
    assert await again.check() == ()
    await again.close()


async def test_F03_a_new_tenants_folder_is_on_the_disk_before_anything_in_it_is_acknowledged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced, sync = set[Path](), os.fsync

    def fsync(descriptor: int) -> None:
        synced.add(Path(os.readlink(f"/proc/self/fd/{descriptor}")))
        sync(descriptor)

    stores = opened(tmp_path)
    monkeypatch.setattr(os, "fsync", fsync)
    await stores.journal.ready("acme")
    folder = tenant_folder(tmp_path, "acme")
    assert {folder, folder.parent, tmp_path} <= synced
    await stores.close()


async def test_of_many_who_ask_for_a_store_at_once_one_opens_it(tmp_path: Path) -> None:
    """The others wait for it: the file's own lock would refuse them."""
    stores = opened(tmp_path, most=40)
    await asyncio.gather(*(stores.journal.ready("acme") for _ in range(20)))
    assert [one.tenant for one in stores.opening.opened] == ["acme"]
    await stores.close()


async def test_a_store_is_not_closed_under_a_run_that_is_under_way(tmp_path: Path) -> None:
    stores = opened(tmp_path, most=2, wait_s=0.2)
    live = await recorded(stores, "a", 1, end=False)
    await recorded(stores, "b", 1, end=False)
    with pytest.raises(Unavailable, match="2 tenants are in use"):
        await stores.journal.ready("c")
    with pytest.raises(Unavailable, match="2 tenants are in use"):
        stores.journal.begin(header(5, tenant="c"))
    await stores.journal.append(live, Suspended(now_ms(), {})).durable()
    await stores.journal.ready("c")     # a run that waits for people holds nothing
    assert {one.tenant for one in stores.opening.opened} == {"b", "c"}
    with pytest.raises(InvalidInput, match="has ended or never began"):
        stores.journal.append(live, intent(2))      # nothing was recorded, and that is said
    with stores.journal.hold("c"), pytest.raises(Unavailable, match="2 tenants are in use"):
        await stores.journal.summary(live, tenant="a")
    await stores.journal.summary(live, tenant="a")      # opens it again
    await stores.journal.append(live, Decided("x", 3, "reject", "eve", "token", "", 1)).durable()
    await stores.journal.append(live, ended(1)).durable()
    await stores.close()


@pytest.mark.parametrize("ended", [False, True])
async def test_G18_who_follows_a_run_keeps_no_store_from_the_others(tmp_path: Path, ended: bool) -> None:
    """One that waits for a person may wait for a week, and a client may read as slowly as it likes."""
    stores = opened(tmp_path, most=1, wait_s=0.2)
    run = await recorded(stores, "a", 1, end=ended, asks=2**50)
    if not ended:
        await stores.journal.append(run, Suspended(7, {})).durable()
    following = stores.journal.follow(run, tenant="a")
    seen = [(await anext(following)).number]
    upcoming = None
    if not ended:
        last = (await stores.journal.page(run, tenant="a")).last
        seen += [(await anext(following)).number for _ in range(last - 1)]
        upcoming = asyncio.ensure_future(anext(following))
    async with asyncio.timeout(10):
        while any(one.users for one in stores.opening.opened):
            await asyncio.sleep(0)
    await recorded(stores, "b", 2)
    if upcoming is not None:
        await stores.journal.ready("a")
        await stores.journal.append(run, Decided("ap-a-1", 3, "reject", "boss", "token", "", 9)).durable()
        async with asyncio.timeout(10):
            assert isinstance((await upcoming).entry, Decided)
    await following.aclose()    # type: ignore[attr-defined]
    await stores.close()


async def test_idle_stores_are_closed(tmp_path: Path) -> None:
    stores = Stores.open(tmp_path, now_ms, Bounds(idle_s=0.0))
    await recorded(stores, "a", 1)
    await recorded(stores, "b", 1, end=False)
    assert stores.opening.close_idle() == 1 and [one.tenant for one in stores.opening.opened] == ["b"]
    await stores.close()


async def test_a_tenant_whose_file_is_damaged_keeps_nobody_else_waiting(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stores = opened(tmp_path)
    for name in ("a", "b", "c"):
        await recorded(stores, name, 1, end=False)
    await stores.close()
    path = tmp_path / "tenants" / "b" / "journal.db"
    path.write_bytes(b"not a database at all" * 1000)
    stores = opened(tmp_path)
    assert [record.header.principal.tenant async for record in stores.journal.unfinished()] == ["a", "c"]
    assert "tenant b" in caplog.text
    with pytest.raises(Unavailable, match="cannot be read"):
        await stores.journal.list(tenant="b")
    await recorded(stores, "a", 2)
    assert stores.journal.failure is None
    await stores.close()


async def test_F04_a_full_disk_under_one_tenant_stops_only_that_one(tmp_path: Path) -> None:
    stores = opened(tmp_path)
    await recorded(stores, "full", 1)
    with stores.journal.hold("full") as held:
        full = held.store
        (pages,) = await full.database.writer.maintain(lambda c: c.execute("PRAGMA page_count").fetchone())
        await full.database.writer.maintain(lambda c: c.execute(f"PRAGMA max_page_count = {pages}").fetchone())
        with pytest.raises(Unavailable, match="disk is full"):
            await recorded(stores, "full", 2, "x" * 5_000)
        for n in range(3):
            await recorded(stores, "other", n)
        assert stores.journal.failure is None and stores.journal.gauges()["stores_failed"] == 1
    await stores.close()
    again = opened(tmp_path)
    assert len(await again.journal.list(tenant="other")) == 3 and await again.check() == ()
    await again.close()


async def test_F04_a_run_whose_store_failed_is_recorded_on_when_the_store_was_opened_anew(tmp_path: Path) -> None:
    stores = opened(tmp_path)
    run = await recorded(stores, "full", 1, end=False)
    with stores.journal.hold("full") as held:
        full = held.store
        (pages,) = await full.database.writer.maintain(lambda c: c.execute("PRAGMA page_count").fetchone())
        await full.database.writer.maintain(lambda c: c.execute(f"PRAGMA max_page_count = {pages}").fetchone())
        with pytest.raises(Unavailable, match="disk is full"):
            await stores.journal.append(run, intent(4, b'"' + b"x" * 500_000 + b'"')).durable()
    stores.opening.forget("full")
    await stores.journal.ready("full")
    await stores.journal.append(run, ended(now_ms())).durable()
    assert (await stores.journal.read(run, tenant="full")).state == "completed"
    await stores.close()


def test_F04_a_lock_file_has_its_bytes_on_the_disk(tmp_path: Path) -> None:
    """A map over a hole would end the whole server when one tenant's disk is full."""
    ownership = Ownership(tmp_path / "journal.db")
    assert (tmp_path / "journal.db.lock").stat().st_blocks * 512 >= 4096
    ownership.release()


async def test_the_start_sees_what_waits_without_opening_what_was_closed_in_order(tmp_path: Path) -> None:
    stores, soon, late = opened(tmp_path), now_ms() + 1_000, now_ms() + 10**9
    quiet = [f"quiet{n}" for n in range(20)]
    for name in quiet:
        await recorded(stores, name, 1)
    left = await recorded(stores, "left", 1, end=False)
    asked = {name: await recorded(stores, name, 1, end=False, asks=at) for name, at in (("soon", soon), ("late", late))}
    for run in asked.values():
        await stores.journal.append(run, Suspended(1, {})).durable()
    await stores.close()
    stores = opened(tmp_path)
    assert sorted(await stores.approvals.waiting()) == sorted((run, name) for name, run in asked.items())
    assert stores.opening.opened == ()
    assert [record.header.run_id async for record in stores.journal.unfinished()] == [left]
    assert await stores.approvals.due(soon - 1) == [] and [one.tenant for one in stores.opening.opened] == ["left"]
    assert [one.run_id for one in await stores.approvals.due(soon)] == [asked["soon"]]
    assert {one.tenant for one in stores.opening.opened} == {"left", "soon"}
    await stores.close()


async def test_a_crash_leaves_stores_that_the_start_mends(tmp_path: Path) -> None:
    """A write-ahead log that was left is no reason to miss what waits."""
    stores = opened(tmp_path / "home")
    run = await recorded(stores, "acme", 1, end=False)
    for path in (tmp_path / "home").rglob("*"):
        if path.is_file() and path.suffix != ".lock":
            copy = tmp_path / "crashed" / path.relative_to(tmp_path / "home")
            copy.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            copy.write_bytes(path.read_bytes())
    await stores.close()
    again = opened(tmp_path / "crashed")
    assert [record.header.run_id async for record in again.journal.unfinished()] == [run]
    assert await again.check() == ()
    await again.close()


async def test_pruning_opens_only_what_has_something_old(tmp_path: Path) -> None:
    stores = opened(tmp_path)
    for name in ("a", "b"):
        await recorded(stores, name, 1)
    await stores.close()
    stores = opened(tmp_path)
    assert (await stores.prune(now_ms())).runs == 0 and stores.opening.opened == ()
    assert (await stores.prune(now_ms() + 31 * 86_400_000)).runs == 2
    assert await stores.conversations.list(tenant="a") == []
    await stores.close()


async def test_E18_a_tenant_that_only_connected_stops_nobodys_pruning(tmp_path: Path) -> None:
    """Its folder has credentials and no journal."""
    stores = opened(tmp_path)
    await recorded(stores, "b", 1)
    (tenant_folder(tmp_path, "a")).mkdir()
    assert (await stores.prune(now_ms() + 31 * 86_400_000)).runs == 1
    await stores.close()


async def test_pruning_goes_on_by_itself(tmp_path: Path) -> None:
    stores, turns, days = opened(tmp_path), asyncio.Queue[int](), itertools.count(40)

    def day() -> int:
        turns.put_nowait(now := next(days))
        return now * 86_400_000

    task = asyncio.create_task(stores.keep_pruning(day, every_s=0.001))
    async with asyncio.timeout(10):
        assert [await turns.get() for _ in range(3)] == [40, 41, 42]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await stores.close()


async def test_usage_counts_on_when_a_store_was_closed(tmp_path: Path) -> None:
    stores = opened(tmp_path)
    run = await recorded(stores, "a", 1, end=False)
    ledger = stores.ledger_of("a")
    await stores.journal.append(run, intent(2), also=ledger.reserve([Charge("limit 'x'", 3.0, 60_000)], run)).durable()
    await stores.journal.append(run, Suspended(1, {})).durable()
    assert stores.opening.close_one()
    assert stores.ledger_of("a").used("limit 'x'", 60_000, now_ms()) == 3.0
    with pytest.raises(Exception, match="no longer kept"):
        ledger.used("limit 'x'", 60_000, now_ms())
    await stores.close()


async def test_one_store_alone_opens_as_before(tmp_path: Path) -> None:
    stores = opened(tmp_path)
    run = await recorded(stores, "acme", 1)
    await stores.close()
    store = Store.open(tmp_path / "tenants" / "acme" / "journal.db", key=tmp_path / "audit.key")
    assert (await store.journal.read(run, tenant="acme")).state == "completed"
    await store.close()
    assert sqlite3.connect(tmp_path / "server.db").execute("SELECT count(*) FROM runs").fetchone() == (0,)


async def test_stores_go_on_being_closed_after_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    stores = opened(tmp_path)
    tried = asyncio.Event()
    begun = itertools.count()

    def fails_first() -> int:
        if not next(begun):
            raise sqlite3.OperationalError("disk I/O error")
        asyncio.run_coroutine_threadsafe(_set(tried), loop)
        return 0

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(stores.opening, "close_idle", fails_first)
    task = asyncio.create_task(stores.keep_closing(every_s=0.001))
    await asyncio.wait_for(tried.wait(), 30)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled() and "closing unused stores was put off: disk I/O error" in caplog.text
    await stores.close()


async def _set(event: asyncio.Event) -> None:
    event.set()
