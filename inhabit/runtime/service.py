"""The runtime as every door sees it: search, execute, wait, cancel. Doors add transport and nothing else.

A caller sees the runs of its own tenant and user, within its authority (`visibility`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from inhabit.contracts.connector import ConnectorProblem
from inhabit.contracts.principal import Principal
from inhabit.contracts.program import Isolate, Prepared, Program
from inhabit.contracts.result import RunResult
from inhabit.contracts.run import (
    Decided,
    Mode,
    RunHeader,
    RunKind,
    RunState,
    RunSummary,
    Ticket,
)
from inhabit.errors import (
    Denied,
    InhabitError,
    InvalidInput,
    LimitExceeded,
    NotFound,
    WorkerLost,
)
from inhabit.kernel.grants import Grant
from inhabit.limits import Limits
from inhabit.runtime.check import Checker, language_of
from inhabit.runtime.conversations import had_read
from inhabit.runtime.driving import REPLAYS, Driving
from inhabit.runtime.parts import Parts
from inhabit.runtime.rollback import RUNG, Steps, steps_of
from inhabit.runtime.spelled import SpelledCall, spelled_calls
from inhabit.runtime.tally import Tally
from inhabit.runtime.visibility import RunPage, Sight, visible_page
from inhabit.wire.values import TOO_MANY_ITEMS, encode_value

__all__ = ["Caller", "Parts", "Runtime"]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, with what authority, through which door ("python", "cli", "http", "mcp", "tools"). `attended`: a person can be
    asked about calls. `conversation`: what the asker keeps in mind from run to run, "" where it is no model.
    `token`: the id of their bearer token, "" where there is none: what it started ends when it is revoked.
    `closed`: whoever wrote the program and its input had read nothing of strangers but what this conversation has.
    """

    principal: Principal
    grant: Grant
    door: str = "python"
    attended: bool = False
    conversation: str = ""
    token: str = ""
    closed: bool = False


class Runtime:
    """Search and execute over everything that was connected."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self._checker = Checker(parts.directory.catalog)
        self.driving = Driving(parts)
        self._undoing: set[str] = set()
        self._started_ms = parts.now_ms()

    async def start(self) -> None:
        """Start the workers and settle what an earlier process left unfinished. Without it, records can be read and
        operations searched, and no program runs."""
        await self.parts.pool.start()
        await self.driving.start()

    async def stop(self) -> None:
        """Stop driving. Unfinished runs stay as they are in the journal and are settled at the next start."""
        await self.driving.stop()
        await self.parts.pool.close()

    @property
    def live(self) -> frozenset[str]:
        """Runs that are being driven or woken."""
        return self.driving.names

    @property
    def tally(self) -> Tally:
        return self.driving.tally

    async def search(self, query: str, caller: Caller, *, language: str = "typescript", budget_tokens: int = 1_500) -> str:
        """Declarations the caller may use, as text for a model."""
        found = self.parts.directory.catalog.search(
            query, language=language_of("", language), visible=caller.grant.shows, budget_tokens=budget_tokens,
            tenant=caller.principal.tenant)
        return found.text

    async def execute(self, source: str, caller: Caller, *, language: str | None = None, input: Any = None,
                      limits: Mapping[str, Any] | None = None, wait_s: float | None = None,
                      progress: Callable[[str], None] = lambda _text: None, mode: Mode = "live") -> RunResult:
        """Check and run a program, or in mode `plan` find out what it would write. Returns when it ends or after `wait_s`
        seconds, whichever is first; the run goes on in the second case. Raises `ProgramError` when nothing ran,
        `InvalidInput` for bad arguments, `TooMany` when the caller's share of live runs is in use.
        """
        program = Program(source, language_of(source, language))
        bounds = self.parts.limits.narrowed(limits)
        body = _input_body(input, bounds)
        names = self.parts.directory.catalog.namespaces(caller.grant.shows)
        labels = await self.parts.conversations.labels(caller.principal, caller.conversation) if caller.conversation else ()
        seat = self.driving.seat(caller.principal)
        try:
            isolate, prepared = await self._checked(program, caller, names, bounds)
            try:
                await self.parts.stores.ready(caller.principal.tenant)
                spelled = self._spelled(prepared, caller, labels)
                header = replace(self._header(program, prepared, caller, names, body, bounds, isolate.engine_version),
                                 mode=mode, labels=labels, spelled=spelled)
                await self._still(header)
                begun = self.parts.journal.begin(header)
            except BaseException:
                await isolate.close()
                raise
        except BaseException:
            seat.leave()
            raise
        live = self.driving.drive(header, isolate, caller.grant, bounds, seat, progress=progress)
        result = await self.driving.result(live, wait_s)
        await begun.durable()   # a run id that was answered is never lost
        return result

    async def undoing(self, run_id: str, caller: Caller) -> Mapping[str, Any]:
        """What a rollback of the run would do, and what would stand: `rollback.steps_of`. Raises `NotFound`, `InvalidInput`."""
        run = await self.visible(run_id, caller)
        if run.ended_ms is None:
            raise InvalidInput(f"run {run_id} has not ended", fix="wait for it, or cancel it first")
        record = await self.parts.journal.read(run_id, tenant=caller.principal.tenant)
        if record.header.rung == RUNG:
            raise InvalidInput(f"run {run_id} is itself a rollback", fix="run the program again")
        return steps_of(record, self.parts.directory.operation)

    async def rollback(self, run_id: str, caller: Caller, *, wait_s: float | None = None) -> RunResult:
        """Undo the writes of an ended run, as a run of its own with the caller's authority: its id is the result's. Each run
        is rolled back once. Raises `NotFound`, `InvalidInput`, `Unavailable`.
        """
        plan = await self.undoing(run_id, caller)
        labels = await self._learnt(run_id, caller)     # its reverts speak in the words of the run that it undoes
        again = InvalidInput(f"run {run_id} is rolled back already", code="already_rolled_back", fix="see `inhabit runs list`")
        if run_id in self._undoing:
            raise again
        self._undoing.add(run_id)   # before the look into the journal: two askers would both find nothing there
        try:
            if await self.parts.journal.child(run_id, RUNG, tenant=caller.principal.tenant):
                raise again
            steps = Steps(plan)
            program = Program(f"rollback of run {run_id}", "typescript")
            header = replace(
                self._header(program, Prepared(""), caller, (), encode_value(plan), self.parts.limits, steps.engine_version),
                rung=RUNG, parent_run=run_id, labels=labels)
            await self._still(header)
            seat = self.driving.seat(caller.principal)
            try:
                begun = self.parts.journal.begin(header)
            except BaseException:
                seat.leave()
                raise
            live = self.driving.drive(header, steps, caller.grant, self.parts.limits, seat)
            result = await self.driving.result(live, wait_s)
            await begun.durable()
        finally:
            self._undoing.discard(run_id)
        return result

    async def wait(self, run_id: str, caller: Caller, *, wait_s: float = 0.0) -> RunResult:
        """Raises `NotFound`."""
        live = self.driving.live.get(run_id)
        if live is not None:
            self._see(run := live.header, caller)
            result = await self.driving.result(live, wait_s)
        else:
            run = await self.visible(run_id, caller)
            result = await self.driving.recorded(run)
        await self._heard(run, caller)
        return result

    async def visible(self, run_id: str, caller: Caller) -> RunSummary:
        """The run, if this caller may open it. Raises `NotFound`: every door asks here before it reads a record."""
        summary = await self.parts.journal.summary(run_id, tenant=caller.principal.tenant)
        self._see(summary, caller)
        return summary

    async def list(self, caller: Caller, *, state: RunState | None = None, kind: RunKind | None = None, before: str | None = None,
                   limit: int = 50) -> RunPage:
        """Runs that the caller may open, newest first, and no others."""
        principal = caller.principal

        async def older(than: str | None, most: int) -> Sequence[RunSummary]:
            return await self.parts.journal.list(tenant=principal.tenant, user=principal.user, state=state, before=than, limit=most)

        return await visible_page(older, self._sight(caller), before, limit, kind)

    async def cancel(self, run_id: str, caller: Caller, *, by: str = "its owner") -> RunResult:
        """Stop a run, whose record says `by` whom; calls in flight that may write make it `unknown`. Raises `NotFound`."""
        live = self.driving.live.get(run_id)
        if live is not None:
            self._see(live.header, caller)
            self.driving.cancel(live, by)
        elif (await self.visible(run_id, caller)).ended_ms is None:
            await self.driving.end_left(run_id, caller.principal.tenant, by)
        return await self.wait(run_id, caller, wait_s=10.0)

    async def resume(self, run_id: str, caller: Caller, *, wait_s: float = 10.0) -> RunResult:
        """Try again to go on with a parked run. Raises `NotFound`, `InvalidInput` for a run that is not parked, and what `execute`
        raises where the caller's share of live runs is in use."""
        run = await self.visible(run_id, caller)
        if run.state != "parked":
            raise InvalidInput(f"run {run_id} is {run.state}, not parked", code="not_parked", fix="only what is parked can be taken up again")
        seat = self.driving.seat(run.principal)    # like one more run: it may take a place only where there is one
        try:
            await self.driving.resume(run_id, caller.principal.tenant)
        finally:
            seat.leave()    # it has one of its own by now, or sleeps
        return await self.wait(run_id, caller, wait_s=wait_s)

    async def revoke(self, tokens: Iterable[str]) -> None:
        """When this returns, no run that these tokens started makes a call any more."""
        await self.driving.revoke(tokens)

    def decide(self, run: RunHeader | RunSummary, decided: Decided) -> Ticket:
        """Record a person's answer and let the run go on with it. The ticket is the acknowledgement."""
        return self.driving.decide(run, decided)

    def unmatched(self, grant: Grant, visible: Grant) -> Sequence[str]:
        """What of a grant grants nothing now, in words, with the nearest that `visible` shows. A source that comes later may
        have them: that is no error.
        """
        names = [name for name in self.parts.directory.catalog.names() if visible.shows(name)]
        patterns = dict.fromkeys(clause.pattern for layer in grant.layers for clause in layer if not any(map(clause.matches, names)))
        found: list[str] = []
        for pattern in patterns:
            stem, stars = pattern.rstrip("*").rstrip("."), pattern[len(pattern.rstrip("*")):]
            heads = sorted({name[:at] for name in names for at, character in enumerate(name) if character == "."}) if stars else ()
            near = [f"{head}.{stars}" for head in get_close_matches(stem, heads)] or self.parts.directory.nearest(stem, visible.shows)
            found.append(f"{pattern} matches no operation that there is now" + (f"; the nearest are {', '.join(near)}" if near else ""))
        return found

    def capabilities(self, caller: Caller) -> Sequence[Mapping[str, Any]]:
        """`[{name, operations, problems}]`, only what the caller's grant shows."""
        shown: dict[str, int] = {}
        for name in self.parts.directory.catalog.names():
            if caller.grant.shows(name):
                root = name.split(".", 1)[0]
                shown[root] = shown.get(root, 0) + 1
        problems: dict[str, list[ConnectorProblem]] = {}
        for connector in self.parts.directory.connectors.values():
            problems.setdefault(connector.name.split(".", 1)[0], []).extend(connector.problems())
        return [{"name": name, "operations": count,
                 "problems": [{"pointer": p.pointer, "reason": p.reason} for p in problems.get(name, ())]}
                for name, count in sorted(shown.items())]

    def health(self) -> Mapping[str, Any]:
        failure = self.parts.journal.failure
        return {"status": "ok" if failure is None else f"no runs: {failure.message}", "policy": self.parts.control.trouble(), "uptime_s": (self.parts.now_ms() - self._started_ms) // 1000, "live_runs": self.driving.admission.live,
                "operations": sum(1 for _ in self.parts.directory.catalog.names())}

    def gauges(self) -> Mapping[str, int]:
        """Numbers of this moment, for `GET /v1/metrics`."""
        return {"live_runs": self.driving.admission.live, "live_runs_limit": self.parts.live_runs.live_runs,
                "operations": sum(1 for _ in self.parts.directory.catalog.names()),
                "uptime_seconds": (self.parts.now_ms() - self._started_ms) // 1000,
                "journal_failed": int(self.parts.journal.failure is not None),
                "pending_approvals": self.parts.questions.open,
                "policy_failed": int(bool(self.parts.control.trouble())), **self.parts.journal.gauges()}

    # -- inside -------------------------------------------------------------------------------------------

    async def _heard(self, run: RunHeader | RunSummary, caller: Caller) -> None:
        """A run of another conversation that is shown in the caller's: what it has read, that one has read from now on."""
        scope = caller.conversation
        if scope and run.conversation != scope:
            labels = had_read(await self.parts.journal.read(run.run_id, tenant=caller.principal.tenant))
            await self.parts.conversations.join(caller.principal, scope, run.run_id, labels, self.parts.now_ms())

    async def _learnt(self, run_id: str, caller: Caller) -> tuple[tuple[str, str], ...]:
        """What a run has read, and the caller's conversation."""
        record = await self.parts.journal.read(run_id, tenant=caller.principal.tenant)
        return had_read(record, await self.parts.conversations.labels(caller.principal, caller.conversation) if caller.conversation else ())

    async def _checked(self, program: Program, caller: Caller, names: tuple[str, ...], bounds: Limits) -> tuple[Isolate, Prepared]:
        """An isolate and the program made ready for it. Nothing has run yet, so a worker that died of another guest
        is replaced by another one.
        """
        for attempt in range(REPLAYS + 1):
            isolate = await self.parts.pool.acquire(program.language, caller.principal.tenant, bounds)
            try:
                prepared = await self._checker.check(program, isolate, names, caller.grant.shows, bounds, caller.principal.tenant)
            except BaseException as error:
                await isolate.close()
                if type(error) is not WorkerLost or attempt == REPLAYS:
                    raise
            else:
                return isolate, prepared
        raise AssertionError("unreachable")

    async def _still(self, header: RunHeader) -> None:
        """The last wait before a run begins: raises `Denied` if the caller's token was revoked meanwhile."""
        if not await self.driving.alive(header):
            raise Denied("the token was revoked", code="token_revoked")

    def _spelled(self, prepared: Prepared, caller: Caller, labels: Sequence[tuple[str, str]]) -> Sequence[SpelledCall] | None:
        """The calls that a program spells out, where its author has read nothing of strangers; else None."""
        if not caller.closed or any(name == "untrusted" for name, _ in labels):
            return None
        return spelled_calls(prepared.calls, self.parts.directory.operation)

    def _see(self, run: RunHeader | RunSummary, caller: Caller) -> None:
        """A run that the caller may not see is answered like one that does not exist."""
        if not self._sight(caller).sees(run):
            raise NotFound(f"no run {run.run_id}", fix="see `inhabit runs list`")

    def _sight(self, caller: Caller) -> Sight:
        return Sight(caller.principal, caller.grant, self.parts.directory.catalog.names)

    def _header(self, program: Program, prepared: Prepared, caller: Caller, names: tuple[str, ...], body: bytes,
                bounds: Limits, engine: str) -> RunHeader:
        now = self.parts.now_ms()
        return RunHeader(
            run_id=self.parts.new_run_id(), principal=caller.principal, language=program.language, program_hash=program.hash,
            source=program.source, code=prepared.code, input=body, engine=engine, seed=self.parts.random_seed(),
            clock_ms=now, names=names, grant=caller.grant.as_value(), limits=bounds.as_value(), origin=caller.door,
            policy_version=self.parts.control.policy(caller.principal).version, attended=caller.attended, conversation=caller.conversation,
            token=caller.token)

def _input_body(input: Any, bounds: Limits) -> bytes:
    try:
        body = encode_value(input, max_items=bounds.value_items)
    except InhabitError as error:
        if error.specific_code == TOO_MANY_ITEMS:
            raise LimitExceeded.of("value_items", bounds.value_items, "items", what="the input") from None
        raise InvalidInput(f"input is not JSON data: {error.message}") from None
    if len(body) > bounds.input_bytes:
        raise LimitExceeded.of("input_bytes", bounds.input_bytes, "bytes", what="the input")
    return body
