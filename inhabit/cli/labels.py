"""See what conversations have read, and take the labels off one that you have looked at.

A conversation whose runs have read private data and what strangers wrote cannot send anything outward unasked. `clear`
says that its next runs begin without these labels; the reason stays on record.
"""

from __future__ import annotations

import argparse

from inhabit.cli.client import api
from inhabit.cli.loop import run_async
from inhabit.cli.options import add_app_options, add_principal_option
from inhabit.cli.terminal import say, show_json, table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|clear")
    shown = actions.add_parser("list", help="conversations that carry labels, and what was cleared")
    cleared = actions.add_parser("clear", help="take the labels off a conversation")
    cleared.add_argument("user", help="whose conversation")
    cleared.add_argument("conversation", help="as `inhabit labels list` shows it")
    cleared.add_argument("--reason", required=True, help="why that is safe; kept on record")
    shown.add_argument("--json", action="store_true", help="print JSON")
    for action in (shown, cleared):
        add_app_options(action)
        add_principal_option(action)


def run(args: argparse.Namespace) -> int:
    return run_async(_clear(args) if args.action == "clear" else _list(args))


async def _list(args: argparse.Namespace) -> int:
    async with api(args) as client:
        found = await client.get("/v1/labels")
    if args.json:
        show_json(found)
        return 0
    table(("USER", "CONVERSATION", "LABELS"), [
        (one["user"], one["scope"], ", ".join(f"{name} ({operation}, run {run})" for name, (operation, run) in one["labels"].items()))
        for one in found["conversations"]])
    for one in found["cleared"]:
        say(f"cleared: {one['scope']} of {one['user']} ({', '.join(one['labels'])}) by {one['by']}: {one['reason']}")
    return 0


async def _clear(args: argparse.Namespace) -> int:
    async with api(args) as client:
        done = await client.post("/v1/labels/clear", {"user": args.user, "conversation": args.conversation, "reason": args.reason})
    say(f"cleared {', '.join(done['labels'])} of {done['scope']}; its next runs begin without")
    return 0
