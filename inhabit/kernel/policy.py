"""The product's rules over all calls, as plain values: what applies to a call, how strict it is, what it uses up.

A rule restricts; authority comes from grants alone, so `allow` only documents the default. A limit bounds the sum of
an amount over a window and a key. Both are found by operation, once, and judged with conditions: pure callables over
the facts of the call, made outside of the kernel. A condition that cannot be judged denies.

Layers (product, tenant, user, program) are scopes of rules in one policy; all that apply are judged and the strictest
verdict holds, so a layer can only add restrictions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

from inhabit.contracts.effects import Effects
from inhabit.contracts.operation import Operation
from inhabit.kernel.grants import matches

__all__ = [
    "NO_POLICY",
    "Condition",
    "Limit",
    "Policy",
    "Reason",
    "ResultRule",
    "Rule",
    "Scope",
    "Unjudgeable",
    "Usage",
    "Verdict",
    "strictest",
]

Verdict = Literal["allow", "ask", "hold", "deny"]
_STRICTNESS: Mapping[Verdict, int] = {"allow": 0, "ask": 1, "hold": 2, "deny": 3}


class Unjudgeable(Exception):
    """A condition has no answer on these facts: a field is missing, a type is another one, a bound was passed."""


class Condition(Protocol):
    """A pure function of a call's facts. `text` is what its author wrote; `reads` the fields it refers to."""

    text: str
    reads: frozenset[str]

    def __call__(self, facts: Mapping[str, Any], /) -> Any:
        """Raises `Unjudgeable`."""
        ...


class Usage(Protocol):
    """What has been charged so far: a value, as far as the kernel is concerned."""

    def used(self, key: str, window_ms: int, now_ms: int, /) -> float: ...


class Scope(NamedTuple):
    """For whom a rule holds; None is everybody."""

    tenant: str | None = None
    user: str | None = None
    program: str | None = None

    def covers(self, tenant: str, user: str, program: str) -> bool:
        return (self.tenant in (None, tenant)) and (self.user in (None, user)) and (self.program in (None, program))


EVERYBODY = Scope()


class Rule(NamedTuple):
    """`effects` bounds the rule to operations with at least one of these (`{"writes": ("external",)}`)."""

    name: str
    patterns: tuple[str, ...]
    verdict: Verdict
    reason: str = ""
    condition: Condition | None = None
    effects: Mapping[str, tuple[Any, ...]] = {}
    scope: Scope = EVERYBODY


class Limit(NamedTuple):
    """At most `maximum` of `amount` (1 a call when None) in any `window_ms`, separately for each value of `per`.
    A window of 0 is the run. What goes beyond gets `verdict`.
    """

    name: str
    patterns: tuple[str, ...]
    maximum: float
    window_ms: int
    amount: Condition | None = None
    per: tuple[Condition, ...] = ()
    condition: Condition | None = None
    verdict: Verdict = "deny"
    reason: str = ""
    effects: Mapping[str, tuple[Any, ...]] = {}
    scope: Scope = EVERYBODY


class ResultRule(NamedTuple):
    """What the results of some operations must look like before a program sees them: fields (dotted paths, `*` for
    every element) replaced by a fixed word, and a JSON Schema that must hold.
    """

    name: str
    patterns: tuple[str, ...]
    redact: tuple[str, ...] = ()
    schema: Mapping[str, Any] | None = None
    scope: Scope = EVERYBODY


class Reason(NamedTuple):
    """One part's word on a call."""

    verdict: Verdict
    rule: str
    text: str


class _Applicable(NamedTuple):
    operation: Operation
    rules: tuple[Rule, ...]
    limits: tuple[Limit, ...]
    results: tuple[ResultRule, ...]


class Policy:
    """Immutable. `version` is a hash of its content, "" for none."""

    def __init__(self, rules: Sequence[Rule] = (), limits: Sequence[Limit] = (), results: Sequence[ResultRule] = (),
                 version: str = "") -> None:
        self.rules = tuple(rules)
        self.limits = tuple(limits)
        self.results = tuple(results)
        self.version = version
        self._found: dict[str, _Applicable] = {}

    def applicable(self, operation: Operation) -> _Applicable:
        """What names this operation, found once for as long as it is the same object."""
        found = self._found.get(operation.name)
        if found is None or found.operation is not operation:
            found = self._found[operation.name] = _Applicable(
                operation, tuple(r for r in self.rules if _concerns(r.patterns, r.effects, operation)),
                tuple(x for x in self.limits if _concerns(x.patterns, x.effects, operation)),
                tuple(x for x in self.results if _concerns(x.patterns, {}, operation)))
        return found


NO_POLICY = Policy()


def strictest(one: Reason, other: Reason) -> Reason:
    """The stricter of two; the first where they are alike."""
    return other if _STRICTNESS[other.verdict] > _STRICTNESS[one.verdict] else one


def judged(rule: Rule, facts: Mapping[str, Any]) -> Reason | None:
    """A rule's word on a call that it concerns; None where its condition does not hold."""
    if rule.condition is not None:
        try:
            holds = rule.condition(facts)
        except Unjudgeable as error:
            return Reason("deny", rule.name, f"rule {rule.name!r} cannot be judged: {error}")
        if holds is not True:
            return None if holds is False else Reason("deny", rule.name, f"rule {rule.name!r} is neither true nor false")
    return Reason(rule.verdict, rule.name, rule.reason or f"rule {rule.name!r}")


def charged(limit: Limit, facts: Mapping[str, Any], usage: Usage, now_ms: int, run_key: str) -> tuple[Reason | None, str, float]:
    """A limit's word on a call, with the key and the amount that the call would be charged."""
    try:
        if limit.condition is not None and limit.condition(facts) is not True:
            return None, "", 0.0
        amount = 1.0 if limit.amount is None else limit.amount(facts)
        parts = [str(per(facts)) for per in limit.per]
    except Unjudgeable as error:
        return Reason("deny", limit.name, f"limit {limit.name!r} cannot be judged: {error}"), "", 0.0
    if isinstance(amount, bool) or not isinstance(amount, int | float) or not math.isfinite(amount) or amount < 0:
        return Reason("deny", limit.name, f"limit {limit.name!r}: the amount must be a number of at least 0"), "", 0.0
    key = "\x1f".join([limit.name, *([run_key] if limit.window_ms == 0 else ()), *parts])
    used = usage.used(key, limit.window_ms, now_ms)
    if used + amount > limit.maximum:
        text = limit.reason or f"limit {limit.name!r}"
        return Reason(limit.verdict, limit.name, f"{text}: {used:g} used, {amount:g} more is over {limit.maximum:g}"), key, float(amount)
    return None, key, float(amount)


def _concerns(patterns: tuple[str, ...], effects: Mapping[str, tuple[Any, ...]], operation: Operation) -> bool:
    return any(matches(pattern, operation.name) for pattern in patterns) and _has(effects, operation.effects)


def _has(wanted: Mapping[str, tuple[Any, ...]], effects: Effects) -> bool:
    return all(getattr(effects, name) in values for name, values in wanted.items())
