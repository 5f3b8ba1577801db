"""Review what the tools of MCP servers are taken to do.

A server's annotations are its own word: until you confirm them, a tool counts as able to do anything. This
shows what each server says beside what counts now, and keeps what you confirm, pinned to the tool as it is
described today. Without a terminal it only shows, unless --yes names a source.
"""

from __future__ import annotations

import argparse
import getpass
import sys
from dataclasses import asdict
from typing import Any

from inhabit.app import Inhabit
from inhabit.cli.loop import run_async
from inhabit.cli.opening import add_app_options, open_app
from inhabit.cli.terminal import complain, progress, safe, say, show_json, table
from inhabit.connectors.mcp import McpConnector
from inhabit.connectors.mcp.effects import EffectsReview, Proposal
from inhabit.contracts.effects import Effects
from inhabit.errors import NotFound


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="review")
    review = actions.add_parser("review", help="show and confirm effects", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    add_app_options(review)
    review.add_argument("sources", nargs="*", metavar="SOURCE", help="default: every MCP server")
    review.add_argument("--yes", action="store_true", help="confirm what the named servers say, without asking")
    review.add_argument("--json", action="store_true", help="print the proposals and change nothing")


def run(args: argparse.Namespace) -> int:
    return run_async(_run(args))


async def _run(args: argparse.Namespace) -> int:
    app = open_app(args)
    async with progress("opening the sources"):
        await app.start()
    try:
        proposals = {connector.name: connector.proposals() for connector in _servers(app, args.sources)}
    finally:
        await app.stop()
    if args.json:
        show_json({name: [asdict(proposal) for proposal in found] for name, found in proposals.items()})
        return 0
    review = EffectsReview(app.home.effects)
    for name, found in proposals.items():
        _review(name, found, review, confirm=args.yes and bool(args.sources))
    return 0


def _servers(app: Inhabit, wanted: list[str]) -> list[McpConnector]:
    connectors: list[Any] = list(app.runtime.parts.directory.connectors.values())
    servers = [connector for connector in connectors if isinstance(connector, McpConnector)]
    missing = set(wanted) - {server.name for server in servers}
    if missing:
        raise NotFound(f"there is no MCP server {sorted(missing)[0]!r}",
                       fix=f"one of {', '.join(server.name for server in servers) or 'none'}")
    return [server for server in servers if not wanted or server.name in wanted]


def _review(name: str, found: list[Proposal], review: EffectsReview, *, confirm: bool) -> None:
    say(f"{name}: {len(found)} tools")
    table(("TOOL", "COUNTS AS", "THE SERVER SAYS", "STATE"), [(p.name, _words(p.current), _words(p.proposed), p.state) for p in found])
    open_ones = [proposal for proposal in found if proposal.state != "confirmed"]
    if not open_ones:
        return
    if not confirm and not (sys.stdin.isatty() and _asked(name, len(open_ones))):
        complain(f"nothing confirmed; `inhabit effects review {name} --yes` confirms all of it")
        return
    for proposal in open_ones:
        review.confirm(proposal.name, proposal.proposed, proposal.schema_hash, by=getpass.getuser())
    say(f"confirmed {len(open_ones)} tools of {name}; it holds from the next start, and until the server changes them")


def _asked(name: str, count: int) -> bool:
    return input(safe(f"Take the word of {name} for these {count} tools? [y/N] ", inline=True)).strip().lower() in ("y", "yes")


def _words(effects: Effects) -> str:
    parts = [f"reads {effects.reads}", f"{effects.trust}"]
    if effects.may_write:
        parts.append(f"writes {effects.writes}")
        parts += [word for word, holds in (("irreversible", effects.irreversible), ("idempotent", effects.idempotent)) if holds]
    return ", ".join(parts)
