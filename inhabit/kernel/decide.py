"""The decision on one call: a pure function of the call, the grant, the policy and what the run has done.

The kernel never does I/O, never reads a clock, never logs and never raises on a call's content: whatever it
cannot understand, it denies. The strictest word of all parts holds: `deny > hold > ask > allow`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, NamedTuple

from inhabit.contracts.effects import Effects
from inhabit.contracts.operation import Operation
from inhabit.contracts.principal import Principal
from inhabit.kernel.flow import CLEAN, Labels, guard
from inhabit.kernel.grants import Grant, Refusal
from inhabit.kernel.policy import NO_POLICY, Policy, Reason, Usage, Verdict, charged, judged, strictest

__all__ = ["Charge", "Decision", "Facts", "RunFacts", "Verdict", "decide", "settled"]

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


class _Unused:
    def used(self, key: str, window_ms: int, now_ms: int, /) -> float:
        del key, window_ms, now_ms
        return 0.0


_NOBODY = RunFacts("", Principal("nobody"))
_UNUSED: Usage = _Unused()


class Facts(NamedTuple):
    """All the kernel may know of a call. `now_ms` is Unix time, passed in; `granted_calls` counts the run's
    earlier allowed calls by the key of the grant clause that bounds them; `labels` are those of the run and of the
    call's arguments; `approved`: a person has said yes to exactly this call.
    """

    operation: Operation
    arguments: Mapping[str, Any]
    now_ms: int
    granted_calls: Mapping[str, int] = _NOTHING_USED
    run: RunFacts = _NOBODY
    labels: Labels = CLEAN
    usage: Usage = _UNUSED
    approved: bool = False

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
    the information flow and the run's mode can only be stricter.
    """
    permitted = grant.permits(facts.operation, facts.arguments, facts.now_ms, facts.granted_calls)
    if isinstance(permitted, Refusal):
        return Decision("deny", permitted.clause, permitted.reason)
    word = Reason("allow", permitted.clause, "granted")
    charges = [Charge(key) for key in permitted.counted]
    here = policy.applicable(facts.operation)
    if here.rules or here.limits:
        word = _by_policy(facts, policy, word, charges)
    flow = guard(facts.effects, facts.labels, attended=facts.run.attended)
    if flow is not None:
        word = strictest(word, Reason(flow[0], "information flow", flow[1]))
    if word.verdict == "ask" and facts.approved:
        word = Reason("allow", word.rule, f"approved: {word.text}")
    if facts.run.planning and facts.effects.may_write and word.verdict in ("allow", "ask"):
        word = Reason("hold", "plan" if word.verdict == "allow" else word.rule,
                      "held for review" if word.verdict == "allow" else f"held for review; live it is asked: {word.text}")
    return Decision(word.verdict, word.rule, word.text, tuple(charges))


def settled(operation: Operation, grant: Grant, policy: Policy = NO_POLICY, *, planning: bool = False) -> Decision | None:
    """The decision that every call of this operation gets under this grant and policy, whatever its arguments, the
    time, the run's labels and what was used; None where these matter. It may be kept for as long as all are the same.
    """
    effects, here = operation.effects, policy.applicable(operation)
    flows = effects.writes == "external" or (effects.may_write and (effects.irreversible or planning))
    if flows or here.rules or here.limits or grant.looks_at_calls(operation.name):
        return None
    return decide(Facts(operation, {}, 0), grant)


def _by_policy(facts: Facts, policy: Policy, word: Reason, charges: list[Charge]) -> Reason:
    """The strictest word of the rules and limits that apply; adds what the call would be charged."""
    here = policy.applicable(facts.operation)
    run, who = facts.run, facts.run.principal
    usage: dict[str, float] = {}
    seen = _seen(facts, usage)
    for limit in here.limits:
        if limit.scope.covers(who.tenant, who.user, run.program):
            said, key, amount = charged(limit, seen, facts.usage, facts.now_ms, run.run_id)
            if key:
                charges.append(Charge(key, amount, limit.window_ms))
                usage[limit.name] = facts.usage.used(key, limit.window_ms, facts.now_ms)
            if said is not None:
                word = strictest(word, said)
    for rule in here.rules:
        if rule.scope.covers(who.tenant, who.user, run.program):
            said = judged(rule, seen)
            if said is not None:
                word = strictest(word, said)
    return word


def _seen(facts: Facts, usage: Mapping[str, float]) -> Mapping[str, Any]:
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
        "now": datetime.fromtimestamp(facts.now_ms / 1000, UTC),
    }
