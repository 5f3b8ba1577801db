"""Readings for people and clients: bounded whatever the run is like."""

from __future__ import annotations

from pathlib import Path

import pytest

from inhabit.contracts.run import Logged, Outcome
from inhabit.errors import NotFound
from inhabit.store import reading
from inhabit.store.store import Store
from tests.store.store_samples import END, header, intent, outcome


async def test_a_page_is_bounded_in_number_and_bytes_and_leaves_long_values_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, head = Store.open(tmp_path / "journal.db"), header(input=b'"%s"' % (b"i" * 100_000))
    store.journal.begin(head)
    for n in range(1, 201):
        store.journal.append(head.run_id, intent(n), outcome(n, b'"%s"' % (b"v" * (200_000 if n == 3 else 60_000))))
    store.journal.append(head.run_id, Logged("log", "l" * 100_000), END)
    asked: list[bytes] = []
    real = reading.blob
    monkeypatch.setattr(reading, "blob", lambda c, tenant, digest: asked.append(digest) or real(c, tenant, digest))
    first = await store.journal.page(head.run_id, tenant="default", limit=7)
    assert [stored.number for stored in first.entries] == list(range(1, 8)) and first.last == 402
    third = first.entries[5].entry
    assert isinstance(third, Outcome) and third.value == b'{"$omitted":200002}' and len(asked) == 2
    big = await store.journal.page(head.run_id, tenant="default", after=7, limit=1_000)
    assert 60 <= len(big.entries) <= 2 * (reading.MAX_PAGE_BYTES // 60_000 + 2)
    number, seen = 0, list[int]()
    while number < 402:
        page = await store.journal.page(head.run_id, tenant="default", after=number, limit=10_000)
        seen += [stored.number for stored in page.entries]
        number = seen[-1]
    assert seen == list(range(1, 403))
    whole = await store.journal.entry(head.run_id, 6, tenant="default")
    assert whole is not None and isinstance(whole.entry, Outcome) and len(whole.entry.value) == 200_002
    assert await store.journal.entry(head.run_id, 403, tenant="default") is None
    shown = await store.journal.header(head.run_id, tenant="default")
    assert shown.input == b'{"$omitted":100002}' and shown.source == head.source
    summary = await store.journal.summary(head.run_id, tenant="default")
    assert (summary.calls, summary.state, summary.limits, summary.grant) == (200, "completed", head.limits, head.grant)
    for reader in (store.journal.page, store.journal.summary, store.journal.header, store.journal.ending):
        with pytest.raises(NotFound):
            await reader(head.run_id, tenant="other")
    await store.close()


async def test_the_end_of_a_run_is_found_without_reading_its_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, head = Store.open(tmp_path / "journal.db"), header()
    store.journal.begin(head)
    assert (await store.journal.ending(head.run_id, tenant="default")).terminal is None
    for n in range(1, 101):
        store.journal.append(head.run_id, intent(n), Logged("log", f"{n} " + "x" * 10_000), outcome(n))
    store.journal.append(head.run_id, END)
    decoded: list[int] = []
    real = reading.decode_entry
    monkeypatch.setattr(reading, "decode_entry", lambda kind, meta, parts: decoded.append(kind) or real(kind, meta, parts))
    ending = await store.journal.ending(head.run_id, tenant="default")
    assert ending.terminal == END and ending.logs_cut and ending.logs[-1].text.startswith("100 ")
    assert len(decoded) == 1 + len(ending.logs) < 60
    await store.close()
