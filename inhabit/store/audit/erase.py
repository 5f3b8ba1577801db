"""A user's data erased for good: runs, the values and approvals of them, conversations, tokens, usage counted under the user's name.

The payloads and the salts of their leaves go together; the log keeps the leaves, which say nothing any more, and a note
of which runs went and why, without the name. Deleted content is overwritten, the file is built anew (a page may keep
a stale copy of a row that was moved away), and the write-ahead log is cut. Needs room for a second copy of the file.
Not reached: backups and copies elsewhere, and blocks that the file system gave up.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from inhabit.errors import InvalidInput, Unavailable
from inhabit.store.audit.clearings import drop_clearings
from inhabit.store.audit.events import drop_events_of
from inhabit.store.audit.log import AuditLog
from inhabit.store.database import Database
from inhabit.store.retention import Went, drop, tighten

__all__ = ["Erased", "erase", "refuse_unfinished"]

_STEP_RUNS = 50


@dataclass(frozen=True, slots=True)
class Erased:
    """`copies`: replaced databases beside this one, which still hold what they held."""

    runs: int
    values: int
    tokens: int
    charges: int
    copies: tuple[Path, ...]


async def erase(database: Database, *, tenant: str, user: str) -> Erased:
    """Raises `InvalidInput` while a run of the tenant goes on or waits, `Unavailable` when something reads on."""
    do = database.writer.perform
    await database.writer.flush()
    await do(lambda c: refuse_unfinished(c, tenant))
    runs = values = 0
    while (went := await do(lambda c: _drop_some(c, tenant, user, database))).runs:
        runs, values = runs + went.runs, values + went.values
    tokens, charges, unused = await do(lambda c: _drop_named(c, database.audit, tenant, user))
    await database.writer.maintain(lambda c: c.execute("VACUUM"))
    if not await tighten(database):
        raise Unavailable("the rows are deleted, but a long reading keeps the write-ahead log, which still has them",
                          fix="end the backup or reader, then do this again")
    return Erased(runs, values + unused, tokens, charges, tuple(sorted(database.path.parent.glob(f"{database.path.name}.replaced-*"))))


def refuse_unfinished(connection: sqlite3.Connection, tenant: str) -> None:
    """Raises `InvalidInput`. Of the tenant, not of the user alone: values on their way into a record are the tenant's, and go too."""
    row = connection.execute("SELECT run_id, count(*) OVER () FROM runs WHERE tenant = ? AND ended_ms IS NULL LIMIT 1", (tenant,)).fetchone()
    if row is not None:
        raise InvalidInput(f"{row[1]} runs of tenant {tenant} have not ended, e.g. {row[0]}", fix="let them end or cancel them, then erase")


def _drop_some(connection: sqlite3.Connection, tenant: str, user: str, database: Database) -> Went:
    keys = [key for (key,) in connection.execute("SELECT key FROM runs WHERE tenant = ? AND user = ? ORDER BY key LIMIT ?",
                                                 (tenant, user, _STEP_RUNS))]
    return drop(connection, keys, database, "the user's data was erased")


def _drop_named(connection: sqlite3.Connection, log: AuditLog, tenant: str, user: str) -> tuple[int, int, int]:
    drop_events_of(connection, log, tenant, user, "the user's data was erased")
    tokens = connection.execute("DELETE FROM tokens WHERE tenant = ? AND user = ?", (tenant, user)).rowcount
    charges = connection.execute("DELETE FROM charges WHERE tenant = ? AND instr(key, ?)", (tenant, f"{len(user)}:{user}")).rowcount
    connection.execute("DELETE FROM conversations WHERE tenant = ? AND user = ?", (tenant, user))
    drop_clearings(connection, log, "tenant = ? AND user = ?", (tenant, user), "the user's data was erased")
    unused = connection.execute("DELETE FROM blobs WHERE tenant = ? AND key NOT IN (SELECT blob FROM blob_uses)", (tenant,)).rowcount
    return tokens, charges, unused
