"""Types before the run: Monty carries `ty`, which checks the program as it was written against the stubs.

Only findings that are wrong whenever they are reported are passed on: a parameter that does not exist or is
missing, a literal of another type, a field that no such object has, a call that was not awaited, a name that is
bound nowhere. What depends on data (a value that may be None, a field that may be absent) is left to the run.
One check takes 10-20 ms. The report is ty's concise one: the JSON of 1.4.0 panics when a finding points into a stub.
"""

from __future__ import annotations

import re

from inhabit.contracts.program import Problem

__all__ = ["GATE", "STUB_PRELUDE", "problems_of", "roots_of"]

GATE = "gate·closed()\n"
"""The first line of what is checked: a name that no program has, so the check always finds something and the program
never runs."""

STUB_PRELUDE = """\
from typing import Any
input: Any
anything·: Any
class OperationError(RuntimeError):
    code: str
    message: str
    operation: str
    details: Any
    retryable: bool
    effect: str
    fix: str
"""

_MAX_PROBLEMS = 20
_FINDING = re.compile(r"^main\.py:(?P<line>\d+):(?P<column>\d+): error\[(?P<code>[\w-]+)\] (?P<message>.*)$", re.M)
_CERTAIN = frozenset({
    "unknown-argument", "missing-argument", "too-many-positional-arguments", "parameter-already-assigned", "missing-typed-dict-key",
})
_ROOT = re.compile(r"^([A-Za-z]\w*): _\w+$", re.M)
_OBJECT = re.compile(r"^class (\w+)\(TypedDict|^(\w+) = TypedDict\(", re.M)
_OPERATION = re.compile(r"\bbound method `_(?P<space>\w+)\.(?P<name>\w+)`")
_ARGUMENT = re.compile(r"Expected `(?P<expected>.+)`, found `(?P<found>.+)`\Z", re.S)
_SCALARS = frozenset({"str", "int", "float", "bool", "None", "bytes"})
_ATTRIBUTE = re.compile(r"Object of type `(?P<type>[^`]+)` has no attribute `(?P<name>\w+)`")
_KEY_OF_LIST = re.compile(r"key of type `Literal\[(?P<key>\"[^`]*\")\]` on object of type `list\[")
_FIELD = re.compile(r"Invalid argument to key .* on TypedDict `\w+`: value of type `Literal\[")
_UNRESOLVED = re.compile(r"Name `(?P<name>\w+)` used when not defined")


def roots_of(stubs: str) -> frozenset[str]:
    """The namespaces that stubs declare."""
    return frozenset(_ROOT.findall(stubs))


def problems_of(report: str, stubs: str, bound: frozenset[str]) -> tuple[Problem, ...]:
    """From ty's concise report. `bound`: names that exist without a stub."""
    objects = frozenset(name or other for name, other in _OBJECT.findall(stubs))
    found: list[Problem] = []
    for finding in _FINDING.finditer(report):
        said = _said(finding["code"], finding["message"], objects, bound)
        line = int(finding["line"]) - 1   # the gate is the first
        if said is not None and line > 0:
            found.append(Problem(said, line, int(finding["column"]), "type"))
    return tuple(found[:_MAX_PROBLEMS])


def _said(code: str, message: str, objects: frozenset[str], bound: frozenset[str]) -> str | None:
    """The message as it is shown, or None when it is not certain."""
    if "`CoroutineType[" in message:
        return "a call that was not awaited is used as its result: write `await` before it"
    if code in _CERTAIN:
        return _readable(message) if _OPERATION.search(message) or code == "missing-typed-dict-key" else None
    if code == "invalid-argument-type":
        return _argument(message)
    if code == "invalid-key":
        return message if "did you mean" in message else None
    if code == "unresolved-attribute":
        return _attribute(message, objects)
    if code == "unresolved-reference":
        name = _UNRESOLVED.search(message)
        return f"name {name['name']} is not defined" if name and name["name"] not in bound else None
    return None


def _argument(message: str) -> str | None:
    """A scalar or container where it cannot fit; a wider type may be right at run time."""
    key = _KEY_OF_LIST.search(message)
    if key:
        return f"a list has positions, not the key {key['key']}: loop over it, or take one with [0]"
    if _FIELD.search(message):
        return message
    parts = _ARGUMENT.search(message)
    if parts is None or not _OPERATION.search(message):
        return None
    expected, found = parts["expected"], parts["found"]
    literal = (found.startswith("Literal[") and found.endswith("]")) or found.endswith("*") or found == "None"
    plain = found in _SCALARS - {"float"} and "Literal[" not in expected
    container = found.startswith(("list[", "dict[", "tuple[")) and set(expected.split(" | ")) <= _SCALARS
    return _readable(message).replace("*`", "`") if literal or plain or container else None


def _attribute(message: str, objects: frozenset[str]) -> str | None:
    parts = _ATTRIBUTE.search(message)
    if parts is None:
        return None
    if parts["type"] in objects:
        return f"results are plain dicts: write [\"{parts['name']}\"] in place of .{parts['name']}"
    if parts["type"].startswith("list[") and parts["type"].endswith("]") and " | " not in parts["type"].rpartition("]")[2]:
        return f"a list has no {parts['name']}: loop over it, or take one with [0]"
    return None


def _readable(message: str) -> str:
    return _OPERATION.sub(lambda found: f"{found['space'].replace('__', '.')}.{found['name']}", message)
