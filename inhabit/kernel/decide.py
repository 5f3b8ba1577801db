"""The decision on one call: a pure function of the call, the grant, the policy and what the run has done.

The kernel never does I/O, never reads a clock, never logs and never raises on a call's content: whatever it
cannot understand, it denies. The strictest word of all parts holds: `deny > hold > ask > allow`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from inhabit.contracts.effects import Effects
from inhabit.contracts.operation import Operation
from inhabit.contracts.principal import Principal
from inhabit.kernel.flow import CLEAN, Labels, guard
from inhabit.kernel.grants import Grant, Refusal
from inhabit.kernel.policy import (
    NO_POLICY,
    Applicable,
    Policy,
    Reason,
    Unjudgeable,
    Usage,
    Verdict,
    charged,
    judged,
    strictest,
)

__all__ = ["HELD", "NO_LEDGER", "Charge", "Decision", "Facts", "RunFacts", "Verdict", "decide", "reasons", "settled", "visible"]

HELD = "held for review"
_NOTHING_USED: Mapping[str, int] = MappingProxyType({})


class RunFacts(NamedTuple):
    """What a condition may know of the run. `calls` are its earlier calls, `{operation, args, ok}` in program order;
    filled only where the policy looks at them. `attended`: a person can be asked. `planning`: writes are held.
    """

    run_id: str
    principal: Principal
    program: str = ""
    language: str = ""
    origin: str = ""
    attended: bool = False
    planning: bool = False
    calls: Sequence[Mapping[str, Any]] = ()


class _NoLedger:
    """Where nothing keeps count, no limit can be held, and what it bounds is denied."""

    def used(self, key: str, window_ms: int, now_ms: int, /) -> float:
        raise Unjudgeable("nothing keeps usage here")


_NOBODY = RunFacts("", Principal("nobody"))
NO_LEDGER: Usage = _NoLedger()


class Facts(NamedTuple):
    """All the kernel may know of a call. `now_ms` is Unix time, passed in; `granted_calls` counts the run's
    earlier allowed calls by the key of the grant clause that bounds them; `labels` are those of the run and of the
    call's arguments; `approved`: a person has said yes to exactly this call, and saw that the rules `reviewed` hold it; `built_url`,
    `meant`: as `flow.guard` takes them.
    """

    operation: Operation
    arguments: Mapping[str, Any]
    now_ms: int
    granted_calls: Mapping[str, int] = _NOTHING_USED
    run: RunFacts = _NOBODY
    labels: Labels = CLEAN
    usage: Usage = NO_LEDGER
    approved: bool = False
    reviewed: frozenset[str] = frozenset()
    built_url: bool = False
    meant: bool = False

    @property
    def effects(self) -> Effects:
        return self.operation.effects


class Charge(NamedTuple):
    """What an allowed call uses up; the caller books it before the call is made. `window_ms` None: a count of the
    run's own, for its grant; else the ledger's, where 0 is the run.
    """

    key: str
    amount: float = 1
    window_ms: int | None = None


class Decision(NamedTuple):
    verdict: Verdict
    rule: str
    reason: str
    charges: tuple[Charge, ...] = ()

    def as_value(self) -> dict[str, Any]:
        return {"verdict": self.verdict, "rule": self.rule, "reason": self.reason}


def decide(facts: Facts, grant: Grant, policy: Policy = NO_POLICY) -> Decision:
    """Authority comes from the grant alone: every layer of it must have a clause that permits the call. The policy,
    the information flow and the run's mode can only be stricter. A yes lifts `ask`, a `hold` that was seen with it, never `deny`.
    """
    words, charges = reasons(facts, grant, policy)
    word = words[0] if len(words) == 1 else strictest(words)
    if facts.approved and (word.verdict == "ask" or (word.verdict == "hold" and facts.reviewed.issuperset(word.rule.split(" & ")))):
        word = Reason("allow", word.rule, f"approved: {word.text}")
    if facts.run.planning and facts.effects.may_write and word.verdict in ("allow", "ask"):
        word = Reason("hold", "plan", HELD) if word.verdict == "allow" else Reason("hold", word.rule, f"{HELD}; live it is asked: {word.text}")
    return Decision(word.verdict, word.rule, word.text, charges)


def reasons(facts: Facts, grant: Grant, policy: Policy) -> tuple[list[Reason], tuple[Charge, ...]]:
    """The word of every part that has one, the grant's first, and what the call would be charged."""
    permitted = grant.permits(facts.operation, facts.arguments, facts.now_ms, facts.granted_calls)
    if isinstance(permitted, Refusal):
        return [Reason("deny", permitted.clause, permitted.reason)], ()
    words = [Reason("allow", permitted.clause, "granted")]
    charges = [Charge(key) for key in permitted.counted]
    here = policy.applicable(facts.operation)
    if here.rules or here.limits:
        _by_policy(facts, here, words, charges)
    if flow := guard(facts.effects, facts.labels, attended=facts.run.attended, built_url=facts.built_url, meant=facts.meant):
        words.append(Reason(flow[0], "information flow", flow[1]))
    return words, tuple(charges)


def settled(operation: Operation, grant: Grant, policy: Policy = NO_POLICY, *, planning: bool = False) -> Decision | None:
    """The decision that every call of this operation gets under this grant and policy, whatever its arguments, the
    time, the run's labels and what was used; None where these matter. It may be kept for as long as all are the same.
    """
    effects, here = operation.effects, policy.applicable(operation)
    flows = effects.writes == "external" or (effects.may_write and (effects.irreversible or planning)) or operation.url_argument
    if flows or here.rules or here.limits or grant.looks_at_calls(operation.name):
        return None
    return decide(Facts(operation, {}, 0), grant)


def _by_policy(facts: Facts, here: Applicable, words: list[Reason], charges: list[Charge]) -> None:
    """Adds the words of the rules and limits that apply, and what the call would be charged."""
    run, who = facts.run, facts.run.principal
    usage: dict[str, float] = {}
    seen = visible(facts, usage)
    for limit in here.limits:
        if limit.scope.covers(who.tenant, who.user, run.program):
            counted = charged(limit, seen, facts.usage, facts.now_ms, run.run_id)
            usage[limit.name] = counted.used
            if counted.key:
                charges.append(Charge(counted.key, counted.amount, limit.window_ms))
            if counted.word is not None:
                words.append(counted.word)
    for rule in here.rules:
        if rule.scope.covers(who.tenant, who.user, run.program) and (said := judged(rule, seen)):
            words.append(said)


def visible(facts: Facts, usage: Mapping[str, float]) -> Mapping[str, Any]:
    """The facts under the names that conditions use."""
    run, effects = facts.run, facts.effects
    who = run.principal
    return {
        "args": facts.arguments, "operation": facts.operation.name, "usage": usage,
        "principal": {"tenant": who.tenant, "user": who.user, "agent": who.agent or ""},
        "run": {"id": run.run_id, "program": run.program, "language": run.language, "origin": run.origin,
                "attended": run.attended, "planning": run.planning, "calls": run.calls},
        "effects": {"reads": effects.reads, "trust": effects.trust, "writes": effects.writes,
                    "irreversible": effects.irreversible, "idempotent": effects.idempotent},
        "labels": {"private": facts.labels.private is not None, "untrusted": facts.labels.untrusted is not None},
        "now": facts.now_ms,
    }
