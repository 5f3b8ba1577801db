"""Readings of the journal's tables: run on a reader connection, inside one transaction.

Only `record` reads a run whole. What is shown to people and clients is read in pages: bounded in number and
bytes, with `{"$omitted": BYTES}` in the place of a long value, which is then not read at all.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, cast

from inhabit.contracts.principal import Principal
from inhabit.contracts.run import (
    EntryPage,
    Logged,
    RunEnding,
    RunHeader,
    RunRecord,
    RunState,
    RunSummary,
    StoredEntry,
    Suspended,
    Terminal,
)
from inhabit.errors import NotFound
from inhabit.store.approvals import open_questions
from inhabit.store.batch import OpenRun
from inhabit.store.codec import INTENT, LOGGED, SUSPENDED, TERMINAL, decode_entry, decode_header
from inhabit.store.packing import BlobRef, damaged, unpack, unpack_inline

__all__ = [
    "MAX_PAGE_BYTES", "MAX_SHOWN_BYTES", "SUMMARIES", "blob", "ending", "key_of", "newest_child", "one_entry", "open_runs", "page", "record",
    "shown_header", "summary",
]

SUMMARIES = ("SELECT run_id, user, tenant, agent, language, program_hash, state, created_ms, ended_ms, calls, origin, body"
             " FROM runs JOIN headers ON run = key")
MAX_SHOWN_BYTES = 64 * 1024
"""A longer value is left out where many entries are shown."""
MAX_PAGE_BYTES = 4 * 1024 * 1024
"""A page ends after this much, however few entries that are."""
_LINES = f"SELECT number, body FROM entries INDEXED BY entries_logged WHERE run = ? AND kind = {LOGGED} ORDER BY number DESC"
"""Left to itself, SQLite walks over all entries of the run. (The kind is written out: a parameter fits no
partial index.)
"""
_MAX_LOG_BYTES = 512 * 1024
"""Of the last lines that a run printed; a result shows far less."""


def key_of(connection: sqlite3.Connection, run_id: str, tenant: str) -> int:
    """Raises `NotFound`: one answer for no such run and for another tenant's."""
    row = connection.execute("SELECT key FROM runs WHERE run_id = ? AND tenant = ?", (run_id, tenant)).fetchone()
    if row is None:
        raise NotFound(f"no run {run_id}", fix="see `inhabit runs list`")
    return row[0]


def record(connection: sqlite3.Connection, key: int) -> RunRecord:
    """The whole of one run."""
    header, tenant = _header(connection, key)
    stored = tuple(_entries(connection, key, tenant, header.run_id))
    last = stored[-1].entry if stored else None
    if isinstance(last, Terminal):
        return RunRecord(header, stored, last.state)
    (state,) = connection.execute("SELECT state FROM runs WHERE key = ?", (key,)).fetchone()
    return RunRecord(header, stored, state if state in ("suspended", "parked") else "running")    # without an end it cannot have ended


def page(connection: sqlite3.Connection, key: int, after: int, limit: int) -> EntryPage:
    """Entries after number `after`, long values left out."""
    run_id, tenant = _names(connection, key)
    (last,) = connection.execute("SELECT coalesce(max(number), 0) FROM entries WHERE run = ?", (key,)).fetchone()
    found: list[StoredEntry] = []
    size = 0
    for stored, taken in _sized(connection, key, tenant, run_id, after, limit, MAX_SHOWN_BYTES):
        found.append(stored)
        size += taken
        if size > MAX_PAGE_BYTES:
            break
    return EntryPage(tuple(found), last)


def one_entry(connection: sqlite3.Connection, key: int, number: int) -> StoredEntry | None:
    """One entry, whole."""
    run_id, tenant = _names(connection, key)
    found = next(_sized(connection, key, tenant, run_id, number - 1, 1, None), None)
    return found[0] if found is not None and found[0].number == number else None


def ending(connection: sqlite3.Connection, key: int) -> RunEnding:
    """The terminal entry, whole, the last lines of log, and what is asked; the calls in between are not read.
    """
    run_id, tenant = _names(connection, key)
    row = connection.execute("SELECT number, kind FROM entries WHERE run = ? ORDER BY number DESC LIMIT 1", (key,)).fetchone()
    last = one_entry(connection, key, row[0]) if row is not None and row[1] in (TERMINAL, SUSPENDED) else None
    logs: list[Logged] = []
    room = _MAX_LOG_BYTES
    for number, body in connection.execute(_LINES, (key,)):
        meta, parts, size = _whole(connection, tenant, body, f"entry {number} of run {run_id}", None)
        room -= size
        if room < 0:
            break
        line = decode_entry(LOGGED, meta, parts)
        assert isinstance(line, Logged)
        logs.append(line)
    entry = last.entry if last is not None else None
    asleep = entry if isinstance(entry, Suspended) else None
    return RunEnding(entry if isinstance(entry, Terminal) else None, tuple(reversed(logs)), room < 0,
                     asleep.parked if asleep else None, open_questions(connection, key) if asleep else ())


def shown_header(connection: sqlite3.Connection, key: int) -> RunHeader:
    """The header with source and code whole, a long input left out."""
    run_id, tenant = _names(connection, key)
    (body,) = connection.execute("SELECT body FROM headers WHERE run = ?", (key,)).fetchone()
    meta, parts = unpack(body, f"run {run_id}")
    source, code, given = parts
    return decode_header(meta, [_part(connection, tenant, source, run_id, None), _part(connection, tenant, code, run_id, None),
                                _part(connection, tenant, given, run_id, MAX_SHOWN_BYTES)])


def newest_child(connection: sqlite3.Connection, run_id: str, rung: str, tenant: str) -> str | None:
    for child, key in connection.execute(
            "SELECT run_id, key FROM runs WHERE parent = ? AND tenant = ? ORDER BY key DESC", (run_id, tenant)):
        if shown_header(connection, key).rung == rung:
            return child
    return None


def open_runs(connection: sqlite3.Connection) -> tuple[OpenRun, ...]:
    """The counters of every run without an end, as far as it is on disk."""
    return tuple(_counted(connection, *row) for row in connection.execute(
        "SELECT key, run_id, tenant, salt FROM runs JOIN headers ON run = key WHERE ended_ms IS NULL ORDER BY key").fetchall())


def summary(row: Sequence[Any]) -> RunSummary:
    """From a row of `SUMMARIES`."""
    run_id, user, tenant, agent, language, program_hash, state, created_ms, ended_ms, calls, origin, body = row
    meta, _ = unpack(body, f"run {run_id}")
    header = decode_header(meta, (b"", b"", b""))
    return RunSummary(run_id, Principal(user, tenant, agent), language, program_hash, cast(RunState, state),
                      created_ms, ended_ms, calls, origin, header.grant, header.limits, header.kind, header.conversation)


def blob(connection: sqlite3.Connection, tenant: str, digest: bytes) -> bytes | None:
    """A value by its SHA-256, verified. Raises `Unavailable` if it is damaged."""
    row = connection.execute("SELECT data FROM blobs WHERE tenant = ? AND digest = ?", (tenant, digest)).fetchone()
    if row is not None and hashlib.sha256(row[0]).digest() != digest:
        raise damaged(f"value {digest.hex()}", "its content does not fit its name")
    return row[0] if row else None


def _names(connection: sqlite3.Connection, key: int) -> tuple[str, str]:
    row: tuple[str, str] = connection.execute("SELECT run_id, tenant FROM runs WHERE key = ?", (key,)).fetchone()
    return row


def _header(connection: sqlite3.Connection, key: int) -> tuple[RunHeader, str]:
    run_id, tenant, body = connection.execute(
        "SELECT run_id, tenant, body FROM runs JOIN headers ON run = key WHERE key = ?", (key,)).fetchone()
    meta, parts, _ = _whole(connection, tenant, body, f"run {run_id}", None)
    return decode_header(meta, parts), tenant


def _entries(connection: sqlite3.Connection, key: int, tenant: str, run_id: str) -> Iterator[StoredEntry]:
    """All of a run, whole: a person who answered waits for this."""
    for number, kind, body in connection.execute("SELECT number, kind, body FROM entries WHERE run = ? ORDER BY number", (key,)):
        meta, parts = unpack_inline(body) or _whole(connection, tenant, body, f"entry {number} of run {run_id}", None)[:2]
        yield StoredEntry(number, decode_entry(kind, meta, parts))


def _sized(connection: sqlite3.Connection, key: int, tenant: str, run_id: str, after: int, limit: int,
           shown: int | None) -> Iterator[tuple[StoredEntry, int]]:
    """Entries and the bytes each took; `limit` -1 is none, `shown` bounds the values (what is printed is
    text, and stays).
    """
    for number, kind, body in connection.execute(
            "SELECT number, kind, body FROM entries WHERE run = ? AND number > ? ORDER BY number LIMIT ?", (key, after, limit)):
        bound = None if kind == LOGGED else shown
        meta, parts, size = _whole(connection, tenant, body, f"entry {number} of run {run_id}", bound)
        yield StoredEntry(number, decode_entry(kind, meta, parts)), size


def _whole(connection: sqlite3.Connection, tenant: str, body: bytes, where: str,
           shown: int | None) -> tuple[bytes, list[bytes], int]:
    meta, parts = unpack(body, where)
    found = [_part(connection, tenant, part, where, shown) for part in parts]
    return meta, found, len(meta) + sum(map(len, found))


def _part(connection: sqlite3.Connection, tenant: str, part: bytes | BlobRef, where: str, shown: int | None) -> bytes:
    size = part.size if isinstance(part, BlobRef) else len(part)
    if shown is not None and size > shown:
        return b'{"$omitted":%d}' % size
    return _fetched(connection, tenant, part, where) if isinstance(part, BlobRef) else part


def _fetched(connection: sqlite3.Connection, tenant: str, reference: BlobRef, where: str) -> bytes:
    data = blob(connection, tenant, reference.digest)
    if data is None or len(data) != reference.size:
        raise damaged(where, f"its value {reference.digest.hex()} is missing")
    return data


def _counted(connection: sqlite3.Connection, key: int, run_id: str, tenant: str, salt: bytes) -> OpenRun:
    number, calls, size = connection.execute(
        "SELECT coalesce(max(number), 0), coalesce(sum(kind = ?), 0), coalesce(sum(length(body)), 0) FROM entries"
        " WHERE run = ?", (INTENT, key)).fetchone()
    (shared,) = connection.execute("SELECT coalesce(sum(size), 0) FROM blob_uses JOIN blobs ON key = blob WHERE run = ?",
                                   (key,)).fetchone()
    return OpenRun(key, run_id, tenant, 0, salt, number=number, calls=calls, size=size + shared, asked=True)
