"""The kill timer and the fair share: one clock tick for all workers that were asked something.

A request's budget is CPU time. While a worker computes alone, wall time is CPU time; so it is first looked at
when its budget has passed on the wall, and then killed if the kernel says that the CPU time was spent a while ago,
in which an engine stops its guest by itself and keeps the guests beside it, or that it does not even try to compute.
One that is kept from the CPU by others is given the time, up to a hard bound.

Workers run where nobody else wants to (SCHED_IDLE). One that gets less than its share among our own workers competes
with others than us: it is lifted to a normal share, and for a while so are the rest. One that has had its share and
computes for long stays low while the others are lifted above it, so that many spinning guests do not slow an honest
one. Where this process may not lift what it lowered (it is not root and has no RLIMIT_NICE), a worker runs like
anyone until it has computed for long.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import time

from inhabit.errors import WorkerLost
from inhabit.isolates.looking import CORES, cores
from inhabit.isolates.pool.channel import Channel, Request
from inhabit.isolates.pool.process import WorkerProcess
from inhabit.limits import KILL_GRACE_MS

__all__ = ["Watch"]

_TICK_S = 0.01
_LATE_MS = KILL_GRACE_MS - 50       # leaves a tick, a kill and its report within the grace
_OWN_STOP_MS, _OWN_STOP_CPU_MS = 35, 20   # beyond the budget, on the wall and computing: time in which an engine stops its guest
_HARD_FACTOR, _HARD_MS = 10, 5_000  # of the wall, however starved
_SHORT_TURN_MS = 20
_STILL_LOOKS = 5
_STARVED = 0.5                      # of a fair share
_CONTENDED_S = 5.0
_RLIMIT_NICE, _NICE_ZERO = 13, 20


class Watch:
    """Ticks only while some worker is busy."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._busy: set[Channel] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._may_lift = _may_lift()
        self._cores = cores()
        self._contended_until_s = 0.0

    def busy(self, channel: Channel) -> None:
        self._busy.add(channel)
        self.settle(channel.process)
        if self._timer is None:
            self._timer = self._loop.call_later(_TICK_S, self._tick)

    @property
    def alone(self) -> bool:
        """Whether nobody but one worker was asked anything lately, and this process has a whole core beside that worker's."""
        return len(self._busy) == 1 and self._cores >= CORES

    def settle(self, process: WorkerProcess) -> None:
        """Give a worker that waits the share it should wake up with."""
        if self._may_lift:
            process.prefer(idle=not self._contended())

    def answered(self, channel: Channel, wall_ms: float, spent_ms: float) -> None:
        """A turn ended that was not short: was it kept waiting?"""
        if self._may_lift and self._starved(wall_ms, spent_ms):
            channel.process.prefer(idle=False)

    def _contended(self) -> bool:
        return time.monotonic() < self._contended_until_s

    def _starved(self, wall_ms: float, spent_ms: float) -> bool:
        fair = min(1.0, self._cores / max(1, len(self._busy)))
        if spent_ms >= wall_ms * fair * _STARVED:
            return False
        self._contended_until_s = time.monotonic() + _CONTENDED_S
        return True

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
                self.settle(channel.process)
            else:
                self._look(channel, request, (now - request.began_s) * 1000)
        self._timer = self._loop.call_later(_TICK_S, self._tick) if self._busy else None

    def _look(self, channel: Channel, request: Request, wall_ms: float) -> None:
        if wall_ms < _TICK_S * 1000:
            return
        spent_ms = channel.spent_ms()
        if spent_ms < request.budget_ms:
            request.over_ms = wall_ms   # the last time that it was not
        if wall_ms >= request.budget_ms + _LATE_MS:
            self._end(channel, request, wall_ms, spent_ms)
        elif self._may_lift:
            starved, long = self._starved(wall_ms, spent_ms), spent_ms > _SHORT_TURN_MS
            if long:   # the others are to be preferred to it
                self._contended_until_s = time.monotonic() + _CONTENDED_S
            channel.process.prefer(idle=not starved and (long or not self._contended()))
        elif spent_ms > _SHORT_TURN_MS * 2:
            channel.failed = channel.process.prefer(idle=True) or channel.failed   # for good: no new guest for it

    def _end(self, channel: Channel, request: Request, wall_ms: float, spent_ms: float) -> None:
        if sys.platform != "linux" or (   # elsewhere only the wall clock is there to judge by
                spent_ms >= request.budget_ms + _OWN_STOP_CPU_MS and wall_ms >= request.over_ms + _OWN_STOP_MS):
            channel.kill(WorkerLost("the worker was ended: another guest in it used up its CPU time"), blamed=request.too_long())
        elif wall_ms > request.budget_ms * _HARD_FACTOR + _HARD_MS or self._idles(channel, request, spent_ms):
            channel.kill(WorkerLost("the worker was ended: it did not answer and did not compute"))

    def _idles(self, channel: Channel, request: Request, spent_ms: float) -> bool:
        """Several looks in a row without a thread that runs and without CPU time spent: one look may fall between two
        steps of a worker whose processes talk to each other, or that waits for this process to read.
        """
        moved = spent_ms != request.seen_ms or channel.process.computes()
        request.seen_ms = spent_ms
        request.still = 0 if moved else request.still + 1
        return request.still >= _STILL_LOOKS


def _may_lift() -> bool:
    """Whether a process that was made SCHED_IDLE can be given a normal share again."""
    if not hasattr(os, "SCHED_IDLE"):
        return False
    return os.geteuid() == 0 or resource.getrlimit(_RLIMIT_NICE)[0] >= _NICE_ZERO
