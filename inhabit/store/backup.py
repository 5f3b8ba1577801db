"""Copies of the database: taken while it runs, put back while it does not.

A backup is one self-contained file with all that was appended before it was asked for. Restoring replaces a
database; the old one is kept beside it. Invariants: a restored run that was going on is closed as `unknown`, since
what it did after the backup is not known and must not be done again; as far as the replaced file can tell, a restore
takes no restriction back: tokens revoked or forgotten since, passkeys, what was used of limits, and what conversations have read.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from inhabit.contracts.run import Terminal
from inhabit.errors import InvalidInput, Unavailable
from inhabit.store.approvals import standing
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
    `revocations`: False when the replaced file could not be read, so that a token revoked since may be valid.
    `acted_on`: runs that were applied or rolled back since, which the restored database does not know."""

    closed: tuple[str, ...]
    kept: Path | None
    revocations: bool
    acted_on: tuple[str, ...] = ()


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


def restore(source: Path, path: Path, *, now_ms: int, since: Sequence[Path] = ()) -> Restored:
    """Replace the database at `path`, which no process may have open, by the backup `source`. `since`: as for `replace`.

    Raises `InvalidInput` when `source` is not a whole backup, `Unavailable` when `path` is in use.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    ownership = Ownership(path)
    try:
        return replace(source, path, ownership, now_ms=now_ms, since=since)
    finally:
        ownership.release()


def replace(source: Path, path: Path, ownership: Ownership, *, now_ms: int, since: Sequence[Path] = ()) -> Restored:
    """The same under a lock that is held. `since`: the databases whose restrictions hold on, where it is not the replaced one."""
    _refuse_unsound(source)
    fresh = path.with_name(path.name + ".restoring")
    fresh.unlink(missing_ok=True)
    _copied(source, fresh)
    held = [_held_on(one) for one in since or (path,)]
    closed, acted_on, epoch = _prepared(fresh, ownership, [one for one in held if one is not None], now_ms)
    kept = _exchanged(fresh, path, now_ms)
    ownership.reset(Mark(epoch, 0, 0, 0))
    return Restored(closed, kept, None not in held, acted_on)


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


_HOLDS_ON: Mapping[str, tuple[str, str]] = {
    "tokens": ("revoked_ms, id FROM tokens WHERE revoked_ms IS NOT NULL", "UPDATE tokens SET revoked_ms = coalesce(revoked_ms, ?) WHERE id = ?"),
    "token_revocations": ("* FROM token_revocations", "INSERT INTO token_revocations VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"),
    "passkeys": ("tenant, user, credential, data, sign_count, label, created_ms, revoked_ms FROM passkeys ORDER BY number",
                 "INSERT INTO passkeys (tenant, user, credential, data, sign_count, label, created_ms, revoked_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
                 " ON CONFLICT (credential) DO UPDATE SET revoked_ms = coalesce(revoked_ms, excluded.revoked_ms), sign_count = max(sign_count, excluded.sign_count)"),
    "charges": ("tenant, key, window_ms, part, amount, run, at_ms FROM charges WHERE window_ms > 0",
                "INSERT INTO charges VALUES (?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET amount = max(amount, excluded.amount), at_ms = max(at_ms, excluded.at_ms)"),
    "conversations": ("tenant, user, scope, label, operation, run, at_ms, at_ms FROM conversations",
                      "INSERT INTO conversations (tenant, user, scope, label, operation, run, at_ms, used_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
                      " ON CONFLICT DO UPDATE SET used_ms = max(used_ms, excluded.used_ms)"),
}
"""By table: what is read of the replaced database, and what it does to the restored one."""
_LOG_BEGINS = "SELECT body FROM entries WHERE run = 0 ORDER BY number LIMIT 1"


class _Held(NamedTuple):
    """`rows` by table; ids of the `tokens` that there are; pairs of runs and what was `made` of them; how the `log` begins."""

    rows: Mapping[str, Sequence[tuple[Any, ...]]]
    tokens: Sequence[tuple[str]] = ()
    made: Sequence[tuple[str, str]] = ()
    log: tuple[bytes] | None = None


def _held_on(path: Path) -> _Held | None:
    """What restricts in the database to be replaced; None if it cannot be read."""
    if not path.exists():
        return _Held({})
    try:
        with closing(sqlite3.connect(path)) as connection:
            there = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
            return _Held({table: connection.execute(f"SELECT {read}").fetchall() for table, (read, _) in _HOLDS_ON.items() if table in there},
                         connection.execute("SELECT id FROM tokens").fetchall(),
                         connection.execute("SELECT parent, run_id FROM runs WHERE parent IS NOT NULL").fetchall(),
                         connection.execute(_LOG_BEGINS).fetchone())
    except sqlite3.DatabaseError:
        return None


def _hold_on(connection: sqlite3.Connection, held: _Held, now_ms: int) -> list[str]:
    """The runs that the restored database takes for untouched, and that are not."""
    for table, rows in held.rows.items():
        connection.executemany(_HOLDS_ON[table][1], rows)
    if held.log is not None and held.log == connection.execute(_LOG_BEGINS).fetchone():     # a later state of the same one: what it lacks went since
        gone = {one for (one,) in connection.execute("SELECT id FROM tokens WHERE revoked_ms IS NULL")} - {one for (one,) in held.tokens}
        connection.executemany("UPDATE tokens SET revoked_ms = ? WHERE id = ?", [(now_ms, one) for one in gone])
    known = {run for (run,) in connection.execute("SELECT run_id FROM runs")}
    return sorted({parent for parent, made in held.made if parent in known and made not in known})


def _prepared(fresh: Path, ownership: Ownership, held: Sequence[_Held],
              now_ms: int) -> tuple[tuple[str, ...], tuple[str, ...], int]:
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
            for write in standing(run.key, (), closes=True):
                connection.execute(write.sql, write.values)
        log.open(gathered.items())
        log.note(connection, {"restored": [run.key for run in runs]})
        acted_on = [run for one in held for run in _hold_on(connection, one, now_ms)]
        log.write(connection)
        (epoch,) = connection.execute("SELECT epoch FROM meta").fetchone()
        epoch = max(epoch, *(mark.epoch for mark in ownership.found)) + 1
        connection.execute("UPDATE meta SET epoch = ?", (epoch,))
        connection.execute("COMMIT")
    finally:
        connection.close()
    return tuple(run.run_id for run in runs), tuple(acted_on), epoch


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
