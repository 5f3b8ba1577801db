"""The outside world of `bench.crash`: what was really done, kept where the server's death does not reach.

Operations as a product has them: one that reads, one that writes and may be repeated, ones that must not be: of which one can
say afterwards whether it took effect, and can be undone; and things, which get their id here when they are made, so that whoever
writes with an id that was made up is found (`stray`).
"""

from __future__ import annotations

import os
import sqlite3
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from inhabit import Capability, Reconciled
from inhabit.contracts.operation import Resource

LEDGER_ENV = "INHABIT_CRASH_LEDGER"

ledger = Capability("ledger", "What was really done, for the crash benchmark")


@dataclass
class Thing:
    id: str
    tag: str


def connect(path: str) -> sqlite3.Connection:
    """The ledger's own database; synced by nobody, since it is the process that dies and not the machine."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=30.0)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("CREATE TABLE IF NOT EXISTS effects (tag TEXT, operation TEXT, pid INTEGER)")
    connection.execute("CREATE TABLE IF NOT EXISTS things (id TEXT PRIMARY KEY, tag TEXT)")
    return connection


def note(connection: sqlite3.Connection, operation: str, tag: str) -> None:
    connection.execute("INSERT INTO effects VALUES (?, ?, ?)", (tag, operation, os.getpid()))


def things(connection: sqlite3.Connection, tag: str) -> list[Thing]:
    """Those of a tag, also such as are not there any more: they were made."""
    return [Thing(*row) for row in connection.execute("SELECT id, tag FROM things WHERE tag = ?", (tag,))]


@ledger.operation(reads="private")
def look(tag: str) -> int:
    """How often this tag was written."""
    return _do(lambda c: c.execute("SELECT count(*) FROM effects WHERE tag = ?", (tag,)).fetchone()[0])


@ledger.operation(writes="internal", idempotent=True, irreversible=False)
def put(tag: str) -> str:
    """Write the tag; may be repeated."""
    _do(lambda c: note(c, "put", tag))
    return tag


@ledger.operation(writes="external")
def send(tag: str) -> str:
    """Send the tag; must not be repeated."""
    _do(lambda c: note(c, "send", tag))
    return tag


@ledger.operation(reads="private")
def was_paid(tag: str) -> Reconciled:
    """Whether the tag was paid."""
    paid = _do(lambda c: c.execute("SELECT count(*) FROM effects WHERE tag = ? AND operation = 'pay'", (tag,)).fetchone()[0])
    return Reconciled.done(tag) if paid else Reconciled.not_done()


@ledger.operation(writes="internal", irreversible=False)
def refund(tag: str) -> str:
    """Undo a payment; must not be repeated."""
    _do(lambda c: note(c, "refund", tag))
    return tag


@ledger.operation(writes="internal", revert=refund, reconcile=was_paid)
def pay(tag: str) -> str:
    """Pay the tag; must not be repeated."""
    _do(lambda c: note(c, "pay", tag))
    return tag


@ledger.operation(reads="private")
def was_made(tag: str) -> Reconciled:
    """Which thing was made for the tag; for half of the tags this upstream does not know, and a person has to say."""
    if int(tag[-1], 16) % 2:
        return Reconciled.unknown()
    made = _do(lambda c: things(c, tag))
    return Reconciled.done(made[0]) if made else Reconciled.not_done()


@ledger.operation(writes="internal", irreversible=False)
def remove(id: str, tag: str) -> str:
    """Undo the making of a thing; must not be repeated."""
    _do(lambda c: note(c, _with(c, "remove", id, tag), tag))
    return tag


@ledger.operation(writes="internal", revert=remove, reconcile=was_made, resource=Resource("thing", "create"))
def make(tag: str) -> Thing:
    """Make a thing, which gets an id; must not be repeated."""
    thing = Thing(uuid.uuid4().hex, tag)

    def work(connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO things VALUES (?, ?)", (thing.id, tag))
        note(connection, "make", tag)
        connection.execute("COMMIT")

    _do(work)
    return thing


@ledger.operation(writes="internal")
def mark(id: str, tag: str) -> str:
    """Mark the thing that was made for the tag; must not be repeated."""
    _do(lambda c: note(c, _with(c, "mark", id, tag), tag))
    return tag


def _with(connection: sqlite3.Connection, operation: str, id: str, tag: str) -> str:
    """What such a write counts as: a stray one, if there is no such thing."""
    return operation if Thing(id, tag) in things(connection, tag) else "stray"


def _do(work: Callable[[sqlite3.Connection], Any]) -> Any:
    connection = connect(os.environ[LEDGER_ENV])
    try:
        return work(connection)
    finally:
        connection.close()


def capabilities() -> list[Capability]:
    return [ledger]
