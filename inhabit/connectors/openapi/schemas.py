"""Schemas of OpenAPI 3.0, 3.1 and Swagger 2.0 to JSON Schema 2020-12, for any input whatever.

Model: a named schema (`#/components/schemas/Issue`, or whatever a `$ref` points at) becomes a definition once,
when something first refers to it; `#/$defs/NAME` takes the place of the reference. So only what operations use
is converted, and cycles need no care. A keyword whose value makes no sense is left out and named as a problem:
the result is always a schema that a validator accepts, and never stricter than what was written, except that
`properties` imply an object and `items` an array.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import jsonschema_rs

from inhabit.connectors.openapi.document import Broken, Documents, Place, Problems, child, text
from inhabit.contracts.json import is_array, is_number, is_object

__all__ = ["BINARY_NAME", "BINARY_SCHEMA", "SchemaCompiler"]

BINARY_NAME = "BinaryReference"
BINARY_SCHEMA: Mapping[str, Any] = {
    "type": "object", "required": ["$binary"],
    "description": "Bytes kept outside the program. Pass the reference on as it is.",
    "properties": {"$binary": {"type": "string"}, "type": {"type": "string", "description": "media type"},
                   "size": {"type": "integer", "description": "bytes"}},
}
_TYPES = frozenset({"string", "number", "integer", "boolean", "array", "object", "null"})
_MAX_DEPTH = 64
_MAX_NODES = 1_000_000
"""Schema nodes of one document (the largest known has 0.3 million): aliases of YAML can unfold without end."""
_MAX_NODES_AT_ONCE = 50_000
"""Schema nodes of one body, parameter or named schema."""
_DESCRIPTION_CHARS = 1_500
_SUFFIX = re.compile(r"[^A-Za-z0-9]+")

_Handler = Callable[["SchemaCompiler", dict[str, Any], Any, Place], None]


class SchemaCompiler:
    """`convert` gives the schema at a place; `definitions` fills as references are met, `finish` completes it."""

    def __init__(self, documents: Documents, problems: Problems) -> None:
        self._documents = documents
        self._problems = problems
        self._names: dict[tuple[str, str], str] = {}
        self._taken: set[str] = {BINARY_NAME}
        self._queue: list[tuple[str, Place]] = []
        self._patterns: dict[str, bool] = {}
        self._nodes = 0
        self._limit = 0
        self.definitions: dict[str, dict[str, Any]] = {}

    def convert(self, place: Place, depth: int = 0) -> dict[str, Any]:
        """Raises nothing: what cannot be used is an open schema and a problem."""
        schema = place.value
        if not is_object(schema):
            if schema is False:
                return {"not": {}}
            if schema is not None and schema is not True:
                self.note(place, "a schema must be an object")
            return {}
        self._nodes += 1
        if depth == 0:
            self._limit = min(self._nodes + _MAX_NODES_AT_ONCE, _MAX_NODES)
        if depth > _MAX_DEPTH or self._nodes > self._limit:
            self.note(place, "nested too deep or too large; left open from here")
            return {}
        reference = schema.get("$ref")
        if isinstance(reference, str):
            return self._reference(place, reference)
        result: dict[str, Any] = {}
        for key, value in schema.items():
            handler = _HANDLERS.get(key)
            if handler is not None:
                handler(self, result, value, Place(place.location, f"{place.pointer}/{key}", depth))
        return _settled(schema, result)

    def name_of(self, place: Place) -> str:
        """The definition's name for a place, queued for conversion when it is new."""
        key = (place.location, place.pointer)
        name = self._names.get(key)
        if name is None:
            name = self._names[key] = self._fresh(place)
            self._queue.append((name, place))
        return name

    def binary(self) -> dict[str, Any]:
        self.definitions.setdefault(BINARY_NAME, dict(BINARY_SCHEMA))
        return {"$ref": f"#/$defs/{BINARY_NAME}"}

    def finish(self) -> None:
        """Convert all that was referred to, and cut definitions that only lead back to themselves."""
        while self._queue:
            name, place = self._queue.pop()
            self.definitions[name] = self.convert(place)
        _cut_cycles(self.definitions, lambda name: self._problems.add(
            self._documents.root, f"/$defs/{name}", "a schema that is defined by itself; left open"))

    def drain(self) -> None:
        """Convert what is queued now, so that `definitions` can be looked into."""
        while self._queue:
            name, place = self._queue.pop()
            self.definitions[name] = self.convert(place)

    def note(self, place: Place, reason: str) -> None:
        self._problems.add(place.location, place.pointer, reason)

    def accepts_pattern(self, pattern: str) -> bool:
        known = self._patterns.get(pattern)
        if known is None:
            try:
                jsonschema_rs.Draft202012Validator({"pattern": pattern})
                known = True
            except (jsonschema_rs.ValidationError, ValueError):
                known = False
            self._patterns[pattern] = known
        return known

    def _reference(self, place: Place, reference: str) -> dict[str, Any]:
        try:
            target = self._documents.target(place, reference)
        except Broken as error:
            self._problems.broken(error)
            return {}
        if not is_object(target.value):
            self.note(place, f"$ref to {reference!r}, which is not a schema")
            return {}
        result: dict[str, Any] = {"$ref": f"#/$defs/{self.name_of(target)}"}
        if place.value.get("nullable") is True:
            return {"anyOf": [result, {"type": "null"}]}
        description = place.value.get("description")
        if description:
            result["description"] = text(description, _DESCRIPTION_CHARS)
        for flag in ("readOnly", "writeOnly", "deprecated"):
            if place.value.get(flag) is True:
                result[flag] = True
        return result

    def _fresh(self, place: Place) -> str:
        parts = [part.replace("~1", "/").replace("~0", "~") for part in place.pointer.split("/") if part]
        if len(parts) >= 2 and parts[-2] in {"schemas", "definitions", "$defs"}:
            base = parts[-1]
        else:
            base = " ".join(part for part in parts if part not in {"paths", "components", "content", "schema", "properties", "responses"})
        base = _SUFFIX.sub("_", base)[:120].strip("_") or "Root"
        if base[0].isdigit():
            base = "T" + base
        name, number = base, 2
        while name in self._taken:
            name, number = f"{base}_{number}", number + 1
        self._taken.add(name)
        return name


# -- keywords: each handler gets the result so far, the keyword's value, and its place (value: the depth) -----


def _copy(key: str) -> _Handler:
    def handle(_compiler: SchemaCompiler, result: dict[str, Any], value: Any, _place: Place) -> None:
        result[key] = value
    return handle


def _string(key: str) -> _Handler:
    def handle(_compiler: SchemaCompiler, result: dict[str, Any], value: Any, _place: Place) -> None:
        if isinstance(value, str) and value:
            result[key] = value
    return handle


def _flag(key: str) -> _Handler:
    def handle(_compiler: SchemaCompiler, result: dict[str, Any], value: Any, _place: Place) -> None:
        if value is True:
            result[key] = True
    return handle


def _description(_compiler: SchemaCompiler, result: dict[str, Any], value: Any, _place: Place) -> None:
    shown = text(value, _DESCRIPTION_CHARS)
    if shown:
        result["description"] = shown


def _number(key: str) -> _Handler:
    def handle(compiler: SchemaCompiler, result: dict[str, Any], value: Any, place: Place) -> None:
        if isinstance(value, bool) and key.startswith("exclusive"):
            if value:
                result[key] = True      # settled with minimum or maximum beside it
        elif is_number(value) and (key != "multipleOf" or value > 0):
            result[key] = value
        elif value is not None:
            compiler.note(place, f"{key} must be a number")
    return handle


def _count(key: str) -> _Handler:
    def handle(compiler: SchemaCompiler, result: dict[str, Any], value: Any, place: Place) -> None:
        if is_number(value) and value >= 0 and int(value) == value:
            result[key] = int(value)
        elif value is not None:
            compiler.note(place, f"{key} must be a whole number from 0")
    return handle


def _pattern(compiler: SchemaCompiler, result: dict[str, Any], value: Any, place: Place) -> None:
    if isinstance(value, str) and compiler.accepts_pattern(value):
        result["pattern"] = value
    elif value is not None:
        compiler.note(place, "not a regular expression of ECMA 262; left out")


def _type(compiler: SchemaCompiler, result: dict[str, Any], value: Any, place: Place) -> None:
    if value == "file":
        result.update(compiler.binary())
        return
    given: list[Any] = list(value) if is_array(value) else [value]
    known = list(dict.fromkeys(kind.lower() for kind in given if isinstance(kind, str) and kind.lower() in _TYPES))
    if len(known) < len(given) and value not in (None, "any", ""):
        compiler.note(place, f"unknown type {str(value)[:80]!r}")
        if not is_array(value):
            return
    if known:
        result["type"] = known[0] if len(known) == 1 else known


def _enum(compiler: SchemaCompiler, result: dict[str, Any], value: Any, place: Place) -> None:
    if is_array(value) and value:
        result["enum"] = list({repr(item): item for item in value}.values())
    elif value is not None:
        compiler.note(place, "enum must be a list with at least one value")


def _required(compiler: SchemaCompiler, result: dict[str, Any], value: Any, place: Place) -> None:
    if is_array(value):
        names = list(dict.fromkeys(name for name in value if isinstance(name, str)))
        if names:
            result["required"] = names
    elif not isinstance(value, bool):
        compiler.note(place, "required must be a list of names")


def _schema(key: str) -> _Handler:
    def handle(compiler: SchemaCompiler, result: dict[str, Any], value: Any, place: Place) -> None:
        if is_object(value) or isinstance(value, bool):
            result[key] = value if isinstance(value, bool) and key.endswith("Properties") else compiler.convert(
                Place(place.location, place.pointer, value), place.value + 1)
        elif value is not None:
            compiler.note(place, f"{key} must be a schema")
    return handle


def _schemas(key: str) -> _Handler:
    def handle(compiler: SchemaCompiler, result: dict[str, Any], value: Any, place: Place) -> None:
        if is_array(value) and value:
            result[key] = [compiler.convert(Place(place.location, f"{place.pointer}/{index}", item), place.value + 1)
                           for index, item in enumerate(value)]
        elif value is not None and value != []:
            compiler.note(place, f"{key} must be a list of schemas")
    return handle


def _named(key: str) -> _Handler:
    def handle(compiler: SchemaCompiler, result: dict[str, Any], value: Any, place: Place) -> None:
        if is_object(value):
            result[key] = {
                str(name): compiler.convert(Place(place.location, child(place.pointer, name), item), place.value + 1)
                for name, item in value.items()
                if key != "patternProperties" or compiler.accepts_pattern(str(name))}
        elif value is not None:
            compiler.note(place, f"{key} must be an object of schemas")
    return handle


def _items(compiler: SchemaCompiler, result: dict[str, Any], value: Any, place: Place) -> None:
    if is_array(value):
        _schemas("prefixItems")(compiler, result, value, place)
    else:
        _schema("items")(compiler, result, value, place)


_HANDLERS: Mapping[str, _Handler] = {
    "type": _type, "enum": _enum, "required": _required, "pattern": _pattern, "items": _items, "description": _description,
    "const": _copy("const"), "default": _copy("default"),
    **{key: _string(key) for key in ("format", "contentEncoding", "contentMediaType")},
    **{key: _flag(key) for key in ("deprecated", "readOnly", "writeOnly", "uniqueItems")},
    **{key: _number(key) for key in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")},
    **{key: _count(key) for key in ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties",
                                    "minContains", "maxContains")},
    **{key: _schema(key) for key in ("additionalProperties", "not", "contains", "propertyNames", "if", "then", "else",
                                     "unevaluatedProperties", "unevaluatedItems")},
    **{key: _schemas(key) for key in ("allOf", "anyOf", "oneOf", "prefixItems")},
    **{key: _named(key) for key in ("properties", "patternProperties", "dependentSchemas")},
}


def _settled(schema: Mapping[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    """What several keywords decide together."""
    if result.get("exclusiveMinimum") is True:
        result.pop("exclusiveMinimum")
        if "minimum" in result:
            result["exclusiveMinimum"] = result.pop("minimum")
    if result.get("exclusiveMaximum") is True:
        result.pop("exclusiveMaximum")
        if "maximum" in result:
            result["exclusiveMaximum"] = result.pop("maximum")
    if "type" not in result and "$ref" not in result and "enum" not in result:
        if "properties" in result:
            result["type"] = "object"
        elif "items" in result:
            result["type"] = "array"
    if "enum" in result and "type" in result and not any(_fits(item, result["type"]) for item in result["enum"]):
        del result["type"]      # the values themselves are what the upstream means
    if "required" in result and "properties" in result:
        _drop_one_sided(result)
    return _nullable(result) if schema.get("nullable") is True or schema.get("x-nullable") is True else result


def _drop_one_sided(result: dict[str, Any]) -> None:
    """A readOnly or writeOnly property cannot be required of both sides."""
    properties = result["properties"]
    kept = [name for name in result["required"]
            if not (properties.get(name, {}).get("readOnly") or properties.get(name, {}).get("writeOnly"))]
    if kept:
        result["required"] = kept
    else:
        del result["required"]


def _nullable(result: dict[str, Any]) -> dict[str, Any]:
    kind = result.get("type")
    if "enum" in result and None not in result["enum"]:
        result["enum"] = [*result["enum"], None]
    if isinstance(kind, str):
        if kind != "null":
            result["type"] = [kind, "null"]
    elif kind:
        result["type"] = list(dict.fromkeys([*kind, "null"]))
    elif any(key in result for key in ("allOf", "anyOf", "oneOf", "$ref")):
        return {"anyOf": [result, {"type": "null"}]}
    return result


def _fits(value: Any, kinds: str | list[str]) -> bool:
    names = [kinds] if isinstance(kinds, str) else kinds
    match value:
        case None:
            return "null" in names
        case bool():
            return "boolean" in names
        case int():
            return "integer" in names or "number" in names
        case float():
            return "number" in names or (value.is_integer() and "integer" in names)
        case str():
            return "string" in names
        case _:
            return ("array" if is_array(value) else "object") in names


# -- cycles ---------------------------------------------------------------------------------------------------


def _cut_cycles(definitions: Mapping[str, dict[str, Any]], report: Callable[[str], None]) -> None:
    """A definition that is itself by way of $ref, allOf, anyOf or oneOf alone says nothing and hangs validators."""
    done: set[str] = set()
    for start in definitions:
        if start in done:
            continue
        path: list[tuple[str, list[dict[str, Any]]]] = [(start, _in_place(definitions[start]))]
        open_names = {start}
        while path:
            name, pending = path[-1]
            if not pending:
                path.pop()
                open_names.discard(name)
                done.add(name)
                continue
            node = pending.pop()
            target = str(node["$ref"])[8:]
            if target in open_names:
                node.clear()
                report(target)
            elif target not in done and target in definitions:
                open_names.add(target)
                path.append((target, _in_place(definitions[target])))


def _in_place(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """The reference nodes that apply to the very same value."""
    found: list[dict[str, Any]] = []
    stack: list[dict[str, Any]] = [schema]
    while stack:
        node = stack.pop()
        if "$ref" in node:
            found.append(node)
        for key in ("allOf", "anyOf", "oneOf"):
            stack.extend(node.get(key, ()))
        stack.extend(node[key] for key in ("not", "if", "then", "else") if key in node)
    return found
