"""Examples in the file, and why a call is decided as it is."""

from __future__ import annotations

from typing import Any

import pytest

from inhabit.kernel.decide import Facts
from inhabit.kernel.grants import Grant
from inhabit.policy.document import Document, read_policy
from inhabit.policy.examples import facts_of, tried
from inhabit.policy.explain import Explanation, explained
from tests.policy.policy_kit import LIST, OPERATIONS, PAY, POLICY, SEND, rule

BY_NAME = {operation.name: operation for operation in OPERATIONS}


def outcomes(text: str) -> list[str]:
    document = read_policy(text)
    return [one.problem for one in tried(document.policy(), document.examples, BY_NAME)]


def test_examples_of_a_sound_policy_hold() -> None:
    assert outcomes(POLICY) == ["", ""]


@pytest.mark.parametrize(("test", "problem"), [
    ("expect = 'allow'\nargs = { amount = 51 }\noperation = 'shop.refunds.pay'", "expected allow, got deny by 'refunds a day': limit 'refunds a day' cannot be judged"),
    ("expect = 'ask'\nargs = { amount = 51, customer = 'c' }\noperation = 'shop.refunds.pay'", ""),
    ("expect = 'ask'\nrule = 'refunds a day'\nargs = { amount = 51, customer = 'c' }\noperation = 'shop.refunds.pay'",
     "ask as expected, but by 'large refunds need a person', not 'refunds a day'"),
    ("expect = 'allow'\noperation = 'shop.refunds.pya'", "there is no operation 'shop.refunds.pya' (did you mean 'shop.refunds.pay'?)"),
    ("expect = 'deny'\noperation = 'mail.send'\ncalls = [{ operation = 'shop.orders.list' }]", ""),
    ("expect = 'ask'\noperation = 'mail.send'\nlabels = ['untrusted']", ""),
    ("expect = 'allow'\noperation = 'mail.send'\nlabels = ['untrusted']\napproved = true", ""),
    ("expect = 'deny'\noperation = 'mail.send'\nlabels = ['untrusted', 'private']", ""),
    ("expect = 'ask'\noperation = 'mail.send'\nlabels = ['untrusted', 'private']\nrun = { attended = true }", ""),
    ("expect = 'allow'\noperation = 'mail.send'\nlabels = ['untrusted']\neffects = { irreversible = false }", ""),
    ("expect = 'hold'\noperation = 'mail.send'\nrun = { planning = true }\nprincipal = 'acme/ada/helper'", ""),
])
def test_example_is_held_against_the_decision(test: str, problem: str) -> None:
    assert outcomes(f"{POLICY}\n[[test]]\n{test}")[-1].startswith(problem)
    assert bool(outcomes(f"{POLICY}\n[[test]]\n{test}")[-1]) is bool(problem)


def test_example_has_a_time() -> None:
    text = rule("now.getHours('UTC') < 6", on="mail.send") + "[[test]]\noperation='mail.send'\nexpect='{}'\nnow = 2026-01-01T0{}:00:00{}\n"
    assert outcomes(text.format("deny", 5, "Z")) == outcomes(text.format("allow", 7, "Z")) == outcomes(text.format("deny", 5, "")) == [""]
    assert outcomes(text.format("deny", 7, "+02:00")) == [""]


def why(document: Document, given: dict[str, Any], grant: Grant | None = None, operation: Any = PAY) -> Explanation:
    facts: Facts = facts_of(given)(operation)
    return explained(facts, grant or Grant.of("**"), document.policy())


def test_explanation_shows_each_part_with_its_facts() -> None:
    found = why(read_policy(POLICY), {"args": {"amount": 60, "customer": "c1"}, "used": {"refunds a day": 150}})
    assert found.decision.verdict == "deny"
    assert [(part.kind, part.name, part.verdict) for part in found.parts] == [
        ("grant", "**", "allow"), ("limit", "refunds a day", "deny"), ("rule", "large refunds need a person", "ask")]
    assert found.parts[1].text == "limit 'refunds a day': 150 used, 60 more is over 200" and found.parts[1].because == "args.amount   [args.amount = 60]"
    assert found.parts[2].because == "args.amount > 50   [args.amount = 60]"


def test_explanation_says_what_does_not_apply() -> None:
    text = POLICY + rule("has(args.note) && size(args.lines) > 9 || run.calls.exists(c, c.ok)", name="quiet") + "[[limit]]\nname='l'\non='**'\nmax=1\nwindow='1d'\nwhen='false'\n"
    text += rule(name="of bob") + "scope = { user = 'bob' }"
    found = why(read_policy(text), {"args": {"amount": 5, "customer": "x" * 200, "lines": [1, 2]}})
    parts = {part.name: part for part in found.parts}
    assert "of bob" not in parts and parts["refunds a day"].text == "0 used, 5 more, at most 200" and parts["refunds a day"].verdict == ""
    assert parts["quiet"].text == parts["l"].text == "does not hold here" and "args.note = (not given)" in parts["quiet"].because
    assert "args.lines = 2 values" in parts["quiet"].because
    long = why(read_policy(rule("args.customer == ''")), {"args": {"customer": "x" * 200}})
    assert long.parts[-1].because.endswith("…]") and len(long.parts[-1].because) < 140


def test_explanation_of_grant_and_flow() -> None:
    assert [p.verdict for p in why(read_policy(""), {}, Grant.nothing(), LIST).parts] == ["deny"]
    found = why(read_policy(""), {"labels": ["private", "untrusted"]}, operation=SEND)
    assert found.parts[-1][:3] == ("flow", "information flow", "deny") and found.decision.rule == "information flow"
