"""Plans as every door sees them: the change set of one, applying it, dropping it.

A plan is used once: the run that applies it, or that records that it was dropped, is begun for it and there is never a
second one. The change set stands as call 0 in that run's journal, and where a write of it would be asked or held live, that
call is what a person is asked about, once for all. Who may answer is the desk's to say, as for every call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from inhabit.contracts.result import RunResult
from inhabit.contracts.run import Asked, Entry, Intent, RunHeader, RunRecord, Suspended, Terminal, Ticket
from inhabit.errors import InhabitError, InvalidInput, NotFound
from inhabit.kernel.grants import Grant
from inhabit.runtime.asking import question
from inhabit.runtime.changes import APPLY, PLANNED, change_set
from inhabit.runtime.driving import Live
from inhabit.runtime.rechecking import conflicting
from inhabit.runtime.service import Caller, Runtime
from inhabit.wire.values import encode_value

__all__ = ["PlanConflict", "PlanUsed", "Plans"]


class PlanUsed(InhabitError):
    """The plan was applied or dropped before."""

    code = "already_applied"
    status = 409


class PlanConflict(InhabitError):
    """What the plan rests on is another now. Nothing was written."""

    code = "plan_conflict"
    status = 409


class Plans:
    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._taken: set[str] = set()

    async def show(self, run_id: str, caller: Caller) -> Mapping[str, Any]:
        """The change set; `used` when it was applied or dropped. Raises `NotFound`, `InvalidInput`."""
        record = await self._record(run_id, caller)
        changes = self._changes(record)
        used = await self._used(run_id, caller)
        if used is None:
            return changes
        summary = await self._runtime.parts.journal.summary(used, tenant=caller.principal.tenant)
        return {**changes, "used": {"run": used, "state": summary.state}}

    async def apply(self, run_id: str, caller: Caller, *, digest: str, wait_s: float | None = None) -> RunResult:
        """Do what the plan would do, as a run of its own whose writes are exactly those of its change set. `digest`: its hash
        as the caller was shown it. Raises `NotFound`, `InvalidInput`, `PlanUsed`, `PlanConflict`, `Denied`, `TooMany`, `Unavailable`.
        """
        record = await self._record(run_id, caller)
        changes = self._changes(record)
        self._current(changes, digest)
        driving = self._runtime.driving
        seat = driving.seat(caller.principal)   # refused like any run where the share is in use
        try:
            await self._take(run_id, caller)
            try:
                header = replace(self._header(record.header, caller, Grant.from_value(record.header.grant).within(caller.grant)),
                                 labels=await self._labels(record.header))
                live = await self._applied(header, changes)
            finally:
                self._taken.discard(run_id)
        finally:
            seat.leave()
        return await driving.result(live, wait_s) if live is not None else await self._runtime.wait(header.run_id, caller)

    async def _applied(self, header: RunHeader, changes: Mapping[str, Any]) -> Live | None:
        """The run that applies them, begun; None where it waits for people, or was over at once."""
        driving = self._runtime.driving
        conflicts = await driving.recheck(header, changes, driving.admission.beside())
        if conflicts:
            raise PlanConflict(conflicting(conflicts), fix="plan again", details={"conflicts": conflicts})
        begun, asked = self._begin(header, changes)
        # A caller who is cancelled now would leave a run behind that nobody drives, and a plan that is used up.
        return await asyncio.shield(driving.kept(self._driven(header, begun, asked), f"apply {header.run_id}"))

    async def _labels(self, plan: RunHeader) -> tuple[tuple[str, str], ...]:
        """What the plan began with, and what its conversation has read since: who applies it may have been told to."""
        since = await self._runtime.parts.conversations.labels(plan.principal, plan.conversation) if plan.conversation else ()
        return tuple({**dict(since), **dict(plan.labels)}.items())

    async def drop(self, run_id: str, caller: Caller) -> None:
        """Never apply it. Raises what `apply` raises."""
        record = await self._record(run_id, caller)
        await self._take(run_id, caller)
        try:
            header = self._header(record.header, caller, Grant.nothing())
            journal, now = self._runtime.parts.journal, self._runtime.parts.now_ms()
            journal.begin(header)
            dropped = {"code": "plan_dropped", "message": f"the plan was dropped by {caller.principal}", "retryable": False, "effect": "none"}
            await journal.append(header.run_id, Terminal("rejected", encode_value(dropped), now)).durable()
        finally:
            self._taken.discard(run_id)

    async def _driven(self, header: RunHeader, begun: Ticket, asked: Asked | None) -> Live | None:
        """None where a person is asked first."""
        parts = self._runtime.parts
        await begun.durable()
        if asked is not None:
            parts.questions.asked(header.run_id, header.principal, asked)
            return None
        return await self._runtime.driving.take_up(await parts.journal.read(header.run_id, tenant=header.principal.tenant), checked=True)

    def _begin(self, header: RunHeader, changes: Mapping[str, Any]) -> tuple[Ticket, Asked | None]:
        """In one step, so that nobody finds a run without its change set."""
        parts = self._runtime.parts
        now, body = parts.now_ms(), encode_value(changes, canonical=True)
        ask = changes["asks"]
        rule = next((write["rule"] for write in changes["writes"] if write["rule"] != PLANNED), PLANNED)
        decision = {"verdict": "ask" if ask else "allow", "rule": rule, "reason": f"a change set of {len(changes['writes'])} writes"}
        intent = Intent(0, APPLY, body, decision, changes["hash"], f"{header.run_id}:0", False, True, now)
        entries: list[Entry] = [intent]
        asked: Asked | None = None
        if ask:
            parts.questions.admit(header.run_id, header.principal.tenant)
            asked = question(header.run_id, intent, now, max(0, changes["expires_ms"] - now))
            entries += [asked, Suspended(now, {})]
        parts.journal.begin(header)
        return parts.journal.append(header.run_id, *entries), asked

    def _header(self, plan: RunHeader, caller: Caller, grant: Grant) -> RunHeader:
        """The same program with the same input and seed. The policy is the one in force when it runs."""
        parts = self._runtime.parts
        return replace(
            plan, run_id=parts.new_run_id(), clock_ms=parts.now_ms(), grant=grant.as_value(), origin=caller.door, mode="apply",
            plan=plan.run_id, parent_run=plan.run_id, token=caller.token, policy_version=parts.control.policy(plan.principal).version)

    async def _record(self, run_id: str, caller: Caller) -> RunRecord:
        run = await self._runtime.visible(run_id, caller)
        if run.principal != caller.principal:
            raise NotFound(f"no run {run_id}", fix="see `inhabit runs list`")
        return await self._runtime.parts.journal.read(run_id, tenant=caller.principal.tenant)

    def _changes(self, record: RunRecord) -> dict[str, Any]:
        return change_set(record, self._runtime.parts.directory.operation, self._runtime.parts.control.approval_ms)

    def _current(self, changes: Mapping[str, Any], digest: str) -> None:
        if digest != changes["hash"]:
            raise InvalidInput("this is not the change set that you were shown", code="plan_changed", fix="look at it again: inhabit plan show")
        if self._runtime.parts.now_ms() >= changes["expires_ms"]:
            raise InvalidInput("the plan is too old to be applied", code="plan_expired", fix="plan again")
        if not changes["writes"]:
            raise InvalidInput("the plan writes nothing", code="plan_empty", fix="its result is all there is")

    async def _take(self, run_id: str, caller: Caller) -> None:
        if run_id in self._taken:
            raise PlanUsed(f"plan {run_id} is being applied or dropped", fix="plan again")
        self._taken.add(run_id)   # before the look into the journal: who looked before the other wrote would find nothing there
        try:
            if (used := await self._used(run_id, caller)) is not None:
                raise PlanUsed(f"plan {run_id} is already applied or dropped, by run {used}", fix="plan again")
        except BaseException:
            self._taken.discard(run_id)
            raise

    async def _used(self, run_id: str, caller: Caller) -> str | None:
        return await self._runtime.parts.journal.child(run_id, "isolate", tenant=caller.principal.tenant)
