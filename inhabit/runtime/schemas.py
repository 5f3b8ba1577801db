"""JSON Schema validators of operations, compiled when first needed and kept while they are used.

Values are checked in full before a call and after it; an error names the place, what was expected and what
was there.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import jsonschema_rs

from inhabit.contracts.json import is_array, is_object
from inhabit.contracts.operation import Operation, Schema
from inhabit.errors import InvalidInput, ResultInvalid
from inhabit.runtime.patterns import compiled

__all__ = ["Validators"]

_KEPT = 2_000
"""Compiled validators held at once: some tens of KB each for a large API."""
_VISITS = 100_000
_TOO_LARGE = object()
_DEPTH = 200
"""References that lead on to references; a chain of thousands is no schema that anybody wrote, and too deep to walk."""
_IN_PLACE_LISTS = ("allOf", "anyOf", "oneOf")
_IN_PLACE = ("not", "if", "then", "else")
_SHOWN_PROBLEMS = 5
_SHOWN_CHARS = 300
_CARRIED_BYTES = 64 * 1024
"""A result that breaks its schema travels in the error up to this size, for a program that can use it anyway."""


class Validators:
    """`arguments` and `result` raise with `details["problems"]`: `[{pointer, expected}]`."""

    def __init__(self) -> None:
        self._compiled: OrderedDict[tuple[str, str], tuple[Any, Schema]] = OrderedDict()

    def ready(self, operation: Operation) -> None:
        """Raises `InvalidInput` for an operation whose schemas cannot be enforced: it is not called unchecked, and known
        before the call, not after it.
        """
        self._validator(operation, "in", operation.input_schema)
        if operation.output_schema is not None:
            self._validator(operation, "out", operation.output_schema)

    def arguments(self, operation: Operation, value: Mapping[str, Any]) -> None:
        """Raises `InvalidInput` with the operation's valid parameters."""
        validator = self._validator(operation, "in", operation.input_schema)
        if validator is None or validator.is_valid(value):
            return
        problems = _problems(validator, value)
        raise InvalidInput(
            f"{operation.name}: " + "; ".join(f"{p['pointer'] or '/'}: {p['expected']}" for p in problems),
            details={"problems": problems, "parameters": parameters(operation)}, code="arguments_invalid")

    def result(self, operation: Operation, value: Any, size: int) -> None:
        """`size`: bytes of the value as JSON. Raises `ResultInvalid`; nothing to check where the operation declares no output."""
        if operation.output_schema is None:
            return
        validator = self._validator(operation, "out", operation.output_schema)
        if validator is None or validator.is_valid(value):
            return
        problems = _problems(validator, value)
        details: dict[str, Any] = {"problems": problems}
        if size <= _CARRIED_BYTES:
            details["value"] = value   # real upstreams break their own documents: what came is not lost
        raise ResultInvalid(
            f"{operation.name} answered with another shape than it declares: "
            + "; ".join(f"{p['pointer'] or '/'}: {p['expected']}" for p in problems),
            effect="happened" if operation.effects.may_write else "none", details=details)

    def _validator(self, operation: Operation, side: str, schema: Schema) -> Any:
        key = (operation.name, side)
        held = self._compiled.get(key)
        if held is not None and held[1] is schema:
            self._compiled.move_to_end(key)
        else:
            held = self._compiled[key] = (_compile(operation, schema), schema)
            if len(self._compiled) > _KEPT:
                self._compiled.popitem(last=False)
        if held[0] is _TOO_LARGE:
            raise InvalidInput(
                f"{operation.name} cannot be called: its schema would be looked at in more than {_VISITS} places for one value",
                fix="simplify the schema at its source (nested allOf, anyOf and oneOf multiply)", code="schema_too_large",
                details={"limit": "schema_places", "value": _VISITS, "unit": "places"})
        return held[0]


def _compile(operation: Operation, schema: Schema) -> Any:
    """None when the source's own schema is not a valid one: then there is nothing to hold a value against. `_TOO_LARGE`
    for one that would be walked a million times for one value.
    """
    definitions = {**schema.get("$defs", {}), **operation.reachable()}
    known: dict[str, int] = {}
    if any(_visits(part, definitions, known) > _VISITS for part in (schema, *definitions.values())):
        return _TOO_LARGE
    whole = {**schema, "$defs": definitions}
    try:
        return compiled(whole)
    except (jsonschema_rs.ValidationError, ValueError):
        return None


def _visits(schema: Any, definitions: Mapping[str, Schema], known: dict[str, int], depth: int = 0) -> int:
    """How many schemas one value at this place is held against: `allOf` of two references to `allOf` of two … doubles
    at each step. A reference that comes back to itself counts once.
    """
    if not is_object(schema):
        return 1
    if depth > _DEPTH:
        return _VISITS + 1
    inner = [part for word in _IN_PLACE_LISTS for part in schema.get(word, ()) if is_array(schema.get(word))]
    inner += [schema[word] for word in _IN_PLACE if word in schema]
    total = 1 + sum(_visits(part, definitions, known, depth + 1) for part in inner)
    ref = schema.get("$ref")
    name = ref.removeprefix("#/$defs/") if isinstance(ref, str) else ""
    if name in definitions:
        if name not in known:
            known[name] = 1
            known[name] = _visits(definitions[name], definitions, known, depth + 1)
        total += known[name]
    return total


def _problems(validator: Any, value: Any) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    for error in validator.iter_errors(value):
        pointer = "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in error.instance_path)
        found.append({"pointer": pointer, "expected": _short(str(error.message))})
        if len(found) == _SHOWN_PROBLEMS:
            break
    return found


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS // 2]} ... {text[-_SHOWN_CHARS // 2:]}"


def parameters(operation: Operation) -> list[str]:
    """`name` for a required parameter, `name?` for an optional one."""
    required = set(operation.input_schema.get("required", ()))
    return [name if name in required else f"{name}?" for name in operation.input_schema.get("properties", {})]
