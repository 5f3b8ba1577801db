"""Review what the tools of MCP servers are taken to do.

A server's annotations are its own word: until you confirm them, a tool counts as able to do anything. This
shows what each server says beside what counts now, and keeps what you confirm, pinned to the tool as it is
described today; it holds at once, also in a server that runs. Without a terminal it only shows, unless --yes
names a source.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from inhabit.cli.client import Api, api
from inhabit.cli.loop import run_async
from inhabit.cli.options import add_app_options, add_principal_option
from inhabit.cli.terminal import complain, safe, say, show_json, table
from inhabit.errors import NotFound


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="review")
    review = actions.add_parser("review", help="show and confirm effects", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    add_app_options(review)
    add_principal_option(review)
    review.add_argument("sources", nargs="*", metavar="SOURCE", help="default: every MCP server")
    review.add_argument("--yes", action="store_true", help="confirm what the named servers say, without asking")
    review.add_argument("--json", action="store_true", help="print the proposals and change nothing")


def run(args: argparse.Namespace) -> int:
    return run_async(_run(args))


async def _run(args: argparse.Namespace) -> int:
    async with api(args) as client:
        proposals = _wanted((await client.get("/v1/effects"))["sources"], args.sources)
        if args.json:
            show_json(proposals)
            return 0
        for name, found in proposals.items():
            await _review(client, name, found, confirm=args.yes and bool(args.sources))
    return 0


def _wanted(sources: dict[str, Any], names: list[str]) -> dict[str, Any]:
    missing = set(names) - set(sources)
    if missing:
        raise NotFound(f"there is no MCP server {sorted(missing)[0]!r}", fix=f"one of {', '.join(sources) or 'none'}")
    return {name: found for name, found in sources.items() if not names or name in names}


async def _review(client: Api, name: str, found: list[dict[str, Any]], *, confirm: bool) -> None:
    say(f"{name}: {len(found)} tools")
    table(("TOOL", "COUNTS AS", "THE SERVER SAYS", "STATE"),
          [(p["name"], _words(p["current"]), _words(p["proposed"]), p["state"]) for p in found])
    open_ones = {p["name"]: p["schema_hash"] for p in found if p["state"] != "confirmed"}
    if not open_ones:
        return
    if not confirm and not (sys.stdin.isatty() and _asked(name, len(open_ones))):
        complain(f"nothing confirmed; `inhabit effects review {name} --yes` confirms all of it")
        return
    answer = await client.post("/v1/effects", {"source": name, "tools": open_ones})
    say(f"confirmed {len(answer['confirmed'])} tools of {name}; it holds from now on, until the server changes them")
    if answer["changed"]:
        complain(f"changed since they were shown, and not confirmed: {', '.join(answer['changed'])}")


def _asked(name: str, count: int) -> bool:
    return input(safe(f"Take the word of {name} for these {count} tools? [y/N] ", inline=True)).strip().lower() in ("y", "yes")


def _words(effects: Mapping[str, Any]) -> str:
    parts = [f"reads {effects['reads']}", str(effects["trust"])]
    if effects["writes"] != "none":
        parts.append(f"writes {effects['writes']}")
        parts += [word for word in ("irreversible", "idempotent") if effects[word]]
    return ", ".join(parts)
