"""A recorded run executed again, with nothing behind it: is everything that it did what its journal says?

Model: a guest is born from the header and given the recorded deliveries in their order. There is no bridge and no
connector here, so a replay cannot reach anything. Its calls, where it issued them, its log and its end are compared with
the record, byte by byte; the first difference is the answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inhabit.contracts.json import is_object
from inhabit.contracts.program import Boot, Finished, Isolate, LogLine, Turn
from inhabit.contracts.run import Delivered, Logged, RunRecord, Terminal
from inhabit.errors import Cancelled
from inhabit.limits import Limits
from inhabit.runtime.endings import ended
from inhabit.runtime.handles import RETURNED
from inhabit.runtime.recording import Diverged, Recording
from inhabit.runtime.writes import Writes
from inhabit.wire.values import decode_value

__all__ = ["Replayed", "replay"]

_BATCH = 256


@dataclass(frozen=True, slots=True)
class Replayed:
    """`difference`: None when the replay was the run; else what differs first, recorded and now. `calls`: how many the
    replay issued before it was over.
    """

    calls: int
    difference: Mapping[str, Any] | None = None

    @property
    def equal(self) -> bool:
        return self.difference is None


async def replay(record: RunRecord, isolate: Isolate) -> Replayed:
    """Execute `record` again in a fresh `isolate` of its engine. A run that its host stopped is compared as far as it
    came. Raises what the isolate raises.
    """
    again = _Again(record)
    try:
        header = record.header
        turn = await isolate.start(Boot(header.code, header.names, header.input, header.seed, header.clock_ms, Limits.of(header.limits)))
        if turn.calls and again.stopped_at_once:
            return Replayed(0)
        again.compare(turn, ())
        while turn.finished is None and (batch := again.recording.next_deliveries(_BATCH)):
            turn = await isolate.deliver([delivery for _, delivery in batch])
            again.compare(turn, [delivered for delivered, _ in batch])
        again.compare_end(turn)
    except Diverged as diverged:
        return Replayed(again.recording.followed, {"message": diverged.message, **diverged.details})
    return Replayed(again.recording.followed)


class _Again:
    def __init__(self, record: RunRecord) -> None:
        self.recording = Recording.of(record, 0)
        self._record = record
        self._logs = [LogLine(e.entry.level, e.entry.text) for e in record.entries if isinstance(e.entry, Logged)]  # type: ignore[arg-type]
        self._printed = 0
        self._last = record.entries[-1].entry if record.entries else None

    @property
    def stopped_at_once(self) -> bool:
        """Whether the host ended the run before its first turn was recorded."""
        return not self.recording.begun and isinstance(self._last, Terminal) and self._last.state != "completed"

    def compare(self, turn: Turn, given: Sequence[Delivered]) -> None:
        self.recording.follow(turn, given)
        for line in turn.logs:
            recorded = self._logs[self._printed] if self._printed < len(self._logs) else None
            # What went over the bound of logs was not recorded, and nothing after it was.
            if recorded is not None and recorded != line:
                raise Diverged("the program printed something else", details={"recorded": recorded.text[:500], "now": line.text[:500]})
            self._printed += 1

    def compare_end(self, turn: Turn) -> None:
        last = self._last
        if self._printed < len(self._logs):
            raise Diverged("the program printed less", details={"recorded": self._logs[self._printed].text[:500], "now": None})
        if turn.finished is None or not isinstance(last, Terminal) or last.state == "unknown":
            return
        limits, writes = Limits.of(self._record.header.limits), Writes.of(self._record.entries)
        end = ended(turn.finished, limits, writes)
        if turn.finished.ok and (last.state, last.value) == ended(Finished(False, RETURNED), limits, writes):
            return      # what it returned named a handle: that is known to the host alone, and so is how such a run ends
        if end != (last.state, last.value) and not self._stopped(last):
            raise Diverged("the program ended in another way", details={
                "recorded": [last.state, last.value.decode(errors="replace")[:500]], "now": [end[0], end[1].decode(errors="replace")[:500]]})

    def _stopped(self, last: Terminal) -> bool:
        """Whether the host ended a run whose program had returned: it waits for the calls that are in flight then, and a run is
        cancelled or runs out of time meanwhile. There is a call without an outcome, or the last one came with the end."""
        calls = {*self.recording.intents, *self.recording.asked} - {0}
        if any(sequence not in self.recording.outcomes for sequence in calls):
            return True
        error = decode_value(last.value) if last.state == "failed" else None
        if not calls or not is_object(error):
            return False
        details = error.get("details")
        return error.get("code") == Cancelled.code or (is_object(details) and details.get("limit") == "wall_ms")
