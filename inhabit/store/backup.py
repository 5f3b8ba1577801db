"""Copies of the database: taken while it runs, put back while it does not.

A backup is one self-contained file with all that was appended before it was asked for. Restoring replaces a
database; the old one is kept beside it. Invariants: a restored run that was going on is closed as `unknown`, since
what it did after the backup is not known and must not be done again; tokens revoked since stay revoked as far as
the replaced file can tell.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import orjson

from inhabit.contracts.run import Terminal
from inhabit.errors import InvalidInput, Unavailable
from inhabit.store.audit.log import AuditLog, Gathered
from inhabit.store.codec import encode_entry
from inhabit.store.database import Database, connect
from inhabit.store.folders import synced
from inhabit.store.ownership import Mark, Ownership
from inhabit.store.packing import pack_inline
from inhabit.store.reading import open_runs
from inhabit.store.schema import SCHEMA_VERSION, migrate, refuse_foreign

__all__ = ["Restored", "backup", "copy_pages", "copy_running", "replace", "restore"]


@dataclass(frozen=True, slots=True)
class Restored:
    """`closed`: runs that were going on. `kept`: where the replaced database lies, None if there was none.
    `revocations`: False when the replaced file could not be read, so that a token revoked since may be valid."""

    closed: tuple[str, ...]
    kept: Path | None
    revocations: bool


async def backup(database: Database, target: Path) -> Path:
    """Copy the running database to the new file `target`. Raises `InvalidInput` if it exists, `Unavailable`."""
    await database.writer.flush()
    return await database.apart(lambda source: _copied(source.path, target))


def copy_running(path: Path, target: Path) -> Path:
    """Copy the database at `path`, which another process may have open and be writing, to the new file `target`.

    Raises `InvalidInput` if `target` exists or `path` is no database of ours, `Unavailable`.
    """
    _refuse_unsound(path, whole=False)
    return _copied(path, target)


def restore(source: Path, path: Path, *, now_ms: int) -> Restored:
    """Replace the database at `path`, which no process may have open, by the backup `source`.

    Raises `InvalidInput` when `source` is not a whole backup, `Unavailable` when `path` is in use.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    ownership = Ownership(path)
    try:
        return replace(source, path, ownership, now_ms=now_ms)
    finally:
        ownership.release()


def replace(source: Path, path: Path, ownership: Ownership, *, now_ms: int, revoked_in: Path | None = None) -> Restored:
    """The same under a lock that is held. `revoked_in`: the database whose revocations hold on, where it is another."""
    _refuse_unsound(source)
    fresh = path.with_name(path.name + ".restoring")
    fresh.unlink(missing_ok=True)
    _copied(source, fresh)
    revoked = _revocations(revoked_in or path)
    closed, epoch = _prepared(fresh, ownership, revoked or _Revoked(), now_ms)
    kept = _exchanged(fresh, path, now_ms)
    ownership.reset(Mark(epoch, 0, 0, 0))
    return Restored(closed, kept, revoked is not None)


def _copied(source: Path, target: Path) -> Path:
    part = target.with_name(f"{target.name}.{secrets.token_hex(8)}.part")      # of this copy alone: two may have one target
    try:
        if target.exists():
            raise InvalidInput(f"{target} exists already", fix="name a new file for the backup")
        os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        copy_pages(source, part)
        os.link(part, target)       # unlike a rename, never over one that was made meanwhile
        synced(target.parent)
    except FileExistsError:
        raise InvalidInput(f"{target} exists already", fix="name a new file for the backup") from None
    except OSError as error:
        raise Unavailable(f"cannot write the copy {target}: {error.strerror}", fix="name a writable directory") from error
    finally:
        part.unlink(missing_ok=True)
    return target


def copy_pages(source: Path, target: Path) -> None:
    """One snapshot of a SQLite file, whoever writes to it, into another, synced. Raises `Unavailable`."""
    reading, writing = sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True), sqlite3.connect(target)
    try:
        reading.backup(writing, pages=-1)  # one snapshot; the writer goes on beside it
        writing.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.Error as error:
        raise Unavailable(f"cannot copy {source}: {error}", fix="check free space and the disk") from error
    finally:
        reading.close()
        writing.close()
    synced(target)


def _refuse_unsound(source: Path, *, whole: bool = True) -> None:
    if not source.is_file():
        raise InvalidInput(f"{source} is not a file", fix="name a backup, or a home's journal.db")
    connection = sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)
    try:
        refuse_foreign(connection, source)
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        found = [line for (line,) in connection.execute("PRAGMA integrity_check(3)")] if whole else ["ok"]
    except sqlite3.DatabaseError as error:
        raise InvalidInput(f"{source} is not a database of Inhabit: {error}", fix="name another one") from error
    finally:
        connection.close()
    if not 0 < version <= SCHEMA_VERSION or found != ["ok"]:
        raise InvalidInput(f"{source} is not whole: {'; '.join(found)[:300]}", fix="name another one")


class _Revoked(NamedTuple):
    """Tokens by `(when, id)`, and those that holders made as rows of `token_revocations`."""

    tokens: Sequence[tuple[int, str]] = ()
    below: Sequence[tuple[str, str, str, int]] = ()


def _revocations(path: Path) -> _Revoked | None:
    """The tokens revoked in the database to be replaced; None if it cannot be read."""
    if not path.exists():
        return _Revoked()
    try:
        connection = sqlite3.connect(path)
        try:
            tokens = connection.execute("SELECT revoked_ms, id FROM tokens WHERE revoked_ms IS NOT NULL").fetchall()
            known = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'token_revocations'").fetchone()
            return _Revoked(tokens, connection.execute("SELECT * FROM token_revocations").fetchall() if known else ())
        finally:
            connection.close()
    except sqlite3.DatabaseError:
        return None


def _prepared(fresh: Path, ownership: Ownership, revoked: _Revoked,
              now_ms: int) -> tuple[tuple[str, ...], int]:
    value = orjson.dumps({"code": "restored", "message": "the run was going on when this backup was made; what it did"
                          " afterwards is not known", "retryable": False, "effect": "unknown"})
    end = encode_entry(Terminal("unknown", value, now_ms))
    connection = connect(fresh, writing=True)
    try:
        migrate(connection)
        log = AuditLog(connection, None)
        gathered = Gathered()
        connection.execute("BEGIN IMMEDIATE")
        runs = open_runs(connection)
        body = pack_inline(end.meta, end.parts)
        for run in runs:
            gathered.add(run.key, run.salt, run.number + 1, end.kind, body)
            connection.execute("INSERT INTO entries VALUES (?, ?, ?, ?)",
                               (run.key, run.number + 1, end.kind, body))
            connection.execute("UPDATE runs SET state = 'unknown', ended_ms = ?, calls = ?, bytes = ? WHERE key = ?",
                               (now_ms, run.calls, run.bytes + end.size, run.key))
        log.open(gathered.items())
        log.note(connection, {"restored": [run.key for run in runs]})
        log.write(connection)
        connection.executemany("UPDATE tokens SET revoked_ms = coalesce(revoked_ms, ?) WHERE id = ?", revoked.tokens)
        connection.executemany("INSERT INTO token_revocations VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", revoked.below)
        (epoch,) = connection.execute("SELECT epoch FROM meta").fetchone()
        epoch = max(epoch, *(mark.epoch for mark in ownership.found)) + 1
        connection.execute("UPDATE meta SET epoch = ?", (epoch,))
        connection.execute("COMMIT")
    finally:
        connection.close()
    return tuple(run.run_id for run in runs), epoch


def _exchanged(fresh: Path, path: Path, now_ms: int) -> Path | None:
    """Put `fresh` in the place of `path`. A crash in between leaves a start that refuses, never a mixture: the old
    log goes first, and without it the old file is behind its mark."""
    kept = None
    if path.exists():
        kept = path.with_name(f"{path.name}.replaced-{now_ms}")
        log = path.with_name(path.name + "-wal")
        if log.exists():
            log.rename(kept.with_name(kept.name + "-wal"))
        path.with_name(path.name + "-shm").unlink(missing_ok=True)
        os.link(path, kept)
    fresh.replace(path)
    synced(path.parent)
    return kept
