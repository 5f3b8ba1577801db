"""What a held write is answered with when nobody can say: a value of its type, with ids to be recognised.

Model: `Symbols` gives fresh ids, which depend on the run, the call and the place in the answer alone. So
whoever has the plan finds them in it again, and binds each to what the real call answers at the same place.
Everything else in a simulated value is the least that its schema allows, and is never bound to anything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from inhabit.contracts.json import is_array, is_object
from inhabit.contracts.operation import Operation, Schema
from inhabit.contracts.schema import Schemas, types_of

__all__ = ["MAX_SYMBOL_CHARS", "Symbols", "shown", "simulated"]

MAX_SYMBOL_CHARS = 200
"""A real id that a symbol is bound to is no longer: it stands in arguments that a person approved without it.
"""
_WORD = "planned_"
_INTEGERS = 9_007_000_000_000_000
_INT32 = 2_140_000_000
_DEPTH = 12
_ITEMS = 20
_NAMES = frozenset({"id", "uuid", "key"})


class Symbols:
    """Those of one call of a plan."""

    def __init__(self, run_id: str, sequence: int) -> None:
        self._seed = f"{run_id}:{sequence}"

    def fresh(self, pointer: str, schema: Schema) -> str | int | None:
        """None where the schema leaves no room for one."""
        forms = self._forms(pointer)
        types, form = types_of(schema), schema.get("format")
        if "integer" in types or (not schema.get("type") and form in ("int32", "int64")):
            most = schema.get("maximum", 2**31 - 1 if form == "int32" else 2**53)
            return next((number for number in forms if isinstance(number, int) and number <= most), None)
        if "string" in types:
            return forms[1] if form == "uuid" else forms[0]
        return None

    def within(self, answer: Any) -> Iterator[tuple[str, str | int]]:
        """Pointer and symbol of those that stand in an answer of this call."""
        stack: list[tuple[str, Any]] = [("", answer)]
        while stack:
            pointer, node = stack.pop()
            if isinstance(node, str) or (isinstance(node, int) and not isinstance(node, bool)):
                if node in self._forms(pointer):
                    yield pointer, node
            else:
                stack.extend(_members(pointer, node))

    def _forms(self, pointer: str) -> tuple[str | int, ...]:
        digest = hashlib.sha256(f"{self._seed}:{pointer}".encode()).hexdigest()
        number = int(digest[:8], 16)
        return (f"{_WORD}{digest[:16]}", f"00000000-0000-8000-8000-{digest[:12]}",
                _INTEGERS + number, _INT32 + number % 7_000_000)


def _members(pointer: str, node: Any) -> list[tuple[str, Any]]:
    if is_object(node):
        return [(f"{pointer}/{name}", value) for name, value in node.items()]
    return [(f"{pointer}/{index}", value) for index, value in enumerate(node)] if is_array(node) else []


def simulated(operation: Operation, known: Mapping[str, Any], symbols: Symbols, now_ms: int) -> Any:
    """A value of the operation's output schema, None where it declares none. `known`: members that the thing
    answered by this call would have.
    """
    if operation.output_schema is None:
        return None
    resource = operation.resource
    wrapped = f"/{resource.wrapped}" if resource is not None and resource.wrapped else ""
    makes = resource is not None and resource.role == "create" and resource.key
    key = f"{wrapped}/{resource.key}" if resource is not None and makes else None
    making = _Simulation(operation, symbols, now_ms, wrapped, key)
    return making.value(operation.output_schema, "", known, 0)


def shown(operation: Operation, thing: Mapping[str, Any], now_ms: int) -> dict[str, Any]:
    """A thing that only a plan has, as a read answers one or a list holds one. No id is made up."""
    resource = operation.resource
    if operation.output_schema is None or resource is None:
        return dict(thing)
    making = _Simulation(operation, None, now_ms)
    member = resource.wrapped if resource.role == "read" else resource.items
    schema = making.within(operation.output_schema, member)
    if resource.role == "list":
        schema = making.items(schema)
    value = making.value(schema, "", thing, 0)
    return dict(value if value and is_object(value) else thing)


class _Simulation:
    """`wrapped`: the pointer of the thing in the answer; `key`: that of the member which names it, if it is
    to be made up.
    """

    def __init__(self, operation: Operation, symbols: Symbols | None, now_ms: int, wrapped: str = "",
                 key: str | None = None) -> None:
        self._schemas = Schemas(operation.definitions)
        self._symbols = symbols
        self._now = datetime.fromtimestamp(now_ms / 1000, UTC)
        self._wrapped = wrapped
        self._key = key

    def within(self, schema: Any, member: str) -> Any:
        """The schema of a member, the schema itself for no name."""
        return self._schemas.members(schema).get(member, {}) if member else schema

    def items(self, schema: Any) -> Any:
        return self._schemas.items(schema) or {}

    def value(self, schema: Any, pointer: str, known: Mapping[str, Any], depth: int) -> Any:
        schema = self._schemas.plain(schema)
        if depth > _DEPTH:
            return None
        if "const" in schema:
            return schema["const"]
        named = pointer == self._key or _is_id(pointer.rpartition("/")[2])
        if named and self._symbols and "enum" not in schema:
            symbol = self._symbols.fresh(pointer, schema)
            if symbol is not None:
                return symbol
        if schema.get("enum"):
            return schema["enum"][0]
        if "default" in schema:
            return schema["default"]
        match next((kind for kind in types_of(schema) if kind != "null"), ""):
            case "object":
                return self._object(schema, pointer, known, depth)
            case "array":
                items, least = schema.get("items", {}), min(int(schema.get("minItems", 0)), _ITEMS)
                return [self.value(items, f"{pointer}/{index}", {}, depth + 1) for index in range(least)]
            case "string":
                return self._text(schema)
            case "integer" | "number":
                return _number(schema)
            case "boolean":
                return False
            case _:
                return None

    def _object(self, schema: Schema, pointer: str, known: Mapping[str, Any], depth: int) -> dict[str, Any]:
        properties: Mapping[str, Any] = schema.get("properties", {})
        required: Sequence[str] = schema.get("required", ())
        made: dict[str, Any] = {}
        for name in dict.fromkeys((*properties, *required)):
            inner = f"{pointer}/{name}"
            if inner == self._wrapped:
                made[name] = self.value(properties.get(name, {}), inner, known, depth + 1)
            elif name in known and pointer == self._wrapped:
                made[name] = known[name]
            elif name in required or inner == self._key or (name in _NAMES and self._symbols):
                made[name] = self.value(properties.get(name, {}), inner, {}, depth + 1)
        return made

    def _text(self, schema: Schema) -> str:
        shaped = {
            "date-time": self._now.isoformat().replace("+00:00", "Z"), "date": self._now.date().isoformat(),
            "time": self._now.time().isoformat(), "uuid": "00000000-0000-8000-8000-000000000000",
            "email": "planned@example.invalid", "uri": "https://planned.invalid/", "duration": "PT0S"}
        text = shaped.get(str(schema.get("format")), "")
        return text.ljust(min(int(schema.get("minLength", 0)), MAX_SYMBOL_CHARS), "x")


def _number(schema: Schema) -> float:
    if "exclusiveMinimum" in schema:
        return schema["exclusiveMinimum"] + 1
    least = schema.get("minimum", 0)
    return max(least, 0) if schema.get("maximum", 0) >= 0 else schema["maximum"]


def _is_id(name: str) -> bool:
    return name in _NAMES or name.endswith(("_id", "Id", "ID"))
