"""The form of an attenuable token: a chain of signed blocks, each of which narrows what the ones before it grant.

    inhat_ ‖ base64url(public key) ‖ . ‖ a biscuit whose blocks are each one fact, `inhabit(hex:JSON)`

    first block    {"agent", "expires_ms", "grant", "id", "tenant", "user", "v": 1}     signed by the server
    later blocks   {"expires_ms"?, "grant"?}                                            added by holders, offline

The biscuit library keeps the chain: a block is signed with the key that the block before it names, so none can be
altered, left out or put elsewhere, and whoever holds a token can add one. What a block means is read here and nowhere
else: each grant becomes a layer of the kernel's `Grant`, each expiry a layer that ends, and a call needs the yes of
every layer. So a later block narrows, whatever it says.

Invariants
- Nothing is skipped: a block that holds anything but the one fact, a key that is not named above, a caveat that the
  kernel does not know, or a signature by somebody else makes the whole token invalid.
- The principal and the id come from the first block. The public key in the text only serves holders; who checks a
  token looks it up among its own.
- Datalog is never evaluated: rules, checks and foreign facts are what makes a block unknown.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import biscuit_auth
import orjson
from biscuit_auth import (
    Biscuit,
    BiscuitBlockError,
    BiscuitBuilder,
    BiscuitBuildError,
    BiscuitSerializationError,
    BiscuitValidationError,
    BlockBuilder,
    PrivateKey,
    PublicKey,
)

from inhabit.contracts.json import is_object
from inhabit.contracts.principal import Principal
from inhabit.errors import InvalidInput, LimitExceeded
from inhabit.kernel.grants import Clause, Grant

__all__ = ["MAX_BLOCKS", "MAX_CHARS", "PREFIX", "Token", "attenuate", "key_bytes", "mint", "private_key", "public_key", "read", "shown"]

PREFIX = "inhat_"
"""So that a scanner for leaked secrets, and the server, can tell what it is."""
MAX_CHARS = 8_192
"""Of a token; it is sent with every request."""
MAX_BLOCKS = 16
_LIBRARY: Any = biscuit_auth   # its stubs do not know what its keys take
_ID_BYTES = 16
_KEY_BYTES = 32
_FACT = re.compile(r"inhabit\(hex:((?:[0-9a-f]{2})+)\);\n?\Z")
_SOURCE = "inhabit({body})"
_TOKEN = re.compile(rf"{PREFIX}([A-Za-z0-9_-]+)\.([A-Za-z0-9_=-]+)\Z")
_BROKEN = (BiscuitBlockError, BiscuitBuildError, BiscuitSerializationError, BiscuitValidationError, ValueError)
_FIRST = {"v", "id", "tenant", "user", "agent", "expires_ms", "grant"}
_LATER = {"expires_ms", "grant"}

Clauses = Sequence[str | Clause | Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Token:
    """What a token says. `issued`: the grant of its first block; `grant`: all layers, those that expire too. `chain`: the
    ids of its later blocks. `name`: its id and theirs, which is what a revocation names.
    """

    id: str
    principal: Principal
    issued: Grant
    issued_expires_ms: int
    grant: Grant
    expires_ms: int
    chain: tuple[str, ...]

    @property
    def name(self) -> str:
        return ".".join((self.id, *self.chain))


def mint(private: PrivateKey, public: bytes, *, token_id: str, principal: Principal, grant: Grant, expires_ms: int) -> str:
    """A new token, signed. Raises `LimitExceeded` when the grant is too long for one."""
    said = {"v": 1, "id": token_id, "tenant": principal.tenant, "user": principal.user, "agent": principal.agent,
            "expires_ms": expires_ms, "grant": grant.as_value()}
    return _text(public, BiscuitBuilder(_SOURCE, {"body": _body(said)}).build(private))


def attenuate(token: str, *, grant: Clauses | None = None, expires_ms: int | None = None) -> str:
    """A narrower token, made from `token` alone: no server is asked. `grant`: clauses that calls must fit too. Raises
    `InvalidInput` for what would widen nothing or is no such token, `LimitExceeded` when it becomes too long.
    """
    public, biscuit = _opened(token, public_key)
    held = _said(biscuit)
    said: dict[str, Any] = {}
    if grant is not None:
        said["grant"] = Grant.of(*grant).as_value()
    if expires_ms is not None:
        if not 0 < expires_ms <= held.expires_ms:
            raise InvalidInput(f"a token made from this one ends with it at the latest ({held.expires_ms} ms)", fix="give an earlier time")
        said["expires_ms"] = expires_ms
    if not said:
        raise InvalidInput("nothing was said that narrows the token", fix="give a grant, an expiry, or both")
    if biscuit.block_count() >= MAX_BLOCKS:
        raise LimitExceeded.of("token_blocks", MAX_BLOCKS, "blocks", what="the token", fix="start from the token it was made of")
    return _text(public, biscuit.append(BlockBuilder(_SOURCE, {"body": _body(said)})))


def read(token: str, known: Callable[[bytes], PublicKey | None]) -> Token:
    """What a token says, once every signature holds under a key that `known` has. Raises `InvalidInput`: one answer for all
    that is wrong with it. That it is still in force is for the caller to know.
    """
    def of(raw: bytes) -> PublicKey:
        key = known(raw)
        if key is None:
            raise _invalid("it was signed with a key that is not in use")
        return key

    return _said(_opened(token, of)[1])


def shown(token: str) -> Token:
    """What a token says of itself, its chain checked from the key that it names: for its holder, who trusts it anyway."""
    return _said(_opened(token, public_key)[1])


def key_bytes(key: PublicKey | PrivateKey) -> bytes:
    return bytes(key.to_bytes())


def public_key(raw: bytes) -> PublicKey:
    return _LIBRARY.PublicKey.from_bytes(raw, _LIBRARY.Algorithm.Ed25519)


def private_key(raw: bytes) -> PrivateKey:
    return _LIBRARY.PrivateKey.from_bytes(raw, _LIBRARY.Algorithm.Ed25519)


def _text(public: bytes, biscuit: Biscuit) -> str:
    text = f"{PREFIX}{base64.urlsafe_b64encode(public).decode().rstrip('=')}.{biscuit.to_base64()}"
    if len(text) > MAX_CHARS:
        raise LimitExceeded.of("token_chars", MAX_CHARS, "characters", what="the token", fix="fewer or wider clauses")
    return text


def _opened(token: str, key_of: Callable[[bytes], PublicKey]) -> tuple[bytes, Biscuit]:
    found = _TOKEN.match(token) if len(token) <= MAX_CHARS else None
    if found is None:
        raise _invalid("it has another form")
    try:
        public = base64.b64decode(found[1] + "=" * (-len(found[1]) % 4), b"-_", validate=True)
        if len(public) != _KEY_BYTES:
            raise _invalid("its key has another length")
        return public, Biscuit.from_base64(found[2], key_of(public))
    except (*_BROKEN, binascii.Error):
        raise _invalid("a signature in it does not hold") from None


def _said(biscuit: Biscuit) -> Token:
    """Raises `InvalidInput`."""
    count = biscuit.block_count()
    if count > MAX_BLOCKS:
        raise _invalid("it has too many blocks")
    first, *later = [_block(biscuit, number) for number in range(count)]
    _only(first, _FIRST, _FIRST)
    try:
        if first["v"] != 1 or type(first["id"]) is not str or not re.fullmatch(r"[0-9a-f]{16}", first["id"]):
            raise _invalid("it is of another version")
        principal = Principal(first["user"], first["tenant"], first["agent"])
        issued = Grant.from_value(first["grant"])
        expires = [_expiry(first["expires_ms"])]
        layers = [*issued.layers, *_ends(expires[0])]
        for block in later:
            _only(block, set(), _LATER)
            if "grant" in block:
                layers.extend(Grant.from_value(block["grant"]).layers)
            if "expires_ms" in block:
                expires.append(_expiry(block["expires_ms"]))
                layers.extend(_ends(expires[-1]))
    except (InvalidInput, TypeError) as error:
        raise _invalid(str(error)) from None
    ids = tuple(sha256(bytes.fromhex(signature)).digest()[:_ID_BYTES].hex() for signature in biscuit.revocation_ids[1:])
    return Token(first["id"], principal, issued, expires[0], Grant(tuple(layers)), min(expires), ids)


def _block(biscuit: Biscuit, number: int) -> dict[str, Any]:
    try:
        if biscuit.block_external_key(number) is not None:
            raise _invalid("a block of it is signed by a third party")
        fact = _FACT.match(biscuit.block_source(number))
    except _BROKEN:
        raise _invalid("a block of it cannot be read") from None
    if fact is None:
        raise _invalid(f"block {number} says something that is not known here")
    body = bytes.fromhex(fact[1])
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        value = None
    if not is_object(value) or _body(value) != body:   # one form a meaning: no key twice, nothing between the lines
        raise _invalid(f"block {number} says something that is not known here")
    return dict(value)


def _only(block: Mapping[str, Any], needed: set[str], allowed: set[str]) -> None:
    if not needed <= set(block) <= allowed or not block:
        raise _invalid("a block of it says something that is not known here")


def _expiry(value: Any) -> int:
    if type(value) is not int or value <= 0:
        raise _invalid("an expiry in it is no time")
    return value


def _ends(expires_ms: int) -> tuple[tuple[Clause, ...], ...]:
    return Grant.of({"pattern": "**", "caveats": [{"expires_ms": expires_ms}]}).layers


def _body(said: Mapping[str, Any]) -> bytes:
    return orjson.dumps(said, option=orjson.OPT_SORT_KEYS)


def _invalid(why: str) -> InvalidInput:
    return InvalidInput(f"this is no valid token: {why}", code="token_invalid", fix="ask for a new one: `inhabit token create --attenuable`")
