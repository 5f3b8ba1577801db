"""A JSON Schema written by a server, made into the form that operations carry. The schema is hostile input.

What comes out: an object schema whose references all have the form `#/$defs/NAME` and point into one map of
named types; depth, node count and size are bounded; text is bounded and clean; it compiles. What does not fit
raises `SchemaProblem`, and the owner leaves that one tool out. Nothing here follows a reference out of the
document, and nothing is fetched.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import unquote

import jsonschema_rs
import orjson

from inhabit.connectors.mcp.text import clean
from inhabit.connectors.names import parameter, unique

__all__ = ["MAX_SCHEMA_BYTES", "MAX_SCHEMA_DEPTH", "MAX_SCHEMA_NODES", "Normalised", "SchemaProblem", "normalise", "renamed"]

MAX_SCHEMA_DEPTH = 64
MAX_SCHEMA_NODES = 20_000
MAX_SCHEMA_BYTES = 256 * 1024
MAX_TEXT_CHARS = 2_000      # one `description` inside a schema
MAX_PATTERN_CHARS = 500     # longer patterns are dropped: they constrain, so dropping only widens

_SHOWN_TEXT = frozenset({"description", "title", "$comment"})
_NAMED_CHILDREN = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
_LITERAL = frozenset({"const", "default", "enum", "examples", "example"})
_ANCHORS = frozenset({"$id", "$anchor", "$dynamicAnchor", "$recursiveAnchor", "$schema", "$vocabulary", "id"})
_RENAMING_BREAKS = frozenset({"dependentRequired", "dependentSchemas", "dependencies", "patternProperties", "propertyNames",
                              "allOf", "anyOf", "oneOf", "if", "not", "$ref"})


class SchemaProblem(Exception):
    """Why a schema cannot be used, with the place inside it."""


@dataclass(frozen=True, slots=True)
class Normalised:
    schema: dict[str, Any]
    definitions: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])


def normalise(schema: object, *, taken: Iterable[str] = (), parameters: bool = False) -> Normalised:
    """The schema and its named types (named unlike `taken`); with `parameters` always an object schema.
    Raises `SchemaProblem`."""
    if not isinstance(schema, Mapping):
        raise SchemaProblem("the schema is not an object")
    root = cast("Mapping[str, Any]", schema)
    _bounded(root)
    work = _Work(root, frozenset(taken))
    body = cast("dict[str, Any]", work.copy(root))
    found = Normalised(body | {"type": "object"} if parameters else body, work.finish())
    _compiles(found)
    return found


def renamed(schema: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Parameters under names that a program can write, and the map from those back to the server's names.

    A schema that says more about its names than `properties` and `required` keeps them as they are.
    """
    properties = schema.get("properties")
    if not isinstance(properties, dict) or _RENAMING_BREAKS & schema.keys():
        return schema, {}
    given = list(cast("dict[str, Any]", properties))
    written = unique([parameter(name) for name in given])
    back = {new: old for new, old in zip(written, given, strict=True) if new != old}
    if not back:
        return schema, {}
    forth = dict(zip(given, written, strict=True))
    changed = dict(schema, properties={forth[name]: value for name, value in cast("dict[str, Any]", properties).items()})
    if isinstance(required := schema.get("required"), list):
        changed["required"] = [forth.get(name, name) for name in cast("list[str]", required)]
    return changed, back


class _Work:
    """One pass over one document. `targets`: the pointer of each reference met, and the name it got."""

    def __init__(self, root: Mapping[str, Any], taken: frozenset[str]) -> None:
        self._root = root
        self._taken = taken
        self._targets: dict[str, str] = {}
        self._definitions: dict[str, dict[str, Any]] = {}
        self._queue: list[str] = []
        self._copied = 0

    def finish(self) -> dict[str, dict[str, Any]]:
        """Copy every referred type; they may refer to further ones."""
        while self._queue:
            pointer = self._queue.pop()
            target = _resolve(self._root, pointer)
            if isinstance(target, bool):
                always: dict[str, Any] = {}
                target = always if target else {"not": always}
            if not isinstance(target, Mapping):
                raise SchemaProblem(f"the reference {clean(pointer, 100)} points at nothing")
            copied = self.copy(cast("Mapping[str, Any]", target))
            self._definitions[self._targets[pointer]] = copied if isinstance(copied, dict) else {}
        return self._definitions

    def copy(self, node: Any) -> Any:
        """A schema (not a literal) with references rewritten, text cleaned, identifiers dropped."""
        if isinstance(node, list):
            return [self.copy(item) for item in cast("list[Any]", node)]
        if not isinstance(node, Mapping):
            return node
        self._copied += 1
        if self._copied > MAX_SCHEMA_NODES:
            raise SchemaProblem(f"references expand to more than {MAX_SCHEMA_NODES} nodes")
        result: dict[str, Any] = {}
        for key, value in cast("Mapping[str, Any]", node).items():
            if key in _ANCHORS and isinstance(value, str | bool):
                continue
            if key in ("$defs", "definitions") and isinstance(value, Mapping):
                continue        # what is referred to arrives through the queue
            result[key] = self._value(key, value)
        return _tidy(result)

    def _value(self, key: str, value: Any) -> Any:
        if key in ("$ref", "$dynamicRef", "$recursiveRef"):
            return self._reference(value)
        if key in _SHOWN_TEXT and isinstance(value, str):
            return clean(value, MAX_TEXT_CHARS)
        if key in _LITERAL:
            return value
        if key in _NAMED_CHILDREN and isinstance(value, Mapping):
            return {str(name): self.copy(child) for name, child in cast("Mapping[str, Any]", value).items()}
        return self.copy(value)

    def _reference(self, value: Any) -> str:
        if not isinstance(value, str) or not value.startswith("#"):
            raise SchemaProblem(f"the reference {clean(str(value), 100)!r} leaves the document")
        pointer = value[1:]
        if pointer not in self._targets:
            self._targets[pointer] = self._name(pointer)
            self._queue.append(pointer)
        return f"#/$defs/{self._targets[pointer]}"

    def _name(self, pointer: str) -> str:
        last = unquote(pointer.rpartition("/")[2]) or "Root"
        plain = "".join(c if c.isascii() and c.isalnum() else "_" for c in last)[:60] or "Type"
        name, number, taken = plain, 1, self._taken.union(self._targets.values())
        while name in taken:
            number += 1
            name = f"{plain}_{number}"
        return name


def _tidy(schema: dict[str, Any]) -> dict[str, Any]:
    """Repairs of what is common and harmless, so that one careless line does not cost a tool."""
    for other in ("$dynamicRef", "$recursiveRef"):
        if other in schema:
            schema["$ref"] = schema.pop(other)
    pattern = schema.get("pattern")
    if isinstance(pattern, str) and len(pattern) > MAX_PATTERN_CHARS:
        del schema["pattern"]
    if isinstance(schema.get("required"), bool):    # draft 3, seen in the wild
        del schema["required"]
    if schema.get("properties", {}) is None:
        del schema["properties"]
    return schema


def _bounded(root: Mapping[str, Any]) -> None:
    """Depth and node count without recursion, then size."""
    nodes = 0
    level: list[Any] = [root]
    for _depth in range(MAX_SCHEMA_DEPTH):
        deeper: list[Any] = []
        for node in level:
            nodes += 1
            children: list[Any] = []
            if isinstance(node, Mapping):
                children = list(cast("Mapping[str, Any]", node).values())
            elif isinstance(node, list):
                children = cast("list[Any]", node)
            deeper.extend(children)
        if nodes > MAX_SCHEMA_NODES:
            raise SchemaProblem(f"the schema has more than {MAX_SCHEMA_NODES} nodes")
        if not deeper:
            break
        level = deeper
    else:
        raise SchemaProblem(f"the schema is nested deeper than {MAX_SCHEMA_DEPTH}")
    try:
        size = len(orjson.dumps(root))
    except (TypeError, ValueError) as error:
        raise SchemaProblem(f"the schema is not plain JSON: {clean(str(error), 100)}") from None
    if size > MAX_SCHEMA_BYTES:
        raise SchemaProblem(f"the schema has {size} bytes, more than {MAX_SCHEMA_BYTES}")


def _resolve(root: Mapping[str, Any], pointer: str) -> Any:
    if not pointer:
        return root
    if not pointer.startswith("/"):
        raise SchemaProblem(f"the reference #{clean(pointer, 100)} is not a JSON pointer")
    node: Any = root
    for raw in pointer[1:].split("/"):
        part = unquote(raw).replace("~1", "/").replace("~0", "~")
        if isinstance(node, Mapping):
            node = cast("Mapping[str, Any]", node).get(part)
        elif isinstance(node, list) and part.isdigit() and int(part) < len(cast("list[Any]", node)):
            node = cast("list[Any]", node)[int(part)]
        else:
            return None
    return node


def _compiles(found: Normalised) -> None:
    whole = found.schema | ({"$defs": found.definitions} if found.definitions else {})
    try:
        jsonschema_rs.validator_for(whole, retriever=_refuse)
    except (ValueError, jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError) as error:
        raise SchemaProblem(f"the schema is broken: {clean(str(error), 200)}") from None


def _refuse(uri: str) -> Any:
    raise ValueError(f"{uri} is outside the document")
