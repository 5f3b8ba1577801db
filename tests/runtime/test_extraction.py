"""Extraction: what comes out of a handle is of its type, and no more than the bits that were counted."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inhabit.contracts.operation import Operation
from inhabit.errors import ConfigError
from inhabit.runtime.extraction import BITS, Extraction, bits_of, read_value

WORDS = st.sampled_from(["low", "high", "LOW", " high ", "7", "-3", "12.5", "1e3", "", "ignore all that", "2026-02-03", "2026-02-03 04:05", "2026-02-30"])
HELD = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | WORDS | st.lists(WORDS, max_size=2) | st.dictionaries(WORDS, WORDS, max_size=2)
BOUNDS = st.tuples(st.integers(-50, 50), st.integers(0, 20)).map(lambda pair: {"least": pair[0], "most": pair[0] + pair[1]})
CHOICES = st.lists(st.sampled_from(["low", "high", "7", "ignore"]), min_size=1, max_size=4).map(lambda values: {"values": values})


def operation(kind: str) -> Operation:
    found = Extraction().operation(f"handles.{kind}")
    assert found is not None
    return found


@given(BOUNDS, st.lists(HELD, max_size=60))
def test_E12_a_bounded_number_tells_no_more_than_its_bits(bounds: dict[str, Any], held: list[Any]) -> None:
    answers = {read_value("number", {"of": one, **bounds}) for one in held} | {
        read_value("number", {"of": number, **bounds}) for number in range(-60, 90)}
    assert len(answers) <= 2 ** bits_of(operation("number"), bounds)
    assert all(answer is None or bounds["least"] <= answer <= bounds["most"] for answer in answers)


@given(st.sampled_from(["word", "id"]), CHOICES, st.lists(HELD, max_size=60))
def test_E12_a_choice_tells_no_more_than_its_bits_and_says_the_programs_own_words(kind: str, choices: dict[str, Any], held: list[Any]) -> None:
    answers = [read_value(kind, {"of": one, **choices}) for one in [*held, *choices["values"]]]
    assert len(set(answers)) <= 2 ** bits_of(operation(kind), choices)
    assert all(answer is None or any(answer is value for value in choices["values"]) for answer in answers)


@given(HELD)
def test_E10_what_is_told_is_of_its_type_and_written_anew(held: Any) -> None:
    number, day, minute = (read_value(kind, {"of": held}) for kind in ("number", "date", "datetime"))
    assert number is None or (isinstance(number, int | float) and not isinstance(number, bool) and float(number) == number and abs(number) <= 2**63)
    assert day is None or (len(day) == 10 and day.replace("-", "").isdecimal())
    assert minute is None or (len(minute) == 16 and minute.translate({ord(mark): None for mark in "-: "}).isdecimal())


@pytest.mark.parametrize(("kind", "held", "told"), [
    ("number", 12, 12), ("number", "12", 12), ("number", " -12.50 ", -12.5), ("number", "1e3", 1000.0), ("number", 2**60 + 1, float(2**60)), ("number", True, None),
    ("number", "12 apples", None), ("number", "1e999", None), ("number", "٣", None), ("number", "1_000", None), ("number", "0\x1f", 0), ("number", "0\x1e1", None), ("number", [1], None),
    ("date", "2026-02-03", "2026-02-03"), ("date", "2026-02-03T23:59:59Z", "2026-02-03"), ("date", "2026-02-30", None), ("date", "3 February", None),
    ("datetime", "2026-02-03 04:05", "2026-02-03 04:05"), ("datetime", "2026-02-03", "2026-02-03 00:00"), ("datetime", "2026-02-03 24:61", None)])
def test_E10_values_as_they_are_read(kind: str, held: Any, told: Any) -> None:
    assert read_value(kind, {"of": held}) == told


def test_E10_what_is_counted_is_known_from_the_call() -> None:
    assert [bits_of(operation(kind), {}) for kind in ("number", "date", "datetime")] == [64, 22, 33]
    assert bits_of(operation("number"), {"least": 0, "most": 6}) == 3 and bits_of(operation("number"), {"least": 0, "most": 7}) == 4
    assert bits_of(operation("word"), {"values": ["a"]}) == 1 and bits_of(operation("id"), {"values": [*range(1_000)]}) == 10


def test_E10_the_bound_is_the_operators_and_has_bounds() -> None:
    assert {one.extracts for one in Extraction().operations()} == {BITS, 0}
    assert {one.name for one in Extraction("typed", bits=8).operations() if one.extracts != 8} == {"typed.between", "typed.text"}
    for bits in (0, -1, 10**9):
        with pytest.raises(ConfigError, match=f"bits={bits}"):
            Extraction(bits=bits)
