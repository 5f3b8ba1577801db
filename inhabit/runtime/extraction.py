"""Small typed values out of handles: a declared, counted declassification; and texts made of handles, which are not.

An app that is given `Extraction()` has `handles.number`, `.date`, `.datetime`, `.word` and `.id`. Each takes a handle and
tells the program one value of a type that can hold no sentence: a number, a day, a minute, one of a few words or ids that the program
names. The value is read on the host. It keeps the label `private`: it is still about somebody. It loses `untrusted`: a
program cannot be talked to in it. Who may extract is a matter of grants and rules, like any call.

`handles.between` and `handles.text` cut a text and put texts together on the host. They declassify nothing: what they answer has
the labels of what they were given, and is meant to be asked for as a handle again (`handles.text.handle`).

Invariants
- How many bits an answer can tell is known before it is read, from the call alone; that there was no answer is one of
  the answers. The bridge counts them against the bound of the run, and the journal has each.
- A value that does not fit gives one constant error, whatever it holds.
- What is told was named by the program or is a number or date written anew: no byte of the value is passed on.
- Whether a text held what was looked for is not told: a part that is not there is null, as everywhere in a handle.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import Any

from inhabit.contracts.connector import Call, ConnectorContext, ConnectorProblem
from inhabit.contracts.effects import Effects
from inhabit.contracts.json import is_array
from inhabit.contracts.operation import ErrorDoc, Operation, Schema
from inhabit.errors import CallError, ConfigError
from inhabit.wire.values import encode_value

__all__ = ["BITS", "EXTRACTED", "Extraction", "bits_of", "read_value"]

EXTRACTED = "of"
"""The parameter that takes the handle."""
BITS = 512
"""A run's, unless the operator says another number: eight numbers, or twenty-three days. 64 letters, if all were put to that use."""
_MOST_BITS = 65_536
_NUMBER_BITS = 64
_DAYS = date.max.toordinal()
_MINUTES = _DAYS * 24 * 60
_MOST_WORDS, _MOST_IDS = 64, 1_000
_NUMBER = re.compile(r"[+-]?\d{1,30}(?:\.\d{1,30})?(?:[eE][+-]?\d{1,3})?", re.ASCII)
_CALENDAR = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:\d\d)?)?", re.ASCII)
_OF: Schema = {"description": "a handle, or a part of one: {...handle, at: \"/0/amount\"}"}
_WORDS: Schema = {"type": "array", "items": {"type": "string", "maxLength": 200}, "minItems": 1, "maxItems": _MOST_WORDS}
_IDS: Schema = {"type": "array", "items": {"type": ["string", "integer"], "maxLength": 200}, "minItems": 1, "maxItems": _MOST_IDS}
_READS = Effects("none", "trusted", "none", False, True)
_SHAPES: Mapping[str, tuple[str, Mapping[str, Schema], Schema]] = {
    "number": ("The number that a handle holds", {"least": {"type": "integer"}, "most": {"type": "integer"}}, {"type": "number"}),
    "date": ("The day that a handle holds, as YYYY-MM-DD", {}, {"type": "string"}),
    "datetime": ("The day and time that a handle holds, as YYYY-MM-DD HH:MM", {}, {"type": "string"}),
    "word": ("Which of these words a handle holds, whatever their case", {"values": _WORDS}, {"type": "string"}),
    "id": ("Which of these ids a handle holds", {"values": _IDS}, {"type": ["string", "integer"]}),
}
_MARK: Schema = {"type": "string", "minLength": 1, "maxLength": 200}
_TEXTS: Mapping[str, tuple[str, Schema, Schema]] = {
    "between": ("A part of a text, as a handle: what stands behind `after` and before `before`; null where these are not there",
                {"type": "object", "properties": {EXTRACTED: _OF, "after": _MARK, "before": _MARK}, "required": [EXTRACTED], "additionalProperties": False},
                {"type": ["string", "null"]}),
    "text": ("One text out of texts, numbers and handles, as a handle",
             {"type": "object", "properties": {"parts": {"type": "array", "minItems": 1, "maxItems": 200}}, "required": ["parts"], "additionalProperties": False},
             {"type": "string"}),
}
_BOUNDS = " With `least` and `most`, a whole number between them, which tells fewer bits."


class Extraction:
    """A connector of one capability. `bits`: what a run may be told in all."""

    def __init__(self, name: str = "handles", *, bits: int = BITS) -> None:
        if not 1 <= bits <= _MOST_BITS:
            raise ConfigError(f"bits={bits} of an Extraction", fix=f"from 1 to {_MOST_BITS}; the default is {BITS}")
        self.name = name
        self._operations = {f"{name}.{kind}": self._described(kind, bits) for kind in _SHAPES} | {
            f"{name}.{kind}": self._of_texts(kind) for kind in _TEXTS}

    def _described(self, kind: str, bits: int) -> Operation:
        summary, more, output = _SHAPES[kind]
        return Operation(
            f"{self.name}.{kind}", {"type": "object", "properties": {EXTRACTED: _OF, **more}, "additionalProperties": False,
                                    "required": [EXTRACTED, *(["values"] if "values" in more else ())]},
            output, summary=summary, effects=_READS, connector=self.name, origin="extraction", extracts=bits,
            description=f"The value keeps the label private and loses untrusted.{_BOUNDS if kind == 'number' else ''} A run is told at most {bits} bits.",
            errors=(ErrorDoc("not_extracted", "the handle holds no such value"),))

    def _of_texts(self, kind: str) -> Operation:
        summary, given, output = _TEXTS[kind]
        return Operation(f"{self.name}.{kind}", given, output, summary=summary, effects=_READS, connector=self.name, origin="extraction",
                         description=f"Ask for a handle: {self.name}.{kind}.handle(...). The text has the labels of what it was made of.")

    async def open(self, context: ConnectorContext) -> None:
        del context

    def fingerprint(self) -> str:
        return ",".join(operation.schema_hash() for operation in self._operations.values())

    def operations(self) -> Iterable[Operation]:
        return self._operations.values()

    def operation(self, name: str) -> Operation | None:
        return self._operations.get(name)

    def problems(self) -> tuple[ConnectorProblem, ...]:
        return ()

    async def close(self) -> None: ...

    async def call(self, call: Call) -> Any:
        """Raises the one `CallError`."""
        match call.operation.function:
            case "between":
                return _between(call.arguments)
            case "text":
                return "".join(map(_said, call.arguments["parts"]))
            case kind:
                found = read_value(kind, call.arguments)
        if found is None:
            raise CallError("what the handle holds is not that", code="not_extracted", effect="none")
        return found


def bits_of(operation: Operation, arguments: Mapping[str, Any]) -> int:
    """The most that the answer of this call can tell, its refusal included."""
    match operation.function:
        case "number" if _bounded(arguments):
            return math.ceil(math.log2(max(arguments["most"] - arguments["least"] + 2, 2)))
        case "number":
            return _NUMBER_BITS
        case "date":
            return math.ceil(math.log2(_DAYS + 1))
        case "datetime":
            return math.ceil(math.log2(_MINUTES + 1))
        case _:
            values = arguments.get("values")
            return math.ceil(math.log2(len(values) + 1)) if is_array(values) and values else 1


def read_value(kind: str, arguments: Mapping[str, Any]) -> Any:
    """What a handle holds, read as this kind of value; None where it is none."""
    value = arguments[EXTRACTED]
    match kind:
        case "number":
            return _number(value, arguments)
        case "date" | "datetime":
            return _when(value, kind)
        case "word":
            said = value.strip().casefold() if isinstance(value, str) else None
            return next((word for word in arguments["values"] if word.strip().casefold() == said), None)
        case _:
            return next((one for one in arguments["values"] if type(one) is type(value) and one == value), None)


def _between(arguments: Mapping[str, Any]) -> str | None:
    """The first place counts."""
    text = arguments[EXTRACTED]
    if not isinstance(text, str):
        return None
    after, before = arguments.get("after", ""), arguments.get("before", "")
    start = text.find(after)
    end = text.find(before, start + len(after)) if before else len(text)
    return text[start + len(after):end] if start >= 0 and end >= 0 else None


def _said(part: Any) -> str:
    if part is None or isinstance(part, str):
        return part or ""
    return encode_value(part).decode()


def _number(value: Any, arguments: Mapping[str, Any]) -> float | None:
    if isinstance(value, str):
        text = value.strip()
        value = (float(text) if any(mark in text for mark in ".eE") else int(text)) if _NUMBER.fullmatch(text) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or abs(value) >= 2**63:
        return None
    if _bounded(arguments):
        return int(value) if value == int(value) and arguments["least"] <= value <= arguments["most"] else None
    # What 64 bits hold, and no more: a long integer is told as the number that a program would see.
    return value if isinstance(value, float) or abs(value) < 2**53 else float(value)


def _bounded(arguments: Mapping[str, Any]) -> bool:
    return isinstance(arguments.get("least"), int) and isinstance(arguments.get("most"), int)


def _when(value: Any, kind: str) -> str | None:
    text = value.strip() if isinstance(value, str) else ""
    if not _CALENDAR.fullmatch(text):
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found.isoformat(" ", "minutes")[:10 if kind == "date" else 16]
