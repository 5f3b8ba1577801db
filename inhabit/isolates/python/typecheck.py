"""Types before the run: Monty carries `ty`, which checks the program as it was written against the stubs.

Only findings that are wrong whenever they are reported are passed on: a parameter that does not exist or is
missing, a literal of another type, a field that no such object has, a call that was not awaited, a name that is
bound nowhere. What depends on data (a value that may be None, a field that may be absent) is left to the run.
One check takes 10-20 ms.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from inhabit.contracts.program import Problem

__all__ = ["GATE", "STUB_PRELUDE", "problems_of"]

GATE = "gate·closed()\n"
"""The first line of what is checked: if the check finds nothing, the guest stops here and is dropped."""

STUB_PRELUDE = """\
from typing import Any
input: Any
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
_CERTAIN = frozenset({
    "unknown-argument", "missing-argument", "too-many-positional-arguments", "parameter-already-assigned", "invalid-key",
})
_COROUTINE = re.compile(r"`CoroutineType\[")
_ARGUMENT = re.compile(r"Expected `(?P<expected>.+)`, found `(?P<found>.+)`\Z", re.S)
_SCALAR = re.compile(r"(?:Literal\[(?P<literal>.+)\]|str|int|float|bool|bytes)\Z", re.S)
_ATTRIBUTE = re.compile(r"(?:Object of type|Class|Type) `_\w+` has no attribute `(?P<name>\w+)`|"
                        r"(?:`|type )`?_\w+`? has no (?:member|attribute) `(?P<other>\w+)`")
_UNRESOLVED = re.compile(r"Name `(?P<name>\w+)` used when not defined")
_OURS = re.compile(r"\bbound method `_+(?P<path>[\w.]+)`|`_(?P<bare>[A-Z]\w*)`")


def problems_of(report: str, bound: frozenset[str]) -> tuple[Problem, ...]:
    """From ty's JSON. `bound`: names that exist without a stub."""
    try:
        findings: list[dict[str, Any]] = orjson.loads(report)
    except ValueError:
        return ()
    found = [problem for finding in findings if (problem := _problem(finding, bound)) is not None]
    return tuple(found[:_MAX_PROBLEMS])


def _problem(finding: dict[str, Any], bound: frozenset[str]) -> Problem | None:
    code, message = str(finding.get("code")), str(finding.get("message"))
    said = _said(code, message, bound)
    if said is None or finding.get("severity") != "error":
        return None
    place: dict[str, Any] = finding.get("location") or {}
    line = int(place.get("row", 1)) - 1
    return Problem(said, line, int(place.get("column", 1)), "type") if line > 0 else None


def _said(code: str, message: str, bound: frozenset[str]) -> str | None:
    """The message as it is shown, or None when it is not certain."""
    if _COROUTINE.search(message):
        return "a call that was not awaited is used as its result: write `await` before it"
    if code in _CERTAIN:
        return _readable(message)
    if code == "invalid-argument-type":
        return _readable(message) if _is_certain_argument(message) else None
    if code == "unresolved-attribute":
        return _readable(message) if _ATTRIBUTE.search(message) else None
    if code == "unresolved-reference":
        name = _UNRESOLVED.search(message)
        return f"name {name['name']} is not defined" if name and name["name"] not in bound else None
    return None


def _is_certain_argument(message: str) -> bool:
    """Of an operation's parameter, and a scalar where it cannot fit: a wider type may be right at run time."""
    parts = _ARGUMENT.search(message)
    if parts is None or not _OURS.search(message):
        return False
    scalar = _SCALAR.match(parts["found"])
    if scalar is None:
        return False
    return scalar["literal"] is not None or "Literal[" not in parts["expected"]


def _readable(message: str) -> str:
    return re.sub(r"\bbound method `_+([\w.]+)`", r"`\1`", message)
