"""Readings of the journal's tables: run on a reader connection, inside one transaction."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, cast

from inhabit.contracts.principal import Principal
from inhabit.contracts.run import RunHeader, RunRecord, RunState, RunSummary, StoredEntry, Terminal
from inhabit.errors import NotFound
from inhabit.store.batch import OpenRun
from inhabit.store.codec import INTENT, decode_entry, decode_header
from inhabit.store.packing import BlobRef, damaged, unpack

__all__ = ["SUMMARY_COLUMNS", "blob", "entries_after", "key_of", "open_runs", "record", "summary"]

SUMMARY_COLUMNS = "run_id, user, tenant, agent, language, program_hash, state, created_ms, ended_ms, calls, origin"


def key_of(connection: sqlite3.Connection, run_id: str, tenant: str) -> int:
    """Raises `NotFound`: one answer for no such run and for another tenant's."""
    row = connection.execute("SELECT key FROM runs WHERE run_id = ? AND tenant = ?", (run_id, tenant)).fetchone()
    if row is None:
        raise NotFound(f"no run {run_id}", fix="see `inhabit runs list`")
    return row[0]


def record(connection: sqlite3.Connection, key: int) -> RunRecord:
    """The whole of one run."""
    header, tenant = _header(connection, key)
    stored = tuple(_entries(connection, key, tenant, header.run_id, 0))
    last = stored[-1].entry if stored else None
    state: RunState = last.state if isinstance(last, Terminal) else "running"
    return RunRecord(header, stored, state)


def entries_after(connection: sqlite3.Connection, key: int, number: int) -> tuple[StoredEntry, ...]:
    run_id, tenant = connection.execute("SELECT run_id, tenant FROM runs WHERE key = ?", (key,)).fetchone()
    return tuple(_entries(connection, key, tenant, run_id, number))


def open_runs(connection: sqlite3.Connection) -> tuple[OpenRun, ...]:
    """The counters of every run without an end, as far as it is on disk."""
    return tuple(_counted(connection, *row) for row in connection.execute(
        "SELECT key, run_id, tenant FROM runs WHERE ended_ms IS NULL ORDER BY key").fetchall())


def summary(row: Sequence[Any]) -> RunSummary:
    """From a row of `SUMMARY_COLUMNS`."""
    run_id, user, tenant, agent, language, program_hash, state, created_ms, ended_ms, calls, origin = row
    return RunSummary(run_id, Principal(user, tenant, agent), language, program_hash, cast(RunState, state),
                      created_ms, ended_ms, calls, origin)


def blob(connection: sqlite3.Connection, tenant: str, digest: bytes) -> bytes | None:
    """A value by its SHA-256, verified. Raises `Unavailable` if it is damaged."""
    row = connection.execute("SELECT data FROM blobs WHERE tenant = ? AND digest = ?", (tenant, digest)).fetchone()
    if row is not None and hashlib.sha256(row[0]).digest() != digest:
        raise damaged(f"value {digest.hex()}", "its content does not fit its name")
    return row[0] if row else None


def _header(connection: sqlite3.Connection, key: int) -> tuple[RunHeader, str]:
    run_id, tenant, body = connection.execute(
        "SELECT run_id, tenant, body FROM runs JOIN headers ON run = key WHERE key = ?", (key,)).fetchone()
    meta, parts = _whole(connection, tenant, body, f"run {run_id}")
    return decode_header(meta, parts), tenant


def _entries(connection: sqlite3.Connection, key: int, tenant: str, run_id: str, after: int) -> Iterator[StoredEntry]:
    for number, kind, body in connection.execute(
            "SELECT number, kind, body FROM entries WHERE run = ? AND number > ? ORDER BY number", (key, after)):
        meta, parts = _whole(connection, tenant, body, f"entry {number} of run {run_id}")
        yield StoredEntry(number, decode_entry(kind, meta, parts))


def _whole(connection: sqlite3.Connection, tenant: str, body: bytes, where: str) -> tuple[bytes, list[bytes]]:
    meta, parts = unpack(body, where)
    return meta, [_fetched(connection, tenant, part, where) if isinstance(part, BlobRef) else part for part in parts]


def _fetched(connection: sqlite3.Connection, tenant: str, reference: BlobRef, where: str) -> bytes:
    data = blob(connection, tenant, reference.digest)
    if data is None or len(data) != reference.size:
        raise damaged(where, f"its value {reference.digest.hex()} is missing")
    return data


def _counted(connection: sqlite3.Connection, key: int, run_id: str, tenant: str) -> OpenRun:
    number, calls, size = connection.execute(
        "SELECT coalesce(max(number), 0), coalesce(sum(kind = ?), 0), coalesce(sum(length(body)), 0) FROM entries"
        " WHERE run = ?", (INTENT, key)).fetchone()
    (shared,) = connection.execute("SELECT coalesce(sum(size), 0) FROM blob_uses JOIN blobs ON key = blob WHERE run = ?",
                                   (key,)).fetchone()
    return OpenRun(key, run_id, tenant, 0, number=number, calls=calls, size=size + shared)
