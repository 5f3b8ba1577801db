"""A set of parsed documents that refer to each other, and the walk along a `$ref`.

Every reader of a document goes through these helpers, which answer for any data whatever: a wrong shape is a
`Broken` with its place, never a TypeError.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from inhabit.connectors.openapi.source import joined
from inhabit.contracts.json import is_array, is_object

__all__ = ["Broken", "Documents", "Place", "Problems", "array", "child", "escape", "external_references", "obj", "text"]

_MAX_HOPS = 32
_MAX_PROBLEMS = 500


class Broken(Exception):
    """A part of a document that cannot be used. Caught where the part is left out; the rest goes on."""

    def __init__(self, place: Place, reason: str) -> None:
        super().__init__(reason)
        self.place = place
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Place:
    """A node of a document: where it is and what is there."""

    location: str
    pointer: str
    value: Any

    def __truediv__(self, key: Any) -> Place:
        """The child at `key`, None where there is none."""
        value = self.value
        found: Any = None
        if is_object(value):
            found = value.get(key)
        elif is_array(value) and isinstance(key, int) and 0 <= key < len(value):
            found = value[key]
        return Place(self.location, child(self.pointer, key), found)


@dataclass(slots=True)
class Problems:
    """`(location, pointer, reason)`, each said once, the first few hundred kept and all counted."""

    found: dict[tuple[str, str, str], None] = field(default_factory=dict[tuple[str, str, str], None])
    count: int = 0

    def add(self, location: str, pointer: str, reason: str) -> None:
        key = (location, pointer, reason)
        if key not in self.found:
            self.count += 1
            if len(self.found) < _MAX_PROBLEMS:
                self.found[key] = None

    def broken(self, error: Broken) -> None:
        self.add(error.place.location, error.place.pointer, error.reason)


def escape(key: str | int) -> str:
    return str(key).replace("~", "~0").replace("/", "~1")


def child(pointer: str, key: str | int) -> str:
    return f"{pointer}/{escape(key)}"


def obj(value: Any) -> Mapping[str, Any]:
    """The value if it is an object, else an empty one."""
    return value if is_object(value) else {}


def array(value: Any) -> Sequence[Any]:
    return value if is_array(value) else ()


def text(value: Any, limit: int = 4_000) -> str:
    """A string, trimmed and cut at `limit` characters; anything else is empty."""
    if not isinstance(value, str):
        return ""
    value = value.strip()
    return value if len(value) <= limit else value[: limit - 2].rstrip() + " …"


class Documents:
    """`root` is the location of the first one."""

    def __init__(self, root: str, parsed: Mapping[str, Any]) -> None:
        self.root = root
        self._parsed = dict(parsed)

    def top(self, location: str | None = None) -> Place:
        return Place(location or self.root, "", self._parsed[location or self.root])

    def replace(self, location: str, value: Any) -> None:
        self._parsed[location] = value

    def locations(self) -> list[str]:
        return list(self._parsed)

    def target(self, place: Place, reference: str) -> Place:
        """One step along `reference`, seen from `place`. Raises `Broken`."""
        path, _, fragment = reference.partition("#")
        location = joined(place.location, path) if path else place.location
        if location not in self._parsed:
            raise Broken(place, f"$ref to {_shown(reference)}, which was not loaded")
        return self._walk(place, location, unquote(fragment), reference)

    def resolved(self, place: Place) -> Place:
        """Follow `$ref` until there is none. Raises `Broken` for a cycle or a missing target."""
        for _ in range(_MAX_HOPS):
            reference = place.value.get("$ref") if is_object(place.value) else None
            if not isinstance(reference, str):
                return place
            place = self.target(place, reference)
        raise Broken(place, "a chain of $ref that leads back to itself")

    def _walk(self, origin: Place, location: str, pointer: str, reference: str) -> Place:
        node: Any = self._parsed[location]
        if pointer and not pointer.startswith("/"):
            raise Broken(origin, f"$ref to {_shown(reference)}: only JSON pointers are followed")
        for part in pointer.split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            if is_object(node) and key in node:
                node = node[key]
            elif is_array(node) and key.isdecimal() and int(key) < len(node):
                node = node[int(key)]
            else:
                raise Broken(origin, f"$ref to {_shown(reference)}, which does not exist")
        return Place(location, pointer, node)


def external_references(value: Any) -> Iterator[str]:
    """Documents that a parsed document refers to, without fragments, each once."""
    seen: set[str] = set()
    visited: set[int] = set()
    stack: list[Any] = [value]
    while stack:
        node = stack.pop()
        if not (is_object(node) or is_array(node)) or id(node) in visited:
            continue
        visited.add(id(node))
        if is_object(node):
            reference = node.get("$ref")
            if isinstance(reference, str) and not reference.startswith("#"):
                path = reference.partition("#")[0]
                if path not in seen:
                    seen.add(path)
                    yield path
            stack.extend(node.values())
        else:
            stack.extend(node)


def _shown(reference: str) -> str:
    return repr(reference if len(reference) <= 200 else reference[:199] + "…")
