"""Conditions: what they read, and that nothing a program sends makes them lie or break."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inhabit.kernel.policy import Unjudgeable
from inhabit.policy.conditions import MAX_EXPRESSION_CHARS, CelError, compiled


def judge(text: str, args: Any = None, **facts: Any) -> Any:
    return compiled(text)({"args": args or {}, **facts})


@pytest.mark.parametrize(("text", "reads"), [
    ("args.amount > 5 && args.to == 'x'", {"args.amount", "args.to"}),
    ("has(args.a.b) || has(args['c'].d)", {"args.a.b", "args.c.d"}),
    ("args.a == 1 && args.a.b == 2", {"args.a"}),
    ("args[principal.user] == 1", {"args.*", "principal.user"}),
    ("run.calls.exists(c, c.operation == 'a.b' && c.args.path != '')", {"run.calls.*.", "run.calls.*.operation", "run.calls.*.args.path"}),
    ("args.x.all(i, args.y.exists(j, j.k == i))", {"args.x.*", "args.y.*.", "args.y.*.k"}),
    ("args.m.all(k, args.m[k] > 1)", {"args.m.*"}),
    ("[1, 2].exists(x, x == args.n) && {'a': args.o}['a'] == 1", {"args.n", "args.o"}),
    ("type(args.x) == int && usage['a b'] > 5.5", {"args.x", "usage.a b"}),
    ("args.l[size(args.q)].x == -3", {"args.l.*.x", "args.q"}),
    ("now > timestamp('2026-01-01T00:00:00Z') && operation.startsWith('a')", {"now", "operation"}),
])
def test_condition_knows_what_it_reads(text: str, reads: set[str]) -> None:
    assert compiled(text).reads == reads


def test_only_what_is_referred_to_is_looked_at() -> None:
    assert judge("args.amount > 5", {"amount": 6, "bad": "\ud800", "deep": object(), "big": ["x"] * 10**6}) is True
    calls = [{"operation": "a.b", "args": {"huge": "x" * 10**6, "path": "/p"}, "ok": object()}]
    assert judge("run.calls.exists(c, c.args.path == '/p')", run={"calls": calls}) is True
    assert judge("size(args.m) == 2 && 'a' in args.m", {"m": {"a": 1, "b": 2}}) is True
    assert judge("args.l.all(x, true)", {"l": [1, 2]}) is True
    assert judge("args.x.y == 1 || true", {"x": [1]}) is True


@pytest.mark.parametrize(("text", "args", "expected"), [
    ("args.n > 5", {"n": 5.5}, True), ("args.n > 5.5", {"n": 6}, True), ("args.n == 6", {"n": 6.0}, True), ("args.n == '6'", {"n": 6}, False),
    ("args.n * 2.0", {"n": 1.5}, 3.0), ("args.s + '!'", {"s": "é😀"}, "é😀!"), ("size(args.s)", {"s": "é😀"}, 2),
    ("args.s.lower() == 'straße'", {"s": "STRAßE"}, True), ("args.s.lower() == 'a@b.c'", {"s": "A@B.c"}, True),
    ("has(args.n) && args.n > 5", {}, False), ("args.n == null", {"n": None}, True), ("args.n in [1, 2]", {"n": 2}, True),
    ("args.s.matches('^(a+)+$')", {"s": "a" * 100_000 + "b"}, False),
])
def test_values_are_compared_as_a_person_expects(text: str, args: Any, expected: Any) -> None:
    assert judge(text, args) == expected


@pytest.mark.parametrize(("text", "args"), [
    ("args.s == 'a'", {"s": "a\0b"}), ("args.s.endsWith('@acme.com')", {"s": "x@evil.org\0@acme.com"}), ("'a' in args.s", {"s": {"a\0b": 1}}),
    ("args.s == 'a'", {"s": "\ud800"}), ("args.s.lower() == 'a'", {"s": "\udfff"}), ("size(args.s) > 0", {"s": {"\udc00": 1}}),
    ("args.n > 5", {"n": float("nan")}), ("args.n > 5", {"n": float("inf")}), ("args.n > 5", {"n": 10**30}), ("args.n > 5", {"n": 2**63}),
    ("args.n > 5", {"n": -2**63 - 1}), ("args.n > 5", {"n": "6"}), ("args.n > 5", {}), ("args.n.m > 5", {"n": 5}), ("args.n > 5", {"n": object()}),
    ("args.n + 1 > 0", {"n": 2**63 - 1}), ("args.n / 0 > 1", {"n": 1}), ("args.l[9] == 1", {"l": [1]}), ("args.n", {"n": None}), ("args.n", {"n": [1]}),
    ("args.l.all(x, x >= 0)", {"l": list(range(10_001))}), ("size(args.l) > 0", {"l": [0] * 100_000}), ("args.l.all(x, true)", {"l": [{}] * 100_000}),
    ("args.l.all(x, args.l.all(y, x >= 0 && y >= 0))", {"l": list(range(200))}), ("size(args.s) > 0", {"s": "x" * 600_000}),
    ("args.s.matches(args.r)", {"s": "a", "r": "((a{1,100}){1,100}){1,100}"}), ("args.s.matches(args.r)", {"s": "a", "r": "["}),
    ("size(args.m) > 0", {"m": {1: 2}}), ("host(args.n) == ''", {"n": 5}),
])
def test_E23_what_cannot_be_judged_is_no_answer(text: str, args: Any) -> None:
    """NUL above all: CEL would read text up to it, and the connector past it."""
    with pytest.raises(Unjudgeable):
        judge(text, args)


def test_deep_and_large_values_end_quickly() -> None:
    deep: Any = 1
    for _ in range(5_000):
        deep = [deep]
    for text in ("size(args.x) > 0", "args.x == args.x"):
        with pytest.raises(Unjudgeable):
            judge(text, {"x": deep})


def test_a_clock_beyond_the_calendar_cannot_be_judged() -> None:
    assert judge("now < timestamp('2030-01-01T00:00:00Z')", now=1_700_000_000_000) is True
    for now in (10**18, -10**18, 2**70):
        with pytest.raises(Unjudgeable):
            judge("now < timestamp('2030-01-01T00:00:00Z')", now=now)


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.text("\ud800\0a'\\"),
                    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ax\0\ud800"), inner, max_size=4), max_leaves=12)
TEXTS = ["args.x > 5", "args.x == args.y", "args.x.exists(e, e == args.y)", "args.x.a == 1 || args.y in args.x", "size(args.x) > size(args.y)",
         "args.x + args.y == 0", "args.x.lower() == 'a' || below(args.x, args.y)", "has(args.x.a) ? args.x.a : args.y", "args.x[args.y] == 1"]
CONDITIONS = [compiled(text) for text in TEXTS]


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(CONDITIONS), JSON, JSON)
def test_whatever_is_sent_a_condition_answers_or_says_it_cannot(condition: Any, x: Any, y: Any) -> None:
    try:
        answer = condition({"args": {"x": x, "y": y}})
    except Unjudgeable:
        return
    assert type(answer) in (bool, int, float, str)


@given(st.text(), st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",))))
def test_E23_text_is_equal_for_the_policy_where_it_is_for_the_host(one: str, other: str) -> None:
    try:
        assert judge("args.x == args.y", {"x": one, "y": other}) is (one == other)
    except Unjudgeable:
        assert "\0" in one


@pytest.mark.parametrize(("text", "line", "column", "words"), [
    ("args.x >", 1, 9, "Syntax error"), ("1 > 'a'", 1, 3, "no matching overload"), ("true &&\n  arg.x > 1", 2, 6, "undeclared"),
    ("", 1, 1, "empty"), ("x" * (MAX_EXPRESSION_CHARS + 1), 1, 1, "at most"), ("(" * 900 + ")" * 900, 1, 1, "limit"),
    ("[1]", 1, 1, "a list"), ("now", 1, 1, "a time"), ("args.x.nope()", 1, 12, "undeclared"), ("1 + " * 500 + "1", 1, 1, "depth"),
    ("'\ud800' == 'a'", 1, 1, ""),
])
def test_faults_in_the_text_have_a_place(text: str, line: int, column: int, words: str) -> None:
    with pytest.raises(CelError) as raised:
        compiled(text)
    fault = raised.value.faults[0]
    assert (fault.line, fault.column) == (line, column) and words in fault.message


@pytest.mark.parametrize(("url", "below", "host"), [
    ("https://api.test/v1/x", True, "api.test"), ("https://API.test:443/v1/%78", True, "api.test"), ("https://api.test.evil.org/v1/", False, "api.test.evil.org"),
    ("https://api.test/v10", False, "api.test"), ("https://user@api.test/v1/", False, ""), ("https://api.test\\@evil.org/v1/", False, ""),
    ("https://api.test/v1/../v2", False, "api.test"), ("https://api.test/v1/%2e%2e/v2", False, "api.test"), ("//api.test/v1/", False, ""),
    ("http://api.test/v1/x", False, "api.test"), ("https://api.test./v1/x", True, "api.test"), ("https://\u0430pi.test/v1/x", False, ""), ("x", False, ""),
])
def test_E23_urls_are_compared_by_parts(url: str, below: bool, host: str) -> None:
    assert judge("below(args.url, 'https://api.test/v1')", {"url": url}) is below
    assert judge("host(args.url)", {"url": url}) == host


@pytest.mark.parametrize("path", ["docs/../x", "docs/%2e%2e/x", "docs\\..\\x", "docs/..;/x", "/docs/x"])
def test_E03_paths_are_not_left(path: str) -> None:
    assert judge("below(args.path, 'docs/')", {"path": path}) is False
    assert judge("below(args.path, 'docs/')", {"path": "docs/a.txt"}) is True
