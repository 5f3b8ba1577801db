"""Backups are taken while all goes on, and put back without doing anything twice."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import threading
from pathlib import Path

import pytest

from inhabit.contracts.principal import Principal
from inhabit.contracts.run import Terminal
from inhabit.errors import InvalidInput, Unavailable
from inhabit.store import backup
from inhabit.store.schema import SCHEMA_VERSION
from inhabit.store.store import Store
from tests.store.store_samples import END, header, intent, outcome


async def test_a_backup_under_load_is_whole_and_has_what_was_appended_before(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "journal.db")
    heads = [header(n) for n in range(8)]
    for head in heads:
        store.journal.begin(head)
    stop = asyncio.Event()

    async def load(run_id: str) -> int:
        number = 0
        while not stop.is_set():
            number += 1
            await store.journal.append(run_id, intent(number), outcome(number, b"b" * 5_000)).durable()
        return number

    loads = [asyncio.create_task(load(head.run_id)) for head in heads]
    await asyncio.sleep(0.05)
    mark = header(99)
    store.journal.begin(mark)
    store.journal.append(mark.run_id, END)
    for n in range(3):
        await store.backup(tmp_path / f"copy{n}.db")
    stop.set()
    await asyncio.gather(*loads)
    await store.close()
    assert stat.S_IMODE((tmp_path / "copy0.db").stat().st_mode) == 0o600
    assert sorted(p.name for p in tmp_path.glob("copy*")) == ["copy0.db", "copy1.db", "copy2.db"]
    for n in range(3):
        Store.restore(tmp_path / f"copy{n}.db", tmp_path / f"r{n}" / "journal.db", now_ms=5)
        copy = Store.open(tmp_path / f"r{n}" / "journal.db")
        assert await copy.check() == ()
        assert (await copy.journal.read(mark.run_id, tenant="default")).state == "completed"
        await copy.close()


async def test_a_running_store_is_copied_from_outside(tmp_path: Path) -> None:
    path, head = tmp_path / "home" / "journal.db", header()
    store = Store.open(path)
    store.journal.begin(head)
    await store.journal.append(head.run_id, intent(1), END).durable()
    Store.copy(path, tmp_path / "one.db")
    await store.close()
    Store.copy(path, tmp_path / "two.db")
    for name in ("one", "two"):
        copy = Store.open(tmp_path / f"{name}.db")
        assert len((await copy.journal.read(head.run_id, tenant="default")).entries) == 2
        assert await copy.check() == ()
        await copy.close()
    with pytest.raises(InvalidInput, match="exists already"):
        Store.copy(path, tmp_path / "one.db")
    (tmp_path / "text").write_text("no database" * 100)
    for wrong in (tmp_path / "text", tmp_path / "missing"):
        with pytest.raises(InvalidInput):
            Store.copy(wrong, tmp_path / "three.db")


async def test_F17_a_restored_run_is_closed_not_done_again(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    store, head, later = Store.open(path), header(1), header(2)
    store.journal.begin(head)
    await store.journal.append(head.run_id, intent(1)).durable()
    await store.backup(tmp_path / "yesterday.db")
    store.journal.append(head.run_id, outcome(1), END)
    store.journal.begin(later)
    await store.close()
    restored = Store.restore(tmp_path / "yesterday.db", path, now_ms=77)
    assert restored.closed == (head.run_id,)
    assert restored.revocations
    store = Store.open(path)
    assert [r async for r in store.journal.unfinished()] == []
    record = await store.journal.read(head.run_id, tenant="default")
    assert record.state == "unknown"
    last = record.entries[-1].entry
    assert isinstance(last, Terminal)
    assert b"restored" in last.value
    assert [s.run_id for s in await store.journal.list(tenant="default")] == [head.run_id]
    assert await store.check() == ()
    await store.close()
    assert restored.kept is not None
    (tmp_path / "old").mkdir()
    replaced = Store.open(restored.kept)
    assert len(await replaced.journal.list(tenant="default")) == 2
    await replaced.close()


async def test_a_token_revoked_after_the_backup_stays_revoked(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    store = Store.open(path)
    token, made = await store.tokens.create(Principal("ada"), [], now_ms=1)
    await store.backup(tmp_path / "copy.db")
    await store.tokens.revoke(made.id, tenant="default", now_ms=2)
    await store.close()
    Store.restore(tmp_path / "copy.db", path, now_ms=3)
    store = Store.open(path)
    assert await store.tokens.verify(token, now_ms=4) is None
    await store.close()


async def test_restoring_heals_a_file_that_lost_its_log_or_its_mind(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    store = Store.open(path)
    await store.journal.begin(header()).durable()
    await store.backup(tmp_path / "copy.db")
    await store.close()
    path.write_bytes(b"garbage" * 1_000)
    with pytest.raises(Unavailable):
        Store.open(path)
    restored = Store.restore(tmp_path / "copy.db", path, now_ms=3)
    assert not restored.revocations
    await Store.open(path).close()
    path.unlink()
    assert Store.restore(tmp_path / "copy.db", path, now_ms=4).kept is None
    await Store.open(path).close()


async def test_restore_refuses_what_is_no_whole_backup(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    store = Store.open(path)
    for n in range(40):
        store.journal.begin(header(n, source="s" * 3_000))
    await store.backup(tmp_path / "copy.db")
    with pytest.raises(Unavailable, match="in use"):
        Store.restore(tmp_path / "copy.db", path, now_ms=1)
    with pytest.raises(InvalidInput, match="exists already"):
        await store.backup(tmp_path / "copy.db")
    with pytest.raises(Unavailable, match="cannot write"):
        await store.backup(tmp_path / "no" / "where.db")
    await store.close()
    before = path.read_bytes()
    whole = (tmp_path / "copy.db").read_bytes()
    (tmp_path / "cut.db").write_bytes(whole[:len(whole) // 2])
    (tmp_path / "text.db").write_text("hello " * 1_000)
    (tmp_path / "empty.db").write_text("")
    for name in ("cut.db", "text.db", "empty.db", "missing.db"):
        with pytest.raises(InvalidInput):
            Store.restore(tmp_path / name, path, now_ms=1)
    newer = sqlite3.connect(tmp_path / "copy.db")
    newer.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    newer.close()
    with pytest.raises(Unavailable, match="schema version"):
        Store.restore(tmp_path / "copy.db", path, now_ms=1)
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir() if "restoring" in p.name or "part" in p.name) == []


async def test_two_backups_to_one_target_make_one_whole_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(tmp_path / "journal.db")
    head = header()
    store.journal.begin(head)
    await store.journal.append(head.run_id, END).durable()
    both, real = threading.Barrier(2, timeout=20), backup.copy_pages

    def together(source: Path, target: Path) -> None:
        both.wait()     # both have their file and nothing in it
        real(source, target)
        both.wait()     # both are copied, and neither has its name

    monkeypatch.setattr(backup, "copy_pages", together)
    made = await asyncio.gather(*(asyncio.to_thread(Store.copy, tmp_path / "journal.db", tmp_path / "copy.db") for _ in range(2)),
                                return_exceptions=True)
    monkeypatch.undo()
    await store.close()
    assert sorted(type(each).__name__ for each in made) == ["InvalidInput", "PosixPath"]
    assert [path.name for path in tmp_path.glob("copy*")] == ["copy.db"]
    assert Store.restore(tmp_path / "copy.db", tmp_path / "r" / "journal.db", now_ms=5).closed == ()
