"""Store a credential for a source, for one user: it is sealed in the home and never shown again.

The value is asked for without echo, or read from stdin. --list shows what is connected, --revoke forgets it.
"""

from __future__ import annotations

import argparse
import getpass
import sys
from datetime import UTC, datetime

from inhabit.app.sources import is_local
from inhabit.cli.loop import run_async
from inhabit.cli.opening import add_app_options, add_principal_option, config_from, home_of, principal_from
from inhabit.cli.terminal import complain, say, table
from inhabit.connectors.oauth import OAuthFlows
from inhabit.connectors.oauth_discovery import OAuthTarget
from inhabit.connectors.oauth_loopback import sign_in
from inhabit.contracts.connections import ConnectionInfo, StoredConnection
from inhabit.contracts.connector import Secret
from inhabit.contracts.principal import Principal
from inhabit.egress import Broker
from inhabit.errors import InvalidInput, NotFound
from inhabit.store.connections import MAX_SECRET_BYTES, ConnectionStore


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_app_options(parser)
    add_principal_option(parser)
    parser.add_argument("name", nargs="?", metavar="SOURCE", help="the source's name in inhabit.toml")
    parser.add_argument("--field", default="token", help="which value of the connection; default: token")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--revoke", action="store_true")


def run(args: argparse.Namespace) -> int:
    return run_async(_run(args))


async def _run(args: argparse.Namespace) -> int:
    home = home_of(args)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    principal = principal_from(args)
    store = ConnectionStore(home / "connections.db", home / "connections.key")
    try:
        if args.list:
            await _list(store, principal)
        elif args.revoke:
            await _revoke(store, _known(args), principal)
        else:
            await _connect(store, _known(args), principal, args)
    finally:
        store.close()
    return 0


def _known(args: argparse.Namespace) -> str:
    config = config_from(args)
    names = [*config.mcp, *config.openapi, *config.http]
    if args.name not in names:
        raise InvalidInput(f"there is no source {args.name!r} that takes a credential" if args.name else "which source?",
                           fix=f"one of {', '.join(names) or 'none'}")
    return str(args.name)


async def _connect(store: ConnectionStore, name: str, principal: Principal, args: argparse.Namespace) -> None:
    source = config_from(args).mcp.get(name)
    if source is not None and source.url is not None and source.auth == "oauth":
        flows = OAuthFlows(Broker(), store, redirect_uri="http://127.0.0.1/")
        await sign_in(flows, OAuthTarget(name, source.url, is_local(source.url)), principal, _open_this)
        complain(f"{principal} is connected to {name}")
        return
    field: str = args.field
    value = (getpass.getpass(f"{field} for {name}: ") if sys.stdin.isatty() else sys.stdin.readline()).strip()
    if not value or len(value.encode()) > MAX_SECRET_BYTES:
        raise InvalidInput(f"the value must have 1 to {MAX_SECRET_BYTES} bytes")
    earlier = await store.get(name, principal)
    values = {**(earlier.values if earlier and earlier.info.kind == "key" else {}), field: Secret(value)}
    await store.put(StoredConnection(ConnectionInfo(name, principal, "key"), values))
    complain(f"{principal} is connected to {name}")


def _open_this(address: str) -> None:
    complain(f"open this address and sign in: {address}")


async def _revoke(store: ConnectionStore, name: str, principal: Principal) -> None:
    if not await store.remove(name, principal):
        raise NotFound(f"{principal} has no connection to {name}")
    complain(f"the connection of {principal} to {name} is forgotten here; revoke the key at its issuer, too")


async def _list(store: ConnectionStore, principal: Principal) -> None:
    found = await store.list(tenant=principal.tenant)
    table(("SOURCE", "FOR", "KIND", "SINCE"), [
        (info.connector, info.principal, info.kind, datetime.fromtimestamp(info.created_ms / 1000, UTC).strftime("%Y-%m-%d"))
        for info in found])
    if not found:
        say("none; `inhabit connect SOURCE` makes one")
