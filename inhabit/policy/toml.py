"""TOML with positions: the values from `tomllib`, the place of each from a syntax tree of the same text.

`tomllib` alone decides what the text means; the tree only says where things stand, so that a difference between the
two readers can move a position in a message and nothing else.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import tree_sitter_toml
from tree_sitter import Language, Node, Parser

from inhabit.policy.problems import Place, Problem

__all__ = ["MAX_POLICY_BYTES", "Path", "Toml", "read_toml"]

MAX_POLICY_BYTES = 4 * 1024 * 1024
"""Ten thousand rules are about 2 MB."""
_LANGUAGE = Language(tree_sitter_toml.language())
_AT = re.compile(r" \(at line (\d+), column (\d+)\)")
Path = tuple[str | int, ...]
"""Keys and positions in lists: `("rule", 2, "when")`."""


class Toml(NamedTuple):
    value: Mapping[str, Any]
    places: Mapping[Path, Place]
    texts: Mapping[Path, str]
    """Each value as it is written, for places within it."""

    def place(self, path: Path) -> Place:
        """The place of a value, else of the nearest thing around it."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, Place(1, 1) if self.places else Place())

    def within(self, path: Path, line: int, column: int) -> Place:
        """The place of a line and column (from 1) inside of a string, where it is written without escapes."""
        start, raw = self.place(path), self.texts.get(path, "")
        for quote in ('"""', "'''", '"', "'"):
            if raw.startswith(quote) and "\\" not in raw:
                opened = 1 if len(quote) == 3 and raw[3:4] == "\n" else 0
                first = line == 1 and not opened
                return Place(start.line + opened + line - 1, column + (start.column + len(quote) - 1 if first else 0))
        return start


def read_toml(text: str) -> Toml | Problem:
    if len(text.encode("utf-8", "replace")) > MAX_POLICY_BYTES:
        return Problem("error", Place(1, 1), "", f"a policy has at most {MAX_POLICY_BYTES} bytes", "split it by tenant or program")
    try:
        value = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        found = _AT.search(str(error))
        place = Place(int(found[1]), int(found[2])) if found else Place(text.count("\n") + 1, 1)
        return Problem("error", place, "", _AT.sub("", str(error)) or "nested too deeply")
    places: dict[Path, Place] = {}
    texts: dict[Path, str] = {}
    for path, node in _walk(Parser(_LANGUAGE).parse(text.encode()).root_node):
        row, column = node.start_point
        places.setdefault(path, Place(row + 1, column + 1))
        texts.setdefault(path, (node.text or b"").decode())
    return Toml(value, places, texts)


def _walk(document: Node) -> Iterator[tuple[Path, Node]]:
    """Every value of the document with its path; a table's node is its header."""
    counts: dict[Path, int] = {}
    for node in document.named_children:
        if node.type == "pair":
            yield from _pair(node, ())
        elif node.type in ("table", "table_array_element"):
            base = _resolved(_keys(node.named_children[0]), counts, appended=node.type == "table_array_element")
            yield base, node
            for child in node.named_children[1:]:
                if child.type == "pair":
                    yield from _pair(child, base)


def _resolved(keys: tuple[str, ...], counts: dict[Path, int], *, appended: bool) -> Path:
    """The path of a header: a name of an array of tables means its last element so far."""
    path: Path = ()
    for number, key in enumerate(keys):
        path = (*path, key)
        if appended and number == len(keys) - 1:
            counts[path] = counts.get(path, -1) + 1
        if path in counts:
            path = (*path, counts[path])
    return path


def _pair(node: Node, base: Path) -> Iterator[tuple[Path, Node]]:
    key, value = node.named_children[0], node.named_children[1]
    path = (*base, *_keys(key))
    for length in range(len(base) + 1, len(path)):
        yield path[:length], node
    yield from _value(value, path)


def _value(node: Node, path: Path) -> Iterator[tuple[Path, Node]]:
    yield path, node
    children = [child for child in node.named_children if child.type != "comment"]
    if node.type == "array":
        for number, child in enumerate(children):
            yield from _value(child, (*path, number))
    elif node.type == "inline_table":
        for child in children:
            yield from _pair(child, path)


def _keys(node: Node) -> tuple[str, ...]:
    if node.type == "dotted_key":
        return tuple(key for child in node.named_children for key in _keys(child))
    text = (node.text or b"").decode()
    return (text[1:-1] if node.type == "quoted_key" else text,)
