"""The parsed source: nodes with their parents, edits that keep every line where it was.

Parsing is tree-sitter's, which never fails and never recurses. Walking here never recurses either, since the
depth of the tree is the program's to choose.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import tree_sitter_typescript
from tree_sitter import Language, Node, Parser

__all__ = ["Edit", "Item", "Source", "SourceParser", "apply_edits", "blank"]

MAX_NODES = 1_500_000
"""Above what the largest allowed source gives when it is written by anyone in good faith."""


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace bytes `start` to `end` by `text`. Edits of one source never overlap."""

    start: int
    end: int
    text: bytes


@dataclass(slots=True)
class Item:
    """A node and where it hangs. `scope` is filled by whoever needs scopes."""

    node: Node
    parent: Item | None
    kind: str


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


@dataclass(slots=True)
class Source:
    """UTF-8 source and its tree."""

    data: bytes
    root: Node

    def text(self, node: Node) -> str:
        return self.data[node.start_byte:node.end_byte].decode("utf-8", "replace")

    def position(self, at: int) -> tuple[int, int]:
        """Line and column from 1, columns in characters."""
        line = self.data.count(b"\n", 0, at) + 1
        start = self.data.rfind(b"\n", 0, at) + 1
        return line, len(self.data[start:at].decode("utf-8", "replace")) + 1

    def walk(self, prune: frozenset[str] = frozenset()) -> Iterator[Item]:
        """Every node, parents before children, in source order. Nodes of a kind in `prune` come without their children."""
        stack = [Item(self.root, None, self.root.type)]
        count = 0
        while stack:
            item = stack.pop()
            yield item
            count += 1
            if count > MAX_NODES:
                raise OverflowError("the program has too many parts")
            if item.kind not in prune and item.node.child_count:
                stack += [Item(child, item, child.type) for child in reversed(item.node.children)]


class SourceParser:
    """tree-sitter with the TypeScript grammar, loaded once."""

    @cached_property
    def _parser(self) -> Parser:
        return Parser(Language(tree_sitter_typescript.language_typescript()))

    def parse(self, data: bytes) -> Source:
        return Source(data, self._parser.parse(data).root_node)
