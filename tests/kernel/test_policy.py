"""Rules and limits: what concerns a call, how strict it is, what it uses up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inhabit.contracts.effects import Effects
from inhabit.contracts.operation import Operation
from inhabit.contracts.principal import Principal
from inhabit.kernel.decide import Charge, Decision, Facts, RunFacts, decide, reasons, settled
from inhabit.kernel.grants import Grant
from inhabit.kernel.policy import (
    MAX_KEY_CHARS,
    Condition,
    Limit,
    Policy,
    ResultRule,
    Rule,
    Scope,
    Unjudgeable,
    Verdict,
)

REFUND = Operation("shop.refunds.pay", {"type": "object"}, effects=Effects("none", "trusted", "internal", False))
ALL = Grant.of("**")
VERDICTS: tuple[Verdict, ...] = ("allow", "ask", "hold", "deny")


class Said(Condition):
    """A condition made of a Python function; a missing key cannot be judged."""

    def __init__(self, answer: Callable[[Mapping[str, Any]], Any]) -> None:
        self.text = "test"
        self.reads = frozenset()
        self._answer = answer

    def __call__(self, facts: Mapping[str, Any], /) -> Any:
        try:
            return self._answer(facts)
        except KeyError as error:
            raise Unjudgeable(f"no {error}") from None


class Used:
    """Usage that is what a test says."""

    def __init__(self, amounts: dict[str, float] | None = None) -> None:
        self.amounts = amounts or {}

    def used(self, key: str, window_ms: int, now_ms: int, /) -> float:
        assert now_ms == 7
        return self.amounts.get(key, 0.0)


def call(policy: Policy, arguments: dict[str, Any] | None = None, *, usage: Used | None = None, **run: Any) -> Decision:
    who = run.pop("principal", Principal("ada"))
    facts = Facts(REFUND, arguments or {}, 7, run=RunFacts("r1", who, **run), usage=usage or Used())
    return decide(facts, ALL, policy)


def limit(maximum: float = 100, **more: Any) -> Limit:
    return Limit("refunds", ("shop.refunds.*",), maximum, more.pop("window_ms", 1000), Said(lambda f: f["args"]["amount"]), **more)


def test_rule_speaks_only_for_its_operations_effects_and_scope() -> None:
    rule = Rule("no refunds", ("shop.refunds.*",), "deny", "they are closed")
    assert call(Policy([rule])) == Decision("deny", "no refunds", "they are closed")
    for other in (rule._replace(patterns=("shop.orders.*",)), rule._replace(effects={"writes": ("external",)}),
                  rule._replace(scope=Scope(tenant="acme")), rule._replace(scope=Scope(user="bob")),
                  rule._replace(scope=Scope(program="p")), rule._replace(condition=Said(lambda _: False))):
        assert call(Policy([other])).verdict == "allow"
    bound = rule._replace(reason="", effects={"writes": ("internal", "external")}, scope=Scope("default", "ada", "p"))
    assert call(Policy([bound]), program="p").reason == "rule 'no refunds'"


def test_conditions_see_the_call() -> None:
    seen: dict[str, Any] = {}

    def look(facts: Mapping[str, Any]) -> bool:
        seen.update(facts)
        return True

    call(Policy([Rule("look", ("**",), "ask", condition=Said(look))], [limit()]), {"amount": 3},
         usage=Used({"7:refunds": 40}), principal=Principal("ada", "acme", "helper"), attended=True)
    assert seen["args"] == {"amount": 3} and seen["operation"] == REFUND.name and seen["now"] == 7
    assert seen["principal"] == {"tenant": "acme", "user": "ada", "agent": "helper"}
    assert seen["run"]["attended"] is True and seen["labels"] == {"private": False, "untrusted": False}
    assert seen["effects"]["writes"] == "internal" and seen["usage"] == {"refunds": 40}


@pytest.mark.parametrize("answer", [1, "true", None, 0])
def test_condition_that_is_neither_true_nor_false_denies(answer: Any) -> None:
    says = Said(lambda _: answer)
    assert call(Policy([Rule("odd", ("**",), "allow", condition=says)])).verdict == "deny"
    assert call(Policy((), [limit(condition=says)]), {"amount": 1}).verdict == "deny"


def test_what_cannot_be_judged_denies_and_says_so() -> None:
    decision = call(Policy([Rule("big", ("**",), "allow", condition=Said(lambda f: f["args"]["amount"] > 1))], [limit()]))
    assert decision.verdict == "deny" and decision.charges == ()
    assert decision.rule == "refunds & big"
    assert decision.reason == "limit 'refunds' cannot be judged: no 'amount'; rule 'big' cannot be judged: no 'amount'"


@given(st.lists(st.sampled_from(VERDICTS), max_size=6), st.permutations(range(6)))
def test_strictest_word_holds_whatever_the_order(verdicts: list[Verdict], order: list[int]) -> None:
    rules = [Rule(str(number), ("**",), verdict) for number, verdict in enumerate(verdicts)]
    shuffled = [rules[number] for number in order if number < len(rules)]
    expected = max(["allow", *verdicts], key=VERDICTS.index)
    assert call(Policy(rules)).verdict == call(Policy(shuffled)).verdict == expected


@given(st.lists(st.sampled_from(VERDICTS), max_size=4), st.sampled_from(VERDICTS))
def test_a_further_layer_only_restricts(verdicts: list[Verdict], more: Verdict) -> None:
    rules = [Rule(str(number), ("**",), verdict) for number, verdict in enumerate(verdicts)]
    before = call(Policy(rules)).verdict
    after = call(Policy([*rules, Rule("user's", ("**",), more, scope=Scope(user="ada"))])).verdict
    assert VERDICTS.index(after) >= VERDICTS.index(before)


def test_policy_never_grants() -> None:
    facts = Facts(REFUND, {}, 7)
    assert decide(facts, Grant.nothing(), Policy([Rule("yes", ("**",), "allow")])).verdict == "deny"
    words, charges = reasons(facts, Grant.nothing(), Policy([Rule("yes", ("**",), "allow")]))
    assert [word.verdict for word in words] == ["deny"] and charges == ()


def test_who_approves_reads_every_reason() -> None:
    policy = Policy([Rule("a", ("**",), "ask", "first"), Rule("b", ("**",), "ask", "second"), Rule("c", ("**",), "allow", "quiet")])
    assert call(policy) == Decision("ask", "a & b", "first; second")


def test_E04_approval_lifts_ask_and_the_holds_that_were_seen_with_it_and_never_deny() -> None:
    ask, deny = Rule("a", ("**",), "ask", "sure?"), Rule("d", ("**",), "deny", "no")
    hold, late = Rule("h", ("**",), "hold", "look"), Rule("l", ("**",), "hold", "look too")
    approved = Facts(REFUND, {}, 7, approved=True)
    assert decide(approved, ALL, Policy([ask])) == Decision("allow", "a", "approved: sure?")
    assert decide(approved, ALL, Policy([ask, deny])).verdict == "deny"
    assert decide(approved, ALL, Policy([ask, ask._replace(verdict="hold")])) == Decision("hold", "a", "sure?")
    seen = approved._replace(reviewed=frozenset({"h", "d"}))
    assert decide(seen, ALL, Policy([ask, hold])) == Decision("allow", "h", "approved: look")
    assert decide(seen, ALL, Policy([ask, hold, late])) == Decision("hold", "h & l", "look; look too")
    assert decide(seen, ALL, Policy([hold, deny])).verdict == "deny"
    assert decide(seen._replace(approved=False), ALL, Policy([hold])).verdict == "hold"


def test_E20_planning_holds_writes() -> None:
    assert call(Policy(), planning=True).as_value() == {"verdict": "hold", "rule": "plan", "reason": "held for review"}
    asked = call(Policy([Rule("a", ("**",), "ask", "sure?")]), planning=True)
    assert asked == Decision("hold", "a", "held for review; live it is asked: sure?")
    assert call(Policy([Rule("d", ("**",), "deny")]), planning=True).verdict == "deny"
    read = Operation("shop.refunds.list", {}, effects=Effects(writes="none", irreversible=False))
    assert decide(Facts(read, {}, 7, run=RunFacts("r1", Principal("ada"), planning=True)), ALL).verdict == "allow"


def test_limit_sums_its_amount_and_charges() -> None:
    policy = Policy((), [limit()])
    allowed = call(policy, {"amount": 30}, usage=Used({"7:refunds": 70}))
    assert allowed.verdict == "allow" and allowed.charges == (Charge("7:refunds", 30.0, 1000),)
    denied = call(policy, {"amount": 31}, usage=Used({"7:refunds": 70}))
    assert denied == Decision("deny", "refunds", "limit 'refunds': 70 used, 31 more is over 100", denied.charges)
    asked = call(Policy((), [limit(verdict="ask", reason="a lot")]), {"amount": 101})
    assert (asked.verdict, asked.reason) == ("ask", "a lot: 0 used, 101 more is over 100")


def test_limit_without_amount_counts_calls_and_its_window_may_be_the_run() -> None:
    policy = Policy((), [Limit("calls", ("**",), 2, 0)])
    assert call(policy).charges == (Charge("5:calls2:r1", 1.0, 0),)
    assert call(policy, usage=Used({"5:calls2:r1": 2})).verdict == "deny"
    apart = Policy((), [Limit("calls", ("**",), 2, 0, scope=Scope(user="bob"))])
    assert call(apart).charges == ()


def test_limit_whose_condition_does_not_hold_uses_nothing() -> None:
    assert call(Policy((), [limit(0, condition=Said(lambda _: False))]), {"amount": 5}) == call(Policy())


def test_sums_of_decimals_are_what_a_person_expects() -> None:
    used = Used({"7:refunds": 0.1 + 0.2 + 0.3})
    assert call(Policy((), [limit(0.7)]), {"amount": 0.1}, usage=used).verdict == "allow"
    assert call(Policy((), [limit(0.7)]), {"amount": 0.11}, usage=used).verdict == "deny"


@pytest.mark.parametrize("amount", [-1, -0.01, True, "5", None, float("nan"), float("inf"), float("-inf"), [1]])
def test_E08_an_amount_cannot_refill_a_limit(amount: Any) -> None:
    decision = call(Policy((), [limit()]), {"amount": amount})
    assert decision.verdict == "deny" and decision.charges == ()


def test_E08_counts_are_kept_apart_by_value_and_no_value_poses_as_two() -> None:
    per = (Said(lambda f: f["args"]["a"]), Said(lambda f: f["args"]["b"]))
    policy = Policy((), [limit(per=per)])

    def key(a: Any, b: Any) -> str:
        return call(policy, {"amount": 1, "a": a, "b": b}).charges[0].key

    assert key(1, 2) == key(1.0, 2) == key("1", "2") == "7:refunds1:11:2"
    assert len({key("x", "y1:z"), key("x1:y", "z"), key("x", "y"), key("", "xy"), key(0.5, "y")}) == 5


@pytest.mark.parametrize("value", ["x" * MAX_KEY_CHARS, None, [1], {"a": 1}])
def test_E08_a_key_that_is_long_or_no_scalar_denies(value: Any) -> None:
    assert call(Policy((), [limit(per=(Said(lambda f: f["args"]["a"]),))]), {"amount": 1, "a": value}).verdict == "deny"


def test_policy_finds_what_concerns_an_operation_once() -> None:
    policy = Policy([Rule("a", ("shop.**",), "ask"), Rule("b", ("crm.**",), "ask")], (), [ResultRule("r", ("shop.**",), ("card",))])
    found = policy.applicable(REFUND)
    assert [rule.name for rule in found.rules] == ["a"] and [rule.name for rule in found.results] == ["r"]
    assert policy.applicable(REFUND) is found
    again = Operation(REFUND.name, {}, effects=Effects())
    assert policy.applicable(again) is not found and policy.applicable(again).operation is again


def test_decision_is_kept_only_where_nothing_looks_at_the_call() -> None:
    assert settled(REFUND, ALL, Policy([Rule("a", ("crm.**",), "deny")])) == Decision("allow", "**", "granted")
    assert settled(REFUND, ALL, Policy([Rule("a", ("**",), "deny")])) is None
    assert settled(REFUND, ALL, Policy((), [limit()])) is None
    assert settled(REFUND, ALL, planning=True) is None
    assert settled(Operation("a.b", {}, effects=Effects(writes="external")), ALL) is None
    assert settled(Operation("a.b", {}, effects=Effects(writes="internal", irreversible=True)), ALL) is None


def test_limit_denies_where_nothing_keeps_count() -> None:
    decision = decide(Facts(REFUND, {"amount": 1}, 7), ALL, Policy((), [limit()]))
    assert decision == Decision("deny", "refunds", "limit 'refunds' cannot be judged: nothing keeps usage here")
