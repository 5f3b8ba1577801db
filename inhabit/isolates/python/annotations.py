"""Types that are only for the reader: Monty evaluates no annotation, so a program loses nothing with them.

`class Row(TypedDict): …` becomes `Row = dict`, and `from typing import …` loses the names that Monty does not have.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from inhabit.isolates.python.source import Source, Tree

__all__ = ["TYPING", "type_edits"]

TYPING = frozenset({
    "Annotated", "Any", "Callable", "ClassVar", "Dict", "Final", "FrozenSet", "Generator", "Generic", "Iterable", "Iterator", "List",
    "Literal", "Mapping", "Never", "NoReturn", "Optional", "Protocol", "Self", "Sequence", "Set", "TYPE_CHECKING", "Tuple", "Type",
    "TypeVar", "Union",
})
"""What `typing` has in Monty."""
_ONLY_TYPES = frozenset({
    "TypedDict", "NotRequired", "Required", "ReadOnly", "TypeAlias", "Awaitable", "Coroutine", "AsyncIterator", "AsyncIterable",
    "AsyncGenerator", "MutableMapping", "MutableSequence", "Collection", "Hashable", "Text", "AnyStr", "ParamSpec", "TypeGuard",
    "DefaultDict", "Deque", "Counter", "OrderedDict", "SupportsFloat", "SupportsInt", "Unpack", "LiteralString", "override",
})
"""Names that stand in annotations; gone without loss."""
_MODULES = frozenset({"typing", "typing_extensions"})

Edit = tuple[int, int, str]


def type_edits(source: Source, tree: Tree) -> Iterator[Edit]:
    """Notes rewritten nodes in `tree.rewritten`. Lines are kept."""
    for node in tree.nodes:
        if isinstance(node, ast.ClassDef) and _is_typed_dict(node):
            tree.rewritten.add(node)
            yield _replaced(source, node, f"{node.name} = dict")
        elif isinstance(node, ast.ImportFrom) and node.module in _MODULES and node.level == 0:
            yield from _import(source, tree, node)


def _import(source: Source, tree: Tree, node: ast.ImportFrom) -> Iterator[Edit]:
    kept = [alias for alias in node.names if alias.name not in _ONLY_TYPES]
    if len(kept) == len(node.names) and node.module == "typing":
        return
    if any(alias.name not in TYPING for alias in kept):
        return   # something that is missed when it is gone: the import itself says so
    tree.rewritten.add(node)
    names = ", ".join(alias.name + (f" as {alias.asname}" if alias.asname else "") for alias in kept)
    yield _replaced(source, node, f"from typing import {names}" if kept else "pass")


def _is_typed_dict(node: ast.ClassDef) -> bool:
    """Fields and nothing else, below TypedDict."""
    bases = [base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "") for base in node.bases]
    plain = all(
        isinstance(item, ast.AnnAssign | ast.Pass) or (isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant))
        for item in node.body)
    return bases == ["TypedDict"] and plain and not node.decorator_list


def _replaced(source: Source, node: ast.AST, text: str) -> Edit:
    start, end = source.span(node)
    return (start, end, text + "\n" * source.data[start:end].count(b"\n"))
