"""Runs in the hands of this process: driven to their end, taken up again, woken by people's answers, ended.

A run lives in `live` while this process drives it; what is not there is read from the journal. A run that waits for
people alone is let go of, and taken up by replay when one has answered.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from inhabit.contracts.principal import Principal
from inhabit.contracts.program import Isolate
from inhabit.contracts.result import RunResult
from inhabit.contracts.run import Decided, RunHeader, RunRecord, RunSummary, Suspended, Terminal, Ticket
from inhabit.errors import Denied, InhabitError, TooMany, Unavailable, WorkerLost
from inhabit.kernel.decide import RunFacts
from inhabit.kernel.flow import Labels, labelled
from inhabit.kernel.grants import Grant
from inhabit.limits import Limits
from inhabit.runtime.admission import Admission, Seat
from inhabit.runtime.answers import ended_result, parked_result, recorded_result, suspended_result
from inhabit.runtime.applying import applying_of, refused_changes, unsettled
from inhabit.runtime.bridge import Bridge
from inhabit.runtime.context import RunContext
from inhabit.runtime.conversations import brought
from inhabit.runtime.driver import RunDriver
from inhabit.runtime.endings import called_off, given_up, parked
from inhabit.runtime.holding import PlanHolder
from inhabit.runtime.parts import Parts
from inhabit.runtime.rechecking import RECHECK, Rechecks, conflicts
from inhabit.runtime.recording import Recording
from inhabit.runtime.rollback import RUNG, Steps
from inhabit.runtime.tally import Counting, Tally
from inhabit.wire.values import decode_value, encode_value

__all__ = ["REPLAYS", "Driving", "Live"]

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
REPLAYS = 2
"""How often a run is taken up again when its worker died while it was this run's turn."""
_MOVES = 20
"""How often in all: a neighbour's fault is not counted against a run, but nothing goes on without a bound."""
_UNFINISHED = ("running", "suspended", "parked")
_END_OF_TOKEN = "the end of the token that started it"
_COSTLY_BYTES = 128 * 1024
_KEPT_RESULTS = 64
"""Cut results of ended runs that are costly to cut again, for clients that ask for one over and over."""


@dataclass(slots=True)
class Live:
    """A run in a driver's hands. `woken`: an answer came when the driver had just gone to sleep."""

    task: asyncio.Task[Terminal | Suspended]
    driver: RunDriver
    header: RunHeader
    seat: Seat
    cancelled: bool = False
    woken: bool = False


class _Asked:
    """The store is asked whether a token is valid; `revoked`: it was told otherwise meanwhile."""

    def __init__(self, token: str) -> None:
        self.ids = frozenset(token.split("."))
        self.revoked = False


class Driving:
    """One for a runtime."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.tally = Tally()
        self._recorder = Counting(parts.journal, self.tally)
        self._bridge = Bridge(parts.directory, self._recorder, parts.blobs, parts.now_ms, parts.control)
        self.live: dict[str, Live] = {}
        self._waking: dict[str, list[Decided]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self.admission = Admission(parts.live_runs)
        self._tokens_asked: set[_Asked] = set()
        self._results: OrderedDict[str, RunResult] = OrderedDict()

    @property
    def names(self) -> frozenset[str]:
        """Runs that are being driven or woken."""
        return frozenset((*self.live, *self._waking))

    async def start(self) -> None:
        """Settle what an earlier process left unfinished."""
        async for record in self._parts.journal.unfinished():
            await self.take_up(record)

    async def stop(self) -> None:
        """Stop driving. Unfinished runs stay as they are in the journal and are settled at the next start."""
        # What was being woken is driven by the second time. A run whose task is cancelled before its first step never leaves `live`.
        while tasks := [task for task in (*self._tasks, *(live.task for live in self.live.values())) if not task.done()]:
            for live in self.live.values():
                live.driver.leave()
                live.task.cancel()
            if (await asyncio.wait(tasks, timeout=10))[1]:
                return

    def seat(self, principal: Principal) -> Seat:
        """A place among the live runs. Raises `TooMany`, `Unavailable`."""
        try:
            return self.admission.enter(principal)
        except (TooMany, Unavailable) as refused:
            self.tally.refused[refused.details["limit"]] += 1
            raise

    def cancel(self, live: Live, by: str) -> None:
        """Once: a second one would interrupt the first one's clearing up, and no end be recorded."""
        if not live.cancelled:
            live.cancelled = True
            live.driver.cancelled_by = by
            live.task.get_loop().call_soon(live.task.cancel)    # after its first step: a task that took none records no end

    async def revoke(self, tokens: Iterable[str]) -> None:
        """Tokens are revoked, each by its id or by the ids from an issued one down to it: when this returns, no run that they
        or tokens made from them started makes a call any more. One that sleeps ends when somebody wakes it.
        """
        ended = [frozenset(name.split(".")) for name in tokens]
        for asked in self._tokens_asked:
            asked.revoked |= any(path <= asked.ids for path in ended)
        running = [live for live in self.live.values() if any(path <= set(live.header.token.split(".")) for path in ended)]
        for live in running:
            self.cancel(live, _END_OF_TOKEN)
        if running:
            await asyncio.wait([live.task for live in running])

    async def alive(self, header: RunHeader) -> bool:
        """Whether the token that a run begins or goes on for is valid: at the moment of the answer, so that what is driven from there
        without another wait is found by `revoke`. The store knows what was revoked; here is kept only who asks it just now.
        """
        if not header.token:
            return True
        asked = _Asked(header.token)
        self._tokens_asked.add(asked)
        try:
            return await self._parts.alive(header) and not asked.revoked
        finally:
            self._tokens_asked.discard(asked)

    def drive(self, header: RunHeader, isolate: Isolate, grant: Grant, bounds: Limits, seat: Seat, *,
              recording: Recording | None = None, progress: Callable[[str], None] = lambda _text: None) -> Live:
        def driver(isolate: Isolate, recording: Recording | None) -> RunDriver:
            facts = RunFacts(header.run_id, header.principal, header.program_hash, header.language, header.origin, header.attended,
                             header.mode == "plan", history := [])
            context = RunContext(header.run_id, header.principal, grant, bounds, facts, labelled(header.labels),
                                 self._parts.control.ledger(header.principal.tenant), history=history)
            context.holder, context.applying = self._holder(header, recording), applying_of(recording)
            context.begin(header)
            context.remembered = lambda labels: self._parts.conversations.writes(
                header.principal, header.conversation, header.run_id, brought(header, labels), self._parts.now_ms())
            return RunDriver(header, context, isolate, self._bridge, self._recorder, self._parts.now_ms,
                             recording=recording, progress=progress, questions=self._parts.questions)

        first = driver(isolate, recording)
        task = asyncio.create_task(self._to_the_end(header, isolate, driver), name=f"run {header.run_id}")
        task.add_done_callback(_without_end)
        live = self.live[header.run_id] = Live(task, first, header, seat)
        return live

    def _holder(self, header: RunHeader, recording: Recording | None) -> PlanHolder | None:
        if header.mode != "plan":
            return None
        holder = PlanHolder(header.run_id, self._parts.now_ms)
        if recording is not None:
            holder.rebuild(recording, self._parts.directory.operation)
        return holder

    async def recheck(self, header: RunHeader, changes: Mapping[str, Any], seat: Seat) -> list[dict[str, Any]]:
        """Which reads that a change set rests on are other ones now, read again with the authority of the run that applies it.
        Raises `Denied`.
        """
        if not await self.alive(header):
            seat.leave()
            raise Denied("the token was revoked", code="token_revoked")
        again = replace(
            header, run_id=self._parts.new_run_id(), source=f"recheck of plan {changes['plan']}", code="", input=encode_value({"reads": changes["reads"]}),
            engine=RECHECK, rung=RUNG, mode="plan", parent_run=None, names=(), seed=0, clock_ms=self._parts.now_ms())
        self._parts.journal.begin(again)
        live = self.drive(again, Rechecks(changes), Grant.from_value(again.grant), Limits.of(again.limits), seat)
        await asyncio.wait([live.task])
        return conflicts(changes, await self._parts.journal.read(again.run_id, tenant=again.principal.tenant))

    async def _may_apply(self, record: RunRecord, recording: Recording, *, checked: bool) -> bool:
        """Whether a run that applies a change set may go on; where it never may, it is ended. `checked`: what it rests on is
        unchanged.
        """
        over = refused_changes(record.header.run_id, recording, self._parts.now_ms())
        waits = 0 in recording.asked and 0 not in recording.decided
        if over is None and not (checked or waits or recording.wrote):
            assert recording.changes is not None, "without one it is refused"
            header = record.header
            try:
                over = unsettled(await self.recheck(header, decode_value(recording.changes.arguments), self.admission.seat(header.principal)))
            except Denied:
                over = called_off(record, _END_OF_TOKEN)
        if over is not None:
            await self._close_record(record.header, *over)
        return over is None and not waits

    async def _to_the_end(self, header: RunHeader, isolate: Isolate, again: Callable[[Isolate, Recording], RunDriver]) -> Terminal | Suspended:
        """Drive; when the worker dies and this run did not ask for it, go on in a new one by replay. A run that waits for
        people leaves worker and seat behind.
        """
        live = self.live[header.run_id]
        losses: list[WorkerLost] = []
        held = ExitStack()
        try:
            held.enter_context(self._parts.stores.hold(header.principal.tenant))
            while True:
                try:
                    last = await live.driver.drive()
                    if not live.woken:
                        return last
                    live.woken = False
                    await isolate.close()
                    record = await self._parts.journal.read(header.run_id, tenant=header.principal.tenant)
                except WorkerLost as lost:
                    losses.append(lost)
                    await isolate.close()
                    record = await self._parts.journal.read(header.run_id, tenant=header.principal.tenant)
                    if sum(not lost.neighbours for lost in losses) > REPLAYS or len(losses) > _MOVES:
                        return await self._close_record(header, *given_up(record, losses))
                    _log.warning("run %s lost its worker and is replayed: %s", header.run_id, lost)
                isolate = await self._isolate_for(header, live.driver.limits)
                live.driver = again(isolate, Recording.of(record, self._parts.now_ms()))
        except WorkerLost as lost:   # there is no other worker to go on in
            record = await self._parts.journal.read(header.run_id, tenant=header.principal.tenant)
            return await self._close_record(header, *given_up(record, [*losses, lost]))
        finally:
            self.live.pop(header.run_id, None)
            if not live.driver.asleep:
                self._parts.questions.ended(header.run_id)
            live.seat.leave()
            held.close()
            await isolate.close()

    async def result(self, live: Live, wait_s: float | None) -> RunResult:
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
        if isinstance(terminal, Suspended) and terminal.parked is not None:
            return parked_result(run_id, terminal.parked, tuple(driver.logs), driver.logs_truncated, driver.call_count)
        if isinstance(terminal, Suspended):
            return suspended_result(run_id, tuple(driver.logs), driver.logs_truncated, driver.call_count, driver.questions)
        return ended_result(run_id, terminal, driver.limits.result_tokens, tuple(driver.logs), driver.logs_truncated, driver.call_count)

    async def _remember(self, live: Live) -> None:
        """What the run has read is in its conversation before anything of it is shown."""
        read: Labels | None = None
        while live.header.conversation and live.driver.labels != read:
            read = live.driver.labels
            await self._parts.conversations.join(live.header.principal, live.header.conversation, live.header.run_id,
                                                brought(live.header, read), self._parts.now_ms())

    async def recorded(self, run: RunSummary) -> RunResult:
        """The result of a run that nobody drives, as its journal has it."""
        kept = self._results.get(run.run_id)
        if kept is not None:
            return kept
        ending = await self._parts.journal.ending(run.run_id, tenant=run.principal.tenant)
        result = recorded_result(run, ending)
        if ending.terminal is not None and len(ending.terminal.value) > _COSTLY_BYTES:
            self._results[run.run_id] = result
            if len(self._results) > _KEPT_RESULTS:
                self._results.popitem(last=False)
        return result

    async def take_up(self, record: RunRecord, *, checked: bool = False) -> Live | None:
        """Go on with a run that an earlier process left, by replay. What is unknown of it is settled on the way."""
        header = record.header
        if not await self.alive(header):
            await self._close_record(header, *called_off(record, _END_OF_TOKEN))
            return None
        recording = Recording.of(record, self._parts.now_ms())
        if header.mode == "apply" and not await self._may_apply(record, recording, checked=checked):
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
        if not await self.alive(header):   # it was revoked while a worker was waited for
            await isolate.close()
            await self._close_record(header, *called_off(record, _END_OF_TOKEN))
            return None
        seat = self.admission.seat(header.principal)
        return self.drive(header, isolate, Grant.from_value(header.grant), bounds, seat, recording=recording)

    async def _isolate_for(self, header: RunHeader, bounds: Limits) -> Isolate:
        if header.rung == RUNG:
            given = decode_value(header.input)
            return Rechecks(given) if header.engine == RECHECK else Steps(given)
        return await self._parts.pool.acquire(header.language, header.principal.tenant, bounds)

    def decide(self, run: RunHeader | RunSummary, decided: Decided) -> Ticket:
        """Record a person's answer and let the run go on with it. The ticket is the acknowledgement."""
        ticket = self._recorder.append(run.run_id, decided)
        self._parts.questions.answered(run.run_id)
        live = self.live.get(run.run_id)
        if live is not None:
            live.woken = not live.driver.decided(decided)
        elif run.run_id in self._waking:
            self._waking[run.run_id].append(decided)
        else:
            self._waking[run.run_id] = []
            self.kept(self._wake(run.run_id, run.principal.tenant), f"wake {run.run_id}")
        return ticket

    def kept(self, work: Coroutine[Any, Any, _T], name: str) -> asyncio.Task[_T]:
        """Work that goes on whoever waits for it, and that `stop` waits for."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _wake(self, run_id: str, tenant: str) -> None:
        """Take up a run that slept. Answers that come meanwhile are handed on; where it parked, it is looked at once more, since
        one that is recorded after that has woken it again.
        """
        try:
            live, came = await self._taken_up(run_id, tenant)
            while live is None and came:
                live, came = await self._taken_up(run_id, tenant)
            for decided in came:
                if live is not None:
                    live.woken |= not live.driver.decided(decided)
        except InhabitError as error:
            _log.warning("run %s cannot be woken now; the next start takes it up: %s", run_id, error)
        finally:
            del self._waking[run_id]

    async def _taken_up(self, run_id: str, tenant: str) -> tuple[Live | None, Sequence[Decided]]:
        """The run in the hands of a driver, if it can be, and the answers that came meanwhile."""
        record = await self._parts.journal.read(run_id, tenant=tenant)
        live = await self.take_up(record) if record.state in _UNFINISHED else None
        came, self._waking[run_id] = self._waking[run_id], []
        return live, came

    async def resume(self, run_id: str, tenant: str) -> None:
        """Take up a parked run now, as each start does: what kept it may be gone."""
        if run_id not in self.names:
            self._waking[run_id] = []
            await self._wake(run_id, tenant)

    async def end_left(self, run_id: str, tenant: str, by: str) -> None:
        """End a run that nobody drives: an earlier process left it, and this one only looks, or it could not be taken up."""
        record = await self._parts.journal.read(run_id, tenant=tenant)
        if record.state in _UNFINISHED:
            await self._close_record(record.header, *called_off(record, by))

    async def _park(self, record: RunRecord, why: str) -> None:
        """The run cannot go on here. Nothing of it is lost, each start tries again, and until then it says why."""
        if record.state != "parked":
            recording = Recording.of(record, now := self._parts.now_ms())
            await self._recorder.append(record.header.run_id, Suspended(now, recording.used, parked(record, why))).durable()

    async def _close_record(self, header: RunHeader, state: Any, error: Mapping[str, Any]) -> Terminal:
        self._parts.questions.ended(header.run_id)
        terminal = Terminal(state, encode_value(error), self._parts.now_ms())
        await self._recorder.append(header.run_id, terminal).durable()
        return terminal


def _without_end(task: asyncio.Task[Any]) -> None:
    """A run that nobody waits for is heard of here, when its journal takes no more; whoever waits is told too."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("%s has no recorded end, the next start settles it: %s", task.get_name(), error)
