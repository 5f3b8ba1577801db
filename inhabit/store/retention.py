"""What is forgotten, and that it is really gone.

Model: finished runs go oldest first, by age and then by size; an unfinished run never goes. Values that no run left
needs go with them, and tokens that expired a retention ago. Deleting happens on the writer thread in small
transactions, so that appends pass in between. Deleted content is overwritten (`secure_delete`), the file shrinks,
and the write-ahead log is cut, so that no copy of what was deleted stays in our files.
"""

from __future__ import annotations

import math
import sqlite3
from dataclasses import dataclass

from inhabit.errors import ConfigError
from inhabit.store.audit.events import drop_events
from inhabit.store.database import Database

__all__ = ["MAX_AGE_DAYS", "MAX_BYTES", "Pruned", "Retention", "Went", "drop", "prune", "tighten"]

MAX_AGE_DAYS, MAX_BYTES = 36_500, 2**60
"""Of what a retention may say: a hundred years, an exbibyte."""

_DAY_MS = 86_400_000
_UNUSED_BLOB_MS = 7 * _DAY_MS
"""A value that was put but that no record names may be on its way into one."""
_STEP_RUNS = 50
_STEP_PAGES = 2_000
_FOLD_WAIT_MS = 250
_FINISHED = "SELECT key, bytes FROM runs WHERE ended_ms IS NOT NULL"


@dataclass(frozen=True, slots=True)
class Retention:
    """How long and how much is kept. Raises `ConfigError` for what is no positive number within `MAX_AGE_DAYS` and `MAX_BYTES`."""

    max_age_days: float = 30.0
    max_bytes: int = 10 * 1024**3

    def __post_init__(self) -> None:
        for name, most in (("max_age_days", MAX_AGE_DAYS), ("max_bytes", MAX_BYTES)):
            value = getattr(self, name)
            if isinstance(value, bool) or not math.isfinite(value) or not 0 < value <= most:
                raise ConfigError(f"retention {name} must be a positive number of at most {most}, got {value!r}",
                                  fix="leave it out for the default")

    def before_ms(self, now_ms: int) -> int:
        """What is older than this goes."""
        return now_ms - int(self.max_age_days * _DAY_MS)

    def unused_before_ms(self, now_ms: int) -> int:
        """Nothing younger than this goes for its age: the later of that and of the time for values that no record names."""
        return max(self.before_ms(now_ms), now_ms - _UNUSED_BLOB_MS)


@dataclass(frozen=True, slots=True)
class Pruned:
    """`log_cut` is False when a long reading (a backup) kept the log: what was deleted is still in it, until the
    next prune. `over_bytes`: how much more than allowed the unfinished and needed still take."""

    runs: int
    values: int
    tokens: int
    log_cut: bool
    over_bytes: int

    def __add__(self, other: Pruned) -> Pruned:
        return Pruned(self.runs + other.runs, self.values + other.values, self.tokens + other.tokens, self.log_cut and other.log_cut,
                      self.over_bytes + other.over_bytes)


async def prune(database: Database, now_ms: int, retention: Retention) -> Pruned:
    """Forget what is older or more than `retention` allows. Raises `Unavailable`."""
    before = retention.before_ms(now_ms)
    do = database.writer.perform
    runs = values = 0
    while (went := await do(lambda c: _drop_old(c, before, database))).runs:
        runs, values = runs + went.runs, values + went.values
    while (went := await do(lambda c: _drop_excess(c, retention.max_bytes, database))).runs:
        runs, values = runs + went.runs, values + went.values
    while unused := await do(lambda c: _drop_unused(c, now_ms - _UNUSED_BLOB_MS)):
        values += unused
    tokens = await do(lambda c: _drop_tokens(c, before, database))
    cut = await tighten(database)
    return Pruned(runs, values, tokens, cut, max(0, await database.read(_used) - retention.max_bytes))


async def tighten(database: Database) -> bool:
    """Give up what was deleted: free pages to the file system, the write-ahead log cut. False when a long reading kept it."""
    while await database.writer.perform(_shrink):
        pass
    return await database.writer.maintain(_cut_log)


@dataclass(frozen=True, slots=True)
class Went:
    runs: int
    values: int


def _drop_old(connection: sqlite3.Connection, before_ms: int, database: Database) -> Went:
    keys = [key for key, _size in connection.execute(
        f"{_FINISHED} AND ended_ms < ? ORDER BY ended_ms LIMIT ?", (before_ms, _STEP_RUNS))]
    return drop(connection, keys, database, "retention")


def _drop_excess(connection: sqlite3.Connection, max_bytes: int, database: Database) -> Went:
    excess = _used(connection) - max_bytes
    keys: list[int] = []
    for key, size in connection.execute(f"{_FINISHED} ORDER BY ended_ms LIMIT ?", (_STEP_RUNS,)):
        if excess <= 0:
            break
        keys.append(key)
        excess -= size
    return drop(connection, keys, database, "retention")


def drop(connection: sqlite3.Connection, keys: list[int], database: Database, reason: str) -> Went:
    """Delete these runs and all that only they need, with a note in the audit log that and why they went."""
    if not keys:
        return Went(0, 0)
    database.forget_mark()
    database.audit.note(connection, {"erased": keys, "reason": reason})
    marks = ",".join("?" * len(keys))
    held = [blob for (blob,) in connection.execute(f"SELECT DISTINCT blob FROM blob_uses WHERE run IN ({marks})", keys)]
    for table in ("entries", "headers", "blob_uses", "approvals"):
        connection.execute(f"DELETE FROM {table} WHERE run IN ({marks})", keys)
    connection.execute(f"DELETE FROM charges WHERE run IN (SELECT run_id FROM runs WHERE key IN ({marks}))", keys)
    connection.execute(f"DELETE FROM runs WHERE key IN ({marks})", keys)
    values = 0
    for blob in held:
        values += connection.execute(
            "DELETE FROM blobs WHERE key = ?1 AND NOT EXISTS (SELECT 1 FROM blob_uses WHERE blob = ?1)",
            (blob,)).rowcount
    return Went(len(keys), values)


def _drop_tokens(connection: sqlite3.Connection, before_ms: int, database: Database) -> int:
    """What befell a token goes with its record; a change of the key when it is as old."""
    gone = connection.execute("DELETE FROM tokens WHERE expires_ms < ?1 OR revoked_ms < ?1", (before_ms,)).rowcount
    drop_events(connection, database.audit, "substr(token, 1, 16) NOT IN (SELECT id FROM tokens) AND (SELECT json_extract(CAST(body AS TEXT), '$.at_ms')"
                " FROM audit_notes WHERE audit_notes.position = token_events.position) < ?", (before_ms,), "retention")
    return gone


def _drop_unused(connection: sqlite3.Connection, before_ms: int) -> int:
    return connection.execute(
        "DELETE FROM blobs WHERE key IN (SELECT key FROM blobs WHERE touched_ms < ? AND NOT EXISTS"
        " (SELECT 1 FROM blob_uses WHERE blob = key) LIMIT 20)", (before_ms,)).rowcount


def _shrink(connection: sqlite3.Connection) -> bool:
    """Give free pages back to the file system, some at a time; True while there are more."""
    connection.execute(f"PRAGMA incremental_vacuum({_STEP_PAGES})").fetchall()
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    return free > 0


def _used(connection: sqlite3.Connection) -> int:
    pages, free, size = (connection.execute(f"PRAGMA {name}").fetchone()[0]
                         for name in ("page_count", "freelist_count", "page_size"))
    return (pages - free) * size


def _cut_log(connection: sqlite3.Connection) -> bool:
    """Fold the log into the file and cut it to nothing, unless a reading holds it for longer than we let appends wait."""
    (patience,) = connection.execute("PRAGMA busy_timeout").fetchone()
    connection.execute(f"PRAGMA busy_timeout = {_FOLD_WAIT_MS}")
    try:
        (busy, _log, _done) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not busy
    finally:
        connection.execute(f"PRAGMA busy_timeout = {patience}")
