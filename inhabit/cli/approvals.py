"""Look at calls that wait for a person: list them, what is unusual first, or show one whole. Invite people to enrol the passkeys
that they answer with.
"""

from __future__ import annotations

import argparse
from datetime import datetime
from typing import Any

from inhabit.cli.client import Api, api
from inhabit.cli.loop import run_async
from inhabit.cli.options import add_app_options, add_principal_option
from inhabit.cli.terminal import complain, say, show_json
from inhabit.errors import Unavailable

_LISTED_LINES = 20
"""Of one call's arguments in the list: a change set has hundreds."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="list|show|enrol|passkeys")
    listing = actions.add_parser("list", help="what waits")
    show = actions.add_parser("show", help="one call, whole")
    show.add_argument("approval", metavar="ID")
    enrol = actions.add_parser("enrol", help="an address where somebody enrols a passkey, good once and for ten minutes")
    enrol.add_argument("--for", dest="whom", metavar="USER", help="who answers with it: user or tenant/user; default: you")
    enrol.add_argument("--label", default="", help="which key it is")
    passkeys = actions.add_parser("passkeys", help="who answers with which passkey; --revoke takes one away")
    passkeys.add_argument("--revoke", type=int, metavar="NUMBER", help="it answers nothing any more")
    for action in (parser, listing, show, enrol, passkeys):
        add_app_options(action)
        add_principal_option(action)
        action.add_argument("--json", action="store_true")


def run(args: argparse.Namespace) -> int:
    return run_async(_with_api(args, _ACTIONS[args.action or "list"]))


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
            _say_one(approval, lines=_LISTED_LINES)


async def _show(client: Api, args: argparse.Namespace) -> None:
    approval = await client.get(f"/v1/approvals/{args.approval}", whole=True)
    if args.json:
        show_json(approval)
        return
    say(f"{approval['operation']} for {approval['principal']}, run {approval['run']}")
    _say_one(approval)


def _say_one(approval: dict[str, Any], *, lines: int | None = None) -> None:
    """One call, with at most so many `lines` of its arguments; who answers it is shown all of them."""
    until = datetime.fromtimestamp(approval["expires_ms"] / 1000).astimezone().strftime("%Y-%m-%d %H:%M")
    state = approval["verdict"] or f"until {until}"
    answer = "inhabit settle" if approval["question"] == "did_it_happen" else "inhabit approve, inhabit reject"
    say(f"  {approval['id']}  for {approval['principal']}: {approval['reason']} ({approval['rule']}), {state}: {answer}")
    shown = approval["arguments"].splitlines()
    for line in shown[:lines]:
        say(f"      {line}")
    if lines is not None and len(shown) > lines:
        say(f"      … {len(shown) - lines} more lines: inhabit approvals show {approval['id']}")
    for warning in (*approval["warnings"], *approval.get("odd", ())):
        say(f"    ! {warning}")


async def _enrol(client: Api, args: argparse.Namespace) -> None:
    if not client.serves:
        raise Unavailable("no server runs on this home, so there is no page to enrol on", fix="inhabit serve starts one")
    invited = await client.post("/v1/passkeys/invitations", {"label": args.label, **({"principal": args.whom} if args.whom else {})})
    if args.json:
        show_json(invited)
        return
    say(invited["url"])
    complain(f"whoever opens it first, within ten minutes, answers as {invited['principal']}")


async def _passkeys(client: Api, args: argparse.Namespace) -> None:
    if args.revoke is not None:
        await client.delete(f"/v1/passkeys/{args.revoke}")
    held = (await client.get("/v1/passkeys"))["passkeys"]
    if args.json:
        show_json(held)
        return
    for one in held:
        say(f"{one['number']}  {one['principal']}  {one['label']}{'  revoked' if one['revoked_ms'] else ''}")


_ACTIONS = {"list": _list, "show": _show, "enrol": _enrol, "passkeys": _passkeys}
