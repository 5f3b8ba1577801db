"""Comparisons that cannot hold: an argument of one kind against a thing of another. The CEL compiler takes arguments for
anything; the operation's schema knows better.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from inhabit.contracts.operation import Operation
from inhabit.policy.arguments import Argument, argument
from inhabit.policy.expression import Node, ReadPath, path_of, walk
from inhabit.policy.problems import suggestion

__all__ = ["mismatches"]

_ORDER = {"_<_": "<", "_<=_": "<=", "_>_": ">", "_>=_": ">="}
_SAME = {"_==_": "==", "_!=_": "!="}
_SUMS = {"_-_": "-", "_*_": "*", "_/_": "/", "_%_": "%"}
_OF_TEXT = ("startsWith", "endsWith", "contains", "matches", "lower", "below", "host")
Found = tuple[str, str, str]
"""Message, fix, severity."""


def mismatches(root: Node, truth: bool, number: bool, operations: Sequence[Operation]) -> Iterator[Found]:
    """`truth`, `number`: what the whole expression must give."""
    for operation in operations:
        for node, scope in walk(root):
            if node.kind == "call":
                known = [_known(part, scope, operation) for part in node.parts]
                yield from _call(node, known, [_shown(part, path_of(part, scope)) for part in node.parts], operation)
        kinds = _known(root, {}, operation).kinds
        if truth and kinds and "a truth value" not in kinds:
            yield f"{_shown(root, path_of(root, {}))} of {operation.name} is {_words(kinds)}, no truth value", "compare it with something", "error"
        if number and kinds and "a number" not in kinds:
            yield f"{_shown(root, path_of(root, {}))} of {operation.name} is {_words(kinds)}, no number", "", "error"


def _call(node: Node, known: Sequence[Argument], shown: Sequence[str], operation: Operation) -> Iterator[Found]:
    if node.value in _ORDER or node.value in _SAME:
        yield from _compared(node, known, shown, operation)
    elif node.value == "@in" and node.parts[1].kind == "list":
        for part in node.parts[1].parts:
            yield from _compared(node._replace(value="_==_"), [known[0], _known(part, {}, operation)], [shown[0], _shown(part, None)], operation)
    elif node.value in _SUMS:
        for what, text in zip(known, shown, strict=True):
            if what.kinds and "a number" not in what.kinds:
                yield f"{text} of {operation.name} is {_words(what.kinds)}: {_SUMS[node.value]} needs numbers", "", "error"
    elif node.value in _OF_TEXT and known[0].kinds and "text" not in known[0].kinds:
        yield f"{shown[0]} of {operation.name} is {_words(known[0].kinds)}: {node.value}() needs text", "", "error"


def _compared(node: Node, known: Sequence[Argument], shown: Sequence[str], operation: Operation) -> Iterator[Found]:
    one, other = known
    sign = _ORDER.get(node.value) or _SAME[node.value]
    if one.kinds and other.kinds and not one.kinds & other.kinds:
        if node.value in _SAME and "null" in one.kinds | other.kinds:
            return
        result = "it cannot be judged, and the call is denied" if node.value in _ORDER else f"{sign} always gives the same"
        yield f"{shown[0]} {sign} {shown[1]}: {operation.name} has {_words(one.kinds)} here, compared with {_words(other.kinds)}; {result}", "", "error"
        return
    for enum, constant in ((one, other), (other, one)):
        if node.value in _SAME and len(enum.values) > 1 and len(constant.values) == 1 and constant.values[0] not in enum.values:
            names = [str(value) for value in enum.values]
            yield (f"{shown[0]} {sign} {shown[1]}: {constant.values[0]!r} is not among the values that {operation.name} takes",
                   suggestion(str(constant.values[0]), names), "warning")


def _known(node: Node, scope: Any, operation: Operation) -> Argument:
    """What is known of a part: a constant's kind, an argument's by the schema, some functions' by their name."""
    if node.kind == "const":
        value = node.value
        kind = ("null" if value is None else "a truth value" if isinstance(value, bool) else "a number" if isinstance(value, int | float)
                else "text" if isinstance(value, str) else "")
        return Argument(frozenset({kind} if kind else ()), values=(value,))
    path = path_of(node, scope)
    if path is not None and path[:1] == ("args",) and len(path) > 1 and node.kind != "has":
        return argument(operation, path[1:])
    if path is not None and path[:1] in (("principal",), ("operation",)):
        return Argument(frozenset({"text"}))
    if node.kind == "call" and node.value in ("size", *_SUMS):
        return Argument(frozenset({"a number"}) if node.value == "size" else frozenset())
    return Argument()


def _words(kinds: frozenset[str]) -> str:
    return " or ".join(sorted(kinds))


def _shown(node: Node, path: ReadPath | None) -> str:
    if path is not None:
        return ".".join(path)
    return repr(node.value) if node.kind == "const" else "the expression"
