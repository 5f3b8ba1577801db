"""A home that has one journal for all its tenants, as older versions made it, becomes one with a store for each.

Model: under the lock of the old journal every tenant's rows are copied into a store of its own, all in the folder
`tenants.moving`; tokens go to `server.db`. When all of it is on disk and was read through, the folder gets its name, `tenants`,
in one rename: that is the step. Then the old file goes. A crash before the step leaves the old home, one behind it leaves
the new one and an old file, which the next start knows by `tenants/moved.json` and removes.

The audit log goes on: each store carries all leaves and checkpoints so far (they say nothing by themselves), and a note that
the runs of the others are kept elsewhere, so that a checkpoint which was kept still proves each of them.
Invariant: nothing is removed that is not, row for row, in the stores of the tenants.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson

from inhabit.errors import Unavailable
from inhabit.store.audit.log import AuditLog
from inhabit.store.database import Database, audit_key, connect
from inhabit.store.folders import synced
from inhabit.store.schema import migrate
from inhabit.store.tenants.naming import AUDIT_KEY, JOURNAL, SERVER, TENANTS, folder_name

__all__ = ["LAST_OF_ONE_FILE", "OF_THE_HOME", "RESTORING", "move_over"]

LAST_OF_ONE_FILE = 8
"""The schema version of the last home that had one journal for all its tenants."""
RESTORING = "tenants.restoring"
"""A whole restore that needs its last step, or (beside `tenants`) one that never happened."""
OF_THE_HOME = frozenset({"tokens", "token_revocations", "passkeys", "token_events"})
_OF_EACH = frozenset({"audit_notes", "audit_checkpoints"})
_MOVING = "tenants.moving"
_MARK = "moved.json"


def move_over(home: Path) -> None:
    """Nothing to do for a home that has no `journal.db`. Raises `Unavailable`, saying the fix."""
    _end_restore(home)
    old = home / JOURNAL
    if not old.exists():
        return
    key, old_key = home / AUDIT_KEY, audit_key(old)
    database = Database(old, key=old_key if old_key.exists() else key)
    try:
        if old_key.exists() and not key.exists():
            os.link(old_key, key)       # the same key goes on signing
        mark = database.read_now(_mark)
        if not (home / TENANTS).exists():
            database.read_now(lambda connection: _build(connection, home, mark))
            (home / _MOVING).rename(home / TENANTS)
            synced(home)
        elif mark != {**mark, **_marked(home)} and database.read_now(_holds_anything):
            raise Unavailable(f"{home} has stores for its tenants, and beside them {old} with other records", code="journal_beside_stores",
                              fix=f"an older Inhabit was started on it: `inhabit restore {old} --home` a new home to look into it, then move it away")
    finally:
        database.close_now()
    for name in ("", ".audit-key", "-wal", "-shm", ".lock"):
        old.with_name(JOURNAL + name).unlink(missing_ok=True)
    synced(home)


def _end_restore(home: Path) -> None:
    if (home / RESTORING).exists():
        if (home / TENANTS).exists():
            shutil.rmtree(home / RESTORING)
        else:
            (home / RESTORING).rename(home / TENANTS)
        synced(home)


def _mark(connection: sqlite3.Connection) -> dict[str, Any]:
    """What an older version that went on writing would have changed."""
    (leaves,) = connection.execute("SELECT coalesce(sum(length(body)), 0) FROM entries WHERE run = 0").fetchone()
    (tokens,) = connection.execute("SELECT count(*) FROM tokens").fetchone()
    return {"leaf_bytes": leaves, "tokens": tokens}


def _marked(home: Path) -> dict[str, Any]:
    try:
        return orjson.loads((home / TENANTS / _MARK).read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {"leaf_bytes": None}


def _holds_anything(connection: sqlite3.Connection) -> bool:
    return any(connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() for table in ("runs", "blobs", "tokens", "charges"))


def _build(connection: sqlite3.Connection, home: Path, mark: dict[str, Any]) -> None:
    moving = home / _MOVING
    shutil.rmtree(moving, ignore_errors=True)
    moving.mkdir(mode=0o700)
    tables = _tables(connection)
    for tenant in _tenants(connection, tables):
        folder = moving / folder_name(tenant)
        folder.mkdir(mode=0o700)
        _split(home / JOURNAL, folder / JOURNAL, tables, tenant)
        synced(folder)
    _split(home / JOURNAL, home / (SERVER + ".moving"), tables, None)
    (home / (SERVER + ".moving")).replace(home / SERVER)
    (home / (SERVER + ".lock")).unlink(missing_ok=True)      # of an attempt before this one: it tells of another file
    (moving / _MARK).write_bytes(orjson.dumps(mark))
    synced(moving)
    synced(home)


def _tables(connection: sqlite3.Connection) -> dict[str, frozenset[str]]:
    """The columns of each."""
    names = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")]
    return {name: frozenset(column for _, column, *_ in connection.execute(f"PRAGMA table_info({name})")) for name in names}


def _tenants(connection: sqlite3.Connection, tables: dict[str, frozenset[str]]) -> list[str]:
    named = " UNION ".join(f"SELECT tenant FROM {table}" for table, columns in tables.items() if "tenant" in columns and table not in OF_THE_HOME)
    return [tenant for (tenant,) in connection.execute(f"{named} ORDER BY 1")] or ["default"]     # whose log goes on, where there are no runs


def _split(source: Path, target: Path, tables: dict[str, frozenset[str]], tenant: str | None) -> None:
    """A store with the rows of one tenant, or (None) with those of the home."""
    target.unlink(missing_ok=True)
    os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    with closing(connect(target, writing=True)) as connection:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        migrate(connection)
        connection.execute("ATTACH ? AS old", (str(source),))
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE main.meta SET epoch = (SELECT epoch FROM old.meta)")
        for table, columns in tables.items():
            condition = _rows_of(table, columns, tenant)
            if condition:
                connection.execute(f"INSERT INTO main.{table} SELECT * FROM old.{table} WHERE {condition}", {"tenant": tenant})
        if tenant is not None:
            _note_of_the_others(connection, tenant)
        connection.execute("COMMIT")
        connection.execute("DETACH old")
        _refuse_damaged(connection, target)


def _rows_of(table: str, columns: frozenset[str], tenant: str | None) -> str:
    if table in OF_THE_HOME:    # an event belongs to its place in a log, and the home's log is a new one
        return "1" if tenant is None and table != "token_events" else ""
    if tenant is None or table == "meta":
        return ""
    if table in _OF_EACH:
        return "1"
    own = "tenant = :tenant" if "tenant" in columns else "run IN (SELECT key FROM old.runs WHERE tenant = :tenant)"
    return f"{own} OR run = 0" if table == "entries" else own


def _note_of_the_others(connection: sqlite3.Connection, tenant: str) -> None:
    runs = _firsts(connection, "SELECT key FROM old.runs WHERE tenant != ? ORDER BY key", tenant)
    clearings = _firsts(connection, "SELECT position FROM old.conversations_cleared WHERE tenant != ? AND position IS NOT NULL", tenant)
    events = [position for (position,) in connection.execute("SELECT position FROM old.token_events")]
    log = AuditLog(connection, None)
    log.open(())
    log.note(connection, {"erased": runs, "clearings_erased": clearings, "events_erased": events, "reason": "kept in the stores of other tenants"})
    log.write(connection)


def _firsts(connection: sqlite3.Connection, sql: str, tenant: str) -> Sequence[int]:
    return [value for (value,) in connection.execute(sql, (tenant,))]


def _refuse_damaged(connection: sqlite3.Connection, path: Path) -> None:
    found = [line for (line,) in connection.execute("PRAGMA integrity_check(3)")]
    if found != ["ok"]:
        raise Unavailable(f"{path} was not written as it should be: {'; '.join(found)[:300]}", code="journal_damaged", fix="check the disk, then start again")
