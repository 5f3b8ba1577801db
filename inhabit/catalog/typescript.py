"""Declarations in TypeScript: what a model reads, and whole `.d.ts` files that `tsc --strict` accepts.

An operation `shop.orders.cancel` is `function cancel(args: {…}): Promise<…>` in `namespace shop.orders`; types
live in the namespace of their capability's root. Text from upstream only ever appears in comments and string
literals, escaped, and can end neither.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import orjson

import inhabit.catalog.shapes as shapes
from inhabit.catalog.naming import TypeNames
from inhabit.catalog.prose import effects_of, errors_of, one_line, summary_of
from inhabit.catalog.style import FULL, Style
from inhabit.contracts.operation import Operation

__all__ = ["BINARY_DECLARATION", "RESERVED", "TypeScript", "literal", "typescript_file"]

BINARY_DECLARATION = "interface Binary { $binary: string; type: string; size: number }"

RESERVED = frozenset(
    ["any", "unknown", "never", "void", "null", "undefined", "string", "number", "boolean", "object", "symbol", "bigint", "Promise", "Array", "Record", "Binary", "ReadonlyArray", "Partial", "Object", "Function", "String", "Number", "Boolean", "Symbol", "Date", "Error", "Map", "Set", "RegExp", "JSON", "Math", "break", "case", "catch", "class", "const", "continue", "debugger", "default", "delete", "do", "else", "enum", "export", "extends", "false", "finally", "for", "function", "if", "import", "in", "instanceof", "new", "return", "super", "switch", "this", "throw", "true", "try", "typeof", "var", "while", "with", "as", "implements", "interface", "let", "package", "private", "protected", "public", "static", "yield", "async", "await", "of", "type", "namespace", "module", "declare", "abstract", "infer", "is", "keyof", "readonly", "require", "unique", "global", "globalThis", "intrinsic"])
_IDENTIFIER = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*\Z")
_SCALARS = {"string": "string", "number": "number", "integer": "number", "boolean": "boolean", "null": "null"}


class TypeScript:
    """Renders shapes, signatures and types of one namespace."""

    def __init__(self, names: TypeNames, style: Style = FULL) -> None:
        self._names = names
        self._style = style

    # -- types --------------------------------------------------------------------------------------------------

    def type(self, shape: shapes.Shape, indent: int = 0, depth: int = 0) -> str:
        """A type expression; continuation lines are indented by `indent` spaces and more."""
        match shape:
            case shapes.Anything():
                return "unknown"
            case shapes.Never():
                return "never"
            case shapes.Binary():
                return "Binary"
            case shapes.Scalar(name=name):
                return _SCALARS[name]
            case shapes.Literals(values=values):
                return self._literals(values)
            case shapes.Ref():
                return self._names.of(shape)
            case shapes.Array(item=item):
                return f"{self._operand(item, indent, depth)}[]"
            case shapes.Tuple():
                return self._tuple(shape, indent, depth)
            case shapes.Record(value=value):
                return f"{{ [key: string]: {self.type(value, indent, depth + 1)} }}"
            case shapes.Union(options=options):
                return " | ".join(self._operand(option, indent, depth, "&") for option in options)
            case shapes.Intersection(parts=parts):
                return " & ".join(self._operand(part, indent, depth) for part in parts)
            case shapes.Object():
                return self._object(shape, indent, depth)

    def _operand(self, shape: shapes.Shape, indent: int, depth: int, also: str = "") -> str:
        text = self.type(shape, indent, depth)
        compound = isinstance(shape, shapes.Union) or (isinstance(shape, shapes.Intersection) and also != "&") or (
            isinstance(shape, shapes.Literals) and len(shape.values) > 1 and also != "&") or (isinstance(shape, shapes.Object) and " & {" in text)
        return f"({text})" if compound else text

    def _literals(self, values: Sequence[object]) -> str:
        shown = [literal(value) for value in values]
        if len(shown) <= self._style.enum_values:
            return " | ".join(shown)
        kinds = " | ".join(dict.fromkeys("null" if v is None else "boolean" if isinstance(v, bool) else
                                         "string" if isinstance(v, str) else "number" for v in values))
        return f"{kinds} /* one of {len(shown)}: {comment(', '.join(shown[: self._style.enum_values]))}, … */"

    def _tuple(self, shape: shapes.Tuple, indent: int, depth: int) -> str:
        items = [self._operand(item, indent, depth) + ("?" if place >= shape.required else "") for place, item in enumerate(shape.items)]
        if shape.rest is not None:
            items.append(f"...{self._operand(shape.rest, indent, depth)}[]")
        return f"[{', '.join(items)}]"

    def _object(self, shape: shapes.Object, indent: int, depth: int) -> str:
        if depth >= self._style.depth:
            return "object"
        body = self.members(shape, indent, depth)
        if shape.extra is not None and not isinstance(shape.extra, shapes.Anything):
            return f"{body} & {{ [key: string]: {self.type(shape.extra, indent, depth + 1)} }}"
        return body

    def members(self, shape: shapes.Object, indent: int, depth: int = 0) -> str:
        """`{ a: string; b?: number }`: on one line where it is short and nothing needs a comment."""
        lines = [self._member(one, indent + 2, depth) for one in shape.properties]
        if isinstance(shape.extra, shapes.Anything):
            lines.append("[key: string]: unknown;")
        if not lines:
            return "{}"
        flat = " ".join(lines)
        if len(flat) <= 100 and "\n" not in flat and "//" not in flat:
            return f"{{ {flat.removesuffix(';')} }}"
        pad = " " * indent
        return "{\n" + "".join(f"{pad}  {line}\n" for line in lines) + pad + "}"

    def _member(self, one: shapes.Property, indent: int, depth: int) -> str:
        text = f"{property_name(one.name)}{'' if one.required else '?'}: {self.type(one.shape, indent, depth + 1)};"
        note = one_line(one.note, self._style.note_chars) if depth < self._style.note_depth else ""
        if not note:
            return text
        return f"/** {comment(note)} */ {text}" if "\n" in text else f"{text} // {line_comment(note)}"

    # -- declarations -------------------------------------------------------------------------------------------

    def declaration(self, name: str, ref: shapes.Ref) -> str:
        """One named type, as an interface where it can be one."""
        shape = ref.resolve()
        note = one_line(ref.note(), self._style.note_chars)
        head = f"/** {comment(note)} */\n" if note else ""
        if isinstance(shape, shapes.Object) and (shape.extra is None or isinstance(shape.extra, shapes.Anything)):
            return f"{head}interface {name} {self.members(shape, 0)}"
        if shapes.alias_of_itself(ref):
            return f"{head}type {name} = unknown; // refers to nothing but itself"
        return f"{head}type {name} = {self.type(shape)};"

    def signature(self, operation: Operation, output: shapes.Shape | None, *, observed: bool = False) -> str:
        """`function list(args: {…}): Promise<Order[]>; // reads private`, with a doc line where the style has one."""
        scope = shapes.Scope(operation.definitions)
        doc = summary_of(operation, self._style.doc_chars)
        head = f"/** {comment(doc)} */\n" if doc else ""
        result = "unknown" if output is None else self.type(output, 0, 1)
        mark = " /* observed */" if observed and output is not None else ""
        tail = "; ".join(part for part in (effects_of(operation), errors_of(operation, self._style.errors)) if part)
        note = f" // {line_comment(tail)}" if tail else ""
        return (f"{head}function {operation.function}({self._arguments(shapes.shape_of(operation.input_schema, scope))}): "
                f"Promise<{result}{mark}>;{note}")

    def _arguments(self, shape: shapes.Shape) -> str:
        match shape:
            case shapes.Object(properties=properties) if not properties:
                return ""
            case shapes.Object(properties=properties, extra=extra):
                mark = "" if any(one.required for one in properties) else "?"
                closed = shapes.Object(properties, None if isinstance(extra, shapes.Anything) else extra)
                return f"args{mark}: {self.type(closed)}"
            case shapes.Record(value=shapes.Anything()):
                return "args?: { [key: string]: unknown }"
            case shapes.Anything():
                return "args?: { [key: string]: unknown }"
            case _:
                return f"args: {self.type(shape)}"


# -- a whole file ---------------------------------------------------------------------------------------------------


def typescript_file(operations: Iterable[tuple[Operation, shapes.Shape | None, bool]]) -> Iterator[str]:
    """A `.d.ts` in chunks. Operations come as (operation, output shape, observed), those of one root together."""
    yield "// Types of the operations a program can call.\n"
    yield f"{BINARY_DECLARATION}\n"
    root = ""
    writer: _NamespaceWriter | None = None
    for operation, output, observed in operations:
        head = operation.name.split(".", 1)[0]
        if writer is None or head != root:
            if writer is not None:
                yield from writer.end()
            root, writer = head, _NamespaceWriter(head)
            yield writer.start()
        yield from writer.operation(operation, output, observed)
    if writer is not None:
        yield from writer.end()


class _NamespaceWriter:
    """Streams one root namespace. Each operation opens and closes its own path: TypeScript merges namespaces."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._pending: deque[tuple[str, shapes.Ref]] = deque()
        self._language = TypeScript(TypeNames(RESERVED, lambda name, ref: self._pending.append((name, ref))))

    def start(self) -> str:
        return f"declare namespace {self._root} {{\n"

    def operation(self, operation: Operation, output: shapes.Shape | None, observed: bool) -> Iterator[str]:
        path = operation.name.split(".")[1:-1]
        text = self._language.signature(operation, output, observed=observed)
        opening = "".join(f"namespace {part} {{ " for part in path)
        yield f"{opening}\n{text}\n{'}' * len(path)}\n" if path else f"{text}\n"
        yield from self._types()

    def end(self) -> Iterator[str]:
        yield from self._types()
        yield "}\n"

    def _types(self) -> Iterator[str]:
        while self._pending:
            name, ref = self._pending.popleft()
            yield f"{self._language.declaration(name, ref)}\n"


# -- text -------------------------------------------------------------------------------------------------------------


def property_name(name: str) -> str:
    """A property's name, quoted where it must be."""
    return name if _IDENTIFIER.match(name) else literal(name)


def literal(value: object) -> str:
    """A JSON scalar as a TypeScript literal."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    text = orjson.dumps(value).decode()
    return text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def comment(text: str) -> str:
    """Text that cannot end a block comment."""
    return text.replace("*/", "*∕")


def line_comment(text: str) -> str:
    """Text that cannot end a line comment."""
    return " ".join(text.split())
