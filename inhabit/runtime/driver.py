"""One run: turns of the guest on one side, calls through the bridge on the other, everything in the journal.

The guest acts only when it is delivered to. The driver hands it one batch of ready results and due timers at a
time; the worker settles them one by one. What a turn did is journaled in one append (deliveries, then logs, then
intents, in that order) before any of its calls is performed, so an effect always stands after its cause.
Order between results and timers is that of the clock in milliseconds, a due timer before a result of its own
millisecond: so it does not depend on what else the host was doing then.

A program that ends while calls of it are in flight has not ended: they are waited for. What a run waits for lies in
`waiting`, apart from the turns; calls that nobody knows the end of are settled by `settling`. A run that is taken up after
a crash is the same thing with a `Recording`: recorded deliveries first, and where the record ends, life. Until then nothing
is done for the program, only compared: a run whose program takes another path is parked as it was.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from inhabit.contracts.program import Boot, Delivery, Finished, Isolate, IssuedCall, LogLine, Timer, Turn
from inhabit.contracts.run import (
    Asked,
    Decided,
    Delivered,
    Entry,
    Intent,
    Logged,
    Outcome,
    Recorder,
    Resumed,
    RunHeader,
    RunState,
    Suspended,
    Terminal,
    Ticket,
)
from inhabit.errors import Cancelled, InhabitError, LimitExceeded, ProtocolError, TooMany, WorkerLost
from inhabit.kernel.flow import CLEAN, Labels, Source
from inhabit.limits import Limits
from inhabit.runtime.applying import PlanLeft
from inhabit.runtime.asking import question, refusal
from inhabit.runtime.bodies import binaries_in
from inhabit.runtime.bridge import Bridge
from inhabit.runtime.context import Admitted, RunContext
from inhabit.runtime.endings import ended, parted
from inhabit.runtime.handles import RETURNED
from inhabit.runtime.questions import OpenQuestions
from inhabit.runtime.reconciling import to_settle
from inhabit.runtime.recording import Diverged, Recording
from inhabit.runtime.settling import Settling
from inhabit.runtime.waiting import OnlyPeople, Waiting
from inhabit.runtime.writes import Writes
from inhabit.wire.values import encode_value

__all__ = ["RunDriver"]

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

_REPLAY_BATCH = 256
_LIVE_BATCH = 256
_LOG_LINE_BYTES = 8
"""What a line costs beside its text: empty ones would be free, and fill the journal."""
_TIMER_BYTES = 64
"""What the record of a timer takes: a loop of them makes no calls, and would fill the journal unpaid."""
_LEAVE_S = 5.0
"""How long a stopping server waits for calls in flight, so that fewer of them end in doubt."""


class RunDriver:
    """Drives one run to its terminal entry. `drive` is called once."""

    def __init__(self, header: RunHeader, context: RunContext, isolate: Isolate, bridge: Bridge, journal: Recorder,
                 now_ms: Callable[[], int], *, recording: Recording | None = None,
                 progress: Callable[[str], None] = lambda _text: None, questions: OpenQuestions | None = None) -> None:
        self._header = header
        self._context = context
        self._isolate = isolate
        self._bridge = bridge
        self._journal = journal
        self._now_ms = now_ms
        self._progress = progress
        self._recording = recording or Recording()
        self._replaying = self._recording.begun
        self._given: Sequence[Delivered] = ()
        self._open: list[tuple[IssuedCall, Admitted | None]] = []
        self._clock_ms = header.clock_ms
        self._log_bytes = 0
        self._writes = Writes()
        self._turn = Turn()
        self._leaving = False
        self._begun_s = 0.0
        self.waiting = Waiting(header.run_id, header.principal, questions or OpenQuestions(), self._recording)
        self._settling = Settling(header, context, bridge, self._recording.doubts, self.waiting, self._writes, now_ms, self._go_on)
        self.asleep = self._ending = False
        self.cancelled_by = "its owner"
        self.logs: list[LogLine] = []
        self.logs_truncated = False
        self.call_count = 0

    @property
    def limits(self) -> Limits:
        return self._context.limits

    @property
    def questions(self) -> Sequence[Asked]:
        """What waits for people now."""
        return self.waiting.questions

    @property
    def labels(self) -> Labels:
        """What the run has read so far."""
        return self._context.labels

    async def drive(self) -> Terminal | Suspended:
        """Run to the end, or until only people can say how it goes on. The last entry is on disk when this returns.

        Raises `Unavailable` when the journal cannot record, and `WorkerLost` when the worker died through no
        fault of this run and nothing is in doubt: the run has not ended then, and a replay takes it up.
        """
        self._begun_s = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(max(0.0, self.limits.wall_ms - self._recording.used.get("wall_ms", 0)) / 1000):
                finished = await self._turns()
                await self._settle()
            if finished.ok and self._context.handles.within(finished.value):
                finished = Finished(False, RETURNED)
            end = self._ends(*ended(finished, self.limits, self._writes))
        except OnlyPeople:
            self.asleep, end = True, self._falls_asleep()
        except (Diverged, PlanLeft) as left:
            self.asleep, end = True, self._parks(left)
        except TimeoutError:
            end = self._is_stopped(LimitExceeded.of("wall_ms", self.limits.wall_ms, "ms"))
        except asyncio.CancelledError as cancelled:
            end = self._is_left(cancelled) if self._leaving else self._is_stopped(Cancelled(f"the run was cancelled by {self.cancelled_by}"))
        except InhabitError as error:
            end = self._fails(error)
        except Exception:  # noqa: BLE001 - whatever it was, the run has an end
            _log.exception("run %s met a fault of the host", self._header.run_id)
            end = self._is_stopped(InhabitError("the run met a fault in Inhabit; the server's log has it", code="internal"))
        self._ending = True     # with no turn of the loop in between: an answer that comes now moves nothing here any more
        return await self._undisturbed(end)

    def decided(self, decided: Decided) -> bool:
        """A person has answered, as the journal has by now. False when this driver has gone to sleep over it."""
        if self.asleep or self._ending:
            return not self.asleep
        issued = self.waiting.asks.pop(decided.sequence, None)
        if issued is None:   # the replay has not come to it yet, or the call has its outcome
            self._recording.answered(decided)
            return True
        entries: list[Entry] = []
        doubted = decided.sequence in self._settling.held
        self._go_on(self._settling.answered(decided, entries) if doubted else self._answered(issued, decided, entries), entries)
        self.waiting.wake()
        return True

    def leave(self) -> None:
        """The server stops: the next cancellation ends the driving, not the run. The journal keeps it unfinished."""
        self._leaving = True

    # -- turns --------------------------------------------------------------------------------------------

    async def _turns(self) -> Finished:
        header = self._header
        boot = Boot(header.code, header.names, header.input, header.seed, header.clock_ms, self.limits)
        turn = await self._isolate.start(boot)
        deliveries: Sequence[Delivery] = ()
        while True:
            alone = self._absorb(turn, deliveries)
            if turn.finished is not None:
                return turn.finished
            if alone is not None:
                await self._at_once(*alone)
            deliveries = await self._next(turn.timer)
            turn = await self._isolate.deliver(deliveries)

    def _absorb(self, turn: Turn, deliveries: Sequence[Delivery]) -> tuple[Admitted, Ticket] | None:
        """Journal what the turn did and launch its calls; or give back its only call, when nothing else is to wait for."""
        self._turn = turn
        if len(turn.issued_before) != len(deliveries):
            raise ProtocolError("the worker answered for another number of deliveries than it was given")
        self._context.count(_TIMER_BYTES * sum(d.kind == "timer" for d in deliveries))
        entries: list[Entry] = []
        if self._replaying:
            self._recording.follow(turn, self._given)
        else:
            entries += [Delivered(d.kind, d.id, before, d.clock_ms)
                        for d, before in zip(deliveries, turn.issued_before, strict=True)]
        if turn.logs:
            entries += [Logged(line.level, line.text) for line in self._kept_logs(turn.logs)]
        calls = [call for issued in turn.calls if (call := self._admit(issued, entries)) is not None]
        if self._replaying and not self._recording.deliveries:
            calls += self._goes_live(entries)
        if not entries:
            return None
        recorded = self._journal.append(self._header.run_id, *entries, also=[write for call in calls for write in call.also])
        if len(calls) == 1 and self._idle(turn) and not calls[0].doubted:
            return calls[0], recorded
        for call in calls:
            self._launch(call, recorded)
        return None

    def _goes_live(self, entries: list[Entry]) -> list[Admitted]:
        """The record is at its end: take up the calls that it leaves open."""
        self._replaying = False
        if self._recording.parked is not None:
            entries.append(Resumed(self._now_ms(), "taken up"))
        calls = [self._taken_up(issued, again, entries) for issued, again in self._open]
        self._open.clear()
        return [call for call in calls if call is not None]

    def _idle(self, turn: Turn) -> bool:
        """Whether a call of this turn is all that the run waits for."""
        return not (turn.finished or turn.timer or self.waiting.calls or self.waiting.ready)

    def _kept_logs(self, lines: Sequence[LogLine]) -> list[LogLine]:
        """Log lines within the bound; those of a replay are already in the journal."""
        fresh: list[LogLine] = []
        for line in lines:
            self._log_bytes += len(line.text.encode(errors="replace")) + _LOG_LINE_BYTES
            if self._log_bytes > self.limits.log_bytes:
                self.logs_truncated = True
                break
            self.logs.append(line)
            if self._recording.logs > 0:
                self._recording.logs -= 1
            else:
                fresh.append(line)
        return fresh

    # -- calls --------------------------------------------------------------------------------------------

    def _admit(self, issued: IssuedCall, entries: list[Entry]) -> Admitted | None:
        """Admit one call of the turn; None when the journal already knows its outcome."""
        self.call_count += 1
        if issued.sequence != self.call_count:
            raise ProtocolError(f"call {issued.sequence} was issued where {self.call_count} was next")
        if self.call_count > self.limits.calls:
            raise LimitExceeded.of("calls", self.limits.calls, "calls")
        intent = self._recording.intents.get(issued.sequence)   # compared with this call by `follow`
        if intent is not None:
            self._recorded(issued, intent)
            return None
        if self._settling.asks(issued):
            intent, meant = to_settle(issued, self._now_ms())
            entries.append(intent)
            return self._settling.begin(issued, meant, entries)
        admitted = self._bridge.admit(self._context, issued)
        if admitted.error is None and admitted.verdict == "ask":
            asked = self._ask(admitted)
            if isinstance(asked, Asked):
                entries += [admitted.intent, asked]
                return None
            admitted = asked
        entries.append(admitted.intent)
        return admitted

    def _ask(self, admitted: Admitted) -> Asked | Admitted:
        """The question that the call waits for; or the call refused, one too many for people to look at."""
        try:
            self.waiting.may_ask()
        except TooMany as error:
            refused = admitted.intent._replace(decision={"verdict": "deny", "rule": "limits", "reason": error.message})
            return admitted._replace(intent=refused, error=error)
        asked = question(self._header.run_id, admitted.intent, self._now_ms(), self._bridge.approval_ms)
        self.waiting.ask(admitted.issued, asked)
        return asked

    def _recorded(self, issued: IssuedCall, intent: Intent) -> None:
        """A call that the journal has: its outcome, or one that is taken up when the replay is over. One that is made again
        is decided anew, with what the run knew when it issued the call.
        """
        outcome = self._recording.outcomes.get(issued.sequence)
        doubted = outcome is None and self._settling.in_doubt(issued)
        if outcome is None and not doubted and issued.sequence in self._recording.asked:
            self._open.append((issued, None))
            return
        self._bridge.admit_recorded(self._context, issued, intent)
        if outcome is not None:
            self._replay(issued, intent, outcome)
        elif doubted:
            self._open.append((issued, None))
        else:
            self._open.append((issued, self._bridge.admit_again(self._context, issued, intent)))

    def _taken_up(self, issued: IssuedCall, again: Admitted | None, entries: list[Entry]) -> Admitted | None:
        """What is still to be done for a call without an outcome. `again`: made again; else it was asked of a person."""
        if again is not None:
            asked = self._ask(again) if again.error is None and again.verdict == "ask" else again
            entries.append(asked if isinstance(asked, Asked) else Resumed(self._now_ms(), "issued again", (issued.sequence,)))
            return None if isinstance(asked, Asked) else asked
        if self._settling.in_doubt(issued):
            return self._settling.taken_up(issued, entries)
        decided = self._recording.decided.get(issued.sequence)
        if decided is None:
            self.waiting.asks[issued.sequence] = issued
            return None
        return self._answered(issued, decided, entries)

    def _answered(self, issued: IssuedCall, decided: Decided, entries: list[Entry]) -> Admitted | None:
        """What a person's answer makes of a call: one to perform, or its outcome."""
        if decided.verdict == "approve":
            # Only after this entry may the call have begun: without it, a crash leaves no doubt.
            entries.append(Resumed(self._now_ms(), "approved", (issued.sequence,)))
            self._context.told[issued.sequence] = self.waiting.told(issued.sequence)
            return self._bridge.admit_approved(self._context, issued, decided.arguments)
        self.waiting.ready.append(self._bridge.refuse(self._context, issued, refusal(decided)))
        return None

    def _go_on(self, admitted: Admitted | None, entries: list[Entry]) -> None:
        """Outside a turn: journal, and launch what is to be performed."""
        if entries:
            recorded = self._journal.append(self._header.run_id, *entries, also=admitted.also if admitted is not None else ())
            if admitted is not None:
                self._launch(admitted, recorded)

    def _replay(self, issued: IssuedCall, intent: Intent, outcome: Outcome) -> None:
        context = self._context
        context.count(len(outcome.value) + len(outcome.kept or b""))
        brought = CLEAN
        if outcome.labels:
            source = Source(issued.operation, issued.sequence)
            brought = Labels(*(source if name in outcome.labels else None for name in Labels._fields))
        context.learn(intent, outcome, brought)
        self._writes.note(intent, outcome)
        if issued.sequence not in self._recording.delivered_calls:
            self.waiting.ready.append(outcome)

    def _launch(self, admitted: Admitted, recorded: Ticket) -> None:
        self.waiting.launch(admitted, self._perform(admitted, recorded))

    async def _at_once(self, admitted: Admitted, recorded: Ticket) -> None:
        """A sequential program's call, in the run's own task: a task of its own would cost three turns of the loop. Only
        one that leaves no doubt when it is cut off: the others outlive a stopping server for a while (`_LEAVE_S`).
        """
        task = asyncio.current_task()
        assert task is not None
        before = task.cancelling()
        self._over(admitted, await self._bridge.perform(self._context, admitted, recorded, self._progress))
        if task.cancelling() > before:   # the connector swallowed what was meant for the run
            raise asyncio.CancelledError

    async def _perform(self, admitted: Admitted, recorded: Ticket) -> None:
        try:
            self._over(admitted, await self._bridge.perform(self._context, admitted, recorded, self._progress))
            del self.waiting.calls[admitted.issued.sequence]
        except Exception as failure:  # noqa: BLE001 - whatever it was, the run has an end
            self.waiting.fail(failure, f"call {admitted.issued.sequence}")
        finally:
            self.waiting.wake()

    def _over(self, admitted: Admitted, outcome: Outcome) -> None:
        self._writes.note(admitted.intent, outcome)
        self.waiting.ready.append(outcome)

    # -- deliveries ---------------------------------------------------------------------------------------

    async def _next(self, timer: Timer | None) -> Sequence[Delivery]:
        """The next batch: recorded ones first; else what is ready, waiting for a result or the next timer."""
        if self._recording.deliveries:
            batch = self._recording.next_deliveries(_REPLAY_BATCH)
            self._given = [delivered for delivered, _ in batch]
            self._clock_ms = batch[-1][1].clock_ms
            return [delivery for _, delivery in batch]
        waiting = self.waiting
        while True:
            waiting.check()
            now = self._now_ms()
            due_ms = 0 if timer is None else self._recording.awake_ms(timer.due_ms)
            fires = timer is not None and due_ms <= now
            if waiting.ready and (results := self._results(due_ms if fires else None)):
                return results
            if timer is not None and fires:
                return [Delivery("timer", timer.id, b"null", self._tick(timer.due_ms))]
            if waiting.only_people:
                raise OnlyPeople
            if timer is None and not waiting.calls:
                raise InhabitError("the program waits for something that can never happen (a promise nobody settles)",
                                   code="deadlock", fix="await only operations, timers and promises made of them")
            await waiting.sleep(None if timer is None else (due_ms - now) / 1000)

    def _results(self, before_ms: int | None) -> list[Delivery]:
        """What is ready, in order of arrival; of what came with or after a due timer, nothing."""
        ready, arrived = self.waiting.ready, self._recording.arrived
        if arrived and len(ready) > 1:   # a replay finds them in the order of their calls; they are given as they had come
            ready = self.waiting.ready = deque(sorted(ready, key=lambda outcome: arrived.get(outcome.sequence, len(arrived))))
        batch: list[Delivery] = []
        clock = self._tick(0)
        while ready and len(batch) < _LIVE_BATCH and (before_ms is None or ready[0].at_ms < before_ms):
            outcome = ready.popleft()
            batch.append(Delivery("result" if outcome.ok else "error", outcome.sequence, outcome.value, clock))
        return batch

    def _tick(self, at_least_ms: int) -> int:
        """The guest's time never goes back, whatever the host's clock does."""
        self._clock_ms = max(self._clock_ms, self._now_ms(), at_least_ms)
        return self._clock_ms

    # -- ends ---------------------------------------------------------------------------------------------

    async def _settle(self) -> None:
        """Wait for calls that the program did not wait for: nothing half-done is called done."""
        waiting = self.waiting
        waiting.check()   # a doubt that stays is in neither any more
        while waiting.calls or waiting.asks:
            if waiting.only_people:
                raise OnlyPeople
            await waiting.sleep(None)
            waiting.check()

    async def _ends(self, state: RunState, value: bytes) -> Terminal:
        terminal = self._terminal(state, value)
        await self._journal.append(self._header.run_id, terminal, also=(*self._context.charges.ended(self._header.run_id), *self._context.standing())).durable()
        return terminal

    def _falls_asleep(self) -> Coroutine[Any, Any, Suspended]:
        """Nothing but people's answers can move the run: it holds no worker and no task until one comes. Recorded with no turn of the
        loop in between: no start would take up a run that sleeps over an answer which came before.
        """
        suspended = Suspended(self._now_ms(), self._usage())
        ticket = self._journal.append(self._header.run_id, suspended, also=self._context.standing())
        return self._sleeps(ticket, suspended)

    async def _sleeps(self, ticket: Ticket, suspended: Suspended) -> Suspended:
        await ticket.durable()
        return suspended

    async def _parks(self, left: Diverged | PlanLeft) -> Suspended:
        """The program takes another path than its record, or than was approved: nothing was done for that, and nothing is lost."""
        recording = self._recording
        await self.waiting.calls_end(self.limits.call_ms / 1000)   # there are some where it was live
        why = parted(Writes.made(recording.intents, recording.outcomes) if self._replaying else self._writes, left)
        suspended = Suspended(self._now_ms(), recording.used, why)
        if recording.parked != why:
            await self._journal.append(self._header.run_id, suspended).durable()
        return suspended

    async def _is_left(self, cancelled: asyncio.CancelledError) -> Terminal:
        """The server stops, the run does not: it is taken up at the next start."""
        await self.waiting.calls_end(_LEAVE_S)
        await self.waiting.abandon()
        raise cancelled

    async def _fails(self, error: InhabitError) -> Terminal:
        if error.code == "unavailable":
            await self.waiting.abandon()
            raise error
        self.waiting.failure = None
        await self.waiting.calls_end(self.limits.call_ms / 1000)
        if type(error) is WorkerLost and not any(admitted.doubted for _, admitted in self.waiting.calls.values()):
            await self.waiting.abandon()
            raise error
        return await self._is_stopped(error)

    async def _is_stopped(self, error: InhabitError) -> Terminal:
        """The run ends against its will; calls still in flight are cut off."""
        doubtful = self._doubtful()
        await self.waiting.abandon()
        value = self._writes.told(error.as_value())
        if doubtful:
            value["effect"] = "unknown"
            value["details"] = {**value.get("details", {}), "unknown_calls": [
                {"sequence": a.issued.sequence, "operation": a.issued.operation} for a in doubtful]}
        return await self._ends("unknown" if doubtful else "failed", encode_value(value))

    def _doubtful(self) -> list[Admitted]:
        """Calls in flight that may have written and must not be repeated."""
        held = {sequence: admitted for sequence, (_, admitted) in self.waiting.calls.items()} | self._settling.held
        return [admitted for _, admitted in sorted(held.items()) if admitted.doubted]

    def _terminal(self, state: RunState, value: bytes) -> Terminal:
        held = binaries_in(value) & self._context.binaries if self._context.binaries else ()
        return Terminal(state, value, self._now_ms(), self._usage(), tuple(sorted(held)))

    def _usage(self) -> dict[str, float]:
        usage = self._turn.usage
        wall_ms = self._recording.used.get("wall_ms", 0) + (asyncio.get_running_loop().time() - self._begun_s) * 1000
        return {"cpu_ms": round(usage.cpu_ms, 3), "wall_ms": round(wall_ms, 3), "memory_bytes": usage.memory_bytes,
                "calls": self.call_count, "journal_bytes": self._context.journaled_bytes, "log_bytes": self._log_bytes}

    async def _undisturbed(self, end: Coroutine[Any, Any, _T]) -> _T:
        """Finish ending whatever is cancelled meanwhile: a run whose end is cut off has no end. Cancelled, it hurries."""
        task = asyncio.create_task(end)
        while True:
            try:
                return await asyncio.shield(task)
            except asyncio.CancelledError:
                if task.done():
                    raise
                self.waiting.hurry()
