"""Labels that a person took off a conversation, in the audit log: who, whose and why lie beside it, under a salt.

Model: a note of the log says that labels were cleared and carries SHA-256 over a salt and the row of `conversations_cleared`.
The row has names and a reason in a person's words, so it must be able to go: it goes with its salt and a note that it
went, and then nobody can tell what the first note stood for.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any

import orjson

from inhabit.store.audit.log import AuditLog

__all__ = ["clearing_hash", "drop_clearings", "loose_clearings"]


def clearing_hash(salt: bytes, row: Sequence[Any]) -> str:
    """`row`: tenant, user, scope, labels, actor, reason, at_ms."""
    return sha256(salt + orjson.dumps(list(row))).hexdigest()


def drop_clearings(connection: sqlite3.Connection, log: AuditLog, condition: str, values: Sequence[Any], reason: str) -> int:
    """Delete those that fit, with a note; how many."""
    positions = [at for (at,) in connection.execute(
        f"SELECT position FROM conversations_cleared WHERE {condition} AND position IS NOT NULL", values)]
    if positions:
        log.note(connection, {"clearings_erased": positions, "reason": reason})
    return connection.execute(f"DELETE FROM conversations_cleared WHERE {condition}", values).rowcount


def loose_clearings(connection: sqlite3.Connection, notes: Mapping[int, Any]) -> Iterator[tuple[str, str]]:
    """Where rows and notes (by the place of their leaf) do not say the same, and what is wrong. Rows without a place are older
    than their notes."""
    noted = {at: note["labels_cleared"] for at, note in notes.items() if "labels_cleared" in note}
    gone = {at for note in notes.values() for at in note.get("clearings_erased", ())}
    for at, salt, *row in connection.execute(
            "SELECT position, salt, tenant, user, scope, labels, actor, reason, at_ms FROM conversations_cleared WHERE position IS NOT NULL"):
        if noted.pop(at, None) != clearing_hash(salt or b"", row):
            yield f"clearing (leaf {at})", "who cleared labels, whose or why is not what was recorded"
    for at in noted.keys() - gone:
        yield f"clearing (leaf {at})", "it is gone, and no note says that it was erased"
