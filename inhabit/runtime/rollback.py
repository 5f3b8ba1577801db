"""Undoing a run: its writes' declared reverts, last one first, as a run of its own.

The guest of that run is not a program but a list of steps (`Steps`), made once from the journal of the run and kept
as the input of the new one. So it goes the way of every run: each revert is decided, journaled, asked where the policy
asks, taken up after a crash at the step where it stood, and never repeated when it is unknown whether it took effect.

A call that nobody knows the end of is settled first, by its operation or by a person (`SETTLE`); what nobody can say stands.
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
from inhabit.contracts.run import HOST_RUNG, Decided, Intent, Outcome, RunRecord
from inhabit.runtime.bodies import binaries_in
from inhabit.runtime.doubts import doubtful
from inhabit.wire.values import decode_value, encode_value

__all__ = ["ENGINE", "RUNG", "Steps", "one_by_one", "steps_of"]

RUNG = HOST_RUNG
ENGINE = "rollback-2"
"""Named in the header like any engine: another way of walking through the steps gets another name."""
SETTLE = "inhabit.settle"
"""What a rollback issues to learn whether a call took effect: no operation, and nothing for any other guest."""
_UNSURE = "it is unknown whether it took effect"


def steps_of(record: RunRecord, operation: Callable[[str], Operation | None]) -> dict[str, Any]:
    """`{"run", "steps": [{sequence, operation, revert, arguments}], "stands": [{sequence, operation, why}]}`, newest first.
    A step with `settle`, `{operation, arguments, idempotency_key}`, is undone only if the call took effect; its `revert` and
    `arguments` are for the fields of its answer, which nobody knows before.
    """
    intents = {e.entry.sequence: e.entry for e in record.entries if isinstance(e.entry, Intent)}
    edited = {e.entry.sequence: e.entry.arguments for e in record.entries if isinstance(e.entry, Decided) and e.entry.verdict == "approve" and e.entry.arguments}
    answered = {e.entry.sequence: e.entry for e in record.entries if isinstance(e.entry, Outcome)}
    held = binaries_in(record.header.input).union(*(outcome.binaries for outcome in answered.values()))
    doubted = {intent.sequence for intent in doubtful(record.entries)}
    steps: list[dict[str, Any]] = []
    stands: list[dict[str, Any]] = []
    for sequence in sorted(intents, reverse=True):
        intent, outcome = intents[sequence], answered.get(sequence)
        wrote = _wrote(intent, outcome, sequence in doubted)
        if wrote is None:
            continue
        call = {"sequence": sequence, "operation": intent.operation}
        made = intent._replace(arguments=edited.get(sequence, intent.arguments))
        reverted = _revert(operation, made, outcome) if wrote else _settled_first(operation, made)
        if not isinstance(reverted, str) and not binaries_in(encode_value(reverted["arguments"])) <= held:
            reverted = "it names bytes that the run was not given"     # an upstream's answer is no reference of the run's
        if isinstance(reverted, str):
            stands.append({**call, "why": reverted if wrote else f"{_UNSURE}, and {reverted}"})
        else:
            steps.append({**call, **reverted})
    return {"run": record.header.run_id, "steps": steps, "stands": stands}


def _wrote(intent: Intent, outcome: Outcome | None, doubted: bool) -> bool | None:
    """None: the call wrote nothing. False: nobody knows whether it wrote."""
    if not intent.may_write or intent.decision.get("verdict") in ("deny", "hold"):
        return None
    if outcome is None:
        asked = intent.decision.get("verdict") == "ask"
        return False if doubted or not asked else None
    if outcome.ok:
        return True
    error = decode_value(outcome.value)
    effect = error.get("effect") if is_object(error) else "unknown"
    return None if effect == "none" else False


def _settled_first(operation: Callable[[str], Operation | None], made: Intent) -> dict[str, Any] | str:
    """The step of a call in doubt: what its revert needs beside the arguments is known once it is settled."""
    declared = operation(made.operation)
    reverted = _undoing(operation, declared)
    if isinstance(reverted, str):
        return reverted
    arguments = decode_value(made.arguments)
    required, parameters = _parameters(reverted)
    return {"revert": reverted.name, "arguments": arguments, "required": required, "parameters": parameters, "settle": {
        "operation": made.operation, "arguments": arguments, "idempotency_key": made.idempotency_key}}


def _undoing(operation: Callable[[str], Operation | None], made: Operation | None) -> Operation | str:
    """The revert of an operation, or why there is none."""
    if made is None:
        return "the operation is not there any more"
    if made.revert is None:
        return "the operation declares no revert"
    return operation(made.revert) or f"its revert {made.revert} is not there"


def _revert(operation: Callable[[str], Operation | None], made: Intent, outcome: Outcome | None) -> dict[str, Any] | str:
    revert = _undoing(operation, operation(made.operation))
    if isinstance(revert, str):
        return revert
    return _given(revert.name, *_parameters(revert), decode_value(made.arguments), decode_value(outcome.value) if outcome is not None else None)


def _parameters(revert: Operation) -> tuple[list[str], list[str]]:
    return list(revert.input_schema.get("required", ())), list(revert.input_schema.get("properties", {}))


def _given(revert: str, required: Sequence[str], parameters: Sequence[str], *known: Any) -> dict[str, Any] | str:
    """The call of a revert, its parameters from values of which a later one counts more; or why it cannot be called."""
    fields = {key: value for held in known if is_object(held) for key, value in held.items()}
    missing = [name for name in required if name not in fields]
    if missing:
        return f"its revert {revert} needs {', '.join(missing)}, which the call does not give"
    return {"revert": revert, "arguments": {key: fields[key] for key in parameters if key in fields}}


class Steps:
    """Implements `contracts.program.Isolate`: issues one revert after the other, whatever came of the one before."""

    engine_version = ENGINE

    def __init__(self, plan: Mapping[str, Any]) -> None:
        self._plan = plan
        self._steps: Sequence[Mapping[str, Any]] = plan["steps"]
        self._undone: list[dict[str, Any]] = []
        self._stands: list[Any] = list(plan["stands"])
        self._at = 0
        self._found: dict[str, Any] | None = None

    async def prepare(self, program: Program, names: tuple[str, ...]) -> Prepared:
        return Prepared(program.source)

    async def typecheck(self, code: str, stubs: str) -> tuple[Problem, ...]:
        return ()

    async def start(self, boot: Boot) -> Turn:
        return self._turn(1)

    async def deliver(self, deliveries: Sequence[Delivery]) -> Turn:
        return one_by_one(deliveries, self._step)

    async def close(self) -> None: ...

    def _step(self, delivery: Delivery) -> Turn:
        self._take(delivery)
        return self._turn(delivery.id + 1)._replace(issued_before=(delivery.id,))

    def _take(self, delivery: Delivery) -> None:
        """One answer: of a revert, or of what had to be known before it."""
        step = self._steps[self._at]
        call = {"sequence": step["sequence"], "operation": step["operation"]}
        answer = decode_value(delivery.value)
        if self._settling:
            stands = self._known(step, answer) if delivery.kind == "result" else _UNSURE
            if self._found is not None:
                return
            self._stands += [{**call, "why": stands}] if stands else []
        elif delivery.kind == "result":
            self._undone.append({**call, "by": step["revert"]})
        else:
            self._stands.append({**call, "why": f"{step['revert']}: {answer['message']}", "code": answer["code"]})
        self._at, self._found = self._at + 1, None

    def _known(self, step: Mapping[str, Any], answer: Mapping[str, Any]) -> str:
        """Why the call stands, of which it is known by now whether it took effect; "" when it does not."""
        if answer["state"] == "unknown":
            return _UNSURE
        if answer["state"] == "not_done":
            return ""
        reverted = _given(step["revert"], step["required"], step["parameters"], step["arguments"], answer["value"])
        if isinstance(reverted, str):
            return reverted
        self._found = reverted["arguments"]
        return ""

    @property
    def _settling(self) -> bool:
        return "settle" in self._steps[self._at] and self._found is None

    def _turn(self, number: int) -> Turn:
        if self._at < len(self._steps):
            step = self._steps[self._at]
            operation, arguments = (SETTLE, step["settle"]) if self._settling else (step["revert"], self._found or step["arguments"])
            return Turn((IssuedCall(number, operation, encode_value(arguments)),))
        return Turn(finished=Finished(True, encode_value({"run": self._plan["run"], "undone": self._undone, "stands": self._stands})))


def one_by_one(deliveries: Sequence[Delivery], step: Callable[[Delivery], Turn]) -> Turn:
    """Of a guest that the host is itself. A replay gives several answers at once: what each of them leads to was issued then, and is
    issued now. `step` takes one answer.
    """
    turns = [step(delivery) for delivery in deliveries]
    return turns[-1]._replace(calls=tuple(call for turn in turns for call in turn.calls),
                              issued_before=tuple(count for turn in turns for count in turn.issued_before))
