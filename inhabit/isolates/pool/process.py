"""A worker's process as the host sees it: how much it computed, whether it computes now, how it is ended.

Numbers come from the kernel, never from the worker. A pidfd names the process, so that a kill cannot hit
another one that got its number.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time

__all__ = ["WorkerProcess"]


class WorkerProcess:
    """`pidfd` is None where the system has none."""

    def __init__(self, pid: int, pidfd: int | None) -> None:
        self.pid = pid
        self._pidfd = pidfd
        self._members = [pid]
        self._clocks = [_clock(pid)]
        self._idle = False

    def meet_children(self) -> None:
        """Look once for the processes that an engine started for itself; the jail lets it start no more."""
        self._members = _with_children(self.pid)
        self._clocks = [_clock(pid) for pid in self._members]

    def cpu_ns(self) -> int:
        """CPU time spent by it and its children; what is gone or cannot be read counts nothing."""
        spent = 0
        for clock in self._clocks:
            try:
                spent += time.clock_gettime_ns(clock)
            except OSError:
                continue
        return spent

    def computes(self) -> bool:
        """Whether any of its threads has work to do this very moment, be it running or waiting for a CPU."""
        return any(_state(pid, thread) == "R" for pid in self._members for thread in _threads(pid))

    def prefer(self, *, idle: bool) -> bool:
        """Let it run only where nobody else wants to (`idle`), or like anyone else. False where that is not allowed.

        A worker without a child can start no thread, and what it has beside its first one keeps time for its guests:
        that one must come to its turn while they spin.
        """
        if idle == self._idle:
            return True
        policy = os.SCHED_IDLE if idle else os.SCHED_OTHER
        try:
            for pid in self._members:
                for thread in [pid] if len(self._members) == 1 else _threads(pid):
                    os.sched_setscheduler(thread, policy, os.sched_param(0))
        except OSError:
            return False
        self._idle = idle
        return True

    def kill(self) -> None:
        """SIGKILL, at once; all its namespace goes with it. Idempotent."""
        with contextlib.suppress(ProcessLookupError):
            if self._pidfd is None:
                os.kill(self.pid, signal.SIGKILL)
            else:
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        self.forget()

    def forget(self) -> None:
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None


def _clock(pid: int) -> int:
    """The kernel's name for "CPU time of process pid"."""
    return (~pid << 3) | 2


def _threads(pid: int) -> list[int]:
    try:
        return [int(name) for name in os.listdir(f"/proc/{pid}/task")]
    except OSError:
        return []


def _state(pid: int, thread: int) -> str:
    try:
        with open(f"/proc/{pid}/task/{thread}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0].decode()
    except OSError:
        return ""


def _with_children(pid: int) -> list[int]:
    family = [pid]
    for member in family:   # grows while it is walked: children of children
        for thread in _threads(member):
            with contextlib.suppress(OSError), open(f"/proc/{member}/task/{thread}/children") as listing:
                family += map(int, listing.read().split())
    return family
