"""Who may sign a principal in for a resource: OAuth discovery as MCP asks for it.

The resource describes itself and names its authorization server (RFC 9728), which describes itself (RFC 8414, or OpenID
discovery); servers of MCP's first revision have fixed places on their own origin. What comes back is checked and is the
only thing that a sign-in uses.

Invariants: endpoints are https, except on loopback; metadata of another resource or issuer is refused; only origins
that discovery named are dialled, and a private address only on the host that the operator configured.
"""

from __future__ import annotations

import ipaddress
import json
import re
from dataclasses import dataclass
from typing import Any, cast

import httpx2
from mcp.client.auth.utils import (
    build_oauth_authorization_server_metadata_discovery_urls,
    build_protected_resource_metadata_discovery_urls,
)
from mcp.shared.auth_utils import check_resource_allowed, resource_url_from_server_url

from inhabit.contracts.connector import Secret
from inhabit.contracts.outbound import Outbound, Reach
from inhabit.errors import InhabitError, UpstreamError

__all__ = ["AuthorizationServer", "Json", "OAuthTarget", "Wire", "body_of", "send", "word"]

MAX_BODY_BYTES = 256 * 1024     # metadata, registrations and token answers are a few KB
REQUEST_TIMEOUT_S = 20.0
_AUTH_PARAM = re.compile(r'(\w+)=(?:"([^"]*)"|([^\s,"]+))')
Json = dict[str, Any]


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
class AuthorizationServer:
    """An authorization server, as discovered and checked."""

    issuer: str
    authorize: str
    token: str
    resource: str
    register: str | None = None
    revoke: str | None = None
    answers_issuer: bool = False
    takes_documents: bool = False       # client ids that are the URL of a description of the client
    scopes: tuple[str, ...] = ()
    auth_methods: tuple[str, ...] = ("client_secret_basic",)


class Wire:
    """The way out for one target, and what is found on it."""

    def __init__(self, outbound: Outbound, target: OAuthTarget) -> None:
        self._outbound = outbound
        self._target = target

    def client(self, url: str) -> httpx2.AsyncClient:
        """A client for the origin of `url` alone."""
        same_host = _parsed(url).host == _parsed(self._target.resource).host
        return self._outbound.client(Reach((_origin(url),), private_addresses=self._target.private_addresses and same_host,
                                           max_response_bytes=MAX_BODY_BYTES, max_redirects=2, timeout_s=REQUEST_TIMEOUT_S))

    async def discover(self, challenge: str = "") -> AuthorizationServer:
        """Raises `UpstreamError` for a resource that cannot be reached or metadata that cannot be trusted."""
        target = self._target
        told = challenge or await self._challenge_of()
        hints = {name: quoted or plain for name, quoted, plain in _AUTH_PARAM.findall(told)}
        described = await self._resource_metadata(hints.get("resource_metadata"))
        resource, issuer = resource_url_from_server_url(target.resource), None
        scopes: list[str] = list(target.scopes) or hints.get("scope", "").split()
        if described is not None:
            resource = str(described.get("resource", ""))
            if not check_resource_allowed(resource_url_from_server_url(target.resource), resource):
                raise UpstreamError(f"{target.connector}: the server describes another resource than itself", code="oauth_discovery")
            servers = described.get("authorization_servers")
            issuer = str(cast("list[Any]", servers)[0]) if isinstance(servers, list) and servers else None
            scopes = scopes or _words(described.get("scopes_supported"))
        metadata = await self._server_metadata(issuer)
        return _checked(target, metadata, issuer, resource, tuple(scopes))

    async def _challenge_of(self) -> str:
        """What the server itself says to a caller without a credential."""
        target = self._target
        try:
            async with self.client(target.resource) as http, http.stream(
                    "GET", target.resource, headers={"accept": "application/json, text/event-stream"}) as response:
                return response.headers.get("www-authenticate", "") if response.status_code == 401 else ""
        except (httpx2.HTTPError, InhabitError) as error:
            raise _unreachable(target.resource, error) from None

    async def _resource_metadata(self, hinted: str | None) -> Json | None:
        own = _origin(self._target.resource)
        for url in build_protected_resource_metadata_discovery_urls(hinted, self._target.resource):
            if _origin(url) == own and (found := await self._json(url)) is not None:
                return found
        return None

    async def _server_metadata(self, issuer: str | None) -> Json | None:
        if issuer is not None:
            _secure(issuer, self._target, "authorization server")
        for url in build_oauth_authorization_server_metadata_discovery_urls(issuer, self._target.resource):
            if (found := await self._json(url)) is not None:
                return found
        return None

    async def _json(self, url: str) -> Json | None:
        """A JSON object at `url`; None for an answer that is none."""
        _secure(url, self._target, "metadata")
        async with self.client(url) as http:
            response = await send(http, "GET", url, headers={"accept": "application/json"})
        return body_of(response) or None if response.status_code == 200 else None


def _checked(target: OAuthTarget, metadata: Json | None, issuer: str | None, resource: str, scopes: tuple[str, ...]) -> AuthorizationServer:
    """Raises `UpstreamError` for metadata that cannot be trusted or used."""
    if metadata is None:
        if issuer is not None:
            raise UpstreamError(f"{target.connector}: its authorization server publishes no metadata", code="oauth_discovery")
        base = _origin(target.resource)     # servers of the first revision: fixed places on their own origin
        return AuthorizationServer(base, f"{base}/authorize", f"{base}/token", resource, register=f"{base}/register", scopes=scopes)
    named = str(metadata.get("issuer", ""))
    # Without a named server the metadata is the resource's own: then the issuer must be of its origin.
    own = issuer is None and _origin(named) == _origin(target.resource)
    if not own and named.removesuffix("/") != (issuer or "").removesuffix("/"):
        raise UpstreamError(f"{target.connector}: the metadata of its authorization server names another issuer", code="oauth_issuer")
    if issuer is not None and "S256" not in _words(metadata.get("code_challenge_methods_supported")):
        raise UpstreamError(f"{target.connector}: its authorization server does not offer PKCE (S256)", code="oauth_discovery")
    endpoints = {key: str(metadata[f"{key}_endpoint"]) for key in ("authorization", "token", "registration", "revocation")
                 if isinstance(metadata.get(f"{key}_endpoint"), str)}
    for key, url in endpoints.items():
        _secure(url, target, f"{key} endpoint")
    if "authorization" not in endpoints or "token" not in endpoints:
        raise UpstreamError(f"{target.connector}: its authorization server names no authorization or token endpoint", code="oauth_discovery")
    if scopes and "offline_access" in _words(metadata.get("scopes_supported")) and "offline_access" not in scopes:
        scopes = (*scopes, "offline_access")     # without it some servers give no refresh token
    return AuthorizationServer(
        named, endpoints["authorization"], endpoints["token"], resource, endpoints.get("registration"), endpoints.get("revocation"),
        answers_issuer=metadata.get("authorization_response_iss_parameter_supported") is True,
        takes_documents=metadata.get("client_id_metadata_document_supported") is True, scopes=scopes,
        auth_methods=tuple(_words(metadata.get("token_endpoint_auth_methods_supported"))) or ("client_secret_basic",))


async def send(http: httpx2.AsyncClient, method: str, url: str, **options: Any) -> httpx2.Response:
    try:
        return await http.request(method, url, **options)
    except (httpx2.HTTPError, InhabitError) as error:
        raise _unreachable(url, error) from None


def _unreachable(url: str, error: Exception) -> UpstreamError:
    if isinstance(error, InhabitError):
        return UpstreamError(f"{_parsed(url).host} cannot be used for signing in: {error.message}", details=error.details)
    return UpstreamError(f"{_parsed(url).host} cannot be reached: {type(error).__name__}")


def body_of(response: httpx2.Response) -> Json:
    if len(response.content) > MAX_BODY_BYTES:
        return {}
    try:
        value = json.loads(response.content)
    except (ValueError, RecursionError):
        return {}
    return cast("Json", value) if isinstance(value, dict) else {}


def _secure(url: str, target: OAuthTarget, what: str) -> None:
    """Codes and tokens go over TLS; in the clear only to this very machine, where the operator configured that."""
    parsed = _parsed(url)
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


def _parsed(url: str) -> httpx2.URL:
    """Addresses come from metadata: one that is none is the upstream's fault."""
    try:
        return httpx2.URL(url)
    except (httpx2.InvalidURL, UnicodeError, ValueError):
        raise UpstreamError(f"the upstream names something that is no address: {word(url)!r}", code="oauth_discovery") from None


def _origin(url: str) -> str:
    parsed = _parsed(url)
    port = f":{parsed.port}" if parsed.port else ""
    host = f"[{parsed.host}]" if ":" in parsed.host else parsed.host
    return f"{parsed.scheme}://{host}{port}"


def _words(value: Any) -> list[str]:
    return [str(item) for item in cast("list[Any]", value)[:100]] if isinstance(value, list) else []


def word(value: Any) -> str:
    return re.sub(r"[^\w .:/-]", "?", str(value))[:120]


