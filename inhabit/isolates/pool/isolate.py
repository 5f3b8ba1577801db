"""One guest as the host sees it: what it may say next, and what is left of its limits.

Invariants kept against a hostile worker: calls are numbered 1, 2, 3 … in the run without a gap; each delivery is
answered by exactly one count, and the counts never fall nor pass the calls issued; nothing follows a result; log
text and the number of calls stay within the run's limits; CPU time is what the kernel counted, or what the guest
reported if that is more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from inhabit.contracts.program import Boot, Delivery, Language, LogLine, Prepared, Problem, Program, Turn
from inhabit.errors import LimitExceeded, ProtocolError, WorkerLost
from inhabit.isolates.pool.channel import LOOKING_MS, Channel, Request
from inhabit.limits import MAX_FRAME_BYTES, Limits
from inhabit.wire.frames import Kind
from inhabit.wire.messages import encode_deliver, encode_prepare, encode_start, encode_typecheck
from inhabit.wire.replies import decode_checked, decode_prepared, decode_turn

__all__ = ["PooledIsolate"]

_PREPARE_MS = 5_000        # stripping and parsing at most 4 MB
_TYPECHECK_MS = 20_000
_BATCH_BYTES = MAX_FRAME_BYTES - 1024 * 1024
_DELIVERY_BYTES = 32       # of envelope
_LOG_SLACK_BYTES = 64 * 1024
_LOG_LINES = 100_000
_FORGIVEN_LOOKS = 100      # beside one for each call: timers are not counted, and each would be a moment for nothing


class PooledIsolate:
    """Implements `inhabit.contracts.program.Isolate`. `release` is called once, when it is closed."""

    def __init__(self, id: int, channel: Channel, language: Language, limits: Limits, engine_version: str,
                 release: Callable[[PooledIsolate], None]) -> None:
        self.id = id
        self.channel = channel
        self.engine_version = engine_version
        self._language = language
        self._limits = limits
        self._release = release
        self._issued = 0
        self._log_bytes = 0
        self._cpu_ms = self._reported_ms = self._forgiven_ms = 0.0
        self._deliveries = 0
        self._running = False
        self._over = False
        self._waiting = False
        self._closed = False

    async def prepare(self, program: Program, names: tuple[str, ...]) -> Prepared:
        body = encode_prepare(self._language, program.source, names)
        return await self._ask(Kind.PREPARE, Kind.PREPARED, body, decode_prepared, _PREPARE_MS, ("prepare_ms", _PREPARE_MS))

    async def typecheck(self, code: str, stubs: str) -> tuple[Problem, ...]:
        body = encode_typecheck(self._language, code, stubs)
        return await self._ask(Kind.TYPECHECK, Kind.CHECKED, body, decode_checked, _TYPECHECK_MS, ("typecheck_ms", _TYPECHECK_MS))

    async def start(self, boot: Boot) -> Turn:
        if self._running:
            raise WorkerLost("this isolate was started before")
        self._limits = boot.limits
        self._running = True
        return await self._turn(Kind.START, encode_start(self._language, boot), 0)

    async def deliver(self, deliveries: Sequence[Delivery]) -> Turn:
        """Several frames when the values together pass one frame's bound; one turn for the caller."""
        if not self._running or self._over:
            raise WorkerLost("this isolate has no guest to deliver to")
        if len(deliveries) == 1:
            return await self._turn(Kind.DELIVER, encode_deliver(deliveries), 1)
        turn: Turn | None = None
        for batch in _batches(deliveries):
            if turn is not None and turn.finished is not None:
                filler = (self._issued,) * len(batch)
                turn = _joined(turn, Turn(issued_before=filler, finished=turn.finished, usage=turn.usage))
                continue
            step = await self._turn(Kind.DELIVER, encode_deliver(batch), len(batch))
            turn = step if turn is None else _joined(turn, step)
        if turn is None:
            raise WorkerLost("a delivery of nothing")
        return turn

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._waiting:   # the guest computes for nobody, and nothing but its end stops it
            self.channel.kill(WorkerLost("the worker was ended: a neighbour was cancelled while it computed"))
        elif self._running:
            self.channel.tell(Kind.CLOSE, self.id)
        self._release(self)

    # -- one request --------------------------------------------------------------------------------------

    async def _ask(self, kind: Kind, due: Kind, body: bytes, read: Callable[[bytes], Any], budget_ms: float,
                   limit: tuple[str, float]) -> Any:
        if self._closed or self._waiting:
            raise WorkerLost("this isolate is closed or busy with another request")
        answer = asyncio.get_running_loop().create_future()
        self._waiting = True
        request = Request(self.id, due, read, answer, budget_ms, limit, self._forgivable_ms())
        self.channel.request(request, kind, body)
        self._forgiven_ms += request.forgiven_ms
        try:
            result = await answer
        except asyncio.CancelledError:
            raise   # still waiting: `close` has to know
        except BaseException:
            self._waiting = False
            raise
        self._waiting = False
        return result

    def _turn(self, kind: Kind, body: bytes, deliveries: int) -> Awaitable[Turn]:
        left_ms = self._limits.cpu_ms - self._cpu_ms
        if left_ms <= 0:
            raise LimitExceeded.of("cpu_ms", self._limits.cpu_ms, "ms")
        self._deliveries = deliveries
        return self._ask(kind, Kind.TURN, body, self._read_turn, left_ms, ("cpu_ms", self._limits.cpu_ms))

    def _read_turn(self, body: bytes) -> Turn:
        turn = decode_turn(body, max_calls=self._limits.calls + 1, max_logs=_LOG_LINES)
        for call in turn.calls:
            self._issued += 1
            if call.sequence != self._issued:
                raise ProtocolError(f"call {call.sequence} where call {self._issued} was due")
        self._check_counts(turn)
        self._check_logs(turn.logs)
        self._over = turn.finished is not None
        request = self.channel.head
        assert request is not None
        self._charge(request.spent_ms, turn.usage.cpu_ms)
        return turn

    def _charge(self, spent_ms: float, reported_ms: float) -> None:
        """What the kernel counted in this turn, or the guest all in all if that is more. The worker looks for the next request
        before this answer is read: what the guest does not know of may be that.
        """
        beyond_ms = spent_ms - max(0.0, reported_ms - self._reported_ms)
        looked_ms = max(0.0, min(beyond_ms, LOOKING_MS, self._forgivable_ms()))
        self._forgiven_ms += looked_ms
        self._reported_ms = reported_ms
        self._cpu_ms = max(self._cpu_ms + spent_ms - looked_ms, reported_ms)

    def _forgivable_ms(self) -> float:
        """What is left of the CPU time that the worker may spend on looking."""
        return LOOKING_MS * (_FORGIVEN_LOOKS + self._issued) - self._forgiven_ms

    def _check_counts(self, turn: Turn) -> None:
        counts = turn.issued_before
        if len(counts) != self._deliveries:
            raise ProtocolError(f"{len(counts)} counts for {self._deliveries} deliveries")
        before = self._issued - len(turn.calls)
        for count in counts:
            if not before <= count <= self._issued:
                raise ProtocolError("counts of calls that fall or pass the calls issued")
            before = count

    def _check_logs(self, lines: Sequence[LogLine]) -> None:
        for line in lines:
            self._log_bytes += len(line.text)
        if self._log_bytes > self._limits.log_bytes + _LOG_SLACK_BYTES:
            raise ProtocolError("more log text than the run may write")


def _batches(deliveries: Sequence[Delivery]) -> list[Sequence[Delivery]]:
    if sum(len(each.value) + _DELIVERY_BYTES for each in deliveries) <= _BATCH_BYTES:
        return [deliveries] if deliveries else []
    batches: list[list[Delivery]] = [[]]
    size = 0
    for delivery in deliveries:
        size += len(delivery.value) + _DELIVERY_BYTES
        if size > _BATCH_BYTES and batches[-1]:
            batches.append([])
            size = len(delivery.value) + _DELIVERY_BYTES
        batches[-1].append(delivery)
    return list(batches)


def _joined(first: Turn, second: Turn) -> Turn:
    return Turn(first.calls + second.calls, first.issued_before + second.issued_before, second.finished, second.timer,
                first.logs + second.logs, second.usage)
