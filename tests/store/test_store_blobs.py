"""Binary values and long journal values: kept once per tenant, found by nobody else."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inhabit.errors import InvalidInput, LimitExceeded, NotFound, Unavailable
from inhabit.store.blobs import MAX_BLOB_BYTES, SqliteBlobs
from inhabit.store.store import Store
from tests.store.store_samples import END, header, outcome


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = Store.open(tmp_path / "journal.db")
    yield opened
    await opened.close()


async def held(store: Store) -> int:
    return await store.database.read(lambda c: c.execute("SELECT count(*) FROM blobs").fetchone()[0])


async def test_a_value_comes_back(store: Store) -> None:
    for data in (b"", b"\0\xff", b"x" * 3_000_000):
        reference = await store.blobs.put(data, tenant="acme", mime="image/png")
        assert reference == {"$binary": hashlib.sha256(data).hexdigest(), "type": "image/png", "size": len(data)}
        assert await store.blobs.get(reference, tenant="acme") == data


async def test_equal_values_are_kept_once_a_tenant(store: Store) -> None:
    for tenant in ("acme", "acme", "other"):
        await store.blobs.put(b"same", tenant=tenant, mime="text/plain")
    assert await held(store) == 2


async def test_E18_another_tenants_reference_finds_nothing(store: Store) -> None:
    reference = await store.blobs.put(b"theirs", tenant="acme", mime="text/plain")
    with pytest.raises(NotFound):
        await store.blobs.get(reference, tenant="other")


@pytest.mark.parametrize("name", [None, 5, "", "zz", "A" * 64, "a" * 63, "a" * 65, "../" + "a" * 61])
async def test_what_is_no_reference_is_refused(store: Store, name: object) -> None:
    with pytest.raises(InvalidInput, match="64 hexadecimal"):
        await store.blobs.get({"$binary": name}, tenant="acme")


async def test_bounds(store: Store) -> None:
    with pytest.raises(LimitExceeded, match="value_bytes"):
        await store.blobs.put(bytes(MAX_BLOB_BYTES + 1), tenant="acme", mime="text/plain")
    small = SqliteBlobs(store.database, max_tenant_bytes=10)
    await small.put(b"12345678", tenant="acme", mime="text/plain")
    with pytest.raises(LimitExceeded, match="tenant_bytes"):
        await small.put(b"abc", tenant="acme", mime="text/plain")
    await small.put(b"abc", tenant="other", mime="text/plain")


async def test_long_journal_values_are_shared_and_read_back(store: Store) -> None:
    long, source = b'"' + b"v" * 50_000 + b'"', "let a = 1;\n" * 1_000
    heads = [header(n, source=source, input=long) for n in range(3)]
    for head in heads:
        store.journal.begin(head)
        store.journal.append(head.run_id, outcome(1, long), outcome(2, long), END)
    for head in heads:
        record = await store.journal.read(head.run_id, tenant="default")
        assert record.header == head
        assert [e.entry for e in record.entries] == [outcome(1, long), outcome(2, long), END]
    assert await held(store) == 2


async def test_F10_a_changed_value_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    store, head = Store.open(path), header()
    store.journal.begin(head)
    await store.journal.append(head.run_id, outcome(1, b"v" * 9_000)).durable()
    await store.close()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE blobs SET data = ?", (b"w" * 9_000,))
    connection.commit()
    connection.close()
    store = Store.open(path)
    with pytest.raises(Unavailable, match="does not fit its name"):
        await store.journal.read(head.run_id, tenant="default")
    assert len(await store.check()) == 2
    await store.close()


@pytest.mark.parametrize("mime", ["image", "", "text/html\r\nx: y", "a/b; c=" + "d" * 300])
async def test_a_media_type_that_is_none_costs_no_value(store: Store, mime: str) -> None:
    reference = await store.blobs.put(b"what a call that has happened answered", tenant="acme", mime=mime)
    assert reference["type"] == "application/octet-stream"
