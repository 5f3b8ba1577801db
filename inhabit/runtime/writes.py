"""What a run has written, for the words of its end: a program that failed after it wrote did not do nothing.

Counted from answered calls: one that may write and succeeded has written; one that failed has by what its error says.
(Calls without an answer are the driver's and the recovery's: `unknown_calls`.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from inhabit.contracts.json import is_object
from inhabit.contracts.run import Intent, Outcome, StoredEntry
from inhabit.wire.values import decode_value

__all__ = ["Writes"]

_NAMED = 50
"""Calls told by name; the journal has all."""


class Writes:
    def __init__(self) -> None:
        self._written: list[dict[str, Any]] = []
        self._unsure: list[dict[str, Any]] = []

    @classmethod
    def of(cls, entries: Sequence[StoredEntry]) -> Writes:
        """Of a run that is read from its journal."""
        entries_of = [stored.entry for stored in entries]
        return cls.made({e.sequence: e for e in entries_of if isinstance(e, Intent)}, {e.sequence: e for e in entries_of if isinstance(e, Outcome)})

    @classmethod
    def made(cls, intents: Mapping[int, Intent], outcomes: Mapping[int, Outcome]) -> Writes:
        writes = cls()
        for sequence, outcome in outcomes.items():
            writes.note(intents[sequence], outcome)
        return writes

    def note(self, intent: Intent, outcome: Outcome) -> None:
        if intent.may_write and not outcome.simulated:   # a plan has written nothing
            effect = "happened" if outcome.ok else _effect_of(outcome.value)
            if effect != "none":
                calls = self._written if effect == "happened" else self._unsure
                calls.append({"sequence": intent.sequence, "operation": intent.operation})

    def told(self, error: Mapping[str, Any]) -> dict[str, Any]:
        """The error's value with what was written before it; what the error itself knows is never made less."""
        value = dict(error)
        details = dict(value.get("details", {}))
        if self._written:
            details |= {"written_calls": _in_order(self._written), "written": len(self._written)}
            value["effect"] = "happened" if value.get("effect") == "none" else value.get("effect")
        if self._unsure:
            details["unsure_calls"] = _in_order(self._unsure)
            value["effect"] = "unknown"
        if details:
            value["details"] = details
        return value


def _in_order(calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """In program order, not in that of the answers: a replay says the same words."""
    return sorted(calls, key=lambda call: call["sequence"])[:_NAMED]


def _effect_of(body: bytes) -> str:
    error = decode_value(body)
    effect = error.get("effect") if is_object(error) else None
    return effect if effect in ("none", "happened") else "unknown"
