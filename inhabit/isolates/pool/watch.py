"""The kill timer and the fair share: one clock tick for all workers that were asked something.

A request's budget is CPU time. While a worker computes alone, wall time is CPU time; so it is first looked at
when its budget has passed on the wall, and then killed if the kernel says that the CPU time was spent, or that
it does not even try to compute. One that is kept from the CPU by others is given the time, up to a hard bound.

Workers run where nobody else wants to (SCHED_IDLE), which also keeps a host call on one core: a wake-up there
costs a fifth. One that is new to its turn and starved is lifted to a normal share; one that has computed
for long is not, so many spinning guests do not slow an honest one. Where this process may not lift what it
lowered (it is not root and has no RLIMIT_NICE), a worker runs like anyone until it has computed for long.
"""

from __future__ import annotations

import asyncio
import os
import resource
import time

from inhabit.errors import WorkerLost
from inhabit.isolates.pool.channel import Channel, Request
from inhabit.limits import KILL_GRACE_MS

__all__ = ["Watch"]

_TICK_S = 0.01
_LATE_MS = KILL_GRACE_MS - 50       # leaves a tick, a kill and its report within the grace
_HARD_FACTOR, _HARD_MS = 10, 5_000  # of the wall, however starved
_SHORT_TURN_MS = 20
_STARVED_SHARE = 0.5
_RLIMIT_NICE, _NICE_ZERO = 13, 20


class Watch:
    """Ticks only while some worker is busy."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._busy: set[Channel] = set()
        self._timer: asyncio.TimerHandle | None = None
        self.may_lift = _may_lift()

    def busy(self, channel: Channel) -> None:
        self._busy.add(channel)
        if self._timer is None:
            self._timer = self._loop.call_later(_TICK_S, self._tick)

    def close(self) -> None:
        self._busy.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        now = time.monotonic()
        for channel in tuple(self._busy):
            request = channel.head
            if request is None or channel.broken is not None:
                self._busy.discard(channel)
                if self.may_lift:
                    channel.process.prefer(idle=True)
            else:
                self._look(channel, request, (now - request.began_s) * 1000)
        self._timer = self._loop.call_later(_TICK_S, self._tick) if self._busy else None

    def _look(self, channel: Channel, request: Request, wall_ms: float) -> None:
        if wall_ms < _TICK_S * 1000:
            return
        overdue = wall_ms >= request.budget_ms + _LATE_MS
        if not overdue and wall_ms > _SHORT_TURN_MS * 4:
            return
        spent_ms = channel.spent_ms()
        if overdue:
            self._end(channel, request, wall_ms, spent_ms)
        elif self.may_lift:
            channel.process.prefer(idle=spent_ms > _SHORT_TURN_MS or spent_ms > wall_ms * _STARVED_SHARE)
        elif spent_ms > _SHORT_TURN_MS * 2:
            channel.failed = channel.process.prefer(idle=True) or channel.failed   # for good: no new guest for it

    def _end(self, channel: Channel, request: Request, wall_ms: float, spent_ms: float) -> None:
        if spent_ms >= request.budget_ms:
            channel.kill(WorkerLost("the worker was ended: another guest in it used up its CPU time"), blamed=request.too_long())
        elif wall_ms > request.budget_ms * _HARD_FACTOR + _HARD_MS or not channel.process.computes():
            channel.kill(WorkerLost("the worker was ended: it did not answer and did not compute"))


def _may_lift() -> bool:
    """Whether a process that was made SCHED_IDLE can be given a normal share again."""
    if not hasattr(os, "SCHED_IDLE"):
        return False
    return os.geteuid() == 0 or resource.getrlimit(_RLIMIT_NICE)[0] >= _NICE_ZERO
