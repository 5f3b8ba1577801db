"""Looking for what is about to come, rather than sleeping until it does.

Waking a process that sleeps on an idle core takes longer than a small turn of a guest (20 to 40 µs each way under a
hypervisor). So both ends of a worker's socket look for a moment before they sleep, if the last wait was a short one.
The host looks between the turns of its loop, and only while no other worker is asked anything; a worker looks with
its low priority and for nobody's account. Nobody looks where there is but one core: it would keep the other end from
its turn.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["LOOKS_S", "cores"]

LOOKS_S = 0.0005
"""How short a wait must be to be looked through: longer than a host takes to decide and journal a call, with what comes between."""
_GROUPS, _OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def cores() -> float:
    """How many cores this process may use at once: those it is bound to, or the less that its control group (version 2)
    grants.
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min([float(bound), *_granted()])


def _granted() -> list[float]:
    try:
        own = _OWN.read_text().rpartition("0::/")[2].splitlines()[0]
    except (OSError, IndexError):
        return []
    found: list[float] = []
    group = _GROUPS / own
    while group.is_relative_to(_GROUPS):
        try:
            quota, period = (group / "cpu.max").read_text().split()
            found.append(int(quota) / int(period))
        except (OSError, ValueError):   # no limit is written as "max"
            pass
        group = group.parent
    return found
