"""A run's journal, arranged for taking the run up again: what was issued, how it ended, what was delivered."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from inhabit.contracts.program import Delivery, IssuedCall
from inhabit.contracts.run import Delivered, Intent, Logged, Outcome, RunRecord, StoredEntry
from inhabit.errors import InhabitError

__all__ = ["Diverged", "Recording", "doubtful"]


class Diverged(InhabitError):
    """The program took another path than its journal: engine, program or schema are other ones."""

    code = "replay_diverged"


@dataclass(slots=True)
class Recording:
    """`deliveries` are those still to be replayed; taken from the left as the replay goes on."""

    intents: dict[int, Intent] = field(default_factory=dict[int, Intent])
    outcomes: dict[int, Outcome] = field(default_factory=dict[int, Outcome])
    deliveries: deque[Delivered] = field(default_factory=lambda: deque[Delivered]())
    logs: int = 0
    delivered_calls: set[int] = field(default_factory=set[int])

    @classmethod
    def of(cls, record: RunRecord) -> Recording:
        recording = cls()
        for stored in record.entries:
            match stored.entry:
                case Intent() as intent:
                    recording.intents[intent.sequence] = intent
                case Outcome() as outcome:
                    recording.outcomes[outcome.sequence] = outcome
                case Delivered() as delivered:
                    recording.deliveries.append(delivered)
                    if delivered.kind != "timer":
                        recording.delivered_calls.add(delivered.id)
                case Logged():
                    recording.logs += 1
                case _:
                    pass
        return recording

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

    def same_call(self, issued: IssuedCall, canonical: bytes) -> bool:
        """True when the call is recorded; False when it is new. Raises `Diverged` when another call is recorded."""
        intent = self.intents.get(issued.sequence)
        if intent is None:
            return False
        if (intent.operation, intent.arguments) != (issued.operation, canonical):
            raise Diverged(
                f"call {issued.sequence} is now {issued.operation}, recorded was {intent.operation}",
                details={"recorded": {"operation": intent.operation, "arguments": intent.arguments.decode(errors="replace")[:500]},
                         "now": {"operation": issued.operation, "arguments": canonical.decode(errors="replace")[:500]}})
        return True


def doubtful(entries: Sequence[StoredEntry]) -> list[Intent]:
    """Calls that may have written and of which nobody knows: an intent, no outcome, not idempotent."""
    ended = {stored.entry.sequence for stored in entries if isinstance(stored.entry, Outcome)}
    return [entry for stored in entries
            if isinstance(entry := stored.entry, Intent)
            and entry.may_write and not entry.idempotent and entry.sequence not in ended]
