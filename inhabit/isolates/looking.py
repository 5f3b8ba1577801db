"""Looking for what is about to come, rather than sleeping until it does.

Waking a process that sleeps on an idle core takes longer than a small turn of a guest (20 to 40 µs each way under a
hypervisor). So both ends of a worker's socket look for a moment before they sleep, if the last wait was a short one.
The host looks between the turns of its loop, and only while no other worker is asked anything; a worker looks with
the priority that it has, the lowest where the server may set that, and for nobody's account. Nobody looks where there
are less than `CORES`: it would keep the other end from its turn. Nor on a machine that has other work: who looks has
used up its share of the core when the answer is there, and comes after everyone else. Whoever finds in the middle of a
look that it was off its core for long sleeps for a while, and for longer if that happens again soon.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["AWAY_S", "CORES", "LOOKS_S", "Patience", "cores"]

LOOKS_S = 0.0005
"""How short a wait must be to be looked through: longer than a host takes to decide and journal a call, with what comes between."""
CORES = 2
"""How many cores it takes: a whole one for each end."""
AWAY_S = 0.002
"""Off its core for longer than this, others wanted it: the journal's writer holds the interpreter's lock for less."""
_SHORT_S, _LONG_S = 0.1, 2.0   # for how long one does not look, and where its core is taken again within `_CALM_S`
_CALM_S = 1.0                  # a virtual machine's core is taken now and then though nobody else is on it
_GROUPS, _OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


class Patience:
    """Of one who looks: for how long it does not, once others took its core."""

    __slots__ = ("_again_s",)

    def __init__(self) -> None:
        self._again_s = 0.0

    def looks(self, now_s: float) -> bool:
        return now_s >= self._again_s

    def taken(self, now_s: float) -> None:
        """In the middle of a look it was off its core for longer than `AWAY_S`."""
        self._again_s = now_s + (_SHORT_S if now_s - self._again_s > _CALM_S else _LONG_S)


def cores() -> float:
    """How many cores this process may use at once: those it is bound to, or the less that its control group grants."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min([float(bound), *_granted()])


def _granted() -> list[float]:
    try:
        lines = _OWN.read_text().splitlines()
    except OSError:
        return []
    found: list[float] = []
    for line in lines:
        controllers, _, own = line.partition(":")[2].partition(":")
        if controllers == "" or "cpu" in controllers.split(","):   # version 2, version 1
            group = _GROUPS / ("cpu" if controllers else "") / own.lstrip("/")
            found += [granted for each in (group, *group.parents) if each.is_relative_to(_GROUPS) and (granted := _quota(each)) > 0]
    return found


def _quota(group: Path) -> float:
    """Not above zero: none."""
    for names in (["cpu.max"], ["cpu.cfs_quota_us", "cpu.cfs_period_us"]):
        try:
            quota, period = " ".join((group / name).read_text() for name in names).split()
            return int(quota) / int(period)
        except (OSError, ValueError):   # no limit is written as "max", or as -1
            continue
    return 0.0
