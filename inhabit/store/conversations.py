"""Labels of conversations: what a model has read in the runs whose results it was given.

A conversation is a scope that a door names: an MCP session, else the token, or a name that an HTTP client gives. What it
has read it keeps in mind, whatever the next program looks like; so its runs begin with the labels of those before.

Invariants
- Labels only grow; a person takes them off, with a reason. That stays on record here, and has a leaf in the audit log.
- They are committed with the end of the run that brought them, before its result is answered.
- They are forgotten with the runs: a retention after the conversation was last taken up, and never while it is in use.
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from inhabit.contracts.clock import now_ms
from inhabit.contracts.principal import Principal
from inhabit.contracts.run import Write
from inhabit.errors import InvalidInput, NotFound
from inhabit.store.audit.clearings import clearing_hash, drop_clearings
from inhabit.store.audit.log import new_salt
from inhabit.store.database import Database

__all__ = ["MAX_REASON_CHARS", "Cleared", "ConversationLabels", "Conversations"]

MAX_REASON_CHARS = 500
_KEPT = 10_000
_MAX_LIST = 500
_DAY_MS = 86_400_000
_JOIN = ("INSERT INTO conversations (tenant, user, scope, label, operation, run, at_ms, used_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)"
         " ON CONFLICT DO NOTHING")
_USED = "UPDATE conversations SET used_ms = max(used_ms, ?) WHERE tenant = ? AND user = ? AND scope = ?"

Labels = Sequence[tuple[str, str]]
"""`(name, operation that brought it)`."""


@dataclass(frozen=True, slots=True)
class ConversationLabels:
    """`labels`: name → the operation and the run that brought it."""

    user: str
    scope: str
    labels: Mapping[str, tuple[str, str]]
    since_ms: int


@dataclass(frozen=True, slots=True)
class Cleared:
    user: str
    scope: str
    labels: tuple[str, ...]
    by: str
    reason: str
    at_ms: int


@dataclass(slots=True)
class _Held:
    """`used_ms`: as it is on disk, to the day. `kept`: labels that are on disk for sure."""

    labels: dict[str, str]
    used_ms: int
    kept: set[str] = field(default_factory=set[str])


class Conversations:
    """Implements `runtime.conversations.Conversations`. What was used lately is in memory, which holds all that was joined."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: OrderedDict[tuple[str, str, str], _Held] = OrderedDict()

    async def labels(self, principal: Principal, scope: str) -> tuple[tuple[str, str], ...]:
        """What the conversation has read; it is taken up with this, which keeps it."""
        held = await self._of(principal, scope)
        if held.labels and now_ms() - held.used_ms >= _DAY_MS:
            held.used_ms = at = now_ms()
            await self._database.writer.perform(lambda c: c.execute(_USED, (at, principal.tenant, principal.user, scope)))
        return tuple(held.labels.items())

    def writes(self, principal: Principal, scope: str, run_id: str, labels: Labels, now_ms: int) -> tuple[Write, ...]:
        """What a run brings that the conversation had not: to be committed with the run's end."""
        held = self._known.setdefault((principal.tenant, principal.user, scope), _Held({}, now_ms))
        fresh = [(name, operation) for name, operation in labels if name not in held.kept]
        held.labels.update({name: operation for name, operation in fresh if name not in held.labels})
        return tuple(Write(_JOIN, (principal.tenant, principal.user, scope, name, operation, run_id, now_ms)) for name, operation in fresh)

    async def join(self, principal: Principal, scope: str, run_id: str, labels: Labels, now_ms: int) -> None:
        """The same for a run that goes on, of which something is shown already. On disk when this returns."""
        writes = self.writes(principal, scope, run_id, labels, now_ms)
        if writes:   # also what another one is still writing, or could not: only a write of one's own is known to be there
            await self._database.writer.perform(lambda c: [c.execute(write.sql, write.values) for write in writes])
            (await self._of(principal, scope)).kept.update(name for name, _ in labels)

    async def list(self, *, tenant: str) -> Sequence[ConversationLabels]:
        """Those that carry labels, the newest first, at most 500."""
        await self._database.writer.flush()
        rows = await self._database.read(lambda c: c.execute(
            "SELECT user, scope, label, operation, run, at_ms FROM conversations WHERE tenant = ? ORDER BY at_ms DESC, scope, label LIMIT ?",
            (tenant, _MAX_LIST * 2)).fetchall())
        found: dict[tuple[str, str], tuple[dict[str, tuple[str, str]], int]] = {}
        for user, scope, label, operation, run, at_ms in rows:
            found.setdefault((user, scope), ({}, at_ms))[0][label] = (operation, run)
        return [ConversationLabels(user, scope, labels, at_ms) for (user, scope), (labels, at_ms) in found.items()][:_MAX_LIST]

    async def clear(self, principal: Principal, scope: str, *, by: str, reason: str, now_ms: int) -> Cleared:
        """Take the labels off, for the runs that begin from now on. Raises `NotFound`, `InvalidInput`."""
        if not reason.strip() or len(reason) > MAX_REASON_CHARS:
            raise InvalidInput(f"labels are cleared with a reason of 1 to {MAX_REASON_CHARS} characters", fix='--reason "read them all; harmless"')
        known = await self._of(principal, scope)
        held = known.labels
        if not held:
            raise NotFound(f"conversation {scope[:100]!r} of {principal.user} carries no labels", fix="see `inhabit labels list`")
        cleared = Cleared(principal.user, scope, tuple(sorted(held)), by, reason, now_ms)
        where = (principal.tenant, principal.user, scope)
        await self._database.writer.perform(lambda c: self._clear(c, where, cleared))
        held.clear()
        known.kept.clear()
        return cleared

    async def prune(self, before_ms: int) -> int:
        """Forget conversations that nobody took up since, and clearings older than that. How many rows went."""
        unused_ms = before_ms - _DAY_MS    # when one was used is kept to the day
        gone = await self._database.writer.perform(lambda c: self._drop_old(c, before_ms, unused_ms))
        for key in [key for key, held in self._known.items() if held.used_ms < unused_ms]:
            del self._known[key]    # what is not on disk must not be taken for known
        return gone

    def _clear(self, connection: sqlite3.Connection, where: tuple[str, str, str], cleared: Cleared) -> None:
        salt = new_salt()
        row = (*where, " ".join(cleared.labels), cleared.by, cleared.reason, cleared.at_ms)
        connection.execute("DELETE FROM conversations WHERE tenant = ? AND user = ? AND scope = ?", where)
        position = self._database.audit.note(connection, {"labels_cleared": clearing_hash(salt, row)})
        connection.execute("INSERT INTO conversations_cleared (tenant, user, scope, labels, actor, reason, at_ms, position, salt)"
                           " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (*row, position, salt))

    def _drop_old(self, connection: sqlite3.Connection, before_ms: int, unused_ms: int) -> int:
        gone = drop_clearings(connection, self._database.audit, "at_ms < ?", (before_ms,), "retention")
        return gone + connection.execute(
            "DELETE FROM conversations WHERE (tenant, user, scope) IN (SELECT tenant, user, scope FROM conversations"
            " GROUP BY tenant, user, scope HAVING max(used_ms) < ?)", (unused_ms,)).rowcount

    async def cleared(self, *, tenant: str) -> Sequence[Cleared]:
        """What people took off, and why; the newest first."""
        rows = await self._database.read(lambda c: c.execute(
            "SELECT user, scope, labels, actor, reason, at_ms FROM conversations_cleared WHERE tenant = ? ORDER BY at_ms DESC LIMIT ?",
            (tenant, _MAX_LIST)).fetchall())
        return [Cleared(user, scope, tuple(labels.split()), by, reason, at_ms) for user, scope, labels, by, reason, at_ms in rows]

    async def _of(self, principal: Principal, scope: str) -> _Held:
        key = (principal.tenant, principal.user, scope)
        held = self._known.get(key)
        if held is None:
            await self._database.writer.flush()
            rows = await self._database.read(lambda c: c.execute(
                "SELECT label, operation, used_ms FROM conversations WHERE tenant = ? AND user = ? AND scope = ?", key).fetchall())
            held = self._known.setdefault(key, _Held({}, max((used_ms for _, _, used_ms in rows), default=0)))
            for label, operation, _ in rows:
                held.labels.setdefault(label, operation)
                held.kept.add(label)
        self._known.move_to_end(key)
        if len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return held
