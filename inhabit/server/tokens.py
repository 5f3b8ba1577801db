"""The routes over bearer tokens: a token can make narrower ones, see its principal's, and revoke them.

Attenuation only: a new token's grant is the caller's own grant with the asked clauses on top of it, and it dies
with the token that made it. Only the operator (whoever can read the server's home) makes tokens for others. A token
that its holders narrow by themselves (`attenuable`) makes no others here; one made from it offline is revoked by its
name, the ids from the issued one down to it.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import orjson
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from inhabit.contracts.json import is_object
from inhabit.contracts.principal import Principal
from inhabit.errors import Denied, InvalidInput, LimitExceeded, NotFound, TooMany
from inhabit.kernel.grants import Grant
from inhabit.server.attenuable import Attenuable, is_signed, rotate_endpoint
from inhabit.server.auth import Identity, identity_of
from inhabit.server.endpoints import Endpoint, json_response
from inhabit.server.requests import NoQuery, StrictBody, read_body, read_query
from inhabit.store.audit.events import Actor
from inhabit.store.tokens import MAX_REVOKED_BELOW, TokenRecord

__all__ = ["Authority", "TokenBody", "TokenRoutes", "Tokens", "authority_of", "authority_value", "check_rights", "revoke"]

_APPROVE, _VOUCH = "approve", "vouch"
_NAME = re.compile(r"[0-9a-f]{16}(\.[0-9a-f]{32}){0,15}\Z")
MAX_EXPIRY_S = 10 * 366 * 86_400
MAX_GRANT_BYTES = 64 * 1024
"""Of a token's grant: it is read with every request, and written into every run."""
MAX_TOKENS_PER_USER = 1_000
"""Valid ones; a list of them is one answer."""


class Tokens(Protocol):
    async def create(self, principal: Principal, authority: Any, *, now_ms: int, expires_ms: int | None = None,
                     label: str = "", parent: str | None = None, by: Actor = ...) -> tuple[str, TokenRecord]: ...

    async def list(self, *, tenant: str) -> Sequence[TokenRecord]: ...

    async def revoke(self, token_id: str, *, tenant: str, now_ms: int, by: Actor = ...) -> None: ...

    async def revoke_below(self, path: str, *, tenant: str, now_ms: int, most: int = MAX_REVOKED_BELOW, by: Actor = ...) -> None: ...


class TokenBody(StrictBody):
    grant: list[Any] | dict[str, Any] | None = Field(None, description="clauses that narrow the grant further")
    label: str = Field("", max_length=200)
    expires_s: int | None = Field(None, ge=1, le=MAX_EXPIRY_S, description="seconds from now; left out: until revoked")
    principal: str | None = Field(None, max_length=400, description="the operator alone: for whom")
    attenuable: bool = Field(False, description="its holders make narrower ones from it by themselves; it ends in 30 days, or by expires_s")
    approve: bool = Field(False, description="the operator alone: the token may answer approvals; without `grant` it may do nothing else")
    vouch: bool = Field(False, description="the operator alone: its holder may say of a program that the author is `closed`: has read no stranger's words")


class TokenRoutes:
    """`revoked` is told the names that are refused from now on, and returns when nothing goes on for them. Without
    `attenuable` none is issued that its holders can narrow. `unmatched`: what of an asked grant fits no operation that the
    second shows, in words: a token is made all the same, since the operations may come.
    """

    def __init__(self, tokens: Tokens, now_ms: Callable[[], int], revoked: Callable[[Iterable[str]], Awaitable[None]],
                 attenuable: Attenuable | None = None, unmatched: Callable[[Grant, Grant], Sequence[str]] = lambda _asked, _visible: ()) -> None:
        self._tokens = tokens
        self._unmatched = unmatched
        self._attenuable = attenuable
        self._revoked = revoked
        self._now_ms = now_ms

    def endpoints(self) -> tuple[Endpoint, ...]:
        return (
            Endpoint("POST", "/v1/tokens", self.create, "Make a narrower token", {201: "the token, shown this once"},
                     body=TokenBody, errors=(403, 413, 422, 429)),
            Endpoint("GET", "/v1/tokens", self.list, "Your tokens", {200: "their records, without the tokens"}, errors=(422,)),
            Endpoint("DELETE", "/v1/tokens/{token_id}", self.revoke, "Revoke a token and all made from it",
                     {204: "it is refused from now on"}, errors=(404, 413, 422)),
            *((rotate_endpoint(self._attenuable, self._now_ms, self._revoked),) if self._attenuable is not None else ()),
        )

    async def create(self, request: Request) -> Response:
        asked = await read_body(request, TokenBody)
        identity = identity_of(request)
        now = self._now_ms()
        principal, grant = _for_whom(identity, asked)
        _refuse_passing_on(identity, asked)
        check_rights(principal, approve=asked.approve, vouch=asked.vouch, attenuable=asked.attenuable)
        if len(orjson.dumps(grant.as_value())) > MAX_GRANT_BYTES:
            raise LimitExceeded.of("grant_bytes", MAX_GRANT_BYTES, "bytes", what="the token's grant", fix="fewer or wider clauses")
        await self._refuse_many(principal, now)
        expires = None if asked.expires_s is None else now + asked.expires_s * 1000
        parent = None if identity.operator else identity.token_id
        if asked.attenuable:
            token, record = await self._issuing(asked).issue(principal, grant, now_ms=now, expires_ms=expires, label=asked.label, parent=parent, by=identity.actor)
        else:
            token, record = await self._tokens.create(
                principal, authority_value(grant, approve=asked.approve, vouch=asked.vouch), now_ms=now, expires_ms=expires, label=asked.label, parent=parent,
                by=identity.actor)
        warnings = self._unmatched(Grant.from_value(asked.grant), identity.grant) if asked.grant else ()
        return json_response({"token": token, **_record_json(record), "warnings": list(warnings)}, 201)

    def _issuing(self, asked: TokenBody) -> Attenuable:
        if self._attenuable is None:
            raise InvalidInput("this server makes no attenuable tokens", fix="leave attenuable out")
        return self._attenuable

    async def _refuse_many(self, principal: Principal, now_ms: int) -> None:
        held = [r for r in await self._tokens.list(tenant=principal.tenant) if r.principal.user == principal.user
                and r.revoked_ms is None and (r.expires_ms is None or r.expires_ms > now_ms)]
        if len(held) >= MAX_TOKENS_PER_USER:
            raise TooMany(f"{principal.tenant}/{principal.user} has {len(held)} valid tokens", code="too_many_tokens",
                          fix="revoke some: DELETE /v1/tokens/{id}",
                          details={"limit": "tokens_per_user", "value": MAX_TOKENS_PER_USER, "unit": "tokens"})

    async def list(self, request: Request) -> Response:
        read_query(request, NoQuery)
        return json_response({"tokens": [_record_json(record) for record in await self._visible(identity_of(request))]})

    async def revoke(self, request: Request) -> Response:
        read_query(request, NoQuery)
        identity, token_id = identity_of(request), request.path_params["token_id"]
        if identity.attenuable or "." in token_id:
            return await self._revoke_below(identity, token_id)
        if not any(record.id == token_id for record in await self._visible(identity)):
            raise _no_such_token()
        await self._revoked(await revoke(self._tokens, token_id, tenant=identity.principal.tenant, now_ms=self._now_ms(), by=identity.actor))
        return Response(status_code=204)

    async def _revoke_below(self, identity: Identity, name: str) -> Response:
        """A token that a holder made: by who sees the issued one, or by a holder for what was made from their own."""
        own = identity.name if identity.attenuable else ""
        root = name.partition(".")[0]
        if not _NAME.match(name) or (own and not set(own.split(".")) <= set(name.split("."))) or not (
                own or any(record.id == root for record in await self._visible(identity))):
            raise _no_such_token()
        most = MAX_REVOKED_BELOW // 2 if own else MAX_REVOKED_BELOW   # holders leave room for who issued it
        now_ms, tenant = self._now_ms(), identity.principal.tenant
        if "." in name:
            await self._tokens.revoke_below(name, tenant=tenant, now_ms=now_ms, most=most, by=identity.actor)
        else:
            await self._tokens.revoke(name, tenant=tenant, now_ms=now_ms, by=identity.actor)
        await self._revoked([name])
        return Response(status_code=204)

    async def _visible(self, identity: Identity) -> Sequence[TokenRecord]:
        """The operator sees the tenant's tokens, a user's own token those of the user, and one that was made from
        another only itself and what was made from it: who was handed a part cannot revoke the whole.
        """
        records = await self._tokens.list(tenant=identity.principal.tenant)
        if identity.operator:
            return records
        if identity.attenuable:
            return [record for record in records if record.id == identity.name]
        own = [r for r in records if r.principal.user == identity.principal.user]
        parents = {r.id: r.parent for r in own}
        if parents.get(identity.token_id) is None:
            return own
        return [r for r in own if _descends(r.id, identity.token_id, parents)]


async def revoke(tokens: Tokens, token_id: str, *, tenant: str, now_ms: int, by: Actor) -> Sequence[str]:
    """Refuse a token that the server issued, from now on; the ids of all that are refused with it. Raises `NotFound`."""
    await tokens.revoke(token_id, tenant=tenant, now_ms=now_ms, by=by)
    parents = {record.id: record.parent for record in await tokens.list(tenant=tenant)}
    return [one for one in parents if _descends(one, token_id, parents)]


def _no_such_token() -> NotFound:
    return NotFound("there is no such token", fix="`inhabit token list` or GET /v1/tokens lists yours")


def _descends(token_id: str | None, ancestor: str, parents: Mapping[str, str | None]) -> bool:
    while token_id is not None and token_id != ancestor:
        token_id = parents.get(token_id)
    return token_id is not None


def _for_whom(identity: Identity, asked: TokenBody) -> tuple[Principal, Grant]:
    unsaid = Grant.nothing() if asked.approve else Grant.of("**")
    clauses = unsaid if asked.grant is None else Grant.from_value(asked.grant)
    if identity.operator:
        return Principal.parse(asked.principal) if asked.principal else identity.principal, clauses
    if asked.principal is not None:
        raise Denied("only the operator makes tokens for others", fix="leave principal out")
    if identity.attenuable:
        raise Denied("this token makes no others on the server", code="attenuate_offline", fix="make a narrower one from it: `inhabit token attenuate`")
    return identity.principal, identity.grant.within(clauses)


def _refuse_passing_on(identity: Identity, asked: TokenBody) -> None:
    for right, option in ((asked.approve and "approve", "--approver"), (asked.vouch and "vouch", "--vouches")):
        if right and not identity.operator:
            raise Denied(f"only the operator makes tokens that {right}", fix=f"run `inhabit token create {option}` on the server")


def check_rights(principal: Principal, *, approve: bool, vouch: bool, attenuable: bool) -> None:
    """The right to answer for people, and the right to vouch for authors, go to no agent, and are not passed on. Nobody has both:
    what one lets through unasked, the other would be asked about. Raises `Denied` or `InvalidInput`.
    """
    if approve and vouch:
        raise InvalidInput("a token vouches or approves, not both", fix="make two")
    if attenuable and (approve or vouch):
        raise InvalidInput("a token that approves or vouches is not passed on, so it cannot be attenuable", fix="leave attenuable out")
    if approve and principal.agent is not None:
        raise Denied(f"{principal} is an agent: it cannot answer for a person", fix="name the user who decides")
    if vouch and principal.agent is not None:
        raise Denied(f"{principal} is an agent: it cannot vouch for what it wrote", fix="name the user for whom the product runs programs")


class Authority(NamedTuple):
    """What a token's record says: its grant, and whether it may answer approvals or vouch for authors."""

    grant: Grant
    approve: bool = False
    vouch: bool = False


def authority_value(grant: Grant, *, approve: bool = False, vouch: bool = False) -> Any:
    """What a token's record keeps."""
    rights = {name: True for name, given in ((_APPROVE, approve), (_VOUCH, vouch)) if given}
    return {**rights, "grant": grant.as_value()} if rights else grant.as_value()


def authority_of(kept: Any) -> Authority:
    """Of an attenuable token this is what was issued."""
    if is_object(kept) and "grant" in kept:
        return Authority(Grant.from_value(kept["grant"]), kept.get(_APPROVE) is True, kept.get(_VOUCH) is True)
    return Authority(Grant.from_value(kept))


def _record_json(record: TokenRecord) -> dict[str, Any]:
    said = authority_of(record.authority)
    return {"id": record.id, "principal": str(record.principal), "label": record.label, "parent": record.parent,
            "approve": said.approve, "vouch": said.vouch, "attenuable": is_signed(record), "grant": said.grant.as_value(), "created_ms": record.created_ms, "expires_ms": record.expires_ms,
            "revoked_ms": record.revoked_ms}
