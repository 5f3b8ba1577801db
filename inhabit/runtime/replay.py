"""A recorded run executed again, with nothing behind it: is everything that it did what its journal says?

Model: a guest is born from the header and given the recorded deliveries in their order. There is no bridge and no
connector here, so a replay cannot reach anything. Its calls, where it issued them, its log and its end are compared with
the record, byte by byte; the first difference is the answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from inhabit.contracts.program import Boot, Isolate, LogLine, Turn
from inhabit.contracts.run import Logged, RunRecord, Terminal
from inhabit.limits import Limits
from inhabit.runtime.endings import ended
from inhabit.runtime.recording import Diverged, Recording
from inhabit.runtime.writes import Writes

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
        again.compare(turn, ())
        while turn.finished is None and (batch := again.recording.next_deliveries(_BATCH)):
            turn = await isolate.deliver([delivery for _, delivery in batch])
            again.compare(turn, tuple(delivered.issued_before for delivered, _ in batch))
        again.compare_end(turn)
    except Diverged as diverged:
        return Replayed(again.calls, {"message": diverged.message, **diverged.details})
    return Replayed(again.calls)


class _Again:
    def __init__(self, record: RunRecord) -> None:
        self.calls = 0
        self.recording = Recording.of(record, 0)
        self._record = record
        self._logs = [LogLine(e.entry.level, e.entry.text) for e in record.entries if isinstance(e.entry, Logged)]  # type: ignore[arg-type]
        self._printed = 0

    def compare(self, turn: Turn, issued_before: tuple[int, ...]) -> None:
        for issued in turn.calls:
            if self.recording.intent_of(issued) is None:
                raise Diverged(f"call {issued.sequence} ({issued.operation}) is not in the journal",
                               details={"sequence": issued.sequence, "recorded": None, "now": {"operation": issued.operation}})
            self.calls += 1
        if turn.issued_before != issued_before:
            raise Diverged("the program issued its calls at other points than recorded",
                           details={"recorded": list(issued_before), "now": list(turn.issued_before)})
        for line in turn.logs:
            recorded = self._logs[self._printed] if self._printed < len(self._logs) else None
            # What went over the bound of logs was not recorded, and nothing after it was.
            if recorded is not None and recorded != line:
                raise Diverged("the program printed something else", details={"recorded": recorded.text[:500], "now": line.text[:500]})
            self._printed += 1

    def compare_end(self, turn: Turn) -> None:
        last = self._record.entries[-1].entry if self._record.entries else None
        recorded, now = len(self.recording.intents), self.calls
        if recorded != now:
            raise Diverged(f"the program made {now} calls, recorded were {recorded}",
                           details={"sequence": now + 1, "recorded": recorded, "now": now})
        if self.recording.deliveries or self._printed < len(self._logs):
            raise Diverged("the program ended before its record does")
        if turn.finished is None or not isinstance(last, Terminal) or last.state == "unknown":
            return
        end = ended(turn.finished, Limits.of(self._record.header.limits), Writes.of(self._record.entries))
        if end != (last.state, last.value):
            raise Diverged("the program ended in another way", details={
                "recorded": [last.state, last.value.decode(errors="replace")[:500]], "now": [end[0], end[1].decode(errors="replace")[:500]]})
