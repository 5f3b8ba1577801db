"""Conditions in CEL: compiled and type-checked once, then pure functions of the facts of a call.

Model: CEL's own C++ evaluator does the judging; it bounds iterations, matches regular expressions in linear time and
knows no loops but over what it is given. A condition is handed only the fields it refers to.

Invariants
- Whatever a program sent, a condition answers or raises `Unjudgeable`, and a condition that cannot be judged denies.
- What the evaluator reads is what the connector will read. Text with NUL (which CEL cuts off there), lone surrogates,
  numbers beyond 64 bits and NaN are not passed on: they cannot be judged.
- Work is bounded before it is begun: text, facts in number, characters and depth.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from cel_expr_python import cel

from inhabit.contracts.json import is_array, is_object
from inhabit.kernel.policy import Condition, Unjudgeable
from inhabit.policy.expression import EVERY, Node, ReadPath, path_of, reads, tree
from inhabit.policy.urls import below, host

__all__ = ["FACTS", "MAX_EXPRESSION_CHARS", "MAX_FACT_CHARS", "MAX_FACT_VALUES", "CelCondition", "CelError", "Fault", "compiled"]

MAX_EXPRESSION_CHARS = 4_000
MAX_FACT_VALUES = 20_000
"""Values handed to one evaluation: CEL itself stops after 10,000 iterations."""
MAX_FACT_CHARS = 512 * 1024
MAX_FACT_DEPTH = 64
_T = cel.Type
_MAP = _T.Map(_T.STRING, _T.DYN)
FACTS: Mapping[str, frozenset[str] | None] = {
    "args": None,
    "usage": None,
    "operation": frozenset(),
    "now": frozenset(),
    "principal": frozenset({"tenant", "user", "agent"}),
    "run": frozenset({"id", "program", "language", "origin", "attended", "planning", "calls"}),
    "effects": frozenset({"reads", "trust", "writes", "irreversible", "idempotent"}),
    "labels": frozenset({"private", "untrusted"}),
}
"""What a condition may name, and the fields of each; None: depends on the operation or the policy."""
_TYPES = dict.fromkeys(FACTS, _MAP) | {"operation": _T.STRING, "now": _T.TIMESTAMP}
_FUNCTIONS = [
    cel.FunctionDecl("below", [cel.Overload("below", _T.BOOL, [_T.STRING, _T.STRING], False, below)]),
    cel.FunctionDecl("host", [cel.Overload("host", _T.STRING, [_T.STRING], False, host)]),
    cel.FunctionDecl("lower", [cel.Overload("lower", _T.STRING, [_T.STRING], True, str.lower)]),
]
_ENVIRONMENT = cel.NewEnv(variables=_TYPES, functions=_FUNCTIONS)
_FAULT = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): ((?:(?!\n \||\nERROR:| \[[A-Z_]+\]$).)*)", re.DOTALL)
_STATUS = re.compile(r"^[A-Z_]+: | \[[A-Z_]+\]$")
_ANSWERS = frozenset({bool, int, float, str})
_SHORT = 1_000
_SMALL = 2**62
_SCALARS = frozenset({"BOOL", "INT", "UINT", "DOUBLE", "STRING", "DYN"})
Wanted = Mapping[str, Any]
"""Fields by name, each with the fields wanted of it; None is all of it."""


class Fault(NamedTuple):
    """Line and column (from 1) within the expression."""

    line: int
    column: int
    message: str


class CelError(Exception):
    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__(faults[0].message)
        self.faults = faults


class CelCondition(Condition):
    """`reads`: dotted paths. `gives`: the type of the answer in CEL's words (`BOOL`, `INT`, …, or `DYN`: not known)."""

    __slots__ = ("_expression", "_name", "_wanted", "gives", "paths", "reads", "root", "text")

    def __init__(self, text: str, expression: Any) -> None:
        self.text = text
        self.root: Node = tree(expression.serialize())
        self.paths = frozenset(path for path in reads(self.root) if path[0] in FACTS)
        self.reads = frozenset(".".join(path) for path in self.paths)
        self.gives: str = expression.return_type().name()
        self._expression = expression
        self._wanted = tuple((name, fields, _flat(fields)) for name, fields in _wanted(self.paths).items())
        self._name = _bare(self.root)

    def __call__(self, facts: Mapping[str, Any], /) -> Any:
        if self._name is not None:
            return _answer(_named(facts, self._name))
        given: dict[str, Any] = {}
        for name, fields, flat in self._wanted:
            if flat is not None:
                given[name] = _fields(facts[name], flat)
            elif name == "now":
                given[name] = _moment(facts[name])
            else:
                given[name] = _projected(facts[name], fields, _Room(), MAX_FACT_DEPTH)
        try:
            answer = self._expression.eval(data=given)
            value = answer.value()
        except (RuntimeError, ValueError, TypeError, OverflowError, SystemError) as error:
            raise Unjudgeable(_said(str(error))) from None
        if type(value) is str and answer.type().name() != "STRING":
            raise Unjudgeable(_said(value))     # an error comes as its text
        return _answer(value)


def compiled(text: str) -> CelCondition:
    """Raises `CelError` with everything that is wrong."""
    if len(text) > MAX_EXPRESSION_CHARS:
        raise CelError((Fault(1, 1, f"an expression has at most {MAX_EXPRESSION_CHARS} characters"),))
    if not text.strip():
        raise CelError((Fault(1, 1, "the expression is empty"),))
    try:
        expression = _ENVIRONMENT.compile(text)
    except (RuntimeError, ValueError, TypeError, UnicodeError) as error:
        raise CelError(_faults(str(error))) from None
    if expression.return_type().name() not in _SCALARS:
        raise CelError((Fault(1, 1, "the expression gives a list, a map or a time; a truth value, a number or text is needed"),))
    return CelCondition(text, expression)


def _faults(text: str) -> tuple[Fault, ...]:
    found = [Fault(max(int(line), 1), max(int(column), 1), message.replace(" (in container '')", "").strip())
             for line, column, message in _FAULT.findall(text)]
    return tuple(found) or (Fault(1, 1, _STATUS.sub("", _STATUS.sub("", text)) or "it cannot be compiled"),)


def _said(text: str) -> str:
    """The evaluator's words without its status codes, and never long: they may quote what a program sent."""
    return _STATUS.sub("", _STATUS.sub("", text))[:200]


def _answer(value: Any) -> Any:
    if type(value) not in _ANSWERS:
        raise Unjudgeable("its answer is no truth value, number or text")
    return value


def _bare(root: Node) -> tuple[str, str] | None:
    """Where an expression is nothing but a field (`args.customer`), it needs no evaluator."""
    path = path_of(root, {}) if root.kind == "select" else None
    return (path[0], path[1]) if path is not None and len(path) == 2 and path[0] in FACTS and path[1] != EVERY else None


def _named(facts: Mapping[str, Any], name: tuple[str, str]) -> Any:
    fields = facts[name[0]]
    if name[1] not in fields:
        raise Unjudgeable(f"no such field: {name[1]}")
    return _fields(fields, (name[1],))[name[1]]


def _flat(fields: Wanted | None) -> tuple[str, ...] | None:
    """The names, where whole fields are wanted and nothing within them: the usual case."""
    if fields is None or EVERY in fields or any(inner is not None for inner in fields.values()):
        return None
    return tuple(fields)


def _fields(source: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    room: _Room | None = None
    for name in names:
        if name in source:
            value = source[name]
            if not ((isinstance(value, str) and len(value) <= _SHORT and value.isascii() and "\0" not in value)
                    or (isinstance(value, int) and -_SMALL < value < _SMALL)):
                room = room or _Room()
                value = _plain(value, room, MAX_FACT_DEPTH)
            found[name] = value
    return found


def _wanted(paths: frozenset[ReadPath]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path in paths:
        node = found
        for name in path[:-1]:
            node = node.setdefault(name, {})
        node[path[-1]] = None
    return found


class _Room:
    """What may still be handed over."""

    __slots__ = ("chars", "values")

    def __init__(self) -> None:
        self.values = MAX_FACT_VALUES
        self.chars = MAX_FACT_CHARS

    def take(self, depth: int) -> None:
        self.values -= 1
        if self.values < 0 or depth < 0:
            raise Unjudgeable(f"more than {MAX_FACT_VALUES} values, or more than {MAX_FACT_DEPTH} levels, to look at")


def _projected(value: Any, wanted: Wanted | None, room: _Room, depth: int) -> Any:
    """`value` with the wanted fields alone, every part of it such that CEL reads it as we do."""
    if wanted is not None and is_object(value):
        room.take(depth)
        if EVERY in wanted:
            fields = _merged(wanted)
            return {_text(key, room): _projected(item, fields, room, depth - 1) for key, item in value.items()}
        return {name: _projected(value[name], wanted[name], room, depth - 1) for name in wanted if name in value}
    if wanted is not None and EVERY in wanted and is_array(value):
        room.take(depth)
        fields = wanted[EVERY]
        return [_projected(item, fields, room, depth - 1) for item in value]
    return _plain(value, room, depth)


def _merged(wanted: Wanted) -> Wanted | None:
    """Of a map that is read both by name and as a whole: everything, unless it is only the latter."""
    return wanted[EVERY] if len(wanted) == 1 else None


def _plain(value: Any, room: _Room, depth: int) -> Any:
    room.take(depth)
    if isinstance(value, str):
        return _text(value, room)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if not -2**63 <= value < 2**63:
            raise Unjudgeable("a number beyond 64 bits")
        return value
    if isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            raise Unjudgeable("a number that is not finite")
        return value
    if is_array(value):
        return [_plain(item, room, depth - 1) for item in value]
    if is_object(value):
        return {_text(key, room): _plain(item, room, depth - 1) for key, item in value.items()}
    raise Unjudgeable(f"a value of type {type(value).__name__}")


def _text(text: Any, room: _Room) -> str:
    if not isinstance(text, str):
        raise Unjudgeable("a name that is no text")
    room.chars -= len(text)
    if room.chars < 0:
        raise Unjudgeable(f"more than {MAX_FACT_CHARS} characters to look at")
    if "\0" in text:
        raise Unjudgeable("text with a NUL character")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise Unjudgeable("text with half a character (a lone surrogate)")
    return text


def _moment(now_ms: Any) -> datetime:
    try:
        return datetime.fromtimestamp(now_ms / 1000, UTC)
    except (ValueError, OverflowError, OSError, TypeError):
        raise Unjudgeable("the clock is beyond the years 1 to 9999") from None
