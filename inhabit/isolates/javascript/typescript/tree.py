"""The parsed source: nodes with their parents, edits that keep every line where it was.

Parsing is tree-sitter's, which never fails and never recurses. Walking here never recurses either, since the
depth of the tree is the program's to choose.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import tree_sitter_typescript
from tree_sitter import Language, Node, Parser

__all__ = ["FUNCTIONS", "Edit", "Item", "Source", "SourceParser", "apply_edits", "blank"]

_LINE_END = re.compile(rb"\n")
_LONG_LINE = 20_000
MAX_NODES = 600_000
"""Above what the largest allowed source gives when it is written by anyone in good faith."""


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace bytes `start` to `end` by `text`. Edits of one source never overlap."""

    start: int
    end: int
    text: bytes


FUNCTIONS = frozenset({
    "arrow_function", "function_expression", "function_declaration", "generator_function", "generator_function_declaration",
    "method_definition",
})
_CLASSES = frozenset({"class_declaration", "class", "abstract_class_declaration"})
_SCOPES = FUNCTIONS | {"program", "statement_block", "for_statement", "for_in_statement", "catch_clause", "class_body", "switch_body"}


@dataclass(slots=True)
class Item:
    """A node and where it hangs. `scope` is the innermost scope around it or it itself; `nested`: inside a function
    or class, so not the program's own statement. Both are handed down, since climbing would cost depth times size."""

    node: Node
    parent: Item | None
    kind: str
    scope: Item | None = None
    nested: bool = False

    def child(self, node: Node) -> Item:
        kind = node.type
        item = Item(node, self, kind, self.scope, self.nested or self.kind in FUNCTIONS or self.kind in _CLASSES)
        if kind in _SCOPES:
            item.scope = item
        return item


def blank(data: bytes) -> bytes:
    """Spaces for every character, line breaks kept."""
    return "".join(c if c in "\r\n\u2028\u2029" else " " for c in data.decode("utf-8", "replace")).encode()


def apply_edits(data: bytes, edits: list[Edit]) -> bytes:
    """`data` with all edits made. Where one lies inside another the outer one wins."""
    out: list[bytes] = []
    at = 0
    for edit in sorted(edits, key=lambda e: (e.start, e.end != e.start, -e.end)):  # insertions, then the widest
        if edit.start < at:
            continue
        out += (data[at:edit.start], edit.text)
        at = edit.end
    return b"".join((*out, data[at:]))


class Source:
    """UTF-8 source and its tree."""

    def __init__(self, data: bytes, root: Node) -> None:
        self.data = data
        self.root = root
        self._ascii = data.isascii()
        self._starts = [0, *(found.end() for found in _LINE_END.finditer(data))]

    def text(self, node: Node) -> str:
        return self.data[node.start_byte:node.end_byte].decode("utf-8", "replace")

    def position(self, at: int) -> tuple[int, int]:
        """Line and column from 1, columns in characters (in bytes far out on a very long line)."""
        line = bisect_right(self._starts, at)
        start = self._starts[line - 1]
        if self._ascii or at - start > _LONG_LINE:
            return line, at - start + 1
        return line, len(self.data[start:at].decode("utf-8", "replace")) + 1

    def walk(self, prune: frozenset[str] = frozenset()) -> Iterator[Item]:
        """Every node, parents before children, in source order. Nodes of a kind in `prune` come without their children."""
        top = Item(self.root, None, self.root.type)
        top.scope = top
        stack = [top]
        count = 0
        while stack:
            item = stack.pop()
            yield item
            count += 1
            if count > MAX_NODES:
                raise OverflowError("the program has too many parts")
            if item.kind not in prune and item.node.child_count:
                stack += [item.child(node) for node in reversed(item.node.children)]


class SourceParser:
    """tree-sitter with the TypeScript grammar, loaded once."""

    @cached_property
    def _parser(self) -> Parser:
        return Parser(Language(tree_sitter_typescript.language_typescript()))

    def parse(self, data: bytes) -> Source:
        return Source(data, self._parser.parse(data).root_node)
