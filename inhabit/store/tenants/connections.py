"""Upstream credentials of a home: implements `contracts.connections.ConnectionVault`, with a file for each tenant's.

    tenants/NAME/connections.db     the tenant's connections, sealed
    connections.db                  of the home: client registrations, sign-ins under way; connections.key seals all of them

Model: a tenant's file is opened when it is asked for, and made with the first connection. `_OPEN` stay open; the longest unused
goes. Several processes may use the files at once (`inhabit connect` beside a server).
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from inhabit.contracts.connections import ConnectionInfo, StoredConnection
from inhabit.contracts.principal import Principal
from inhabit.errors import Unavailable
from inhabit.store.connections import ConnectionStore
from inhabit.store.tenants.naming import tenant_folder, tenants_in

__all__ = ["CONNECTIONS", "CONNECTIONS_KEY", "TenantsConnections"]

CONNECTIONS = "connections.db"
CONNECTIONS_KEY = "connections.key"
_OPEN = 32


class TenantsConnections:
    """Raises as `ConnectionStore`. What an older version kept in the home's own file is moved over here."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._notes = ConnectionStore(home / CONNECTIONS, home / CONNECTIONS_KEY)
        self._open: OrderedDict[str, ConnectionStore] = OrderedDict()
        self._users: dict[str, int] = {}
        self._opening = asyncio.Lock()
        self._closed = False
        try:
            _move_over(home, self._notes)
        except sqlite3.Error as error:
            self._notes.close()
            raise Unavailable(f"the connections of {home} cannot be moved to their tenants: {error}", fix="make room on the disk") from error

    async def get(self, connector: str, principal: Principal) -> StoredConnection | None:
        async with self._of(principal.tenant) as store:
            return await store.get(connector, principal) if store is not None else None

    async def put(self, connection: StoredConnection) -> None:
        async with self._of(connection.info.principal.tenant, make=True) as store:
            assert store is not None, "it was to be made"
            await store.put(connection)

    async def remove(self, connector: str, principal: Principal) -> bool:
        async with self._of(principal.tenant) as store:
            return await store.remove(connector, principal) if store is not None else False

    async def list(self, *, tenant: str, user: str | None = None, connector: str | None = None) -> Sequence[ConnectionInfo]:
        async with self._of(tenant) as store:
            return await store.list(tenant=tenant, user=user, connector=connector) if store is not None else []

    async def holder(self, connector: str) -> Principal | None:
        """Who connected it last, of all tenants. Every tenant's file is looked into: it is asked at a start, for a source that is
        not listed yet."""
        found: ConnectionInfo | None = None
        for tenant in await asyncio.to_thread(lambda: list(tenants_in(self._home))):
            async with self._of(tenant) as store:
                last = await store.newest(connector) if store is not None else None
            if last is not None and (found is None or last.updated_ms > found.updated_ms):
                found = last
        return found.principal if found is not None else None

    async def keep_note(self, kind: str, key: str, value: Mapping[str, Any], *, expires_ms: int | None = None) -> None:
        await self._notes.keep_note(kind, key, value, expires_ms=expires_ms)

    async def note(self, kind: str, key: str) -> Mapping[str, Any] | None:
        return await self._notes.note(kind, key)

    async def take_note(self, kind: str, key: str) -> Mapping[str, Any] | None:
        return await self._notes.take_note(kind, key)

    async def forget_sign_ins(self) -> None:
        """Those under way, of everybody: each names who signs in. Nothing of them stays in the file."""
        await self._notes.forget_notes("flow")

    def close(self) -> None:
        """Idempotent."""
        self._closed = True
        for store in (self._notes, *self._open.values()):
            store.close()
        self._open.clear()

    @asynccontextmanager
    async def _of(self, tenant: str, *, make: bool = False) -> AsyncGenerator[ConnectionStore | None]:
        """The tenant's file until the end of the block; None where there is none."""
        store = self._held(tenant) or await self._brought(tenant, make)
        self._users[tenant] = self._users.get(tenant, 0) + 1      # with no turn of the loop since it was found: nobody closes it now
        try:
            yield store
        finally:
            self._users[tenant] -= 1
            if not self._users[tenant]:
                del self._users[tenant]

    def _held(self, tenant: str) -> ConnectionStore | None:
        if self._closed:
            raise Unavailable("the store of connections is closed")
        store = self._open.get(tenant)
        if store is not None:
            self._open.move_to_end(tenant)
        return store

    async def _brought(self, tenant: str, make: bool) -> ConnectionStore | None:
        """Opened in a thread, one at a time: a disk that is slow holds up who asks, and no other run."""
        async with self._opening:
            store = self._held(tenant)
            if store is None:
                opening = asyncio.ensure_future(asyncio.to_thread(self._fresh, tenant, make))
                opening.add_done_callback(self._keep(tenant))
                await asyncio.shield(opening)
                store = self._held(tenant)      # that, or what an asker before us who went had opened
                await asyncio.to_thread(_closed, self._unused(tenant))
            return store

    def _fresh(self, tenant: str, make: bool) -> ConnectionStore | None:
        path = tenant_folder(self._home, tenant) / CONNECTIONS
        return ConnectionStore(path, self._home / CONNECTIONS_KEY) if make or path.exists() else None

    def _keep(self, tenant: str) -> Callable[[asyncio.Future[ConnectionStore | None]], None]:
        """What was opened is kept also where its asker has gone, and closed where all is closed."""
        def opened(future: asyncio.Future[ConnectionStore | None]) -> None:
            store = None if future.cancelled() or future.exception() is not None else future.result()
            if store is not None and (self._closed or self._open.setdefault(tenant, store) is not store):
                store.close()

        return opened

    def _unused(self, tenant: str) -> list[ConnectionStore]:
        """Those that are more than may stay open, the longest unused first; from now on nobody finds them."""
        over = [name for name in self._open if name not in self._users and name != tenant][:max(0, len(self._open) - _OPEN)]
        return [self._open.pop(name) for name in over]


def _closed(stores: Sequence[ConnectionStore]) -> None:
    for store in stores:
        store.close()


def _move_over(home: Path, notes: ConnectionStore) -> None:
    """Rows go to their tenants' files first, and from here when they are there; a crash in between does it again."""
    with closing(sqlite3.connect(home / CONNECTIONS)) as old:
        tenants = [tenant for (tenant,) in old.execute("SELECT DISTINCT tenant FROM connections")]
        for tenant in tenants:
            path = tenant_folder(home, tenant) / CONNECTIONS
            ConnectionStore(path, home / CONNECTIONS_KEY).close()
            rows = old.execute("SELECT * FROM connections WHERE tenant = ?", (tenant,)).fetchall()
            with closing(sqlite3.connect(path)) as own, own:
                own.execute("PRAGMA synchronous = FULL")
                own.executemany("INSERT OR IGNORE INTO connections VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
    if tenants:
        notes.scrub("DELETE FROM connections")
