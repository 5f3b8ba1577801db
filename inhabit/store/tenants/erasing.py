"""Tenants and users erased for good. A tenant: its folder is gone, and so is its name from every file of the home.

What stays is the tenant's audit log without what it stood for: `erased/ID.db` has leaves, notes and checkpoints, and a
checkpoint that was kept elsewhere still verifies against it. The ID is random; whoever erased gets it told.
Each step can be done again: one that was cut short ends with the next `erase_tenant`. Not reached: backups and
copies elsewhere, and blocks that the file system gave up.
"""

from __future__ import annotations

import secrets
import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from inhabit.contracts.principal import Principal
from inhabit.errors import NotFound, Unavailable
from inhabit.store.audit.clearings import drop_clearings
from inhabit.store.audit.erase import Erased, erase, refuse_unfinished
from inhabit.store.audit.events import drop_events, drop_events_of
from inhabit.store.database import Database
from inhabit.store.folders import synced
from inhabit.store.retention import tighten
from inhabit.store.store import Store
from inhabit.store.tenants.connections import TenantsConnections
from inhabit.store.tenants.moving import OF_THE_HOME
from inhabit.store.tenants.naming import AUDIT_KEY, ERASED, JOURNAL, TENANTS, tenant_folder
from inhabit.store.tenants.stores import Stores

__all__ = ["ErasedTenant", "ErasedUser", "erase_tenant", "erase_user"]

_REASON = "the tenant's data was erased"
_LOG = frozenset({"meta", "audit_notes", "audit_checkpoints"})


@dataclass(frozen=True, slots=True)
class ErasedTenant:
    """`log`: where the audit log lies from now on; None for a tenant that had no journal. `copies`: whole homes that a restore
    set aside, which still hold what they held."""

    runs: int
    tokens: int
    log: Path | None
    copies: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class ErasedUser:
    """`copies`: as above, and replaced journals of the tenant."""

    runs: int
    values: int
    tokens: int
    charges: int
    connections: int
    copies: tuple[Path, ...]


async def erase_tenant(stores: Stores, tenant: str) -> ErasedTenant:
    """Raises `NotFound` for a tenant that has nothing here, `InvalidInput` while a run of it goes on or waits, `Unavailable`."""
    folder = tenant_folder(stores.home, tenant)
    runs, log = 0, None
    if (folder / JOURNAL).exists():
        runs = await _emptied(stores, tenant)
        log = _kept(stores.home, folder)
    tokens = await _forgotten(stores.server.database, tenant, log)
    if not (folder.exists() or tokens or log):
        raise NotFound(f"there is no tenant {tenant} in {stores.home}", fix="name the home with --home")
    vault = TenantsConnections(stores.home)
    try:
        await vault.forget_sign_ins()
    finally:
        vault.close()
    if folder.exists():
        shutil.rmtree(folder)
        synced(folder.parent)
    return ErasedTenant(runs, tokens, log, _copies(stores.home))


async def erase_user(stores: Stores, whom: Principal) -> ErasedUser:
    """A user's data, in the tenant's store and the home's. Raises `InvalidInput` while a run of the tenant goes on or waits,
    `Unavailable`."""
    folder = tenant_folder(stores.home, whom.tenant)
    gone = Erased(0, 0, 0, 0, ())
    async with stores.opening.using(whom.tenant) as opened:
        if opened is not None:
            gone = await erase(opened.store.database, tenant=whom.tenant, user=whom.user)
    tokens = await stores.server.database.writer.perform(lambda c: _drop_tokens(c, stores.server.database, whom))
    await _anew(stores.server.database)
    vault = TenantsConnections(stores.home)
    try:
        held = await vault.list(tenant=whom.tenant, user=whom.user)
        for info in held:
            await vault.remove(info.connector, info.principal)
        await vault.forget_sign_ins()
    finally:
        vault.close()
    return ErasedUser(gone.runs, gone.values, tokens, gone.charges, len(held), (*folder.glob("*.replaced-*"), *_copies(stores.home)))


def _drop_tokens(connection: sqlite3.Connection, database: Database, whom: Principal) -> int:
    drop_events_of(connection, database.audit, whom.tenant, whom.user, "the user's data was erased")
    connection.execute("DELETE FROM token_revocations WHERE tenant = ?1 AND root IN (SELECT id FROM tokens WHERE tenant = ?1 AND user = ?2)",
                       (whom.tenant, whom.user))
    connection.execute("DELETE FROM passkeys WHERE tenant = ? AND user = ?", (whom.tenant, whom.user))
    return connection.execute("DELETE FROM tokens WHERE tenant = ? AND user = ?", (whom.tenant, whom.user)).rowcount


def _copies(home: Path) -> tuple[Path, ...]:
    return tuple(sorted((*home.glob(f"{TENANTS}.replaced-*"), *home.glob("*.db.replaced-*"))))


async def _emptied(stores: Stores, tenant: str) -> int:
    """The journal with nothing left in it but the log."""
    stores.opening.forget(tenant)
    store = Store.open(tenant_folder(stores.home, tenant) / JOURNAL, key=stores.home / AUDIT_KEY)
    try:
        do = store.database.writer.perform
        await do(lambda c: refuse_unfinished(c, tenant))
        runs = await do(lambda c: _drop_all(c, store.database))
        await _anew(store.database)
        return runs
    finally:
        await store.close()


def _drop_all(connection: sqlite3.Connection, database: Database) -> int:
    keys = [key for (key,) in connection.execute("SELECT key FROM runs ORDER BY key")]
    database.forget_mark()
    drop_clearings(connection, database.audit, "1", (), _REASON)
    drop_events(connection, database.audit, "1", (), _REASON)
    database.audit.note(connection, {"erased": keys, "reason": _REASON})
    for table in _tables(connection) - _LOG:
        connection.execute(f"DELETE FROM {table}" + (" WHERE run != 0" if table == "entries" else ""))
    return len(keys)


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")}


async def _anew(database: Database) -> None:
    """Without free pages, stale copies of rows, or a write-ahead log."""
    await database.writer.maintain(lambda c: c.execute("VACUUM"))
    if not await tighten(database):
        raise Unavailable(f"the rows are deleted, but a long reading keeps the write-ahead log of {database.path}, which still has them",
                          fix="end the backup or reader, then do this again")


def _kept(home: Path, folder: Path) -> Path:
    erased = home / ERASED
    erased.mkdir(mode=0o700, exist_ok=True)
    target = erased / f"{secrets.token_hex(8)}.db"
    (folder / JOURNAL).rename(target)
    synced(erased)
    synced(folder)
    synced(home)
    return target


async def _forgotten(server: Database, tenant: str, log: Path | None) -> int:
    """The tenant's rows in the home's own store, and a note there of what was done, without the name."""
    def drop(connection: sqlite3.Connection) -> int:
        drop_events_of(connection, server.audit, tenant, None, _REASON)
        gone = sum(connection.execute(f"DELETE FROM {table} WHERE tenant = ?", (tenant,)).rowcount for table in sorted(OF_THE_HOME))
        server.audit.note(connection, {"tenant_erased": log.name if log is not None else "", "tokens": gone})
        return gone

    gone = await server.writer.perform(drop)
    await _anew(server)
    return gone
