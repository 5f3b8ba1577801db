"""Labels of conversations: what a model has read in the runs whose results it was given.

A conversation is a scope that a door names: an MCP session, else the token, or a name that an HTTP client gives. What it
has read it keeps in mind, whatever the next program looks like; so its runs begin with the labels of those before.

Invariants
- Labels only grow; a person takes them off, with a reason, and that stays on record here.
- They are committed with the end of the run that brought them, before its result is answered.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from inhabit.contracts.principal import Principal
from inhabit.contracts.run import Write
from inhabit.errors import InvalidInput, NotFound
from inhabit.store.database import Database

__all__ = ["MAX_REASON_CHARS", "Cleared", "ConversationLabels", "Conversations"]

MAX_REASON_CHARS = 500
_KEPT = 10_000
_MAX_LIST = 500
_JOIN = "INSERT INTO conversations VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"

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


class Conversations:
    """Implements `runtime.conversations.Conversations`. What was used lately is in memory, which holds all that was joined."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: OrderedDict[tuple[str, str, str], dict[str, str]] = OrderedDict()

    async def labels(self, principal: Principal, scope: str) -> tuple[tuple[str, str], ...]:
        return tuple((await self._of(principal, scope)).items())

    def writes(self, principal: Principal, scope: str, run_id: str, labels: Labels, now_ms: int) -> tuple[Write, ...]:
        """What a run brings that the conversation had not: to be committed with the run's end."""
        held = self._known.setdefault((principal.tenant, principal.user, scope), {})
        fresh = [(name, operation) for name, operation in labels if name not in held]
        held.update(fresh)
        return tuple(Write(_JOIN, (principal.tenant, principal.user, scope, name, operation, run_id, now_ms)) for name, operation in fresh)

    async def join(self, principal: Principal, scope: str, run_id: str, labels: Labels, now_ms: int) -> None:
        """The same for a run that goes on, of which something is shown already. On disk when this returns."""
        writes = self.writes(principal, scope, run_id, labels, now_ms)
        if writes:
            await self._database.writer.perform(lambda c: [c.execute(write.sql, write.values) for write in writes])

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
        held = await self._of(principal, scope)
        if not held:
            raise NotFound(f"conversation {scope[:100]!r} of {principal.user} carries no labels", fix="see `inhabit labels list`")
        cleared = Cleared(principal.user, scope, tuple(sorted(held)), by, reason, now_ms)
        where = (principal.tenant, principal.user, scope)
        await self._database.writer.perform(lambda c: (
            c.execute("DELETE FROM conversations WHERE tenant = ? AND user = ? AND scope = ?", where),
            c.execute("INSERT INTO conversations_cleared VALUES (?, ?, ?, ?, ?, ?, ?)",
                      (*where, " ".join(cleared.labels), by, reason, now_ms))))
        held.clear()
        return cleared

    async def cleared(self, *, tenant: str) -> Sequence[Cleared]:
        """What people took off, and why; the newest first."""
        rows = await self._database.read(lambda c: c.execute(
            "SELECT user, scope, labels, actor, reason, at_ms FROM conversations_cleared WHERE tenant = ? ORDER BY at_ms DESC LIMIT ?",
            (tenant, _MAX_LIST)).fetchall())
        return [Cleared(user, scope, tuple(labels.split()), by, reason, at_ms) for user, scope, labels, by, reason, at_ms in rows]

    async def _of(self, principal: Principal, scope: str) -> dict[str, str]:
        key = (principal.tenant, principal.user, scope)
        held = self._known.get(key)
        if held is None:
            await self._database.writer.flush()
            rows = await self._database.read(lambda c: c.execute(
                "SELECT label, operation FROM conversations WHERE tenant = ? AND user = ? AND scope = ?", key).fetchall())
            held = self._known.setdefault(key, {})
            for label, operation in rows:
                held.setdefault(label, operation)
        self._known.move_to_end(key)
        if len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return held
