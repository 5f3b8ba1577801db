"""Attenuable tokens as the server keeps them: issued with a record, checked with every request, revoked, their key rotated.

A token is taken when its signatures hold, its record stands and says the same as its first block, nothing from the
record down to it was revoked, and its time is not over. What it then may do is the configuration's grant for its
principal as it is now, and every layer of the token: no token ever holds more than its principal.
Invariant: a key alone makes nothing. A token that this server did not issue has no record, whoever signed it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from secrets import token_hex
from typing import Any, Protocol

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from inhabit.contracts.json import is_object
from inhabit.contracts.principal import Principal
from inhabit.errors import Denied, InvalidInput
from inhabit.kernel.grants import Grant
from inhabit.server.auth import identity_of
from inhabit.server.endpoints import Endpoint, json_response
from inhabit.server.requests import StrictBody, read_body
from inhabit.store.audit.events import IN_PROCESS, Actor
from inhabit.store.tokens import TokenRecord
from inhabit.tokens import Token, TokenKeys, mint, read

__all__ = ["DEFAULT_LIFE_S", "MAX_LIFE_S", "Attenuable", "RotateBody", "Rotated", "is_signed", "rotate_endpoint"]

DEFAULT_LIFE_S = 30 * 86_400
MAX_LIFE_S = 366 * 86_400
_SIGNED = "signed_by"


class Records(Protocol):
    """The records of tokens (`store.TokenStore`)."""

    async def enter(self, record: TokenRecord, by: Actor = ...) -> None: ...

    async def standing(self, name: str, *, tenant: str, now_ms: int) -> TokenRecord | None: ...

    async def list(self, *, tenant: str) -> Sequence[TokenRecord]: ...

    async def tenants(self) -> Sequence[str]: ...

    async def revoke(self, token_id: str, *, tenant: str, now_ms: int, by: Actor = ...) -> None: ...

    async def rotated(self, public: str, whose: Principal, void: int, by: Actor = ...) -> None: ...


@dataclass(frozen=True, slots=True)
class Rotated:
    """`public`: the new key. `kept`, `void`: ids of valid tokens that older keys signed and that go on, or do not.
    `until_ms`: when the last of those that go on expires.
    """

    public: str
    kept: tuple[str, ...]
    void: tuple[str, ...]
    until_ms: int | None


class Attenuable:
    def __init__(self, records: Records, keys: TokenKeys) -> None:
        self._records = records
        self._keys = keys

    async def issue(self, principal: Principal, grant: Grant, *, now_ms: int, expires_ms: int | None = None, label: str = "",
                    parent: str | None = None, by: Actor = IN_PROCESS) -> tuple[str, TokenRecord]:
        """A new token, shown this once, and its record. It always ends: left out, in 30 days, and in 366 at the latest. Raises
        `InvalidInput`, `LimitExceeded`.
        """
        ends_ms = now_ms + DEFAULT_LIFE_S * 1000 if expires_ms is None else expires_ms
        if ends_ms > now_ms + MAX_LIFE_S * 1000:
            raise InvalidInput(f"an attenuable token lives at most {MAX_LIFE_S // 86_400} days", fix="ask for an earlier end")
        key = self._keys.signing(now_ms)
        token_id = token_hex(8)
        token = mint(key.private, key.public, token_id=token_id, principal=principal, grant=grant, expires_ms=ends_ms)
        record = TokenRecord(token_id, principal, {_SIGNED: key.public.hex(), "grant": grant.as_value()}, label, parent, now_ms, ends_ms, None)
        await self._records.enter(record, by)
        return token, record

    async def check(self, token: str, *, now_ms: int) -> Token | None:
        """What a token says, if it is in force."""
        try:
            said = read(token, lambda public: self._keys.known(public, now_ms))
        except InvalidInput:
            return None
        record = await self._records.standing(said.name, tenant=said.principal.tenant, now_ms=now_ms)
        if record is None or said.expires_ms <= now_ms or not _agrees(record, said):
            return None
        return said

    async def rotate(self, now_ms: int, *, void: bool, whose: Principal, by: Actor = IN_PROCESS) -> Rotated:
        """Sign with a new key from now on. Older keys verify until their tokens have expired, or with `void` not any more; the
        tokens that are void then are revoked when this returns. `whose`: in whose name it is done.
        """
        held = [record for tenant in await self._records.tenants() for record in await self._records.list(tenant=tenant)
                if is_signed(record) and record.revoked_ms is None and (record.expires_ms or 0) > now_ms]
        until_ms = None if void else max((record.expires_ms or 0 for record in held), default=None)
        public = self._keys.rotate(now_ms, until_ms)
        for record in held if void else ():
            await self._records.revoke(record.id, tenant=record.principal.tenant, now_ms=now_ms, by=by)
        ids = tuple(record.id for record in held)
        await self._records.rotated(public, whose, len(ids) if void else 0, by)
        return Rotated(public, () if void else ids, ids if void else (), until_ms)


def is_signed(record: TokenRecord) -> bool:
    return is_object(record.authority) and _SIGNED in record.authority


def _agrees(record: TokenRecord, said: Token) -> bool:
    return (is_signed(record) and record.authority["grant"] == said.issued.as_value() and record.principal == said.principal
            and record.expires_ms == said.issued_expires_ms)


class RotateBody(StrictBody):
    void: bool = Field(False, description="tokens that older keys signed are void at once")


def rotate_endpoint(attenuable: Attenuable, now_ms: Callable[[], int], revoked: Any) -> Endpoint:
    """`revoked` is told the ids that are void, and returns when nothing goes on in their name."""

    async def rotate(request: Request) -> Response:
        asked = await read_body(request, RotateBody)
        identity = identity_of(request)
        if not identity.operator:
            raise Denied("only the operator rotates the key of tokens", fix="run `inhabit token rotate-key` on the server")
        rotated = await attenuable.rotate(now_ms(), void=asked.void, whose=identity.principal, by=identity.actor)
        await revoked(rotated.void)
        return json_response({"key": rotated.public, "kept": rotated.kept, "void": rotated.void, "until_ms": rotated.until_ms})

    return Endpoint("POST", "/v1/tokens/rotate-key", rotate, "Sign attenuable tokens with a new key; the operator alone",
                    {200: "the new public key, and which tokens go on or are void"}, body=RotateBody, errors=(403, 422, 503))
