"""The routes over passkeys, and the two pages where people use them. What is checked, `ceremonies` checks.

The pages hold no data: they are the same for everybody, and what they show they fetch as the API's own client. The secret
of an invitation is in the part of the address that no browser sends.
Invariant: no script but ours runs in them, nothing is put into them as markup, and no page frames them.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from inhabit.contracts.clock import now_ms
from inhabit.contracts.principal import Principal
from inhabit.errors import Denied
from inhabit.server.auth import Identity, identity_of
from inhabit.server.ceremonies import INVITATION_MS, Ceremonies, relying_party
from inhabit.server.endpoints import Endpoint, Handler, json_response
from inhabit.server.requests import NoQuery, StrictBody, read_body, read_query
from inhabit.store.passkeys import Passkeys

__all__ = ["PasskeyRoutes", "origin_of"]

_HEADERS = {"content-security-policy": "default-src 'none'; script-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none';"
            " frame-ancestors 'none'; require-trusted-types-for 'script'", "cross-origin-opener-policy": "same-origin"}
_PAGES = {"enrol": ("enrol.html", "text/html"), "approvals": ("approvals.html", "text/html"), "passkeys.js": ("passkeys.js", "text/javascript")}


class InvitationBody(StrictBody):
    principal: str | None = Field(None, max_length=400, description="who answers with it; left out: you")
    label: str = Field("", max_length=200)


class BeginBody(StrictBody):
    invitation: str = Field(max_length=200)


class EnrolBody(StrictBody):
    invitation: str = Field(max_length=200)
    credential: dict[str, Any] = Field(description="what the browser made, as `PublicKeyCredential.toJSON()` writes it")


class PasskeyRoutes:
    def __init__(self, passkeys: Passkeys, ceremonies: Ceremonies, public_url: str | None) -> None:
        self._passkeys = passkeys
        self._ceremonies = ceremonies
        self._public_url = public_url

    def endpoints(self) -> tuple[Endpoint, ...]:
        text = {"type": "string"}
        return (
            *(Endpoint("GET", f"/people/{name}", _page(*page), "A page where people use passkeys, and its script", {200: "the same for everybody"},
                       content=page[1], answer_schema=text, errors=(422,), public=True) for name, page in _PAGES.items()),
            Endpoint("POST", "/v1/passkeys/invitations", self.invite, "Invite somebody to enrol a passkey; the operator alone",
                     {201: "the address to open, good once and for ten minutes"}, body=InvitationBody, errors=(403, 422)),
            Endpoint("POST", "/v1/passkeys/begin", self.begin, "What the browser of who was invited is told to make", {200: "creation options"},
                     body=BeginBody, errors=(403, 422), public=True),
            Endpoint("POST", "/v1/passkeys/finish", self.enrol, "Enrol the passkey that was made", {201: "its number, and who answers with it"},
                     body=EnrolBody, errors=(403, 413, 422), public=True),
            Endpoint("GET", "/v1/passkeys", self.list, "Passkeys: yours; the operator's answer has the tenant's", {200: "passkeys"}, errors=(422,)),
            Endpoint("DELETE", "/v1/passkeys/{number:int}", self.revoke, "Revoke a passkey; the operator alone", {204: "it answers nothing any more"},
                     errors=(403, 404, 422)),
        )

    async def invite(self, request: Request) -> Response:
        asked = await read_body(request, InvitationBody)
        identity = _operator(request)
        principal = Principal.parse(asked.principal) if asked.principal else identity.principal
        origin = origin_of(request, self._public_url)
        relying_party(origin)
        secret = self._ceremonies.invite(principal, asked.label)
        base = (self._public_url or origin).rstrip("/")
        return json_response({"principal": str(principal), "url": f"{base}/people/enrol#{secret}", "expires_s": INVITATION_MS // 1000}, 201)

    async def begin(self, request: Request) -> Response:
        asked = await read_body(request, BeginBody)
        return json_response(await self._ceremonies.begin_enrolling(asked.invitation, origin_of(request, self._public_url)))

    async def enrol(self, request: Request) -> Response:
        asked = await read_body(request, EnrolBody)
        principal, number = await self._ceremonies.enrol(asked.invitation, asked.credential)
        return json_response({"principal": str(principal), "number": number}, 201)

    async def list(self, request: Request) -> Response:
        read_query(request, NoQuery)
        identity = identity_of(request)
        held = await self._passkeys.list(tenant=identity.principal.tenant)
        return json_response({"passkeys": [
            {"number": one.number, "principal": f"{identity.principal.tenant}/{one.user}", "label": one.label, "created_ms": one.created_ms,
             "revoked_ms": one.revoked_ms} for one in held if identity.operator or one.user == identity.principal.user]})

    async def revoke(self, request: Request) -> Response:
        read_query(request, NoQuery)
        identity = _operator(request)
        await self._passkeys.revoke(request.path_params["number"], tenant=identity.principal.tenant, now_ms=now_ms())
        return Response(status_code=204)


def origin_of(request: Request, public_url: str | None) -> str:
    """The origin that this server's pages have for whoever asks: its public one, else that of the Host that was asked for, by the
    name that browsers have passkeys for.
    """
    base = request.base_url.replace(hostname="localhost") if request.base_url.hostname in ("127.0.0.1", "::1") else request.base_url
    scheme, _, rest = (public_url or str(base)).partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"


def _operator(request: Request) -> Identity:
    identity = identity_of(request)
    if not identity.operator:
        raise Denied("only the operator decides who answers with which passkey", fix="run `inhabit approvals enrol` on the server")
    return identity


def _page(file: str, kind: str) -> Handler:
    body = files("inhabit.server").joinpath("pages", file).read_bytes()

    async def page(request: Request) -> Response:
        read_query(request, NoQuery)
        return Response(body, 200, _HEADERS, kind)

    return page
