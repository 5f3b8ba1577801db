"""Which operations a program plainly calls, and with what: `CallSite`s from the tree.

A chain of attributes counts when its root is one of the run's names, or nobody's at all, and the program binds that
name nowhere; an alias (`orders = shop.orders`) counts when its name is bound exactly once. Everything else is found
when it runs.
"""

from __future__ import annotations

import ast
import builtins
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from inhabit.contracts.program import CallSite
from inhabit.isolates.python.plan import COMMON
from inhabit.isolates.python.source import Source, Tree

__all__ = ["aliases_of", "call_sites", "dotted", "resolved"]

_MAX_SITES = 5_000
_MAX_SHAPE_DEPTH = 12
_MAX_SHAPE_ITEMS = 200
_MAX_LITERAL = 1_000
_UNKNOWN: dict[str, Any] = {"kind": "unknown"}
_SCALARS: tuple[tuple[type[Any], str], ...] = ((bool, "boolean"), (str, "string"), (int, "number"), (float, "number"))


_KNOWN = COMMON | frozenset(dir(builtins)) | sys.stdlib_module_names | frozenset({
    "__file__", "input", "OperationError", "httpx", "np", "numpy", "pandas", "pd", "requests"})
"""Names that a program may have without binding them; what is missing among them has advice of its own."""


def call_sites(source: Source, tree: Tree) -> tuple[CallSite, ...]:
    aliases = aliases_of(tree)
    return tuple(_limited(_sites(source, tree, aliases)))


def _sites(source: Source, tree: Tree, aliases: Mapping[str, str]) -> Iterator[CallSite]:
    for node in tree.nodes:
        if isinstance(node, ast.Call):
            path = resolved(node.func, tree, aliases) or _nobodys(node.func, tree)
            if path is not None and "." in path:
                line, column = source.place(node)
                yield CallSite(path, line, column, _arguments(node))


def _limited(sites: Iterator[CallSite]) -> Iterator[CallSite]:
    for count, site in enumerate(sites):
        if count >= _MAX_SITES:
            return
        yield site


def dotted(node: ast.AST) -> str | None:
    """`a.b.c` of a chain of attributes on a name."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    return ".".join([node.id, *reversed(parts)])


def resolved(node: ast.AST, tree: Tree, aliases: Mapping[str, str]) -> str | None:
    """The full path that a chain stands for, if it is surely one of the run's names."""
    path = dotted(node)
    if path is None:
        return None
    root, dot, rest = path.partition(".")
    if root in aliases:
        return aliases[root] + dot + rest
    return path if root in tree.names and not tree.is_bound(root) else None


def _nobodys(node: ast.AST, tree: Tree) -> str | None:
    """A chain on a name that nobody binds: no operation can be meant, and the nearest can be named."""
    path = dotted(node)
    root = path.partition(".")[0] if path is not None else ""
    return None if not root or tree.is_bound("*") or root in _KNOWN or root in tree.names or tree.is_bound(root) else path


def aliases_of(tree: Tree) -> dict[str, str]:
    """Names bound once, to a namespace or an operation (or to another alias of one, above it)."""
    found: dict[str, str] = {}
    for node in tree.nodes:
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target, value = node.targets[0], node.value
            if isinstance(target, ast.Name) and tree.bound.get(target.id) == 1:
                path = resolved(value, tree, found)
                if path is not None:
                    found[target.id] = path
    return found


def _arguments(call: ast.Call) -> dict[str, Any] | None:
    if not call.args and not call.keywords:
        return None
    if call.args:
        only = call.args[0] if len(call.args) == 1 and not call.keywords else None
        return _shape(only, 0) if isinstance(only, ast.Dict) else dict(_UNKNOWN)
    named = {keyword.arg: _shape(keyword.value, 1) for keyword in call.keywords if keyword.arg is not None}
    return {"kind": "object", "properties": named, "open": len(named) < len(call.keywords)}


def _shape(node: ast.AST, depth: int) -> dict[str, Any]:
    if depth > _MAX_SHAPE_DEPTH:
        return dict(_UNKNOWN)
    match node:
        case ast.Constant(value=value):
            return _literal(value)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)) if not isinstance(value, bool):
            return _literal(-value)
        case ast.UnaryOp(op=ast.Not()) | ast.Compare():
            return {"kind": "boolean"}
        case ast.JoinedStr():
            return {"kind": "string"}
        case ast.List(elts=items) | ast.Tuple(elts=items) | ast.Set(elts=items):
            plain = [item for item in items if not isinstance(item, ast.Starred)][:_MAX_SHAPE_ITEMS]
            return {"kind": "array", "items": [_shape(item, depth + 1) for item in plain], "open": len(plain) < len(items)}
        case ast.Dict(keys=keys, values=values):
            pairs = {key.value: _shape(value, depth + 1) for key, value in zip(keys, values, strict=True)
                     if isinstance(key, ast.Constant) and isinstance(key.value, str)}
            return {"kind": "object", "properties": pairs, "open": len(pairs) < len(keys)}
        case ast.ListComp() | ast.SetComp():
            return {"kind": "array", "items": [], "open": True}
        case ast.DictComp():
            return {"kind": "object", "properties": {}, "open": True}
        case ast.Name(id="input") | ast.Subscript():
            return _of_input(node)
        case _:
            return dict(_UNKNOWN)


def _of_input(node: ast.AST) -> dict[str, Any]:
    """`input["a"]["b"]`: a part of the run's input, if that is what the name means here."""
    names: list[str] = []
    while isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str):
        names.append(node.slice.value)
        node = node.value
    return {"kind": "unknown", "input": names[::-1]} if isinstance(node, ast.Name) and node.id == "input" else dict(_UNKNOWN)


def _literal(value: object) -> dict[str, Any]:
    if value is None:
        return {"kind": "literal", "value": None}
    for kind, name in _SCALARS:
        if type(value) is kind:
            return {"kind": name} if _too_large(value) else {"kind": "literal", "value": value}
    return dict(_UNKNOWN)


def _too_large(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) > _MAX_LITERAL
    if isinstance(value, float):
        return value - value != 0   # infinite
    return not -(2**63) <= value < 2**64
