"""The check before a run: calls as the source makes them, against the operations as they are declared.

Refuses only what cannot be right: every rule here must hold for all values that the unknown parts could take,
so a program that would run is never refused. The one rule stricter than JSON Schema: where a schema is silent
on undeclared parameters, one that is a near miss of a declared and missing one counts as misspelt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from inhabit.catalog.grams import distance
from inhabit.catalog.nodes import is_list, is_object, list_of, object_of
from inhabit.contracts.operation import Operation, Schema
from inhabit.contracts.program import CallSite, Problem

__all__ = ["check_calls"]

_MAX_PROBLEMS = 20
_MAX_DEPTH = 30
_MAX_STEPS = 20_000
"""Schemas looked at for one call: `allOf` of references to `allOf` of references multiplies at each level. What is not
looked at is not refused; the call itself is held against the schema by its validator."""
_SHOWN_VALUES = 12
_BUILT_IN = frozenset({"toString", "valueOf", "hasOwnProperty", "toJSON", "then", "__getattr__"})

Visible = Callable[[str], bool]
_Shape = Mapping[str, Any]
_EMPTY: _Shape = {"kind": "object", "properties": {}, "open": False}


def check_calls(calls: Sequence[CallSite], find: Callable[[str], Operation | None], visible: Visible | None,
                nearest: Callable[[str], tuple[str, ...]], empty: Callable[[str], str | None] = lambda _path: None) -> tuple[Problem, ...]:
    """Problems of all calls, in source order, at most twenty. `empty` says why a source, named at the start of a path,
    has no operation at all; None for one that has, or is not there."""
    problems: list[Problem] = []
    for call in calls:
        operation = _meant(call.path, find, visible)
        if operation is None:
            if not _beyond_an_operation(call.path, find):
                why = empty(call.path) if visible is None or visible(call.path) else None
                problems.append(_unknown(call, nearest(call.path)) if why is None else _problem(call, why, "source_empty"))
        else:
            problems.extend(_arguments(call, operation))
        if len(problems) >= _MAX_PROBLEMS:
            break
    return tuple(problems[:_MAX_PROBLEMS])


def _meant(path: str, find: Callable[[str], Operation | None], visible: Visible | None) -> Operation | None:
    """The operation that a path names, itself or with `.handle` behind it."""
    for name in dict.fromkeys((path, path.removesuffix(".handle"))):
        operation = find(name) if visible is None or visible(name) else None
        if operation is not None:
            return operation
    return None


def _beyond_an_operation(path: str, find: Callable[[str], Operation | None]) -> bool:
    """`shop.list.bind(…)`: a method of the function itself, not an operation."""
    parent, _dot, last = path.rpartition(".")
    return last in _BUILT_IN or (bool(parent) and find(parent) is not None)


def _unknown(call: CallSite, near: tuple[str, ...]) -> Problem:
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    return Problem(f"there is no operation {call.path}{hint}", call.line, call.column, "unknown_operation", near)


def _arguments(call: CallSite, operation: Operation) -> list[Problem]:
    shape: _Shape = call.arguments if call.arguments is not None else _EMPTY
    if shape.get("kind") == "literal":
        shape = _of_value(shape.get("value"))
    kind = shape.get("kind")
    if kind in ("unknown", None):
        return []
    if kind != "object":
        return [_problem(call, f"{call.path} takes one object of named parameters, got {_named(shape)}", "wrong_type")]
    schema = operation.input_schema
    found = [*_misspelt(call, operation, shape), *_missing(call, operation, shape)]
    if found:
        return found
    wrong = _refuted(shape, schema, _Rules(operation.definitions, [_MAX_STEPS]), "", 0)
    if wrong is None:
        return []
    pointer, expected = wrong
    place = f"parameter {pointer[1:].replace('/', '.')}" if pointer else "its arguments"
    return [_problem(call, f"{call.path}: {place}: {expected}", "wrong_type")]


def _problem(call: CallSite, message: str, code: str, near: tuple[str, ...] = ()) -> Problem:
    return Problem(message, call.line, call.column, code, near)


def _misspelt(call: CallSite, operation: Operation, shape: _Shape) -> list[Problem]:
    schema = operation.input_schema
    declared = _declared(schema)
    if declared is None:
        return []
    given: Mapping[str, Any] = shape.get("properties", {})
    closed = schema.get("additionalProperties") is False and not schema.get("patternProperties")
    silent = not ({"additionalProperties", "patternProperties", "unevaluatedProperties", "propertyNames"} & schema.keys())
    found: list[Problem] = []
    for name in given:
        if name in declared:
            continue
        near = _near(name, [one for one in declared if one not in given])
        if closed or (silent and near):
            hint = f"; did you mean {near[0]}?" if near else "."
            found.append(_problem(call, f"{call.path} has no parameter {name!r}{hint} It takes {_parameters(schema)}",
                                  "unknown_parameter", near))
    return found


def _declared(schema: Schema) -> Mapping[str, Any] | None:
    """The parameters, where the schema says them itself; None where it is composed of others."""
    properties = schema.get("properties", {})
    if {"allOf", "anyOf", "oneOf", "$ref", "if", "dependentSchemas", "$dynamicRef"} & schema.keys() or not is_object(properties):
        return None
    return properties


def _near(name: str, candidates: Sequence[str]) -> tuple[str, ...]:
    plain = name.replace("_", "").lower()
    scored: list[tuple[int, str]] = []
    for candidate in candidates:
        other = candidate.replace("_", "").lower()
        limit = 0 if len(other) <= 3 else 1 if len(other) <= 5 else 2
        edits = distance(plain, other, limit)
        if edits <= limit:
            scored.append((edits, candidate))
    return tuple(candidate for _edits, candidate in sorted(scored)[:3])


def _missing(call: CallSite, operation: Operation, shape: _Shape) -> list[Problem]:
    schema = operation.input_schema
    if shape.get("open", False) or not is_list(schema.get("required")):
        return []
    missing = [name for name in schema["required"] if isinstance(name, str) and name not in shape.get("properties", {})]
    if not missing:
        return []
    names = " and ".join(missing)
    plural = "s" if len(missing) > 1 else ""
    return [_problem(call, f"{call.path} lacks its required parameter{plural} {names}. It takes {_parameters(schema)}",
                     "missing_parameter", tuple(missing))]


def _parameters(schema: Schema) -> str:
    properties = schema.get("properties", {})
    required = set(schema.get("required") or ())
    names = [name if name in required else f"{name}?" for name in properties]
    return ", ".join(names[:40]) + (", …" if len(names) > 40 else "") if names else "no parameters"


# -- values against schemas ---------------------------------------------------------------------------------------


class _Rules(NamedTuple):
    """The named types, and how many more schemas may be looked at."""

    definitions: Mapping[str, Schema]
    left: list[int]


def _refuted(shape: _Shape, schema: Any, rules: _Rules, pointer: str, depth: int) -> tuple[str, str] | None:
    """`(pointer, expected)` when no value of this shape can fit the schema; None when some value might."""
    if schema is False:
        return pointer, "nothing is allowed here"
    kind = shape.get("kind")
    rules.left[0] -= 1
    if not is_object(schema) or kind in ("unknown", None) or _may_be_a_handle(shape) or depth > _MAX_DEPTH or rules.left[0] < 0:
        return None
    if kind == "literal" and isinstance(shape.get("value"), dict | list | tuple):
        shape = _of_value(shape["value"])
    if shape.get("kind") == "literal" and shape.get("value") is None and schema.get("nullable") is True:
        return None
    return (_refuted_by_type(shape, schema, pointer) or _refuted_by_parts(shape, schema, rules, pointer, depth)
            or _refuted_inside(shape, schema, rules, pointer, depth))


def _may_be_a_handle(shape: _Shape) -> bool:
    """`{...handle, at: "/body"}` stands for a value that nobody knows here."""
    names = shape.get("properties", {}).keys()
    return shape.get("kind") == "object" and ("$handle" in names or (bool(shape.get("open")) and names <= {"at"}))


def _refuted_by_parts(shape: _Shape, schema: Schema, rules: _Rules, pointer: str, depth: int) -> tuple[str, str] | None:
    ref = schema.get("$ref")
    if isinstance(ref, str) and ref.startswith("#/$defs/") and ref[8:] in rules.definitions:
        wrong = _refuted(shape, rules.definitions[ref[8:]], rules, pointer, depth + 1)
        if wrong:
            return wrong
    for part in list_of(schema.get("allOf")):
        wrong = _refuted(shape, part, rules, pointer, depth + 1)
        if wrong:
            return wrong
    for word in ("anyOf", "oneOf"):
        options = list_of(schema.get(word))
        wrongs = [_refuted(shape, option, rules, pointer, depth + 1) for option in options]
        refused = [wrong for wrong in wrongs if wrong]
        if options and len(refused) == len(options):
            same = {place for place, _expected in refused}
            return (refused[0][0], " or ".join(dict.fromkeys(text for _place, text in refused))) if len(same) == 1 else (
                pointer, f"fits none of its {len(options)} forms; in the first, {refused[0][0] or 'the value'}: {refused[0][1]}")
    return None


def _refuted_by_type(shape: _Shape, schema: Schema, pointer: str) -> tuple[str, str] | None:
    possible = _types(shape)
    wanted = schema.get("type")
    allowed = {wanted} if isinstance(wanted, str) else set(list_of(wanted)) if is_list(wanted) else None
    if allowed is not None:
        if "number" in allowed:
            allowed = allowed | {"integer"}
        if not (possible & allowed) and allowed <= {"string", "number", "integer", "boolean", "null", "object", "array"}:
            return pointer, f"expected {' or '.join(sorted(allowed - {'integer'} if 'number' in allowed else allowed))}, got {_named(shape)}"
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if not is_list(values) or not values:
        return None
    fits = any(_equal(shape["value"], value) for value in values) if shape["kind"] == "literal" else any(
        possible & _types(_of_value(value)) for value in values)
    if fits:
        return None
    shown = ", ".join(repr(value) for value in values[:_SHOWN_VALUES]) + (", …" if len(values) > _SHOWN_VALUES else "")
    return pointer, f"expected one of {shown}, got {_named(shape)}"


def _refuted_inside(shape: _Shape, schema: Schema, rules: _Rules, pointer: str, depth: int) -> tuple[str, str] | None:
    if shape["kind"] == "object":
        return _refuted_object(shape, schema, rules, pointer, depth)
    if shape["kind"] != "array" or shape.get("open"):
        return None
    prefix = list_of(schema.get("prefixItems"))
    for place, item in enumerate(shape.get("items", ())):
        rule = prefix[place] if place < len(prefix) else schema.get("items", True)
        if is_list(rule):
            return None
        wrong = _refuted(item, rule, rules, f"{pointer}/{place}", depth + 1)
        if wrong:
            return wrong
    return None


def _refuted_object(shape: _Shape, schema: Schema, rules: _Rules, pointer: str, depth: int) -> tuple[str, str] | None:
    given: Mapping[str, Any] = shape.get("properties", {})
    if not shape.get("open", False):
        for name in list_of(schema.get("required")):
            if name not in given:
                return pointer, f"lacks the required property {name!r}"
    properties = object_of(schema.get("properties"))
    for name, inner in given.items():
        if name in properties:
            wrong = _refuted(inner, properties[name], rules, f"{pointer}/{name}", depth + 1)
        elif schema.get("patternProperties") or "additionalProperties" not in schema:
            wrong = None
        elif schema["additionalProperties"] is False:
            near = _near(name, list(properties))
            wrong = (pointer, f"has no property {name!r}" + (f"; did you mean {near[0]}?" if near else ""))
        else:
            wrong = _refuted(inner, schema["additionalProperties"], rules, f"{pointer}/{name}", depth + 1)
        if wrong:
            return wrong
    return None


def _types(shape: _Shape) -> set[str]:
    """JSON Schema types that a value of the shape may have."""
    match shape.get("kind"):
        case "literal":
            return _types_of(shape.get("value"))
        case "number":
            return {"number", "integer"}
        case "string" | "boolean" | "object" | "array" as kind:
            return {kind}
        case _:
            return {"string", "number", "integer", "boolean", "null", "object", "array"}


def _types_of(value: Any) -> set[str]:
    match value:
        case None:
            return {"null"}
        case bool():
            return {"boolean"}
        case int():
            return {"number", "integer"}
        case float():
            return {"number", "integer"} if value.is_integer() else {"number"}
        case str():
            return {"string"}
        case list() | tuple():
            return {"array"}
        case _:
            return {"object"}


def _of_value(value: Any) -> _Shape:
    """The shape of a value that is wholly known."""
    if is_object(value):
        return {"kind": "object", "properties": {str(k): _of_value(v) for k, v in value.items()}, "open": False}
    if is_list(value):
        return {"kind": "array", "items": [_of_value(item) for item in value], "open": False}
    return {"kind": "literal", "value": value}


def _equal(left: Any, right: Any) -> bool:
    """JSON equality: 1 and 1.0 are one value, 1 and true are not."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    return left == right


def _named(shape: _Shape) -> str:
    if shape.get("kind") == "literal":
        value = shape.get("value")
        text = "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
        return text if len(text) <= 60 else text[:57] + "…"
    return {"object": "an object", "array": "an array"}.get(str(shape.get("kind")), f"a {shape.get('kind')}")
