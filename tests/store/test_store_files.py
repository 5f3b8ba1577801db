"""Opening the file: whose it is, whether it is whole, and what a start refuses."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from inhabit.errors import Unavailable
from inhabit.store.database import Database
from inhabit.store.schema import SCHEMA_VERSION
from inhabit.store.store import Store
from tests.store.store_samples import END, header, intent, outcome


async def filled(path: Path, runs: int = 3) -> list[str]:
    store = Store.open(path)
    heads = [header(n) for n in range(runs)]
    for head in heads:
        store.journal.begin(head)
        store.journal.append(head.run_id, intent(1), outcome(1, b"v" * 6_000), END)
    await store.close()
    return [head.run_id for head in heads]


CRASHED = """
import asyncio, os, sys
from pathlib import Path
from tests.store.store_samples import header, outcome
from inhabit.store.store import Store

async def main():
    store = Store.open(Path(sys.argv[1]))
    head = header()
    await store.journal.begin(head).durable()
    await store.journal.append(head.run_id, outcome(1)).durable()
    print(head.run_id, flush=True)
    if sys.argv[2] == "stay":
        sys.stdin.read()
    os.kill(os.getpid(), 9)

asyncio.run(main())
"""


def crashed(path: Path, how: str = "die") -> subprocess.Popen[str]:
    """A process that journals one entry durably, then dies by SIGKILL (at once, or when its stdin closes)."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    return subprocess.Popen([sys.executable, "-c", CRASHED, str(path), how], env=environment, text=True,
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE)


async def test_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "journal.db"
    store = Store.open(path)
    await store.journal.begin(header()).durable()
    modes = {name.name: stat.S_IMODE(name.stat().st_mode) for name in (path.parent, *path.parent.iterdir())}
    await store.close()
    assert modes == {"new": 0o700, "journal.db": 0o600, "journal.db-wal": 0o600, "journal.db-shm": 0o600,
                     "journal.db.lock": 0o600, "journal.db.audit-key": 0o600}


async def test_files_left_open_to_others_are_tightened(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    await filled(path)
    path.chmod(0o644)
    await Store.open(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_F07_a_second_server_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with crashed(path, "stay") as first:
        assert first.stdout is not None
        first.stdout.readline()
        with pytest.raises(Unavailable, match=rf"in use by another process \(pid {first.pid}\)"):
            Database(path, lock_wait_s=0.0)
        first.communicate()
    store = Store.open(path)
    assert len([r async for r in store.journal.unfinished()]) == 1
    await store.close()


async def test_F07_the_same_process_twice_is_refused(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "journal.db")
    with pytest.raises(Unavailable, match="in use"):
        Database(tmp_path / "journal.db", lock_wait_s=0.0)
    await store.close()


@pytest.mark.parametrize("whole_batch", [False, True])
async def test_F07_a_server_whose_lock_was_taken_away_writes_nothing(tmp_path: Path, whole_batch: bool) -> None:
    path = tmp_path / "journal.db"
    old, head = Store.open(path), header()
    await old.journal.begin(head).durable()
    (tmp_path / "journal.db.lock").unlink()
    new = Store.open(path)
    with pytest.raises(Unavailable, match="taken over"):
        await (old.journal.append(head.run_id, outcome(1), END) if whole_batch
               else old.journal.append(head.run_id, outcome(1))).durable()
    with pytest.raises(Unavailable, match="taken over"):
        old.journal.append(head.run_id, outcome(2))
    with pytest.raises(Unavailable, match="taken over"):
        old.journal.begin(header(1))
    assert (await new.journal.read(head.run_id, tenant="default")).entries == ()
    await new.journal.append(head.run_id, outcome(1), END).durable()
    await old.close()
    await new.close()


async def test_F16_a_newer_file_is_refused_untouched(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    await filled(path)
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(Unavailable, match=f"schema version {SCHEMA_VERSION + 1}") as caught:
        Store.open(path)
    assert caught.value.fix is not None
    assert path.read_bytes() == before


async def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (a)")
    connection.commit()
    connection.close()
    with pytest.raises(Unavailable, match="another program"):
        Store.open(path)


@pytest.mark.parametrize("content", [b"not a database at all" * 400, b"SQLite format 3\0" + b"\xff" * 8_000])
async def test_F18_a_file_that_is_no_database_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "journal.db"
    path.write_bytes(content)
    with pytest.raises(Unavailable, match=r"journal\.db cannot be read"):
        Store.open(path)
    assert path.read_bytes() == content


async def test_F18_a_removed_log_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with crashed(path) as process:
        process.communicate()
    (tmp_path / "journal.db-wal").unlink()
    with pytest.raises(Unavailable, match="lost acknowledged records"):
        Store.open(path)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
async def test_F18_a_cut_log_is_noticed(tmp_path: Path, share: float) -> None:
    path = tmp_path / "journal.db"
    with crashed(path) as process:
        process.communicate()
    log = tmp_path / "journal.db-wal"
    os.truncate(log, int(log.stat().st_size * share))
    with pytest.raises(Unavailable, match="lost acknowledged records"):
        Store.open(path)


async def test_F18_a_removed_database_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    await filled(path)
    path.unlink()
    with pytest.raises(Unavailable, match="lost acknowledged records") as caught:
        Store.open(path)
    assert "journal.db.lock" in str(caught.value.fix)
    (tmp_path / "journal.db.lock").unlink()
    await Store.open(path).close()


async def test_F18_removing_the_shared_memory_after_a_crash_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with crashed(path) as process:
        run_id = process.communicate()[0].strip()
    (tmp_path / "journal.db-shm").unlink()
    store = Store.open(path)
    assert len((await store.journal.read(run_id, tenant="default")).entries) == 1
    await store.close()


async def test_F18_every_overwritten_page_is_found(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    await filled(path, 20)
    sound = path.read_bytes()
    for page in range(0, len(sound), 4096):
        path.write_bytes(sound[:page] + os.urandom(4096) + sound[page + 4096:])
        assert await problem_of(path), f"page {page // 4096} was overwritten and nothing noticed"
    path.write_bytes(sound)
    assert await problem_of(path) == ""


async def problem_of(path: Path) -> str:
    """What a start or else a check says."""
    try:
        store = Store.open(path)
    except Unavailable as error:
        return error.message
    try:
        return "; ".join(await store.check())
    finally:
        await store.close()


async def test_check_names_what_breaks_the_promises(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    first, second, third = await filled(path)
    connection = sqlite3.connect(path)
    connection.execute("DELETE FROM entries WHERE run = 1 AND number = 1")
    connection.execute("UPDATE runs SET state = 'failed' WHERE key = 2")
    connection.execute("DELETE FROM blobs")
    connection.execute("INSERT INTO headers VALUES (99, x'00', NULL)")
    connection.commit()
    connection.close()
    store = Store.open(path)
    said = "\n".join(await store.check())
    await store.close()
    assert "headers of 1 runs that do not exist" in said
    for run_id in (first, second, third):
        assert f"entry 2 of run {run_id} is damaged" in said


async def test_check_sees_gaps_ends_and_orphans(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    store = Store.open(path)
    first, second = header(1), header(2)
    for head in (first, second):
        store.journal.begin(head)
        store.journal.append(head.run_id, intent(1), outcome(1), intent(2), END)
    await store.close()
    connection = sqlite3.connect(path)
    connection.execute("DELETE FROM entries WHERE run = 1 AND number = 1")
    connection.execute("UPDATE entries SET number = number + 10 WHERE run = 2 AND number = 3")
    connection.execute("UPDATE runs SET state = 'failed' WHERE key = 2")
    connection.commit()
    connection.close()
    store = Store.open(path)
    said = "\n".join(await store.check())
    await store.close()
    assert f"run {first.run_id}: its entries are not numbered" in said
    assert f"run {first.run_id}: entry 2 is an outcome without an intent" in said
    assert f"run {second.run_id}: entries follow its end" in said
    assert f"run {second.run_id}: listed as failed" in said


async def test_an_unwritable_place_is_said_plainly(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="cannot be opened"):
        Store.open(tmp_path / "file" / "journal.db")
