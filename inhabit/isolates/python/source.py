"""The source as given: fences stripped, bounded, parsed, and walked once without recursion.

Hostile source is expected. Size and nesting are bounded on the text before Python's parser sees it, and whatever
the parser still raises is a problem with a place. Line numbers stay those of the source: a fence becomes an empty
line.
"""

from __future__ import annotations

import ast
import re
import warnings
from dataclasses import dataclass, field
from typing import Any

from inhabit.contracts.fences import only_fence
from inhabit.contracts.program import Problem
from inhabit.limits import CEILINGS

__all__ = ["Source", "Tree", "Unparsed", "parse", "unfence"]

_FENCE = re.compile(r"\A\s*(?P<mark>`{3,}|~{3,})[^\n`]*(?P<body>(?:\n.*?)??)(?:\n[ \t]*(?P=mark)[ \t]*(?P<rest>.*))?\Z", re.S)
_MAX_NESTING = 150
_MAX_RUN = 500
_OPERATOR_RUN = re.compile("|".join(rf"(?:{each}){{{_MAX_RUN}}}" for each in (r"[-+~]\s*", r"\bnot\s+", r"\blambda\s*:\s*", r"\bawait\s+")))
_MAX_NODES = 500_000


class Unparsed(Exception):
    """The source does not parse (`problem`); `newer` when a newer Python's grammar may allow it."""

    def __init__(self, problem: Problem, *, newer: bool = False) -> None:
        super().__init__(problem.message)
        self.problem = problem
        self.newer = newer


class Source:
    """Text with its lines, and places in it: lines and columns count from 1, columns in characters."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.data = text.encode("utf-8", "surrogatepass")
        self._starts = [0, *(match.end() for match in re.finditer(rb"\n", self.data))]

    def offset(self, line: int, column: int) -> int:
        """Byte offset of an `ast` position."""
        return self._starts[line - 1] + column

    def span(self, node: Any) -> tuple[int, int]:
        """Byte offsets of a node that has a place."""
        return self.offset(node.lineno, node.col_offset), self.offset(node.end_lineno, node.end_col_offset)

    def slice(self, node: ast.AST) -> str:
        start, end = self.span(node)
        return self.data[start:end].decode("utf-8", "replace")

    def place(self, node: ast.AST) -> tuple[int, int]:
        line = getattr(node, "lineno", None)
        if line is None:   # a comprehension has no place of its own
            node = getattr(node, "target", node)
            line = getattr(node, "lineno", 1)
        start = self._starts[line - 1]
        column = getattr(node, "col_offset", 0)
        return line, len(self.data[start:start + column].decode("utf-8", "replace")) + 1


@dataclass(slots=True)
class Tree:
    """A parsed program: every node in source order with its parent, and what the program binds itself."""

    module: ast.Module
    names: frozenset[str]
    nodes: list[ast.AST] = field(default_factory=list[ast.AST])
    parents: dict[ast.AST, ast.AST] = field(default_factory=dict[ast.AST, ast.AST])
    bound: dict[str, int] = field(default_factory=dict[str, int])
    rewritten: set[ast.AST] = field(default_factory=set[ast.AST])

    def ancestors(self, node: ast.AST) -> list[ast.AST]:
        found: list[ast.AST] = []
        while (parent := self.parents.get(node)) is not None:
            found.append(parent)
            node = parent
        return found

    def is_guarded_import(self, node: ast.AST) -> bool:
        """Inside a `try` whose handlers may catch the failed import."""
        return any(isinstance(parent, ast.Try) for parent in self.ancestors(node))

    def is_bound(self, name: str) -> bool:
        return name in self.bound


def unfence(source: str) -> str:
    """Without Markdown fences, the prose around the only one, and carriage returns; a program indented as a whole is moved to the margin."""
    text = source.replace("\r\n", "\n").replace("\r", "\n").lstrip("\ufeff")
    only = only_fence(text)
    if only is not None:
        return _dedent("\n" * text[:only.start].count("\n") + text[only.start:only.end])
    fenced = _FENCE.match(text)
    if fenced and not (fenced["rest"] or "").strip():
        text = "\n" * text[:fenced.start("body")].count("\n") + fenced["body"]
    return _dedent(text)


def _dedent(text: str) -> str:
    first = next((line for line in text.split("\n") if line.strip() and not line.lstrip().startswith("#")), "")
    indent = first[:len(first) - len(first.lstrip(" \t"))]
    if not indent:
        return text
    return "\n".join(line[len(indent):] if line.startswith(indent) else line for line in text.split("\n"))


def parse(text: str, names: frozenset[str]) -> tuple[Source, Tree]:
    """Raises `Unparsed`."""
    _bound(text)
    source = Source(text)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")   # invalid escapes in a guest's strings are not our warnings
            module = ast.parse(text, "program.py", "exec", type_comments=False)
    except SyntaxError as error:
        message = (error.msg or "invalid syntax").split(" (", 1)[0]
        problem = Problem(f"syntax: {message}", error.lineno or 1, error.offset or 1)
        raise Unparsed(problem, newer=True) from None
    except (RecursionError, MemoryError, ValueError, OverflowError) as error:
        why = str(error) if isinstance(error, ValueError) else "nested too deeply"
        raise Unparsed(Problem(f"the program does not parse: {why}", 1, 1, "size")) from None
    return source, _walk(module, names)


def _bound(text: str) -> None:
    size = len(text.encode("utf-8", "replace"))
    if size > CEILINGS.source_bytes:
        raise Unparsed(Problem(f"the program has {size} bytes; at most {CEILINGS.source_bytes}", 1, 1, "size"))
    line = _too_nested(text)
    if line:
        raise Unparsed(Problem(f"nested deeper than {_MAX_NESTING} levels", line, 1, "size"))
    if "\0" in text:
        raise Unparsed(Problem("the program contains a NUL character", text.count("\n", 0, text.index("\0")) + 1, 1))
    if any("\ud800" <= character <= "\udfff" for character in text) if not text.isascii() else False:
        raise Unparsed(Problem("the program contains half a surrogate pair", 1, 1))


def _too_nested(text: str) -> int:
    """The line where brackets or operators nest too deeply, else 0. Brackets in strings count too: a program
    with 150 unclosed brackets in its strings is refused, and that is accepted."""
    depth = 0
    for match in re.finditer(r"[([{]|[)\]}]", text):
        depth = depth + 1 if match[0] in "([{" else max(0, depth - 1)
        if depth > _MAX_NESTING:
            return text.count("\n", 0, match.start()) + 1
    run = _OPERATOR_RUN.search(text)
    return text.count("\n", 0, run.start()) + 1 if run else 0


def _walk(module: ast.Module, names: frozenset[str]) -> Tree:
    tree = Tree(module, names)
    stack: list[ast.AST] = [module]
    while stack:
        node = stack.pop()
        tree.nodes.append(node)
        if len(tree.nodes) > _MAX_NODES:
            raise Unparsed(Problem("the program is too large", 1, 1, "size"))
        for name in _binds(node):
            tree.bound[name] = tree.bound.get(name, 0) + 1
        children = list(ast.iter_child_nodes(node))
        for child in children:
            if not isinstance(child, ast.expr_context | ast.operator | ast.unaryop | ast.cmpop | ast.boolop):
                tree.parents[child] = node
        stack.extend(child for child in reversed(children) if child in tree.parents)
    return tree


def _binds(node: ast.AST) -> list[str]:
    match node:
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
            return [name]
        case ast.arg(arg=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.alias(name=name, asname=asname):
            return [asname or name.partition(".")[0]]
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            return [name]
        case ast.MatchMapping(rest=str(name)):
            return [name]
        case ast.Global(names=found) | ast.Nonlocal(names=found):
            return found
        case _:
            return []
