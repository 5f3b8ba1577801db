"""A CEL expression as a tree, read from the compiler's own serialized form (`cel.expr.CheckedExpr`, a protocol buffer).

Only what is needed to know which facts an expression reads, and what it compares them with: the compiler itself has
checked it, and evaluates it. Macros arrive expanded: `has(x.y)` is a select that only tests, `x.exists(...)` and its
like are comprehensions.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

__all__ = ["EVERY", "Node", "ReadPath", "path_of", "reads", "tree", "walk"]

EVERY = "*"
"""In a path: every element of a list, or every value of a map."""
ReadPath = tuple[str, ...]
Scope = Mapping[str, ReadPath | None]


class Node(NamedTuple):
    """`kind`: const, ident, select, has, call, list, map or loop. `value`: the constant, the name, the field, the function,
    or a loop's (element, accumulator). `parts`: what it is made of; a loop's are range, start, condition, step, result.
    `offset`: characters from the start of the text.
    """

    kind: str
    value: Any
    parts: tuple[Node, ...]
    offset: int


def tree(serialized: bytes) -> Node:
    checked = _last(_fields(serialized), 2)     # it comes wrapped in a `google.protobuf.Any`
    fields = list(_fields(checked))
    offsets: dict[int, int] = {}
    for number, content in _fields(_last(fields, 5)):
        if number == 4:
            entry = dict(_fields(content))
            offsets[int(entry.get(1, 0))] = int(entry.get(2, 0))
    return _node(_last(fields, 4), offsets)


def walk(node: Node, scope: Scope | None = None) -> Iterator[tuple[Node, Scope]]:
    """Every node with the names that loops around it give to elements."""
    names = scope or {}
    yield node, names
    if node.kind != "loop":
        for part in node.parts:
            yield from walk(part, names)
        return
    element, accumulator = node.value
    inside = {**names, element: _below(path_of(node.parts[0], names)), accumulator: None}
    yield from walk(node.parts[0], names)
    for part in node.parts[1:]:
        yield from walk(part, inside)


def path_of(node: Node, scope: Scope) -> ReadPath | None:
    """The fact that a node stands for (`args.lines[0].price` is `("args", "lines", "*", "price")`), if it is one."""
    if node.kind == "ident":
        return scope.get(node.value, (node.value,))
    if node.kind in ("select", "has"):
        base = path_of(node.parts[0], scope)
        return None if base is None else (*base, node.value)
    if node.kind == "call" and node.value == "_[_]":
        base, index = path_of(node.parts[0], scope), node.parts[1]
        if base is None:
            return None
        return (*base, index.value) if index.kind == "const" and isinstance(index.value, str) else (*base, EVERY)
    return None


def reads(node: Node) -> frozenset[ReadPath]:
    """The shortest paths that together hold every fact the expression can look at."""
    found = set(_reads(node, {}))
    return frozenset(path for path in found if not any(path[:length] in found for length in range(1, len(path))))


def _reads(node: Node, scope: Scope) -> Iterator[ReadPath]:
    path = path_of(node, scope)
    if path is not None:
        yield path
        while node.kind != "ident":     # what stands inside of an index is read too
            if node.kind == "call":
                yield from _reads(node.parts[1], scope)
            node = node.parts[0]
        return
    inside = scope
    if node.kind == "loop":
        element, accumulator = node.value
        over = path_of(node.parts[0], scope)
        yield from _of_range(node.parts[0], over, scope)
        inside = {**scope, element: _below(over), accumulator: None}
    for part in node.parts[1:] if node.kind == "loop" else node.parts:
        yield from _reads(part, inside)


def _of_range(node: Node, over: ReadPath | None, scope: Scope) -> Iterator[ReadPath]:
    """A loop over a fact reads its elements only as far as its body does, but must know how many there are."""
    if over is None:
        yield from _reads(node, scope)
    else:
        yield (*over, EVERY, "")


def _below(path: ReadPath | None) -> ReadPath | None:
    return None if path is None else (*path, EVERY)


def _node(content: bytes, offsets: Mapping[int, int]) -> Node:
    fields = list(_fields(content))
    offset = offsets.get(int(next((value for number, value in fields if number == 2), 0)), 0)
    for number, inner in fields:
        if number != 2:
            kind, value, parts = _READERS[number](list(_fields(inner)))
            return Node(kind, value, tuple(_node(part, offsets) for part in parts), offset)
    return Node("const", None, (), offset)


_Read = tuple[str, Any, Sequence[bytes]]


def _constant(fields: Sequence[tuple[int, Any]]) -> _Read:
    number: int
    value: Any
    number, value = fields[0] if fields else (1, None)
    if number == 2:
        value = bool(value)
    elif number == 3:
        value = value - 2**64 if value >= 2**63 else value
    elif number == 6:
        value = value.decode("utf-8", "replace")
    return "const", None if number == 1 else value, ()


def _ident(fields: Sequence[tuple[int, Any]]) -> _Read:
    return "ident", _last(fields, 1).decode().removeprefix("."), ()


def _select(fields: Sequence[tuple[int, Any]]) -> _Read:
    return "has" if _last(fields, 3, 0) else "select", _last(fields, 2).decode(), [_last(fields, 1)]


def _call(fields: Sequence[tuple[int, Any]]) -> _Read:
    target = [value for number, value in fields if number == 1]
    return "call", _last(fields, 2).decode(), [*target, *(value for number, value in fields if number == 3)]


def _list(fields: Sequence[tuple[int, Any]]) -> _Read:
    return "list", None, [value for number, value in fields if number == 1]


def _map(fields: Sequence[tuple[int, Any]]) -> _Read:
    entries = [list(_fields(value)) for number, value in fields if number == 2]
    return "map", None, [value for entry in entries for number, value in entry if number in (3, 4)]


def _loop(fields: Sequence[tuple[int, Any]]) -> _Read:
    names = (_last(fields, 1).decode(), _last(fields, 3).decode())
    return "loop", names, [_last(fields, number) for number in (2, 4, 5, 6, 7)]


_READERS = {3: _constant, 4: _ident, 5: _select, 6: _call, 7: _list, 8: _map, 9: _loop}


def _last(fields: Sequence[tuple[int, Any]] | Iterator[tuple[int, Any]], number: int, missing: Any = b"") -> Any:
    found = missing
    for field, value in fields:
        if field == number:
            found = value
    return found


def _fields(content: bytes) -> Iterator[tuple[int, Any]]:
    """(number, value) of a message: an int, 8 bytes as a float, or bytes."""
    at = 0
    while at < len(content):
        tag, at = _varint(content, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(content, at)
        elif kind == 1:
            value, at = struct.unpack_from("<d", content, at)[0], at + 8
        else:
            size, at = _varint(content, at)
            value, at = content[at:at + size], at + size
        yield tag >> 3, value


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
