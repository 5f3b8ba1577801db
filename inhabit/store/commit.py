"""The SQL of one commit.

Every statement here runs on the writer's connection. The usual batch (entries alone, none of them long) is ONE
statement in autocommit: each SQLite step gives the interpreter's lock away and must win it back from a busy event
loop, so the number of steps, not of rows, is what a commit costs.
Invariants: nothing is written unless the database still carries this owner's epoch; every record is written together
with the leaf of the audit log that stands for it.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Iterable
from typing import Any

from inhabit.errors import Unavailable
from inhabit.store.audit.log import AuditLog, Gathered
from inhabit.store.batch import Batch, OpenRun, Row
from inhabit.store.packing import INLINE_BYTES, Draft, pack, pack_inline

__all__ = ["check_epoch", "insert_blob", "write_batch"]

_MAX_ROWS = 512
"""Rows of one statement; with paddings to powers of two that makes ten statements to keep prepared. A run of quick calls fills some hundred
within `LINGER_S`."""
_BINARY = re.compile(rb'"\$binary"\s*:\s*"([0-9a-f]{64})"')


def write_batch(connection: sqlite3.Connection, batch: Batch, epoch: int, log: AuditLog) -> None:
    """Write all of `batch` in one transaction, durable on return. Raises `sqlite3.Error`, `Unavailable`."""
    if not (batch.rows or batch.begun or batch.jobs):
        return
    plain = _plain_fields(batch, log)
    if plain is not None:
        _insert(connection, plain, len(batch.rows) + 1, epoch)
        log.committed()
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        check_epoch(connection, epoch)
        _write_all(connection, batch, epoch, log)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    log.committed()


def check_epoch(connection: sqlite3.Connection, epoch: int) -> None:
    """Raises `Unavailable` when another process has opened this database since."""
    if connection.execute("SELECT epoch FROM meta").fetchone() != (epoch,):
        raise _fenced()


def insert_blob(connection: sqlite3.Connection, tenant: str, digest: bytes, data: bytes, touched_ms: int = 0) -> None:
    """Keep a value once per tenant; `touched_ms` protects one that no run refers to yet."""
    connection.execute(
        "INSERT INTO blobs (tenant, digest, size, touched_ms, data) VALUES (?, ?, ?, ?, ?) ON CONFLICT (tenant, digest)"
        " DO UPDATE SET touched_ms = excluded.touched_ms WHERE excluded.touched_ms > touched_ms",
        (tenant, digest, len(data), touched_ms, data))


def _plain_fields(batch: Batch, log: AuditLog) -> list[Any] | None:
    """The fields of the usual batch's rows and of its leaves, one after the other; None for any other batch."""
    if batch.begun or batch.ended or batch.also or batch.jobs or len(batch.rows) >= _MAX_ROWS:
        return None
    fields: list[Any] = []
    gathered = Gathered()
    for run, number, (kind, meta, parts) in batch.rows:
        for part in parts:
            if len(part) > INLINE_BYTES or b"$binary" in part:
                return None
        body = pack_inline(meta, parts)
        gathered.add(run.key, run.salt, number, kind, body)
        fields += (run.key, number, kind, body)
    fields += log.stage(gathered.items())
    return fields


def _write_all(connection: sqlite3.Connection, batch: Batch, epoch: int, log: AuditLog) -> None:
    gathered = Gathered()
    for run, header, draft in batch.begun:
        principal = header.principal
        connection.execute(
            "INSERT INTO runs (key, run_id, tenant, user, agent, language, program_hash, origin, parent, state,"
            " created_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'running', ?)",
            (run.key, run.run_id, run.tenant, principal.user, principal.agent, header.language, header.program_hash,
             header.origin, header.parent_run, header.clock_ms))
        body = _shared(connection, run, draft)
        gathered.add(run.key, run.salt, 0, draft.kind, body)
        connection.execute("INSERT INTO headers VALUES (?, ?, ?)", (run.key, body, run.salt))
    for start in range(0, len(batch.rows), _MAX_ROWS):
        rows = batch.rows[start:start + _MAX_ROWS]
        _insert(connection, [field for row in rows for field in _packed(connection, row, gathered)], len(rows), epoch)
    for write in batch.also:
        connection.execute(write.sql, write.values)
    for ending in batch.ended:
        connection.execute("UPDATE runs SET state = ?, ended_ms = ?, calls = ?, bytes = ? WHERE key = ?",
                           (ending.state, ending.ended_ms, ending.calls, ending.bytes, ending.run.key))
    log.open(gathered.items())
    for job in batch.jobs:
        _do(connection, job, log)
    log.write(connection)


def _packed(connection: sqlite3.Connection, row: Row, gathered: Gathered) -> tuple[int, int, int, bytes]:
    body = _shared(connection, row.run, row.draft)
    gathered.add(row.run.key, row.run.salt, row.number, row.draft.kind, body)
    return row.run.key, row.number, row.draft.kind, body


def _shared(connection: sqlite3.Connection, run: OpenRun, draft: Draft) -> bytes:
    """The body of a record, its long parts put into the blob table, all blobs it names noted as used."""
    digests: list[bytes | None] = []
    named: set[bytes] = set()
    for part in draft.parts:
        digest = None
        if len(part) > INLINE_BYTES:
            digest = hashlib.sha256(part).digest()
            insert_blob(connection, run.tenant, digest, part)
            named.add(digest)
        digests.append(digest)
        if b"$binary" in part:
            named.update(bytes.fromhex(found.decode()) for found in _BINARY.findall(part))
    _note_uses(connection, run, named)
    return pack(draft.meta, draft.parts, digests)


def _note_uses(connection: sqlite3.Connection, run: OpenRun, named: Iterable[bytes]) -> None:
    for digest in named:
        connection.execute(
            "INSERT OR IGNORE INTO blob_uses SELECT ?, key FROM blobs WHERE tenant = ? AND digest = ?",
            (run.key, run.tenant, digest))


def _insert(connection: sqlite3.Connection, fields: list[Any], rows: int, epoch: int) -> None:
    """`fields`: four a row. They are used up."""
    if not rows:
        return
    places = (rows - 1).bit_length()
    fields += (None,) * (4 * ((1 << places) - rows))
    fields.append(epoch)
    if connection.execute(_INSERTIONS[places], fields).rowcount != rows:
        raise _fenced()


def _insertion(width: int) -> str:
    places = ",".join(("(?,?,?,?)",) * width)
    return (f"INSERT INTO entries SELECT * FROM (VALUES {places})"
            " WHERE column1 IS NOT NULL AND (SELECT epoch FROM meta) = ?")


_INSERTIONS = tuple(_insertion(1 << places) for places in range(_MAX_ROWS.bit_length()))


def _do(connection: sqlite3.Connection, job: Any, log: AuditLog) -> None:
    staged = log.staged
    connection.execute("SAVEPOINT job")
    try:
        job.result = job.work(connection)
    except Exception as error:  # the asker gets it; the batch goes on
        if isinstance(error, sqlite3.OperationalError | sqlite3.DatabaseError) and not isinstance(
                error, sqlite3.IntegrityError | sqlite3.ProgrammingError):
            raise
        job.error = error
        connection.execute("ROLLBACK TO job")
        log.back_to(staged)
    connection.execute("RELEASE job")


def _fenced() -> Unavailable:
    return Unavailable("another process has taken over the journal's database", code="journal_fenced",
                       fix="stop this process; only one server may use a data directory")
