"""Search over any tool set from outside: catalog and queries as JSON lines, ranked names and recalls out.

Catalog lines are `{"name", "description", "input_schema"?}`, query lines `{"query", "gold": [names]}`. Names are
any strings and stay as given. The index is built in memory; nothing is written.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from inhabit.catalog.documents import raw_document
from inhabit.catalog.nodes import is_list, is_object
from inhabit.catalog.ranking import Ranker
from inhabit.catalog.segment import SegmentBuilder
from inhabit.catalog.words import Lexer
from inhabit.errors import InvalidInput

__all__ = ["evaluate", "ranker_of", "recalls"]

_DEPTHS = (5, 10)
_RANKED = 20
_SHOWN = 20


def evaluate(catalog_path: Path, queries_path: Path) -> Iterator[dict[str, Any]]:
    """One object a query: `{"query", "ranked", "gold"?, "recall5"?, "recall10"?, "all10"?}`, then one summary:
    `{"summary": {"queries", "tools", "recall5", "recall10", "all10", "p50_ms"}}` (recalls over the queries that
    have gold; None when none has), with `unknown_gold` (names that no tool has, so that no search can find them) and
    `duplicate_tools` where there are such. Raises `InvalidInput` naming file and line.
    """
    seen: Counter[str] = Counter()
    ranker, tools = ranker_of(_tools(catalog_path, seen))
    unknown: dict[str, None] = {}
    found: list[tuple[Sequence[str], Sequence[str]]] = []
    times: list[float] = []
    count = 0
    for number, line in _lines(queries_path):
        query = line.get("query")
        if not isinstance(query, str):
            raise InvalidInput(f"{queries_path}, line {number}: no text under \"query\"")
        started = time.perf_counter()
        ranked = [hit.name for hit in ranker.rank(query, limit=_RANKED)]
        times.append(time.perf_counter() - started)
        count += 1
        answer: dict[str, Any] = {"query": query, "ranked": ranked}
        names = _gold(line.get("gold"), f"{queries_path}, line {number}")
        if names:
            unknown.update((name, None) for name in names if name not in seen)
            found.append((ranked, names))
            answer.update(gold=names, **recalls([(ranked, names)]))
        yield answer
    middle = sorted(times)[len(times) // 2] * 1_000 if times else None
    doubts = {"unknown_gold": list(unknown), "duplicate_tools": [name for name, many in seen.items() if many > 1]}
    yield {"summary": {"queries": count, "tools": tools, **recalls(found), "p50_ms": middle,
                       **{key: names[:_SHOWN] for key, names in doubts.items() if names}}}


def _gold(given: Any, where: str) -> list[str]:
    """One name or a list of them. Raises `InvalidInput`: a gold that is read wrongly is a recall that is wrong."""
    names = [given] if isinstance(given, str) else [] if given is None else given
    if not is_list(names) or not all(isinstance(name, str) for name in names):
        raise InvalidInput(f"{where}: \"gold\" is a name or a list of names")
    return [str(name) for name in names]


def _tools(path: Path, seen: Counter[str]) -> Iterator[Mapping[str, Any]]:
    """The tools of a file, their names counted in `seen`."""
    for number, tool in _lines(path):
        if not isinstance(tool.get("name"), str) or not tool["name"]:
            raise InvalidInput(f"{path}, line {number}: no text under \"name\"")
        seen[tool["name"]] += 1
        yield tool


def recalls(found: Iterable[tuple[Sequence[str], Sequence[str]]]) -> dict[str, float | None]:
    """Mean share of gold in the first 5 and 10, and the share of queries with all gold in the first 10."""
    pairs = [(list(ranked), set(gold)) for ranked, gold in found]
    if not pairs:
        return {"recall5": None, "recall10": None, "all10": None}
    shares = {f"recall{depth}": sum(len(gold & set(ranked[:depth])) / len(gold) for ranked, gold in pairs) / len(pairs)
              for depth in _DEPTHS}
    return {**shares, "all10": sum(gold <= set(ranked[:10]) for ranked, gold in pairs) / len(pairs)}


def ranker_of(tools: Iterable[Mapping[str, Any]]) -> tuple[Ranker, int]:
    """A ranker over tool descriptions, and how many there are. Raises `InvalidInput` for a tool without a name."""
    lexer = Lexer()
    builder = SegmentBuilder(lexer)
    count = 0
    for number, tool in enumerate(tools, 1):
        name, description = tool.get("name"), tool.get("description") or ""
        schema = tool.get("input_schema") or tool.get("inputSchema") or tool.get("parameters")
        if not isinstance(name, str) or not name:
            raise InvalidInput(f"tool {number}: no text under \"name\"")
        builder.document(raw_document(name, name, "", "", str(description), schema if is_object(schema) else None,
                                      None, _definitions(schema), (), lexer))
        count += 1
    return Ranker([builder.build("evaluation")], lexer), count


def _definitions(schema: Any) -> Mapping[str, Any]:
    found = schema.get("$defs") if is_object(schema) else None
    return found if is_object(found) else {}


def _lines(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                value = _parsed(line, path, number)
                if not is_object(value):
                    raise InvalidInput(f"{path}, line {number}: expected a JSON object")
                yield number, value
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror}") from None


def _parsed(line: bytes, path: Path, number: int) -> Any:
    try:
        return orjson.loads(line)
    except ValueError as error:
        raise InvalidInput(f"{path}, line {number}: not JSON: {error}") from None
