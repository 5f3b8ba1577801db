"""Calls that a program spells out: what its text says whole, and nothing beside it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inhabit.contracts.effects import Effects
from inhabit.contracts.operation import Operation
from inhabit.contracts.program import CallSite
from inhabit.isolates.javascript.typescript.callsites import CallSites
from inhabit.isolates.javascript.typescript.tree import SourceParser
from inhabit.isolates.python.prepare import prepare
from inhabit.runtime.spelled import Spelled, spelled_calls
from inhabit.wire.values import encode_value

SEND = Operation("mail.send", {}, effects=Effects("none", "trusted", "external", True))
READ = Operation("mail.read", {}, effects=Effects("private", "untrusted", "none", False))
FOUND = {operation.name: operation for operation in (SEND, READ)}
WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\x00\u2028\u2029"), max_size=8)
LEAVES = st.none() | st.booleans() | st.integers(-2**53, 2**53) | st.floats(allow_nan=False, allow_infinity=False, width=32) | WORDS
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3), max_leaves=8)
ARGUMENTS = st.dictionaries(st.from_regex(r"[a-z]{1,6}", fullmatch=True), VALUES, max_size=4)
PARSER = SourceParser()


def sites(source: str, language: str) -> tuple[CallSite, ...]:
    if language == "python":
        prepared, _ = prepare(source, ("mail",))
        return prepared.calls
    parsed = PARSER.parse(source.encode())
    found = CallSites(parsed, ("mail",))
    for item in parsed.walk(frozenset()):
        found.visit(item)
    return found.finish()


def told(source: str, language: str, given_input: Any = None) -> Spelled:
    return Spelled(spelled_calls(sites(source, language), FOUND.get), encode_value(given_input))


def written(arguments: dict[str, Any], language: str) -> str:
    return f"await mail.send({repr(arguments) if language == 'python' else json.dumps(arguments, ensure_ascii=False)})"


@pytest.mark.parametrize("language", ["typescript", "python"])
@given(ARGUMENTS, ARGUMENTS)
@settings(max_examples=150, deadline=None)
def test_E13_a_call_is_taken_as_it_stands_once_and_no_other(language: str, arguments: dict[str, Any], others: dict[str, Any]) -> None:
    spelled = told(written(arguments, language), language)
    if encode_value(others, canonical=True) != encode_value(arguments, canonical=True) and json.loads(json.dumps(others)) != arguments:
        assert not spelled.takes(1, "mail.send", others)
    assert not spelled.takes(1, "mail.read", arguments)
    assert spelled.takes(2, "mail.send", arguments) and spelled.takes(2, "mail.send", arguments)
    assert not spelled.takes(3, "mail.send", arguments)


@given(st.lists(st.sampled_from(["a", "b", "c"]), max_size=5), st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=8))
def test_E12_no_more_calls_than_were_spelled_out(written_to: list[str], made_to: list[str]) -> None:
    spelled = told("\n".join(f"await mail.send({{to: '{one}'}})" for one in written_to), "typescript")
    taken = [to for number, to in enumerate(made_to) if spelled.takes(number, "mail.send", {"to": to})]
    for one in "abcd":
        assert taken.count(one) == min(written_to.count(one), made_to.count(one))


@pytest.mark.parametrize("language", ["typescript", "python"])
@given(st.dictionaries(st.sampled_from(["a", "b", "to"]), VALUES, min_size=1), VALUES)
@settings(max_examples=100, deadline=None)
def test_E13_a_part_of_the_input_is_what_stands_there(language: str, given_input: dict[str, Any], other: Any) -> None:
    source = "await mail.send({'to': input['to']})"
    spelled = told(source, language, given_input)
    if "to" in given_input:
        assert spelled.takes(1, "mail.send", {"to": given_input["to"]})
    else:
        assert not spelled.takes(1, "mail.send", {"to": other}) and not spelled.takes(1, "mail.send", {"to": None})


@pytest.mark.parametrize(("language", "call"), [
    ("typescript", "mail.send({to: words})"), ("typescript", "mail.send({to: 'a', ...words})"), ("typescript", "mail.send({[words]: 'a'})"),
    ("typescript", "mail.send({to: `${words}`})"), ("typescript", "mail.send({to: ['a', ...words]})"), ("typescript", "mail.send({to: 'a' + words})"),
    ("typescript", "mail.send({to})"), ("typescript", "mail.send(words)"), ("typescript", "mail.read({to: 'a'})"), ("typescript", "mail.send({to: input[words]})"),
    ("python", "mail.send(to=words)"), ("python", "mail.send(to='a', **words)"), ("python", "mail.send(to=f'{words}')"), ("python", "mail.send(to=['a', *words])"),
    ("python", "mail.send(to=[x for x in words])"), ("python", "mail.send(words)"), ("python", "mail.send(to=input[words])"), ("python", "mail.read(to='a')")])
def test_E13_what_is_not_said_whole_is_not_spelled_out(language: str, call: str) -> None:
    assert spelled_calls(sites(f"await {call}", language), FOUND.get) == ()


@pytest.mark.parametrize("text", [r"\ud800", r"\ud800\udc00"])
def test_D15_half_a_surrogate_pair_is_spelled_out_by_nobody(text: str) -> None:
    assert spelled_calls(sites(f"await mail.send({{to: '{text}'}})", "typescript"), FOUND.get) == ()


def test_B25_what_is_past_the_bounds_is_not_spelled_out() -> None:
    many = [CallSite("mail.send", 1, 1, {"kind": "object", "properties": {"to": {"kind": "literal", "value": n}}, "open": False}) for n in range(500)]
    large = [CallSite("mail.send", 1, 1, {"kind": "object", "properties": {"to": {"kind": "literal", "value": "x" * 1_000}}, "open": False})] * 100
    assert len(spelled_calls(many, FOUND.get)) == 200 and len(spelled_calls(large, FOUND.get)) < 65
