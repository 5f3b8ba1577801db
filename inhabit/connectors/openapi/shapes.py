"""What a compiled schema says at its top: members of an object, items of an array, kinds of a value, one fitting another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from inhabit.contracts.json import is_array, is_object

__all__ = ["Shapes", "fits", "kinds"]

_DEPTH = 10
_EMPTY: Mapping[str, Any] = {}


class Shapes:
    """Over the definitions of one document."""

    def __init__(self, definitions: Mapping[str, Mapping[str, Any]]) -> None:
        self._definitions = definitions
        self._plain: dict[str, Mapping[str, Any]] = {}

    def plain(self, schema: Any, depth: int = 0) -> Mapping[str, Any]:
        """References followed, `allOf` joined, `null` left out; of several alternatives the first, with `$several` beside it."""
        if not is_object(schema) or depth > _DEPTH:
            return _EMPTY
        reference = schema.get("$ref")
        if isinstance(reference, str):
            held = self._plain.get(reference)
            if held is None:
                held = self._plain[reference] = self.plain(self._definitions.get(reference.removeprefix("#/$defs/")), depth + 1)
            return held
        for word in ("anyOf", "oneOf"):
            if is_array(schema.get(word)):
                several = [one for one in schema[word] if not (is_object(one) and one.get("type") == "null")]
                first = self.plain(several[0], depth + 1) if several else _EMPTY
                return {**first, "$several": True} if len(several) > 1 else first
        if not is_array(schema.get("allOf")):
            return schema
        joined: dict[str, Any] = {}
        for part in (*schema["allOf"], {name: value for name, value in schema.items() if name != "allOf"}):
            other = self.plain(part, depth + 1)
            joined = {**joined, **other, "properties": {**joined.get("properties", {}), **other.get("properties", {})}}
        return joined

    def members(self, schema: Any) -> Mapping[str, Any]:
        properties = self.plain(schema).get("properties")
        return properties if is_object(properties) else _EMPTY

    def items(self, schema: Any) -> Any:
        """The schema of an array's items, None for what is no array."""
        plain = self.plain(schema)
        return plain.get("items", _EMPTY) if "array" in _types(plain) else None


def kinds(schema: Any, shapes: Shapes) -> frozenset[str]:
    plain = shapes.plain(schema)
    types = _types(plain) or (frozenset({"object"}) if plain.get("properties") else frozenset[str]())
    return types - {"null"}


def fits(given: Any, held: Any, shapes: Shapes, *, flat: bool = False) -> bool:
    """Whether whatever one schema takes is surely a value of the other; where one says nothing, that is not known. `flat`: and no object."""
    one, other = shapes.plain(given), shapes.plain(held)
    some, more = kinds(one, shapes), kinds(other, shapes)
    if "$several" in one or "$several" in other or not some or not some <= (more | {"integer"} if "number" in more else more):
        return False
    if other.get("enum") is not None and not (is_array(one.get("enum")) and all(value in other["enum"] for value in one["enum"])):
        return False
    if "array" in some:
        return fits(one.get("items"), other.get("items"), shapes, flat=flat)
    return "object" not in some or (not flat and one == other)


def _types(schema: Mapping[str, Any]) -> frozenset[str]:
    kind = schema.get("type")
    if isinstance(kind, str):
        return frozenset({kind})
    return frozenset(str(one) for one in kind) if is_array(kind) else frozenset()
