"""F15: what was erased is in none of our files, and the log verifies as before. F19: no record, no effect."""

from __future__ import annotations

import sqlite3
import struct
from pathlib import Path

import pytest

from inhabit.errors import InvalidInput, Unavailable
from inhabit.store.audit.erase import erase
from inhabit.store.audit.log import SALT_BYTES, Item, commitment, items_of
from inhabit.store.store import Store
from tests.store.audit.audit_kit import filled, sample
from tests.store.store_samples import header, intent

CANARY = b"canary-7f3a91"


def holding(folder: Path, needle: bytes) -> list[str]:
    return [path.name for path in folder.iterdir() if path.is_file() and needle in path.read_bytes()]


async def test_F15_a_users_data_is_in_no_file_after_erasure_and_the_log_verifies(tmp_path: Path) -> None:
    made = await sample(tmp_path)
    made.older.unlink()
    store = Store.open(made.path)
    for n in range(60):      # short and long, so that rows move between pages and overflow
        await filled(store, 100 + n, user="eve-" + CANARY.decode() if n % 2 else "bob", value=b'"' + (CANARY if n % 2 else b"kept") * (1 + n * 40) + b'"')
    assert holding(tmp_path, CANARY)
    gone = await erase(store.database, tenant="default", user="eve-" + CANARY.decode())
    assert gone.runs == 30 and gone.values >= 30
    assert holding(tmp_path, CANARY) == []       # while it is open: the write-ahead log too
    await filled(store, 500)
    assert await store.check() == ()
    await store.close()
    assert holding(tmp_path, CANARY) == []
    found = made.verify(external=True)
    assert found.findings == () and found.erased == 30


async def test_F15_nobody_can_tell_what_a_leaf_of_an_erased_run_stood_for(tmp_path: Path) -> None:
    """Not even by guessing all of it: what was recorded is hashed with a salt of its run alone, which goes with it."""
    store = Store.open(tmp_path / "journal.db")
    for n, user in enumerate(("eve", "bob")):
        await filled(store, n, user=user)
    rows = await store.database.read(lambda c: c.execute("SELECT run, number, kind, body FROM entries WHERE run = 1 ORDER BY number").fetchall())
    salts = dict(await store.database.read(lambda c: c.execute("SELECT run, salt FROM headers").fetchall()))

    def leaves(connection: sqlite3.Connection) -> list[Item]:
        return [item for (body,) in connection.execute("SELECT body FROM entries WHERE run = 0 ORDER BY number") for item in items_of(body)]

    def opens(salt: bytes, leaf: Item) -> bool:
        guessed = [part for _, number, kind, body in rows if leaf.first <= number < leaf.first + leaf.records
                   for part in (struct.pack(">BI", kind, len(body)), body)]
        return commitment(salt, leaf.first, guessed) == leaf.commitment

    about = [leaf for leaf in await store.database.read(leaves) if leaf.run == 1 and leaf.first]
    assert about and all(opens(salts[1], leaf) for leaf in about)
    await erase(store.database, tenant="default", user="eve")
    left = dict(await store.database.read(lambda c: c.execute("SELECT run, salt FROM headers").fetchall()))
    assert set(left) == {2} and [leaf for leaf in await store.database.read(leaves) if leaf.run == 1 and leaf.first] == about
    assert not any(opens(salt, leaf) for salt in (*left.values(), b"", bytes(SALT_BYTES)) for leaf in about)
    await store.close()
    assert holding(tmp_path, salts[1]) == []


async def test_F15_erasure_waits_for_runs_that_go_on(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "journal.db")
    run_id = await filled(store, 1, end=False)
    with pytest.raises(InvalidInput, match=run_id):
        await erase(store.database, tenant="default", user="ada")
    await store.close()


async def test_what_is_pruned_by_age_leaves_a_log_that_verifies(tmp_path: Path) -> None:
    made = await sample(tmp_path)
    store = Store.open(made.path)
    assert (await store.prune(10**15)).runs == 12
    await store.close()
    found = made.verify(external=True)
    assert found.findings == () and found.erased == 12


@pytest.mark.parametrize("by", ["age", "erasure"])
async def test_F15_a_run_after_all_others_went_is_not_taken_for_one_of_them(by: str, tmp_path: Path) -> None:
    """The log tells runs apart by a key: one that was given out is not given out again, also by a store that was closed meanwhile."""
    made = await sample(tmp_path)
    store = Store.open(made.path)
    if by == "age":
        assert (await store.prune(10**15)).runs == 12
    else:
        await filled(store, 100, user="eve")
        assert (await erase(store.database, tenant="default", user="eve")).runs == 1
    await store.close()
    store = Store.open(made.path)
    await filled(store, 500)
    await store.close()
    assert made.verify(external=True).findings == ()


async def test_F19_what_cannot_be_audited_is_not_recorded_and_so_not_done(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "journal.db")
    head = header()
    await store.journal.begin(head).durable()
    await store.database.writer.maintain(lambda c: c.execute(
        "CREATE TRIGGER broken BEFORE INSERT ON entries WHEN new.run = 0 BEGIN SELECT raise(ABORT, 'the log cannot be written'); END"))
    with pytest.raises(Unavailable, match="the log cannot be written"):
        await store.journal.append(head.run_id, intent(1)).durable()
    with pytest.raises(Unavailable):
        store.journal.append(head.run_id, intent(2))
    await store.close()
    connection = sqlite3.connect(tmp_path / "journal.db")
    assert connection.execute("SELECT count(*) FROM entries WHERE run != 0").fetchone() == (0,)
    connection.close()
