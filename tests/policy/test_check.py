"""A policy against the operations that there are, and against itself."""

from __future__ import annotations

import cProfile

import pytest

from inhabit.contracts.operation import Operation
from inhabit.policy.check import checked
from inhabit.policy.document import read_policy
from inhabit.policy.results import redacted
from tests.policy.policy_kit import OPERATIONS, POLICY, problems, rule


def test_sound_policy_has_no_problems() -> None:
    assert problems(POLICY) == []


@pytest.mark.parametrize(("text", "expected"), [
    (rule(on="shop.refund.pay"), "p:3:6: error: r: no operation is named 'shop.refund.pay' (did you mean 'shop.refunds.pay'?)"),
    (rule(on="shop.refund.*"), "p:3:6: error: r: no operation lies under 'shop.refund.*' (did you mean 'shop.refunds.*'?)"),
    (rule("args.amout > 5"), "p:5:8: error: r: shop.refunds.pay has no args.amout (did you mean 'amount'?)"),
    (rule("args.lines.exists(l, l.prize > 5)"), "p:5:8: error: r: shop.refunds.pay has no args.lines.*.prize (did you mean 'price'?)"),
    (rule("args.customer.name == 'a'"), "p:5:8: error: r: shop.refunds.pay has no args.customer.name"),
    (rule("args.amount > 5", on="**"), "p:5:8: error: r: shop.orders.list and 1 more have no args.amount; such a call is denied, as it cannot be judged: has() asks first"),
    (rule("has(args.amout) && args.amout > 5"), "p:5:8: error: r: shop.refunds.pay has no args.amout"),
    (rule("args.note == 'x'"), "p:5:8: warning: r: args.note may be left out of shop.refunds.pay: such a call is denied, as it cannot be judged (has(args.note) && … asks first)"),
    (rule("args.lines[0].gift"), "p:5:8: warning: r: args.lines.*.gift may be left out"),
    (rule("args.amount > 'a'"), "p:5:8: error: r: args.amount > 'a': shop.refunds.pay has a number here, compared with text; it cannot be judged"),
    (rule("args.customer == 5"), "p:5:8: error: r: args.customer == 5: shop.refunds.pay has text here, compared with a number; == always gives the same"),
    (rule("has(args.maybe) && args.maybe > 'a'"), "p:5:8: error: r: args.maybe > 'a': shop.refunds.pay has a number here"),
    (rule("args.lines.exists(l, l.price > 'a')"), "p:5:8: error: r: args.lines.*.price > 'a': shop.refunds.pay has a number here"),
    (rule("args.lines == 5"), "p:5:8: error: r: args.lines == 5: shop.refunds.pay has a list here, compared with a number"),
    (rule("args.customer in [1, 2]"), "p:5:8: error: r: args.customer == 1: shop.refunds.pay has text here"),
    (rule("args.status == 'opn'"), "p:5:8: warning: r: args.status == 'opn': 'opn' is not among the values that shop.refunds.pay takes (did you mean 'open'?)"),
    (rule("args.amount.startsWith('a')"), "p:5:8: error: r: args.amount of shop.refunds.pay is a number: startsWith() needs text"),
    (rule("args.customer - 1 == 2"), "p:5:8: error: r: args.customer of shop.refunds.pay is text: - needs numbers"),
    (rule("args.amount"), "p:5:8: error: r: args.amount of shop.refunds.pay is a number, no truth value (compare it with something)"),
    (rule("false"), "p:5:8: error: r: the condition never holds (remove the rule, or the condition)"),
    (rule() + "effects = { writes = 'external' }", "p:5:11: warning: r: none of the 1 operations under `on` has these effects"),
    ("[[limit]]\nname='l'\non='**'\namount='args.customer'\nmax=1\nwindow='1d'", "p:4:8: error: l: args.customer of shop.refunds.pay is text, no number"),
    ("[[limit]]\nname='l'\non='mail.*'\nmax=1\nwindow='1d'\n" + rule("usage.l > 0.5"),
     "p:10:8: error: r: limit 'l' does not count shop.refunds.pay, so its usage is not known there"),
    ("[[test]]\noperation='mail.sent'\nexpect='deny'", "p:1:1: error: test 1: there is no operation 'mail.sent' (did you mean 'mail.send'?)"),
])
def test_what_does_not_fit_the_operations_is_named(text: str, expected: str) -> None:
    found = problems(text)
    assert any(line.startswith(expected) for line in found), found


@pytest.mark.parametrize("when", [
    "has(args.note) && args.note == 'x'", "has(args.maybe) && args.maybe != null && args.maybe > 4", "args.lines.all(l, !has(l.gift) || l.gift)",
    "args.amount > 5 && args.amount < 5.5", "args.status == 'open'", "args.customer + 'x' == 'yx'", "type(args.amount) == int", "size(args) > 3",
    "args.lines.exists(l, l.price > 5)", "args.customer in ['a', 'b']", "args.customer != null", "size(args.lines) > 2", "args.lines[0].price == 1",
])
def test_sound_conditions_pass(when: str) -> None:
    assert problems(rule(when)) == []


def test_schema_that_says_nothing_is_not_guessed_at() -> None:
    assert problems(rule("has(args.a) && args.a.b > 5 && has(args.c) && args.c == 'x'", on="http.fetch")) == []


def test_a_source_that_could_not_be_reached_makes_warnings() -> None:
    assert problems(rule(on="github.issues.*"), complete=False)[0].startswith("p:3:6: warning")
    assert problems("[[test]]\noperation='github.x'\nexpect='deny'", complete=False)[0].startswith("p:1:1: warning")


@pytest.mark.parametrize(("wall", "behind", "expected"), [
    (rule(on="shop.**"), rule("args.amount > 5", name="s", then="ask"), "p:5:1: error: s: it can never have an effect: 'r' (line 1) says deny"),
    (rule(on="shop.refunds.*"), rule(name="s", then="allow"), "p:5:1: error: s: it can never have an effect"),
    (rule(on="**", then="ask"), rule(name="s", then="allow", on="mail.*"), "p:5:1: error: s: it can never have an effect"),
    (rule("true"), rule(name="s", then="hold"), "p:6:1: error: s: it can never have an effect"),
    (rule("args.amount > 5"), rule("args.amount > 5", name="s", then="ask"), "p:6:1: error: s: it can never have an effect"),
    (rule(), "[[limit]]\nname='s'\non='shop.refunds.pay'\nmax=5\nwindow='1d'", "p:5:1: error: s: it can never have an effect"),
    (rule(), rule(name="s"), "p:5:1: warning: s: it says what 'r' (line 1) says already"),
    (rule(on="shop.**"), rule("args.amount > 5", name="s"), "p:5:1: warning: s: it says what 'r' (line 1) says already"),
    (rule(), rule(name="s", then="ask") + "scope = { user = 'ada' }", "p:5:1: error: s: it can never have an effect"),
])
def test_what_can_never_have_an_effect_is_named(wall: str, behind: str, expected: str) -> None:
    found = problems(wall + behind)
    assert len(found) == 1 and found[0].startswith(expected), found


@pytest.mark.parametrize("text", [
    rule(on="shop.refunds.*", then="ask") + rule(name="s", then="deny"),
    rule("args.amount > 9") + rule("args.amount > 5", name="s", then="ask"),
    rule() + "scope = { user = 'ada' }\n" + rule(name="s", then="ask"),
    rule(on="shop.**") + "effects = { writes = 'none' }\n" + rule(name="s", then="ask"),
    rule(on="shop.orders.*") + rule(name="s", then="ask", on="shop.**"),
    rule(then="ask") + "[[limit]]\nname='s'\non='shop.refunds.pay'\nmax=5\nwindow='1d'",
    rule("args.amount > 5") + rule("args.amount > 6", name="s"),
])
def test_rules_that_still_matter_are_left_alone(text: str) -> None:
    assert problems(text) == []


def test_the_work_of_checking_grows_no_faster_than_the_rules() -> None:
    def work(rules: int) -> int:
        document = read_policy("".join(rule(f"args.amount > {number}", name=f"r{number}") for number in range(rules)))
        profile = cProfile.Profile()
        assert profile.runcall(checked, document, OPERATIONS) == ()
        return sum(entry.callcount for entry in profile.getstats())

    assert work(1_000) < 10 * work(125)   # 8 times the rules; each held against all others it would be 64 times the work


CARD = {"type": "object", "properties": {"card": {"type": "string"}, "holder": {"$ref": "#/$defs/Holder"}, "more": {}}, "additionalProperties": False}
CARDS = Operation(
    "bank.cards", {"type": "object", "properties": {}}, output_schema={"type": "array", "items": {"anyOf": [CARD, {"type": "null"}]}},
    definitions={"Holder": {"type": "object", "properties": {"name": {"type": "string"}, "of": {"type": "array", "items": {"$ref": "#/$defs/Holder"}}}}})


@pytest.mark.parametrize(("path", "warned"), [
    ("*.card", False), ("card", False), ("*.*", False), ("*.holder.name", False), ("holder.of.of.name", False), ("holder.of.*.name", False),
    ("more.anything.below", False), ("*", False),
    ("*.crd", True), ("crd", True), ("*.card.number", True), ("holder.nam", True), ("holder.of.*.nam", True), ("*.holder.name.*", True),
])
def test_a_redaction_that_hides_nothing_is_named(path: str, warned: bool) -> None:
    """It is held against what redaction does with a value of the same shape."""
    text = f'[[result]]\non = "bank.*"\nredact = ["{path}"]'
    found = [problem.text("p") for problem in checked(read_policy(text, file="p"), (CARDS,))]
    expected = f"p:3:10: warning: result 1: no result under `on` has {path}, so nothing is hidden by it"
    assert [line[:len(expected)] for line in found] == ([expected] if warned else [])
    holder = {"name": "a", "of": [{"name": "b", "of": [{"name": "c", "of": []}]}]}
    value = [{"card": "1", "holder": holder, "more": {"anything": {"below": 1}}}]
    assert (redacted(value, [path]) == value) is warned


def test_results_that_nobody_described_are_not_guessed_at() -> None:
    assert problems('[[result]]\non = "mail.*"\nredact = ["a.b.*.c"]') == []


@pytest.mark.parametrize(("args", "expected"), [
    ("{ amuont = 5 }", "shop.refunds.pay has no argument 'amuont' (did you mean 'amount'?)"),
    ("{ amount = '5' }", "amount is text, and shop.refunds.pay takes a number (give what a call would)"),
    ("{ lines = 2026-01-01 }", "lines is a date, and shop.refunds.pay takes a list (give what a call would)"),
    ("{ amount = 5, lines = [], maybe = 3 }", ""), ("{}", "")])
def test_an_example_whose_arguments_no_call_has_is_named(args: str, expected: str) -> None:
    text = f"[[test]]\nname = 't'\noperation = 'shop.refunds.pay'\nargs = {args}\nexpect = 'allow'"
    assert problems(text, OPERATIONS) == ([f"p:1:1: warning: t: {expected}"] if expected else [])
