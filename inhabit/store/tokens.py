"""Bearer tokens of the server: what a request's `Authorization` header stands for.

Model: a token is 256 random bits that only its owner has; the table holds their SHA-256, so that a copy of the file
opens nothing. A token made from another one names it as its parent and dies with it. The authority (a grant's JSON)
is stored as given: what it means, and that a child's is narrower, is for the caller.
Invariant: unknown, expired, revoked, and with a dead parent are one answer.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from inhabit.contracts.principal import Principal
from inhabit.errors import InvalidInput, LimitExceeded, NotFound
from inhabit.store.database import Database

__all__ = ["MAX_LABEL_CHARS", "MAX_TOKENS_PER_TENANT", "TOKEN_PREFIX", "TokenRecord", "TokenStore"]

TOKEN_PREFIX = "inh_"
"""So that a scanner for leaked secrets, and a person, can tell what it is."""
MAX_TOKENS_PER_TENANT = 10_000
MAX_LABEL_CHARS = 200
_MAX_DEPTH = 16
_COLUMNS = "id, tenant, user, agent, authority, label, parent, created_ms, expires_ms, revoked_ms"


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """All that is known of a token; the token itself is not. Times are Unix time in ms."""

    id: str
    principal: Principal
    authority: Any
    label: str
    parent: str | None
    created_ms: int
    expires_ms: int | None
    revoked_ms: int | None


class TokenStore:
    def __init__(self, database: Database, random: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self._database = database
        self._random = random

    async def create(self, principal: Principal, authority: Any, *, now_ms: int, expires_ms: int | None = None,
                     label: str = "", parent: str | None = None) -> tuple[str, TokenRecord]:
        """A new token, shown this once, and its record, on disk. `authority` is JSON data.

        Raises `InvalidInput` for an expiry in the past, a long label or a dead parent; `LimitExceeded`.
        """
        if expires_ms is not None and expires_ms <= now_ms:
            raise InvalidInput(f"the token would have expired already (expires_ms {expires_ms}, now {now_ms})",
                               fix="give a time to come, in ms")
        if len(label) > MAX_LABEL_CHARS:
            raise InvalidInput(f"a label has at most {MAX_LABEL_CHARS} characters", fix="shorten it")
        token = TOKEN_PREFIX + self._random(32).hex()
        record = TokenRecord(self._random(8).hex(), principal, authority, label, parent, now_ms, expires_ms, None)
        await self._database.writer.perform(lambda c: _insert(c, record, _digest(token), now_ms))
        return token, record

    async def verify(self, token: str, *, now_ms: int) -> TokenRecord | None:
        """The record of a token that is valid now, as are its ancestors; else None."""
        return await self._database.read(lambda c: _valid(c, _digest(token), now_ms))

    async def alive(self, token_id: str, *, tenant: str, now_ms: int) -> bool:
        """Whether a token of this id is valid now, as are its ancestors."""
        return await self._database.read(lambda c: _depth(c, token_id, tenant, now_ms, allowed=_MAX_DEPTH + 1) is not None)

    async def list(self, *, tenant: str) -> Sequence[TokenRecord]:
        """Newest first, dead ones too."""
        return await self._database.read(lambda c: [_record(row) for row in c.execute(
            f"SELECT {_COLUMNS} FROM tokens WHERE tenant = ? ORDER BY created_ms DESC, id", (tenant,))])

    async def revoke(self, token_id: str, *, tenant: str, now_ms: int) -> None:
        """From its return on the token, and every one made from it, is refused. Raises `NotFound`."""
        await self._database.writer.perform(lambda c: _revoke(c, token_id, tenant, now_ms))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _insert(connection: sqlite3.Connection, record: TokenRecord, digest: bytes, now_ms: int) -> None:
    who = record.principal
    (held,) = connection.execute("SELECT count(*) FROM tokens WHERE tenant = ?", (who.tenant,)).fetchone()
    if held >= MAX_TOKENS_PER_TENANT:
        raise LimitExceeded.of("tokens", MAX_TOKENS_PER_TENANT, "tokens", what=f"tenant {who.tenant}",
                               fix="revoke tokens that are not used; expired ones are removed by pruning")
    if record.parent is not None and _depth(connection, record.parent, who.tenant, now_ms) is None:
        raise InvalidInput(f"token {record.parent} cannot be passed on: it is unknown, expired or revoked, or"
                           f" {_MAX_DEPTH} tokens deep", fix="use a valid token of the same tenant")
    connection.execute(
        f"INSERT INTO tokens (digest, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (digest, record.id, who.tenant, who.user, who.agent, orjson.dumps(record.authority), record.label,
         record.parent, record.created_ms, record.expires_ms, None))


def _valid(connection: sqlite3.Connection, digest: bytes, now_ms: int) -> TokenRecord | None:
    row = connection.execute(f"SELECT {_COLUMNS} FROM tokens WHERE digest = ?", (digest,)).fetchone()
    if row is None:
        return None
    record = _record(row)
    alive = _depth(connection, record.id, record.principal.tenant, now_ms, allowed=_MAX_DEPTH + 1) is not None
    return record if alive else None


def _depth(connection: sqlite3.Connection, token_id: str | None, tenant: str, now_ms: int, *,
           allowed: int = _MAX_DEPTH) -> int | None:
    """How many tokens up to the root, or None if one of them is dead or there are more than `allowed`."""
    for depth in range(allowed + 1):
        if token_id is None:
            return depth
        row = connection.execute(
            "SELECT parent FROM tokens WHERE id = ? AND tenant = ? AND revoked_ms IS NULL"
            " AND (expires_ms IS NULL OR expires_ms > ?)", (token_id, tenant, now_ms)).fetchone()
        if row is None:
            return None
        token_id = row[0]
    return None


def _revoke(connection: sqlite3.Connection, token_id: str, tenant: str, now_ms: int) -> None:
    changed = connection.execute("UPDATE tokens SET revoked_ms = coalesce(revoked_ms, ?) WHERE id = ? AND tenant = ?",
                                 (now_ms, token_id, tenant)).rowcount
    if not changed:
        raise NotFound(f"no token {token_id[:40]}", fix="see `inhabit token list`")


def _record(row: Sequence[Any]) -> TokenRecord:
    token_id, tenant, user, agent, authority, label, parent, created_ms, expires_ms, revoked_ms = row
    return TokenRecord(token_id, Principal(user, tenant, agent), orjson.loads(authority), label, parent, created_ms,
                       expires_ms, revoked_ms)
