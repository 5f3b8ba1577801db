"""Names of types inside one namespace: legal in the language, unique, and the same type under one name.

A definition's name is kept where it is legal. Two operations may each bring a definition of one name (MCP
servers do): equal ones share the name, different ones are numbered. The names given are remembered in order,
so that a renderer can declare exactly what was referred to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from inhabit.catalog.nodes import references
from inhabit.catalog.shapes import Ref
from inhabit.contracts.operation import Schema

__all__ = ["TypeNames", "legal_type_name"]

_ILLEGAL = re.compile(r"[^A-Za-z0-9_]+")


def legal_type_name(name: str, reserved: frozenset[str], *, capital: bool = False) -> str:
    """`name` as an ASCII identifier outside `reserved`; with `capital` its first letter is a capital one."""
    plain = name if name.isidentifier() and name.isascii() else _ILLEGAL.sub("_", name).strip("_")
    if not plain or plain[0].isdigit() or plain.startswith("__"):
        plain = f"T{plain}"
    if capital:
        plain = plain.lstrip("_")
        plain = plain[:1].upper() + plain[1:] if plain[:1].isalpha() else f"T{plain}"
    return plain + "_" if plain in reserved else plain


class TypeNames:
    """`declared` receives every newly named type, once."""

    def __init__(self, reserved: frozenset[str], declared: Callable[[str, Ref], None] = lambda _name, _ref: None,
                 *, capital: bool = False) -> None:
        self._reserved = reserved
        self._declared = declared
        self._capital = capital
        self._by_place: dict[tuple[int, str], str] = {}
        self._places: dict[str, list[tuple[Ref, str]]] = {}
        self._taken: set[str] = set()

    def of(self, ref: Ref) -> str:
        """The name to write for a reference."""
        key = (id(ref.scope.definitions), ref.name)
        known = self._by_place.get(key)
        if known is not None:
            return known
        for other, name in self._places.get(ref.name, ()):
            if _same(ref.name, ref.scope.definitions, other.scope.definitions):
                self._by_place[key] = name
                return name
        name = self._unused(ref.name)
        self._by_place[key] = name
        self._places.setdefault(ref.name, []).append((ref, name))
        self._declared(name, ref)
        return name

    def fresh(self, wanted: str) -> str:
        """An unused legal name like `wanted`, for a type that has none."""
        return self._unused(wanted)

    def _unused(self, wanted: str) -> str:
        base = legal_type_name(wanted, self._reserved, capital=self._capital)
        name, count = base, 1
        while name in self._taken:
            count += 1
            name = f"{base}_{count}"
        self._taken.add(name)
        return name


def _same(name: str, left: Mapping[str, Schema], right: Mapping[str, Schema]) -> bool:
    """Whether a definition means the same in two scopes: equal, and so is all it refers to."""
    seen: set[str] = set()
    stack = [name]
    while stack:
        current = stack.pop()
        if current in seen:
            continue
        seen.add(current)
        one, other = left.get(current), right.get(current)
        if one != other or len(seen) > 500:
            return False
        stack.extend(references(one))
    return True
