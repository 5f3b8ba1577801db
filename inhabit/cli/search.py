"""Find operations by what they do.

With --catalog and --queries it searches a set of tools from a file, without configuration or server, and
prints the ranked names of each query and the recalls. Catalog lines: {"name", "description", "input_schema"?};
query lines: {"query", "gold": [names]}.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from inhabit.cli.client import api
from inhabit.cli.loading import load
from inhabit.cli.loop import run_async
from inhabit.cli.options import add_app_options, add_principal_option
from inhabit.cli.terminal import say, show_json
from inhabit.errors import InvalidInput


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_app_options(parser)
    add_principal_option(parser)
    parser.add_argument("query", nargs="?", help="what to do, in a few words")
    parser.add_argument("--language", choices=["typescript", "python"], default="typescript")
    parser.add_argument("--tokens", type=int, default=1_500, help="at most about this much text")
    parser.add_argument("--catalog", type=Path, metavar="FILE.jsonl", help="tools to search instead of the configured ones")
    parser.add_argument("--queries", type=Path, metavar="FILE.jsonl", help="queries with their right answers")
    parser.add_argument("--json", action="store_true")


def run(args: argparse.Namespace) -> int:
    if (args.catalog is None) != (args.queries is None):
        raise InvalidInput("--catalog and --queries belong together")
    if args.catalog is not None:
        return _evaluate(args)
    if args.query is None:
        raise InvalidInput("what is to be found?", fix='inhabit search "cancel an order"')
    return run_async(_search(args))


async def _search(args: argparse.Namespace) -> int:
    async with api(args) as client:
        answer = await client.post("/v1/search", {
            "query": args.query, "language": args.language, "budget_tokens": args.tokens})
    if args.json:
        show_json(answer)
    else:
        say(answer["declarations"])
    return 0


def _evaluate(args: argparse.Namespace) -> int:
    for line in load("evaluating").evaluate(args.catalog, args.queries):
        if args.json:
            show_json(line, indent=False)
        elif "summary" in line:
            say(", ".join(f"{name} {_shown(value)}" for name, value in line["summary"].items()))
        else:
            say(f"{line['query']}\n    {', '.join(line['ranked'][:10])}")
    return 0


def _shown(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
