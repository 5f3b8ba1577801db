"""Passkeys of approvers: public keys, how often each signed, and which were taken away. Nothing here signs anything.

Invariants: a sign counter only grows, and is moved on in the step that takes an assertion, so that one assertion is taken
once; a passkey that was revoked stays known, so that taking it away does not let its owner answer without one. Enrolling
and revoking are in the audit log, by number.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from inhabit.contracts.principal import Principal
from inhabit.errors import Denied, LimitExceeded, NotFound
from inhabit.store.database import Database

__all__ = ["MAX_PASSKEYS", "Passkey", "Passkeys"]

MAX_PASSKEYS = 20
"""Of one person, revoked ones too."""
_COLUMNS = "number, user, credential, data, sign_count, label, created_ms, revoked_ms"


@dataclass(frozen=True, slots=True)
class Passkey:
    """`credential`: the id that its authenticator gave it; `data`: its public key, as WebAuthn writes it."""

    number: int
    user: str
    credential: bytes
    data: bytes
    sign_count: int
    label: str
    created_ms: int
    revoked_ms: int | None


class Passkeys:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, principal: Principal, credential: bytes, data: bytes, sign_count: int, label: str, now_ms: int) -> int:
        """Its number. Raises `Denied` for one that is known already, `LimitExceeded`."""
        return await self._database.writer.perform(lambda c: self._add(c, principal, credential, data, sign_count, label, now_ms))

    async def list(self, *, tenant: str) -> Sequence[Passkey]:
        """Oldest first, revoked ones too."""
        return await self._database.read(lambda c: [Passkey(*row) for row in c.execute(
            f"SELECT {_COLUMNS} FROM passkeys WHERE tenant = ? ORDER BY number", (tenant,))])

    async def of(self, principal: Principal) -> Sequence[Passkey]:
        """All that this person ever enrolled."""
        return [passkey for passkey in await self.list(tenant=principal.tenant) if passkey.user == principal.user]

    async def used(self, number: int, sign_count: int) -> None:
        """Count a use, for good when this returns. Raises `Denied` when the counter went back or the passkey was revoked."""
        await self._database.writer.perform(lambda c: self._used(c, number, sign_count))

    async def revoke(self, number: int, *, tenant: str, now_ms: int) -> None:
        """From its return on it answers nothing. Raises `NotFound`."""
        await self._database.writer.perform(lambda c: self._revoke(c, number, tenant, now_ms))

    def _add(self, connection: sqlite3.Connection, principal: Principal, credential: bytes, data: bytes, sign_count: int, label: str,
             now_ms: int) -> int:
        who = (principal.tenant, principal.user)
        if connection.execute("SELECT 1 FROM passkeys WHERE credential = ?", (credential,)).fetchone():
            raise Denied("this passkey is enrolled already", code="passkey_known", fix="use another one")
        if connection.execute("SELECT count(*) FROM passkeys WHERE tenant = ? AND user = ?", who).fetchone()[0] >= MAX_PASSKEYS:
            raise LimitExceeded.of("passkeys", MAX_PASSKEYS, "passkeys", what="/".join(who))
        number = connection.execute("INSERT INTO passkeys (tenant, user, credential, data, sign_count, label, created_ms) VALUES (?, ?, ?, ?, ?, ?, ?)",
                                    (*who, credential, data, sign_count, label, now_ms)).lastrowid
        assert number is not None, "an insert has a row"
        self._database.audit.note(connection, {"passkey_enrolled": number})
        return number

    def _used(self, connection: sqlite3.Connection, number: int, sign_count: int) -> None:
        row = connection.execute("SELECT sign_count, revoked_ms FROM passkeys WHERE number = ?", (number,)).fetchone()
        if row is None or row[1] is not None:
            raise Denied("this passkey was revoked", code="passkey_revoked", fix="use another one, or have a new one enrolled")
        if (row[0] or sign_count) and sign_count <= row[0]:   # an authenticator that does not count says 0 each time
            self._database.audit.note(connection, {"passkey_counter_back": number})
            raise Denied("the passkey's counter went back: there may be a copy of it", code="passkey_copied",
                         fix="have it revoked and a new one enrolled")
        connection.execute("UPDATE passkeys SET sign_count = ? WHERE number = ?", (sign_count, number))

    def _revoke(self, connection: sqlite3.Connection, number: int, tenant: str, now_ms: int) -> None:
        if not connection.execute("UPDATE passkeys SET revoked_ms = coalesce(revoked_ms, ?) WHERE number = ? AND tenant = ?",
                                  (now_ms, number, tenant)).rowcount:
            raise NotFound(f"there is no passkey {number}", fix="`inhabit approvals passkeys` lists them")
        self._database.audit.note(connection, {"passkey_revoked": number})
