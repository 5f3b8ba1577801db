"""Opaque handles: values that a program can move and cannot see.

`files.read.handle({...})` carries out `files.read` and gives the program `{"$handle": ID}`; the value stays on the host,
in the call's outcome, where a replay finds it. `{"$handle": ID, "at": "/body"}` is a part of it. Given as an argument,
or anywhere in one, it is put in place by the bridge: what labels the value counts for that decision, then the schema
and the connector see the value itself. The run's own labels do not grow by a value that its program never saw.

Invariants
- An ID is random, so two handles of one value differ, and is known to one run alone (which has one principal).
- What a handle holds is never in what the program is told: not in a result, not in the words of an error, not in
  whether an argument fitted. The answer of a call that was given a handle carries the handle's labels; so does a refusal
  that may depend on what it holds, such as that it does not fit or is too long.
- Nothing that writes gives a handle: what was written stands in the journal under the operation's own name.
- What an operation extracts of a handle is counted, in bits, before it is told, and a run is told no more than a bound.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from inhabit.contracts.json import is_array, is_object
from inhabit.contracts.operation import Operation
from inhabit.contracts.run import Outcome
from inhabit.errors import Denied, InhabitError, InvalidInput, LimitExceeded
from inhabit.kernel.flow import CLEAN, Labels
from inhabit.runtime.extraction import EXTRACTED, bits_of
from inhabit.wire.values import decode_value, encode_value

__all__ = ["FLOW", "RETURNED", "SUFFIX", "Given", "Handles", "kept_error", "only_reads", "told_by", "veiled"]

SUFFIX = ".handle"
FLOW = "information flow"
_MOST = 1_000
"""Handles of one run: each keeps its value in memory."""
_BITS = "extracted_bits"
_VEILED = "handle_refused"
_MEMBERS = frozenset({"$handle", "at"})
RETURNED = encode_value({
    "name": "Error", "code": "handle_misplaced", "message": "the program returned a handle; it stands for a value that stays on the host",
    "fix": "give handles to operations as arguments; to return a value, call the operation without `.handle`"})
_FAILED = encode_value({
    "code": "handle_failed", "message": "the call failed; its words stay on the host, with the run's journal", "retryable": False, "effect": "none"})


class _Held(NamedTuple):
    body: bytes
    labels: Labels


class Given(NamedTuple):
    """Arguments with the values of their handles in place. `labels`: of those values; `where`: of those among them that have a say
    in where the call goes or what it does. `any`: whether there were any. `refused`: why there is no value, where that tells of them.
    """

    value: Any
    labels: Labels = CLEAN
    any: bool = False
    where: Labels = CLEAN
    refused: InhabitError | None = None

    def whole(self) -> Any:
        """The value. Raises why there is none."""
        if self.refused is not None:
            raise self.refused
        return self.value


class Handles:
    """Those of one run."""

    __slots__ = ("_held", "_random", "binaries", "told_bits")

    def __init__(self, random: Callable[[], str] = lambda: secrets.token_urlsafe(24)) -> None:
        self._random = random
        self._held: dict[str, _Held] = {}
        self.binaries: set[str] = set()
        self.told_bits = 0

    def new(self) -> bytes:
        """What the program is given for a value. Raises `LimitExceeded`."""
        if len(self._held) >= _MOST:
            raise LimitExceeded.of("handles", _MOST, "handles")
        return encode_value({"$handle": self._random()})

    def learn(self, outcome: Outcome, labels: Labels) -> None:
        """The value that a handle stands for, now or from the journal."""
        if outcome.ok and outcome.kept is not None:
            self._held[decode_value(outcome.value)["$handle"]] = _Held(outcome.kept, labels)
            self.binaries.update(outcome.binaries)

    def within(self, body: bytes) -> bool:
        """Whether a JSON text names one of them."""
        return bool(self._held) and any(name.encode() in body for name in self._held)

    def given(self, arguments: dict[str, Any], body: bytes, most_bytes: int, operation: Operation | None = None) -> Given:
        """The arguments as the connector gets them; `operation` where they are of a call that is to be decided. Raises `InvalidInput` for a handle that is none of this run's, or that
        stands inside a text; `LimitExceeded`. No message shows what a handle holds.
        """
        if b"$handle" not in body and b"\\u" not in body and not self.within(body):
            return Given(arguments)
        filling = _Filling(self._held, most_bytes)
        content = operation.content if operation is not None else ()
        filled = {name: filling.filled(value) for name, value in arguments.items() if name not in content}
        where = filling.labels
        filled |= {name: filling.filled(value) for name, value in arguments.items() if name in content}
        for name in arguments:
            filling.plain(name)
        if filling.left < 0:
            return Given({}, filling.labels, True, where, LimitExceeded.of(
                "value_bytes", most_bytes, "bytes", what="the arguments with the values of their handles"))
        if operation is not None and operation.extracts and filling.found:
            if "$handle" in str([value for name, value in arguments.items() if name != EXTRACTED]):
                raise InvalidInput(f"{operation.name}: a handle stands for what is extracted, and for nothing beside it", code="handle_misplaced")
            self.tell(operation, bits_of(operation, arguments))
        return Given({name: filled[name] for name in arguments}, filling.labels, filling.found, where)

    def tell(self, operation: Operation, bits: int) -> None:
        """Count what an extraction may tell. Raises `LimitExceeded` before it is told."""
        if self.told_bits + bits > operation.extracts:
            raise LimitExceeded.of(_BITS, operation.extracts, "bits", what=operation.name,
                                   fix="ask for fewer or narrower values: bounds for a number, fewer words to choose from")
        self.told_bits += bits


class _Filling:
    """One walk over arguments."""

    def __init__(self, held: dict[str, _Held], most_bytes: int) -> None:
        self._held = held
        self.left = most_bytes
        self.labels = CLEAN
        self.found = False

    def filled(self, node: Any) -> Any:
        if is_object(node):
            if isinstance(node.get("$handle"), str):
                return self._value(node)
            return {self.plain(key): self.filled(value) for key, value in node.items()}
        if is_array(node):
            return [self.filled(value) for value in node]
        return self.plain(node) if isinstance(node, str) else node

    def _value(self, node: Mapping[str, Any]) -> Any:
        held = self._held.get(node["$handle"])
        if held is None or not node.keys() <= _MEMBERS:
            raise InvalidInput("a $handle that this run was not given", fix="pass on what `.handle(...)` returned, as it is, or with `at` added",
                               code="handle_unknown")
        self.left -= len(held.body)
        self.labels, self.found = self.labels.joined(held.labels), True
        part = _pointer(node.get("at", ""))
        return _part(decode_value(held.body), part) if self.left >= 0 else None   # too long: nothing more is held

    def plain(self, text: str) -> str:
        if any(name in text for name in self._held):
            raise InvalidInput("a handle inside a text", fix="give the handle itself as the argument, or as a member of it", code="handle_misplaced")
        return text


def _pointer(at: Any) -> str:
    if not isinstance(at, str) or (at and not at.startswith("/")):
        raise InvalidInput("`at` of a handle is no JSON pointer", fix='such as "/body" or "/0/subject"', code="handle_misplaced")
    return at


def _part(value: Any, pointer: str) -> Any:
    """What a JSON pointer names. A part that is not there is null: that it is missing is not told here."""
    for step in pointer.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if is_object(value):
            value = value.get(name)
        elif is_array(value) and name.isdecimal() and len(name) < 10:
            value = value[int(name)] if int(name) < len(value) else None
        else:
            return None
    return value


def only_reads(operation: Operation) -> None:
    """Raises `InvalidInput` for an operation whose result cannot be a handle."""
    if operation.effects.may_write:
        raise InvalidInput(f"{operation.name} may write, and gives no handle", fix=f"call {operation.name} itself", code="handle_refused")


def veiled(error: InhabitError, operation: str) -> InhabitError:
    """What the program is told of the refusal of a call that was given handles. The guard's words are about the calls
    that were made, those of the count of bits about what it asked for, and stay; all others may show what was in the arguments.
    """
    if (isinstance(error, Denied) and error.details.get("rule") == FLOW) or error.details.get("limit") == _BITS:
        return error
    return Denied(f"{operation}: refused; the reason may show what a handle holds, and is in the run's journal", code=_VEILED)


def told_by(refusal: InhabitError | None, carried: Labels) -> Labels:
    """What a refusal tells of the handles that the call was given."""
    return carried if refusal is not None and refusal.specific_code == _VEILED else CLEAN


def kept_error() -> bytes:
    """What the program is told of a call for a handle that failed."""
    return _FAILED
