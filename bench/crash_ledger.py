"""The outside world of `bench.crash`: what was really done, kept where the server's death does not reach.

Operations as a product has them: one that reads, one that writes and may be repeated, ones that must not be: of which one can
say afterwards whether it took effect, and can be undone.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from typing import Any

from inhabit import Capability, Reconciled

LEDGER_ENV = "INHABIT_CRASH_LEDGER"

ledger = Capability("ledger", "What was really done, for the crash benchmark")


def connect(path: str) -> sqlite3.Connection:
    """The ledger's own database; synced by nobody, since it is the process that dies and not the machine."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=30.0)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("CREATE TABLE IF NOT EXISTS effects (tag TEXT, operation TEXT, pid INTEGER)")
    return connection


@ledger.operation(reads="private")
def look(tag: str) -> int:
    """How often this tag was written."""
    return _do(lambda c: c.execute("SELECT count(*) FROM effects WHERE tag = ?", (tag,)).fetchone()[0])


@ledger.operation(writes="internal", idempotent=True, irreversible=False)
def put(tag: str) -> str:
    """Write the tag; may be repeated."""
    _do(lambda c: c.execute("INSERT INTO effects VALUES (?, 'put', ?)", (tag, os.getpid())))
    return tag


@ledger.operation(writes="external")
def send(tag: str) -> str:
    """Send the tag; must not be repeated."""
    _do(lambda c: c.execute("INSERT INTO effects VALUES (?, 'send', ?)", (tag, os.getpid())))
    return tag


@ledger.operation(reads="private")
def was_paid(tag: str) -> Reconciled:
    """Whether the tag was paid."""
    paid = _do(lambda c: c.execute("SELECT count(*) FROM effects WHERE tag = ? AND operation = 'pay'", (tag,)).fetchone()[0])
    return Reconciled.done(tag) if paid else Reconciled.not_done()


@ledger.operation(writes="internal", irreversible=False)
def refund(tag: str) -> str:
    """Undo a payment; must not be repeated."""
    _do(lambda c: c.execute("INSERT INTO effects VALUES (?, 'refund', ?)", (tag, os.getpid())))
    return tag


@ledger.operation(writes="internal", revert=refund, reconcile=was_paid)
def pay(tag: str) -> str:
    """Pay the tag; must not be repeated."""
    _do(lambda c: c.execute("INSERT INTO effects VALUES (?, 'pay', ?)", (tag, os.getpid())))
    return tag


def _do(work: Callable[[sqlite3.Connection], Any]) -> Any:
    connection = connect(os.environ[LEDGER_ENV])
    try:
        return work(connection)
    finally:
        connection.close()


def capabilities() -> list[Capability]:
    return [ledger]
