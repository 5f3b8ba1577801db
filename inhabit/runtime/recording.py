"""A run's journal, arranged for taking the run up again: what was issued, how it ended, what was delivered."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from inhabit.contracts.program import Delivery, IssuedCall
from inhabit.contracts.run import (
    Asked,
    Decided,
    Delivered,
    Intent,
    Logged,
    Outcome,
    Resumed,
    RunRecord,
    StoredEntry,
    Suspended,
)
from inhabit.errors import InhabitError
from inhabit.runtime.bodies import NAME_CHARS, canonical

__all__ = ["Diverged", "Recording", "doubtful"]


class Diverged(InhabitError):
    """The program took another path than its journal: engine, program or schema are other ones."""

    code = "replay_diverged"


@dataclass(slots=True)
class Recording:
    """`deliveries` are those still to be replayed; taken from the left as the replay goes on. `asked` and `decided` are by
    call. `arrived`: which outcome came when. `slept`: from when to when the run waited for people alone. `used`: what it had used when it last went to sleep.
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

    @classmethod
    def of(cls, record: RunRecord, now_ms: int) -> Recording:
        """`now_ms`: when the run is taken up, and its sleep ends if it slept."""
        recording, asleep = cls(), 0
        for stored in record.entries:
            match stored.entry:
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
                case Asked() as asked:
                    recording.asked[asked.sequence] = asked
                case Decided() as decided:
                    recording.decided[decided.sequence] = decided
                case Suspended() as suspended:
                    asleep, recording.used = suspended.at_ms, suspended.usage
                case Resumed() as resumed if asleep:
                    recording.slept.append((asleep, resumed.at_ms))
                    asleep = 0
                case _:
                    pass
        if asleep:
            recording.slept.append((asleep, now_ms))
        return recording

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

    def intent_of(self, issued: IssuedCall) -> Intent | None:
        """The record of this call; None when it is new. Raises `Diverged` when another call is recorded."""
        intent = self.intents.get(issued.sequence)
        if intent is None:
            return None
        arguments = canonical(issued.arguments)
        if (intent.operation, intent.arguments) != (issued.operation[:NAME_CHARS], arguments):
            raise Diverged(
                f"call {issued.sequence} is now {issued.operation}, recorded was {intent.operation}",
                details={"recorded": {"operation": intent.operation, "arguments": intent.arguments.decode(errors="replace")[:500]},
                         "now": {"operation": issued.operation, "arguments": arguments.decode(errors="replace")[:500]}})
        return intent


def doubtful(entries: Sequence[StoredEntry]) -> list[Intent]:
    """Calls that may have written and of which nobody knows: an intent, no outcome, not idempotent. A call that waits for
    a person has not begun; one that is held never does.
    """
    ended = {stored.entry.sequence for stored in entries if isinstance(stored.entry, Outcome)}
    begun = {sequence for stored in entries if isinstance(stored.entry, Resumed) for sequence in stored.entry.reissued}
    return [entry for stored in entries
            if isinstance(entry := stored.entry, Intent) and entry.may_write and not entry.idempotent
            and entry.sequence not in ended and entry.decision.get("verdict") != "hold"
            and (entry.decision.get("verdict") != "ask" or entry.sequence in begun)]
