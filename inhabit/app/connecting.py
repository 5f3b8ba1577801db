"""What the routes of `server/connect.py` do: a principal's own connections to the sources of an app.

A connection is one for a whole source, so a token may make or revoke it only when nothing but its principal's own
grant bounds it there: a token that was narrowed to a part, or by a caveat, may not.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from inhabit.app.home import Home
from inhabit.connectors.mcp import McpConnector
from inhabit.connectors.openapi import OpenApiConnector
from inhabit.contracts.connections import ConnectionInfo
from inhabit.contracts.connector import Connector
from inhabit.contracts.principal import Principal
from inhabit.errors import Denied, InhabitError, InvalidInput, NotFound
from inhabit.kernel.grants import Clause, Grant
from inhabit.server.auth import Identity

__all__ = ["AppConnections", "refuse_unused_key"]

LIST_S = 20.0
"""How long a person waits after signing in for the source's list of operations."""

_log = logging.getLogger(__name__)


class AppConnections:
    """Implements `inhabit.server.connect.Connecting`. `grant_of`: what the app gives a principal."""

    def __init__(self, home: Home, sources: Sequence[Connector], grant_of: Callable[[Principal], Grant]) -> None:
        self._home = home
        self._sources = {source.name: source for source in sources}
        self._grant_of = grant_of

    def kind(self, name: str, identity: Identity) -> Literal["oauth", "key"]:
        source = self._sources.get(name)
        own = self._grant_of(identity.principal)
        if source is None or not (identity.operator or _shows_some(own, name)):
            raise NotFound(f"there is no source {name!r}", fix="GET /v1/capabilities lists what the token may call")
        if not identity.operator and not _covers(identity.grant.layers[len(own.layers):], name):
            raise Denied(f"this token may use a part of {name}, and a connection is for the whole of it",
                         fix="use a token that was not narrowed")
        return "oauth" if _signs_in(source) else "key"

    async def begin(self, name: str, principal: Principal, *, redirect_uri: str, browser: str) -> str:
        source = self._sources[name]
        target = await source.oauth_target() if isinstance(source, McpConnector) else None
        assert target is not None, "the route asked for the kind"
        return await self._home.flows.authorize_url(target, principal, redirect_uri=redirect_uri, browser=browser)

    async def finish(self, params: Mapping[str, str], *, browser: str) -> tuple[ConnectionInfo, str]:
        info = await self._home.flows.callback(params, browser=browser)
        return info, await self._listed(info)

    async def keep(self, name: str, principal: Principal, values: Mapping[str, str]) -> tuple[ConnectionInfo, str]:
        refuse_unused_key(self._sources[name])
        info = await self._home.connections.connect_key(name, principal, values)
        return info, await self._listed(info)

    async def renew_listing(self, name: str, principal: Principal) -> None:
        """Raises what a call raises."""
        source = self._sources[name]
        if isinstance(source, McpConnector):
            async with asyncio.timeout(LIST_S):
                await source.refresh(principal)

    async def list_unlisted(self) -> None:
        """At a start: a source that only answers who is connected, and whose list is not kept, is asked for whoever is."""
        await asyncio.gather(*(self._list_for_its_holder(source) for source in self._sources.values()
                               if _signs_in(source) and not any(True for _ in source.operations())))

    async def _list_for_its_holder(self, source: Connector) -> None:
        holder = await self._home.connections.holder(source.name)
        if holder is not None:
            await self._listed(ConnectionInfo(source.name, holder, "oauth"))

    async def connections(self, principal: Principal) -> Sequence[ConnectionInfo]:
        return await self._home.connections.list(tenant=principal.tenant, user=principal.user)

    async def revoke(self, name: str, principal: Principal) -> bool:
        return await self._home.connections.disconnect(name, principal)

    async def _listed(self, info: ConnectionInfo) -> str:
        """The connection stands, whatever becomes of the list; what went wrong is told."""
        try:
            await self.renew_listing(info.connector, info.principal)
        except TimeoutError:
            return f"{info.connector} has not listed its operations within {LIST_S:g} s; they appear when it is next called"
        except InhabitError as error:
            _log.warning("%s could not be listed for %s: %s", info.connector, info.principal, error)
            return error.message
        return ""


def refuse_unused_key(source: Connector) -> None:
    """`source` is open, if it is an OpenAPI document. Raises `InvalidInput` for one that would never send a principal's own key: it
    would lie there, and calls would go out without it."""
    if isinstance(source, OpenApiConnector):
        if not source.takes_keys():
            raise InvalidInput(f"{source.name} would not send the key: its document asks for no credential, or its `secret` is sent for everybody",
                               code="key_unused", fix=f'say how keys are sent, e.g. auth = "bearer" under [openapi.{source.name}], without `secret`')
    elif not isinstance(source, McpConnector) or not source.takes_keys():
        raise InvalidInput(f"{source.name} would not send the key: it takes the operator's credential, or none", code="key_unused",
                           fix=f"name a secret where {source.name} is configured, and set it with `inhabit secrets set`")


def _signs_in(source: Connector) -> bool:
    return isinstance(source, McpConnector) and source.signs_in


def _shows_some(grant: Grant, name: str) -> bool:
    """Whether something of the source could be called by it; the operations themselves may not be known yet."""
    return all(any(_touches(clause, name) for clause in layer) for layer in grant.layers)


def _touches(clause: Clause, name: str) -> bool:
    return clause.pattern == "**" or f"{clause.pattern}.".startswith(f"{name}.") or clause.matches(f"{name}.any")


def _covers(layers: Sequence[Sequence[Clause]], name: str) -> bool:
    return all(any(not clause.caveats and clause.matches(f"{name}.any") for clause in layer) for layer in layers)
