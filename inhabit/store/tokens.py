"""Bearer tokens of the server: what a request's `Authorization` header stands for.

Model: a token is 256 random bits that only its owner has; the table holds their SHA-256, so that a copy of the file
opens nothing. A token made from another one names it as its parent and dies with it. The authority (a grant's JSON)
is stored as given: what it means, and that a child's is narrower, is for the caller.
A token that is signed (room `tokens`) has a record too, and no hash: no text opens it. Its holders make narrower ones by
themselves, which have no record; one of them is revoked by its path, the ids from the record down to it, and with it
every token whose own ids hold all of these.
Invariants: unknown, expired, revoked, and with a dead parent are one answer. What is made and what is revoked is in the
audit log, with who did it, in the same commit.
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
from inhabit.store.audit.events import IN_PROCESS, Actor, put_down
from inhabit.store.database import Database

__all__ = ["MAX_LABEL_CHARS", "MAX_REVOKED_BELOW", "MAX_TOKENS_PER_TENANT", "TOKEN_PREFIX", "TokenRecord", "TokenStore"]

TOKEN_PREFIX = "inh_"
"""So that a scanner for leaked secrets, and a person, can tell what it is."""
MAX_TOKENS_PER_TENANT = 10_000
MAX_LABEL_CHARS = 200
MAX_REVOKED_BELOW = 1_000
"""Tokens made offline from one record that can be revoked by themselves; it is looked through with every request."""
_MAX_DEPTH = 16
_APPROVES = '{"approve":true'
"""How the authority of a token that answers approvals begins (`server.tokens.authority_value`)."""
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
                     label: str = "", parent: str | None = None, by: Actor = IN_PROCESS) -> tuple[str, TokenRecord]:
        """A new token, shown this once, and its record, on disk. `authority` is JSON data. `by`: who makes it.

        Raises `InvalidInput` for an expiry in the past, a long label or a dead parent; `LimitExceeded`.
        """
        token = TOKEN_PREFIX + self._random(32).hex()
        record = TokenRecord(self._random(8).hex(), principal, authority, label, parent, now_ms, expires_ms, None)
        await self._keep(record, _digest(token), by)
        return token, record

    async def enter(self, record: TokenRecord, by: Actor = IN_PROCESS) -> None:
        """Keep the record of a signed token, which its maker gave an id. Raises as `create`."""
        await self._keep(record, self._random(32), by)

    async def _keep(self, record: TokenRecord, digest: bytes, by: Actor) -> None:
        if record.expires_ms is not None and record.expires_ms <= record.created_ms:
            raise InvalidInput(f"the token would have expired already (expires_ms {record.expires_ms}, now {record.created_ms})",
                               fix="give a time to come, in ms")
        if len(record.label) > MAX_LABEL_CHARS:
            raise InvalidInput(f"a label has at most {MAX_LABEL_CHARS} characters", fix="shorten it")
        await self._database.writer.perform(lambda c: self._insert(c, record, digest, by))

    async def verify(self, token: str, *, now_ms: int) -> TokenRecord | None:
        """The record of a token that is valid now, as are its ancestors; else None."""
        return await self._database.read(lambda c: _valid(c, _digest(token), now_ms))

    async def alive(self, name: str, *, tenant: str, now_ms: int) -> bool:
        """Whether a token of this name (its id, or the ids from a record down to it) is valid now, as are its ancestors."""
        return await self.standing(name, tenant=tenant, now_ms=now_ms) is not None

    async def standing(self, name: str, *, tenant: str, now_ms: int) -> TokenRecord | None:
        """The record that the token of this name comes from, if both are valid now."""
        return await self._database.read(lambda c: _standing(c, name.split("."), tenant, now_ms))

    async def list(self, *, tenant: str) -> Sequence[TokenRecord]:
        """Newest first, dead ones too."""
        return await self._database.read(lambda c: [_record(row) for row in c.execute(
            f"SELECT {_COLUMNS} FROM tokens WHERE tenant = ? ORDER BY created_ms DESC, id", (tenant,))])

    async def tenants(self) -> Sequence[str]:
        """Those that have tokens."""
        return await self._database.read(lambda c: [tenant for (tenant,) in c.execute("SELECT DISTINCT tenant FROM tokens ORDER BY tenant")])

    async def revoke(self, token_id: str, *, tenant: str, now_ms: int, by: Actor = IN_PROCESS) -> None:
        """From its return on the token, and every one made from it, is refused. Raises `NotFound`."""
        await self._database.writer.perform(lambda c: self._revoke(c, token_id, tenant, now_ms, by))

    async def revoke_below(self, path: str, *, tenant: str, now_ms: int, most: int = MAX_REVOKED_BELOW, by: Actor = IN_PROCESS) -> None:
        """Refuse, from its return on, every token whose name holds all ids of `path`, of which the first is a record's.
        Raises `NotFound`, and `LimitExceeded` where `most` were revoked below that record.
        """
        await self._database.writer.perform(lambda c: self._revoke_below(c, path, tenant, now_ms, most, by))

    async def rotated(self, public: str, whose: Principal, void: int, by: Actor = IN_PROCESS) -> None:
        """Put down in the audit log that a new key signs, and how many tokens are void. `whose`: in whose name it was done."""
        await self._database.writer.perform(
            lambda c: put_down(c, self._database.audit, "token_key_rotated", public, whose, by, {"void": void}))

    async def has_approver(self, *, tenant: str, besides: str, now_ms: int) -> bool:
        """Whether somebody of the tenant other than `besides` holds a valid token that answers approvals."""
        return await self._database.read(lambda c: c.execute(
            "SELECT 1 FROM tokens WHERE tenant = ? AND user != ? AND revoked_ms IS NULL AND (expires_ms IS NULL OR expires_ms > ?)"
            f" AND substr(CAST(authority AS TEXT), 1, {len(_APPROVES)}) = ? LIMIT 1",
            (tenant, besides, now_ms, _APPROVES)).fetchone() is not None)

    def _insert(self, connection: sqlite3.Connection, record: TokenRecord, digest: bytes, by: Actor) -> None:
        _insert(connection, record, digest, record.created_ms)
        put_down(connection, self._database.audit, "token_created", record.id, record.principal, by, {
            "authority": record.authority, "label": record.label, "parent": record.parent, "expires_ms": record.expires_ms})

    def _revoke(self, connection: sqlite3.Connection, token_id: str, tenant: str, now_ms: int, by: Actor) -> None:
        """One that is revoked already stays as it is, and nothing happened that would be put down."""
        whose = _whose(connection, token_id, tenant)
        if connection.execute("UPDATE tokens SET revoked_ms = ? WHERE id = ? AND tenant = ? AND revoked_ms IS NULL",
                              (now_ms, token_id, tenant)).rowcount:
            put_down(connection, self._database.audit, "token_revoked", token_id, whose, by, {})

    def _revoke_below(self, connection: sqlite3.Connection, path: str, tenant: str, now_ms: int, most: int, by: Actor) -> None:
        root = path.partition(".")[0]
        whose = _whose(connection, root, tenant)
        connection.execute("DELETE FROM token_revocations WHERE root NOT IN (SELECT id FROM tokens)")
        (held,) = connection.execute("SELECT count(*) FROM token_revocations WHERE tenant = ? AND root = ?", (tenant, root)).fetchone()
        if held >= most:
            raise LimitExceeded.of("revoked_below", most, "tokens", what=f"token {root}", fix=f"revoke {root} itself, and hand out another")
        if connection.execute("INSERT INTO token_revocations VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", (tenant, root, path, now_ms)).rowcount:
            put_down(connection, self._database.audit, "token_revoked", path, whose, by, {})


def _whose(connection: sqlite3.Connection, token_id: str, tenant: str) -> Principal:
    row = connection.execute("SELECT user, tenant, agent FROM tokens WHERE id = ? AND tenant = ?", (token_id, tenant)).fetchone()
    if row is None:
        raise NotFound(f"no token {token_id[:40]}", fix="see `inhabit token list`")
    return Principal(*row)


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


def _standing(connection: sqlite3.Connection, ids: Sequence[str], tenant: str, now_ms: int) -> TokenRecord | None:
    if _depth(connection, ids[0], tenant, now_ms, allowed=_MAX_DEPTH + 1) is None:
        return None
    below = connection.execute("SELECT path FROM token_revocations WHERE tenant = ? AND root = ?", (tenant, ids[0])).fetchall()
    if any(set(path.split(".")) <= set(ids) for (path,) in below):
        return None
    return _record(connection.execute(f"SELECT {_COLUMNS} FROM tokens WHERE id = ?", (ids[0],)).fetchone())


def _record(row: Sequence[Any]) -> TokenRecord:
    token_id, tenant, user, agent, authority, label, parent, created_ms, expires_ms, revoked_ms = row
    return TokenRecord(token_id, Principal(user, tenant, agent), orjson.loads(authority), label, parent, created_ms,
                       expires_ms, revoked_ms)
