"""Reading JSON of unknown shape: schemas come from elsewhere, and any part of one may be anything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeGuard

__all__ = ["is_list", "is_object", "list_of", "object_of", "reference_of", "references"]

_PREFIX = "#/$defs/"


def is_object(node: object) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(node, Mapping)


def is_list(node: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(node, list | tuple)


def object_of(node: object) -> Mapping[str, Any]:
    """The node, or an empty object."""
    return node if is_object(node) else {}


def list_of(node: object) -> list[Any]:
    """The node's items, or none."""
    return list(node) if is_list(node) else []


def reference_of(node: object) -> str | None:
    """The definition that a node refers to itself, if any."""
    ref = node.get("$ref") if is_object(node) else None
    return ref[len(_PREFIX) :] if isinstance(ref, str) and ref.startswith(_PREFIX) else None


def references(node: object) -> Iterator[str]:
    """Definitions referred to anywhere inside a node, with repetitions. Iterative: depth does not matter."""
    stack = [node]
    while stack:
        item = stack.pop()
        if is_object(item):
            name = reference_of(item)
            if name is not None:
                yield name
            stack.extend(value for value in item.values() if is_object(value) or is_list(value))
        elif is_list(item):
            stack.extend(value for value in item if is_object(value) or is_list(value))
