"""Look at calls that wait for a person: list them, what is unusual first, or show one whole."""

from __future__ import annotations

import argparse
from datetime import datetime
from typing import Any

from inhabit.cli.client import Api, api
from inhabit.cli.loop import run_async
from inhabit.cli.options import add_app_options, add_principal_option
from inhabit.cli.terminal import say, show_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="list|show")
    listing = actions.add_parser("list", help="what waits")
    show = actions.add_parser("show", help="one call, whole")
    show.add_argument("approval", metavar="ID")
    for action in (parser, listing, show):
        add_app_options(action)
        add_principal_option(action)
        action.add_argument("--json", action="store_true")


def run(args: argparse.Namespace) -> int:
    return run_async(_with_api(args, _show if args.action == "show" else _list))


async def _with_api(args: argparse.Namespace, action: Any) -> int:
    async with api(args) as client:
        await action(client, args)
    return 0


async def _list(client: Api, args: argparse.Namespace) -> None:
    answer = await client.get("/v1/approvals")
    if args.json:
        show_json(answer)
        return
    if not answer["groups"]:
        say("nothing waits for approval")
    for group in answer["groups"]:
        odd = f", {group['odd']} unlike the others" if group["odd"] else ""
        say(f"{group['operation']}: {group['count']} waiting{odd}")
        for approval in group["approvals"]:
            _say_one(approval)


async def _show(client: Api, args: argparse.Namespace) -> None:
    approval = await client.get(f"/v1/approvals/{args.approval}", whole=True)
    if args.json:
        show_json(approval)
        return
    say(f"{approval['operation']} for {approval['principal']}, run {approval['run']}")
    _say_one(approval)


def _say_one(approval: dict[str, Any]) -> None:
    until = datetime.fromtimestamp(approval["expires_ms"] / 1000).astimezone().strftime("%Y-%m-%d %H:%M")
    state = approval["verdict"] or f"until {until}"
    say(f"  {approval['id']}  {approval['reason']} ({approval['rule']}), {state}")
    for line in approval["arguments"].splitlines():
        say(f"      {line}")
    for warning in (*approval["warnings"], *approval.get("odd", ())):
        say(f"    ! {warning}")
