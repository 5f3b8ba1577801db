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
from inhabit.kernel.grants import patterns_over

__all__ = [
    "MAX_KEY_CHARS",
    "NO_POLICY",
    "Applicable",
    "Charged",
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
    "charged",
    "judged",
    "strictest",
]

Verdict = Literal["allow", "ask", "hold", "deny"]
MAX_KEY_CHARS = 512
"""A count's name is kept for as long as its window: a program must not choose how long it is."""
_STRICTNESS: Mapping[Verdict, int] = {"allow": 0, "ask": 1, "hold": 2, "deny": 3}
_DIGITS = 9
"""Sums of amounts such as 0.1 are compared to this many decimals: ten of them are 1."""


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

    def used(self, key: str, window_ms: int, now_ms: int, /) -> float:
        """Raises `Unjudgeable` where no count can be kept."""
        ...


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


class Applicable(NamedTuple):
    """What concerns one operation."""

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
        self._found: dict[str, Applicable] = {}
        self._by_pattern: dict[str, list[tuple[int, Rule | Limit | ResultRule]]] = {}
        for number, item in enumerate((*self.rules, *self.limits, *self.results)):
            for pattern in item.patterns:
                self._by_pattern.setdefault(pattern, []).append((number, item))

    def applicable(self, operation: Operation) -> Applicable:
        """What names this operation, in the order given; found once for as long as it is the same object."""
        found = self._found.get(operation.name)
        if found is None or found.operation is not operation:
            items = [item for _, item in sorted({
                number: item for pattern in patterns_over(operation.name) for number, item in self._by_pattern.get(pattern, ())
                if isinstance(item, ResultRule) or _has(item.effects, operation.effects)}.items())]
            found = self._found[operation.name] = Applicable(
                operation, tuple(x for x in items if isinstance(x, Rule)), tuple(x for x in items if isinstance(x, Limit)),
                tuple(x for x in items if isinstance(x, ResultRule)))
        return found


NO_POLICY = Policy()


def strictest(words: Sequence[Reason]) -> Reason:
    """The strictest of several words. What is as strict adds its rule and text, so that whoever approves reads all."""
    most = max(_STRICTNESS[word.verdict] for word in words)
    kept = [word for word in words if _STRICTNESS[word.verdict] == most]
    if len(kept) == 1 or most == 0:
        return kept[0]
    return Reason(kept[0].verdict, " & ".join(word.rule for word in kept), "; ".join(word.text for word in kept))


def judged(rule: Rule, facts: Mapping[str, Any]) -> Reason | None:
    """A rule's word on a call that it concerns; None where its condition does not hold."""
    try:
        if not _holds(rule.condition, facts):
            return None
    except Unjudgeable as error:
        return Reason("deny", rule.name, f"rule {rule.name!r} cannot be judged: {error}")
    return Reason(rule.verdict, rule.name, rule.reason or f"rule {rule.name!r}")


class Charged(NamedTuple):
    """What a call would use up of a limit (an empty key: nothing) and the limit's word on it, if it goes too far."""

    key: str = ""
    amount: float = 0.0
    used: float = 0.0
    word: Reason | None = None


def charged(limit: Limit, facts: Mapping[str, Any], usage: Usage, now_ms: int, run_id: str) -> Charged:
    try:
        if not _holds(limit.condition, facts):
            return Charged()
        amount = 1 if limit.amount is None else limit.amount(facts)
        key = _key([limit.name, *([run_id] if limit.window_ms == 0 else ()), *(per(facts) for per in limit.per)])
        if not _is_amount(amount):
            raise Unjudgeable("the amount must be a number of at least 0")
        used = usage.used(key, limit.window_ms, now_ms)
    except Unjudgeable as error:
        return Charged(word=Reason("deny", limit.name, f"limit {limit.name!r} cannot be judged: {error}"))
    word = None
    if round(used + amount, _DIGITS) > limit.maximum:
        text = f"{limit.reason or f'limit {limit.name!r}'}: {used:g} used, {amount:g} more is over {limit.maximum:g}"
        word = Reason(limit.verdict, limit.name, text)
    return Charged(key, float(amount), used, word)


def _holds(condition: Condition | None, facts: Mapping[str, Any]) -> bool:
    """Raises `Unjudgeable` for an answer that is neither yes nor no: it must not pass for a no."""
    holds = True if condition is None else condition(facts)
    if holds is not True and holds is not False:
        raise Unjudgeable("its condition is neither true nor false")
    return holds


def _is_amount(value: Any) -> bool:
    """A negative one would make room."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _key(parts: Sequence[Any]) -> str:
    """One name for these values. Each part carries its length, so that no value can pose as two others."""
    words = [str(int(part)) if isinstance(part, float) and part.is_integer() else str(part) for part in parts]
    if any(not isinstance(part, str | int | float) for part in parts) or sum(map(len, words)) > MAX_KEY_CHARS:
        raise Unjudgeable(f"`per` must give short text or numbers, at most {MAX_KEY_CHARS} characters together")
    return "".join(f"{len(word)}:{word}" for word in words)


def _has(wanted: Mapping[str, tuple[Any, ...]], effects: Effects) -> bool:
    return all(getattr(effects, name) in values for name, values in wanted.items())
