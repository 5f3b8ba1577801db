"""Calls of which nobody knows whether they took effect: found in a journal, and what has been said of them.

A call is in doubt when it may have been made, may write, must not be repeated, and has no outcome. It is settled once:
by its operation's `reconcile` (the outcome, or a `Resumed` that issues it again) or by a person's answer to a question
about it. Issued again, it can come into doubt again, and is asked about anew under another id.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from inhabit.contracts.run import DOUBT, Asked, Decided, Intent, Outcome, Resumed, StoredEntry
from inhabit.runtime.asking import digest_of

__all__ = ["Doubts", "doubtful"]

_RULE = "doubt"
_REASON = "the server stopped while this call was under way: did it take effect?"


@dataclass(slots=True)
class Doubts:
    """Of one run, by call. `made`: calls that must not be repeated, as they were made (edited, if a person did). `open`: those
    in doubt. `asked`, `decided`: the last question about each and its answer.
    """

    made: dict[int, Intent] = field(default_factory=dict[int, Intent])
    open: dict[int, Intent] = field(default_factory=dict[int, Intent])
    asked: dict[int, Asked] = field(default_factory=dict[int, Asked])
    decided: dict[int, Decided] = field(default_factory=dict[int, Decided])
    _times: Counter[int] = field(default_factory=Counter[int])

    @classmethod
    def of(cls, entries: Sequence[StoredEntry]) -> Doubts:
        doubts = cls()
        made = doubts.made
        for stored in entries:
            match stored.entry:
                case Intent(may_write=True, idempotent=False) as intent:
                    made[intent.sequence] = intent
                    if intent.decision.get("verdict") not in ("ask", "hold"):
                        doubts.open[intent.sequence] = intent
                case Decided(verdict="approve", arguments=bytes() as edited) as decided if decided.sequence in made:
                    made[decided.sequence] = made[decided.sequence]._replace(arguments=edited)
                case Resumed() as resumed:
                    doubts._issued(resumed.reissued)
                case Outcome() as outcome if doubts.open or doubts.asked or doubts.decided:
                    doubts._forget(outcome.sequence)
                case Asked(doubt=True) as asked:
                    doubts.asked[asked.sequence] = asked
                    doubts._times[asked.sequence] += 1
                case Decided(doubt=True) as decided:
                    doubts._answered(decided)
                case _:
                    pass
        return doubts

    @property
    def waiting(self) -> list[Asked]:
        return [asked for sequence, asked in self.asked.items() if sequence not in self.decided]

    def question(self, run_id: str, intent: Intent, at_ms: int, lasts_ms: int) -> Asked:
        """About a call as it was made."""
        self._times[intent.sequence] += 1
        approval = f"{run_id}.{intent.sequence}{DOUBT}{self._times[intent.sequence]}"
        expires_ms = at_ms + lasts_ms
        return Asked(approval, intent.sequence, intent.operation, digest_of(run_id, intent, expires_ms), _RULE, _REASON, at_ms, expires_ms)

    def _issued(self, sequences: Sequence[int]) -> None:
        for sequence in sequences:
            self._forget(sequence)
            if sequence in self.made:
                self.open[sequence] = self.made[sequence]

    def _answered(self, decided: Decided) -> None:
        self.decided[decided.sequence] = decided
        if decided.verdict == "not_done":
            self.open.pop(decided.sequence, None)

    def _forget(self, sequence: int) -> None:
        for held in (self.open, self.asked, self.decided):
            held.pop(sequence, None)


def doubtful(entries: Sequence[StoredEntry]) -> list[Intent]:
    """Calls that may have written and of which nobody knows, in program order. A call that waits for a person has not begun;
    one that is held never does.
    """
    return [intent for _, intent in sorted(Doubts.of(entries).open.items())]
