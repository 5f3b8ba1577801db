"""Reading a policy: every mistake has a place, a name and a fix, and a file with a mistake is not a policy."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inhabit.errors import ConfigError
from inhabit.kernel.policy import Limit, Policy, Scope
from inhabit.policy.document import MAX_TABLES, compose, read_policy
from inhabit.policy.toml import MAX_POLICY_BYTES
from tests.policy.policy_kit import POLICY, problems, rule


def test_policy_becomes_rules_limits_results_and_examples() -> None:
    document = read_policy(POLICY)
    policy = document.policy()
    assert [r.name for r in policy.rules] == ["large refunds need a person", "no mail after reading orders"]
    (limit,) = policy.limits
    assert (limit.maximum, limit.window_ms, limit.verdict, [c.text for c in limit.per]) == (200, 86_400_000, "deny", ["args.customer"])
    assert policy.results[0].redact == ("*.card",) and policy.results[0].name == "result 1"
    assert [e.expect for e in document.examples] == ["allow", "deny"] and policy.version == document.version != ""


def test_the_same_as_values_is_the_same_policy() -> None:
    text = rule("args.amount > 5") + '[[limit]]\nname = "l"\non = ["**"]\nmax = 5\nwindow = "run"\n'
    value = {"rule": [{"name": "r", "on": "shop.refunds.pay", "then": "deny", "when": "args.amount > 5"}],
             "limit": [{"name": "l", "on": ["**"], "max": 5, "window": "run"}]}
    assert read_policy(value).policy().version == read_policy(text).policy().version
    bad = read_policy({"rule": [{"name": "r"}]}, file="app.py")
    assert next(p.text("app.py") for p in bad.problems).startswith("app.py: error: r: ")


def test_version_is_of_what_decides() -> None:
    one, more = read_policy(POLICY), read_policy(POLICY + "\n# a remark\n[[test]]\noperation = 'a.b'\nexpect = 'allow'\n")
    assert one.version == more.version != read_policy(POLICY.replace("200", "201")).version
    assert one.version != read_policy(POLICY, scope=Scope(user="ada")).version


@pytest.mark.parametrize(("text", "expected"), [
    ("[[rule]\n", "p:1:7: error: Expected ']]' at the end of an array declaration"),
    ("title = 1", "p:1:9: error: unknown key 'title' (known here: rule, limit, result, test)"),
    ("[[rules]]\nname = 'a'", "p:1:1: error: unknown key 'rules' (did you mean 'rule'?)"),
    ("[rule]\nname = 'a'", "p:1:1: error: [rule] must be a list of tables ([[rule]])"),
    ("rule = [1]", "p:1:9: error: rule 1: it must be a table ([[rule]])"),
    (rule() + "wen = 'true'", "p:5:7: error: r: unknown key 'wen' (did you mean 'when'?)"),
    ("[[rule]]\non = '**'\nthen = 'deny'", "p:1:1: error: rule 1: name is missing (name = \"…\")"),
    (rule(name=""), "p:2:8: error: rule 1: name must be text of 1 to 1000 characters (name = \"…\")"),
    (rule(on=""), "p:3:6: error: r: '' is no pattern (a.b.c, a.b.*, a.** or **)"),
    ("[[rule]]\nname = 'r'\non = []\nthen = 'deny'", "p:3:6: error: r: `on` is empty: it would concern nothing (on = \"shop.orders.*\", or \"**\" for every operation)"),
    (rule(on="shop.*.x"), "p:3:6: error: r: 'shop.*.x' is no pattern (a.b.c, a.b.*, a.** or **)"),
    ("[[rule]]\nname = 'r'\non = '**'", "p:1:1: error: r: `then` is missing (one of allow, ask, hold, deny)"),
    (rule(then="dney"), "p:4:8: error: r: `then` is 'dney' (did you mean 'deny'?)"),
    (rule("args.amount >"), "p:5:24: error: r: Syntax error"),
    (rule("args.amount > 1 &&\n  agrs.x > 2"), "p:6:7: error: r: undeclared reference to 'agrs.x' (did you mean 'args'?)"),
    (rule("args.amount + 1.0 + size('a')"), "p:5:29: error: r: found no matching overload"),
    (rule("size(args.lines)"), "p:5:8: error: r: when gives INT, not BOOL"),
    (rule("principal.usr == 'a'"), "p:5:8: error: r: there is no principal.usr (did you mean 'user'?)"),
    (rule("run.atended"), "p:5:8: error: r: there is no run.atended (did you mean 'attended'?)"),
    (rule("labels.secret"), "p:5:8: error: r: there is no labels.secret (known here: private, untrusted)"),
    (rule("usage['refund'] > 5.0") + "[[limit]]\nname='refunds'\non='**'\nmax=1\nwindow='1d'",
     "p:5:8: error: r: there is no limit 'refund' to know the usage of (did you mean 'refunds'?)"),
    (rule() + "when = 5", "p:5:8: error: r: when must be an expression in text (when = \"args.amount > 100\")"),
    (rule() + "effects = { writes = 'outside' }", "p:5:22: error: r: effects.writes is 'outside' (one or more of none, internal, external)"),
    (rule() + "effects.wirtes = 'none'", "p:5:18: error: r: unknown effect 'wirtes' (did you mean 'writes'?)"),
    (rule() + "effects = 5", "p:5:11: error: r: effects must be a table"),
    (rule() + "effects = { irreversible = 1 }", "p:5:28: error: r: effects.irreversible is 1 (one or more of False, True)"),
    (rule() + "scope = { team = 'a' }", "p:5:18: error: r: unknown key 'team' in scope (did you mean 'tenant'?)"),
    (rule() + "scope = 'acme'", "p:5:9: error: r: scope must be a table of texts"),
    (rule() + rule(on="mail.send"), "p:6:8: error: r: the name is given twice, first in line 1 (limits count by name)"),
    ("[[limit]]\nname = 'l'\non = '**'\nmax = 5", "p:1:1: error: l: `window` is missing: a limit needs a time after which it is forgotten"),
    ("[[limit]]\nname = 'l'\non = '**'\nmax = 5\nwindow = '1w'", "p:5:10: error: l: `window` is '1w'"),
    ("[[limit]]\nname = 'l'\non = '**'\nmax = 5\nwindow = '400d'", "p:5:10: error: l: `window` is '400d'"),
    ("[[limit]]\nname = 'l'\non = '**'\nwindow = '1d'", "p:1:1: error: l: max is missing"),
    ("[[limit]]\nname = 'l'\non = '**'\nmax = -1\nwindow = '1d'", "p:4:7: error: l: max must be a number from 0 to 1e+15"),
    (f"[[limit]]\nname = 'l'\non = '**'\nmax = {10**400}\nwindow = '1d'", "p:4:7: error: l: max must be a number from 0 to 1e+15"),
    ("[[limit]]\nname = 'l'\non = '**'\nmax = 0\nwindow = '1d'", "p:4:7: warning: l: max = 0 lets nothing through"),
    ("[[limit]]\nname = 'l'\non = '**'\nmax = 5\nwindow = '1d'\nper = ['1','1','1','1','1','1']", "p:6:7: error: l: per has at most 5 expressions"),
    ("[[limit]]\nname = 'l'\non = '**'\nmax = 5\nwindow = '1d'\nwhen = 'usage.l > 4.0'", "p:6:8: error: l: usage is known to rules, not to limits"),
    ("[[limit]]\nname = 'l'\non = '**'\nmax = 5\nwindow = '1d'\namount = '\"a\"'", "p:6:10: error: l: amount gives STRING, not INT or UINT or DOUBLE"),
    ("[[result]]\non = '**'", "p:1:1: error: result 1: it neither redacts a field nor holds a schema"),
    ("[[result]]\non = '**'\nredact = 'a..b'", "p:3:10: error: result 1: 'a..b' is no path of a field"),
    ("[[result]]\non = '**'\nschema = 5", "p:3:10: error: result 1: schema must be a JSON Schema"),
    ("[[result]]\non = '**'\nredact = 5", "p:3:10: error: result 1: redact must be text or a list of at most 200 texts"),
    ("[[test]]\noperation = 'mail.send'", "p:1:1: error: test 1: `expect` is missing"),
    ("[[test]]\noperation = 'mail.send'\nexpect = 'ask'\nprincipal = 'a b'", "p:1:1: error: test 1: principal part 'a b' is not allowed"),
    ("[[test]]\noperation = 'mail.send'\nexpect = 'ask'\nlabels = ['secret']", "p:1:1: error: test 1: labels must be a list"),
    ("[[test]]\noperation = 'mail.send'\nexpect = 'ask'\nlabels = [[]]", "p:1:1: error: test 1: labels must be a list"),
    ("[[test]]\noperation = 'mail.send'\nexpect = 'ask'\neffects = { writes = 'far' }", "p:4:22: error: test 1: effects.writes is 'far'"),
    ("[[test]]\noperation = 'mail.send'\nexpect = 'ask'\nnow = 'noon'", "p:1:1: error: test 1: now must be a date and time"),
    ("[[test]]\noperation = 'mail.send'\nexpect = 'ask'\nargs = 5", "p:1:1: error: test 1: args must be a table"),
    ("[[test]]\noperation = 'mail.send'\nexpect = 'ask'\nrun = { atended = true }", "p:1:1: error: test 1: unknown key 'atended' in run"),
    ("[[test]]\noperation = 'mail.send'\nexpect = 'ask'\ncalls = [1]", "p:1:1: error: test 1: calls must be a list of tables"),
    ("[[test]]\noperation = 'mail.send'\nexpect = 'ask'\nused = { a = 'x' }", "p:1:1: error: test 1: used must give a number"),
    ("[[test]]\noperation = 'mail.send'\nexpect = 'ask'\nused = { a = 1 }", "p:4:14: error: test 1: there is no limit 'a'"),
])
def test_mistake_is_named_with_its_place(text: str, expected: str) -> None:
    found = problems(text)
    assert any(line.startswith(expected) for line in found), found


def test_a_maximum_that_is_no_number_is_one_mistake() -> None:
    text = "[[limit]]\nname = 'l'\non = '**'\nwindow = '1d'\nmax = "
    assert [line.partition("error: ")[2] for line in problems(text + "'5'")] == ["l: max must be a number from 0 to 1e+15"]
    assert problems(text + "0") == ["p:5:7: warning: l: max = 0 lets nothing through (a [[rule]] with then = \"deny\" says so plainly)"]


def test_mistakes_are_named_together_and_in_order() -> None:
    text = rule("args.amount > 'a'", then="dney") + rule(on="shop.refund.pay", name="s") + "colour = 'red'"
    assert [line.split(":")[1] for line in problems(text)] == ["4", "5", "8", "10"]


def test_tables_within_text_and_odd_spellings_do_not_move_places() -> None:
    text = "[[rule]]\n\"name\" = '''r'''\nreason = \"\"\"\n[[rule]]\nthen = 'x'\n\"\"\"\non = [ # one\n  '**',\n]\n'then' = 'dney'\n"
    assert problems(text) == ["p:10:10: error: r: `then` is 'dney' (did you mean 'deny'?)"]
    text = "rule = [{name = 'r', on = '**', then = 'ask'}, {name = 's', on = '**', then = 'dney'}]"
    assert any(line.startswith("p:1:79: error: s: `then`") for line in problems(text))
    assert problems("[[rule]]\nname = 'r'\non = '**'\nthen = 'ask'\n[rule.effects]\nwrites = 'x'\n")[0].startswith("p:6:10: error: r: effects.writes")
    assert problems("[[rule]]\nname = 'r'\non = '**'\nthen = 'ask'\nwhen = '''\n  true &&\n  arg == 1'''\n")[0].startswith("p:7:3: error: r: undeclared")


def test_policy_with_an_error_is_refused_whole() -> None:
    with pytest.raises(ConfigError, match=r"policy\.toml:4:8: error: r: `then` is 'dney'") as raised:
        read_policy(rule(then="dney") + rule(name="fine")).policy()
    assert raised.value.specific_code == "policy_invalid" and raised.value.details["problems"][0]["line"] == 4


@pytest.mark.parametrize("text", ["x" * (MAX_POLICY_BYTES + 1), "a = " + "[" * 5_000, "[[rule]]\n" * (MAX_TABLES + 1), "a = 1\n" * 2, "\ud800"])
def test_outsized_or_broken_text_is_one_error(text: str) -> None:
    document = read_policy(text)
    assert len(document.problems) == 1 and document.problems[0].severity == "error"


@settings(max_examples=400, deadline=None)
@given(st.text(max_size=200) | st.lists(st.sampled_from(
    ["[[rule]]", "[[limit]]", "[[test]]", "[rule.scope]", "name = 'a'", "name = 5", "on = '**'", "on = [[]]", "then = 'ask'", "when = 'args.x'", "when = []",
     "max = nan", "max = 5", "window = '1d'", "per = {}", "effects = []", "args = []", "expect = 'ask'", "operation = ''", "used = {a=nan}", "run = 5",
     "calls = {}", "schema = []", "[[result]]", "redact = [5]", "labels = [[]]", "now = 2020-01-01", "principal = 5"]), max_size=14).map("\n".join))
def test_no_text_makes_the_reader_fail(text: str) -> None:
    problems(text)


def layer(name: str, then: str = "ask", **scope: Any) -> Any:
    return read_policy(rule(name=name, then=then), file=f"{name}.toml", scope=Scope(**scope))


def test_layers_are_judged_together() -> None:
    policy = compose([layer("product"), layer("tenant", tenant="acme"), layer("user", "deny", tenant="acme", user="ada")])
    assert isinstance(policy, Policy) and [r.scope for r in policy.rules] == [Scope(), Scope("acme"), Scope("acme", "ada")]
    assert policy.version not in ("", layer("product").version)
    assert compose([layer("product")]).version == layer("product").version


def test_layer_cannot_speak_for_others_nor_take_a_name() -> None:
    document = read_policy(rule() + "scope = { user = 'bob' }", scope=Scope("acme", "ada"))
    assert "this file speaks for user ada alone, not for bob" in document.problems[0].message
    with pytest.raises(ConfigError, match="speaks for user ada"):
        compose([document])
    narrowed = read_policy(rule() + "scope = { program = 'p' }", scope=Scope("acme", "ada"))
    assert compose([narrowed]).rules[0].scope == Scope("acme", "ada", "p")
    with pytest.raises(ConfigError, match="both have 'one'"):
        compose([layer("one"), read_policy(rule(name="one"), file="other.toml")])


def test_limits_windows() -> None:
    def window(text: str) -> int:
        limit = read_policy(f"[[limit]]\nname='l'\non='**'\nmax=1\nwindow='{text}'").policy().limits[0]
        assert isinstance(limit, Limit)
        return limit.window_ms
    assert [window(text) for text in ("run", "30s", "1m", "2h", "30d")] == [0, 30_000, 60_000, 7_200_000, 2_592_000_000]
