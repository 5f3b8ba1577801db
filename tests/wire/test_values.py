"""The value codec: bounded, exact, and the same in both directions."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inhabit.errors import InvalidInput, ProtocolError
from inhabit.limits import MAX_JSON_DEPTH
from inhabit.wire.values import MAX_JSON_ITEMS, decode_value, encode_value

TEXT = st.text(st.characters(exclude_categories=("Cs",)))
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=40)


@given(PLAIN)
def test_what_is_written_is_read_back_equal(value: Any) -> None:
    assert decode_value(encode_value(value)) == value
    assert decode_value(encode_value(value, canonical=True)) == value


@given(PLAIN)
def test_two_readers_agree(value: Any) -> None:
    assert json.loads(encode_value(value)) == value
    assert decode_value(json.dumps(value).encode()) == value


@given(st.dictionaries(TEXT, st.integers(0, 9)))
def test_canonical_text_does_not_depend_on_key_order(value: dict[str, int]) -> None:
    shuffled = dict(reversed(value.items()))
    assert encode_value(value, canonical=True) == encode_value(shuffled, canonical=True)


@given(st.binary(max_size=200))
def test_D21_any_bytes_give_a_value_or_a_protocol_error(body: bytes) -> None:
    try:
        value = decode_value(body)
    except ProtocolError:
        return
    assert decode_value(encode_value(value)) == value


@given(st.text(alphabet='[]{}",:\\ntfe0123456789.-+ ', max_size=60))
def test_D21_near_json_gives_a_value_or_a_protocol_error(text: str) -> None:
    try:
        value = decode_value(text.encode())
    except ProtocolError:
        return
    assert decode_value(encode_value(value)) == value


@pytest.mark.parametrize("body", [
    pytest.param(b'"\xff"', id="bad_utf8"), pytest.param(b'"\xed\xa0\x80"', id="surrogate_bytes"),
    pytest.param(b'"\\ud800"', id="lone_surrogate"), pytest.param(b'"\x00"', id="raw_nul"), pytest.param(b"NaN", id="nan"),
    pytest.param(b"[Infinity]", id="infinity"), pytest.param(b"1e400", id="1e400"), pytest.param(b"9" * 1_000_000, id="huge_int"),
    pytest.param(b"18446744073709551617", id="over_64_bits"), pytest.param(b"[-9223372036854775809]", id="under_64_bits"), pytest.param(b"1" * 23, id="longer_than_any_double_prints"),
    pytest.param(b"", id="empty"), pytest.param(b"1 2", id="two_values"), pytest.param(b"\xef\xbb\xbf1", id="byte_order_mark"),
    pytest.param(b"{1:2}", id="number_key"), pytest.param(b"[1,]", id="trailing_comma"),
])
def test_D15_text_that_is_refused(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_value(body)


@pytest.mark.parametrize(("body", "value"), [
    (b"-0", 0), (b"9007199254740993", 2**53 + 1), (b"18446744073709551615", 2**64 - 1), (b"-9223372036854775808", -(2**63)),
    (b"18446744073709552000", float(2**64)), (b"100000000000000000000", 1e20), (b"-18446744073709552000", -float(2**64)),
    (b"0.12345678901234567890123", 0.12345678901234568), (b'{"a":1,"a":2}', {"a": 2}), (b'"\\u0000"', "\0"),
    (b'"1234567890123456789012345"', "1234567890123456789012345"), (b"[1,1234567890123456789]", [1, 1234567890123456789]),
])
def test_D15_text_that_is_taken_round_trips(body: bytes, value: Any) -> None:
    assert decode_value(body) == value
    assert decode_value(encode_value(value)) == value


@pytest.mark.parametrize("opener", ["[", '{"a":'])
def test_D16_depth_is_counted_before_parsing(opener: str) -> None:
    closer = "]" if opener == "[" else "}"
    for depth, fine in [(MAX_JSON_DEPTH, True), (MAX_JSON_DEPTH + 1, False), (100_000, False)]:
        body = (opener * depth + "0" + closer * depth).encode()
        if fine:
            decode_value(body)
        else:
            with pytest.raises(ProtocolError, match="deeper"):
                decode_value(body)


def test_D16_brackets_inside_strings_do_not_count_and_do_not_hide() -> None:
    text = ["[" * 300, ']"\\' * 300, '\\"[' * 300, "{,}" * 300]
    assert decode_value(encode_value(text)) == text
    hidden = b'["]",' * 300 + b"0" + b"]" * 300
    with pytest.raises(ProtocolError, match="deeper"):
        decode_value(hidden)
    with pytest.raises(ProtocolError, match="deeper"):
        decode_value(b'["\\\\",' * 300 + b"0" + b"]" * 300)


def test_D16_an_unclosed_bomb_costs_nothing() -> None:
    with pytest.raises(ProtocolError):
        decode_value(b"[" * 1_000_000)


def test_D15_items_are_bounded() -> None:
    with pytest.raises(ProtocolError, match="items"):
        decode_value(b"[" + b"0," * MAX_JSON_ITEMS + b"0]")
    assert len(decode_value(encode_value(["," * 2_000_000]))) == 1


def test_bytes_are_bounded() -> None:
    assert decode_value(b"[1]", max_bytes=3) == [1]
    with pytest.raises(ProtocolError, match="at most 2"):
        decode_value(b"[1]", max_bytes=2)


@pytest.mark.parametrize("value", [
    math.nan, math.inf, -math.inf, [None, math.nan], {"a": {"b": [None, (math.inf,)]}}, 2**64, -(2**63) - 1, "\ud800", {1: 2},
    b"bytes", {1, 2}, object(),
])
def test_D18_what_json_cannot_carry_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInput, match="not JSON data"):
        encode_value(value)


def test_D18_cycles_and_deep_data_are_refused() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    deep: list[Any] = []
    for _ in range(MAX_JSON_DEPTH):
        deep = [deep]
    for value in (cycle, deep):
        with pytest.raises(InvalidInput):
            encode_value(value)


def test_null_is_not_taken_for_nan() -> None:
    assert encode_value([None, 1.5, {"a": (None, 2)}]) == b'[null,1.5,{"a":[null,2]}]'
