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
from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import partial
from typing import Any

from inhabit.contracts.json import is_array, is_object
from inhabit.contracts.operation import Operation, Resource
from inhabit.contracts.run import Outcome
from inhabit.errors import CallError, Denied, InhabitError
from inhabit.policy.results import REDACTED
from inhabit.runtime.context import Admitted
from inhabit.runtime.overlay import Overlay, unwrapped
from inhabit.runtime.recording import Recording
from inhabit.runtime.schemas import Validators
from inhabit.runtime.simulating import Symbols, shown, simulated
from inhabit.wire.values import decode_value, encode_value

__all__ = ["PlanHolder", "told_in"]

_TOLD = "told "


class PlanHolder:
    """Implements `context.Holder` for one run."""

    def __init__(self, run_id: str, now_ms: Callable[[], int]) -> None:
        self._run_id = run_id
        self._now_ms = now_ms
        self._overlay = Overlay()
        self._symbols: set[str] = set()
        self._seen: dict[int, str] = {}
        self._reading: dict[int, tuple[Resource, Mapping[str, Any]]] = {}
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
                self._note(sequence, made, arguments, answer, told_in(outcome))
            else:
                self._overlay.saw(made.resource, arguments, answer)

    async def answer(self, admitted: Admitted, preview: Callable[[], Awaitable[Any]] | None) -> Any:
        operation, arguments = _operation(admitted), admitted.arguments
        self._overlay.alone(operation.resource, arguments)
        told: Any = None
        if preview is not None:
            try:
                told = await preview()
            except Denied:   # who may not read it gets a simulation
                preview = None
        sequence = admitted.issued.sequence
        self._held[sequence] = operation, arguments
        if preview is not None:
            self._seen[sequence] = _TOLD + encode_value(sorted(told) if is_object(told) else True).decode()
        return self._simulated(operation, arguments, told, sequence) if preview is None or is_object(told) else told

    def planned(self, admitted: Admitted) -> Mapping[str, Any] | None:
        return self._overlay.planned(_operation(admitted).resource, admitted.arguments)

    async def read(self, admitted: Admitted, live: Callable[[], Awaitable[Any]], shaped: Callable[[Any], Any]) -> Any:
        operation, arguments = _operation(admitted), admitted.arguments
        resource, fit = operation.resource, partial(shown, operation, now_ms=self._now_ms())
        if resource is not None and resource.role == "read" and (alone := self._overlay.alone(resource, arguments)) is not None:
            return self._fitting(operation, {resource.wrapped: fit(alone)} if resource.wrapped else fit(alone))
        if self._symbols and any(symbol in encode_value(arguments).decode() for symbol in self._symbols):
            raise _planned_only(operation, "was asked for what only this plan has; nothing upstream knows it yet")
        value = await self._live(admitted, live, shaped)
        if resource is not None and not admitted.kept:
            self._reading[admitted.issued.sequence] = resource, arguments
        laid = self._overlay.read(resource, arguments, value, fit)
        return value if laid is value else self._fitting(operation, laid)

    async def _live(self, admitted: Admitted, live: Callable[[], Awaitable[Any]], shaped: Callable[[Any], Any]) -> Any:
        operation, sequence = _operation(admitted), admitted.issued.sequence
        try:
            value = await live()
            self._seen[sequence] = _digest(operation.resource, shaped(value)) if operation.effects.reads != "none" else ""
        except InhabitError as error:
            code = error.specific_code or error.code
            self._seen[sequence] = f"error {code}"
            if code.endswith(("not_found", "http_404")) and self._overlay.puts(operation.resource, admitted.arguments):
                raise _planned_only(operation, "found nothing upstream of what this plan would write") from error
            raise
        return value

    def seen(self, sequence: int) -> str:
        return self._seen.pop(sequence, "")

    def told(self, outcome: Outcome) -> None:
        read, held = self._reading.pop(outcome.sequence, None), self._held.pop(outcome.sequence, None)
        if not outcome.ok:
            return
        if held is not None:
            self._note(outcome.sequence, *held, decode_value(outcome.value), told_in(outcome))
        elif read is not None:
            self._overlay.saw(*read, decode_value(outcome.value))

    def _fitting(self, operation: Operation, value: Any) -> Any:
        """An answer with what is planned in it, where it is one that the operation could give."""
        try:
            self._validators.result(operation, value, len(encode_value(value)))
        except InhabitError:
            raise _planned_only(operation, "does not answer in a shape that what this plan would write fits into") from None
        return value

    def _simulated(self, operation: Operation, arguments: Mapping[str, Any], told: Any, sequence: int) -> Any:
        """Simulated where nothing is told. Arguments are repeated in it where they fit; else it is made without them."""
        symbols, problem = Symbols(self._run_id, sequence), ""
        said: Mapping[str, Any] = told if is_object(told) else {}
        wrapped = operation.resource.wrapped if operation.resource is not None else ""
        inner = unwrapped(operation.resource, said) if operation.resource is not None else said
        for known in ({**self._overlay.known(operation.resource, arguments), **inner}, inner):
            value = simulated(operation, known, symbols, self._now_ms())
            if not is_object(value):
                value = said or value
            else:
                value = {**value, **said, **({wrapped: {**value[wrapped], **inner}} if wrapped and is_object(value.get(wrapped)) else {})}
            try:
                self._validators.result(operation, value, len(encode_value(value)))
            except InhabitError as error:
                problem = error.message
            else:
                return value
        raise CallError(f"{operation.name} is held, and no answer of its declared type can be made up: {problem}", code="not_simulated",
                        effect="none", fix=f"declare a preview for {operation.name}")

    def _note(self, sequence: int, operation: Operation, arguments: Mapping[str, Any], answer: Any, told: Collection[str] | None) -> None:
        self._symbols.update(str(symbol) for _, symbol in Symbols(self._run_id, sequence).within(answer))
        if (resource := operation.resource) is not None:
            names = unwrapped(resource, answer) if told is None or resource.wrapped in told else told
            self._overlay.write(resource, arguments, answer, tuple(names))


def told_in(outcome: Outcome) -> Collection[str] | None:
    """Of a held write's answer, the members that a preview told; None for all of it."""
    if not outcome.seen.startswith(_TOLD):
        return ()
    told = decode_value(outcome.seen.removeprefix(_TOLD).encode())
    return None if told is True else [str(name) for name in told]


def _operation(admitted: Admitted) -> Operation:
    assert admitted.standing is not None, "an admitted call without error has an operation"
    return admitted.standing.operation


def _planned_only(operation: Operation, why: str) -> CallError:
    return CallError(f"{operation.name} {why}", code="planned_only",
                     fix="declare `resource` for the operations over this kind of thing, or read it in a later run")


def _digest(resource: Resource | None, value: Any) -> str:
    """What tells whether something read is still the same: its version where it has one, else its hash."""
    if resource is not None and resource.version:
        if is_object(value) and value.get(resource.version, REDACTED) != REDACTED:
            return f"version {value[resource.version]}"[:200]
        things = value.get(resource.items) if is_object(value) and resource.items else value
        if is_array(things) and all(is_object(thing) and thing.get(resource.version, REDACTED) != REDACTED for thing in things):
            value = [[thing.get(resource.key), thing[resource.version]] for thing in things]
    return f"sha256 {hashlib.sha256(encode_value(value, canonical=True)).hexdigest()}"
