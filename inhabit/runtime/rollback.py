"""Undoing a run: its writes' declared reverts, last one first, as a run of its own.

The guest of that run is not a program but a list of steps (`Steps`), made once from the journal of the run and kept
as the input of the new one. So it goes the way of every run: each revert is decided, journaled, asked where the policy
asks, taken up after a crash at the step where it stood, and never repeated when it is unknown whether it took effect.

A revert is given what its parameters are named after: the fields of the call's result first, then of its arguments. One
with a parameter that neither has cannot be called, and is listed with what has no revert at all. A revert that
fails (the object was changed meanwhile and the operation refuses, say) leaves the rest going on; the result lists it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from inhabit.contracts.json import is_object
from inhabit.contracts.operation import Operation
from inhabit.contracts.program import Boot, Delivery, Finished, IssuedCall, Prepared, Problem, Program, Turn
from inhabit.contracts.run import Decided, Intent, Outcome, RunRecord
from inhabit.wire.values import decode_value, encode_value

__all__ = ["ENGINE", "RUNG", "Steps", "steps_of"]

RUNG = "host"
ENGINE = "rollback-1"
"""Named in the header like any engine: another way of walking through the steps gets another name."""


def steps_of(record: RunRecord, operation: Callable[[str], Operation | None]) -> dict[str, Any]:
    """`{"run", "steps": [{sequence, operation, revert, arguments}], "stands": [{sequence, operation, why}]}`, newest first."""
    intents = {e.entry.sequence: e.entry for e in record.entries if isinstance(e.entry, Intent)}
    edited = {e.entry.sequence: e.entry.arguments for e in record.entries if isinstance(e.entry, Decided) and e.entry.arguments}
    answered = {e.entry.sequence: e.entry for e in record.entries if isinstance(e.entry, Outcome)}
    steps: list[dict[str, Any]] = []
    stands: list[dict[str, Any]] = []
    for sequence in sorted(intents, reverse=True):
        intent, outcome = intents[sequence], answered.get(sequence)
        why = _wrote(intent, outcome)
        if why is None:
            continue
        call = {"sequence": sequence, "operation": intent.operation}
        reverted = why or _revert(operation, intent.operation, edited.get(sequence, intent.arguments), outcome)
        if isinstance(reverted, str):
            stands.append({**call, "why": reverted})
        else:
            steps.append({**call, **reverted})
    return {"run": record.header.run_id, "steps": steps, "stands": stands}


def _wrote(intent: Intent, outcome: Outcome | None) -> str | None:
    """None: the call wrote nothing. "": it wrote. Else why nobody can tell what there is to undo."""
    if not intent.may_write or intent.decision.get("verdict") in ("deny", "hold"):
        return None
    if outcome is None:
        return None if intent.decision.get("verdict") == "ask" else "it is unknown whether it took effect"
    if outcome.ok:
        return ""
    error = decode_value(outcome.value)
    return None if is_object(error) and error.get("effect") == "none" else "it failed, and it is unknown what it left behind"


def _revert(operation: Callable[[str], Operation | None], name: str, arguments: bytes, outcome: Outcome | None) -> dict[str, Any] | str:
    made = operation(name)
    if made is None:
        return "the operation is not there any more"
    if made.revert is None:
        return "the operation declares no revert"
    revert = operation(made.revert)
    if revert is None:
        return f"its revert {made.revert} is not there"
    known: dict[str, Any] = {}
    for body in (arguments, outcome.value if outcome is not None else b"null"):
        value = decode_value(body)
        known.update(value if is_object(value) else {})
    properties: Mapping[str, Any] = revert.input_schema.get("properties", {})
    missing = [str(name) for name in revert.input_schema.get("required", ()) if name not in known]
    if missing:
        return f"its revert {made.revert} needs {', '.join(missing)}, which the call does not give"
    return {"revert": made.revert, "arguments": {key: known[key] for key in properties if key in known}}


class Steps:
    """Implements `contracts.program.Isolate`: issues one revert after the other, whatever came of the one before."""

    engine_version = ENGINE

    def __init__(self, plan: Mapping[str, Any]) -> None:
        self._plan = plan
        self._steps: Sequence[Mapping[str, Any]] = plan["steps"]
        self._undone: list[dict[str, Any]] = []
        self._stands: list[Any] = list(plan["stands"])

    async def prepare(self, program: Program, names: tuple[str, ...]) -> Prepared:
        return Prepared(program.source)

    async def typecheck(self, code: str, stubs: str) -> tuple[Problem, ...]:
        return ()

    async def start(self, boot: Boot) -> Turn:
        return self._turn(1)

    async def deliver(self, deliveries: Sequence[Delivery]) -> Turn:
        issued: list[int] = []
        for delivery in deliveries:
            issued.append(delivery.id)
            step = self._steps[delivery.id - 1]
            call = {"sequence": step["sequence"], "operation": step["operation"]}
            if delivery.kind == "result":
                self._undone.append({**call, "by": step["revert"]})
            else:
                error = decode_value(delivery.value)
                self._stands.append({**call, "why": f"{step['revert']}: {error['message']}", "code": error["code"]})
        turn = self._turn(deliveries[-1].id + 1)
        return turn._replace(issued_before=tuple(issued))

    async def close(self) -> None: ...

    def _turn(self, number: int) -> Turn:
        if number <= len(self._steps):
            step = self._steps[number - 1]
            return Turn((IssuedCall(number, step["revert"], encode_value(step["arguments"])),))
        return Turn(finished=Finished(True, encode_value({"run": self._plan["run"], "undone": self._undone, "stands": self._stands})))
