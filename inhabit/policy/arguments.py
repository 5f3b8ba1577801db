"""What an operation's schemas say of an argument that a condition refers to, or of a field to be hidden."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from inhabit.contracts.json import is_array, is_number, is_object
from inhabit.contracts.operation import Operation, Schema
from inhabit.contracts.schema import Schemas, types_of
from inhabit.policy.expression import EVERY, ReadPath
from inhabit.policy.problems import suggestion

__all__ = ["Argument", "argument", "hidden", "unfit"]

_KINDS = {"string": "text", "number": "a number", "integer": "a number", "boolean": "a truth value",
          "array": "a list", "object": "a map", "null": "null"}
_DEPTH = 20
_MOST = 1_000


class Argument(NamedTuple):
    """`kinds` empty: the schema does not say. `missing`: the first name on the way that is no field there,
    with those that are. `optional`: a call may leave it out.
    """

    kinds: frozenset[str] = frozenset()
    optional: bool = False
    missing: str = ""
    known: tuple[str, ...] = ()
    values: tuple[Any, ...] = ()


def argument(operation: Operation, path: ReadPath) -> Argument:
    """`path` begins after `args`."""
    types = Schemas(operation.definitions)
    schemas = types.variants(operation.input_schema)
    optional = False
    for name in path:
        if name == "":
            break
        inner, known, needed = _step(schemas, name, types)
        if inner is None:
            return Argument(optional=optional, missing=name, known=known)
        schemas, optional = inner, optional or not needed
    found = [_KINDS.get(kind, "") for schema in schemas for kind in _types(schema)]
    kinds = frozenset(found) if found and all(found) else frozenset[str]()
    enums = [schema.get("enum") for schema in schemas]
    values = tuple(value for enum in enums if is_array(enum) for value in enum)
    return Argument(kinds, optional, values=values if all(map(is_array, enums)) else ())


def unfit(operation: Operation, arguments: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is wrong with the arguments of an example, and the fix. It may leave out what it is not about."""
    for name, value in arguments.items():
        found, kind = argument(operation, (name,)), _kind(value)
        if found.missing:
            yield f"{operation.name} has no argument {name!r}", suggestion(name, found.known)
        elif value is not None and found.kinds and kind not in found.kinds:     # what may be null is read as what it is otherwise
            takes = " or ".join(sorted(found.kinds))
            yield f"{name} is {kind}, and {operation.name} takes {takes}", "give what a call would"


def _kind(value: Any) -> str:
    if isinstance(value, bool | str):
        return "text" if isinstance(value, str) else "a truth value"
    return "a list" if is_array(value) else "a map" if is_object(value) else "a number" if is_number(value) else "a date"


def hidden(operation: Operation, path: Sequence[str]) -> Argument:
    """A path of `redact` in the results, with the steps that `redacted` takes: `missing` where it can hide
    nothing.
    """
    types = Schemas(operation.definitions)
    schemas = types.variants(operation.output_schema)
    for name in path:
        if name == "*":
            inner, known = _each(schemas, types), ()
        else:
            elements = _bounded(one for schema in schemas for one in _elements(schema, types, _DEPTH))
            inner, known, _ = _step(elements, name, types)
        if inner is None:
            return Argument(missing=name, known=known)
        schemas = inner
    return Argument()


def _each(schemas: Sequence[Schema], types: Schemas) -> list[Schema] | None:
    """The schemas of all elements and fields; empty where one is not known, None where there are none."""
    found: list[Schema] = []
    for schema in schemas:
        fields = schema.get("properties")
        others = [schema[key] for key in ("items", "additionalProperties") if is_object(schema.get(key))]
        inner = [*(fields.values() if is_object(fields) else ()), *others]
        if not inner and not _closed(schema):
            return []
        found += [one for each in inner for one in types.variants(each)]
    return _bounded(found) if found or not schemas else None


def _elements(schema: Schema, types: Schemas, depth: int) -> Iterator[Schema]:
    """What a list that no `*` names is gone through to."""
    if not is_object(schema.get("items")) or depth == 0:
        yield schema
        return
    for inner in types.variants(schema["items"]):
        yield from _elements(inner, types, depth - 1)


def _step(
    schemas: Sequence[Schema], name: str, types: Schemas,
) -> tuple[list[Schema] | None, tuple[str, ...], bool]:
    """The schemas of a field, None where no schema knows it; the fields that there are; whether it is always
    there.
    """
    found: list[Schema] = []
    known: list[str] = []
    open_end = not schemas
    needed = bool(schemas)
    for schema in schemas:
        inner = _inner(schema, name)
        fields = schema.get("properties")
        known += fields if is_object(fields) else ()
        if inner is not None:
            found += types.variants(inner)
        open_end = open_end or (inner is None and not _closed(schema))
        needed = needed and (name == EVERY or name in (schema.get("required") or ()))
    if found or open_end:
        return ([] if open_end else _bounded(found)), tuple(known), needed
    return None, tuple(known), False


def _bounded(found: Iterable[Schema]) -> list[Schema]:
    """So many, and for the rest one that says nothing: the alternatives of each step of a path multiply."""
    first = list(islice(found, _MOST + 1))
    return first if len(first) <= _MOST else [*first[:_MOST], {}]


def _inner(schema: Schema, name: str) -> Schema | None:
    fields = schema.get("properties")
    if is_object(fields) and name in fields:
        return fields[name]
    if name == EVERY and is_object(schema.get("items")):
        return schema["items"]
    return schema["additionalProperties"] if is_object(schema.get("additionalProperties")) else None


def _closed(schema: Schema) -> bool:
    """Whether a name that the schema does not give is a mistake: it lists its fields and opens no door for
    others.
    """
    if not is_object(schema.get("properties")):
        return bool(set(_types(schema))) and not {"object", "array", "anything"} & set(_types(schema))
    return schema.get("additionalProperties") in (None, False) and "patternProperties" not in schema


def _types(schema: Schema) -> tuple[str, ...]:
    return types_of(schema) or ("anything",)
