"""Why a call is decided as it is: every rule and limit that concerns it, whether it holds, and on which facts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from inhabit.contracts.json import is_array, is_object
from inhabit.kernel.decide import Decision, Facts, decide, visible
from inhabit.kernel.flow import guard
from inhabit.kernel.grants import Grant, Refusal
from inhabit.kernel.policy import Condition, Limit, Policy, Rule, charged, judged

__all__ = ["Explanation", "Part", "explained"]

_SHOWN_CHARS = 80


class Part(NamedTuple):
    """One part's say. `verdict` "": it has none on this call. `because`: the condition and the facts it looked at."""

    kind: str
    name: str
    verdict: str
    text: str
    because: str = ""


class Explanation(NamedTuple):
    decision: Decision
    parts: tuple[Part, ...]


def explained(facts: Facts, grant: Grant, policy: Policy) -> Explanation:
    permitted = grant.permits(facts.operation, facts.arguments, facts.now_ms, facts.granted_calls)
    if isinstance(permitted, Refusal):
        parts = [Part("grant", permitted.clause, "deny", permitted.reason)]
    else:
        parts = [Part("grant", permitted.clause, "allow", "granted")]
    here, usage = policy.applicable(facts.operation), dict[str, float]()
    seen = visible(facts, usage)
    parts += [_limit(limit, facts, seen, usage) for limit in here.limits if _covers(limit, facts)]
    parts += [_rule(rule, seen) for rule in here.rules if _covers(rule, facts)]
    flow = guard(facts.effects, facts.labels, attended=facts.run.attended, built_url=facts.built_url, meant=facts.meant)
    if flow is not None:
        parts.append(Part("flow", "information flow", flow[0], flow[1]))
    return Explanation(decide(facts, grant, policy), tuple(parts))


def _covers(item: Rule | Limit, facts: Facts) -> bool:
    who = facts.run.principal
    return item.scope.covers(who.tenant, who.user, facts.run.program)


def _rule(rule: Rule, seen: Mapping[str, Any]) -> Part:
    said = judged(rule, seen)
    because = _because(rule.condition, seen)
    return Part("rule", rule.name, said.verdict if said else "", said.text if said else "does not hold here", because)


def _limit(limit: Limit, facts: Facts, seen: Mapping[str, Any], usage: dict[str, float]) -> Part:
    counted = charged(limit, seen, facts.usage, facts.now_ms, facts.run.run_id)
    usage[limit.name] = counted.used
    if counted.word is not None:
        text = counted.word.text
    elif counted.key:
        text = f"{counted.used:g} used, {counted.amount:g} more, at most {limit.maximum:g}"
    else:
        text = "does not hold here"
    because = "; ".join(filter(None, [_because(limit.condition, seen), _because(limit.amount, seen)]))
    return Part("limit", limit.name, counted.word.verdict if counted.word else "", text, because)


def _because(condition: Condition | None, seen: Mapping[str, Any]) -> str:
    if condition is None:
        return ""
    facts = [f"{path} = {_value(seen, path)}" for path in sorted(condition.reads) if "*" not in path.split(".")]
    return condition.text.strip() + (f"   [{', '.join(facts)}]" if facts else "")


def _value(seen: Mapping[str, Any], path: str) -> str:
    value: Any = seen
    for name in path.split("."):
        if not is_object(value) or name not in value:
            return "(not given)"
        value = value[name]
    text = f"{len(value)} values" if is_object(value) or is_array(value) else repr(value)
    return text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "…"
