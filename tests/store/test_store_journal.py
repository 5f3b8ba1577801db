"""The journal through its public methods, on a real file."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inhabit.contracts.run import (
    Delivered,
    Entry,
    Intent,
    Logged,
    Outcome,
    Resumed,
    Terminal,
)
from inhabit.errors import InvalidInput, NotFound, Unavailable
from inhabit.store.codec import decode_entry, decode_header, encode_entry, encode_header
from inhabit.store.database import Database
from inhabit.store.ids import new_run_id, run_created_ms
from inhabit.store.journal import SqliteJournal
from inhabit.store.packing import INLINE_BYTES, pack, unpack
from tests.store.store_samples import END, header, outcome


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = Database(tmp_path / "data" / "journal.db")
    yield opened
    await opened.close()


@pytest.fixture
def journal(database: Database) -> SqliteJournal:
    return SqliteJournal(database)


json_bytes = st.binary(max_size=40) | st.just(b"x" * (INLINE_BYTES + 1)) | st.just(b"y" * INLINE_BYTES)
texts = st.text(st.characters(exclude_categories=()), max_size=20)
plain = st.text(max_size=20)
numbers = st.integers(0, 2**53)
entries = st.one_of(
    st.builds(Intent, numbers, plain, json_bytes, st.dictionaries(plain, plain, max_size=3), plain, plain,
              st.booleans(), st.booleans(), numbers),
    st.builds(Outcome, numbers, st.booleans(), json_bytes, st.floats(0, 1e9), numbers,
              st.lists(plain, max_size=3).map(tuple)),
    st.builds(Delivered, st.sampled_from(["result", "error", "timer"]), numbers, numbers, numbers),
    st.builds(Logged, st.sampled_from(["log", "error"]), texts),
    st.builds(Resumed, numbers, plain, st.lists(numbers, max_size=3).map(tuple)),
    st.builds(Terminal, st.sampled_from(["completed", "failed"]), json_bytes, numbers,
              st.dictionaries(plain, st.floats(0, 1e9), max_size=3)),
)


@given(entries)
def test_every_entry_survives_its_layout(entry: Entry) -> None:
    draft = encode_entry(entry)
    meta, parts = unpack(pack(draft.meta, draft.parts, [None] * len(draft.parts)), "x")
    assert decode_entry(draft.kind, meta, [p for p in parts if isinstance(p, bytes)]) == entry


@given(texts, texts, st.binary(max_size=50), st.none() | plain)
def test_every_header_survives_its_layout(source: str, code: str, value: bytes, parent: str | None) -> None:
    given_header = header(source=source, code=code, input=value, parent_run=parent, names=("shop", "crm"),
                          grant={"allow": ["shop.*"]}, limits={"cpu_ms": 5}, schema_hashes={"a": "b"})
    draft = encode_header(given_header)
    assert decode_header(draft.meta, draft.parts) == given_header


@settings(max_examples=200)
@given(entries, st.data())
def test_F10_a_flipped_bit_is_an_error(entry: Entry, data: st.DataObject) -> None:
    draft = encode_entry(entry)
    body = bytearray(pack(draft.meta, draft.parts, [None] * len(draft.parts)))
    place = data.draw(st.integers(0, len(body) * 8 - 1))
    body[place // 8] ^= 1 << place % 8
    with pytest.raises(Unavailable, match="damaged"):
        unpack(bytes(body), "x")


@given(st.lists(st.lists(entries.filter(lambda e: not isinstance(e, Terminal)), max_size=4), max_size=6), st.booleans())
@settings(max_examples=25, deadline=None)
async def test_what_is_appended_is_read(tmp_path_factory: pytest.TempPathFactory, groups: list[list[Entry]],
                                        ended: bool) -> None:
    database = Database(tmp_path_factory.mktemp("j") / "journal.db")
    try:
        journal, head = SqliteJournal(database), header()
        journal.begin(head)
        for group in groups:
            journal.append(head.run_id, *group)
        if ended:
            journal.append(head.run_id, END)
        record = await journal.read(head.run_id, tenant="default")
        wanted = [entry for group in groups for entry in group] + ([END] if ended else [])
        assert record.header == head
        assert [(e.number, e.entry) for e in record.entries] == list(enumerate(wanted, 1))
        assert record.state == ("completed" if ended else "running")
    finally:
        await database.close()


async def test_durable_entries_are_there_after_a_reopen(tmp_path: Path) -> None:
    database, head, other = Database(tmp_path / "j.db"), header(1), header(2)
    journal = SqliteJournal(database)
    journal.begin(head)
    journal.begin(other)
    await journal.append(other.run_id, outcome(1), END).durable()
    await journal.append(head.run_id, outcome(1, b"z" * 10_000)).durable()
    await database.close()
    database = Database(tmp_path / "j.db")
    journal = SqliteJournal(database)
    (left,) = [r async for r in journal.unfinished()]
    assert left.header == head
    assert left.state == "running"
    assert journal.written(head.run_id) > 10_000
    await journal.append(head.run_id, Resumed(8, "start"), END).durable()
    record = await journal.read(head.run_id, tenant="default")
    assert [e.number for e in record.entries] == [1, 2, 3]
    assert [r async for r in journal.unfinished()] == []
    await database.close()


async def test_nobody_waits_and_it_is_committed_all_the_same(database: Database, journal: SqliteJournal) -> None:
    head = header()
    on_disk = "SELECT number FROM entries JOIN runs ON key = run WHERE run_id = ? ORDER BY number"
    journal.begin(head)
    journal.append(head.run_id, outcome(1), END)
    async with asyncio.timeout(5):
        while database.read_now(lambda c: c.execute(on_disk, (head.run_id,)).fetchall()) != [(1,), (2,)]:
            await asyncio.sleep(0)


@pytest.mark.parametrize("size", [1, 2, 3, 511, 512, 513, 1_024, 1_025])
async def test_a_batch_of_any_size_is_read_as_it_was_appended(database: Database, journal: SqliteJournal, size: int) -> None:
    run = header()
    await journal.begin(run).durable()
    made = [Logged("log", str(n)) for n in range(size)]
    before = database.writer.commits
    await journal.append(run.run_id, *made).durable()
    assert database.writer.commits == before + 1
    assert [stored.entry for stored in (await journal.read(run.run_id, tenant=run.principal.tenant)).entries] == made


async def test_nothing_follows_the_end(journal: SqliteJournal) -> None:
    head = header()
    journal.begin(head)
    with pytest.raises(InvalidInput, match="after its end"):
        journal.append(head.run_id, END, outcome(1))
    journal.append(head.run_id, END)
    with pytest.raises(InvalidInput, match="has ended"):
        journal.append(head.run_id, outcome(1))
    with pytest.raises(InvalidInput, match="never began"):
        journal.append("nonsense", outcome(1))
    record = await journal.read(head.run_id, tenant="default")
    assert [e.entry for e in record.entries] == [END]


async def test_an_id_begins_once(journal: SqliteJournal) -> None:
    journal.begin(header(run_id="a"))
    with pytest.raises(InvalidInput, match="begun already"):
        journal.begin(header(run_id="a"))


async def test_what_is_not_json_is_refused_and_leaves_no_gap(journal: SqliteJournal) -> None:
    head = header()
    journal.begin(head)
    bad = Intent(1, "a.b", b"{}", {"rule": object()}, "", "", True, False, 1)
    with pytest.raises(InvalidInput, match="cannot be journaled"):
        journal.append(head.run_id, outcome(1), bad)
    journal.append(head.run_id, outcome(2))
    record = await journal.read(head.run_id, tenant="default")
    assert [(e.number, e.entry) for e in record.entries] == [(1, outcome(2))]


async def test_E18_another_tenant_sees_nothing(journal: SqliteJournal) -> None:
    head = header(tenant="acme")
    journal.begin(head)
    await journal.append(head.run_id, END).durable()
    assert await journal.list(tenant="other") == []
    for answer in (journal.read(head.run_id, tenant="other"), journal.page(head.run_id, tenant="other"),
                   journal.read("unknown", tenant="acme")):
        with pytest.raises(NotFound, match="no run"):
            await answer


async def test_list_is_newest_first_and_pages(journal: SqliteJournal) -> None:
    heads = [header(n, user="ada" if n % 2 else "bob") for n in range(9)]
    for head in heads:
        journal.begin(head)
        journal.append(head.run_id, Intent(1, "a.b", b"{}", {}, "", "", False, True, 1))
    journal.append(heads[3].run_id, END)
    newest = [h.run_id for h in reversed(heads)]
    first = await journal.list(tenant="default", limit=4)
    second = await journal.list(tenant="default", limit=9, before=first[-1].run_id)
    assert [s.run_id for s in (*first, *second)] == newest
    assert [s.run_id for s in await journal.list(tenant="default", user="ada")] == newest[1::2]
    (ended,) = await journal.list(tenant="default", state="completed")
    assert (ended.run_id, ended.calls, ended.ended_ms) == (heads[3].run_id, 1, 9)
    assert {s.calls for s in first} == {1}


async def test_appends_from_many_threads_keep_their_order(journal: SqliteJournal) -> None:
    heads = [header(n) for n in range(4)]
    for head in heads:
        journal.begin(head)

    def work(run_id: str) -> None:
        for number in range(1, 201):
            journal.append(run_id, outcome(number))

    threads = [threading.Thread(target=work, args=(head.run_id,)) for head in heads]
    for thread in threads:
        thread.start()
    await asyncio.gather(*(asyncio.to_thread(thread.join) for thread in threads))
    for head in heads:
        record = await journal.read(head.run_id, tenant="default")
        assert [e.number for e in record.entries] == list(range(1, 201))
        assert [e.entry for e in record.entries] == [outcome(n) for n in range(1, 201)]


async def test_an_append_of_nothing_waits_for_what_was_before(journal: SqliteJournal) -> None:
    head = header()
    journal.begin(head)
    journal.append(head.run_id, outcome(1))
    async with asyncio.timeout(5):
        await journal.append(head.run_id).durable()
        await journal.append(head.run_id).durable()
    assert len((await journal.read(head.run_id, tenant="default")).entries) == 1


async def test_a_cancelled_waiter_harms_nobody(journal: SqliteJournal) -> None:
    head = header()
    journal.begin(head)
    ticket = journal.append(head.run_id, outcome(1))
    left, stays = asyncio.create_task(ticket.durable()), asyncio.create_task(ticket.durable())
    await asyncio.sleep(0)
    left.cancel()
    async with asyncio.timeout(10):
        await stays
        await ticket.durable()
    assert left.cancelled() or (left.done() and left.exception() is None)


async def test_waiting_shares_commits(database: Database, journal: SqliteJournal) -> None:
    heads = [header(n) for n in range(32)]
    await asyncio.gather(*(journal.begin(head).durable() for head in heads))
    before = database.writer.commits
    await asyncio.gather(*(journal.append(head.run_id, outcome(1)).durable() for head in heads))
    assert 1 <= database.writer.commits - before <= 16


def test_run_ids_sort_by_time_and_carry_80_random_bits() -> None:
    ids = [new_run_id(ms) for ms in range(0, 10_000_000, 9_973)]
    assert ids == sorted(ids)
    assert all(run_created_ms(run_id) == ms for run_id, ms in zip(ids, range(0, 10_000_000, 9_973), strict=True))
    assert new_run_id(5, lambda n: b"\xff" * n)[10:] == "z" * 16
    assert len({new_run_id(5) for _ in range(1_000)}) == 1_000
    for wrong in ("", "x" * 26, "8" + "0" * 25, "U" * 26):
        with pytest.raises(InvalidInput, match="not a run id"):
            run_created_ms(wrong)
    with pytest.raises(InvalidInput, match="time 281474976710656"):
        new_run_id(1 << 48)


@pytest.mark.parametrize("entry", [
    Outcome(1, True, b"1", 0.5, 7, (), ("ab" * 32,)), Outcome(1, True, b"1", 0.5, 7),
    Terminal("completed", b"1", 7, {"cpu_ms": 1.5}, ("ab" * 32,)), Terminal("completed", b"1", 7)])
def test_the_binaries_of_an_entry_are_kept_and_entries_without_lie_as_before(entry: Outcome | Terminal) -> None:
    draft = encode_entry(entry)
    assert decode_entry(draft.kind, draft.meta, draft.parts) == entry
    assert len(orjson.loads(draft.meta)) == (5 if isinstance(entry, Outcome) else 3) + bool(entry.binaries)
