"""Calls of operations that a source plainly makes, with what is known of their arguments.

Names are followed through `const` aliases (`const { orders } = shop`, `const s = shop.orders`) and hidden by local
declarations of the same name. A call on a name that nobody declares is told, too: no operation can be meant. What cannot be seen without running (a computed name, a passed-on function) is left
to run time, where the same rules hold.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from tree_sitter import Node

from inhabit.contracts.program import CallSite, Problem
from inhabit.isolates.javascript.typescript.awaits import CHAINS, Awaits
from inhabit.isolates.javascript.typescript.tree import Item, Source
from inhabit.isolates.javascript.typescript.undeclared import SEEN, Undeclared

__all__ = ["CallSites"]

_TRANSPARENT = frozenset({"parenthesized_expression", "non_null_expression", "as_expression", "satisfies_expression", "type_assertion"})
_DECLARATIONS = frozenset({"function_declaration", "generator_function_declaration", "class_declaration", "enum_declaration"})
_BOOLEAN = frozenset({"==", "===", "!=", "!==", "<", "<=", ">", ">=", "in", "instanceof"})
_ARITHMETIC = frozenset({"-", "*", "/", "%", "**", "|", "&", "^", "<<", ">>", ">>>"})
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v", "0": "\0"}
_ESCAPE = re.compile(r"\\(?:u\{([0-9a-fA-F]+)\}|u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|\r?\n|(.))", re.DOTALL)
_DEPTH = 24  # of argument shapes, and of member chains
_SCOPE_DEPTH = 200  # deeper than that a name is left to run time
_HIDDEN = ""

Shape = dict[str, Any]
UNKNOWN: Shape = {"kind": "unknown"}


class CallSites:
    """Collects while the tree is walked; `finish` resolves, since a name may be declared after its use."""

    def __init__(self, source: Source, names: Iterable[str]) -> None:
        self.source = source
        self.names = frozenset(names)
        self.problems: list[Problem] = []
        self._scopes: dict[int, dict[str, str]] = {}
        self._aliases: list[tuple[Item, Node, Node]] = []
        self._calls: list[Item] = []
        self._undeclared = Undeclared(source)
        self._awaits = Awaits(source)

    def visit(self, item: Item) -> None:
        kind, node = item.kind, item.node
        if kind in SEEN:
            self._undeclared.visit(item)
        if kind == "call_expression":
            self._calls.append(item)
        elif kind in CHAINS:
            self._awaits.member(item)
        elif kind == "variable_declarator":
            self._awaits.declaration(item)
            name, value = node.child_by_field_name("name"), node.child_by_field_name("value")
            if name is not None:
                self._declare(item, name)
                if value is not None and item.parent is not None and _is_const(item.parent.node):
                    self._aliases.append((item, name, value))
        elif kind in {"required_parameter", "optional_parameter"}:
            pattern = node.child_by_field_name("pattern")
            if pattern is not None:
                self._declare(item, pattern)
        elif kind in _DECLARATIONS:
            name = node.child_by_field_name("name")
            if name is not None and item.parent is not None:
                self._declare(item.parent, name)
        elif kind in {"arrow_function", "catch_clause"}:
            single = node.child_by_field_name("parameter")
            if single is not None:
                self._scopes.setdefault(node.id, {}).update({n: _HIDDEN for n, _ in _bound(self.source, single)})
        elif kind == "for_in_statement":
            left = node.child_by_field_name("left")
            if left is not None:
                self._scopes.setdefault(node.id, {}).update({n: _HIDDEN for n, _ in _bound(self.source, left)})

    def finish(self) -> tuple[CallSite, ...]:
        for item, pattern, value in self._aliases:
            path = self._path(value, item)
            if path is not None:
                scope = self._scopes.setdefault(_scope_of(item), {})
                scope.update({name: path + tail for name, tail in _bound(self.source, pattern) if tail != _LOST})
        sites = (self._site(item) for item in self._calls)
        self.problems += self._awaits.problems(self._path, self._declared_in)
        return tuple(site for site in sites if site is not None)

    def _declare(self, item: Item, pattern: Node) -> None:
        scope = self._scopes.setdefault(_scope_of(item), {})
        scope.update({name: _HIDDEN for name, _tail in _bound(self.source, pattern)})

    def _site(self, item: Item) -> CallSite | None:
        function, given = item.node.child_by_field_name("function"), item.node.child_by_field_name("arguments")
        if function is None or given is None or given.type != "arguments":
            return None
        path = self._path(function, item) or self._nobodys(function)
        if path is None:
            return None
        line, column = self.source.position(function.start_byte)
        values = [child for child in given.named_children if child.type != "comment"]
        if any(value.type == "spread_element" for value in values):
            return CallSite(path, line, column, UNKNOWN)
        if len(values) > 1:
            self.problems.append(Problem(f"{path} takes one object with named parameters, not {len(values)} arguments: "
                                         f"{path}({{ name: value }})", line, column, "arguments"))
        return CallSite(path, line, column, self.shape(values[0]) if values else None)

    # ---- names ------------------------------------------------------------------------------------------------

    def _path(self, node: Node, item: Item) -> str | None:
        """The dotted path a chain of members stands for, from a namespace on."""
        name, tail = self._chain(node)
        root = self._resolve(name, item) if name else None
        return ".".join([root, *tail]) if root else None

    def _nobodys(self, node: Node) -> str | None:
        """The same of a chain on a name that nobody declares."""
        name, tail = self._chain(node)
        return ".".join([name, *tail]) if name and tail and self._undeclared.holds(name) else None

    def _chain(self, node: Node) -> tuple[str, list[str]]:
        """The name at the root of a chain of members, empty where it is none, and the members."""
        tail: list[str] = []
        for _ in range(_DEPTH):
            if node.type in _TRANSPARENT and node.named_children:
                node = node.named_children[-1] if node.type == "type_assertion" else node.named_children[0]
                continue
            step = self._member(node)
            if step is None:
                break
            node, name = step
            tail.append(name)
        return self.source.text(node) if node.type == "identifier" else "", tail[::-1]

    def _member(self, node: Node) -> tuple[Node, str] | None:
        owner = node.child_by_field_name("object")
        if node.type == "member_expression" and owner is not None:
            name = node.child_by_field_name("property")
            return (owner, self.source.text(name)) if name is not None and name.type == "property_identifier" else None
        if node.type == "subscript_expression" and owner is not None:
            index = node.child_by_field_name("index")
            known = self.shape(index) if index is not None else UNKNOWN
            if known.get("kind") == "literal" and isinstance(known["value"], str):
                return owner, known["value"]
        return None

    def _resolve(self, name: str, item: Item) -> str | None:
        scope = self._declared_in(name, item)
        if scope == 0:
            return name if name in self.names else None
        return (self._scopes[scope][name] or None) if scope is not None else None

    def _declared_in(self, name: str, item: Item) -> int | None:
        """The scope that declares a name as it is seen from `item`: 0 where none does, None where it is too deep to tell."""
        above = item.scope
        for _ in range(_SCOPE_DEPTH):
            if above is None:
                return 0
            if name in self._scopes.get(above.node.id, {}):
                return above.node.id
            above = above.parent.scope if above.parent is not None else None
        return None

    # ---- shapes -----------------------------------------------------------------------------------------------

    def shape(self, node: Node, depth: int = 0) -> Shape:
        """What is known of the value of an expression. Bounded in depth."""
        if depth > _DEPTH:
            return UNKNOWN
        match node.type:
            case "object":
                return self._object(node, depth)
            case "array":
                items = [c for c in node.named_children if c.type != "comment"]
                is_open = any(c.type == "spread_element" for c in items)
                shapes = [UNKNOWN if c.type == "spread_element" else self.shape(c, depth + 1) for c in items]
                return {"kind": "array", "items": shapes, "open": is_open}
            case "string":
                return {"kind": "literal", "value": self._string(node)}
            case "template_string":
                plain = not any(c.type == "template_substitution" for c in node.named_children)
                return {"kind": "literal", "value": self._string(node)} if plain else {"kind": "string"}
            case "number":
                return self._number(self.source.text(node))
            case "true" | "false":
                return {"kind": "literal", "value": node.type == "true"}
            case "null":
                return {"kind": "literal", "value": None}
            case kind if kind in _TRANSPARENT and node.named_children:
                return self.shape(node.named_children[-1 if kind == "type_assertion" else 0], depth + 1)
            case "unary_expression" | "binary_expression":
                return self._operator(node, depth)
            case "identifier" | "member_expression" | "subscript_expression":
                name, tail = self._chain(node)
                return {"kind": "unknown", "input": tail} if name == "input" else UNKNOWN
            case _:
                return UNKNOWN

    def _object(self, node: Node, depth: int) -> Shape:
        properties: dict[str, Shape] = {}
        is_open = False
        for child in node.named_children:
            if child.type == "pair":
                key, value = child.child_by_field_name("key"), child.child_by_field_name("value")
                name = self._key(key) if key is not None else None
                if name is None or value is None:
                    is_open = True
                else:
                    properties[name] = self.shape(value, depth + 1)
            elif child.type == "shorthand_property_identifier":
                properties[self.source.text(child)] = UNKNOWN
            elif child.type != "comment":
                is_open = True
        return {"kind": "object", "properties": properties, "open": is_open}

    def _key(self, node: Node) -> str | None:
        if node.type == "string":
            return self._string(node)
        return self.source.text(node) if node.type in {"property_identifier", "number"} else None

    def _string(self, node: Node) -> str:
        return _ESCAPE.sub(_unescaped, self.source.text(node)[1:-1])

    def _number(self, text: str) -> Shape:
        text = text.replace("_", "")
        try:
            value: float = int(text, 0) if not re.search(r"[.eE]", text) or text[:2] in {"0x", "0X"} else float(text)
        except (ValueError, OverflowError):
            return {"kind": "number"}
        return {"kind": "literal", "value": value}

    def _operator(self, node: Node, depth: int) -> Shape:
        sign = node.child_by_field_name("operator")
        word = self.source.text(sign) if sign is not None else ""
        if node.type == "unary_expression":
            if word in {"!", "delete"}:
                return {"kind": "boolean"}
            if word == "typeof":
                return {"kind": "string"}
            value = self.shape(node.named_children[-1], depth + 1) if node.named_children else UNKNOWN
            if word == "-" and isinstance(value.get("value"), (int, float)):
                return {"kind": "literal", "value": -value["value"]}
            return {"kind": "number"} if word in {"+", "~"} else UNKNOWN
        return {"kind": "boolean"} if word in _BOOLEAN else {"kind": "number"} if word in _ARITHMETIC and word != "-" else UNKNOWN


def _unescaped(found: re.Match[str]) -> str:
    point = found[1] or found[2] or found[3]
    if point:
        value = int(point, 16)
        return chr(value) if value <= 0x10FFFF else "\ufffd"
    return _ESCAPES.get(found[4], found[4]) if found[4] else ""


def _scope_of(item: Item) -> int:
    return item.scope.node.id if item.scope is not None else 0


def _is_const(declaration: Node) -> bool:
    return declaration.child_count > 0 and declaration.child(0).type == "const"  # pyright: ignore[reportOptionalMemberAccess]


def _bound(source: Source, pattern: Node) -> list[tuple[str, str]]:
    """Names a pattern binds, each with the path of members that leads to it (`{a: {b}}` binds b at `.a.b`)."""
    found: list[tuple[str, str]] = []
    pending: list[tuple[Node, str | None]] = [(pattern, "")]
    while pending:
        node, path = pending.pop()
        match node.type:
            case "identifier" | "type_identifier":
                found.append((source.text(node), path if path is not None else _LOST))
            case "shorthand_property_identifier_pattern":
                name = source.text(node)
                found.append((name, f"{path}.{name}" if path is not None else _LOST))
            case "pair_pattern":
                key, value = node.child_by_field_name("key"), node.child_by_field_name("value")
                if value is not None:
                    known = key is not None and key.type == "property_identifier" and path is not None
                    pending.append((value, f"{path}.{source.text(key)}" if known and key is not None else None))
            case "object_pattern":
                pending += [(child, path) for child in node.named_children]
            case "assignment_pattern" | "object_assignment_pattern":
                pending += [(child, None) for child in node.named_children[:1]]
            case "array_pattern" | "rest_pattern" | "required_parameter" | "optional_parameter":
                pending += [(child, None) for child in node.named_children]
            case _:
                pass
    return found


_LOST = ".?"
