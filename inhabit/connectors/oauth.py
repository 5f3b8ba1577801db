"""OAuth as MCP asks for it: a principal connects an upstream, and the tokens stay fresh until it is revoked.

Flow: discover the resource's authorization server (`oauth_discovery`), register as a client
where nobody did it by hand (RFC 7591), send the person to authorize with PKCE and a resource indicator (RFC 8707),
take the code back, keep the tokens sealed; later refresh them, one at a time, and revoke them (RFC 7009).

Invariants
- A sign-in under way is a sealed note under the hash of its state; the first callback takes it, and it ends after ten
  minutes. Its issuer, verifier, redirect address, principal and resource come from the note, never from the callback.
- A sign-in that began in a browser is ended by that browser alone: whoever is handed another's address cannot lend
  that person their own account.
- The answer of another issuer is refused (RFC 9207).
- Tokens and secrets appear in no message and no log.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import httpx2

from inhabit.connectors.oauth_discovery import (
    AuthorizationServer,
    Json,
    OAuthTarget,
    Wire,
    body_of,
    send,
    word,
)
from inhabit.contracts.connections import ConnectionInfo, ConnectionVault, StoredConnection
from inhabit.contracts.connector import Secret
from inhabit.contracts.outbound import Outbound
from inhabit.contracts.principal import Principal
from inhabit.errors import Denied, MissingConnection, UpstreamError

__all__ = ["FLOW_LIFETIME_S", "OAuthFlows", "OAuthTarget"]

FLOW_LIFETIME_S = 600           # a person needs minutes to sign in, not hours
MAX_TOKEN_CHARS = 16 * 1024
_PRINTABLE = re.compile(r"[\x21-\x7e]+\Z")


@dataclass(frozen=True, slots=True)
class _Client:
    id: str
    secret: str | None
    method: str


class OAuthFlows:
    """Sign-ins, refreshes and revocations. `redirect_uri`: where the person's browser is sent back to.

    `client_document`: the https address of a description of this client, for servers that take it as a client id.
    """

    def __init__(self, outbound: Outbound, vault: ConnectionVault, *, redirect_uri: str, client_name: str = "Inhabit",
                 client_document: str | None = None, clock: Callable[[], float] = time.time) -> None:
        self._outbound = outbound
        self._vault = vault
        self._redirect_uri = redirect_uri
        self._client_name = client_name
        self._client_document = client_document
        self._clock = clock

    async def authorize_url(self, target: OAuthTarget, principal: Principal, *, challenge: str = "",
                            redirect_uri: str | None = None, browser: str = "") -> str:
        """Begin: the address to which the person's browser goes. `challenge`: a `WWW-Authenticate` that was seen.
        `browser`: a random word that this browser keeps, and has to bring back.

        Raises `UpstreamError` when the upstream offers no usable authorization server.
        """
        back = redirect_uri or self._redirect_uri
        server = await self._wire(target).discover(challenge)
        client = await self._client(server, target, back)
        verifier, state = secrets.token_urlsafe(64), secrets.token_urlsafe(32)
        await self._vault.keep_note("flow", _hash(state), {
            "connector": target.connector, "principal": str(principal), "verifier": verifier, "redirect_uri": back,
            "issuer": server.issuer, "answers_issuer": server.answers_issuer, "token": server.token, "revoke": server.revoke,
            "resource": server.resource, "scopes": list(server.scopes), "client_id": client.id, "client_secret": client.secret,
            "method": client.method, "local": target.private_addresses, "configured": target.resource,
            "browser": _hash(browser) if browser else "",
        }, expires_ms=int((self._clock() + FLOW_LIFETIME_S) * 1000))
        query = {"response_type": "code", "client_id": client.id, "redirect_uri": back, "state": state,
                 "code_challenge": _challenge(verifier), "code_challenge_method": "S256", "resource": server.resource}
        if server.scopes:
            query["scope"] = " ".join(server.scopes)
        return server.authorize + ("&" if "?" in server.authorize else "?") + urlencode(query)

    async def callback(self, params: Mapping[str, str], *, principal: Principal | None = None, browser: str = "") -> ConnectionInfo:
        """Take the browser's answer and keep the tokens. `principal`: who the browser is signed in as, where known;
        `browser`: the word that it kept.

        Raises `Denied` for an answer that belongs to no sign-in of this principal, or was refused by the person.
        """
        flow = await self._vault.take_note("flow", _hash(params.get("state", "")))
        if flow is None:
            raise Denied("this sign-in is unknown, used up or too old", fix="start again: inhabit connect", code="oauth_state")
        who = Principal.parse(str(flow["principal"]))
        if principal is not None and principal != who:
            raise Denied("this sign-in belongs to someone else", code="oauth_principal")
        bound = str(flow.get("browser") or "")
        if bound and not hmac.compare_digest(bound, _hash(browser)):
            raise Denied("this sign-in was begun in another browser, or begun again since", code="oauth_browser",
                         fix=f"start again: inhabit connect {flow['connector']}")
        issuer = params.get("iss")
        if issuer != flow["issuer"] and (issuer is not None or flow["answers_issuer"]):
            raise Denied("the answer comes from another authorization server", code="oauth_issuer")
        if "error" in params:
            raise Denied(f"the authorization server refused: {word(params['error'])}", code="oauth_refused",
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

    def _wire(self, target: OAuthTarget) -> Wire:
        return Wire(self._outbound, target)

    # client registration

    async def _client(self, server: AuthorizationServer, target: OAuthTarget, redirect_uri: str) -> _Client:
        if target.client_id is not None:
            secret = target.client_secret.reveal() if target.client_secret is not None else None
            return _Client(target.client_id, secret, _method(server.auth_methods) if secret else "none")
        if self._client_document is not None and server.takes_documents:
            return _Client(self._client_document, None, "none")
        key = f"{server.issuer} {redirect_uri}"
        kept = await self._vault.note("client", key)
        if kept is None:
            kept = await self._register(server, target, redirect_uri)
            ends = kept.get("client_secret_expires_at")
            await self._vault.keep_note("client", key, kept, expires_ms=ends * 1000 if isinstance(ends, int) and ends > 0 else None)
        secret = kept.get("client_secret")
        return _Client(str(kept["client_id"]), str(secret) if secret else None, str(kept["method"]))

    async def _register(self, server: AuthorizationServer, target: OAuthTarget, redirect_uri: str) -> Json:
        if server.register is None:
            raise UpstreamError(f"{target.connector}: its authorization server takes no new clients", code="oauth_registration",
                                fix=f"register a client there by hand and put its client_id under [mcp.{target.connector}]")
        method = "none" if "none" in server.auth_methods else _method(server.auth_methods)
        asked = {"client_name": self._client_name, "redirect_uris": [redirect_uri], "response_types": ["code"],
                 "grant_types": ["authorization_code", "refresh_token"], "token_endpoint_auth_method": method}
        if server.scopes:
            asked["scope"] = " ".join(server.scopes)
        async with self._wire(target).client(server.register) as http:
            response = await send(http, "POST", server.register, json=asked)
        body = body_of(response)
        if response.status_code not in (200, 201) or not isinstance(body.get("client_id"), str):
            raise UpstreamError(f"{target.connector}: the registration as a client failed: {word(body.get('error', response.status_code))}",
                                code="oauth_registration")
        given = str(body.get("token_endpoint_auth_method") or method)
        return {"client_id": body["client_id"], "client_secret": body.get("client_secret"),
                "client_secret_expires_at": body.get("client_secret_expires_at"),
                "method": given if body.get("client_secret") or given == "none" else "none"}

    # tokens

    async def _token(self, flow: Mapping[str, Any], form: dict[str, str]) -> Json:
        response = await self._post(flow, str(flow["token"]), {**form, "resource": str(flow["resource"])})
        body = body_of(response)
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
        what = word(error) if error is not None else "an answer without a usable token"
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
        async with self._wire(target).client(url) as http:
            return await send(http, "POST", url, data=form, headers=headers)

    def _stored(self, flow: Mapping[str, Any], who: Principal, answer: Json, *, old_refresh: Secret | None) -> StoredConnection:
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


class _GrantOver(Denied):
    """The authorization server does not take the code or refresh token (any more)."""


def _over(info: ConnectionInfo) -> MissingConnection:
    return MissingConnection(f"the connection of {info.principal} to {info.connector} has ended", fix=f"connect it again: inhabit connect {info.connector}",
                             details={"connector": info.connector})


def _method(offered: tuple[str, ...]) -> str:
    return "client_secret_post" if "client_secret_post" in offered and "client_secret_basic" not in offered else "client_secret_basic"


def _token_of(stored: StoredConnection, name: str) -> str | None:
    return stored.values[name].reveal() if name in stored.values else None


def _quoted(text: str) -> str:
    return urlencode({"": text})[1:]


def _challenge(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def _hash(state: str) -> str:
    return hashlib.sha256(state.encode()).hexdigest()
