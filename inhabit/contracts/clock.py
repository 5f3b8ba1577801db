"""The time of day as all records have it. Who decides or replays gets it as a value; this is where the value comes from."""

from __future__ import annotations

import time

__all__ = ["now_ms"]


def now_ms() -> int:
    """Unix time in ms."""
    return time.time_ns() // 1_000_000
