"""What waits for people, over all runs: an index of the journal's `Asked` and `Decided` entries.

The entries are the truth; the rows here are committed with them and make lists and expiry cheap.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from inhabit.contracts.principal import Principal
from inhabit.contracts.run import Approval, Asked, Decided, Entry, Resumed, Suspended, Write
from inhabit.store.database import Database

__all__ = ["Approvals", "open_questions", "standing"]

_ASK = "INSERT INTO approvals VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL)"
_DECIDE = "UPDATE approvals SET decided_ms = ?, verdict = ? WHERE id = ? AND decided_ms IS NULL"
_CLOSE = "UPDATE approvals SET decided_ms = 0, verdict = 'moot' WHERE run = ? AND decided_ms IS NULL"
_STATE = "UPDATE runs SET state = ? WHERE key = ?"
_ASKED = "id, sequence, operation, digest, rule, reason, asked_ms, expires_ms"
"""The fields of `Asked`, in their order."""
_SELECT = f"SELECT run_id, user, tenant, agent, {_ASKED}, decided_ms, verdict FROM approvals JOIN runs ON key = run"
MAX_LIST = 500


def standing(run: int, entries: Sequence[Entry], *, closes: bool) -> list[Write]:
    """What the entries change in the tables beside the journal: the run's state, the list of approvals.
    `closes`: the run ends and may leave questions that nobody needs to answer any more.
    """
    writes: list[Write] = []
    for entry in entries:
        if isinstance(entry, Asked):
            writes.append(Write(_ASK, (entry.approval, run, entry.sequence, entry.operation, entry.digest, entry.rule,
                                       entry.reason, entry.at_ms, entry.expires_ms)))
        elif isinstance(entry, Decided):
            writes.append(Write(_DECIDE, (entry.at_ms, entry.verdict, entry.approval)))
            writes.append(Write(_STATE, ("running", run)))
        elif isinstance(entry, Suspended):
            writes.append(Write(_STATE, ("suspended" if entry.parked is None else "parked", run)))
        elif isinstance(entry, Resumed):
            writes.append(Write(_STATE, ("running", run)))
    if closes:
        writes.append(Write(_CLOSE, (run,)))
    return writes


def open_questions(connection: sqlite3.Connection, run: int) -> tuple[Asked, ...]:
    """Those of a run without an answer, in the order of their calls; those about what became of a call come last."""
    rows = connection.execute(
        f"SELECT {_ASKED} FROM approvals WHERE run = ? AND decided_ms IS NULL ORDER BY sequence, id", (run,))
    return tuple(sorted((Asked(*row) for row in rows), key=lambda asked: asked.doubt))


class Approvals:
    """Readings; what is written goes through the journal alone."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def pending(self, *, tenant: str, limit: int = 100) -> Sequence[Approval]:
        """Undecided ones of a tenant, oldest first; at most `MAX_LIST`."""
        return await self._list("WHERE tenant = ? AND decided_ms IS NULL ORDER BY asked_ms, id LIMIT ?",
                                (tenant, max(1, min(limit, MAX_LIST))))

    async def find(self, approval: str, *, tenant: str) -> Approval | None:
        found = await self._list("WHERE id = ? AND tenant = ? LIMIT ?", (approval, tenant, 1))
        return found[0] if found else None

    async def due(self, now_ms: int) -> Sequence[Approval]:
        """Undecided ones of all tenants whose time is over."""
        return await self._list("WHERE decided_ms IS NULL AND expires_ms <= ? ORDER BY expires_ms LIMIT ?", (now_ms, MAX_LIST))

    async def waiting(self) -> Sequence[tuple[str, str]]:
        """The `(run, tenant)` of every undecided one, of all tenants."""
        await self._database.writer.flush()
        return await self._database.read(lambda c: c.execute(
            "SELECT run_id, tenant FROM approvals JOIN runs ON key = run WHERE decided_ms IS NULL").fetchall())

    async def _list(self, condition: str, values: tuple[object, ...]) -> list[Approval]:
        await self._database.writer.flush()
        return await self._database.read(lambda c: [
            Approval(r[0], Principal(r[1], r[2], r[3]), Asked(*r[4:12]), r[12], r[13])
            for r in c.execute(f"{_SELECT} {condition}", values)])
