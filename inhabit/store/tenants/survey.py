"""What waits in a store that is closed, seen without opening it for good: no lock is taken, no file made, nothing written.

Only for a file that was closed in order: it has no write-ahead log, so it can be read as it lies (`immutable`). One that a
crash left, or that an older version wrote, has to be opened as a store to be known.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from inhabit.store.schema import APPLICATION_ID, SCHEMA_VERSION

__all__ = ["Waiting", "look", "look_open"]


class Waiting(NamedTuple):
    """`unfinished`: runs that do not wait for people alone. `asked`: runs with open questions, one for each question.
    `expires_ms`: of the question that expires first. `oldest_ms`: when the oldest thing came that grows too old some day."""

    unfinished: bool
    asked: tuple[str, ...]
    expires_ms: int | None
    oldest_ms: int | None


def look(path: Path) -> Waiting | None:
    """None where the store has to be opened to be known."""
    log = path.with_name(path.name + "-wal")
    if log.exists() and log.stat().st_size:
        return None
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True, isolation_level=None)) as connection:
            marks = (connection.execute("PRAGMA application_id").fetchone()[0], connection.execute("PRAGMA user_version").fetchone()[0])
            return look_open(connection) if marks == (APPLICATION_ID, SCHEMA_VERSION) else None
    except sqlite3.Error:
        return None     # opening it says what is wrong


def look_open(connection: sqlite3.Connection) -> Waiting:
    """The same of a store that is open."""
    (unfinished,) = connection.execute("SELECT EXISTS (SELECT 1 FROM runs WHERE ended_ms IS NULL AND state != 'suspended')").fetchone()
    asked = connection.execute("SELECT run_id, expires_ms FROM approvals JOIN runs ON key = run WHERE decided_ms IS NULL").fetchall()
    (oldest,) = connection.execute(
        "SELECT min(at) FROM (SELECT min(ended_ms) AS at FROM runs UNION ALL SELECT min(touched_ms) FROM blobs WHERE touched_ms > 0"
        " UNION ALL SELECT min(used_ms) FROM conversations UNION ALL SELECT min(at_ms) FROM conversations_cleared)").fetchone()
    return Waiting(bool(unfinished), tuple(run for run, _ in asked), min((at for _, at in asked), default=None), oldest)
