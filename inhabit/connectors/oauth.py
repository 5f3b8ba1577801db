"""OAuth as MCP asks for it: a principal connects an upstream, and the tokens stay fresh until it is revoked.

Flow: discover the resource's authorization server (RFC 9728, then RFC 8414 or OpenID discovery), register as a client
where nobody did it by hand (RFC 7591), send the person to authorize with PKCE and a resource indicator (RFC 8707),
take the code back, keep the tokens sealed; later refresh them, one at a time, and revoke them (RFC 7009).

Invariants
- A sign-in under way is a sealed note under the hash of its state; the first callback takes it, and it ends after ten
  minutes. Its issuer, verifier, redirect address, principal and resource come from the note, never from the callback.
- The answer of another issuer is refused (RFC 9207), as is metadata that names another issuer or resource.
- Endpoints are https, except on loopback; only origins that discovery named are dialled, and a private address only on
  the host that the operator configured.
- Tokens and secrets appear in no message and no log.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import json
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlencode

import httpx2
from mcp.client.auth.utils import (
    build_oauth_authorization_server_metadata_discovery_urls,
    build_protected_resource_metadata_discovery_urls,
)
from mcp.shared.auth_utils import check_resource_allowed, resource_url_from_server_url

from inhabit.contracts.connections import ConnectionInfo, ConnectionVault, StoredConnection
from inhabit.contracts.connector import Secret
from inhabit.contracts.outbound import Outbound, Reach
from inhabit.contracts.principal import Principal
from inhabit.errors import Denied, InhabitError, MissingConnection, UpstreamError

__all__ = ["FLOW_LIFETIME_S", "OAuthFlows", "OAuthTarget"]

FLOW_LIFETIME_S = 600           # a person needs minutes to sign in, not hours
MAX_BODY_BYTES = 256 * 1024     # metadata, registrations and token answers are a few KB
MAX_TOKEN_CHARS = 16 * 1024
REQUEST_TIMEOUT_S = 20.0
_PRINTABLE = re.compile(r"[\x21-\x7e]+\Z")
_AUTH_PARAM = re.compile(r'(\w+)=(?:"([^"]*)"|([^\s,"]+))')
_Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class OAuthTarget:
    """What is connected. `resource`: the upstream's URL. A client registered by hand is given by `client_id`."""

    connector: str
    resource: str
    private_addresses: bool = False
    scopes: tuple[str, ...] = ()
    client_id: str | None = None
    client_secret: Secret | None = None


@dataclass(frozen=True, slots=True)
class _Server:
    """An authorization server, as discovered and checked."""

    issuer: str
    authorize: str
    token: str
    resource: str
    register: str | None = None
    revoke: str | None = None
    answers_issuer: bool = False
    scopes: tuple[str, ...] = ()
    auth_methods: tuple[str, ...] = ("client_secret_basic",)


@dataclass(frozen=True, slots=True)
class _Client:
    id: str
    secret: str | None
    method: str


class OAuthFlows:
    """Sign-ins, refreshes and revocations. `redirect_uri`: where the person's browser is sent back to."""

    def __init__(self, outbound: Outbound, vault: ConnectionVault, *, redirect_uri: str, client_name: str = "Inhabit",
                 clock: Callable[[], float] = time.time) -> None:
        self._outbound = outbound
        self._vault = vault
        self._redirect_uri = redirect_uri
        self._client_name = client_name
        self._clock = clock

    async def authorize_url(self, target: OAuthTarget, principal: Principal, *, challenge: str = "",
                            redirect_uri: str | None = None) -> str:
        """Begin: the address to which the person's browser goes. `challenge`: a `WWW-Authenticate` that was seen.

        Raises `UpstreamError` when the upstream offers no usable authorization server.
        """
        back = redirect_uri or self._redirect_uri
        server = await self._discover(target, challenge)
        client = await self._client(server, target, back)
        verifier, state = secrets.token_urlsafe(64), secrets.token_urlsafe(32)
        await self._vault.keep_note("flow", _hash(state), {
            "connector": target.connector, "principal": str(principal), "verifier": verifier, "redirect_uri": back,
            "issuer": server.issuer, "answers_issuer": server.answers_issuer, "token": server.token, "revoke": server.revoke,
            "resource": server.resource, "scopes": list(server.scopes), "client_id": client.id, "client_secret": client.secret,
            "method": client.method, "local": target.private_addresses, "configured": target.resource,
        }, expires_ms=int((self._clock() + FLOW_LIFETIME_S) * 1000))
        query = {"response_type": "code", "client_id": client.id, "redirect_uri": back, "state": state,
                 "code_challenge": _challenge(verifier), "code_challenge_method": "S256", "resource": server.resource}
        if server.scopes:
            query["scope"] = " ".join(server.scopes)
        return server.authorize + ("&" if "?" in server.authorize else "?") + urlencode(query)

    async def callback(self, params: Mapping[str, str], *, principal: Principal | None = None) -> ConnectionInfo:
        """Take the browser's answer and keep the tokens. `principal`: who the browser is signed in as, where known.

        Raises `Denied` for an answer that belongs to no sign-in of this principal, or was refused by the person.
        """
        flow = await self._vault.take_note("flow", _hash(params.get("state", "")))
        if flow is None:
            raise Denied("this sign-in is unknown, used up or too old", fix="start again: inhabit connect", code="oauth_state")
        who = Principal.parse(str(flow["principal"]))
        if principal is not None and principal != who:
            raise Denied("this sign-in belongs to someone else", code="oauth_principal")
        issuer = params.get("iss")
        if issuer != flow["issuer"] and (issuer is not None or flow["answers_issuer"]):
            raise Denied("the answer comes from another authorization server", code="oauth_issuer")
        if "error" in params:
            raise Denied(f"the authorization server refused: {_word(params['error'])}", code="oauth_refused",
                         fix=f"start again: inhabit connect {flow['connector']}")
        code = params.get("code", "")
        if not code:
            raise Denied("the answer carries no code", code="oauth_code")
        answer = await self._token(flow, {"grant_type": "authorization_code", "code": code, "redirect_uri": str(flow["redirect_uri"]),
                                          "code_verifier": str(flow["verifier"])})
        stored = self._stored(flow, who, answer, old_refresh=None)
        await self._vault.put(stored)
        return stored.info

    async def refresh(self, stored: StoredConnection) -> StoredConnection:
        """Fresh tokens in place of `stored`. Raises `MissingConnection` when the grant is over, else `UpstreamError`.

        Callers see to it that one connection is refreshed once at a time; another process may still be faster.
        """
        refresh = stored.values.get("refresh_token")
        info = stored.info
        if refresh is None:
            raise _over(info)
        flow = {**stored.details, "client_secret": stored.values["client_secret"].reveal() if "client_secret" in stored.values else None,
                "local": stored.details.get("local") == "yes", "connector": info.connector, "scopes": list(info.scopes)}
        try:
            answer = await self._token(flow, {"grant_type": "refresh_token", "refresh_token": refresh.reveal()})
        except _GrantOver:
            now = await self._vault.get(info.connector, info.principal)
            if now is not None and _token_of(now, "refresh_token") != refresh.reveal():
                return now
            await self._vault.remove(info.connector, info.principal)
            raise _over(info) from None
        renewed = self._stored(flow, info.principal, answer, old_refresh=refresh)
        await self._vault.put(renewed)
        return renewed

    async def revoke(self, connector: str, principal: Principal) -> bool:
        """Forget the connection here, and tell its authorization server. False when there was none.

        It is gone here whatever the authorization server says; an error of it is raised after that.
        """
        stored = await self._vault.get(connector, principal)
        if stored is None:
            return False
        await self._vault.remove(connector, principal)
        endpoint = stored.details.get("revoke")
        if stored.info.kind != "oauth" or not endpoint:
            return True
        flow = {**stored.details, "client_secret": _token_of(stored, "client_secret"), "local": stored.details.get("local") == "yes"}
        for name, hint in (("refresh_token", "refresh_token"), ("token", "access_token")):
            if name in stored.values:
                await self._post(flow, endpoint, {"token": stored.values[name].reveal(), "token_type_hint": hint})
        return True

    # discovery

    async def _discover(self, target: OAuthTarget, challenge: str) -> _Server:
        told = challenge or await self._challenge_of(target)
        hints = {name: quoted or plain for name, quoted, plain in _AUTH_PARAM.findall(told)}
        described = await self._resource_metadata(target, hints.get("resource_metadata"))
        resource, issuer = resource_url_from_server_url(target.resource), None
        scopes: list[str] = list(target.scopes) or hints.get("scope", "").split()
        if described is not None:
            resource = str(described.get("resource", ""))
            if not check_resource_allowed(resource_url_from_server_url(target.resource), resource):
                raise UpstreamError(f"{target.connector}: the server describes another resource than itself", code="oauth_discovery")
            servers = described.get("authorization_servers")
            issuer = str(cast("list[Any]", servers)[0]) if isinstance(servers, list) and servers else None
            scopes = scopes or _words(described.get("scopes_supported"))
        metadata = await self._server_metadata(target, issuer)
        return self._checked(target, metadata, issuer, resource, tuple(scopes))

    async def _challenge_of(self, target: OAuthTarget) -> str:
        """What the server itself says to a caller without a credential."""
        try:
            async with self._client_for(target, target.resource) as http, http.stream(
                    "GET", target.resource, headers={"accept": "application/json, text/event-stream"}) as response:
                return response.headers.get("www-authenticate", "") if response.status_code == 401 else ""
        except httpx2.HTTPError as error:
            raise UpstreamError(f"{target.connector} cannot be reached: {type(error).__name__}") from None

    async def _resource_metadata(self, target: OAuthTarget, hinted: str | None) -> _Json | None:
        own = _origin(target.resource)
        for url in build_protected_resource_metadata_discovery_urls(hinted, target.resource):
            if _origin(url) == own and (found := await self._json(target, url)) is not None:
                return found
        return None

    async def _server_metadata(self, target: OAuthTarget, issuer: str | None) -> _Json | None:
        if issuer is not None:
            _secure(issuer, target, "authorization server")
        for url in build_oauth_authorization_server_metadata_discovery_urls(issuer, target.resource):
            if (found := await self._json(target, url)) is not None:
                return found
        return None

    def _checked(self, target: OAuthTarget, metadata: _Json | None, issuer: str | None, resource: str, scopes: tuple[str, ...]) -> _Server:
        """Raises `UpstreamError` for metadata that cannot be trusted or used."""
        if metadata is None:
            if issuer is not None:
                raise UpstreamError(f"{target.connector}: its authorization server publishes no metadata", code="oauth_discovery")
            base = _origin(target.resource)     # servers of the first revision: fixed places on their own origin
            return _Server(base, f"{base}/authorize", f"{base}/token", resource, register=f"{base}/register", scopes=scopes)
        named = str(metadata.get("issuer", ""))
        expected = issuer if issuer is not None else _origin(target.resource)
        if named.removesuffix("/") != expected.removesuffix("/"):
            raise UpstreamError(f"{target.connector}: the metadata of its authorization server names another issuer", code="oauth_issuer")
        if issuer is not None and "S256" not in _words(metadata.get("code_challenge_methods_supported")):
            raise UpstreamError(f"{target.connector}: its authorization server does not offer PKCE (S256)", code="oauth_discovery")
        endpoints = {key: str(metadata[f"{key}_endpoint"]) for key in ("authorization", "token", "registration", "revocation")
                     if isinstance(metadata.get(f"{key}_endpoint"), str)}
        for key, url in endpoints.items():
            _secure(url, target, f"{key} endpoint")
        if "authorization" not in endpoints or "token" not in endpoints:
            raise UpstreamError(f"{target.connector}: its authorization server names no authorization or token endpoint", code="oauth_discovery")
        return _Server(named, endpoints["authorization"], endpoints["token"], resource, endpoints.get("registration"),
                       endpoints.get("revocation"), metadata.get("authorization_response_iss_parameter_supported") is True, scopes,
                       tuple(_words(metadata.get("token_endpoint_auth_methods_supported"))) or ("client_secret_basic",))

    # client registration

    async def _client(self, server: _Server, target: OAuthTarget, redirect_uri: str) -> _Client:
        if target.client_id is not None:
            secret = target.client_secret.reveal() if target.client_secret is not None else None
            return _Client(target.client_id, secret, _method(server.auth_methods) if secret else "none")
        key = f"{server.issuer} {redirect_uri}"
        kept = await self._vault.note("client", key)
        if kept is None:
            kept = await self._register(server, target, redirect_uri)
            ends = kept.get("client_secret_expires_at")
            await self._vault.keep_note("client", key, kept, expires_ms=ends * 1000 if isinstance(ends, int) and ends > 0 else None)
        secret = kept.get("client_secret")
        return _Client(str(kept["client_id"]), str(secret) if secret else None, str(kept["method"]))

    async def _register(self, server: _Server, target: OAuthTarget, redirect_uri: str) -> _Json:
        if server.register is None:
            raise UpstreamError(f"{target.connector}: its authorization server takes no new clients", code="oauth_registration",
                                fix="register a client there by hand and give client_id")
        method = "none" if "none" in server.auth_methods else _method(server.auth_methods)
        asked = {"client_name": self._client_name, "redirect_uris": [redirect_uri], "response_types": ["code"],
                 "grant_types": ["authorization_code", "refresh_token"], "token_endpoint_auth_method": method}
        if server.scopes:
            asked["scope"] = " ".join(server.scopes)
        async with self._client_for(target, server.register) as http:
            response = await _sent(http, "POST", server.register, json=asked)
        body = _body(response)
        if response.status_code not in (200, 201) or not isinstance(body.get("client_id"), str):
            raise UpstreamError(f"{target.connector}: the registration as a client failed: {_word(body.get('error', response.status_code))}",
                                code="oauth_registration")
        given = str(body.get("token_endpoint_auth_method") or method)
        return {"client_id": body["client_id"], "client_secret": body.get("client_secret"),
                "client_secret_expires_at": body.get("client_secret_expires_at"),
                "method": given if body.get("client_secret") or given == "none" else "none"}

    # tokens

    async def _token(self, flow: Mapping[str, Any], form: dict[str, str]) -> _Json:
        response = await self._post(flow, str(flow["token"]), {**form, "resource": str(flow["resource"])})
        body = _body(response)
        token = body.get("access_token")
        if response.status_code == 200 and isinstance(token, str) and len(token) <= MAX_TOKEN_CHARS and _PRINTABLE.match(token) \
                and str(body.get("token_type", "bearer")).lower() == "bearer":
            return body
        error = body.get("error")
        if error == "invalid_client":
            await self._vault.take_note("client", f"{flow['issuer']} {flow.get('redirect_uri', '')}")
        if error in ("invalid_grant", "invalid_client", "unauthorized_client"):
            raise _GrantOver(f"the authorization server refused: {error}", code="oauth_refused",
                             fix=f"start again: inhabit connect {flow.get('connector', '')}")
        what = _word(error) if error is not None else "an answer without a usable token"
        raise UpstreamError(f"the authorization server gave no token: {what} (HTTP {response.status_code})", code="oauth_token")

    async def _post(self, flow: Mapping[str, Any], url: str, form: dict[str, str]) -> httpx2.Response:
        headers = {"accept": "application/json"}
        client_id, secret = str(flow["client_id"]), flow.get("client_secret")
        if secret and flow["method"] == "client_secret_basic":
            pair = f"{_quoted(client_id)}:{_quoted(str(secret))}".encode()
            headers["authorization"] = "Basic " + base64.b64encode(pair).decode()
        else:
            form = {**form, "client_id": client_id} | ({"client_secret": str(secret)} if secret else {})
        target = OAuthTarget(str(flow.get("connector", "")), str(flow["configured"]), private_addresses=bool(flow["local"]))
        async with self._client_for(target, url) as http:
            return await _sent(http, "POST", url, data=form, headers=headers)

    def _stored(self, flow: Mapping[str, Any], who: Principal, answer: _Json, *, old_refresh: Secret | None) -> StoredConnection:
        now = self._clock()
        lifetime = answer.get("expires_in")
        lasts = float(lifetime) if isinstance(lifetime, int | float | str) and re.fullmatch(r"\d{1,9}(\.\d+)?", str(lifetime)) else None
        values = {"token": Secret(str(answer["access_token"]))}
        fresh = answer.get("refresh_token")
        if isinstance(fresh, str) and 0 < len(fresh) <= MAX_TOKEN_CHARS:
            values["refresh_token"] = Secret(fresh)
        elif old_refresh is not None:
            values["refresh_token"] = old_refresh
        if flow.get("client_secret"):
            values["client_secret"] = Secret(str(flow["client_secret"]))
        granted = answer.get("scope")
        scopes = tuple(granted.split()) if isinstance(granted, str) else tuple(flow["scopes"])
        info = ConnectionInfo(str(flow["connector"]), who, "oauth", scopes, int((now + lasts) * 1000) if lasts is not None else None)
        details = {key: str(flow[key]) for key in ("issuer", "token", "revoke", "resource", "client_id", "method", "redirect_uri", "configured")
                   if flow.get(key)}
        return StoredConnection(info, values, details | {"local": "yes" if flow["local"] else "no"})

    # the way out

    def _client_for(self, target: OAuthTarget, url: str) -> httpx2.AsyncClient:
        same_host = httpx2.URL(url).host == httpx2.URL(target.resource).host
        return self._outbound.client(Reach((_origin(url),), private_addresses=target.private_addresses and same_host,
                                           max_response_bytes=MAX_BODY_BYTES, max_redirects=2, timeout_s=REQUEST_TIMEOUT_S))

    async def _json(self, target: OAuthTarget, url: str) -> _Json | None:
        """A JSON object at `url`; None for an answer that is none. Raises `UpstreamError` when it cannot be reached."""
        _secure(url, target, "metadata")
        async with self._client_for(target, url) as http:
            response = await _sent(http, "GET", url, headers={"accept": "application/json"})
        return _body(response) or None if response.status_code == 200 else None


class _GrantOver(Denied):
    """The authorization server does not take the code or refresh token (any more)."""


def _over(info: ConnectionInfo) -> MissingConnection:
    return MissingConnection(f"the connection of {info.principal} to {info.connector} has ended", fix=f"connect it again: inhabit connect {info.connector}",
                             details={"connector": info.connector})


async def _sent(http: httpx2.AsyncClient, method: str, url: str, **options: Any) -> httpx2.Response:
    try:
        return await http.request(method, url, **options)
    except httpx2.HTTPError as error:
        raise UpstreamError(f"{httpx2.URL(url).host} cannot be reached: {type(error).__name__}") from None
    except InhabitError as error:
        raise UpstreamError(f"{httpx2.URL(url).host} cannot be used for signing in: {error.message}", details=error.details) from None


def _body(response: httpx2.Response) -> _Json:
    if len(response.content) > MAX_BODY_BYTES:
        return {}
    try:
        value = json.loads(response.content)
    except (ValueError, RecursionError):
        return {}
    return cast("_Json", value) if isinstance(value, dict) else {}


def _secure(url: str, target: OAuthTarget, what: str) -> None:
    """Codes and tokens go over TLS; in the clear only to this very machine, where the operator configured that."""
    parsed = httpx2.URL(url)
    loopback = parsed.host == "localhost" or (_is_ip(parsed.host) and ipaddress.ip_address(parsed.host).is_loopback)
    if parsed.scheme == "https" or (parsed.scheme == "http" and loopback and target.private_addresses):
        return
    raise UpstreamError(f"{target.connector}: its {what} is not an https address", code="oauth_discovery")


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _origin(url: str) -> str:
    parsed = httpx2.URL(url)
    port = f":{parsed.port}" if parsed.port else ""
    host = f"[{parsed.host}]" if ":" in parsed.host else parsed.host
    return f"{parsed.scheme}://{host}{port}"


def _method(offered: tuple[str, ...]) -> str:
    return "client_secret_post" if "client_secret_post" in offered and "client_secret_basic" not in offered else "client_secret_basic"


def _token_of(stored: StoredConnection, name: str) -> str | None:
    return stored.values[name].reveal() if name in stored.values else None


def _words(value: Any) -> list[str]:
    return [str(item) for item in cast("list[Any]", value)[:100]] if isinstance(value, list) else []


def _word(value: Any) -> str:
    return re.sub(r"[^\w .:/-]", "?", str(value))[:120]


def _quoted(text: str) -> str:
    return urlencode({"": text})[1:]


def _challenge(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def _hash(state: str) -> str:
    return hashlib.sha256(state.encode()).hexdigest()
