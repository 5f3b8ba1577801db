"""JSON Schema as a small algebra of types, which both languages render.

`shape_of` never fails and never recurses without bound: what it does not understand is `Anything`, which is
true of every value. References stay names (`Ref`), so recursive schemas cost nothing; a `Ref` knows the
definitions it points into (`Scope`), since two operations may use one name for two types.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from inhabit.catalog.nodes import is_list, is_object, list_of, object_of
from inhabit.contracts.operation import Schema

__all__ = [
    "ANYTHING", "BINARY", "NEVER", "Anything", "Array", "Binary", "Intersection", "Literals", "Never", "Object", "Property",
    "Record", "Ref", "Scalar", "Scope", "Shape", "Tuple", "Union", "alias_of_itself", "references_of", "shape_of",
]

_MAX_DEPTH = 40
_MAX_OPTIONS = 200


@dataclass(frozen=True, slots=True)
class Anything:
    pass


@dataclass(frozen=True, slots=True)
class Never:
    pass


@dataclass(frozen=True, slots=True)
class Binary:
    """Bytes by reference: `{"$binary": …, "type": …, "size": …}`."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """`name` is string, number, integer, boolean or null."""

    name: str


@dataclass(frozen=True, slots=True)
class Literals:
    """Scalars (None included), at least one."""

    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Array:
    item: Shape


@dataclass(frozen=True, slots=True)
class Tuple:
    """`rest` is what may follow the items; None: nothing. Items after the first `required` may be missing."""

    items: tuple[Shape, ...]
    rest: Shape | None
    required: int = 0


@dataclass(frozen=True, slots=True)
class Record:
    value: Shape


@dataclass(frozen=True, slots=True)
class Property:
    """`note`: description, default, format and bounds in one line, as far as there are any."""

    name: str
    shape: Shape
    required: bool
    note: str = ""


@dataclass(frozen=True, slots=True)
class Object:
    """`extra` is what undeclared properties hold where the schema says so; None where it does not."""

    properties: tuple[Property, ...]
    extra: Shape | None = None


@dataclass(frozen=True, slots=True)
class Union:
    options: tuple[Shape, ...]


@dataclass(frozen=True, slots=True)
class Intersection:
    parts: tuple[Shape, ...]


class Scope:
    """The definitions that a schema's references point into. Equal only to itself."""

    __slots__ = ("definitions",)

    def __init__(self, definitions: Mapping[str, Schema]) -> None:
        self.definitions = definitions


@dataclass(frozen=True, slots=True)
class Ref:
    name: str
    scope: Scope = field(hash=False, compare=False, repr=False)

    def resolve(self) -> Shape:
        """The type's own shape, one step."""
        return shape_of(self.scope.definitions.get(self.name), self.scope)

    def note(self) -> str:
        """The type's own description."""
        text = object_of(self.scope.definitions.get(self.name)).get("description")
        return text if isinstance(text, str) else ""


Shape = Anything | Never | Binary | Scalar | Literals | Array | Tuple | Record | Object | Union | Intersection | Ref

ANYTHING: Final = Anything()
NEVER: Final = Never()
BINARY: Final = Binary()
_NULL: Final = Scalar("null")

_STRUCTURAL = frozenset({"type", "properties", "items", "prefixItems", "enum", "const", "additionalProperties", "patternProperties"})


def shape_of(schema: Any, scope: Scope, depth: int = 0) -> Shape:
    """The shape of values that the schema allows, or a wider one."""
    if schema is False:
        return NEVER
    if not is_object(schema) or depth > _MAX_DEPTH:
        return ANYTHING
    shape = _bare(schema, scope, depth + 1)
    if schema.get("nullable") is True and shape != ANYTHING:
        return _union([shape, _NULL])
    return shape


def _bare(schema: Mapping[str, Any], scope: Scope, depth: int) -> Shape:
    parts: list[Shape] = []
    ref = schema.get("$ref")
    if isinstance(ref, str):
        known = ref.startswith("#/$defs/") and ref[8:] in scope.definitions
        parts.append(Ref(ref[8:], scope) if known else ANYTHING)
    if not _STRUCTURAL.isdisjoint(schema):
        parts.append(_own(schema, scope, depth))
    for part in list_of(schema.get("allOf")):
        parts.append(shape_of(part, scope, depth))
    for word in ("oneOf", "anyOf"):
        options = list_of(schema.get(word))
        if options and any(_says_something(option) for option in options):
            parts.append(_union([shape_of(option, scope, depth) for option in options[:_MAX_OPTIONS]]
                                + ([ANYTHING] if len(options) > _MAX_OPTIONS else [])))
    return _intersection(parts)


def _says_something(option: Any) -> bool:
    """Options that only constrain (`{"required": ["a"]}`) add no shape."""
    return is_object(option) and bool({"$ref", "allOf", "oneOf", "anyOf"} & option.keys() or not _STRUCTURAL.isdisjoint(option))


def _own(schema: Mapping[str, Any], scope: Scope, depth: int) -> Shape:
    """What the schema says itself, composition left aside."""
    if "const" in schema:
        return _literals([schema["const"]])
    values = schema.get("enum")
    if is_list(values) and values:
        return _literals(list(values))
    types = schema.get("type")
    if is_list(types):
        return _union([_typed(name, schema, scope, depth) for name in types]) if types else ANYTHING
    if isinstance(types, str):
        return _typed(types, schema, scope, depth)
    if {"properties", "additionalProperties", "patternProperties"} & schema.keys():
        return _object(schema, scope, depth)
    return _array(schema, scope, depth)


def _typed(name: Any, schema: Mapping[str, Any], scope: Scope, depth: int) -> Shape:
    if name == "object":
        return _object(schema, scope, depth)
    if name == "array":
        return _array(schema, scope, depth)
    if name == "string" and schema.get("format") == "binary":
        return BINARY
    if name in ("string", "number", "integer", "boolean", "null"):
        return Scalar(name)
    return BINARY if name == "file" else ANYTHING


def _literals(values: list[Any]) -> Shape:
    known: list[Any] = []
    for value in values:
        if not (value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value))):
            return ANYTHING
        if not any(value == other and type(value) is type(other) for other in known):
            known.append(value)
    return Literals(tuple(known))


def _array(schema: Mapping[str, Any], scope: Scope, depth: int) -> Shape:
    items = schema.get("items")
    prefix = list_of(schema.get("prefixItems")) or (list_of(items) if is_list(items) else [])
    if not prefix:
        return Array(shape_of(items, scope, depth))
    rest = schema.get("additionalItems") if is_list(items) else items
    least = schema.get("minItems")
    required = min(least, len(prefix)) if isinstance(least, int) and least >= 0 else 0
    return Tuple(tuple(shape_of(part, scope, depth) for part in prefix), None if rest is False else shape_of(rest, scope, depth), required)


def _object(schema: Mapping[str, Any], scope: Scope, depth: int) -> Shape:
    properties = object_of(schema.get("properties"))
    if "$binary" in properties:
        return BINARY
    required = {name for name in list_of(schema.get("required")) if isinstance(name, str)}
    found = [Property(str(name), shape_of(value, scope, depth), name in required, note_of(value)) for name, value in properties.items()]
    found.extend(Property(name, ANYTHING, True) for name in sorted(required - properties.keys()))
    extra = _extra(schema, scope, depth)
    if not found:
        return Record(extra if extra is not None else ANYTHING) if extra is not NEVER else Object(())
    return Object(tuple(found), None if extra is NEVER else extra)


def _extra(schema: Mapping[str, Any], scope: Scope, depth: int) -> Shape | None:
    """The shape of further properties; None: the schema is silent; NEVER: there are none."""
    patterns = schema.get("patternProperties")
    options: list[Shape] = []
    if is_object(patterns):
        options.extend(shape_of(value, scope, depth) for value in patterns.values())
    more = schema.get("additionalProperties")
    if more is not None and not (more is False and options):
        options.append(shape_of(more, scope, depth))
    return _union(options) if options else None


def note_of(schema: Any) -> str:
    """One line about a value: its description, then what its type does not say."""
    if not is_object(schema):
        return ""
    parts: list[str] = []
    text = schema.get("description") or schema.get("title")
    if isinstance(text, str) and text.strip():
        parts.append(" ".join(text.split()))
    if isinstance(schema.get("format"), str) and schema["format"] != "binary":
        parts.append(f"format {schema['format']}")
    default = schema.get("default")
    if default is not None and isinstance(default, str | int | float | bool):
        parts.append(f"default {default!r}" if isinstance(default, str) else f"default {str(default).lower()}")
    bounds = [f"{word} {schema[key]}" for key, word in _BOUNDS if isinstance(schema.get(key), int | float)]
    if bounds:
        parts.append(", ".join(bounds))
    if schema.get("deprecated") is True:
        parts.append("deprecated")
    return "; ".join(parts)


_BOUNDS = (("minimum", ">="), ("maximum", "<="), ("minLength", "min length"), ("maxLength", "max length"),
           ("minItems", "min items"), ("maxItems", "max items"))


def _union(options: list[Shape]) -> Shape:
    """One type of several: flat, without repetition, literals joined; `Anything` swallows the rest."""
    flat: list[Shape] = []
    literals: list[Any] = []
    for option in options:
        for part in option.options if isinstance(option, Union) else (option,):
            if isinstance(part, Anything):
                return ANYTHING
            if isinstance(part, Literals):
                literals.extend(value for value in part.values if not any(value == o and type(value) is type(o) for o in literals))
            elif not isinstance(part, Never) and part not in flat:
                flat.append(part)
    if _NULL in flat:
        literals = [value for value in literals if value is not None]
    if literals:
        flat.insert(0, Literals(tuple(literals)))
    if not flat:
        return NEVER
    return flat[0] if len(flat) == 1 else Union(tuple(flat))


def _intersection(parts: list[Shape]) -> Shape:
    """All of several: parts that say nothing left out, plain objects merged."""
    flat: list[Shape] = []
    for part in parts:
        for one in part.parts if isinstance(part, Intersection) else (part,):
            if isinstance(one, Never):
                return NEVER
            if isinstance(one, Anything) or one in flat:
                continue
            if isinstance(one, Object) and flat and isinstance(flat[-1], Object):
                flat[-1] = _merged(flat[-1], one)
            else:
                flat.append(one)
    if any(isinstance(one, Object) for one in flat):   # "any object" adds nothing to an object
        flat = [one for one in flat if one != Record(ANYTHING)]
    if not flat:
        return ANYTHING
    return flat[0] if len(flat) == 1 else Intersection(tuple(flat))


def _merged(left: Object, right: Object) -> Object:
    properties = {one.name: one for one in left.properties}
    for one in right.properties:
        other = properties.get(one.name)
        if other is None:
            properties[one.name] = one
        else:
            properties[one.name] = Property(one.name, _intersection([other.shape, one.shape]), one.required or other.required,
                                            other.note or one.note)
    return Object(tuple(properties.values()), left.extra or right.extra)


def references_of(shape: Shape, *, through_objects: bool = True) -> Iterator[Ref]:
    """Named types inside a shape, in order; without `through_objects` only those it is made of directly
    (options of a union, parts of an intersection, the name itself)."""
    stack: list[Shape] = [shape]
    while stack:
        node = stack.pop()
        match node:
            case Ref():
                yield node
            case Union(options=inner) | Intersection(parts=inner):
                stack.extend(reversed(inner))
            case Array(item=inner) | Record(value=inner) if through_objects:
                stack.append(inner)
            case Tuple(items=items, rest=rest) if through_objects:
                stack.extend(reversed((*items, *((rest,) if rest is not None else ()))))
            case Object(properties=properties, extra=extra) if through_objects:
                stack.extend(reversed([one.shape for one in properties] + ([extra] if extra is not None else [])))
            case _:
                pass


def alias_of_itself(ref: Ref) -> bool:
    """Whether a named type comes back to itself through unions and intersections alone, so that it has no
    meaning in either language."""
    seen: set[str] = set()
    stack = list(references_of(ref.resolve(), through_objects=False))
    while stack:
        one = stack.pop()
        if one.name == ref.name:
            return True
        if one.name not in seen:
            seen.add(one.name)
            stack.extend(references_of(one.resolve(), through_objects=False))
    return False
