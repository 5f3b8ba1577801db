"""What `inhabit connect` does: sign in or store a key, list, revoke; and tell a server that runs."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from inhabit.app.connecting import refuse_unused_key
from inhabit.app.sources import oauth_target, secrets_of, source_of
from inhabit.cli.client import remote_api, running_server
from inhabit.cli.opening import config_from
from inhabit.cli.options import home_of, principal_from
from inhabit.cli.terminal import complain, say, table
from inhabit.connectors.mcp import EffectsReview
from inhabit.connectors.oauth import OAuthFlows
from inhabit.connectors.oauth_loopback import sign_in
from inhabit.connectors.openapi import OpenApiConnector
from inhabit.contracts.connections import ConnectionInfo, StoredConnection
from inhabit.contracts.connector import Connector, ConnectorContext, Secret
from inhabit.contracts.principal import Principal
from inhabit.egress import Broker
from inhabit.errors import InhabitError, InvalidInput, MissingConnection, NotFound, UpstreamError
from inhabit.store.connections import MAX_SECRET_BYTES
from inhabit.store.tenants.connections import TenantsConnections
from inhabit.store.tenants.stores import connections_of


async def main(args: argparse.Namespace) -> int:
    home = home_of(args)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    principal = _whose(args, home)
    store = connections_of(home)
    flows = OAuthFlows(Broker(), store, redirect_uri="http://127.0.0.1/")      # each sign-in has a port of its own
    try:
        if args.list:
            await _list(store, principal)
        elif args.revoke:
            await _revoke(store, flows, _known(args), principal)
        else:
            await _connect(store, flows, _known(args), principal, args)
            await _tell_the_server(home, _known(args), principal)
    finally:
        store.close()
    return 0


def _whose(args: argparse.Namespace, home: Path) -> Principal:
    """Who is named; else whom the server on this home speaks for, as with other commands. The home is written directly, so a
    token says nothing here: to overlook one would keep somebody's key as somebody else's. Raises `InvalidInput`.
    """
    if args.principal is None and (os.environ.get("INHABIT_TOKEN") or os.environ.get("INHABIT_URL")):
        raise InvalidInput("INHABIT_URL and INHABIT_TOKEN are not read here: connect writes to a home of this machine",
                           fix="name the user with --as, or PUT /v1/connections/SOURCE with the token")
    note = running_server(home) if args.principal is None and not os.environ.get("INHABIT_USER") else None
    return Principal.parse(note["principal"]) if note is not None and note["principal"] else principal_from(args)


def _known(args: argparse.Namespace) -> str:
    config = config_from(args)
    names = [*config.mcp, *config.openapi, *config.http]
    if args.name not in names:
        raise InvalidInput(f"there is no source {args.name!r} that takes a credential" if args.name else "which source?",
                           fix=f"one of {', '.join(names) or 'none'}")
    return str(args.name)


async def _connect(store: TenantsConnections, flows: OAuthFlows, name: str, principal: Principal, args: argparse.Namespace) -> None:
    config = config_from(args)
    source = config.mcp.get(name)
    target = oauth_target(name, source, secrets_of(config.secrets, home_of(args), config.base)) if source is not None and not args.key else None
    if target is not None:
        try:
            await sign_in(flows, target, principal, _open_this)
        except UpstreamError as error:
            raise UpstreamError(error.message, code=error.specific_code,
                                fix=error.fix or f"where {name} takes a key instead: inhabit connect {name} --key") from None
        complain(f"{principal} is connected to {name}")
        return
    await _refuse_unused(name, args)
    field: str = args.field
    value = (getpass.getpass(f"{field} for {name}: ") if sys.stdin.isatty() else sys.stdin.readline()).strip()
    if not value or len(value.encode()) > MAX_SECRET_BYTES:
        raise InvalidInput(f"the value must have 1 to {MAX_SECRET_BYTES} bytes")
    earlier = await store.get(name, principal)
    values = {**(earlier.values if earlier and earlier.info.kind == "key" else {}), field: Secret(value)}
    await store.put(StoredConnection(ConnectionInfo(name, principal, "key"), values))
    complain(f"{principal} is connected to {name}")


async def _refuse_unused(name: str, args: argparse.Namespace) -> None:
    """Before a key is asked for. A document that cannot be had now says nothing about its keys: one may be stored."""
    config, home = config_from(args), home_of(args)
    source = source_of(name, config, EffectsReview(home / "effects.json"))
    assert source is not None, "the name is known"
    if isinstance(source, OpenApiConnector):
        secrets = secrets_of(config.secrets, home, config.base)
        try:
            await source.open(ConnectorContext(Broker(), _NoConnections(), _made(home / "cache"), _unheard, secrets.resolve))
        except InhabitError as error:
            complain(f"whether {name} takes a key is not known: {error.message}")
            return
    try:
        refuse_unused_key(source)
    finally:
        await source.close()


def _made(folder: Path) -> Path:
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


async def _unheard(_source: Connector) -> None: ...


class _NoConnections:
    """For a source that is looked into, and not called."""

    async def credential(self, connector: str, principal: Principal) -> Mapping[str, Secret]:
        raise MissingConnection(f"{principal} has no connection to {connector}")


def _open_this(address: str) -> None:
    complain(f"open this address and sign in: {address}")


async def _tell_the_server(home: Path, name: str, principal: Principal) -> None:
    """A server that runs on this home lists the source now; one that cannot says why, and the connection stands."""
    note = running_server(home)
    if note is None:
        return
    try:
        async with remote_api(note) as api:
            await api.post(f"/v1/connections/{name}/refresh", {"principal": str(principal)})
    except InhabitError as error:
        complain(f"the running server could not list {name}: {error.message}")


async def _revoke(store: TenantsConnections, flows: OAuthFlows, name: str, principal: Principal) -> None:
    stored = await store.get(name, principal)
    if stored is None or not await flows.revoke(name, principal):
        raise NotFound(f"{principal} has no connection to {name}")
    told = "and revoked there" if "revoke" in stored.details else "here; revoke it at its issuer, too"
    complain(f"the connection of {principal} to {name} is forgotten {told}")


async def _list(store: TenantsConnections, principal: Principal) -> None:
    found = await store.list(tenant=principal.tenant)
    table(("SOURCE", "FOR", "KIND", "SINCE"), [
        (info.connector, info.principal, info.kind, datetime.fromtimestamp(info.created_ms / 1000, UTC).strftime("%Y-%m-%d"))
        for info in found])
    if not found:
        say("none; `inhabit connect SOURCE` makes one")
