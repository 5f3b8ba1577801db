"""Ends compiled code at its CPU deadline, at no cost to code that keeps within it.

Model: the compiled code counts nothing. A thread sleeps on the CPU clock of the thread that runs guests, so that
while a guest waits nothing moves. Code that is found running past its deadline loses its memory: the pages are
made inaccessible, its next load or store faults, and wasmtime turns a fault inside a guest's memory into a trap.
The interpreter's stack is taken first, and what still runs at the next look, a loop that calls nothing, loses all.

Invariants: memory is taken only from code that runs at that moment, and past its deadline (`leave` and the look
exclude each other); whoever lost memory is never read again. Nothing that compiled code calls touches its memory
from outside it (`blocks`), where a fault would be the end of the process.
"""

from __future__ import annotations

import ctypes
import sys
import threading
import time
from collections.abc import Callable
from typing import Protocol

__all__ = ["STACK_BYTES", "Stopper"]

STACK_BYTES = 1024 * 1024
"""Both modules were linked with their stack at the start of memory, of this size."""
_RESERVED_BYTES = 1 << 32
_LOOK_NS = 10_000_000
_LOOK_AGAIN_NS = 4_000_000   # after a first part was taken
_NEVER_NS = 1 << 62
_THREAD_STACK_BYTES = 256 * 1024
_TIMER_ABSTIME = 1


class _Moment(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]


class Stoppable(Protocol):
    """`base`: where its memory lies. `taken`: bytes of it that were made inaccessible."""

    base: int
    taken: int


class Stopper:
    """One a process. Until `start`, deadlines are kept by nobody: images are built and warmed up so."""

    def __init__(self) -> None:
        library = ctypes.CDLL(None)
        self._sleep: Callable[..., int] | None = library.clock_nanosleep if sys.platform == "linux" else None
        self._protect = library.mprotect
        self._protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        self._lock = threading.Lock()
        self._running: Stoppable | None = None
        self._clock = 0
        self.deadline_ns = _NEVER_NS   # on the thread's CPU clock; set before `enter`

    def start(self) -> None:
        """Look after the calling thread, from a thread of its own. Idempotent."""
        if self._clock:
            return
        self._clock = time.pthread_getcpuclockid(threading.get_ident())
        usual = threading.stack_size(_THREAD_STACK_BYTES)
        try:
            threading.Thread(target=self._look_on, name="stopper", daemon=True).start()
        finally:
            threading.stack_size(usual)

    def allow(self, ms: float) -> None:
        """Set the deadline, from now."""
        self.deadline_ns = time.thread_time_ns() + int(ms * 1e6)

    def enter(self, code: Stoppable) -> None:
        self._running = code

    def leave(self) -> None:
        with self._lock:
            self._running = None

    def _look_on(self) -> None:
        while True:
            self._pause()
            with self._lock:
                code = self._running
                if code is not None and time.clock_gettime_ns(self._clock) > self.deadline_ns:
                    self._take(code)

    def _take(self, code: Stoppable) -> None:
        size = _RESERVED_BYTES if code.taken else STACK_BYTES
        if size > code.taken and self._protect(code.base, size, 0) == 0:
            code.taken = size

    def _pause(self) -> None:
        if self._sleep is None:
            time.sleep(_LOOK_NS / 1e9)
            return
        now = time.clock_gettime_ns(self._clock)
        until = min(now + _LOOK_NS, self.deadline_ns) if now < self.deadline_ns else now + _LOOK_AGAIN_NS
        moment = _Moment(until // 1_000_000_000, until % 1_000_000_000)
        if self._sleep(self._clock, _TIMER_ABSTIME, ctypes.byref(moment), None):
            time.sleep(_LOOK_NS / 1e9)   # a kernel that cannot sleep on another thread's clock
