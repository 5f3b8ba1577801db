"""The authority of a run that applies a change set: its writes, one after the other, and no other.

Each write that the program issues is held against the next approved one, in program order: the same operation with the
same arguments, an operation declared as it was. An id that the plan made up is a symbol in them: as soon as the write
that gave it is answered, it stands for what the real answer has at that place, wherever it stands in later arguments; in
the middle of a text too, where it is a plain word, since an upstream that calls a thing `x/../y` would else write a text
of its own. A handle stands for the one that the same read gave. Nothing else of a simulated answer is bound. What a
person could not have seen is never let through: a write that differs raises `PlanLeft`, which parks the run with both
sides; so does one that a rule would ask about by now, where nobody was asked, and one that a rule holds which they did not see.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from inhabit.contracts.json import is_array, is_object
from inhabit.contracts.run import Intent, Outcome
from inhabit.kernel.decide import HELD
from inhabit.runtime.asking import digest_of, refusal
from inhabit.runtime.changes import PLANNED, digest_of_changes
from inhabit.runtime.intents import UNDECIDED
from inhabit.runtime.rechecking import conflicting
from inhabit.runtime.recording import Recording
from inhabit.runtime.simulating import MAX_SYMBOL_CHARS, Symbols
from inhabit.wire.values import decode_value, encode_value

__all__ = ["Applying", "PlanLeft", "applying_of", "refused_changes", "unsettled"]

Over = tuple[Literal["failed", "rejected"], dict[str, Any]]
"""How a run ends that never applied its change set: its state, and the error."""

_SHOWN_CHARS = 2_000
_MISSING = object()
_WORD = re.compile(r"(?!.*\.\.)[A-Za-z0-9_-](?:[A-Za-z0-9_.:~=-]*[A-Za-z0-9_~=-])?\Z")
"""What may stand for an id within a text: it ends no quote, path, parameter, line or word there."""


class PlanLeft(Exception):
    """No `InhabitError`: no part of the bridge may make an outcome of it, that the program could catch and go on from."""

    code = "plan_left"
    fix = "read what was written so far (inhabit plan show), cancel the run or roll it back, and plan again"

    def __init__(self, message: str, details: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class Applying:
    """Implements `context.Approved` for one run. `taken`: which approved write each call of the run is; `asked`: whether a person
    said yes to them.
    """

    def __init__(self, changes: Mapping[str, Any], recording: Recording | None) -> None:
        self._writes: list[Mapping[str, Any]] = changes["writes"]
        self._plan: str = changes["plan"]
        self._asked = recording is not None and 0 in recording.decided
        self._handles: dict[int, Mapping[str, Any]] = {read["sequence"]: read for read in changes["reads"] if "handle" in read}
        self._bound: dict[str, str | int] = {}
        self._taken: dict[int, int] = {}
        names = {write["operation"] for write in self._writes}
        for intent in sorted(recording.intents.values()) if recording is not None else ():
            # A call that did not come as far as a decision was never held against the change set.
            if intent.operation in names and intent.decision.get("rule") != UNDECIDED:
                self._taken[intent.sequence] = len(self._taken)

    def approves(self, sequence: int, operation: str, arguments: Mapping[str, Any], schema: str) -> frozenset[str] | None:
        index = self._taken.setdefault(sequence, len(self._taken))
        now = {"operation": operation, "arguments": arguments}
        if index >= len(self._writes):
            raise _left(sequence, f"{operation} is one write more than was approved", None, now)
        write = self._writes[index]
        due = {"operation": write["operation"], "arguments": self._real(write["arguments"])}
        if encode_value(due, canonical=True) != encode_value(now, canonical=True):
            raise _left(sequence, f"{operation} is not the approved write {index + 1} ({write['operation']})", due, now)
        if write["schema"] != schema:
            raise _left(sequence, f"{operation} is declared otherwise than when write {index + 1} was approved", due, now)
        if not self._asked:
            return None
        held = write["rule"] != PLANNED and not write["reason"].startswith(f"{HELD}; ")   # else it is a rule that asks
        return frozenset(write["rule"].split(" & ")) if held else frozenset()

    def agrees(self, sequence: int, verdict: str, reason: str) -> None:
        if verdict in ("ask", "hold"):
            write = self._writes[self._taken[sequence]]
            shown = {"operation": write["operation"], "arguments": self._real(write["arguments"])}
            raise _left(sequence, f"a person would be asked about {write['operation']} by now, and was not: {reason}", shown, shown)

    def answered(self, made: Intent, outcome: Outcome) -> None:
        index = self._taken.get(outcome.sequence)
        if outcome.kept is not None:
            planned = self._handles.get(outcome.sequence)
            if planned is not None and outcome.ok and planned["operation"] == made.operation and (
                    encode_value(self._real(planned["arguments"]), canonical=True) == made.arguments):
                self._bound[planned["handle"]] = decode_value(outcome.value)["$handle"]
        elif index is not None and outcome.ok and index < len(self._writes) and "answer" in self._writes[index]:
            self._bind(self._writes[index], decode_value(outcome.value))

    def _bind(self, write: Mapping[str, Any], real: Any) -> None:
        for pointer, symbol in Symbols(self._plan, write["sequence"]).within(write["answer"]):
            value = _at(real, pointer)
            if not isinstance(value, bool) and isinstance(value, str | int) and len(str(value)) <= MAX_SYMBOL_CHARS:
                self._bound[str(symbol)] = value

    def _real(self, node: Any) -> Any:
        """Approved arguments with the real ids in place."""
        if is_object(node):
            return {self._text(name): self._real(value) for name, value in node.items()}
        if is_array(node):
            return [self._real(value) for value in node]
        if isinstance(node, str):
            return self._bound[node] if node in self._bound else self._text(node)
        return self._bound.get(str(node), node) if isinstance(node, int) and not isinstance(node, bool) else node

    def _text(self, text: str) -> str:
        for symbol, value in self._bound.items():
            if _WORD.match(str(value)):
                text = text.replace(symbol, str(value))
        return text


def applying_of(recording: Recording | None) -> Applying | None:
    """The authority of a run whose record has a change set."""
    return None if recording is None or recording.changes is None else Applying(decode_value(recording.changes.arguments), recording)


def refused_changes(run_id: str, recording: Recording, now_ms: int) -> Over | None:
    """Why the change set of a run is not to be applied, or not any more: rejected, expired, or another than was approved. A
    run that has begun to write goes on.
    """
    intent, asked, decided = recording.changes, recording.asked.get(0), recording.decided.get(0)
    if intent is None:
        return "failed", _ended("interrupted", "the server stopped before the change set was recorded", "plan again")
    changes = decode_value(intent.arguments)
    if digest_of_changes(changes) != changes["hash"] or (asked is not None and digest_of(run_id, intent, asked.expires_ms) != asked.digest):
        return "failed", _ended("plan_changed", "the change set is not the one that was approved", "plan again")
    if decided is not None and decided.verdict != "approve":
        error = refusal(decided)
        return "rejected", {**error.as_value(), "message": error.message.replace("the call", "the change set")}
    if now_ms >= changes["expires_ms"] and not recording.wrote:
        return "failed", _ended("plan_expired", "the plan is too old to be applied", "plan again")
    return None


def unsettled(conflicts: list[dict[str, Any]]) -> Over | None:
    if not conflicts:
        return None
    error = _ended("plan_conflict", conflicting(conflicts), "plan again")
    return "failed", {**error, "details": {"conflicts": conflicts}}


def _ended(code: str, message: str, fix: str) -> dict[str, Any]:
    return {"code": code, "message": message, "fix": fix, "retryable": False, "effect": "none"}


def _left(sequence: int, message: str, approved: Mapping[str, Any] | None, now: Mapping[str, Any]) -> PlanLeft:
    def shown(side: Mapping[str, Any] | None) -> Any:
        return None if side is None else {**side, "arguments": encode_value(side["arguments"], canonical=True).decode(errors="replace")[:_SHOWN_CHARS]}
    return PlanLeft(message, {"sequence": sequence, "approved": shown(approved), "now": shown(now)})


def _at(value: Any, pointer: str) -> Any:
    for step in pointer.split("/")[1:]:
        if is_object(value):
            value = value.get(step, _MISSING)
        elif is_array(value) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return _MISSING
    return value
