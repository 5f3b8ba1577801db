"""The journal of one store, on SQLite: what `tenants.journal` makes the home's `contracts.run.Journal` of.

Model: numbers are given here, when an entry is appended; the writer thread commits in that order. Readings go
to the file through reader connections, after what was appended before them is committed, so that a caller
always reads its own records.
Invariants: the entries of a run are 1..n without gaps; nothing follows a terminal entry; another tenant's run
is answered like one that does not exist.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from inhabit.contracts.run import (
    Entry,
    EntryPage,
    RunEnding,
    RunHeader,
    RunRecord,
    RunState,
    RunSummary,
    StoredEntry,
    Terminal,
    Write,
)
from inhabit.errors import InvalidInput, Unavailable
from inhabit.store.approvals import standing
from inhabit.store.audit.log import new_salt
from inhabit.store.batch import Batch, Ending, OpenRun, Row, again
from inhabit.store.codec import INTENT, STANDING, SUSPENDED, TERMINAL, encode_entry, encode_header
from inhabit.store.database import Database
from inhabit.store.reading import (
    SUMMARIES,
    ending,
    key_of,
    newest_child,
    one_entry,
    open_runs,
    page,
    record,
    shown_header,
    summary,
)

__all__ = ["MAX_LIST", "MAX_PAGE", "SqliteJournal"]

MAX_LIST = 500
MAX_PAGE = 1_000
_T = TypeVar("_T")


class SqliteJournal:
    """`begin` and `append` never block on the disk; may be called from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._writer = database.writer
        self._lock = threading.Lock()
        self._next_key = database.last_run + 1
        self._endings: deque[tuple[OpenRun, Batch]] = deque()
        self._open = {run.run_id: run for run in database.read_now(open_runs)}

    def begin(self, header: RunHeader) -> Batch:
        """Raises `InvalidInput` for an id in use, `Unavailable` when nothing can be written."""
        draft = encode_header(header)
        with self._lock:
            if header.run_id in self._open:
                raise InvalidInput(f"run {header.run_id} has begun already", fix="a new id for every run")
            run = OpenRun(self._next_key, header.run_id, header.principal.tenant, self._writer.generation,
                          new_salt(), size=draft.size)
            ticket = self._writer.begin(run, header, draft)
            self._next_key += 1
            run.active = True
            self._open[header.run_id] = run
            return ticket

    def append(self, run_id: str, *entries: Entry, also: Sequence[Write] = ()) -> Batch:
        """Raises `InvalidInput` for a run that is not open, `Unavailable` when nothing can be written."""
        drafts = [encode_entry(entry) for entry in entries]
        with self._lock:
            run = self._open.get(run_id)
            if run is None:
                raise self.failure or InvalidInput(
                    f"run {run_id} has ended or never began; nothing was recorded",
                    fix="begin a run before its entries, and append nothing after its end")
            number, size, calls, ends, stands = run.number, run.bytes, run.calls, False, False
            rows: list[Row] = []
            for draft in drafts:
                number += 1
                size += draft.size
                calls += draft.kind == INTENT
                ends = ends or draft.kind == TERMINAL
                stands = stands or draft.kind in STANDING
                rows.append(Row(run, number, draft))
            ending = _ending(run, entries, calls, size) if ends else None
            if stands or (ends and run.asked):
                run.asked = True
                also = (*also, *standing(run.key, entries, closes=ends))
            ticket = self._writer.append(run, rows, ending, size - run.bytes, also)
            run.number, run.bytes, run.calls = number, size, calls
            run.active = drafts[-1].kind != SUSPENDED if drafts else run.active
            if ending is not None:
                del self._open[run_id]
                self._sweep_endings()
                self._endings.append((run, ticket))
            return ticket

    def written(self, run_id: str) -> int:
        """Bytes recorded so far for a run that has not ended (values counted in full); 0 for others."""
        run = self._open.get(run_id)
        return run.bytes if run else 0

    def holds(self, run_id: str) -> bool:
        """Whether entries of this run can be appended here."""
        return run_id in self._open

    @property
    def active(self) -> bool:
        """Whether a run is under way that this process records. One whose record was interrupted is not."""
        generation = self._writer.generation
        with self._lock:
            under_way = any(run.active and run.generation == generation for run in self._open.values())
            return self._writer.failure is None and under_way

    def gauges(self) -> Mapping[str, int]:
        return {"journal_commits": self._writer.commits, "journal_pending_bytes": self._writer.pending_bytes}

    @property
    def failure(self) -> Unavailable | None:
        """Why nothing can be written now, for health checks; None when all is well."""
        failure = self._writer.failure
        return again(failure) if failure else None

    async def read(self, run_id: str, *, tenant: str) -> RunRecord:
        """Raises `NotFound`, for another tenant's run too; `Unavailable` for a damaged record."""
        return await self._of(run_id, tenant, record)

    async def summary(self, run_id: str, *, tenant: str) -> RunSummary:
        return self._current(await self._of(run_id, tenant, lambda c, key: summary(
            c.execute(f"{SUMMARIES} WHERE key = ?", (key,)).fetchone())))

    async def header(self, run_id: str, *, tenant: str) -> RunHeader:
        return await self._of(run_id, tenant, shown_header)

    async def ending(self, run_id: str, *, tenant: str) -> RunEnding:
        return await self._of(run_id, tenant, ending)

    async def page(self, run_id: str, *, tenant: str, after: int = 0, limit: int = 200) -> EntryPage:
        """At most `MAX_PAGE` entries."""
        most = max(1, min(limit, MAX_PAGE))
        return await self._of(run_id, tenant, lambda c, key: page(c, key, after, most))

    async def entry(self, run_id: str, number: int, *, tenant: str) -> StoredEntry | None:
        return await self._of(run_id, tenant, lambda c, key: one_entry(c, key, number))

    async def child(self, run_id: str, rung: str, *, tenant: str) -> str | None:
        await self._writer.flush()
        return await self._database.read(lambda c: newest_child(c, run_id, rung, tenant))

    async def list(self, *, tenant: str, user: str | None = None, state: RunState | None = None,
                   before: str | None = None, limit: int = 50) -> Sequence[RunSummary]:
        """Newest first; `before` is the last run id of the previous page; at most `MAX_LIST` a page."""
        await self._writer.flush()
        conditions = {"user = ?": user, "state = ?": state, "run_id < ?": before}
        given = {text: value for text, value in conditions.items() if value is not None}
        query = f"{SUMMARIES} WHERE " + " AND ".join(["tenant = ?", *given]) + " ORDER BY run_id DESC LIMIT ?"
        arguments = (tenant, *given.values(), max(1, min(limit, MAX_LIST)))
        found = await self._database.read(lambda c: [summary(row) for row in c.execute(query, arguments)])
        return [self._current(shown) for shown in found]

    async def unfinished(self) -> AsyncIterator[RunRecord]:
        """Runs without a terminal entry that do not wait for people alone, oldest first, each read when its
        turn comes. One interrupted by a full disk is taken up again here: what was lost of it is forgotten,
        and it can be appended to after its last durable entry.
        """
        await self._writer.flush()
        self._take_up_interrupted(await self._database.read(open_runs))
        keys: list[int] = await self._database.read(lambda c: [key for (key,) in c.execute(
            "SELECT key FROM runs WHERE ended_ms IS NULL AND state != 'suspended' ORDER BY key")])
        for key in keys:
            yield await self._database.read(lambda c, key=key: record(c, key))

    async def _of(self, run_id: str, tenant: str, work: Callable[[sqlite3.Connection, int], _T]) -> _T:
        """Read something of one run, after what was appended before. Raises `NotFound`."""
        await self._writer.flush()
        return await self._database.read(lambda c: work(c, key_of(c, run_id, tenant)))

    def _current(self, shown: RunSummary) -> RunSummary:
        """The calls of an open run are counted here; the table has them from its end on."""
        run = self._open.get(shown.run_id)
        if run is None or shown.ended_ms is not None:
            return shown
        return replace(shown, calls=run.calls)

    def _take_up_interrupted(self, durable: Sequence[OpenRun]) -> None:
        with self._lock:
            self._sweep_endings()
            generation = self._writer.generation
            interrupted = {run.run_id for run in self._open.values() if run.generation != generation}
            for run_id in interrupted:
                del self._open[run_id]
            for run in durable:
                if run.run_id in interrupted:
                    run.generation = generation
                    self._open[run.run_id] = run

    def _sweep_endings(self) -> None:
        """Forget ends that are on disk; a run whose end was lost is open again, as one that was interrupted.
        """
        while self._endings and self._endings[0][1].settled:
            run, ticket = self._endings.popleft()
            if ticket.error is not None:
                self._open[run.run_id] = run


def _ending(run: OpenRun, entries: Sequence[Entry], calls: int, size: int) -> Ending | None:
    for place, entry in enumerate(entries):
        if isinstance(entry, Terminal):
            if place != len(entries) - 1:
                raise InvalidInput(f"run {run.run_id}: entries after its end",
                                   fix="the terminal entry comes last")
            return Ending(run, entry.state, entry.at_ms, calls, size)
    return None
