"""Controls of what leaves: the egress broker, its grants and credentials, secrets, sign-ins at upstreams, their tools."""

from __future__ import annotations

import secrets as chance
import ssl
import traceback
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

from inhabit.connectors import http, oauth
from inhabit.connectors.connections import OAuthConnections
from inhabit.connectors.http import HttpConnector
from inhabit.connectors.mcp import connector as mcp
from inhabit.connectors.mcp import effects
from inhabit.connectors.oauth import OAuthFlows
from inhabit.connectors.redaction import Redactor
from inhabit.contracts.operation import Operation
from inhabit.egress import addresses, bodies, broker, dialling, origins, resolve, transport
from inhabit.egress.dialling import CheckedDialler
from inhabit.egress.failures import Exchange
from inhabit.egress.origins import Origin, of_url
from inhabit.egress.resolve import Resolver
from inhabit.egress.transport import GuardedTransport
from inhabit.errors import UpstreamError
from inhabit.store import secrets
from inhabit.store.connections import ConnectionStore
from tests.switches.off import Control, EqualToAll, all_of, gone, replaced

BROKER, HTTP, EGRESS = "tests/egress/test_broker.py", "tests/connectors/test_http_connector.py", "tests/attacks/test_attack_egress.py"
CONNECTIONS, OPENAPI = "tests/attacks/test_attack_connections.py", "tests/connectors/test_openapi.py"

OAUTH, CONNECT, ROGUE = "tests/connectors/test_oauth.py", "tests/app/test_connect_routes.py", "tests/connectors/test_mcp_rogue.py"

_checked = dialling.checked_addresses
_body: Callable[..., None] = bodies.BoundedBody.__init__


class _Everything(frozenset[Any]):
    def __contains__(self, _: object) -> bool:
        return True


async def _resolved_twice(origin: Origin, resolver: Resolver, *, private: bool) -> Any:
    """What is dialled is asked for again, after the check."""
    await _checked(origin, resolver, private=private)
    return await resolver.resolve(origin.host, origin.port)


async def _first_alone(origin: Origin, resolver: Resolver, *, private: bool) -> Any:
    found = list(await resolver.resolve(origin.host, origin.port))
    return [one for one in found if addresses.refusal(one, private=private) is None]


def _of_any_size(body: Any, stream: Any, codings: Any, _: int, exchange: Any) -> None:
    _body(body, stream, codings, 2**60, exchange)


async def _waited_for(kept: Any, name: str) -> Any:
    return kept.get(name)


_transport, _send, _callback, _taken = GuardedTransport.__init__, HttpConnector._send, OAuthFlows.callback, ConnectionStore.take_note


def _trusting(guarded: Any, reach: Any, resolver: Any, tls: ssl.SSLContext) -> None:
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    _transport(guarded, reach, resolver, tls)


def _in_all_words(exchange: Any, error: Exception) -> UpstreamError:
    return UpstreamError(f"{exchange.origin}: {''.join(traceback.format_exception(error))}", code="connection_failed", effect="none")


async def _exchanged(connector: Any, granted: Any, method: str, url: Any, headers: Mapping[str, str], content: bytes | None) -> Any:
    """A secret's name stands for its value, wherever a program writes it."""
    name = granted.grant.secret
    value = (await connector._context.secret(name)).reveal()
    return await _send(connector, granted, method, type(url)(str(url).replace(name, value)), {key: text.replace(name, value) for key, text in headers.items()},
                       content and content.replace(name.encode(), value.encode()))


async def _of_any_source(held: Any, connector: str, principal: Any) -> Any:
    for info in await held._vault.list(tenant=principal.tenant, user=principal.user):
        return await held._vault.get(info.connector, info.principal)
    return None


async def _of_anybody(held: Any, connector: str, principal: Any) -> Any:
    for info in await held._vault.list(tenant=principal.tenant):
        return await held._vault.get(connector, info.principal)
    return None


async def _ended_by_anybody(flows: Any, params: Any, *, principal: Any = None, browser: str = "") -> Any:
    return await _callback(flows, params, browser=browser)


async def _of_any_issuer(store: Any, kind: str, key: str) -> Any:
    flow = await _taken(store, kind, key)
    return flow if flow is None or kind != "flow" else {**flow, "issuer": EqualToAll(flow["issuer"]), "answers_issuer": False}


_ONE_VERIFIER = SimpleNamespace(token_urlsafe=lambda size: "v" * 86 if size == 64 else chance.token_urlsafe(size))
_ANY_BROWSER = SimpleNamespace(compare_digest=lambda *_: True)
_LOGS_ALL = SimpleNamespace(INFO=0, WARNING=0, getLogger=lambda _: SimpleNamespace(setLevel=lambda _: None))

_ANYWHERE = all_of(gone((http._Granted, "allows"), answer=True), replaced(GuardedTransport, "_decide", lambda _, url, __: of_url(url)))
"""Each of the two decides by itself, and holds alone."""

CONTROLS: dict[str, Control] = {
    "addresses": Control(gone((resolve, "refusal"), (addresses, "refusal")), ("tests/egress", "-k", "C01_loopback or C06 or C07_metadata_is_refused_even")),
    "redaction": Control(replaced(Redactor, "clean", lambda _, data: data), (HTTP, OPENAPI, EGRESS, CONNECTIONS, "tests/connectors/test_redaction.py", "-k", "C15 or C18 or C28_what")),
    "egress: granted origins": Control(replaced(transport.GuardedTransport, "_decide", lambda _, url, __: of_url(url)), (BROKER, "-k", "C02 or C05 or C09 or C12")),
    "egress and http: granted places": Control(_ANYWHERE, (EGRESS, "-k", "C23")),
    "egress and http: places and addresses": Control(
        all_of(_ANYWHERE, gone((resolve, "refusal"), answer=None)), (EGRESS, "-k", "C30")),
    "egress: one form of a host": Control(replaced(origins, "_host", lambda raw: raw.lower()), (BROKER, "tests/egress/test_addresses.py", "-k", "C03 or C04 or C06")),
    "egress: hosts and places": Control(
        all_of(replaced(GuardedTransport, "_decide", lambda _, url, __: of_url(url)), replaced(origins, "_host", lambda raw: raw.lower())), (BROKER, "-k", "C03")),
    "egress: one resolution": Control(replaced(dialling, "checked_addresses", _resolved_twice), (BROKER, "-k", "C08")),
    "egress: every address": Control(replaced(dialling, "checked_addresses", _first_alone), (BROKER, "-k", "C08")),
    "egress: headers across origins": Control(replaced(transport, "_ACROSS_ORIGINS", _Everything()), (BROKER, HTTP, "-k", "C09")),
    "egress: headers of the connection": Control(replaced(transport, "_HOP_BY_HOP", frozenset()), (BROKER, "-k", "C11 or C13 or C14")),
    "egress: decoded bytes": Control(replaced(bodies.BoundedBody, "__init__", _of_any_size), (BROKER, "-k", "B15 or B16_a_body")),
    "egress: the library's log": Control(replaced(broker, "logging", _LOGS_ALL), (CONNECTIONS, EGRESS, "-k", "O1 or C15_neither")),
    "http: grants": Control(gone((http._Granted, "allows"), answer=True), (HTTP, EGRESS, "-k", "E03 or C05 or C09 or C10 or C21 or C30")),
    "http: headers of a program": Control(replaced(http, "_NEVER_SENT", frozenset()), (HTTP, EGRESS, "-k", "C22_a_programs or C16")),
    "secrets: beside the loop": Control(replaced(secrets._Kept, "resolve", _waited_for), ("tests/store/test_store_secrets.py", "-k", "B22")),
    "egress: methods": Control(replaced(transport, "_METHODS", _Everything()), (BROKER, "-k", "C12")),
    "egress: certificates": Control(replaced(GuardedTransport, "__init__", _trusting), (BROKER, "-k", "C29")),
    "egress: words of failures": Control(replaced(Exchange, "broke", _in_all_words), (BROKER, "-k", "C28")),
    "egress: no Unix sockets": Control(gone((CheckedDialler, "connect_unix_socket")), (EGRESS, "-k", "C31")),
    "http: nothing stands for a secret": Control(replaced(HttpConnector, "_send", _exchanged), (EGRESS, "-k", "C16")),
    "connections: of one source": Control(replaced(OAuthConnections, "_own", _of_any_source), (OAUTH, "-k", "E15")),
    "connections: one's own": Control(replaced(OAuthConnections, "_own", _of_anybody), (OAUTH, "-k", "each_principal_calls")),
    "sign-in: the browser that began it": Control(replaced(oauth, "hmac", _ANY_BROWSER), (CONNECT, "-k", "E16")),
    "sign-in: good once": Control(replaced(ConnectionStore, "take_note", ConnectionStore.note), (OAUTH, CONNECT, "-k", "E17_a_callback")),
    "sign-in: the issuer": Control(replaced(ConnectionStore, "take_note", _of_any_issuer), (OAUTH, "-k", "E17_mix_up")),
    "sign-in: whose it is": Control(replaced(OAuthFlows, "callback", _ended_by_anybody), (OAUTH, "-k", "E17_the_callback")),
    "sign-in: a verifier of its own": Control(replaced(oauth, "secrets", _ONE_VERIFIER), (OAUTH, "-k", "E17_a_code")),
    "mcp: called as it was checked": Control(gone((Operation, "schema_hash"), answer="one"), (ROGUE, "-k", "E14_a_changed")),
    "mcp: confirmed as it was": Control(gone((mcp, "pin"), (effects, "pin"), answer="one"), (ROGUE, "-k", "E14_a_confirmation")),
}
