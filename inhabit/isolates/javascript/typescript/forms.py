"""The forms a program may take, brought into one: the body of an async function that returns the result.

    statements with `await` and `return` anywhere      as they are
    statements that end in an expression               its value is the result, when there is no `return`
    a function alone (`async () => …`, `function f`)   called with `input`
    `export default …`                                 a function is called with `input`, else the value
    a Markdown fence around any of these               left out with the prose around it, lines keep their numbers
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tree_sitter import Node

from inhabit.contracts.fences import only_fence
from inhabit.contracts.program import Problem
from inhabit.isolates.javascript.typescript.tree import Edit, Item, Source, blank

__all__ = ["PREFIX", "Form", "unfenced"]

PREFIX = b"(async () => {"
"""Before the first line of every program; the guest takes its length off columns of line 1."""
_FENCE = re.compile(rb"\A\s*(```+|~~~+)[^\n]*\n(.*?)(?:\n\s*\1\s*)?\s*\Z", re.DOTALL)
_IGNORED = frozenset({"comment", "empty_statement", "hash_bang_line", ";"})
_FUNCTIONS = frozenset({"arrow_function", "function_expression", "function", "generator_function"})
_NO_IMPORT = "programs cannot import: capabilities and the usual globals are there without it"


def unfenced(source: bytes) -> bytes:
    """The code inside a Markdown fence that spans the source, or the only one in it, with blank lines in place of what was
    left out."""
    only = only_fence(source.decode("utf-8", "replace")) if b"```" in source else None
    if only is not None:
        text = source.decode("utf-8", "replace")
        start, end = len(text[:only.start].encode()), len(text[:only.end].encode())
    else:
        found = _FENCE.match(source)
        if found is None:
            return source
        start, end = found.span(2)
    return blank(source[:start]) + source[start:end] + blank(source[end:])


class Form:
    """Looks at the top level of one source and collects the edits that make it a function's body."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.edits: list[Edit] = []
        self.problems: list[Problem] = []
        self.ending = b""
        self._returns = False
        self._default: Node | None = None

    def visit(self, item: Item) -> None:
        """Called for each node. Notes whether the program itself returns."""
        if item.kind == "return_statement" and not item.nested:
            self._returns = True

    def finish(self) -> None:
        """Call once, after the walk."""
        statements = [child for child in self.source.root.children if child.type not in _IGNORED]
        for statement in statements:
            if statement.type == "import_statement":
                self._import(statement)
            elif statement.type == "export_statement":
                self._export(statement)
        if not statements:
            self.problems.append(Problem("the program is empty", 1, 1, "empty"))
        if self._default is not None or not statements:
            return
        last = statements[-1]
        if last.type == "expression_statement" and not self._returns:
            self._result(last)
        elif len(statements) == 1 and last.type == "function_declaration":
            name = last.child_by_field_name("name")
            if name is not None:
                self.ending = b";return " + self.source.data[name.start_byte:name.end_byte] + b"(input);"

    def _result(self, statement: Node) -> None:
        expression = statement.children[0]
        inner = expression
        while inner.type == "parenthesized_expression" and inner.named_child_count == 1:
            inner = inner.named_children[0]
        start, end = expression.start_byte, expression.end_byte
        if inner.type in _FUNCTIONS:
            self.edits += [Edit(start, start, b"return ("), Edit(end, end, b")(input);")]
        elif inner.type not in {"internal_module", "string"} or statement.start_byte != 0:
            self.edits.append(Edit(start, start, b"return "))

    def _import(self, statement: Node) -> None:
        words = [child.type for child in statement.children]
        specifiers = list(_specifiers(statement))
        only_types = "type" in words or (bool(specifiers) and all(any(c.type == "type" for c in s.children) for s in specifiers))
        if only_types:
            self._remove(statement)
        else:
            self._problem(statement, _NO_IMPORT, "import")

    def _export(self, statement: Node) -> None:
        kinds = [child.type for child in statement.children]
        if "type" in kinds:
            self._remove(statement)
        elif "from" in kinds:
            self._problem(statement, _NO_IMPORT, "import")
        elif "default" in kinds:
            self._export_default(statement)
        elif "export_clause" in kinds:
            self._remove(statement)
        elif statement.child_by_field_name("declaration") is not None:
            word = statement.children[0]
            self.edits.append(Edit(word.start_byte, word.end_byte, blank(b"export")))

    def _export_default(self, statement: Node) -> None:
        if self._default is not None:
            self._problem(statement, "there is a default export already", "syntax")
            return
        self._default = statement
        word = next(child for child in statement.children if child.type == "default")
        value = statement.child_by_field_name("declaration") or statement.child_by_field_name("value")
        name = value.child_by_field_name("name") if value is not None else None
        start, end = statement.children[0].start_byte, word.end_byte
        if value is None or value.type in {"interface_declaration", "type_alias_declaration"}:
            self._remove(statement)
        elif name is not None and value.type not in _FUNCTIONS:
            self.edits.append(Edit(start, end, blank(self.source.data[start:end])))
            chosen = self.source.data[name.start_byte:name.end_byte]
            self.ending = b";return typeof " + chosen + b'==="function"?' + chosen + b"(input):" + chosen + b";"
        else:
            gap = self.source.data[start:end]
            self.edits.append(Edit(start, end, b"$default=" + blank(gap[9:])))
            self.ending = b';var $default;return typeof $default==="function"?$default(input):$default;'

    def _remove(self, node: Node) -> None:
        self.edits.append(Edit(node.start_byte, node.end_byte, b";" + blank(self.source.data[node.start_byte + 1:node.end_byte])))

    def _problem(self, node: Node, message: str, code: str) -> None:
        line, column = self.source.position(node.start_byte)
        self.problems.append(Problem(message, line, column, code))


def _specifiers(statement: Node) -> Iterator[Node]:
    for clause in statement.children:
        if clause.type == "import_clause":
            for part in clause.children:
                if part.type == "named_imports":
                    yield from (child for child in part.children if child.type == "import_specifier")
                elif part.is_named:
                    yield part
