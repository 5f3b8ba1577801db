"""Deadlines of calls, at almost no cost for a call that keeps its own.

`asyncio.timeout` makes and cancels a timer for every use. Here one timer serves all: it stands at the earliest
deadline there was when it was set, and looks at what is in flight when it rings. A call that ends in time costs
an entry in a table.

Invariant: as with `asyncio.timeout`, a deadline that passed cancels its task once and comes out as `TimeoutError`;
a cancellation by anybody else stays a cancellation, also when both happen.
"""

from __future__ import annotations

import asyncio
from types import TracebackType

__all__ = ["Deadline", "Deadlines"]

_EARLY_S = 0.001   # a loop that counts in milliseconds may ring by so much too soon


class Deadline:
    """`with`: the task that enters is cancelled at `when_s` (loop time), which then is a `TimeoutError`."""

    __slots__ = ("_all", "_cancelling", "_task", "passed", "when_s")

    def __init__(self, all: Deadlines, task: asyncio.Task[object], when_s: float) -> None:
        self._all = all
        self._task = task
        self._cancelling = 0
        self.when_s = when_s
        self.passed = False

    def __enter__(self) -> None:
        self._cancelling = self._task.cancelling()
        self._all.add(self)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._all.remove(self)
        if self.passed and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def ring(self) -> None:
        self.passed = True
        self._task.cancel()


class Deadlines:
    """Those of one event loop at a time."""

    def __init__(self) -> None:
        self._open: dict[Deadline, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._rings_s = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None

    def at(self, loop: asyncio.AbstractEventLoop, when_s: float) -> Deadline:
        """For the current task."""
        task = asyncio.current_task(loop)
        assert task is not None, "a deadline needs a task to cancel"
        if loop is not self._loop:
            self._loop, self._timer = loop, None
            self._open.clear()
        return Deadline(self, task, when_s)

    def add(self, deadline: Deadline) -> None:
        self._open[deadline] = None
        if self._timer is None or deadline.when_s < self._rings_s:
            self._set(deadline.when_s)

    def remove(self, deadline: Deadline) -> None:
        self._open.pop(deadline, None)

    def _set(self, when_s: float) -> None:
        assert self._loop is not None
        if self._timer is not None:
            self._timer.cancel()
        self._rings_s = when_s
        self._timer = self._loop.call_at(when_s, self._ring)

    def _ring(self) -> None:
        assert self._loop is not None
        self._timer = None
        now_s = self._loop.time() + _EARLY_S
        for deadline in tuple(self._open):
            if deadline.when_s <= now_s and not deadline.passed:
                deadline.ring()
        waiting = [deadline.when_s for deadline in self._open if not deadline.passed]
        if waiting:
            self._set(min(waiting))
