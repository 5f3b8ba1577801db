"""Search over any tool set from outside: catalog and queries as JSON lines, ranked names and recalls out.

Catalog lines are `{"name", "description", "input_schema"?}`, query lines `{"query", "gold": [names]}`. Names are
any strings and stay as given. The index is built in memory; nothing is written.
"""

from __future__ import annotations

import time
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


def evaluate(catalog_path: Path, queries_path: Path) -> Iterator[dict[str, Any]]:
    """One object a query: `{"query", "ranked", "gold"?, "recall5"?, "recall10"?, "all10"?}`, then one summary:
    `{"summary": {"queries", "tools", "recall5", "recall10", "all10", "p50_ms"}}` (recalls over the queries that
    have gold; None when none has). Raises `InvalidInput` naming file and line.
    """
    ranker, tools = ranker_of(_lines(catalog_path))
    found: list[tuple[Sequence[str], Sequence[str]]] = []
    times: list[float] = []
    count = 0
    for number, line in enumerate(_lines(queries_path), 1):
        query = line.get("query")
        if not isinstance(query, str):
            raise InvalidInput(f"{queries_path}, line {number}: no text under \"query\"")
        started = time.perf_counter()
        ranked = [hit.name for hit in ranker.rank(query, limit=_RANKED)]
        times.append(time.perf_counter() - started)
        count += 1
        answer: dict[str, Any] = {"query": query, "ranked": ranked}
        gold = line.get("gold")
        if is_list(gold) and gold:
            names = [str(name) for name in gold]
            found.append((ranked, names))
            answer.update(gold=names, **recalls([(ranked, names)]))
        yield answer
    middle = sorted(times)[len(times) // 2] * 1_000 if times else None
    yield {"summary": {"queries": count, "tools": tools, **recalls(found), "p50_ms": middle}}


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
            raise InvalidInput(f"catalog line {number}: no text under \"name\"")
        builder.document(raw_document(name, name, "", "", str(description), schema if is_object(schema) else None,
                                      None, _definitions(schema), (), lexer))
        count += 1
    return Ranker([builder.build("evaluation")], lexer), count


def _definitions(schema: Any) -> Mapping[str, Any]:
    found = schema.get("$defs") if is_object(schema) else None
    return found if is_object(found) else {}


def _lines(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                value = _parsed(line, path, number)
                if not is_object(value):
                    raise InvalidInput(f"{path}, line {number}: expected a JSON object")
                yield value
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror}") from None


def _parsed(line: bytes, path: Path, number: int) -> Any:
    try:
        return orjson.loads(line)
    except ValueError as error:
        raise InvalidInput(f"{path}, line {number}: not JSON: {error}") from None
