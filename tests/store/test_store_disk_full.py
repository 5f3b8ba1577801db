"""F04 for what is kept beside the journal's entries: what a full disk refused was not kept, is not taken for kept, and can be done again."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inhabit.contracts.connector import Secret
from inhabit.contracts.principal import Principal
from inhabit.errors import Unavailable
from inhabit.store.sealed import SealedSecrets
from inhabit.store.store import Store

ADA = Principal("ada")


def full(writer: Any) -> None:
    """The writer's connection refuses to write, as a full disk makes it."""
    connection = writer._connection
    connection.execute(f"PRAGMA max_page_count = {connection.execute('PRAGMA page_count').fetchone()[0]}")


async def filled(store: Store) -> None:
    full(store.database.writer)
    with pytest.raises(Unavailable):
        for number in range(500):
            await store.tokens.create(ADA, {"filler": "x" * 3_000}, now_ms=1, label=str(number))


async def room(store: Store) -> None:
    connection: sqlite3.Connection = store.database.writer._connection
    connection.execute("PRAGMA max_page_count = 1000000")
    async with asyncio.timeout(10):
        while store.journal.failure is not None:
            await asyncio.sleep(0.05)


async def test_F04_a_label_that_was_not_kept_is_kept_when_it_is_brought_again(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    store = Store.open(path)
    await store.conversations.join(ADA, "chat", "r0", [("private", "inbox.list")], 1)
    await filled(store)
    with pytest.raises(Unavailable):
        await store.conversations.join(ADA, "chat", "r1", [("untrusted", "web.fetch")], 1)
    await room(store)
    await store.conversations.join(ADA, "chat", "r2", [("private", "inbox.list"), ("untrusted", "web.fetch")], 1)
    await store.close()
    store = Store.open(path)
    assert dict(await store.conversations.labels(ADA, "chat")) == {"private": "inbox.list", "untrusted": "web.fetch"}
    await store.close()


async def test_F01_two_who_bring_one_label_both_wait_for_the_disk(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "journal.db")
    first = store.conversations.writes(ADA, "chat", "r1", [("untrusted", "web.fetch")], 1)   # on its way with a run's end
    again = store.conversations.writes(ADA, "chat", "r2", [("untrusted", "web.fetch")], 1)
    assert len(first) == len(again) == 1
    await store.conversations.join(ADA, "chat", "r2", [("untrusted", "web.fetch")], 1)
    assert store.conversations.writes(ADA, "chat", "r3", [("untrusted", "web.fetch")], 1) == ()
    await store.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_F04_a_secret_that_did_not_fit_leaves_the_old_one_and_no_litter(small_disk: Path) -> None:
    sealed = SealedSecrets(small_disk / "secrets", small_disk / "key")
    sealed.put("TOKEN", Secret("old"))
    filler = small_disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(small_disk).free // os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PAGE_SIZE")))
    with pytest.raises(Unavailable, match="No space left"):
        sealed.put("TOKEN", Secret("n" * 20_000))
    assert sealed.get("TOKEN").reveal() == "old"   # type: ignore[union-attr]
    assert not [name for name in os.listdir(small_disk) if name.endswith(".part")]
    filler.unlink()
    sealed.put("TOKEN", Secret("new"))
    assert sealed.get("TOKEN").reveal() == "new"   # type: ignore[union-attr]
