"""The runtime as every door sees it: search, execute, wait, cancel. Doors add transport and nothing else.

A run lives in `_live` while this process drives it; what is not there is read from the journal. A caller sees
the runs of its own tenant and user, within its authority (`visibility`).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from inhabit.contracts.clock import now_ms
from inhabit.contracts.connector import ConnectorProblem
from inhabit.contracts.json import is_object
from inhabit.contracts.principal import Principal
from inhabit.contracts.program import Isolate, IsolatePool, LogLine, Prepared, Program
from inhabit.contracts.result import RunResult
from inhabit.contracts.run import (
    Asked,
    Blobs,
    Decided,
    Journal,
    RunEnding,
    RunHeader,
    RunRecord,
    RunState,
    RunSummary,
    Suspended,
    Terminal,
    Ticket,
)
from inhabit.errors import (
    Denied,
    InhabitError,
    InvalidInput,
    LimitExceeded,
    NotFound,
    TooMany,
    Unavailable,
    WorkerLost,
)
from inhabit.kernel.decide import RunFacts
from inhabit.kernel.flow import Labels, labelled
from inhabit.kernel.grants import Grant
from inhabit.limits import DEFAULT_LIMITS, LIVE_RUNS, Limits, LiveRuns
from inhabit.runtime.admission import Admission, Seat
from inhabit.runtime.bridge import Bridge
from inhabit.runtime.check import Checker, language_of
from inhabit.runtime.context import NO_CONTROL, Control, RunContext
from inhabit.runtime.conversations import NO_CONVERSATIONS, Conversations, brought
from inhabit.runtime.directory import ConnectedCatalog
from inhabit.runtime.driver import RunDriver
from inhabit.runtime.endings import called_off, given_up, parked
from inhabit.runtime.questions import OpenQuestions
from inhabit.runtime.recording import Recording, doubtful
from inhabit.runtime.results import bounded
from inhabit.runtime.rollback import RUNG, Steps, steps_of
from inhabit.runtime.tally import Counting, Tally
from inhabit.runtime.visibility import RunPage, Sight, visible_page
from inhabit.wire.values import TOO_MANY_ITEMS, decode_value, encode_value

__all__ = ["Caller", "Parts", "Runtime"]

_log = logging.getLogger(__name__)
_REPLAYS = 2
"""How often a run is taken up again when its worker died while it was this run's turn."""
_MOVES = 20
"""How often in all: a neighbour's fault is not counted against a run, but nothing goes on without a bound."""
_COSTLY_BYTES = 128 * 1024
_KEPT_RESULTS = 64
"""Cut results of ended runs that are costly to cut again, for clients that ask for one over and over."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, with what authority, through which door ("python", "cli", "http", "mcp", "tools"). `attended`: a person can be
    asked about calls. `conversation`: what the asker keeps in mind from run to run, "" where it is no model.
    `token`: the id of their bearer token, "" where there is none: what it started ends when it is revoked.
    """

    principal: Principal
    grant: Grant
    door: str = "python"
    attended: bool = False
    conversation: str = ""
    token: str = ""


async def _always(_header: RunHeader) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Parts:
    """What `app.py` joins. `now_ms` and `random_seed` are passed in, so that tests own time and chance."""

    directory: ConnectedCatalog
    pool: IsolatePool
    journal: Journal
    blobs: Blobs
    new_run_id: Callable[[], str]
    limits: Limits = DEFAULT_LIMITS
    now_ms: Callable[[], int] = now_ms
    random_seed: Callable[[], int] = lambda: secrets.randbits(53)
    live_runs: LiveRuns = LIVE_RUNS
    control: Control = NO_CONTROL
    conversations: Conversations = NO_CONVERSATIONS
    questions: OpenQuestions = field(default_factory=OpenQuestions)
    alive: Callable[[RunHeader], Awaitable[bool]] = _always


@dataclass(slots=True)
class _Live:
    """A run in a driver's hands. `woken`: an answer came when the driver had just gone to sleep."""

    task: asyncio.Task[Terminal | Suspended]
    driver: RunDriver
    header: RunHeader
    seat: Seat
    cancelled: bool = False
    woken: bool = False


class Runtime:
    """Search and execute over everything that was connected."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self._checker = Checker(parts.directory.catalog)
        self.tally = Tally()
        self._recorder = Counting(parts.journal, self.tally)
        self._bridge = Bridge(parts.directory, self._recorder, parts.blobs, parts.now_ms, parts.control)
        self._live: dict[str, _Live] = {}
        self._undone: set[str] = set()
        self._waking: dict[str, list[Decided]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._admission = Admission(parts.live_runs)
        self._revoked: set[str] = set()
        self._results: OrderedDict[str, RunResult] = OrderedDict()
        self._started_ms = parts.now_ms()

    async def start(self) -> None:
        """Start the workers and settle what an earlier process left unfinished. Without it, records can be read and
        operations searched, and no program runs."""
        await self.parts.pool.start()
        async for record in self.parts.journal.unfinished():
            await self._take_up(record)

    async def stop(self) -> None:
        """Stop driving. Unfinished runs stay as they are in the journal and are settled at the next start."""
        tasks = [*self._tasks, *(live.task for live in self._live.values())]
        for live in self._live.values():
            live.driver.leave()
            live.task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=10)
        await self.parts.pool.close()

    @property
    def live(self) -> frozenset[str]:
        """Runs that are being driven or woken."""
        return frozenset((*self._live, *self._waking))

    async def search(self, query: str, caller: Caller, *, language: str = "typescript", budget_tokens: int = 1_500) -> str:
        """Declarations the caller may use, as text for a model."""
        found = self.parts.directory.catalog.search(
            query, language=language_of("", language), visible=caller.grant.shows, budget_tokens=budget_tokens,
            tenant=caller.principal.tenant)
        return found.text

    async def execute(self, source: str, caller: Caller, *, language: str | None = None, input: Any = None,
                      limits: Mapping[str, Any] | None = None, wait_s: float | None = None,
                      progress: Callable[[str], None] = lambda _text: None) -> RunResult:
        """Check and run a program. Returns when it ends or after `wait_s` seconds, whichever is first; the run
        goes on in the second case. Raises `ProgramError` when nothing ran, `InvalidInput` for bad arguments,
        `TooMany` when the caller's share of live runs is in use.
        """
        program = Program(source, language_of(source, language))
        bounds = self.parts.limits.narrowed(limits)
        body = _input_body(input, bounds)
        names = self.parts.directory.catalog.namespaces(caller.grant.shows)
        labels = await self.parts.conversations.labels(caller.principal, caller.conversation) if caller.conversation else ()
        seat = self._seat(caller.principal)
        try:
            isolate, prepared = await self._checked(program, caller, names, bounds)
            try:
                if caller.token in self._revoked:   # meanwhile
                    raise Denied("the token was revoked", code="token_revoked")
                header = replace(self._header(program, prepared, caller, names, body, bounds, isolate.engine_version), labels=labels)
                begun = self.parts.journal.begin(header)
            except BaseException:
                await isolate.close()
                raise
        except BaseException:
            seat.leave()
            raise
        live = self._drive(header, isolate, caller.grant, bounds, seat, progress=progress)
        result = await self._result(live, wait_s)
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
        if run_id in self._undone or await self.parts.journal.child(run_id, RUNG, tenant=caller.principal.tenant):
            raise InvalidInput(f"run {run_id} is rolled back already", code="already_rolled_back", fix="see `inhabit runs list`")
        self._undone.add(run_id)
        try:
            steps = Steps(plan)
            program = Program(f"rollback of run {run_id}", "typescript")
            header = replace(
                self._header(program, Prepared(""), caller, (), encode_value(plan), self.parts.limits, steps.engine_version),
                rung=RUNG, parent_run=run_id)
            seat = self._seat(caller.principal)
            begun = self.parts.journal.begin(header)
            live = self._drive(header, steps, caller.grant, self.parts.limits, seat)
            result = await self._result(live, wait_s)
            await begun.durable()
        finally:
            self._undone.discard(run_id)
        return result

    async def wait(self, run_id: str, caller: Caller, *, wait_s: float = 0.0) -> RunResult:
        """Raises `NotFound`."""
        live = self._live.get(run_id)
        if live is not None:
            self._see(live.header, caller)
            return await self._result(live, wait_s)
        return await self._recorded(await self.visible(run_id, caller))

    async def visible(self, run_id: str, caller: Caller) -> RunSummary:
        """The run, if this caller may open it. Raises `NotFound`: every door asks here before it reads a record."""
        summary = await self.parts.journal.summary(run_id, tenant=caller.principal.tenant)
        self._see(summary, caller)
        return summary

    async def list(self, caller: Caller, *, state: RunState | None = None, before: str | None = None, limit: int = 50) -> RunPage:
        """Runs that the caller may open, newest first, and no others."""
        principal = caller.principal

        async def older(than: str | None, most: int) -> Sequence[RunSummary]:
            return await self.parts.journal.list(tenant=principal.tenant, user=principal.user, state=state, before=than, limit=most)

        return await visible_page(older, self._sight(caller), before, limit)

    async def cancel(self, run_id: str, caller: Caller, *, by: str = "its owner") -> RunResult:
        """Stop a run, whose record says `by` whom; calls in flight that may write make it `unknown`. Raises `NotFound`."""
        live = self._live.get(run_id)
        if live is not None:
            self._see(live.header, caller)
            if not live.cancelled:   # a second one would interrupt the first one's clearing up, and no end be recorded
                live.cancelled = True
                live.driver.cancelled_by = by
                live.task.cancel()
        elif (await self.visible(run_id, caller)).ended_ms is None:
            await self._end_left(run_id, caller.principal.tenant, by)
        return await self.wait(run_id, caller, wait_s=10.0)

    async def revoke(self, tokens: Iterable[str]) -> None:
        """Tokens are revoked: when this returns, no run that they started makes a call any more. One that sleeps ends when
        somebody wakes it.
        """
        self._revoked.update(tokens)
        running = [live for live in self._live.values() if live.header.token in self._revoked]
        for live in running:
            if not live.cancelled:
                live.cancelled, live.driver.cancelled_by = True, "the end of the token that started it"
                live.task.cancel()
        if running:
            await asyncio.wait([live.task for live in running])

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
        return {"status": "ok" if failure is None else f"no runs: {failure.message}", "policy": self.parts.control.trouble(), "uptime_s": (self.parts.now_ms() - self._started_ms) // 1000, "live_runs": self._admission.live,
                "operations": sum(1 for _ in self.parts.directory.catalog.names())}

    def gauges(self) -> Mapping[str, int]:
        """Numbers of this moment, for `GET /v1/metrics`."""
        return {"live_runs": self._admission.live, "live_runs_limit": self.parts.live_runs.live_runs,
                "operations": sum(1 for _ in self.parts.directory.catalog.names()),
                "uptime_seconds": (self.parts.now_ms() - self._started_ms) // 1000,
                "journal_failed": int(self.parts.journal.failure is not None),
                "pending_approvals": self.parts.questions.open,
                "policy_failed": int(bool(self.parts.control.trouble())), **self.parts.journal.gauges()}

    # -- inside -------------------------------------------------------------------------------------------

    async def _checked(self, program: Program, caller: Caller, names: tuple[str, ...], bounds: Limits) -> tuple[Isolate, Prepared]:
        """An isolate and the program made ready for it. Nothing has run yet, so a worker that died of another guest
        is replaced by another one.
        """
        for attempt in range(_REPLAYS + 1):
            isolate = await self.parts.pool.acquire(program.language, caller.principal.tenant, bounds)
            try:
                prepared = await self._checker.check(program, isolate, names, caller.grant.shows, bounds, caller.principal.tenant)
            except BaseException as error:
                await isolate.close()
                if type(error) is not WorkerLost or attempt == _REPLAYS:
                    raise
            else:
                return isolate, prepared
        raise AssertionError("unreachable")

    def _seat(self, principal: Principal) -> Seat:
        try:
            return self._admission.enter(principal)
        except (TooMany, Unavailable) as refused:
            self.tally.refused[refused.details["limit"]] += 1
            raise

    def _see(self, run: RunHeader | RunSummary, caller: Caller) -> None:
        """A run that the caller may not see is answered like one that does not exist."""
        if not self._sight(caller).sees(run):
            raise NotFound(f"there is no run {run.run_id}")

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

    def _drive(self, header: RunHeader, isolate: Isolate, grant: Grant, bounds: Limits, seat: Seat, *,
               recording: Recording | None = None, progress: Callable[[str], None] = lambda _text: None) -> _Live:
        def driver(isolate: Isolate, recording: Recording | None) -> RunDriver:
            facts = RunFacts(header.run_id, header.principal, header.program_hash, header.language, header.origin, header.attended,
                             header.mode == "plan", history := [])
            context = RunContext(header.run_id, header.principal, grant, bounds, facts, labelled(header.labels),
                                 self.parts.control.ledger(header.principal.tenant), history=history)
            context.begin(header)
            context.remembered = lambda labels: self.parts.conversations.writes(
                header.principal, header.conversation, header.run_id, brought(header, labels), self.parts.now_ms())
            return RunDriver(header, context, isolate, self._bridge, self._recorder, self.parts.now_ms,
                             recording=recording, progress=progress, questions=self.parts.questions)

        first = driver(isolate, recording)
        task = asyncio.create_task(self._to_the_end(header, isolate, driver), name=f"run {header.run_id}")
        live = self._live[header.run_id] = _Live(task, first, header, seat)
        return live

    async def _to_the_end(self, header: RunHeader, isolate: Isolate, again: Callable[[Isolate, Recording], RunDriver]) -> Terminal | Suspended:
        """Drive; when the worker dies and this run did not ask for it, go on in a new one by replay. A run that waits for
        people leaves worker and seat behind.
        """
        live = self._live[header.run_id]
        losses: list[WorkerLost] = []
        try:
            while True:
                try:
                    last = await live.driver.drive()
                    if not live.woken:
                        return last
                    live.woken = False
                    await isolate.close()
                    record = await self.parts.journal.read(header.run_id, tenant=header.principal.tenant)
                except WorkerLost as lost:
                    losses.append(lost)
                    await isolate.close()
                    record = await self.parts.journal.read(header.run_id, tenant=header.principal.tenant)
                    if sum(not lost.neighbours for lost in losses) > _REPLAYS or len(losses) > _MOVES:
                        return await self._close_record(header, *given_up(record, losses))
                    _log.warning("run %s lost its worker and is replayed: %s", header.run_id, lost)
                isolate = await self._isolate_for(header, live.driver.limits)
                live.driver = again(isolate, Recording.of(record, self.parts.now_ms()))
        except WorkerLost as lost:   # there is no other worker to go on in
            record = await self.parts.journal.read(header.run_id, tenant=header.principal.tenant)
            return await self._close_record(header, *given_up(record, [*losses, lost]))
        finally:
            self._live.pop(header.run_id, None)
            if not live.driver.asleep:
                self.parts.questions.ended(header.run_id)
            live.seat.leave()
            await isolate.close()

    async def _result(self, live: _Live, wait_s: float | None) -> RunResult:
        done, _ = await asyncio.wait([live.task], timeout=wait_s)
        driver, run_id = live.driver, live.header.run_id
        await self._remember(live)
        if not done:
            return RunResult(run_id, "running", logs=tuple(driver.logs), calls=driver.call_count,
                             next=f"still running: call again with run={run_id!r} to go on waiting", approvals=tuple(driver.questions))
        if live.task.cancelled():   # by `stop`: who cancels a run gets its end, and this waiter was not cancelled itself
            raise Unavailable(f"the server stopped while run {run_id} went on", code="server_stopped",
                              fix=f"the next start takes it up: then ask for run {run_id}", details={"run": run_id})
        terminal = live.task.result()
        if isinstance(terminal, Suspended):
            return suspended_result(run_id, tuple(driver.logs), driver.logs_truncated, driver.call_count, driver.questions)
        return _ended(run_id, terminal, driver.limits.result_tokens, tuple(driver.logs), driver.logs_truncated, driver.call_count)

    async def _remember(self, live: _Live) -> None:
        """What the run has read is in its conversation before anything of it is shown."""
        read: Labels | None = None
        while live.header.conversation and live.driver.labels != read:
            read = live.driver.labels
            await self.parts.conversations.join(live.header.principal, live.header.conversation, live.header.run_id,
                                                brought(live.header, read), self.parts.now_ms())

    async def _recorded(self, run: RunSummary) -> RunResult:
        """The result of a run that nobody drives, as its journal has it."""
        kept = self._results.get(run.run_id)
        if kept is not None:
            return kept
        ending = await self.parts.journal.ending(run.run_id, tenant=run.principal.tenant)
        if run.state == "suspended":
            recording = Recording.of(await self.parts.journal.read(run.run_id, tenant=run.principal.tenant), self.parts.now_ms())
            waiting = [asked for sequence, asked in sorted(recording.asked.items()) if sequence not in recording.decided]
            logs = tuple(LogLine(entry.level, entry.text) for entry in ending.logs)  # type: ignore[arg-type]
            return suspended_result(run.run_id, logs, ending.logs_cut, run.calls, waiting)
        result = recorded_result(run, ending)
        if ending.terminal is not None and len(ending.terminal.value) > _COSTLY_BYTES:
            self._results[run.run_id] = result
            if len(self._results) > _KEPT_RESULTS:
                self._results.popitem(last=False)
        return result

    async def _take_up(self, record: RunRecord) -> _Live | None:
        """Settle a run that an earlier process left: go on by replay where that is safe, else say what is unknown."""
        header = record.header
        if header.token and (header.token in self._revoked or not await self.parts.alive(header)):
            await self._close_record(header, *called_off(record, "the end of the token that started it"))
            return None
        doubts = doubtful(record.entries)
        if doubts:
            error = {"code": "interrupted", "message": "the server stopped while calls that may write were in flight",
                     "retryable": False, "effect": "unknown", "details": {"unknown_calls": [
                         {"sequence": d.sequence, "operation": d.operation, "idempotency_key": d.idempotency_key} for d in doubts]}}
            await self._close_record(header, "unknown", error)
            return None
        try:
            bounds = Limits.of(header.limits)
            isolate = await self._isolate_for(header, bounds)
        except InhabitError as error:
            _log.warning("run %s cannot be taken up: %s", header.run_id, error)
            await self._park(record, str(error))
            return None
        if isolate.engine_version != header.engine:
            await isolate.close()
            await self._park(record, f"its engine {header.engine} is not here, {isolate.engine_version} is")
            return None
        seat = self._admission.seat(header.principal)
        recording = Recording.of(record, self.parts.now_ms())
        return self._drive(header, isolate, Grant.from_value(header.grant), bounds, seat, recording=recording)

    async def _isolate_for(self, header: RunHeader, bounds: Limits) -> Isolate:
        if header.rung == RUNG:
            return Steps(decode_value(header.input))
        return await self.parts.pool.acquire(header.language, header.principal.tenant, bounds)

    def decide(self, run: RunHeader | RunSummary, decided: Decided) -> Ticket:
        """Record a person's answer and let the run go on with it. The ticket is the acknowledgement."""
        ticket = self._recorder.append(run.run_id, decided)
        self.parts.questions.answered(run.run_id)
        live = self._live.get(run.run_id)
        if live is not None:
            live.woken = not live.driver.decided(decided)
        elif run.run_id in self._waking:
            self._waking[run.run_id].append(decided)
        else:
            self._waking[run.run_id] = []
            task = asyncio.create_task(self._wake(run.run_id, run.principal.tenant), name=f"wake {run.run_id}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return ticket

    async def _wake(self, run_id: str, tenant: str) -> None:
        """Take up a run that slept. Answers that come meanwhile are handed on."""
        try:
            live = await self._take_up(await self.parts.journal.read(run_id, tenant=tenant))
            for decided in self._waking[run_id]:
                if live is not None:
                    live.woken |= not live.driver.decided(decided)
        except InhabitError as error:
            _log.warning("run %s cannot be woken now; the next start takes it up: %s", run_id, error)
        finally:
            del self._waking[run_id]

    async def _end_left(self, run_id: str, tenant: str, by: str) -> None:
        """End a run that nobody drives: an earlier process left it, and this one only looks, or it could not be taken up."""
        record = await self.parts.journal.read(run_id, tenant=tenant)
        if record.state in ("running", "suspended", "parked"):
            await self._close_record(record.header, *called_off(record, by))

    async def _park(self, record: RunRecord, why: str) -> None:
        """The run cannot go on here. Nothing of it is lost, each start tries again, and until then it says why."""
        if record.state != "parked":
            recording = Recording.of(record, now := self.parts.now_ms())
            await self._recorder.append(record.header.run_id, Suspended(now, recording.used, parked(record, why))).durable()

    async def _close_record(self, header: RunHeader, state: Any, error: Mapping[str, Any]) -> Terminal:
        self.parts.questions.ended(header.run_id)
        terminal = Terminal(state, encode_value(error), self.parts.now_ms())
        await self._recorder.append(header.run_id, terminal).durable()
        return terminal


def recorded_result(run: RunSummary, ending: RunEnding) -> RunResult:
    logs = tuple(LogLine(entry.level, entry.text) for entry in ending.logs)  # type: ignore[arg-type]
    if ending.parked is not None:
        return RunResult(run.run_id, run.state, error=ending.parked, logs=logs, logs_truncated=ending.logs_cut, calls=run.calls)
    if ending.terminal is None:
        return RunResult(run.run_id, run.state, logs=logs, logs_truncated=ending.logs_cut, calls=run.calls)
    return _ended(run.run_id, ending.terminal, Limits.of(run.limits).result_tokens, logs, ending.logs_cut, run.calls)


def suspended_result(run_id: str, logs: tuple[LogLine, ...], logs_cut: bool, calls: int, waiting: Sequence[Asked]) -> RunResult:
    return RunResult(run_id, "suspended", logs=logs, logs_truncated=logs_cut, calls=calls, approvals=tuple(waiting),
                     next=f"waits for a person's approval; ask again with run={run_id!r} when it was given")


def _ended(run_id: str, terminal: Terminal, tokens: int, logs: tuple[LogLine, ...], logs_truncated: bool, calls: int) -> RunResult:
    value = decode_value(terminal.value)
    shown_logs, cut = _bounded_logs(logs, tokens)
    result = RunResult(run_id, terminal.state, logs=shown_logs, logs_truncated=logs_truncated or cut, calls=calls, usage=terminal.usage,
                       binaries=terminal.binaries)
    shown, truncated = bounded(value, tokens)
    if terminal.state != "completed":
        error = shown if is_object(shown) else {"code": value.get("code", "failed"), "message": shown}
        return replace(result, error=error, truncated=truncated)
    hint = "the result was cut: return less (filter, map, aggregate in the program); the journal has it whole" if truncated else ""
    return replace(result, value=shown, truncated=truncated, next=hint)


def _bounded_logs(logs: tuple[LogLine, ...], tokens: int) -> tuple[tuple[LogLine, ...], bool]:
    """Logs get a third of the result's room, the last lines first: they are nearest to what went wrong."""
    room = tokens
    kept: list[LogLine] = []
    for line in reversed(logs):
        text = line.text if len(line.text) <= 1_000 else f"{line.text[:1_000]}… {len(line.text) - 1_000} more characters"
        room -= len(text.encode(errors="replace")) + 8
        if room < 0:
            return tuple(reversed(kept)), True
        kept.append(LogLine(line.level, text))
    return tuple(reversed(kept)), False


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
