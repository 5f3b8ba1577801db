"""`[[test]]`: examples in the policy file, each a call and the verdict that its author expects.

An example is judged under a grant of everything: it tests the policy alone. What it does not say is the quiet case:
nothing used, no labels, nobody there to ask, noon of a Thursday.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from inhabit.contracts.json import is_array, is_number, is_object
from inhabit.contracts.operation import Operation
from inhabit.contracts.principal import Principal
from inhabit.errors import InvalidInput
from inhabit.kernel.decide import Decision, Facts, RunFacts, Verdict, decide
from inhabit.kernel.flow import Labels, Source
from inhabit.kernel.grants import Grant
from inhabit.kernel.policy import Policy
from inhabit.policy.problems import Place, suggestion
from inhabit.policy.tables import Table

__all__ = ["EXAMPLE_KEYS", "Example", "Tried", "UsedByName", "facts_of", "read_example", "tried", "unknown_limits"]

EXAMPLE_KEYS = ("name", "principal", "operation", "effects", "args", "labels", "used", "run", "calls", "approved", "now", "expect", "rule")
_NOON_MS = 1_767_268_800_000
"""2026-01-01 12:00 UTC."""
_RUN = ("id", "program", "language", "origin", "attended", "planning")


class UsedByName:
    """Usage as a person states it: by a limit's name, whatever the key."""

    def __init__(self, amounts: Mapping[str, float]) -> None:
        self._amounts = amounts

    def used(self, key: str, window_ms: int, now_ms: int, /) -> float:
        size, _, rest = key.partition(":")
        return float(self._amounts.get(rest[:int(size)], 0.0))


class Example(NamedTuple):
    """`facts` takes the operation, which only the running system knows."""

    name: str
    place: Place
    operation: str
    facts: Callable[[Operation], Facts]
    expect: Verdict
    rule: str


class Tried(NamedTuple):
    """`decision` None: it could not be tried. `problem` empty: it is as expected."""

    example: Example
    decision: Decision | None
    problem: str = ""


def read_example(table: Table, limits: Sequence[str]) -> Example | None:
    """`limits`: the names that `used` may speak of."""
    table.only(EXAMPLE_KEYS)
    if table.has("name"):
        table.name = table.text("name") or table.name
    operation, expect, rule = table.text("operation"), table.verdict("expect"), table.text("rule", "")
    try:
        effects = {name: values[0] for name, values in table.effects().items()}
        facts = facts_of({**{key: table.get(key) for key in EXAMPLE_KEYS if table.has(key)}, "effects": effects})
    except InvalidInput as error:
        table.error((), error.message, error.fix or "")
        return None
    for name, message, fix in unknown_limits(table.get("used") or (), limits):
        table.error(("used", name), message, fix)
    return Example(table.name, table.place(), operation, facts, expect, rule) if table.sound else None


def unknown_limits(used: Iterable[str], limits: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Names that are no limits: each with what is wrong, and the fix."""
    for name in used:
        if name not in limits:
            yield name, f"there is no limit {name!r}", suggestion(name, limits)


def facts_of(given: Mapping[str, Any]) -> Callable[[Operation], Facts]:
    """The facts of a call as an example or a command line states them. Raises `InvalidInput`."""
    arguments, used, run = (_table(given, key) for key in ("args", "used", "run"))
    unknown = [key for key in run if key not in _RUN]
    if unknown:
        raise InvalidInput(f"unknown key {unknown[0]!r} in run", fix=suggestion(unknown[0], _RUN))
    if not all(is_number(value) for value in used.values()):
        raise InvalidInput("used must give a number for each limit", fix='used = { "refunds a day" = 150 }')
    calls = given.get("calls", ())
    if not is_array(calls) or not all(is_object(call) and isinstance(call.get("operation"), str) for call in calls):
        raise InvalidInput("calls must be a list of tables", fix='calls = [{ operation = "files.read", args = {}, ok = true }]')
    principal = Principal.parse(str(given.get("principal", "ada")))
    facts = RunFacts(
        str(run.get("id", "example")), principal, str(run.get("program", "")), str(run.get("language", "")), str(run.get("origin", "")),
        run.get("attended") is True, run.get("planning") is True, [{"args": {}, "ok": True, **call} for call in calls])
    labels, now_ms = _labels(given), _now(given)
    return lambda operation: Facts(_with_effects(operation, given.get("effects", {})), arguments, now_ms, run=facts, labels=labels,
                                   usage=UsedByName(used), approved=given.get("approved") is True)


def tried(policy: Policy, examples: Sequence[Example], operations: Mapping[str, Operation]) -> tuple[Tried, ...]:
    return tuple(_try(policy, example, operations) for example in examples)


def _try(policy: Policy, example: Example, operations: Mapping[str, Operation]) -> Tried:
    operation = operations.get(example.operation)
    if operation is None:
        near = suggestion(example.operation, sorted(operations))
        return Tried(example, None, f"there is no operation {example.operation!r}" + (f" ({near})" if near else ""))
    decision = decide(example.facts(operation), Grant.of("**"), policy)
    if decision.verdict != example.expect:
        problem = f"expected {example.expect}, got {decision.verdict} by {decision.rule!r}: {decision.reason}"
    elif example.rule and example.rule not in decision.rule.split(" & "):
        problem = f"{decision.verdict} as expected, but by {decision.rule!r}, not {example.rule!r}"
    else:
        problem = ""
    return Tried(example, decision, problem)


def _table(given: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = given.get(key, {})
    if not is_object(value):
        raise InvalidInput(f"{key} must be a table", fix=f"{key} = {{ }}")
    return value


def _labels(given: Mapping[str, Any]) -> Labels:
    names = given.get("labels", ())
    if not is_array(names) or any(name not in ("private", "untrusted") for name in names):
        raise InvalidInput("labels must be a list of `private` and `untrusted`")
    source = Source("example")
    return Labels(source if "private" in names else None, source if "untrusted" in names else None)


def _now(given: Mapping[str, Any]) -> int:
    now = given.get("now")
    if now is None:
        return _NOON_MS
    if not isinstance(now, datetime):
        raise InvalidInput("now must be a date and time", fix="now = 2026-01-01T22:00:00Z")
    return int((now if now.tzinfo else now.replace(tzinfo=UTC)).timestamp() * 1000)


def _with_effects(operation: Operation, given: Mapping[str, Any]) -> Operation:
    """An example may state other effects than the operation has today."""
    return replace(operation, effects=replace(operation.effects, **given)) if given else operation
