"""Does search find the operations a task needs, and how fast?

Sets: RestBench TMDB (100 questions, most needing several endpoints) and Seal-Tools in-domain (700 questions,
4,076 tools), both only measured here: weights and word tables were set on other data (docs/search.md says
which). Every tool is given as an outsider would give it: name, description, parameters. The peer is a plain
BM25 (k1 1.5, b 0.75) over the same text, in the same run. Speed: the 2,560 endpoints of a large API, queried
with the words of its own endpoints (every term has postings) and with the questions of both sets.
"""

from __future__ import annotations

import gzip
import json
import math
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.report import Report, bench_data, options, percentile
from inhabit.catalog.evaluate import ranker_of, recalls

__all__ = ["main"]

Tool = dict[str, Any]
Question = tuple[str, list[str]]
_METHODS = ("get", "put", "post", "delete", "patch")


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the figures; 1 when the data is absent."""
    chosen = options("recall and speed of search", arguments)
    report = Report(chosen.json)
    data = bench_data()
    if data is None:
        report.note("no data: set INHABIT_BENCH_DATA to a folder with restbench/, sealtools/ and cloudflare-endpoints-*.txt.gz")
        return 1
    tmdb_tools, tmdb = _tmdb(data / "restbench")
    seal_tools, seal = _sealtools(data / "sealtools")
    if chosen.quick:
        seal = seal[::4]
        report.note("--quick: every fourth Seal-Tools question; the recalls differ from the full run's")
    _recalls(report, "tmdb", tmdb_tools, tmdb)
    _recalls(report, "sealtools", seal_tools, seal)
    _speed(report, data, [query for query, _gold in [*tmdb, *seal[:100]]])
    return 0


def _recalls(report: Report, name: str, tools: list[Tool], questions: list[Question]) -> None:
    ranker, _count = ranker_of(tools)
    plain = _PlainBM25(tools)
    ours = recalls([([hit.name for hit in ranker.rank(query, limit=10)], gold) for query, gold in questions])
    peer = recalls([(plain.rank(query, 10), gold) for query, gold in questions])
    for key, value in ours.items():
        if value is not None:
            report.figure(f"search.{name}.{key}", value, "share", peer="plain BM25", peer_value=peer[key])


def _speed(report: Report, data: Path, queries: list[str]) -> None:
    tools = _endpoints(next(data.glob("cloudflare-endpoints-*.txt.gz")))
    ranker, count = ranker_of(tools)
    plain = _PlainBM25(tools)
    queries = [*queries, *(_as_question(tool) for tool in tools[:: max(1, len(tools) // 300)])]
    report.note(f"speed over {count} endpoints, {len(queries)} queries")
    ours = _times(lambda query: ranker.rank(query, limit=10), queries)
    peer = _times(lambda query: plain.rank(query, 10), queries)
    report.figure("search.cloudflare.p50_ms", percentile(ours, 0.5), "ms", peer="plain BM25 in Python", peer_value=percentile(peer, 0.5))
    report.figure("search.cloudflare.p99_ms", percentile(ours, 0.99), "ms", peer="plain BM25 in Python", peer_value=percentile(peer, 0.99))


def _times(search: Callable[[str], object], queries: list[str]) -> list[float]:
    for query in queries[:20]:
        search(query)
    times: list[float] = []
    for query in queries:
        started = time.perf_counter()
        search(query)
        times.append((time.perf_counter() - started) * 1_000)
    return times


# -- sets -------------------------------------------------------------------------------------------------------------


def _tmdb(folder: Path) -> tuple[list[Tool], list[Question]]:
    with gzip.open(folder / "tmdb_oas.json.gz") as file:
        tools = list(_openapi_tools(json.load(file)))
    return tools, [(one["query"], one["solution"]) for one in json.loads((folder / "tmdb.json").read_text())]


def _openapi_tools(document: Mapping[str, Any]) -> Iterator[Tool]:
    """One tool an operation: `METHOD /path`, summary and description, path, query and body parameters."""
    for path, item in document["paths"].items():
        for method in _METHODS:
            operation = item.get(method)
            if not isinstance(operation, dict):
                continue
            text = "\n".join(part for part in (operation.get("summary"), operation.get("description")) if part)
            yield {"name": f"{method.upper()} {path}", "description": text,
                   "input_schema": _parameters(document, [*item.get("parameters", []), *operation.get("parameters", [])], operation)}


def _parameters(document: Mapping[str, Any], parameters: list[Any], operation: Mapping[str, Any]) -> Tool:
    properties: dict[str, Any] = {}
    required: list[str] = []
    for parameter in parameters:
        known = _resolved(document, parameter)
        if known.get("in") in ("path", "query"):
            properties[known["name"]] = {"description": known.get("description") or "", **_resolved(document, known.get("schema", {}))}
            if known.get("required"):
                required.append(known["name"])
    for body in _resolved(document, operation.get("requestBody", {})).get("content", {}).values():
        for name, schema in (_resolved(document, body.get("schema", {})).get("properties") or {}).items():
            properties.setdefault(name, {key: value for key, value in _resolved(document, schema).items() if key in ("type", "description", "enum")})
    return {"type": "object", "properties": properties, "required": required}


def _resolved(document: Mapping[str, Any], node: Any) -> dict[str, Any]:
    while isinstance(node, dict) and "$ref" in node:
        target: Any = document
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part.replace("~1", "/").replace("~0", "~")]
        node = target
    return node if isinstance(node, dict) else {}


def _sealtools(folder: Path) -> tuple[list[Tool], list[Question]]:
    tools = [{"name": one["api_name"], "description": one["api_description"],
              "input_schema": {"type": "object", "properties": one["parameters"], "required": one.get("required", [])}}
             for one in _json_lines(folder / "tool.jsonl.gz")]
    questions = [(one["query"], list(dict.fromkeys(call["api"] for call in one["calling"])))
                 for one in _json_lines(folder / "test_in_domain.jsonl.gz")]
    return tools, questions


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt") as file:
        yield from (json.loads(line) for line in file if line.strip())


def _endpoints(path: Path) -> list[Tool]:
    with gzip.open(path, "rt") as file:
        rows = [line.split() for line in file if line.strip()]
    distinct = {f"{method.upper()} {route}": " ".join(rest).removeprefix("client.").replace(".", " ") for method, route, *rest in rows}
    return [{"name": name, "description": text} for name, text in distinct.items()]


def _as_question(tool: Tool) -> str:
    """What someone might ask for this endpoint, in its own words."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", tool["description"]).lower().split()
    return " ".join(["please", *reversed(words), "for my account and zone"])


# -- the peer ---------------------------------------------------------------------------------------------------------


class _PlainBM25:
    """BM25 as in the textbooks, over name, description and parameters."""

    def __init__(self, tools: list[Tool], k1: float = 1.5, b: float = 0.75) -> None:
        self._names = [tool["name"] for tool in tools]
        bags = [Counter(self._words(self._text(tool))) for tool in tools]
        lengths = [sum(bag.values()) for bag in bags]
        average = sum(lengths) / max(1, len(lengths))
        self._postings: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for number, bag in enumerate(bags):
            for word, count in bag.items():
                self._postings[word].append((number, count * (k1 + 1) / (count + k1 * (1 - b + b * lengths[number] / average))))

    def rank(self, query: str, limit: int) -> list[str]:
        scores: dict[int, float] = defaultdict(float)
        for word in self._words(query):
            postings = self._postings.get(word, ())
            rarity = math.log(1 + (len(self._names) - len(postings) + 0.5) / (len(postings) + 0.5))
            for number, weight in postings:
                scores[number] += rarity * weight
        return [self._names[number] for number in sorted(scores, key=lambda one: -scores[one])[:limit]]

    @staticmethod
    def _text(tool: Tool) -> str:
        properties = (tool.get("input_schema") or {}).get("properties") or {}
        notes = [f"{name} {schema.get('description', '') if isinstance(schema, dict) else ''}" for name, schema in properties.items()]
        return " ".join([tool["name"], tool.get("description") or "", *notes])

    @staticmethod
    def _words(text: str) -> list[str]:
        return re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).replace("_", " ").lower())


if __name__ == "__main__":
    sys.exit(main())
