"""A plan's hand: answers held writes, and lays them over what the run reads.

Invariants
- Nothing here reaches a connector but through the bridge's own `live` and `preview`.
- What is laid over a read, repeated in a made-up answer, or hashed of what was read is what the program was told: nothing that a
  rule hides, and of a handle nothing.
- A symbol never leaves: a read that was given one is answered from the overlay, or fails and says why.
- All of it is rebuilt from the journal when a plan is taken up again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from inhabit.contracts.json import is_array, is_object
from inhabit.contracts.operation import Operation, Resource
from inhabit.contracts.run import Outcome
from inhabit.errors import CallError, Denied, InhabitError
from inhabit.policy.results import REDACTED
from inhabit.runtime.context import Admitted
from inhabit.runtime.overlay import Overlay
from inhabit.runtime.recording import Recording
from inhabit.runtime.schemas import Validators
from inhabit.runtime.simulating import Symbols, simulated
from inhabit.wire.values import decode_value, encode_value

__all__ = ["PlanHolder"]


class PlanHolder:
    """Implements `context.Holder` for one run."""

    def __init__(self, run_id: str, now_ms: Callable[[], int]) -> None:
        self._run_id = run_id
        self._now_ms = now_ms
        self._overlay = Overlay()
        self._symbols: set[str] = set()
        self._seen: dict[int, str] = {}
        self._reading: dict[int, Resource] = {}
        self._held: dict[int, tuple[Operation, Mapping[str, Any]]] = {}
        self._validators = Validators()

    def rebuild(self, recording: Recording, operation: Callable[[str], Operation | None]) -> None:
        """What the run did before, from its journal, in the order in which it was answered."""
        for sequence in sorted(recording.arrived, key=lambda sequence: recording.arrived[sequence]):
            intent, outcome = recording.intents[sequence], recording.outcomes[sequence]
            made = operation(intent.operation)
            if made is None or not outcome.ok or outcome.kept is not None:
                continue
            arguments, answer = decode_value(intent.arguments), decode_value(outcome.value)
            if outcome.simulated:
                self._note(sequence, made, arguments, answer)
            else:
                self._overlay.saw(made.resource, answer)

    async def answer(self, admitted: Admitted, preview: Callable[[], Awaitable[Any]] | None) -> Any:
        operation, arguments = _operation(admitted), admitted.arguments
        if operation.resource is not None and operation.resource.role in ("update", "replace", "delete"):
            self._overlay.alone(_reading(operation.resource), arguments)
        told: Any = None
        if preview is not None:
            try:
                told = await preview()
            except Denied:   # who may not read it gets a simulation
                preview = None
        self._held[admitted.issued.sequence] = operation, arguments
        return self._simulated(operation, arguments, told, admitted.issued.sequence) if preview is None or is_object(told) else told

    async def read(self, admitted: Admitted, live: Callable[[], Awaitable[Any]], shaped: Callable[[Any], Any]) -> Any:
        operation, arguments = _operation(admitted), admitted.arguments
        alone = self._overlay.alone(operation.resource, arguments)
        if alone is not None:
            return alone
        if self._symbols and any(symbol in encode_value(arguments).decode() for symbol in self._symbols):
            raise CallError(f"{operation.name} was asked for what only this plan has; nothing upstream knows it yet", code="planned_only",
                            fix="declare `resource` for the operations over this kind of thing, or read it in a later run")
        try:
            value = await live()
            seen = _digest(operation.resource, shaped(value)) if operation.effects.reads != "none" else ""
        except InhabitError as error:
            self._seen[admitted.issued.sequence] = f"error {error.specific_code or error.code}"
            raise
        self._seen[admitted.issued.sequence] = seen
        if operation.resource is not None and not admitted.kept:
            self._reading[admitted.issued.sequence] = operation.resource
        return self._overlay.read(operation.resource, arguments, value)

    def seen(self, sequence: int) -> str:
        return self._seen.pop(sequence, "")

    def told(self, outcome: Outcome) -> None:
        resource, held = self._reading.pop(outcome.sequence, None), self._held.pop(outcome.sequence, None)
        if not outcome.ok:
            return
        if held is not None:
            self._note(outcome.sequence, *held, decode_value(outcome.value))
        elif resource is not None:
            self._overlay.saw(resource, decode_value(outcome.value))

    def _simulated(self, operation: Operation, arguments: Mapping[str, Any], told: Any, sequence: int) -> Any:
        """Simulated where nothing is told. Arguments are repeated in it where they fit; else it is made without them."""
        symbols, problem = Symbols(self._run_id, sequence), ""
        said: Mapping[str, Any] = told if is_object(told) else {}
        for known in ({**self._overlay.known(operation.resource, arguments), **said}, said):
            value = simulated(operation, known, symbols, self._now_ms())
            value = {**value, **said} if is_object(value) else said or value
            try:
                self._validators.result(operation, value, len(encode_value(value)))
            except InhabitError as error:
                problem = error.message
            else:
                return value
        raise CallError(f"{operation.name} is held, and no answer of its declared type can be made up: {problem}", code="not_simulated",
                        effect="none", fix=f"declare a preview for {operation.name}")

    def _note(self, sequence: int, operation: Operation, arguments: Mapping[str, Any], answer: Any) -> None:
        self._symbols.update(str(symbol) for _, symbol in Symbols(self._run_id, sequence).within(answer))
        if operation.resource is not None:
            self._overlay.write(operation.resource, arguments, answer)


def _operation(admitted: Admitted) -> Operation:
    assert admitted.standing is not None, "an admitted call without error has an operation"
    return admitted.standing.operation


def _reading(resource: Resource) -> Resource:
    return Resource(resource.kind, "read", key=resource.key, argument=resource.argument)


def _digest(resource: Resource | None, value: Any) -> str:
    """What tells whether something read is still the same: its version where it has one, else its hash."""
    if resource is not None and resource.version:
        if is_object(value) and value.get(resource.version, REDACTED) != REDACTED:
            return f"version {value[resource.version]}"[:200]
        things = value.get(resource.items) if is_object(value) and resource.items else value
        if is_array(things) and all(is_object(thing) and thing.get(resource.version, REDACTED) != REDACTED for thing in things):
            value = [[thing.get(resource.key), thing[resource.version]] for thing in things]
    return f"sha256 {hashlib.sha256(encode_value(value, canonical=True)).hexdigest()}"
