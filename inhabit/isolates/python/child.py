"""The interpreter process of one worker, and the one session that may be open in it.

Model: Monty's client spawns `monty subprocess` once, in `spawn`, and speaks to it over two pipes. The child serves
one session at a time, so a worker holds one living guest; checks use the same child between guests.

What the jail has to know (measured with strace on 1.4.0):
- `spawn` starts two threads in this process (`tokio-rt-worker`), and makes the child by clone3(CLONE_VFORK) and
  execve with an empty environment. So it must come after every fork of this process and before execve is denied.
  The child inherits descriptors without FD_CLOEXEC and any Landlock and seccomp layers set before.
- The child then makes one thread more. While serving it needs only read, write, mmap, munmap, mprotect, mremap,
  brk, futex, getrandom, sigaltstack, sched_getaffinity, rt_sigprocmask, exit_group. It opens no file after its
  libraries (`/proc/self/maps` is tried once, for the stack guard).
- The client needs write, read, epoll_wait, epoll_ctl, futex, wait4, clock_gettime, and memory calls.
A child that died is never replaced here: `lost` stays set and everything after raises `WorkerLost`, so the pool
replaces the worker.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic_monty import Monty, MontyError, MontySession

from inhabit.errors import WorkerLost

__all__ = ["Child", "Session"]

_CHECKOUT_S = 2.0
"""A returned session is free at once; longer means that the child is in use or gone."""
_GRACE_S = 0.05
"""One operation on big numbers or text may not look at the clock; the client ends the child then."""
_STARVED_FACTOR, _STARVED_S = 10, 5
"""Monty's clock counts the wall while guest code runs, so a worker short of CPU would be stopped early. Where a
parent watches the CPU time itself, it is only the backstop for a worker that gets next to none."""
_SUSPENSIONS = 2**53
"""Monty's own cap on host round trips; ours are `calls`, `timers` and CPU, so this one is out of the way."""


class Child:
    """Owns the client's pool of exactly one process. `watched`: a parent kills by CPU time. Raises `WorkerLost` from `open` when it is gone or busy."""

    def __init__(self, binary: str, *, watched: bool) -> None:
        self._binary = binary
        self._watched = watched
        self._pool: Monty | None = None
        self._open: Session | None = None
        self._pid: int | None = None
        self.lost = False

    @property
    def busy(self) -> bool:
        return self._open is not None

    def spawn(self) -> None:
        """Start the child, if it was not; idempotent. Raises `WorkerLost` when it cannot be started."""
        if self._pool is not None:
            return
        pool = Monty(binary_path=self._binary, min_processes=1, max_processes=1, checkout_timeout=_CHECKOUT_S,
                     feed_duration_limit_grace=_GRACE_S)
        try:
            pool.__enter__()
        except (MontyError, OSError) as error:
            raise WorkerLost(f"the Python interpreter did not start: {error}") from None
        self._pool = pool

    def open(self, *, cpu_s: float, memory_bytes: int, **options: Any) -> Session:
        """A fresh session. `options` go to Monty's `checkout`."""
        if self.lost:
            raise WorkerLost("the Python interpreter of this worker is gone")
        if self._open is not None:
            raise WorkerLost("a worker holds one Python guest at a time")
        self.spawn()
        assert self._pool is not None
        wall_s = cpu_s * _STARVED_FACTOR + _STARVED_S if self._watched else cpu_s
        limits = {"max_feed_duration_secs": wall_s, "max_memory": memory_bytes, "max_suspensions": _SUSPENSIONS}
        inner = self._pool.checkout(limits=limits, **options)   # pyright: ignore[reportArgumentType] - TypedDict
        try:
            inner.__enter__()
        except (MontyError, TimeoutError, OSError) as error:
            raise self.gone(str(error)) from None
        if self._pid is None:
            self._pid = inner.worker_pid
        self._open = Session(inner, self._closed, inner.worker_pid)
        return self._open

    def gone(self, why: str) -> WorkerLost:
        """Note that the child is not to be used again, and give the error that says so."""
        self.lost = True
        return WorkerLost(f"the Python interpreter died: {why[:500]}")

    def close(self) -> None:
        """End the child. For tests and benches; a worker ends with its process."""
        if self._open is not None:
            self._open.close()
        if self._pool is not None:
            self._pool.__exit__(None, None, None)
            self._pool = None
            self.lost = True

    def _closed(self) -> None:
        self._open = None


@dataclass(slots=True)
class Session:
    """One checked-out session; `close` gives the child back, suspended or not."""

    monty: MontySession
    _on_close: Callable[[], None]
    _pid: int | None
    _began_s: float = field(default=0.0)
    _rested_s: float = field(default=0.0)
    _closed: bool = False

    def __post_init__(self) -> None:
        self._began_s = self._clock()

    def cpu_ms(self) -> float:
        """CPU of this process and its child since the session began, without what passed between its turns: this process
        looks for the host then.
        """
        return (self._clock() - self._began_s) * 1000

    def rest(self) -> float:
        """A turn is over: `cpu_ms` then."""
        self._rested_s = self._clock()
        return (self._rested_s - self._began_s) * 1000

    def go_on(self) -> None:
        """The next turn begins."""
        self._began_s += self._clock() - self._rested_s

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            self.monty.__exit__(None, None, None)
        except (MontyError, OSError, RuntimeError):
            pass   # the child is gone already; whoever ran it has heard
        finally:
            self._on_close()

    def _clock(self) -> float:
        own = time.process_time()
        if self._pid is None:
            return own
        try:   # clock_getcpuclockid(3): the CPU clock of another process, by number
            return own + time.clock_gettime((~self._pid << 3) | 2)
        except OSError:
            return own
