"""Types taken out in place: each becomes spaces, so that line and column of everything else stay as written.

What is more than a type is rewritten on the lines it stands on: enums and namespaces by the OXC compiler,
parameter properties by hand. Decorators have no counterpart and are reported.

Three hazards of erasing are met here: a statement that vanishes leaves a `;`, so that its neighbours do not run
into each other; `<T>{}` as an arrow's body keeps its meaning by parentheses; a return type that spans lines gives
its line breaks to the far side of the arrow.
"""

from __future__ import annotations

from collections.abc import Callable

from tree_sitter import Node

from inhabit.contracts.program import Problem
from inhabit.isolates.javascript.typescript.oxc import OxcError
from inhabit.isolates.javascript.typescript.tree import Edit, Item, Source, blank

__all__ = ["ERASED", "Stripper"]

ERASED = frozenset({
    "type_annotation", "type_parameters", "type_arguments", "asserts_annotation", "type_predicate_annotation",
    "opting_type_annotation", "omitting_type_annotation", "adding_type_annotation", "implements_clause",
    "accessibility_modifier", "override_modifier",
})
_STATEMENTS = frozenset({"type_alias_declaration", "interface_declaration", "ambient_declaration", "function_signature"})
_MEMBERS = frozenset({"abstract_method_signature", "method_signature", "index_signature"})
_COMPILED = frozenset({"enum_declaration", "internal_module", "module"})
_PARAMETERS = frozenset({"required_parameter", "optional_parameter"})
_CONTINUES = (b"(", b"[", b"`", b"+", b"-", b"/", b"*", b",", b".")
PRUNED = ERASED | _STATEMENTS | _MEMBERS | _COMPILED


class Stripper:
    """Collects the edits of one source. `compile_part` turns an enum or namespace into JavaScript."""

    def __init__(self, source: Source, compile_part: Callable[[bytes], bytes]) -> None:
        self.source = source
        self.compile_part = compile_part
        self.edits: list[Edit] = []
        self.problems: list[Problem] = []

    def visit(self, item: Item) -> None:
        """Called for each node of `source.walk(PRUNED)`."""
        kind, node = item.kind, item.node
        if kind in ERASED:
            self._erase_annotation(item)
        elif kind in _STATEMENTS:
            self._remove_statement(item)
        elif kind in _MEMBERS:
            self._replace(node, b";" + self._blank(node.start_byte + 1, node.end_byte))
        elif kind in _COMPILED:
            self._compile(item)
        elif not node.is_named:
            self._token(item)
        elif kind in {"as_expression", "satisfies_expression"}:
            self._erase_tail(item)
        elif kind == "type_assertion":
            self._keep_object_body(item)
        elif kind in _PARAMETERS:
            self._this_parameter(item)
        elif kind == "public_field_definition":
            self._ambient_field(node)
        elif kind == "method_definition":
            self._parameter_properties(item)
        elif kind == "decorator":
            self.problem(node, "decorators are not supported here: call the function on the class instead", "unsupported")

    def problem(self, node: Node, message: str, code: str) -> None:
        line, column = self.source.position(node.start_byte)
        self.problems.append(Problem(message, line, column, code))

    # ---- erasing ------------------------------------------------------------------------------------------

    def _blank(self, start: int, end: int) -> bytes:
        return blank(self.source.data[start:end])

    def _replace(self, node: Node, text: bytes) -> None:
        self.edits.append(Edit(node.start_byte, node.end_byte, text))

    def _erase(self, start: int, end: int) -> None:
        self.edits.append(Edit(start, end, self._blank(start, end)))

    def _erase_annotation(self, item: Item) -> None:
        node, parent = item.node, item.parent
        text = self._blank(node.start_byte, node.end_byte)
        if parent is not None and parent.kind == "type_assertion":
            return  # with its operand, in _keep_object_body
        if parent is not None and parent.kind == "arrow_function" and b"\n" in text:
            arrow = next((c for c in parent.node.children if c.type == "=>"), None)
            if arrow is not None:
                self.edits.append(Edit(arrow.end_byte, arrow.end_byte, b"\n" * text.count(b"\n")))
                text = text.replace(b"\n", b"").replace(b"\r", b"")
        if item.kind in {"accessibility_modifier", "override_modifier"} and _opens_member(item):
            text = b";" + text[1:]  # `a = 1` on the line above must not run into `private [b] = 2`
        self._replace(node, text)

    def _remove_statement(self, item: Item) -> None:
        target = item.node
        if item.parent is not None and item.parent.kind == "export_statement":
            target = item.parent.node
        self._replace(target, b";" + self._blank(target.start_byte + 1, target.end_byte))

    def _erase_tail(self, item: Item) -> None:
        """`x as T` and `x satisfies T`: everything after x."""
        node = item.node
        start = node.children[0].end_byte
        text = self._blank(start, node.end_byte)
        if self.source.data[node.end_byte:node.end_byte + 400].lstrip(b" \t").startswith((b"\n", b"\r")):
            follows = self.source.data[node.end_byte:node.end_byte + 400].lstrip()
            if follows.startswith(_CONTINUES[:3]) and _ends_statement(item):
                text = b";" + text[1:]
        self.edits.append(Edit(start, node.end_byte, text))

    def _keep_object_body(self, item: Item) -> None:
        """`<T>x`: the type goes; an object as an arrow's body gets parentheses."""
        node = item.node
        operand = node.children[-1]
        text = self._blank(node.start_byte, operand.start_byte)
        if operand.type == "object":
            text = b"(" + text[1:]
            self.edits.append(Edit(operand.end_byte, operand.end_byte, b")"))
        self.edits.append(Edit(node.start_byte, operand.start_byte, text))

    def _this_parameter(self, item: Item) -> None:
        node = item.node
        if any(child.type == "this" for child in node.children):
            rest = self.source.data[node.end_byte:node.end_byte + 400]
            comma = len(rest) - len(rest.lstrip())
            end = node.end_byte + comma + 1 if rest[comma:comma + 1] == b"," else node.end_byte
            self._erase(node.start_byte, end)

    def _ambient_field(self, node: Node) -> None:
        if any(child.type == "declare" for child in node.children) or any(child.type == "abstract" for child in node.children):
            self._replace(node, b";" + self._blank(node.start_byte + 1, node.end_byte))

    def _token(self, item: Item) -> None:
        """Words and marks that only types need."""
        node, parent = item.node, item.parent
        if parent is None:
            return
        owner, word = parent.kind, item.kind
        erased = (
            (word == "!" and owner in {"non_null_expression", "variable_declarator", "public_field_definition"})
            or (word == "?" and owner in {"optional_parameter", "public_field_definition", "method_definition"})
            or (word == "readonly" and owner in _PARAMETERS | {"public_field_definition"})
            or (word == "abstract" and owner == "abstract_class_declaration")
        )
        if erased:
            text = self._blank(node.start_byte, node.end_byte)
            if word == "readonly" and owner == "public_field_definition" and _opens_member(item):
                text = b";" + text[1:]
            self._replace(node, text)

    # ---- rewriting ------------------------------------------------------------------------------------------

    def _compile(self, item: Item) -> None:
        """An enum or namespace, compiled by itself and laid onto its own lines."""
        node = item.node
        if item.kind == "module" and not any(c.type == "identifier" for c in node.children):
            self._replace(node, b";" + self._blank(node.start_byte + 1, node.end_byte))
            return
        text = self.source.data[node.start_byte:node.end_byte]
        try:
            made = self.compile_part(text)
        except OxcError as error:
            self.problem(node, str(error), "syntax")
            return
        if made.startswith(b"let "):
            made = b"var " + made[4:]  # a namespace may be declared twice
        made = made.strip().replace(b"\r", b"")
        lines = text.count(b"\n")
        pieces = made.split(b"\n")
        if len(pieces) > lines + 1:  # the last line takes what is left
            pieces = [*pieces[:lines], b" ".join(p.strip() for p in pieces[lines:])]
        whole = b"\n".join(pieces) + b"\n" * (lines + 1 - len(pieces))
        self._replace(node, whole or b";")

    def _parameter_properties(self, item: Item) -> None:
        """`constructor(private x: T)` also sets `this.x`, after `super(...)` where there is one."""
        node = item.node
        name, parameters, body = (node.child_by_field_name(f) for f in ("name", "parameters", "body"))
        if name is None or parameters is None or body is None or self.source.text(name) != "constructor":
            return
        fields = [self.source.text(pattern) for p in parameters.children if p.type in _PARAMETERS
                  and any(c.type in {"accessibility_modifier", "override_modifier", "readonly"} for c in p.children)
                  and (pattern := p.child_by_field_name("pattern")) is not None]
        if not fields:
            return
        at = body.start_byte + 1
        for statement in body.named_children:
            if self.source.data[statement.start_byte:statement.start_byte + 6] in {b"super(", b"super "}:
                at = statement.end_byte
                break
        self.edits.append(Edit(at, at, "".join(f";this.{f}={f};" for f in fields).encode()))


def _opens_member(item: Item) -> bool:
    """Is this the first word of a class member that another member stands before?"""
    parent = item.parent
    return (parent is not None and parent.kind in {"public_field_definition", "method_definition"}
            and parent.node.start_byte == item.node.start_byte)


def _ends_statement(item: Item) -> bool:
    end = item.node.end_byte
    above = item.parent
    while above is not None and above.node.end_byte == end:
        if above.kind.endswith(("_statement", "_declaration")):
            return True
        above = above.parent
    return False
