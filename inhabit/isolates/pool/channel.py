"""The host's end of one worker: requests out, exactly one reply each back, in order.

Choke point for everything a worker says. Invariants: a byte that nobody asked for, a reply for another isolate
than the one whose turn it is, a reply of another kind, or one that its asker refuses, kills the worker. Which
isolate a reply is for comes from this side's queue; the id in the frame only has to agree.
The worker is single-threaded, so the head of the queue is what it is busy with, and what a kill is blamed on.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from inhabit.errors import InhabitError, LimitExceeded, ProtocolError, WorkerLost
from inhabit.isolates.looking import AWAY_S, LOOKS_S, Patience
from inhabit.isolates.pool.process import WorkerProcess
from inhabit.wire.frames import FROM_WORKER, FrameParser, Kind, frame
from inhabit.wire.replies import decode_failed

__all__ = ["LOOKING_MS", "Channel", "Request", "Watcher"]

LOOKING_MS = LOOKS_S * 1000 * 1.25
"""What a worker may spend on looking for one request, with the last look."""

_READ_BYTES = 64 * 1024   # larger buffers come from mmap: 13 µs a read
_LONG_MS = 2.0             # a turn that took longer is looked at: computing, or kept waiting
_LOST = WorkerLost("the worker ended", fix="run the program again; its journal says what already happened")


class Watcher(Protocol):
    """Keeps time: see `watch`."""

    def busy(self, channel: Channel) -> None: ...

    @property
    def alone(self) -> bool: ...

    def answered(self, channel: Channel, wall_ms: float, spent_ms: float) -> None: ...


class Request:
    """One reply that is awaited. `read` turns the body into the answer, raising `ProtocolError` for a bad one.

    `budget_ms` is the CPU time the worker may spend on it; `limit` is the name and value of what that came from;
    `forgiven_ms` what of the CPU time before it may be, and then was, forgiven.
    """

    __slots__ = ("answer", "began_s", "budget_ms", "forgiven_ms", "isolate", "kind", "limit", "over_ms", "read", "seen_ms", "spent_ms", "still")

    def __init__(self, isolate: int, kind: Kind, read: Callable[[bytes], Any], answer: asyncio.Future[Any], budget_ms: float,
                 limit: tuple[str, float], forgiven_ms: float = 0.0) -> None:
        self.isolate = isolate
        self.kind = kind
        self.read = read
        self.answer = answer
        self.budget_ms = budget_ms
        self.limit = limit
        self.forgiven_ms = forgiven_ms
        self.began_s = 0.0
        self.spent_ms = 0.0
        self.seen_ms = -1.0     # CPU time at the last look, and looks since it moved: the kill timer's own
        self.still = 0
        self.over_ms = 0.0      # on the wall, when it was last seen within its budget

    def too_long(self) -> LimitExceeded:
        name, value = self.limit
        return LimitExceeded.of(name, value, "ms")


class Channel:
    """`lost` is called once, when the worker is gone for whatever reason; `watcher` hears of every request."""

    def __init__(self, loop: asyncio.AbstractEventLoop, connection: socket.socket, process: WorkerProcess,
                 lost: Callable[[Channel], None], watcher: Watcher) -> None:
        connection.setblocking(False)
        self._loop = loop
        self._connection = connection
        self._descriptor = connection.fileno()
        self._parser = FrameParser(FROM_WORKER)
        self._requests: deque[Request] = deque()
        self._unsent = bytearray()
        self._lost = lost
        self._watcher = watcher
        self._counted_ms = 0.0
        self._soon = False           # as the last answer came
        self._look_until_s = 0.0     # 0.0 while it does not look
        self._patience = Patience()
        self.process = process
        self.broken: InhabitError | None = None
        self.failed = False          # a guest died in it: it takes no new ones
        loop.add_reader(self._descriptor, self._readable)

    @property
    def head(self) -> Request | None:
        """What the worker is busy with."""
        return self._requests[0] if self._requests else None

    def expect(self, request: Request) -> None:
        """Wait for what the worker says by itself: READY."""
        self._begin(request)
        self._requests.append(request)
        self._watcher.busy(self)

    def request(self, request: Request, kind: Kind, body: bytes) -> asyncio.Future[Any]:
        """Send, and give the future of the answer. The caller holds at most one request an isolate."""
        if self.broken is not None:
            raise _innocent(self.broken)
        piece = frame(kind, request.isolate, body)
        if not self._requests:
            self._forgive(request)
            self._begin(request)
            self._watcher.busy(self)
        else:
            request.forgiven_ms = 0.0
        self._requests.append(request)
        self._send(piece)
        if self._soon and kind is Kind.DELIVER and self._watcher.alone:
            self._look_soon()
        return request.answer

    def tell(self, kind: Kind, isolate: int) -> None:
        """Send what has no reply."""
        if self.broken is None:
            self._send(frame(kind, isolate))

    def kill(self, error: InhabitError, *, blamed: InhabitError | None = None) -> None:
        """End the worker. Everything awaited gets `WorkerLost`; the head of the queue gets `blamed` if there is one."""
        if self.broken is not None:
            return
        self.broken = error
        self.process.kill()
        self._loop.remove_reader(self._descriptor)
        if self._unsent:
            self._loop.remove_writer(self._descriptor)
        self._connection.close()
        first: InhabitError | None = blamed or WorkerLost(error.message, fix=error.fix)
        for request in self._requests:
            if not request.answer.done():
                request.answer.set_exception(first or _innocent(error))
            first = None
        self._requests.clear()
        self._lost(self)

    def settle(self) -> None:
        """What was spent until now was for getting ready: nobody pays for it."""
        self._counted_ms = self.process.cpu_ns() / 1e6

    def _forgive(self, request: Request) -> None:
        """What the worker spent on looking for this request nobody pays for; what it computed unasked its guests do."""
        request.forgiven_ms = min(self.spent_ms(), LOOKING_MS, request.forgiven_ms)
        self._counted_ms += request.forgiven_ms

    def spent_ms(self) -> float:
        """CPU time of the turn that is under way: what was looked before it is forgiven when it begins."""
        return self.process.cpu_ns() / 1e6 - self._counted_ms

    # -- in -----------------------------------------------------------------------------------------------

    def _look_soon(self) -> None:
        """Look for a while, however many guests wait for it."""
        now = time.monotonic()
        if not self._patience.looks(now):
            return
        looks, self._look_until_s = self._look_until_s > 0.0, now + LOOKS_S
        if not looks:
            self._loop.call_soon(self._look, now - time.thread_time())

    def _look(self, lead_s: float) -> None:
        """Once a turn of the loop, so that it serves others all the while. `lead_s`: the wall's over this thread's own time, a turn ago."""
        self._readable()
        now = time.monotonic()
        lead_now_s = now - time.thread_time()
        if lead_now_s - lead_s > AWAY_S:
            self._patience.taken(now)
        elif self._requests and now < self._look_until_s:
            self._loop.call_soon(self._look, lead_now_s)
            return
        self._look_until_s = 0.0

    def _readable(self) -> None:
        try:
            data = self._connection.recv(_READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self.kill(_LOST)
            return
        try:
            if not self._requests:
                raise ProtocolError("the worker spoke without being asked")
            for kind, isolate, body in self._parser.feed(data):
                self._reply(kind, isolate, body)
            if not self._requests and self._parser.partial:
                raise ProtocolError("the worker spoke without being asked")
        except ProtocolError as error:
            self.kill(error, blamed=error)

    def _reply(self, kind: Kind, isolate: int, body: bytes) -> None:
        request = self.head
        if request is None:
            raise ProtocolError("a reply that nobody waits for")
        if isolate != request.isolate or (kind is not request.kind and kind is not Kind.FAILED):
            raise ProtocolError(f"a reply {kind.name} for isolate {isolate}, where {request.kind.name} for {request.isolate} was due")
        failed = kind is Kind.FAILED
        request.spent_ms = self.spent_ms()
        wall_ms = (time.monotonic() - request.began_s) * 1000
        self._soon = wall_ms < LOOKS_S * 1000
        if wall_ms > _LONG_MS:
            self._watcher.answered(self, wall_ms, request.spent_ms)
        answer = decode_failed(body) if failed else request.read(body)
        self._requests.popleft()
        self._counted_ms += request.spent_ms
        if self._requests:
            self._begin(self._requests[0])
        if failed:
            self.failed = True
        if request.answer.done():   # its asker was cancelled
            return
        if failed:
            request.answer.set_exception(answer)
        else:
            request.answer.set_result(answer)

    def _begin(self, request: Request) -> None:
        request.began_s = time.monotonic()

    # -- out ----------------------------------------------------------------------------------------------

    def _send(self, piece: bytes) -> None:
        if self._unsent:
            self._unsent += piece
            return
        try:
            sent = self._connection.send(piece)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self._loop.call_soon(self.kill, _LOST)
            return
        if sent < len(piece):
            self._unsent += piece[sent:]
            self._loop.add_writer(self._descriptor, self._writable)

    def _writable(self) -> None:
        try:
            sent = self._connection.send(self._unsent)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.kill(_LOST)
            return
        del self._unsent[:sent]
        if not self._unsent:
            self._loop.remove_writer(self._descriptor)


def _innocent(error: InhabitError) -> WorkerLost:
    """For a run that was not the worker's head: it died of another one."""
    lost = WorkerLost(error.message, fix=error.fix)
    lost.neighbours = True
    return lost
