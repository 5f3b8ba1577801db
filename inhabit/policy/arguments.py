"""What an operation's schemas say of an argument that a condition refers to, and of a field that is to be hidden."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from inhabit.contracts.json import is_array, is_object
from inhabit.contracts.operation import Operation
from inhabit.policy.expression import EVERY, ReadPath

__all__ = ["Argument", "argument", "hidden"]

_KINDS = {"string": "text", "number": "a number", "integer": "a number", "boolean": "a truth value", "array": "a list",
          "object": "a map", "null": "null"}
_DEPTH = 20
Schema = Any


class Argument(NamedTuple):
    """`kinds` empty: the schema does not say. `missing`: the first name on the way that is no field there, with those
    that are. `optional`: a call may leave it out.
    """

    kinds: frozenset[str] = frozenset()
    optional: bool = False
    missing: str = ""
    known: tuple[str, ...] = ()
    values: tuple[Any, ...] = ()


def argument(operation: Operation, path: ReadPath) -> Argument:
    """`path` begins after `args`."""
    schemas = list(_variants(operation.input_schema, operation, _DEPTH))
    optional = False
    for name in path:
        if name == "":
            break
        inner, known, needed = _step(schemas, name, operation)
        if inner is None:
            return Argument(optional=optional, missing=name, known=known)
        schemas, optional = inner, optional or not needed
    kinds = [_KINDS.get(kind) for schema in schemas for kind in _types(schema)]
    enums = [schema.get("enum") for schema in schemas]
    values = tuple(value for enum in enums if is_array(enum) for value in enum) if all(map(is_array, enums)) else ()
    return Argument(frozenset(kind for kind in kinds if kind) if schemas and all(kinds) else frozenset(), optional, values=values)


def hidden(operation: Operation, path: Sequence[str]) -> Argument:
    """A path of `redact` in the results, with the steps that `redacted` takes: `missing` where it can hide nothing."""
    schemas = list(_variants(operation.output_schema, operation, _DEPTH))
    for name in path:
        if name == "*":
            inner, known = _each(schemas, operation), ()
        else:
            inner, known, _ = _step([one for schema in schemas for one in _elements(schema, operation, _DEPTH)], name, operation)
        if inner is None:
            return Argument(missing=name, known=known)
        schemas = inner
    return Argument()


def _each(schemas: list[Schema], operation: Operation) -> list[Schema] | None:
    """The schemas of all elements and fields; empty where one is not known, None where there are none."""
    found: list[Schema] = []
    for schema in schemas:
        fields = schema.get("properties")
        inner = [*(fields.values() if is_object(fields) else ()), *(schema[key] for key in ("items", "additionalProperties") if is_object(schema.get(key)))]
        if not inner and not _closed(schema):
            return []
        found += [one for each in inner for one in _variants(each, operation, _DEPTH)]
    return found if found or not schemas else None


def _elements(schema: Schema, operation: Operation, depth: int) -> Iterator[Schema]:
    """What a list that no `*` names is gone through to."""
    if not is_object(schema.get("items")) or depth == 0:
        yield schema
        return
    for inner in _variants(schema["items"], operation, depth - 1):
        yield from _elements(inner, operation, depth - 1)


def _step(schemas: list[Schema], name: str, operation: Operation) -> tuple[list[Schema] | None, tuple[str, ...], bool]:
    """The schemas of a field, None where no schema knows it; the fields that there are; whether it is always there."""
    found: list[Schema] = []
    known: list[str] = []
    open_end = not schemas
    needed = bool(schemas)
    for schema in schemas:
        inner = _inner(schema, name)
        fields = schema.get("properties")
        known += fields if is_object(fields) else ()
        if inner is not None:
            found += _variants(inner, operation, _DEPTH)
        open_end = open_end or (inner is None and not _closed(schema))
        needed = needed and (name == EVERY or name in (schema.get("required") or ()))
    if found or open_end:
        return ([] if open_end else found), tuple(known), needed
    return None, tuple(known), False


def _inner(schema: Schema, name: str) -> Schema | None:
    fields = schema.get("properties")
    if is_object(fields) and name in fields:
        return fields[name]
    if name == EVERY and is_object(schema.get("items")):
        return schema["items"]
    return schema["additionalProperties"] if is_object(schema.get("additionalProperties")) else None


def _closed(schema: Schema) -> bool:
    """Whether a name that the schema does not give is a mistake: it lists its fields and opens no door for others."""
    if not is_object(schema.get("properties")):
        return bool(set(_types(schema))) and not {"object", "array", "anything"} & set(_types(schema))
    return schema.get("additionalProperties") in (None, False) and "patternProperties" not in schema


def _types(schema: Schema) -> Iterator[str]:
    kind = schema.get("type")
    if is_array(kind):
        yield from kind
    elif isinstance(kind, str):
        yield kind
    elif "properties" in schema:
        yield "object"
    elif is_array(schema.get("enum")) and all(isinstance(value, str) for value in schema["enum"]):
        yield "string"
    else:
        yield "anything"


def _variants(schema: Schema, operation: Operation, depth: int) -> Iterator[Schema]:
    """The plain schemas that a value may have to fit: references followed, alternatives side by side."""
    if not is_object(schema) or depth == 0:
        yield {}
        return
    reference = schema.get("$ref")
    if isinstance(reference, str):
        yield from _variants(operation.definitions.get(reference.removeprefix("#/$defs/"), schema.get("$defs", {})), operation, depth - 1)
        return
    alternatives = [part for word in ("anyOf", "oneOf", "allOf") for part in schema.get(word) or ()]
    if "properties" in schema or not alternatives:
        yield schema
    for part in alternatives:
        yield from (inner for inner in _variants(part, operation, depth - 1) if inner.get("type") != "null")
