"""Typed messages: what one side writes the other reads; what a hostile worker writes gives a `ProtocolError`."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inhabit.contracts.program import (
    Boot,
    CallSite,
    Delivery,
    Finished,
    IssuedCall,
    LogLine,
    Prepared,
    Problem,
    Timer,
    Turn,
    Usage,
)
from inhabit.errors import InvalidInput, LimitExceeded, ProtocolError, WorkerLost
from inhabit.limits import Limits
from inhabit.wire import messages, replies
from inhabit.wire.frames import WIRE_VERSION
from inhabit.wire.values import encode_value

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
SMALL = st.integers(0, 2**32 - 1)
TURNS = st.builds(
    Turn,
    calls=st.lists(st.builds(IssuedCall, SMALL, TEXT, st.binary(max_size=20))).map(tuple),
    issued_before=st.lists(SMALL).map(tuple),
    finished=st.none() | st.builds(Finished, st.booleans(), st.binary(max_size=20)),
    timer=st.none() | st.builds(Timer, st.integers(0, 2**64 - 1), st.integers(-(2**63), 2**63 - 1)),
    logs=st.lists(st.builds(LogLine, st.sampled_from(["log", "info", "warn", "error", "debug"]), TEXT)).map(tuple),
    usage=st.builds(Usage, st.floats(0, 1e9), st.integers(0, 2**64 - 1)))
DELIVERIES = st.lists(st.builds(
    Delivery, st.sampled_from(["result", "error", "timer"]), st.integers(0, 2**64 - 1), st.binary(max_size=20),
    st.integers(-(2**63), 2**63 - 1))).map(tuple)

SHAPES: list[dict[str, Any]] = [
    {"kind": "object", "properties": {"a": {"kind": "literal", "value": None}, "b": {"kind": "string"}}, "open": True},
    {"kind": "array", "items": [{"kind": "number"}, {"kind": "boolean"}], "open": False}, {"kind": "unknown"}]
PREPARED = Prepared("code", (CallSite("a.b", 1, 2, None), *(CallSite("a.b", 3, 4, shape) for shape in SHAPES)),
                    (Problem("bad", 1, 2, "syntax", ("x", "y")),))
READY = replies.Ready({"typescript": "q/1"}, (replies.ReportedLayer("seccomp", True, "d", "f"),))
DECODERS: list[Callable[[bytes], Any]] = [
    replies.decode_turn, replies.decode_prepared, replies.decode_checked, replies.decode_ready, replies.decode_failed,
    messages.decode_prepare, messages.decode_typecheck, messages.decode_start, messages.decode_deliver]


@given(TURNS)
def test_turn_round_trip(turn: Turn) -> None:
    assert replies.decode_turn(replies.encode_turn(turn)) == turn


@given(DELIVERIES)
def test_deliver_round_trip(deliveries: tuple[Delivery, ...]) -> None:
    assert messages.decode_deliver(messages.encode_deliver(deliveries)) == deliveries


@given(TEXT, st.lists(TEXT).map(tuple), st.binary(max_size=20), st.integers(-(2**63), 2**63 - 1))
def test_start_round_trip(code: str, names: tuple[str, ...], given_input: bytes, seed: int) -> None:
    boot = Boot(code, names, given_input, seed, 5, Limits(cpu_ms=7))
    assert messages.decode_start(messages.encode_start("python", boot)) == ("python", boot)


def test_other_messages_round_trip() -> None:
    assert messages.decode_prepare(messages.encode_prepare("python", "söurce", ("a", "b"))) == ("python", "söurce", ("a", "b"))
    assert messages.decode_typecheck(messages.encode_typecheck("python", "c", "s")) == ("python", "c", "s")
    assert replies.decode_prepared(replies.encode_prepared(PREPARED)) == PREPARED
    assert replies.decode_checked(replies.encode_checked(PREPARED.problems)) == PREPARED.problems
    assert replies.decode_ready(replies.encode_ready(READY)) == READY


def test_failures_keep_their_limit_and_lose_the_rest() -> None:
    limit = replies.decode_failed(replies.encode_failed(LimitExceeded.of("cpu_ms", 50, "ms")))
    assert isinstance(limit, LimitExceeded)
    assert limit.details == {"limit": "cpu_ms", "value": 50, "unit": "ms"}
    other = replies.decode_failed(replies.encode_failed(RuntimeError("\ud800" + "x" * 10_000)))
    assert isinstance(other, WorkerLost)
    assert len(other.message) < 2_100
    assert "own words" in replies.decode_failed(replies.encode_failed(InvalidInput("own words"))).message


def test_text_that_is_not_unicode_is_named_before_it_is_sent() -> None:
    with pytest.raises(InvalidInput, match="surrogate"):
        messages.encode_prepare("python", "\ud800", ())


def test_a_guest_name_or_log_with_lone_surrogates_is_replaced() -> None:
    turn = Turn(calls=(IssuedCall(1, "a\ud800", b"{}"),), logs=(LogLine("log", "b\udfff"),))
    seen = replies.decode_turn(replies.encode_turn(turn))
    assert (seen.calls[0].operation, seen.logs[0].text) == ("a?", "b?")


@pytest.mark.parametrize("decode", DECODERS)
@given(body=st.binary(max_size=120))
def test_D21_any_body_gives_a_message_or_a_protocol_error(decode: Callable[[bytes], Any], body: bytes) -> None:
    try:
        decode(body)
    except ProtocolError:
        return


GOOD: list[tuple[Callable[[bytes], Any], bytes]] = [
    (replies.decode_turn, replies.encode_turn(Turn((IssuedCall(1, "a.b", b"{}"),), (0, 1), None, Timer(1, 2), (LogLine("log", "x"),)))),
    (replies.decode_turn, replies.encode_turn(Turn(finished=Finished(True, b"1")))),
    (replies.decode_prepared, replies.encode_prepared(PREPARED)), (replies.decode_checked, replies.encode_checked(PREPARED.problems)),
    (replies.decode_ready, replies.encode_ready(READY)), (replies.decode_failed, replies.encode_failed(LimitExceeded.of("a", 1, "b"))),
    (messages.decode_prepare, messages.encode_prepare("p", "s", ("n",))), (messages.decode_typecheck, messages.encode_typecheck("p", "c", "s")),
    (messages.decode_start, messages.encode_start("p", Boot("c", ("n",)))),
    (messages.decode_deliver, messages.encode_deliver((Delivery("result", 1, b"1", 2),)))]


@pytest.mark.parametrize(("decode", "body"), GOOD)
def test_D02_every_truncation_and_every_flipped_byte(decode: Callable[[bytes], Any], body: bytes) -> None:
    for at in range(len(body)):
        for hurt in (body[:at], body[:at] + bytes([body[at] ^ 0xFF]) + body[at + 1:], body + b"\0"):
            try:
                decode(hurt)
            except ProtocolError:
                continue


def hurt_turn(**changed: Any) -> bytes:
    fields = {"flags": 0, "cpu": 0.0, "memory": 0, "calls": 0, "issued": 0, "logs": 0, **changed}
    return struct.pack("<BdQIII", *fields.values())


@pytest.mark.parametrize("body", [
    hurt_turn(flags=8), hurt_turn(cpu=float("nan")), hurt_turn(cpu=-1.0), hurt_turn(cpu=float("inf")), hurt_turn(calls=2**32 - 1),
    hurt_turn(issued=2**32 - 1), hurt_turn(logs=2**32 - 1), hurt_turn(logs=1) + b"\x09\0\0\0\0", hurt_turn() + b"left over",
    hurt_turn(flags=4), hurt_turn(calls=1) + struct.pack("<IHI", 1, 3, 0) + b"\xff\xff\xff",
    hurt_turn(calls=1) + struct.pack("<IHI", 1, 3, 2**32 - 1) + b"a.b",
])
def test_D17_a_turn_of_the_wrong_shape(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        replies.decode_turn(body)


@pytest.mark.parametrize(("decode", "value"), [
    (replies.decode_prepared, [1, [], []]), (replies.decode_prepared, ["c", {}, []]), (replies.decode_prepared, ["c", [["p", -1, 0, None]], []]),
    (replies.decode_prepared, ["c", [["p", 1, True, None]], []]), (replies.decode_prepared, ["c", [["p", 1, 1, []]], []]),
    (replies.decode_prepared, ["c", [["p", 1, 1, {"kind": "__proto__"}]], []]), (replies.decode_prepared, ["c", [["p", 1, 1, {}]], []]),
    (replies.decode_prepared, ["c", [["p", 1, 1, {"kind": "literal"}]], []]), (replies.decode_prepared, ["c", [["p", 1, 1, {"kind": []}]], []]),
    (replies.decode_prepared, ["c", [["p", 1, 1, {"kind": "object", "properties": [], "open": True}]], []]),
    (replies.decode_prepared, ["c", [["p", 1, 1, {"kind": "object", "properties": {}, "open": 1}]], []]),
    (replies.decode_prepared, ["c", [["p", 1, 1, {"kind": "array", "items": {}, "open": True}]], []]),
    (replies.decode_checked, [["m", 1, 1, "c", "nearest"]]), (replies.decode_checked, {"m": 1}), (replies.decode_checked, [[]]),
    (replies.decode_failed, ["cpu_ms", True, "ms", "m"]), (replies.decode_failed, ["cpu_ms", "1", "ms", "m"]), (replies.decode_failed, [None, 1, "", "m"]),
    (replies.decode_ready, [WIRE_VERSION, [], []]), (replies.decode_ready, [WIRE_VERSION, {}, [["n", 1, "", ""]]]), (replies.decode_ready, []),
])
def test_D17_type_confusion(decode: Callable[[bytes], Any], value: Any) -> None:
    with pytest.raises(ProtocolError):
        decode(encode_value(value))


def test_D16_a_shape_as_deep_as_json_allows_is_no_recursion_error() -> None:
    shape: dict[str, Any] = {"kind": "unknown"}
    for _ in range(95):
        shape = {"kind": "array", "items": [shape], "open": False}
    prepared = replace(PREPARED, calls=(CallSite("a", 1, 1, shape),))
    assert replies.decode_prepared(replies.encode_prepared(prepared)) == prepared


def test_D22_version_skew_names_both_versions() -> None:
    with pytest.raises(ProtocolError, match=f"version {WIRE_VERSION + 1}, this host {WIRE_VERSION}"):
        replies.decode_ready(replies.encode_ready(READY, version=WIRE_VERSION + 1))


@pytest.mark.parametrize(("field", "value"), [(0, 1), (1, "names"), (1, [1]), (2, "seed"), (3, 1.5), (4, {}), (4, {"cpu_ms": -1})])
def test_a_start_of_the_wrong_shape(field: int, value: Any) -> None:
    head = ["python", ["n"], 1, 1, Limits().as_value()]
    if isinstance(value, dict) and value:
        value = {**Limits().as_value(), **value}
    head[field] = value
    text = encode_value(head)
    with pytest.raises(ProtocolError):
        messages.decode_start(struct.pack("<I", len(text)) + text + struct.pack("<I", 1) + b"c" + struct.pack("<I", 0))


def test_a_delivery_of_an_unknown_kind() -> None:
    with pytest.raises(ProtocolError):
        messages.decode_deliver(struct.pack("<IBQqI", 1, 3, 1, 1, 0))
