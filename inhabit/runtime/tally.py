"""What the server has done since its start, counted where it is recorded: what an operator alerts on.

Labels come from fixed sets (states, verdicts, names of limits), never from a program or a tenant.
"""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Sequence

from inhabit.contracts.run import Entry, Intent, Outcome, Recorder, Terminal, Ticket, Write

__all__ = ["BOUNDS_S", "Counting", "Histogram", "Tally"]

BOUNDS_S = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0)


class Histogram:
    """Durations by upper bound, as Prometheus wants them."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS_S) + 1)
        self.seconds = 0.0

    def observe(self, seconds: float) -> None:
        self._counts[bisect.bisect_left(BOUNDS_S, seconds)] += 1
        self.seconds += seconds

    def cumulative(self) -> list[tuple[str, int]]:
        """`(upper bound, observations up to it)`; the last one is all."""
        total, lines = 0, list[tuple[str, int]]()
        for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), self._counts, strict=True):
            total += count
            lines.append((bound, total))
        return lines


class Tally:
    """`runs` by the state they ended in, `refused` by the limit that was reached, `calls` by verdict, `failed_calls`
    those whose program got an error, refused ones too.
    """

    def __init__(self) -> None:
        self.runs: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.failed_calls = 0
        self.call_seconds = Histogram()

    def note(self, entry: Entry) -> None:
        if isinstance(entry, Intent):
            self.calls[str(entry.decision.get("verdict"))] += 1
        elif isinstance(entry, Outcome):
            self.call_seconds.observe(entry.duration_ms / 1000)
            self.failed_calls += not entry.ok
        elif isinstance(entry, Terminal):
            self.runs[entry.state] += 1


class Counting:
    """A recorder that counts what goes through it."""

    def __init__(self, recorder: Recorder, tally: Tally) -> None:
        self._recorder = recorder
        self._tally = tally

    def append(self, run_id: str, *entries: Entry, also: Sequence[Write] = ()) -> Ticket:
        ticket = self._recorder.append(run_id, *entries, also=also)   # what was not taken is not counted
        for entry in entries:
            self._tally.note(entry)
        return ticket
