"""Every bound of a run, with its unit in the name.

Omitted never means unlimited: a missing, null, zero, negative, non-finite or non-numeric value gives the
default or an error, and no value passes its ceiling.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from inhabit.errors import ConfigError

__all__ = [
    "CEILINGS", "DEFAULT_LIMITS", "KILL_GRACE_MS", "LIVE_RUNS", "LIVE_RUNS_OF_ONE_TENANT", "MAX_FRAME_BYTES", "MAX_JSON_DEPTH",
    "OPEN_STORES", "QUESTIONS", "STORE_IDLE_S", "Limits", "LiveRuns", "Questions",
]

KILL_GRACE_MS = 100
"""A guest is stopped within its limit plus this; the parent's kill timer is set by it."""
MAX_FRAME_BYTES = 48 * 1024 * 1024
"""One wire frame; above `value_bytes` for a batch of results plus envelope, below what a host can hold."""
MAX_JSON_DEPTH = 200
"""Nesting of one value; deeper data is refused before any recursive code sees it."""


OPEN_STORES = 100
"""Tenants' stores that are open at once. Each takes a writer, up to three readers and some 8 descriptors: within the 1,024 of a process."""
STORE_IDLE_S = 60.0
"""A store that nobody used for so long is closed."""


@dataclass(frozen=True, slots=True)
class LiveRuns:
    """Runs that may go on at once. One more is refused, not queued: a queue without bound is a full memory later."""

    live_runs: int = 2_000
    live_runs_per_tenant: int = 500   # a quarter: no tenant can take the server from the others
    live_runs_per_user: int = 250     # half of the tenant's: no user can take it from the colleagues


@dataclass(frozen=True, slots=True)
class Questions:
    """Calls that may wait for people at once. A person who is asked too often says yes to everything."""

    questions_per_run: int = 50
    questions_per_tenant: int = 500


QUESTIONS = Questions()
LIVE_RUNS = LiveRuns()
LIVE_RUNS_OF_ONE_TENANT = LiveRuns(live_runs_per_tenant=2_000, live_runs_per_user=1_000)
"""For a server that has one tenant, to whom all of it belongs."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one run. All are enforced on the host side or in the worker, never by the guest.

    Raises `ConfigError` from `of` for an unknown name or a value that is not a finite positive number.
    """

    cpu_ms: int = 5_000                 # guest computing, all turns together; waiting is free
    wall_ms: int = 300_000              # start to end while the run is active (suspension not counted)
    memory_bytes: int = 128 * 1024 * 1024
    source_bytes: int = 256 * 1024
    input_bytes: int = 16 * 1024 * 1024
    value_bytes: int = 16 * 1024 * 1024     # one argument object or one result
    value_items: int = 200_000              # members and elements of one of these: their number, not their bytes, holds the event loop
    log_bytes: int = 256 * 1024             # all console/print output of a run
    result_tokens: int = 6_000              # what returns to the model; the full value stays in the journal
    calls: int = 10_000
    calls_in_flight: int = 1_000
    call_ms: int = 60_000                   # one call of one operation
    timers: int = 10_000                    # pending timers in the guest
    journal_bytes: int = 256 * 1024 * 1024  # all values recorded for one run

    @classmethod
    def of(cls, given: Mapping[str, Any] | None = None, *, base: Limits | None = None) -> Limits:
        """`base` (default: the defaults) with `given` laid over it, each value clamped to its ceiling."""
        values = asdict(base or DEFAULT_LIMITS)
        for name, value in (given or {}).items():
            if name not in values:
                raise ConfigError(f"unknown limit {name!r}", fix=f"one of {', '.join(sorted(values))}")
            if value is None:
                continue
            values[name] = min(_positive(name, value), getattr(CEILINGS, name))
        return cls(**values)

    def narrowed(self, given: Mapping[str, Any] | None) -> Limits:
        """Like `of`, but never looser than `self`: for what a program's caller may ask."""
        asked = Limits.of(given, base=self)
        return Limits(**{f.name: min(getattr(self, f.name), getattr(asked, f.name)) for f in fields(self)})

    def as_value(self) -> dict[str, int]:
        return asdict(self)


def _positive(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 1:
        raise ConfigError(f"limit {name} must be a finite number >= 1, got {value!r}", fix="leave it out for the default")
    return int(value)


DEFAULT_LIMITS = Limits()
CEILINGS = Limits(
    cpu_ms=600_000, wall_ms=86_400_000, memory_bytes=2 * 1024**3, source_bytes=4 * 1024**2,
    input_bytes=32 * 1024**2, value_bytes=32 * 1024**2, value_items=1_000_000, log_bytes=10 * 1024**2, result_tokens=100_000,
    calls=1_000_000, calls_in_flight=10_000, call_ms=3_600_000, timers=100_000, journal_bytes=8 * 1024**3,
)
