"""Show the declarations of operations by name: `inhabit describe shop.orders.cancel`, `inhabit describe shop.orders`."""

from __future__ import annotations

import argparse
import re

from inhabit.cli.client import api
from inhabit.cli.loop import run_async
from inhabit.cli.options import add_app_options, add_principal_option
from inhabit.cli.terminal import complain, say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_app_options(parser)
    add_principal_option(parser)
    parser.add_argument("names", nargs="+", metavar="NAME", help="an operation or a capability")
    parser.add_argument("--language", choices=["typescript", "python"], default="typescript")
    parser.add_argument("--tokens", type=int, default=6_000, help="at most about this much text")


def run(args: argparse.Namespace) -> int:
    return run_async(_run(args))


async def _run(args: argparse.Namespace) -> int:
    async with api(args) as client:
        answer = await client.post("/v1/search", {
            "query": " ".join(args.names), "language": args.language, "budget_tokens": args.tokens})
    text = str(answer["declarations"])
    say(text)
    missing = [name for name in args.names if not re.search(rf"\b{re.escape(_last_word(name))}\b", text)]
    if missing:
        complain(f"not among them: {', '.join(missing)} (these are the nearest; `inhabit search` takes words)")
    return 3 if missing else 0


def _last_word(name: str) -> str:
    """As it is declared: the last part of the name, as a word of a language."""
    return re.sub(r"\W", "_", name.rstrip(".*").rpartition(".")[2])
