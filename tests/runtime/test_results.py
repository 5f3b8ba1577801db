"""Bounded results are always JSON, always within the bound, and say that they were cut."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inhabit.runtime.results import bounded
from inhabit.runtime.tokens import token_bound

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2**53, 2**53) | st.text(max_size=300),
    lambda inner: st.lists(inner, max_size=60) | st.dictionaries(st.text(max_size=20), inner, max_size=60), max_leaves=200)


@given(JSON, st.integers(40, 2_000))
def test_bounded_is_within_the_bound_or_untouched(value: Any, tokens: int) -> None:
    shown, cut = bounded(value, tokens)
    body = orjson.dumps(shown)
    assert token_bound(body) <= tokens
    assert cut is (token_bound(orjson.dumps(value)) > tokens)
    if not cut:
        assert shown == value


@pytest.mark.parametrize(("value", "marker"), [
    (list(range(20_000)), "more items"),
    ({f"key{n}": n for n in range(20_000)}, "more keys"),
    ("x" * 100_000, "more characters"),
    ([{"text": "y" * 5_000}] * 30, "more characters"),
])
def test_the_cut_says_how_much_is_missing(value: Any, marker: str) -> None:
    shown, cut = bounded(value, 6_000)
    assert cut and marker in orjson.dumps(shown).decode()


def test_what_cannot_be_cut_is_outlined() -> None:
    deep: Any = ["x" * 50] * 50
    for _ in range(6):
        deep = [deep] * 50 if len(orjson.dumps(deep)) < 5_000_000 else deep
    assert bounded({"a": deep, "b": deep}, 20)[1]
    assert bounded(deep, 20)[0] == "… an array of 50 items, too large to show"


def test_the_cut_keeps_the_start() -> None:
    shown, _ = bounded([{"id": n, "name": "n" * 200} for n in range(1_000)], 500)
    assert shown[0]["id"] == 0 and shown[0]["name"].startswith("nnn")
