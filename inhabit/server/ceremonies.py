"""What people do with their passkeys here: enrol one by an invitation, and sign one answer to one question.

Model: the operator invites somebody; the invitation's secret is good once, for ten minutes, in this process. An answer is
signed over a challenge that is the hash of a fresh random value and of all that the answer says: approval, digest of the
call (operation, arguments, run, expiry), verdict, edited arguments, reason, and who answers. What is then sent has to
say the same, so a signature for one answer is a signature for no other.

Invariants
- A challenge is used up by the first try, right or wrong, and is gone after five minutes or a restart.
- The person was verified by the authenticator (PIN, finger, face), the page was of this origin, the passkey is the
  answerer's own, stands, and counts on.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

import orjson
from fido2.cose import CoseKey
from fido2.server import Fido2Server
from fido2.webauthn import (
    AttestedCredentialData,
    AuthenticationResponse,
    PublicKeyCredentialRpEntity,
    PublicKeyCredentialUserEntity,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from inhabit.contracts.principal import Principal
from inhabit.errors import Denied, InvalidInput, TooMany
from inhabit.store.passkeys import Passkey, Passkeys

__all__ = ["CHALLENGE_MS", "INVITATION_MS", "Ceremonies", "relying_party"]

INVITATION_MS = 600_000
CHALLENGE_MS = 300_000
_MAX_OPEN = 1_000
"""Invitations, and challenges: the oldest give way."""
_MAX_OPEN_OF_ONE = 20


@dataclass(frozen=True, slots=True)
class _Open:
    """`about`: what a signature is for, None while an invitation was not begun."""

    principal: Principal
    origin: str
    until_ms: int
    label: str = ""
    state: Any = None
    about: bytes = b""


class Ceremonies:
    def __init__(self, passkeys: Passkeys, now_ms: Callable[[], int]) -> None:
        self._passkeys = passkeys
        self._now_ms = now_ms
        self._invited: OrderedDict[bytes, _Open] = OrderedDict()
        self._asked: OrderedDict[str, _Open] = OrderedDict()

    def invite(self, principal: Principal, label: str) -> str:
        """A secret for one enrolment. Raises `Denied` for an agent."""
        if principal.agent is not None:
            raise Denied(f"{principal} is an agent: it cannot answer for a person", fix="name the user who decides")
        secret = secrets.token_urlsafe(32)
        _keep(self._invited, _digest(secret), _Open(principal, "", self._now_ms() + INVITATION_MS, label))
        return secret

    async def begin_enrolling(self, secret: str, origin: str) -> Mapping[str, Any]:
        """What the browser is told to make. Raises `Denied`, `InvalidInput`."""
        invited = self._invitation(secret)
        who = str(invited.principal)
        held = [AttestedCredentialData(passkey.data) for passkey in await self._passkeys.of(invited.principal)]
        self._invitation(secret)    # once more: used up meanwhile, it is not put back below
        options, state = _server(origin).register_begin(
            PublicKeyCredentialUserEntity(id=sha256(who.encode()).digest(), name=who, display_name=who), held,
            resident_key_requirement=ResidentKeyRequirement.PREFERRED, user_verification=UserVerificationRequirement.REQUIRED)
        self._invited[_digest(secret)] = _Open(invited.principal, origin, invited.until_ms, invited.label, state)
        return options["publicKey"]

    async def enrol(self, secret: str, credential: Mapping[str, Any]) -> tuple[Principal, int]:
        """Keep the passkey that was made; the invitation is used up by the first try. Raises `Denied`, `LimitExceeded`."""
        invited = self._invitation(secret)
        del self._invited[_digest(secret)]
        if invited.state is None:
            raise Denied("nothing was begun", code="invitation_unknown", fix="open the page of the invitation")
        try:
            made = _server(invited.origin).register_complete(invited.state, credential)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _refused(error) from None
        data = made.credential_data
        assert data is not None, "a registration holds a credential"
        number = await self._passkeys.add(invited.principal, data.credential_id, bytes(data), made.counter, invited.label, self._now_ms())
        return invited.principal, number

    async def challenge(self, principal: Principal, answer: Mapping[str, Any], origin: str) -> Mapping[str, Any]:
        """What the browser is told to sign for exactly this answer. Raises `Denied` for who has no passkey, `TooMany`."""
        held = await self._valid(principal)
        if not held:
            raise Denied(f"{principal} has no passkey that is valid", code="passkey_missing", fix="`inhabit approvals enrol` makes an invitation")
        if sum(opened.principal == principal and opened.until_ms > self._now_ms() for opened in self._asked.values()) >= _MAX_OPEN_OF_ONE:
            raise TooMany("too many answers were begun and not signed", fix="wait five minutes",
                          details={"limit": "challenges", "value": _MAX_OPEN_OF_ONE, "unit": "challenges"})
        about = _about(principal, answer)
        challenge = sha256(secrets.token_bytes(32) + about).digest()
        options, state = _server(origin).authenticate_begin(
            [AttestedCredentialData(passkey.data) for passkey in held], UserVerificationRequirement.REQUIRED, challenge)
        _keep(self._asked, challenge.hex(), _Open(principal, origin, self._now_ms() + CHALLENGE_MS, state=state, about=about))
        return {**options["publicKey"], "challenge_id": challenge.hex()}

    async def signed(self, principal: Principal, answer: Mapping[str, Any], challenge_id: str, assertion: Mapping[str, Any]) -> int:
        """The number of the passkey that signed this answer, its use counted. Raises `Denied` for everything else."""
        opened = self._asked.pop(challenge_id, None)
        if opened is None or opened.until_ms <= self._now_ms() or opened.principal != principal:
            raise Denied("this answer was not asked to be signed, or too long ago, or was tried before", code="challenge_unknown", fix="begin again")
        if not secrets.compare_digest(opened.about, _about(principal, answer)):
            raise Denied("what was signed is another answer", code="challenge_mismatch", fix="look at the call again")
        held = {passkey.credential: passkey for passkey in await self._valid(principal)}
        try:
            said = AuthenticationResponse.from_dict(assertion)
            data = [AttestedCredentialData(passkey.data) for passkey in held.values()]
            found = _server(opened.origin).authenticate_complete(opened.state, data, said)
            if said.response.client_data.cross_origin:
                raise ValueError("signed inside a page of another origin")
            counter = said.response.authenticator_data.counter
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _refused(error) from None
        number = held[found.credential_id].number
        await self._passkeys.used(number, counter)
        return number

    async def enrolled(self, principal: Principal) -> bool:
        """Whether this person ever enrolled one: who did answers with one, also when it was taken away."""
        return bool(await self._passkeys.of(principal))

    async def _valid(self, principal: Principal) -> list[Passkey]:
        return [passkey for passkey in await self._passkeys.of(principal) if passkey.revoked_ms is None]

    def _invitation(self, secret: str) -> _Open:
        found = self._invited.get(_digest(secret))
        if found is None or found.until_ms <= self._now_ms():
            raise Denied("this invitation is not known, used up, or older than ten minutes", code="invitation_unknown",
                         fix="`inhabit approvals enrol` makes another")
        return found


def relying_party(origin: str) -> str:
    """The name that passkeys of a page of this origin belong to. Raises `InvalidInput` where browsers have none: at a bare address."""
    parts = urlsplit(origin)
    name = parts.hostname or ""
    if (parts.scheme != "https" and name != "localhost") or not name or ":" in name or name.replace(".", "").isdigit():
        raise InvalidInput(f"browsers have no passkeys for {origin}", code="origin_without_passkeys",
                           fix="open the page as http://localhost:PORT, or by its https name (public_url under [server])")
    return name


def _server(origin: str) -> Any:
    """The library's relying party; what it takes and gives back has no types that say more."""
    party = PublicKeyCredentialRpEntity(name="Inhabit", id=relying_party(origin))
    server = Fido2Server(party, verify_origin=lambda said: said == origin)
    server.allowed_algorithms = [kind for kind in server.allowed_algorithms if kind.alg in _ALGORITHMS]
    return server


def _about(principal: Principal, answer: Mapping[str, Any]) -> bytes:
    said = {"by": str(principal), **{name: answer.get(name) for name in ("approval", "digest", "verdict", "arguments", "reason", "value")}}
    return sha256(b"inhabit approval\0" + orjson.dumps(said, option=orjson.OPT_SORT_KEYS)).digest()


def _keep(held: OrderedDict[Any, _Open], key: Any, value: _Open) -> None:
    held[key] = value
    while len(held) > _MAX_OPEN:
        held.popitem(last=False)


def _digest(secret: str) -> bytes:
    return sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _refused(error: Exception) -> Denied:
    return Denied(f"the passkey's answer is not accepted: {error}", code="passkey_refused", fix="try again with the passkey you enrolled, on this page")


_ALGORITHMS = frozenset(CoseKey.supported_algorithms()) & {-7, -8, -257, -35, -36}
