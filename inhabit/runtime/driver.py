"""One run: turns of the guest on one side, calls through the bridge on the other, everything in the journal.

The guest acts only when it is delivered to. The driver hands it one batch of ready results and due timers at a
time; the worker settles them one by one. What a turn did is journaled in one append (deliveries, then logs, then
intents, in that order) before any of its calls is performed, so an effect always stands after its cause.

A program that ends while calls of it are in flight has not ended: they are waited for. A run that is taken up
after a crash is the same thing with a `Recording`: recorded deliveries first, then life.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from inhabit.contracts.program import Boot, Delivery, Finished, Isolate, IssuedCall, LogLine, Timer, Turn
from inhabit.contracts.run import (
    Delivered,
    Entry,
    Logged,
    Outcome,
    Recorder,
    Resumed,
    RunHeader,
    Terminal,
    Ticket,
)
from inhabit.errors import Cancelled, InhabitError, LimitExceeded, ProtocolError, WorkerLost
from inhabit.limits import Limits
from inhabit.runtime.bodies import binaries_in
from inhabit.runtime.bridge import Admitted, Bridge, RunContext
from inhabit.runtime.endings import ended
from inhabit.runtime.recording import Diverged, Recording
from inhabit.runtime.writes import Writes
from inhabit.wire.values import encode_value

__all__ = ["RunDriver"]

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
                 progress: Callable[[str], None] = lambda _text: None) -> None:
        self._header = header
        self._context = context
        self._isolate = isolate
        self._bridge = bridge
        self._journal = journal
        self._now_ms = now_ms
        self._progress = progress
        self._recording = recording or Recording()
        self._replayed: Sequence[Delivered] = ()
        self._ready: deque[Outcome] = deque()
        self._woken: asyncio.Future[None] | None = None
        self._calls: dict[int, tuple[asyncio.Task[None], Admitted]] = {}
        self._failure: BaseException | None = None
        self._clock_ms = header.clock_ms
        self._log_bytes = 0
        self._writes = Writes()
        self._turn = Turn()
        self._leaving = False
        self.cancelled_by = "its owner"
        self.logs: list[LogLine] = []
        self.logs_truncated = False
        self.call_count = 0

    @property
    def limits(self) -> Limits:
        return self._context.limits

    async def drive(self) -> Terminal:
        """Run to the end; the terminal entry is on disk when this returns.

        Raises `Unavailable` when the journal cannot record, and `WorkerLost` when the worker died through no
        fault of this run and nothing is in doubt: the run has not ended then, and a replay takes it up.
        """
        try:
            async with asyncio.timeout(self.limits.wall_ms / 1000):
                finished = await self._turns()
                await self._settle()
            terminal = self._terminal(*ended(finished, self.limits, self._writes))
        except TimeoutError:
            terminal = await self._stopped(LimitExceeded.of("wall_ms", self.limits.wall_ms, "ms"))
        except asyncio.CancelledError:
            if self._leaving:
                await self._calls_end(_LEAVE_S)
                await self._abandon()
                raise
            terminal = await self._stopped(Cancelled(f"the run was cancelled by {self.cancelled_by}"))
        except InhabitError as error:
            if error.code == "unavailable":
                await self._abandon()
                raise
            self._failure = None
            await self._calls_end(self.limits.call_ms / 1000)
            if type(error) is WorkerLost and not self._doubtful():
                await self._abandon()
                raise
            terminal = await self._stopped(error)
        await self._journal.append(self._header.run_id, terminal).durable()
        return terminal

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
        if self._replayed:
            self._compare(turn.issued_before)
        else:
            entries += [Delivered(d.kind, d.id, before, d.clock_ms)
                        for d, before in zip(deliveries, turn.issued_before, strict=True)]
        if turn.logs:
            entries += [Logged(line.level, line.text) for line in self._kept_logs(turn.logs)]
        calls = [call for issued in turn.calls if (call := self._admit(issued, entries)) is not None]
        if not entries:
            return None
        recorded = self._journal.append(self._header.run_id, *entries)
        if len(calls) == 1 and self._idle(turn) and not _doubted(calls[0]):
            return calls[0], recorded
        for call in calls:
            self._launch(call, recorded)
        return None

    def _idle(self, turn: Turn) -> bool:
        """Whether a call of this turn is all that the run waits for."""
        return not (turn.finished or turn.timer or self._calls or self._ready or self._recording.deliveries)

    def _compare(self, issued_before: tuple[int, ...]) -> None:
        recorded = tuple(delivered.issued_before for delivered in self._replayed)
        self._replayed = ()
        if recorded != issued_before:
            raise Diverged("the program issued its calls at other points than recorded",
                           details={"recorded": list(recorded), "now": list(issued_before)})

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
        admitted = self._bridge.admit(self._context, issued)
        if not self._recording.same_call(issued, admitted.intent.arguments):
            entries.append(admitted.intent)
            return admitted
        outcome = self._recording.outcomes.get(issued.sequence)
        if outcome is None:
            entries.append(Resumed(self._now_ms(), "issued again", (issued.sequence,)))
            return admitted
        if admitted.error is None:
            self._context.in_flight -= 1
        self._context.binaries.update(outcome.binaries)
        self._context.count(len(outcome.value))
        self._writes.note(admitted.intent, outcome)
        if issued.sequence not in self._recording.delivered_calls:
            self._ready.append(outcome)
        return None

    def _launch(self, admitted: Admitted, recorded: Ticket) -> None:
        sequence = admitted.issued.sequence
        task = asyncio.create_task(self._perform(admitted, recorded), name=f"{self._header.run_id}:{sequence}")
        self._calls[sequence] = (task, admitted)

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
            del self._calls[admitted.issued.sequence]
        except InhabitError as failure:
            self._failure = failure
        finally:
            self._wake()

    def _over(self, admitted: Admitted, outcome: Outcome) -> None:
        self._writes.note(admitted.intent, outcome)
        self._ready.append(outcome)

    def _wake(self) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    # -- deliveries ---------------------------------------------------------------------------------------

    async def _next(self, timer: Timer | None) -> Sequence[Delivery]:
        """The next batch: recorded ones first; else what is ready, waiting for a result or the next timer."""
        if self._recording.deliveries:
            batch = self._recording.next_deliveries(_REPLAY_BATCH)
            self._replayed = [delivered for delivered, _ in batch]
            self._clock_ms = batch[-1][1].clock_ms
            return [delivery for _, delivery in batch]
        while True:
            if self._failure is not None:
                raise self._failure
            if self._ready:
                return self._results()
            now = self._now_ms()
            if timer is not None and timer.due_ms <= now:
                return [Delivery("timer", timer.id, b"null", self._tick(timer.due_ms))]
            if timer is None and not self._calls:
                raise InhabitError("the program waits for something that can never happen (a promise nobody settles)",
                                   code="deadlock", fix="await only operations, timers and promises made of them")
            await self._sleep(None if timer is None else (timer.due_ms - now) / 1000)

    def _results(self) -> list[Delivery]:
        clock, ready = self._tick(0), self._ready
        batch: list[Delivery] = []
        while ready and len(batch) < _LIVE_BATCH:
            outcome = ready.popleft()
            batch.append(Delivery("result" if outcome.ok else "error", outcome.sequence, outcome.value, clock))
        return batch

    def _tick(self, at_least_ms: int) -> int:
        """The guest's time never goes back, whatever the host's clock does."""
        self._clock_ms = max(self._clock_ms, self._now_ms(), at_least_ms)
        return self._clock_ms

    async def _sleep(self, seconds: float | None) -> None:
        self._woken = asyncio.get_running_loop().create_future()
        try:
            if seconds is None:
                await self._woken
            else:
                await asyncio.wait([self._woken], timeout=seconds)
        finally:
            self._woken = None

    # -- ends ---------------------------------------------------------------------------------------------

    async def _settle(self) -> None:
        """Wait for calls that the program did not wait for: nothing half-done is called done."""
        while self._calls:
            if self._failure is not None:
                raise self._failure
            await self._sleep(None)

    async def _stopped(self, error: InhabitError) -> Terminal:
        """The run ends against its will; calls still in flight are cut off."""
        doubtful = self._doubtful()
        await self._abandon()
        value = self._writes.told(error.as_value())
        if doubtful:
            value["effect"] = "unknown"
            value["details"] = {**value.get("details", {}), "unknown_calls": [
                {"sequence": a.issued.sequence, "operation": a.issued.operation} for a in doubtful]}
        return self._terminal("unknown" if doubtful else "failed", encode_value(value))

    def _doubtful(self) -> list[Admitted]:
        """Calls in flight that may have written and must not be repeated."""
        return [admitted for _, admitted in self._calls.values() if _doubted(admitted)]

    async def _calls_end(self, timeout_s: float) -> None:
        tasks = [task for task, _ in self._calls.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=timeout_s)

    async def _abandon(self) -> None:
        tasks = [task for task, _ in self._calls.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _terminal(self, state: Any, value: bytes) -> Terminal:
        usage = self._turn.usage
        held = binaries_in(value) & self._context.binaries if self._context.binaries else ()
        return Terminal(state, value, self._now_ms(), {
            "cpu_ms": round(usage.cpu_ms, 3), "memory_bytes": usage.memory_bytes, "calls": self.call_count,
            "journal_bytes": self._context.journaled_bytes, "log_bytes": self._log_bytes}, tuple(sorted(held)))


def _doubted(admitted: Admitted) -> bool:
    return admitted.intent.may_write and not admitted.intent.idempotent
