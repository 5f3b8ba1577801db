"""Declarations in Python: what a model reads, and stub files that `ty` accepts.

An operation `shop.orders.cancel` is `async def cancel(self, *, order_id: str) -> Order` of the class behind
`shop.orders`; a result is plain data, so objects are `TypedDict`s. Objects without a name get one from where
they stand. Keys that cannot be class attributes use the functional form. A namespace in a stub has
`__getattr__`, so that what the stub leaves out is unknown and not wrong.
"""

from __future__ import annotations

import keyword
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import inhabit.catalog.shapes as shapes
from inhabit.catalog.naming import TypeNames
from inhabit.catalog.prose import effects_of, errors_of, one_line, summary_of
from inhabit.catalog.style import BARE, FULL, Style
from inhabit.contracts.operation import Operation

__all__ = ["STUB_HEADER", "Python", "python_file"]

STUB_HEADER = """\
from builtins import bool as _bool, dict as _dict, float as _float, int as _int, list as _list, str as _str
from typing import Any, Literal, Never, NotRequired, Required, TypeAlias, TypedDict
Binary = TypedDict("Binary", {"$binary": str, "type": str, "size": int})
"""
"""Built-in types under names that no method or key has: inside a class, `list` may be an operation."""

_ANY_OBJECT = shapes.Record(shapes.Anything())

RESERVED = frozenset(
    {"Any", "Literal", "Never", "NotRequired", "Required", "TypedDict", "Binary", "TypeAlias", "str", "int", "float", "bool",
     "list", "dict", "tuple", "object", "None", "self", "type", "print", "input", *keyword.kwlist, *keyword.softkwlist})
_SCALARS = {"string": "str", "number": "float", "integer": "int", "boolean": "bool"}


class Python:
    """Renders annotations, signatures and classes. `hoisted` collects classes made for nameless objects."""

    def __init__(self, names: TypeNames, style: Style = FULL, *, stub: bool = False) -> None:
        """`stub`: built-in types are written as the stub header names them."""
        self._names = names
        self._style = style
        self._mark = "_" if stub else ""
        self.hoisted: deque[str] = deque()

    # -- annotations ----------------------------------------------------------------------------------------------

    def type(self, shape: shapes.Shape, hint: str, depth: int = 0) -> str:
        """An annotation; `hint` names what a nameless object would be called."""
        match shape:
            case shapes.Anything():
                return "Any"
            case shapes.Never():
                return "Never"
            case shapes.Binary():
                return "Binary"
            case shapes.Scalar(name=name):
                return "None" if name == "null" else self._mark + _SCALARS[name]
            case shapes.Literals(values=values):
                return self._literals(values)
            case shapes.Ref():
                return self._names.of(shape)
            case shapes.Array(item=item):
                return f"{self._mark}list[{self.type(item, hint, depth)}]"
            case shapes.Tuple():
                return f"{self._mark}list[Any]"
            case shapes.Record(value=value):
                return f"{self._mark}dict[{self._mark}str, {self.type(value, hint, depth + 1)}]"
            case shapes.Union(options=options):
                return self._union(options, hint, depth)
            case shapes.Intersection():
                merged = _flattened(shape)
                return "Any" if merged is None else self.type(merged, hint, depth)
            case shapes.Object(properties=properties):
                if depth > self._style.depth or not properties:
                    return f"{self._mark}dict[{self._mark}str, Any]"
                return self._hoist(shape, hint, depth)

    def _union(self, options: Sequence[shapes.Shape], hint: str, depth: int) -> str:
        parts = dict.fromkeys(self.type(option, f"{hint}{place + 1}" if place else hint, depth) for place, option in enumerate(options))
        return "Any" if "Any" in parts else " | ".join(parts)

    def _literals(self, values: Sequence[object]) -> str:
        exact = [value for value in values if value is None or isinstance(value, str | bool | int)]
        kinds = dict.fromkeys("None" if v is None else self._mark + type(v).__name__ for v in values)
        if len(exact) < len(values):
            return " | ".join(kinds)
        if len(exact) > self._style.enum_values:
            return " | ".join(kinds)
        return f"Literal[{', '.join(text_literal(value) for value in exact)}]"

    def _hoist(self, shape: shapes.Object, hint: str, depth: int) -> str:
        name = self._names.fresh(hint)
        self.hoisted.append(self.typed_dict(name, shape, "", depth))
        return name

    # -- declarations ---------------------------------------------------------------------------------------------

    def typed_dict(self, name: str, shape: shapes.Object, note: str, depth: int = 0) -> str:
        """A TypedDict; in the functional form where a key is no attribute name."""
        doc = f"  # {note}" if note else ""
        if not all(_attribute(one.name) for one in shape.properties):
            inner = ", ".join(f"{text_literal(one.name)}: {self._wrapped(one, name, depth, 'NotRequired')}" for one in shape.properties)
            return f"{name} = TypedDict({text_literal(name)}, {{{inner}}}){doc}"
        lines = [self._field(one, name, depth) for one in shape.properties] or ["    pass"]
        return "\n".join([f"class {name}(TypedDict, total=False):{doc}", *lines])

    def _field(self, one: shapes.Property, owner: str, depth: int) -> str:
        note = one_line(one.note, self._style.note_chars) if depth < self._style.note_depth else ""
        return f"    {one.name}: {self._wrapped(one, owner, depth, 'Required')}{f'  # {note}' if note else ''}"

    def _wrapped(self, one: shapes.Property, owner: str, depth: int, mark: str) -> str:
        text = self.type(one.shape, owner + _pascal(one.name), depth + 1)
        return f"{mark}[{text}]" if one.required == (mark == "Required") else text

    def declaration(self, name: str, ref: shapes.Ref) -> str:
        """One named type: a TypedDict where it is an object, else an alias."""
        shape = ref.resolve()
        note = one_line(ref.note(), self._style.note_chars)
        if isinstance(shape, shapes.Intersection):
            shape = _flattened(shape) or _ANY_OBJECT
        if isinstance(shape, shapes.Object) and shape.properties:
            return self.typed_dict(name, shape, note)
        if shapes.alias_of_itself(ref):
            return f"{name}: TypeAlias = Any  # refers to nothing but itself"
        return f"{name}: TypeAlias = {self.type(shape, name + 'Option')}{f'  # {note}' if note else ''}"

    def parameters(self, operation: Operation) -> str:
        """`*, order_id: str, reason: Literal["late"] = ...`; required ones first."""
        shape = shapes.shape_of(operation.input_schema, shapes.Scope(operation.definitions))
        if isinstance(shape, shapes.Intersection):
            shape = _flattened(shape) or shape
        if not isinstance(shape, shapes.Object):
            return "**arguments: Any"
        if not shape.properties:
            return ""
        hint = _pascal(operation.function)
        known = [one for one in shape.properties if _parameter(one.name)]
        ordered = [one for one in known if one.required] + [one for one in known if not one.required]
        parts = [f"{one.name}: {self.type(one.shape, hint + _pascal(one.name), 1)}{'' if one.required else ' = ...'}" for one in ordered]
        if len(known) < len(shape.properties) or shape.extra is not None:
            parts.append("**more: Any")
        return ", ".join(parts if parts[0].startswith("**") else ["*", *parts])

    def result(self, operation: Operation, output: shapes.Shape | None) -> str:
        return "Any" if output is None else self.type(output, _pascal(operation.function) + "Result", 1)

    def signature(self, operation: Operation, output: shapes.Shape | None, *, observed: bool = False) -> str:
        """`async def shop.orders.cancel(*, order_id: str) -> Order  # Cancel. writes internal`: the call as it is
        written, for a model to read."""
        doc = summary_of(operation, self._style.doc_chars)
        facts = [doc.rstrip("."), effects_of(operation), errors_of(operation, self._style.errors), "result type observed" if observed else ""]
        notes = "; ".join(fact for fact in facts if fact)
        text = f"async def {operation.name}({self.parameters(operation)}) -> {self.result(operation, output)}"
        lines = [f"# {notes}", text] if notes else [text]
        return "\n".join([*lines, *self._parameter_notes(operation)])

    def _parameter_notes(self, operation: Operation) -> list[str]:
        if not self._style.note_depth:
            return []
        shape = shapes.shape_of(operation.input_schema, shapes.Scope(operation.definitions))
        if not isinstance(shape, shapes.Object):
            return []
        return [f"#   {one.name}: {note}" for one in shape.properties if (note := one_line(one.note, self._style.note_chars))]





def _flattened(shape: shapes.Intersection) -> shapes.Shape | None:
    """The intersection of objects as one object; None when a part is none."""
    properties: dict[str, shapes.Property] = {}
    stack: list[shapes.Shape] = list(reversed(shape.parts))
    seen: set[str] = set()
    while stack:
        part = stack.pop()
        if isinstance(part, shapes.Ref):
            if part.name not in seen:
                seen.add(part.name)
                stack.append(part.resolve())
        elif isinstance(part, shapes.Intersection):
            stack.extend(reversed(part.parts))
        elif isinstance(part, shapes.Object):
            for one in part.properties:
                old = properties.get(one.name)
                properties[one.name] = one if old is None else shapes.Property(one.name, one.shape, one.required or old.required, one.note or old.note)
        elif isinstance(part, shapes.Union):
            options = [option for option in part.options if option != shapes.Scalar("null")]
            if len(options) > 1:
                return None   # one of several objects: a TypedDict cannot say it
            stack.extend(options)
        elif not (isinstance(part, shapes.Record) and isinstance(part.value, shapes.Anything)):
            return None
    return shapes.Object(tuple(properties.values())) if properties else _ANY_OBJECT


# -- a whole file -----------------------------------------------------------------------------------------------------


class _Namespaces:
    """Classes of namespaces, made once all their operations are known."""

    def __init__(self) -> None:
        self._methods: dict[str, list[tuple[str, str]]] = {}
        self._children: dict[str, dict[str, None]] = {}

    def add(self, path: str, name: str, method: str) -> None:
        """`method` is what follows the name: parameters, result, body."""
        self._methods.setdefault(path, []).append((name, method))
        while "." in path:
            parent = path.rpartition(".")[0]
            self._children.setdefault(parent, {})[path] = None
            path = parent
        self._children.setdefault("", {})[path] = None

    def lines(self, *, open_ended: bool) -> Iterator[str]:
        paths = dict.fromkeys([*self._methods, *(path for path in self._children if path)])
        for path in sorted(paths, key=lambda one: -one.count(".")):
            yield f"class {_class_of(path)}:\n"
            children = self._children.get(path, {})
            for child in children:
                yield f"    {child.rpartition('.')[2]}: {_class_of(child)}\n"
            for name, method in self._methods.get(path, ()):
                if f"{path}.{name}" not in children:
                    yield f"    async def {name}{method}\n"
            for name, method in self._methods.get(path.rpartition(".")[0], ()):
                if f"{path.rpartition('.')[0]}.{name}" == path:   # an operation that is a namespace too
                    yield f"    async def __call__{method}\n"
            if open_ended:
                yield "    def __getattr__(self, name: _str) -> Any: ...\n"
        for root in self._children.get("", ()):
            yield f"{root}: {_class_of(root)}\n"


def python_file(operations: Iterable[tuple[Operation, shapes.Shape | None, bool]], *, open_ended: bool = False) -> Iterator[str]:
    """A stub in chunks: types as they are met, then one class a namespace, then a variable a root. With
    `open_ended` it is one for a check: no docs, and what it leaves out is `Any`."""
    yield STUB_HEADER
    pending: deque[tuple[str, shapes.Ref]] = deque()
    names = TypeNames(RESERVED, lambda name, ref: pending.append((name, ref)), capital=True)
    language = Python(names, BARE if open_ended else FULL, stub=True)
    spaces = _Namespaces()
    for operation, output, observed in operations:
        spaces.add(operation.capability, operation.function, _method(language, operation, output, observed, documented=not open_ended))
        while pending or language.hoisted:
            while language.hoisted:
                yield f"{language.hoisted.popleft()}\n"
            if pending:
                yield f"{language.declaration(*pending.popleft())}\n"
    yield from spaces.lines(open_ended=open_ended)


def _method(language: Python, operation: Operation, output: shapes.Shape | None, observed: bool, *, documented: bool) -> str:
    parameters = language.parameters(operation)
    result = language.result(operation, output)
    doc = summary_of(operation, 200).replace("\\", "\\\\").replace('"', "'") if documented else ""
    tail = f'\n        """{doc}"""' if doc else " ..."
    mark = "  # observed" if observed else ""
    comma = f", {parameters}" if parameters else ""
    return f"(self{comma}) -> {result}:{tail}{mark}"


def _class_of(path: str) -> str:
    return f"_{path.replace('.', '__')}"


# -- text ---------------------------------------------------------------------------------------------------------------


def text_literal(value: object) -> str:
    """A scalar as a Python literal, in ASCII."""
    return f'"{ascii(value)[1:-1]}"' if isinstance(value, str) and "'" not in value and '"' not in value else ascii(value)


def _attribute(name: str) -> bool:
    """Whether a key can be a class attribute here: capitals are left to type names."""
    return _parameter(name) and not name[0].isupper()


def _parameter(name: str) -> bool:
    return name.isidentifier() and name.isascii() and not keyword.iskeyword(name) and not name.startswith("__") and name != "self"


def _pascal(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in name.replace("-", "_").split("_"))
