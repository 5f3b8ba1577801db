"""A forgotten `await`, where it is plain: a member taken of a call's promise, which would be `undefined` and no error.

    const order = shop.orders.get({ id }); return order.total
    shop.orders.list({}).length
    const { total } = shop.orders.get({ id })

Only what a promise itself has (`then`, `catch`, `finally`) may be taken of it; all else is refused.
"""

from __future__ import annotations

from collections.abc import Callable

from tree_sitter import Node

from inhabit.contracts.program import Problem
from inhabit.isolates.javascript.typescript.tree import Item, Source

__all__ = ["CHAINS", "Awaits"]

CHAINS = frozenset({"member_expression", "subscript_expression"})
_OF_PROMISES = frozenset({"then", "catch", "finally", "constructor", "toString", "valueOf", "hasOwnProperty"})
_OF_FUNCTIONS = frozenset({"bind", "call", "apply", "toString", "valueOf", "hasOwnProperty", "then", "catch", "finally", "toJSON"})
_WRAPPERS = frozenset({"parenthesized_expression", "non_null_expression", "as_expression", "satisfies_expression"})
_MAX_PROBLEMS = 20

Paths = Callable[[Node, Item], str | None]
Scopes = Callable[[str, Item], int | None]


class Awaits:
    """Told of members and declarations as they are walked; `problems` names what is plainly wrong, after the walk."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._held: list[tuple[Item, Node, Node]] = []
        self._members: list[Item] = []

    def member(self, item: Item) -> None:
        self._members.append(item)

    def declaration(self, item: Item) -> None:
        if item.parent is None or not item.parent.node.child_count or item.parent.node.children[0].type != "const":
            return
        name, call = item.node.child_by_field_name("name"), _call(item.node.child_by_field_name("value"))
        if name is not None and call is not None:
            self._held.append((item, name, call))

    def problems(self, path_of: Paths, declared_in: Scopes) -> list[Problem]:
        """`path_of`: the operation that a chain stands for. `declared_in`: the scope whose name an identifier is."""
        found: list[Problem] = []
        promises: dict[tuple[int, str], str] = {}
        for item, name, call in self._held:
            path = _operation(call, item, path_of)
            if path is None:
                continue
            if name.type == "identifier" and item.scope is not None:
                promises[item.scope.node.id, self._source.text(name)] = path
            elif name.type == "object_pattern" and not any(part in _OF_PROMISES for part in self._taken(name)):
                found.append(self._problem(call, path, "before taking it apart"))
        for item in self._members:
            found += self._of_member(item, promises, path_of, declared_in)
        return sorted(found, key=lambda problem: (problem.line, problem.column))[:_MAX_PROBLEMS]

    def _of_member(self, item: Item, promises: dict[tuple[int, str], str], path_of: Paths, declared_in: Scopes) -> list[Problem]:
        owner = item.node.child_by_field_name("object")
        taken = item.node.child_by_field_name("property") or item.node.child_by_field_name("index")
        if owner is None or taken is None or self._source.text(taken).strip("'\"`") in _OF_PROMISES:
            return []
        if owner.type == "identifier":
            name = self._source.text(owner)
            path = promises.get((declared_in(name, item) or 0, name)) if promises else None
        else:
            call = _call(owner)
            path = _operation(call, item, path_of) if call is not None else None
        shown = self._source.text(taken)
        member = f".{shown}" if item.kind == "member_expression" else f"[{shown}]"
        return [self._problem(item.node, path, f"first: (await {path}(…)){member[:40]}")] if path is not None else []

    def _taken(self, pattern: Node) -> list[str]:
        keys = (child.child_by_field_name("key") or child.child_by_field_name("left") or child for child in pattern.named_children)
        return [self._source.text(key) for key in keys]

    def _problem(self, node: Node, path: str, where: str) -> Problem:
        line, column = self._source.position(node.start_byte)
        return Problem(f"{path}(…) gives a promise: `await` it {where}", line, column, "missing_await")


def _call(node: Node | None) -> Node | None:
    """The call that an expression is, without brackets and types around it."""
    while node is not None and node.type in _WRAPPERS and node.named_children:
        node = node.named_children[0]
    return node if node is not None and node.type == "call_expression" else None


def _operation(call: Node, item: Item, path_of: Paths) -> str | None:
    function = call.child_by_field_name("function")
    path = path_of(function, item) if function is not None else None
    return path if path is not None and "." in path and path.rpartition(".")[2] not in _OF_FUNCTIONS else None
