"""What befell tokens, in the audit log: who made which, for whom, with which grant; who revoked it; and when.

Model: as with clearings. A note of the log says what happened by id, and carries SHA-256 over a salt and the row of
`token_events`, which has the names. The row can go: with its salt, and a note that it went. It stays as long as the record of
its token, and goes with whom it is about and with who did it.
Invariant: no secret of a token is in a row. An event is written in the commit that does what it tells of.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NamedTuple

import orjson

from inhabit.contracts.principal import Principal
from inhabit.store.audit.log import AuditLog, new_salt

__all__ = ["IN_PROCESS", "Actor", "TokenEvent", "drop_events", "drop_events_of", "loose_events", "put_down", "token_events"]


@dataclass(frozen=True, slots=True)
class Actor:
    """Who did something to a token. `credential`: `operator`, `token ID`, or `python`: the app's own process, for nobody in particular."""

    principal: Principal | None
    credential: str


IN_PROCESS = Actor(None, "python")


class TokenEvent(NamedTuple):
    """`said`: who, for whom and what, as JSON data. Its note stands at `position` of the log."""

    position: int
    event: str
    token: str
    said: Mapping[str, Any]
    at_ms: int


def put_down(connection: sqlite3.Connection, log: AuditLog, event: str, token: str, whose: Principal, by: Actor, said: Mapping[str, Any]) -> None:
    """Record `event` (`token_created`, `token_revoked`, `token_key_rotated`) within the commit that does it. `token`: an id, or ids down to it."""
    actor = by.principal or Principal("-", "-")
    who = str(by.principal) if by.principal is not None else ""
    body = orjson.dumps({"principal": str(whose), "by": who, "credential": by.credential, **said})
    salt = new_salt()
    row = (event, token, whose.tenant, whose.user, actor.tenant, actor.user, body)
    position = log.note(connection, {event: token, "said": _hash(salt, row)})
    connection.execute("INSERT INTO token_events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (position, salt, *row))


def drop_events(connection: sqlite3.Connection, log: AuditLog, condition: str, values: Sequence[Any], reason: str) -> int:
    """Delete those that fit, with a note; how many."""
    positions = [at for (at,) in connection.execute(f"SELECT position FROM token_events WHERE {condition}", values)]
    if positions:
        log.note(connection, {"events_erased": positions, "reason": reason})
    return connection.execute(f"DELETE FROM token_events WHERE {condition}", values).rowcount


def drop_events_of(connection: sqlite3.Connection, log: AuditLog, tenant: str, user: str | None, reason: str) -> int:
    """What is about somebody or was done by them; without a user, about or by anybody of the tenant."""
    if user is None:
        return drop_events(connection, log, "tenant = ?1 OR by_tenant = ?1", (tenant,), reason)
    return drop_events(connection, log, "(tenant = ?1 AND user = ?2) OR (by_tenant = ?1 AND by_user = ?2)", (tenant, user), reason)


def loose_events(connection: sqlite3.Connection, notes: Mapping[int, Any]) -> Iterator[tuple[str, str]]:
    """Where rows and notes (by the place of their leaf) do not say the same, and what is wrong."""
    noted = {at: note["said"] for at, note in notes.items() if "said" in note}
    gone = {at for note in notes.values() for at in note.get("events_erased", ())}
    for at, salt, *row in connection.execute("SELECT * FROM token_events"):
        if noted.pop(at, None) != _hash(salt, row):
            yield f"token event (leaf {at})", "who did what to which token is not what was recorded"
    for at in noted.keys() - gone:
        yield f"token event (leaf {at})", "it is gone, and no note says that it was erased"


def token_events(connection: sqlite3.Connection, tenant: str | None = None) -> Iterator[TokenEvent]:
    """In the order in which they happened; of one tenant, or of all."""
    rows = connection.execute("SELECT position, event, token, token_events.body, audit_notes.body FROM token_events"
                              " JOIN audit_notes USING (position) WHERE ?1 IS NULL OR tenant = ?1 ORDER BY position", (tenant,))
    for position, event, token, said, note in rows:
        yield TokenEvent(position, event, token, orjson.loads(said), int(orjson.loads(note)["at_ms"]))


def _hash(salt: bytes, row: Sequence[Any]) -> str:
    """`row`: event, token, tenant, user, by_tenant, by_user, body."""
    return sha256(salt + orjson.dumps([*row[:-1], row[-1].decode("utf-8", "replace")])).hexdigest()
