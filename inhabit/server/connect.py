"""The routes by which a person connects a source to their own account upstream, in a browser or through a product.

`GET /connect/NAME` begins: with a bearer token it answers with the address to go to, without one with a page that asks
for the token. `/connect/callback` is where the upstream's sign-in page sends the browser back to. The connection is
the token's principal's own; `/v1/connections` lists, stores and revokes.

Invariants
- Authority comes from the bearer token alone, never from the address: an address that is passed on connects nobody.
- A sign-in is ended by the browser that began it (a cookie that no script reads, good for this sign-in alone).
- A token that was handed a part of a source's operations changes no connection to it.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Literal, Protocol
from urllib.parse import parse_qsl, urlsplit

from pydantic import Field
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from inhabit.contracts.connections import ConnectionInfo
from inhabit.contracts.principal import Principal
from inhabit.errors import Denied, InhabitError, InvalidInput, NotFound
from inhabit.server.auth import MAX_TOKEN_CHARS, Identity, TokenCheck, identify, identity_of
from inhabit.server.endpoints import Endpoint, json_response
from inhabit.server.requests import NoQuery, StrictBody, read_body, read_query

__all__ = ["ConnectRoutes", "Connecting", "ConnectionBody", "RefreshBody"]

COOKIE = "inhabit_connect"
COOKIE_S = 600          # as long as a sign-in may take
MAX_FORM_BYTES = 80 * 1024
MAX_ANSWER_FIELDS = 20
_HTML = "text/html"
_PAGE_HEADERS = {"referrer-policy": "same-origin"}      # `no-referrer` would make the form's Origin `null`, which is refused
_PAGE = "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'><title>{title}</title><h1>{title}</h1>{body}"
_FORM = "<form method=post>{fields}<p><button>{button}</button></p></form>"
_TOKEN = "<p><label>Your Inhabit token: <input name=token type=password autocomplete=off required autofocus></label></p>"


class Connecting(Protocol):
    """What the app does behind these routes. `Denied` where the identity may not, `NotFound` for an unknown source."""

    def kind(self, name: str, identity: Identity) -> Literal["oauth", "key"]: ...

    async def begin(self, name: str, principal: Principal, *, redirect_uri: str, browser: str) -> str: ...

    async def finish(self, params: Mapping[str, str], *, browser: str) -> tuple[ConnectionInfo, str]:
        """The connection, and what still went wrong in words (empty: nothing)."""
        ...

    async def keep(self, name: str, principal: Principal, values: Mapping[str, str]) -> tuple[ConnectionInfo, str]: ...

    async def renew_listing(self, name: str, principal: Principal) -> None: ...

    async def connections(self, principal: Principal) -> Sequence[ConnectionInfo]: ...

    async def revoke(self, name: str, principal: Principal) -> bool: ...


class ConnectionBody(StrictBody):
    values: dict[str, str] = Field(min_length=1, max_length=20, description='the credential by name, mostly {"token": "..."}')


class RefreshBody(StrictBody):
    principal: str | None = Field(None, max_length=400, description="the operator alone: for whom")


class ConnectRoutes:
    """`public_url`: the address that browsers use, where it is not the one that they ask for."""

    def __init__(self, connecting: Connecting, check: TokenCheck, public_url: str | None = None) -> None:
        self._connecting = connecting
        self._check = check
        self._public_url = public_url.rstrip("/") if public_url else None

    def endpoints(self) -> tuple[Endpoint, ...]:
        text = {"type": "string"}
        return (
            Endpoint("GET", "/connect/callback", self.callback, "Where a sign-in page sends the browser back to",
                     {200: "connected, as a page"}, content=_HTML, answer_schema=text, errors=(403, 422, 502), public=True),
            Endpoint("GET", "/connect/{name}", self.begin, "Begin to connect a source to your account there",
                     {200: "with a token: `authorize_url`, where the person's browser goes; without: a page that asks for it"},
                     errors=(401, 403, 404, 422, 502), public=True),
            Endpoint("POST", "/connect/{name}", self.submit, "What the page of `GET` sends",
                     {200: "a page", 303: "on to the source's sign-in page"}, content=_HTML, answer_schema=text,
                     errors=(401, 403, 404, 422, 502), public=True),
            Endpoint("GET", "/v1/connections", self.list, "Your connections, without the credentials", {200: "connections"}, errors=(422,)),
            Endpoint("PUT", "/v1/connections/{name}", self.keep, "Store a key for a source", {200: "it is stored, sealed"},
                     body=ConnectionBody, errors=(403, 404, 413, 422)),
            Endpoint("POST", "/v1/connections/{name}/refresh", self.refresh, "List a source anew with your connection",
                     {200: "its operations are up to date"}, body=RefreshBody, errors=(403, 404, 422, 424, 502)),
            Endpoint("DELETE", "/v1/connections/{name}", self.revoke, "Forget a connection, and revoke it at its source",
                     {204: "calls fail from now on"}, errors=(403, 404, 422, 502)),
        )

    async def begin(self, request: Request) -> Response:
        name = request.path_params["name"]
        if "authorization" not in request.headers and _HTML in request.headers.get("accept", ""):
            return _page(f"Connect {name}", _FORM.format(fields=_TOKEN, button="Continue"))
        identity = await identify(request.scope, self._check)
        if isinstance(identity, Response):
            return identity
        if self._connecting.kind(name, identity) == "key":
            raise InvalidInput(f"{name} takes a key, there is no page to sign in on", fix=f"PUT /v1/connections/{name}")
        address, browser = await self._begun(request, name, identity)
        answer = json_response({"connector": name, "principal": str(identity.principal), "authorize_url": address, "expires_s": COOKIE_S})
        return self._remembered(request, answer, browser)

    async def submit(self, request: Request) -> Response:
        """The token, from the page: it is in the body, in no address and no cookie."""
        name = request.path_params["name"]
        try:
            form = await _form(request)
            token = form.get("token", "").strip()
            identity = await self._check(token) if 0 < len(token) <= MAX_TOKEN_CHARS else None
            if identity is None:
                return _page("That token is not known", _FORM.format(fields=_TOKEN, button="Continue"), 401)
            if self._connecting.kind(name, identity) == "key":
                return await self._key(name, identity, token, form.get("value", ""))
            address, browser = await self._begun(request, name, identity)
        except InhabitError as error:
            return _failed(error)
        return self._remembered(request, RedirectResponse(address, 303, _PAGE_HEADERS), browser)

    async def callback(self, request: Request) -> Response:
        params = dict(request.query_params.multi_items()[:MAX_ANSWER_FIELDS])
        try:
            info, trouble = await self._connecting.finish(params, browser=request.cookies.get(COOKIE, ""))
        except InhabitError as error:
            return self._forgotten(request, _failed(error))
        return self._forgotten(request, _connected(info, trouble))

    async def list(self, request: Request) -> Response:
        read_query(request, NoQuery)
        found = await self._connecting.connections(identity_of(request).principal)
        return json_response({"connections": [_shown(info) for info in found]})

    async def keep(self, request: Request) -> Response:
        asked = await read_body(request, ConnectionBody)
        identity, name = identity_of(request), request.path_params["name"]
        if self._connecting.kind(name, identity) != "key":
            raise InvalidInput(f"{name} is connected by signing in", fix=f"GET /connect/{name}")
        info, trouble = await self._connecting.keep(name, identity.principal, asked.values)
        return json_response({**_shown(info), **({"trouble": trouble} if trouble else {})})

    async def refresh(self, request: Request) -> Response:
        asked = await read_body(request, RefreshBody)
        identity, name = identity_of(request), request.path_params["name"]
        self._connecting.kind(name, identity)
        if asked.principal is not None and not identity.operator:
            raise Denied("only the operator asks for others", fix="leave principal out")
        principal = Principal.parse(asked.principal) if asked.principal else identity.principal
        await self._connecting.renew_listing(name, principal)
        return json_response({"connector": name, "principal": str(principal)})

    async def revoke(self, request: Request) -> Response:
        read_query(request, NoQuery)
        identity, name = identity_of(request), request.path_params["name"]
        self._connecting.kind(name, identity)
        if not await self._connecting.revoke(name, identity.principal):
            raise NotFound(f"{identity.principal} has no connection to {name}", fix="GET /v1/connections lists yours")
        return Response(status_code=204)

    async def _begun(self, request: Request, name: str, identity: Identity) -> tuple[str, str]:
        browser = secrets.token_urlsafe(32)
        # The Host was held against the allow-list before anything else, so it is one of this server's own names.
        base = self._public_url or str(request.base_url).rstrip("/")
        return await self._connecting.begin(name, identity.principal, redirect_uri=f"{base}/connect/callback", browser=browser), browser

    async def _key(self, name: str, identity: Identity, token: str, value: str) -> Response:
        if value.strip():
            return _connected(*await self._connecting.keep(name, identity.principal, {"token": value.strip()}))
        fields = (f'<input name=token type=hidden value="{escape(token)}">'
                  f"<p><label>Key or token of {escape(name)}: <input name=value type=password autocomplete=off required autofocus></label></p>")
        return _page(f"Connect {name}", _FORM.format(fields=fields, button=f"Store it for {escape(str(identity.principal))}"))

    def _remembered(self, request: Request, answer: Response, browser: str) -> Response:
        answer.set_cookie(COOKIE, browser, max_age=COOKIE_S, path=self._cookie_path(request), httponly=True, samesite="lax", secure=self._secure(request))
        return answer

    def _forgotten(self, request: Request, answer: Response) -> Response:
        answer.delete_cookie(COOKIE, path=self._cookie_path(request), httponly=True, samesite="lax", secure=self._secure(request))
        return answer

    def _cookie_path(self, request: Request) -> str:
        return urlsplit(self._public_url or str(request.base_url)).path.rstrip("/") + "/connect"

    def _secure(self, request: Request) -> bool:
        return (self._public_url or str(request.base_url)).startswith("https:")


async def _form(request: Request) -> dict[str, str]:
    body = await request.body()
    if len(body) > MAX_FORM_BYTES or request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        raise InvalidInput("that is not what the page sends")
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_ANSWER_FIELDS))
    except ValueError:
        raise InvalidInput("that is not what the page sends") from None


def _shown(info: ConnectionInfo) -> dict[str, Any]:
    return {"connector": info.connector, "principal": str(info.principal), "kind": info.kind, "scopes": info.scopes,
            "expires_ms": info.expires_ms, "created_ms": info.created_ms, "updated_ms": info.updated_ms}


def _connected(info: ConnectionInfo, trouble: str) -> Response:
    more = f"<p>But: {escape(trouble)}" if trouble else ""
    return _page("Connected", f"<p>{escape(str(info.principal))} is connected to {escape(info.connector)}. You can close this window.{more}")


def _failed(error: InhabitError) -> Response:
    fix = f"<p>{escape(error.fix)}" if error.fix else ""
    return _page("Not connected", f"<p>{escape(error.message)}{fix}", error.status)


def _page(title: str, body: str, status: int = 200) -> Response:
    return Response(_PAGE.format(title=escape(title), body=body), status, _PAGE_HEADERS, _HTML)
