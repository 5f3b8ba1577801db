"""Grants: what a clause permits, and that nothing ever widens."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inhabit.contracts.effects import Effects
from inhabit.contracts.operation import Operation
from inhabit.errors import InvalidInput
from inhabit.kernel.grants import Clause, Grant, Permitted, Refusal, matches, patterns_over

READ = Effects(reads="private", trust="trusted", writes="none", irreversible=False, idempotent=True)
WRITE = Effects(reads="private", trust="untrusted", writes="external", irreversible=True)


def op(name: str, effects: Effects = READ) -> Operation:
    return Operation(name, {"type": "object"}, effects=effects)


def permits(grant: Grant, name: str, arguments: dict[str, Any] | None = None, *, effects: Effects = READ, now: int = 0,
            used: dict[str, int] | None = None) -> bool:
    return isinstance(grant.permits(op(name, effects), arguments or {}, now, used or {}), Permitted)


@pytest.mark.parametrize(("pattern", "name", "expected"), [
    ("**", "anything.at.all", True),
    ("shop.**", "shop.orders.list", True),
    ("shop.**", "shop", False),
    ("shop.**", "shopping.list", False),
    ("shop.*", "shop.list", True),
    ("shop.*", "shop.orders.list", False),
    ("shop.orders.list", "shop.orders.list", True),
    ("shop.orders.list", "shop.orders.lists", False),
    ("shop.orders.list", "shop.orders", False),
])
def test_pattern_matches_whole_segments(pattern: str, name: str, expected: bool) -> None:
    assert permits(Grant.of(pattern), name) is expected
    assert Grant.of(pattern).shows(name) is expected


@pytest.mark.parametrize("pattern", ["", "*", "shop.", "shop.*.list", "shop.***", "*.list", "shop orders", "shop.**.x", "a..b", "shop.*\n"])
def test_malformed_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidInput, match="pattern"):
        Grant.of(pattern)


@pytest.mark.parametrize("caveat", [
    {}, {"unknown": 1}, {"effects": {}}, {"effects": {"writes": "everything"}}, {"effects": {"colour": "red"}},
    {"effects": {"irreversible": True}}, {"argument": "x"}, {"argument": "", "max": 1}, {"argument": "x", "max": "9"},
    {"argument": "x", "max": True}, {"argument": "x", "max": float("nan")}, {"argument": "x", "one_of": "abc"},
    {"argument": "x", "prefix": 3}, {"argument": "x", "max": 1, "or": True}, {"expires_ms": "never"}, {"calls": -1},
    {"calls": True}, {"calls": 1.5}, "max", None,
])
def test_E02_unknown_or_malformed_caveat_is_refused(caveat: Any) -> None:
    with pytest.raises(InvalidInput, match="caveat"):
        Grant.of({"pattern": "**", "caveats": [caveat]})


@pytest.mark.parametrize("value", [None, 3, "**", {"layers": []}, {"layers": [["**"]], "or": True}, {"layers": "**"}, {}, [3],
                                   [{"pattern": "**", "more": 1}], [{"pattern": "**", "caveats": {"calls": 1}}], {"layers": [3]}])
def test_E02_malformed_grant_value_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInput):
        Grant.from_value(value)


def test_C02_empty_grant_permits_nothing() -> None:
    for grant in (Grant.of(), Grant.nothing(), Grant.from_value([]), Grant.from_value({"layers": [[]]})):
        assert not permits(grant, "shop.list")
        assert not grant.shows("shop.list")


@pytest.mark.parametrize(("caveat", "arguments", "expected"), [
    ({"argument": "amount", "max": 100}, {"amount": 100}, True),
    ({"argument": "amount", "max": 100}, {"amount": 100.5}, False),
    ({"argument": "amount", "max": 100}, {"amount": "5"}, False),
    ({"argument": "amount", "max": 100}, {"amount": True}, False),
    ({"argument": "amount", "max": 100}, {}, False),
    ({"argument": "amount", "min": 1}, {"amount": 0}, False),
    ({"argument": "amount", "min": 1}, {"amount": 1}, True),
    ({"argument": "status", "one_of": ["open", "paid"]}, {"status": "paid"}, True),
    ({"argument": "status", "one_of": ["open"]}, {"status": "Open"}, False),
    ({"argument": "flag", "one_of": [1]}, {"flag": True}, False),
    ({"argument": "order.total", "max": 5}, {"order": {"total": 4}}, True),
    ({"argument": "order.total", "max": 5}, {"order": [4]}, False),
    ({"argument": "path", "prefix": "docs/"}, {"path": "docs/a/b"}, True),
    ({"argument": "path", "prefix": "docs/"}, {"path": "docs/../secret"}, False),
    ({"argument": "path", "prefix": "docs/"}, {"path": "docs/..\\secret"}, False),
    ({"argument": "path", "prefix": "docs/"}, {"path": "docs/a..b"}, True),
    ({"argument": "path", "prefix": "docs/"}, {"path": ["docs/"]}, False),
])
def test_E03_argument_bounds(caveat: dict[str, Any], arguments: dict[str, Any], expected: bool) -> None:
    grant = Grant.of({"pattern": "**", "caveats": [caveat]})
    assert permits(grant, "shop.pay", arguments) is expected


def test_a_grant_without_layers_cannot_be_made() -> None:
    with pytest.raises(InvalidInput, match="layer"):
        Grant(())


def test_effects_ceiling() -> None:
    reads_only = Grant.of({"pattern": "**", "caveats": [{"effects": {"writes": "none", "irreversible": False}}]})
    assert permits(reads_only, "a.b", effects=READ)
    refusal = reads_only.permits(op("a.b", WRITE), {}, 0, {})
    assert isinstance(refusal, Refusal) and "writes is external" in refusal.reason
    reversible = Grant.of({"pattern": "**", "caveats": [{"effects": {"irreversible": False}}]})
    assert not permits(reversible, "a.b", effects=WRITE)


def test_expiry_and_call_count() -> None:
    grant = Grant.of({"pattern": "a.*", "caveats": [{"expires_ms": 100}, {"calls": 2}]})
    assert permits(grant, "a.b", now=99)
    assert not permits(grant, "a.b", now=100)
    answer = grant.permits(op("a.b"), {}, 0, {})
    assert isinstance(answer, Permitted) and answer.counted == ("0.0",)
    assert not permits(grant, "a.b", used={"0.0": 2})


def test_second_clause_may_permit_what_the_first_refuses() -> None:
    grant = Grant.of({"pattern": "a.*", "caveats": [{"argument": "n", "max": 1}]}, {"pattern": "a.b", "caveats": [{"argument": "m", "max": 1}]})
    assert permits(grant, "a.b", {"m": 1})
    assert not permits(grant, "a.c", {"m": 1})


def test_grant_survives_its_json_form() -> None:
    grant = Grant.of("a.*", Clause("b.**", ({"calls": 3},))).narrowed("a.b")
    assert Grant.from_value(grant.as_value()) == grant


_NAMES = st.sampled_from(["a.b", "a.c", "a.b.c", "a.b.c.d", "b.c", "x"])
_PATTERNS = st.sampled_from(["**", "a.**", "a.*", "a.b", "a.b.**", "a.b.c", "b.*", "x"])
_CAVEATS = st.one_of(
    st.builds(lambda n: {"argument": "n", "max": n}, st.integers(-3, 3)),
    st.builds(lambda n: {"argument": "n", "min": n}, st.integers(-3, 3)),
    st.builds(lambda v: {"argument": "s", "one_of": v}, st.lists(st.sampled_from(["p", "q", 1]), max_size=2)),
    st.builds(lambda p: {"argument": "s", "prefix": p}, st.sampled_from(["", "p", "../"])),
    st.builds(lambda t: {"expires_ms": t}, st.integers(0, 5)),
    st.builds(lambda c: {"calls": c}, st.integers(0, 3)),
    st.builds(lambda w: {"effects": {"writes": w}}, st.sampled_from(["none", "internal", "external"])),
    st.just({"effects": {"irreversible": False}}),
)
_LAYERS = st.lists(st.builds(lambda p, c: {"pattern": p, "caveats": c}, _PATTERNS, st.lists(_CAVEATS, max_size=2)), max_size=3)
_ARGUMENTS = st.fixed_dictionaries({}, optional={"n": st.integers(-4, 4), "s": st.sampled_from(["p", "q", "pq", "../p", 1])})


@given(_LAYERS, st.lists(_LAYERS, min_size=1, max_size=3), _NAMES, _ARGUMENTS, st.sampled_from([READ, WRITE]), st.integers(0, 6))
def test_E02_narrowing_never_widens(first: Any, more: Any, name: str, arguments: Any, effects: Effects, now: int) -> None:
    grant = Grant.of(*first)
    for layer in more:
        narrower = grant.narrowed(*layer)
        if permits(narrower, name, arguments, effects=effects, now=now):
            assert permits(grant, name, arguments, effects=effects, now=now)
            assert narrower.shows(name)
        if narrower.shows(name):
            assert grant.shows(name)
        grant = narrower


@given(_LAYERS, _LAYERS, _NAMES, _ARGUMENTS, st.integers(0, 6))
def test_within_is_the_intersection(left: Any, right: Any, name: str, arguments: Any, now: int) -> None:
    a, b = Grant.of(*left), Grant.of(*right)
    assert permits(a.within(b), name, arguments, now=now) == (
        permits(a, name, arguments, now=now) and permits(b, name, arguments, now=now))


@given(st.lists(st.sampled_from(["a", "b", "ab"]), min_size=1, max_size=4).map(".".join),
       st.lists(st.sampled_from(["a", "b", "ab"]), max_size=4).map(".".join), st.sampled_from(["", ".*", ".**"]))
def test_patterns_over_a_name_are_those_that_match_it(name: str, head: str, end: str) -> None:
    pattern = head + end if head else "**"
    assert (pattern in patterns_over(name)) is matches(pattern, name)
