"""Whose credential a call uses: the principal's own connection, else what the operator shares, else an error.

An agent (`tenant/user/agent`) uses its own connection if it has one, else that of its user. A credential that has
expired, or is about to, is refreshed before it is handed out; of many calls at once one refreshes and all wait.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from inhabit.connectors.oauth import OAuthFlows
from inhabit.contracts.connections import ConnectionInfo, ConnectionVault, StoredConnection
from inhabit.contracts.connector import Secret
from inhabit.contracts.principal import Principal
from inhabit.errors import InvalidInput, MissingConnection

__all__ = ["OAuthConnections"]

EXPIRY_MARGIN_S = 60.0      # a token that ends within this is refreshed first: a call may take that long
_NOT_FOR_CONNECTORS = frozenset({"refresh_token", "client_secret"})

Shared = Callable[[str], Mapping[str, Secret] | None]


class OAuthConnections:
    """Implements `inhabit.contracts.connector.Connections`, and `renew` for credentials that an upstream refused.

    `shared`: the operator's credential for a connector, for principals that have none of their own.
    `connect_url`: where a person connects a connector in a browser, where there is such a page.
    """

    def __init__(self, vault: ConnectionVault, flows: OAuthFlows | None = None, *, shared: Shared = lambda _connector: None,
                 connect_url: Callable[[str], str | None] = lambda _connector: None,
                 clock: Callable[[], float] = time.time) -> None:
        self._vault = vault
        self._flows = flows
        self._shared = shared
        self._connect_url = connect_url
        self._clock = clock
        self._refreshing: dict[tuple[str, Principal], asyncio.Task[StoredConnection]] = {}

    async def credential(self, connector: str, principal: Principal) -> Mapping[str, Secret]:
        """Raises `MissingConnection`, `UpstreamError` when an expired one cannot be refreshed now, `Unavailable`."""
        stored = await self._own(connector, principal)
        if stored is None:
            shared = self._shared(connector)
            if shared is None:
                raise self.missing(connector, f"{principal} has no connection to {connector}")
            return shared
        if self._expired(stored):
            stored = await self._refreshed(stored)
        return _usable(stored)

    async def renew(self, connector: str, principal: Principal) -> Mapping[str, Secret] | None:
        """Another credential in place of one that was refused before its time; None when there is none to be had."""
        stored = await self._own(connector, principal)
        if stored is None or stored.info.kind != "oauth" or "refresh_token" not in stored.values:
            return None
        return _usable(await self._refreshed(stored))

    def missing(self, connector: str, message: str, details: Mapping[str, Any] | None = None) -> MissingConnection:
        """The error for a connection that is not there or no longer good: it says how to make one, in the message too,
        since that is what is left of an error that a program does not catch."""
        url = self._connect_url(connector)
        where = {"connect_url": url} if url else {}
        how = f"{f'open {url}, or run: ' if url else 'run: '}inhabit connect {connector}"
        return MissingConnection(f"{message}; to connect, {how}", fix=how, details={"connector": connector, **where, **(details or {})})

    async def connect_key(self, connector: str, principal: Principal, values: Mapping[str, str]) -> ConnectionInfo:
        """Keep an API key (or other named values) for a principal. Raises `InvalidInput` for an empty one."""
        if not values or not all(name and value for name, value in values.items()):
            raise InvalidInput(f"the connection to {connector} needs a value", fix='for example {"token": "…"}')
        info = ConnectionInfo(connector, principal, "key")
        await self._vault.put(StoredConnection(info, {name: Secret(value) for name, value in values.items()}))
        return info

    async def disconnect(self, connector: str, principal: Principal) -> bool:
        """Forget a connection, revoking it upstream where that is possible. False when there was none.

        It is forgotten even when the upstream cannot be told, which raises `UpstreamError`.
        """
        if self._flows is not None:
            return await self._flows.revoke(connector, principal)
        return await self._vault.remove(connector, principal)

    async def list(self, *, tenant: str, user: str | None = None) -> Sequence[ConnectionInfo]:
        return await self._vault.list(tenant=tenant, user=user)

    async def holder(self, connector: str) -> Principal | None:
        return await self._vault.holder(connector)

    async def _own(self, connector: str, principal: Principal) -> StoredConnection | None:
        found = await self._vault.get(connector, principal)
        if found is None and principal.agent is not None:
            found = await self._vault.get(connector, Principal(principal.user, principal.tenant))
        return found

    def _expired(self, stored: StoredConnection) -> bool:
        ends = stored.info.expires_ms
        return ends is not None and ends <= (self._clock() + EXPIRY_MARGIN_S) * 1000

    async def _refreshed(self, stored: StoredConnection) -> StoredConnection:
        """Single flight: a rotating refresh token that is used twice ends the whole connection."""
        key = (stored.info.connector, stored.info.principal)
        task = self._refreshing.get(key)
        if task is None:
            task = asyncio.create_task(self._refresh(stored))
            self._refreshing[key] = task
            task.add_done_callback(lambda _done: self._refreshing.pop(key, None))
        return await asyncio.shield(task)

    async def _refresh(self, stored: StoredConnection) -> StoredConnection:
        now = await self._vault.get(stored.info.connector, stored.info.principal)
        if now is not None and now.values["token"].reveal() != stored.values["token"].reveal() and not self._expired(now):
            return now      # someone refreshed it between our reading and our turn
        if self._flows is None or "refresh_token" not in stored.values:
            raise self.missing(stored.info.connector, f"the connection of {stored.info.principal} to {stored.info.connector} has expired")
        try:
            return await self._flows.refresh(stored)
        except MissingConnection as error:
            raise self.missing(stored.info.connector, error.message) from None


def _usable(stored: StoredConnection) -> Mapping[str, Secret]:
    return {name: value for name, value in stored.values.items() if name not in _NOT_FOR_CONNECTORS}
