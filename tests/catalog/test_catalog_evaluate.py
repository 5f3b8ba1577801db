"""Search over a tool set from outside."""

import json
from pathlib import Path
from typing import Any

import pytest

from inhabit.catalog.evaluate import evaluate, recalls
from inhabit.errors import InvalidInput


def _write(path: Path, lines: list[Any]) -> Path:
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return path


def test_names_stay_as_given_and_recalls_are_counted(tmp_path: Path) -> None:
    tools = _write(tmp_path / "tools.jsonl", [
        {"name": "GET /people/{person_id}", "description": "One person", "input_schema": {"type": "object", "properties": {"person_id": {}}}},
        {"name": "do the dishes!", "description": "Wash plates and cups"}, "", {"name": "日本/天気", "description": "weather forecast"},
    ])
    queries = _write(tmp_path / "queries.jsonl", [
        {"query": "wash the cups", "gold": ["do the dishes!"]}, {"query": "will it rain? weather", "gold": ["日本/天気", "absent"]}, {"query": "person"}])
    *answers, last = evaluate(tools, queries)
    assert [answer["ranked"][0] for answer in answers] == ["do the dishes!", "日本/天気", "GET /people/{person_id}"]
    assert answers[1]["recall5"] == 0.5 and answers[1]["all10"] == 0 and "gold" not in answers[2]
    assert (last["summary"]["queries"], last["summary"]["tools"], last["summary"]["recall10"]) == (3, 3, 0.75)
    assert last["summary"]["p50_ms"] > 0


@pytest.mark.parametrize(("tools", "queries", "said"), [
    (["{"], [], "tools.jsonl, line 1: not JSON"), (["[]"], [], "line 1: expected a JSON object"), ([{"description": "x"}], [], r"tools.jsonl, line 1: no text under"),
    ([{"name": "a"}], [{"gold": []}], "queries.jsonl, line 1: no text under"), (["", {"name": ""}], [], "tools.jsonl, line 2: no text under"),
    ([{"name": "a"}], ["", {"query": "x", "gold": 5}], 'queries.jsonl, line 2: "gold" is a name or a list of names'),
    ([{"name": "a"}], [{"query": "x", "gold": [5]}], 'queries.jsonl, line 1: "gold" is'), ([{"name": "a"}, "nope"], [], "line 2"),
])
def test_bad_files_are_named(tmp_path: Path, tools: list[Any], queries: list[Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        list(evaluate(_write(tmp_path / "tools.jsonl", tools), _write(tmp_path / "queries.jsonl", queries)))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot read"):
        list(evaluate(tmp_path / "none", tmp_path / "none"))


def test_odd_schemas_do_not_break_it(tmp_path: Path) -> None:
    tools = _write(tmp_path / "t", [{"name": "x", "description": None, "input_schema": schema} for schema in (
        None, 5, [], {"properties": 3}, {"properties": {"a": None, "b": {"enum": [1, None]}}, "required": {"a": 1}}, {"$ref": "#/$defs/Loop", "$defs": {"Loop": {"$ref": "#/$defs/Loop"}}})])
    assert len(list(evaluate(tools, _write(tmp_path / "q", [{"query": "x"}])))) == 2


def test_recalls_of_nothing() -> None:
    assert recalls([]) == {"recall5": None, "recall10": None, "all10": None}


def test_one_gold_name_may_stand_alone_and_doubtful_names_are_told(tmp_path: Path) -> None:
    tools = _write(tmp_path / "t", [{"name": "wash", "description": "wash"}, {"name": "dry", "description": "dry"}, {"name": "dry", "description": "dry again"}])
    *answers, last = evaluate(tools, _write(tmp_path / "q", [{"query": "wash", "gold": "wash"}, {"query": "dry", "gold": ["dry", "drie"]}]))
    assert answers[0]["gold"] == ["wash"] and answers[0]["recall5"] == 1
    assert last["summary"]["unknown_gold"] == ["drie"] and last["summary"]["duplicate_tools"] == ["dry"]
