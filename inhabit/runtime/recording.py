"""A run's journal, arranged for taking the run up again: what was issued, how it ended, what was delivered.

Invariant: what a turn did is recorded in one append, so a record holds a turn whole or not at all. A replayed turn
issues exactly the calls that are recorded for it, and whatever else it does is a divergence, found before anything is
done for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from inhabit.contracts.program import Delivery, IssuedCall, Turn
from inhabit.contracts.run import (
    Asked,
    Decided,
    Delivered,
    Intent,
    Logged,
    Outcome,
    Resumed,
    RunRecord,
    Suspended,
)
from inhabit.errors import InhabitError
from inhabit.runtime.bodies import NAME_CHARS, canonical
from inhabit.runtime.doubts import Doubts

__all__ = ["Diverged", "Recording"]


class Diverged(InhabitError):
    """The program took another path than its journal: engine, program or schema are other ones. `details` has both sides:
    `recorded` and `now`, and the `sequence` of the call where a call differs.
    """

    code = "replay_diverged"


@dataclass(slots=True)
class Recording:
    """`deliveries` are those still to be replayed; taken from the left as the replay goes on. `asked` and `decided` are by
    call; `doubts` are apart. `arrived`: which outcome came when. `slept`: from when to when the run waited for people alone. `used`: what it had used when it last went to sleep.
    `parked`: why it could not go on the last time. `followed`: how many of its calls were issued again by now. `changes`: the
    change set that the run applies, call 0 of its record.
    """

    intents: dict[int, Intent] = field(default_factory=dict[int, Intent])
    outcomes: dict[int, Outcome] = field(default_factory=dict[int, Outcome])
    deliveries: deque[Delivered] = field(default_factory=lambda: deque[Delivered]())
    logs: int = 0
    arrived: dict[int, int] = field(default_factory=dict[int, int])
    delivered_calls: set[int] = field(default_factory=set[int])
    asked: dict[int, Asked] = field(default_factory=dict[int, Asked])
    decided: dict[int, Decided] = field(default_factory=dict[int, Decided])
    slept: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    used: Mapping[str, float] = field(default_factory=dict[str, float])
    parked: Mapping[str, Any] | None = None
    doubts: Doubts = field(default_factory=Doubts)
    followed: int = 0
    changes: Intent | None = None

    @classmethod
    def of(cls, record: RunRecord, now_ms: int) -> Recording:
        """`now_ms`: when the run is taken up, and its sleep ends if it slept."""
        recording, asleep = cls(doubts=Doubts.of(record.entries)), 0
        for stored in record.entries:
            match stored.entry:
                case Intent(sequence=0) as intent:
                    recording.changes = intent
                case Intent() as intent:
                    recording.intents[intent.sequence] = intent
                case Outcome() as outcome:
                    recording.outcomes[outcome.sequence] = outcome
                    recording.arrived[outcome.sequence] = len(recording.arrived)
                case Delivered() as delivered:
                    recording.deliveries.append(delivered)
                    if delivered.kind != "timer":
                        recording.delivered_calls.add(delivered.id)
                case Logged():
                    recording.logs += 1
                case Asked(doubt=False) as asked:
                    recording.asked[asked.sequence] = asked
                case Decided() as decided:
                    if not decided.doubt:
                        recording.decided[decided.sequence] = decided
                    asleep = recording._wakes(asleep, decided.at_ms)
                case Suspended() as suspended:
                    asleep, recording.used, recording.parked = asleep or suspended.at_ms, suspended.usage, suspended.parked
                case Resumed() as resumed:
                    asleep = recording._wakes(asleep, resumed.at_ms)
                case _:
                    pass
        if asleep:
            recording.slept.append((asleep, now_ms))
        return recording

    def _wakes(self, asleep: int, at_ms: int) -> int:
        self.parked = None
        if asleep:
            self.slept.append((asleep, at_ms))
        return 0

    def answered(self, decided: Decided) -> None:
        """The first answer to a question is the answer."""
        (self.doubts.decided if decided.doubt else self.decided).setdefault(decided.sequence, decided)

    @property
    def waiting(self) -> list[Asked]:
        """Questions without an answer."""
        return [*(asked for sequence, asked in sorted(self.asked.items()) if sequence not in self.decided), *self.doubts.waiting]

    @property
    def begun(self) -> bool:
        """Whether a turn of the program is recorded."""
        return bool(self.deliveries or self.intents or self.logs)

    @property
    def wrote(self) -> bool:
        """Whether a call of it may have written."""
        return any(intent.may_write for intent in self.intents.values())

    def awake_ms(self, due_ms: int) -> int:
        """When a timer is due that the run set before it slept: timers stand still while it waits for people alone."""
        for asleep, awake in self.slept:
            if asleep < due_ms <= awake:
                due_ms += awake - asleep
        return due_ms

    def next_deliveries(self, most: int) -> list[tuple[Delivered, Delivery]]:
        """Up to `most` recorded deliveries with the values they carried. Raises `Diverged` if one has no outcome."""
        batch: list[tuple[Delivered, Delivery]] = []
        while self.deliveries and len(batch) < most:
            delivered = self.deliveries.popleft()
            batch.append((delivered, Delivery(delivered.kind, delivered.id, self._value(delivered), delivered.clock_ms)))
        return batch

    def _value(self, delivered: Delivered) -> bytes:
        if delivered.kind == "timer":
            return b"null"
        outcome = self.outcomes.get(delivered.id)
        if outcome is None:
            raise Diverged(f"the journal delivers call {delivered.id} but has no outcome of it")
        return outcome.value

    def follow(self, turn: Turn, given: Sequence[Delivered]) -> None:
        """Compare a turn, the answer to the `given` deliveries, with the record of it. Raises `Diverged` at the first call
        that is another one, one too many or one too few.
        """
        for issued in turn.calls:
            if self.intent_of(issued) is None:
                raise Diverged(f"call {issued.sequence} ({issued.operation}) is not in the journal",
                               details={"sequence": issued.sequence, "recorded": None, "now": _shown(issued.operation, issued.arguments)})
            self.followed += 1
        before = tuple(delivered.issued_before for delivered in given)
        if turn.issued_before != before:
            raise Diverged("the program issued its calls at other points than recorded",
                           details={"recorded": list(before), "now": list(turn.issued_before)})
        due = self.deliveries[0].issued_before if self.deliveries else len(self.intents)
        if self.followed < due:
            sequence = self.followed + 1
            missing, now = self.intents.get(sequence), "the program has ended" if turn.finished else "the program waits"
            raise Diverged(f"call {sequence} is recorded{f' ({missing.operation})' if missing else ''}, and {now} without it", details={
                "sequence": sequence, "recorded": _shown(missing.operation, missing.arguments) if missing else None, "now": None})
        if self.followed > due:
            raise Diverged(f"call {due + 1} was recorded after delivery {self.deliveries[0].id}, and is issued before it now",
                           details={"sequence": due + 1, "recorded": list(before), "now": list(turn.issued_before)})
        if turn.finished is not None and any((d.issued_before, d.clock_ms) != (due, given[-1].clock_ms if given else -1) for d in self.deliveries):
            # What came in one batch with the delivery that ended it is recorded after it.
            raise Diverged("the program ended before its record does",
                           details={"recorded": f"{len(self.deliveries)} more deliveries", "now": "the program has ended"})

    def intent_of(self, issued: IssuedCall) -> Intent | None:
        """The record of this call; None when it is new. Raises `Diverged` when another call is recorded."""
        intent = self.intents.get(issued.sequence)
        if intent is None:
            return None
        same = intent.operation == issued.operation[:NAME_CHARS]
        if same and intent.arguments == issued.arguments:   # canonical already: what is recorded always is
            return intent
        arguments = canonical(issued.arguments)
        if not same or intent.arguments != arguments:
            raise Diverged(
                f"call {issued.sequence} is now {issued.operation}, recorded was {intent.operation}",
                details={"sequence": issued.sequence, "recorded": _shown(intent.operation, intent.arguments),
                         "now": _shown(issued.operation, arguments)})
        return intent


def _shown(operation: str, arguments: bytes) -> dict[str, str]:
    return {"operation": operation[:NAME_CHARS], "arguments": arguments.decode(errors="replace")[:500]}
