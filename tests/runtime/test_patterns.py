"""Patterns of a hostile source: many strings, long ones, large automata. The loop is not held."""

from __future__ import annotations

from typing import Any

import pytest

from inhabit.contracts.operation import Operation
from inhabit.errors import InvalidInput
from inhabit.runtime.patterns import MAX_CHARACTERS, MAX_STRINGS
from inhabit.runtime.schemas import Validators


def checked(pattern: str, value: Any) -> None:
    items = {"type": "array", "items": {"type": "string", "pattern": pattern}}
    Validators().arguments(Operation("kit.echo", {"type": "object", "properties": {"a": items}}), {"a": value})


@pytest.mark.parametrize(("pattern", "value"), [
    ("^(?:(?=a)a+)+$|^a*!", ["a" * 10 + "!"] * 200_000), ("(a{100}){90}b", ["a" * 1_000_000] * 5), ("^(?=(a+)+$)|x", ["a" * 30 + "!"] * 100_000)])
def test_B13_a_dear_pattern_over_much_text_is_refused_at_once(pattern: str, value: list[str]) -> None:
    with pytest.raises(InvalidInput, match=f"more than {MAX_STRINGS} strings or {MAX_CHARACTERS} characters"):
        checked(pattern, value)


@pytest.mark.parametrize(("pattern", "value"), [
    ("^(a+)+$", ["a" * 1_000_000 + "!"] * 5), ("[01]*1[01]{100}2", ["0110101" * 100_000] * 5), ("(?:x+x+)+y", ["x" * 1_000_000] * 5)])
def test_B13_a_plain_pattern_is_matched_in_linear_time(pattern: str, value: list[str]) -> None:
    with pytest.raises(InvalidInput, match="does not match"):
        checked(pattern, value)


@pytest.mark.parametrize(("pattern", "good", "bad"), [
    (r"^\d{4}-\d{2}$", "2026-11", "2026-1"), (r"^.{1,255}$", "ü" * 255, "x" * 256), (r"^(?!.*\.\.)[\w./]+$", "a/b.c", "a/../b"), (r"^(\w)\1$", "aa", "ab")])
def test_patterns_of_honest_sources_are_enforced(pattern: str, good: str, bad: str) -> None:
    checked(pattern, [good] * 100)
    with pytest.raises(InvalidInput, match="does not match"):
        checked(pattern, [good, bad])


def test_a_keyword_that_is_only_a_name_is_no_pattern() -> None:
    schema = {"type": "object", "properties": {"pattern": {"type": "string"}}}
    Validators().arguments(Operation("kit.echo", schema), {"pattern": "x" * 1_000_000})
