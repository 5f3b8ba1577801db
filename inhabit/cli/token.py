"""Bearer tokens for agents and clients. A token is shown once, when it is made; the server keeps its hash. An attenuable
one is narrowed by its holder, without a server.
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from typing import Any

from inhabit.cli.client import Api, api
from inhabit.cli.loading import load
from inhabit.cli.loop import run_async
from inhabit.cli.options import add_app_options, add_principal_option
from inhabit.cli.terminal import complain, say, show_json, table
from inhabit.errors import InvalidInput

MAX_DAYS = 3_660
_A_SECOND = 1 / 86_400
_GRANT = """e.g. shop.orders.*, or {"pattern": "shop.**", "caveats": [...]}; several may be given"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="create|list|revoke|attenuate|show|rotate-key")
    create = actions.add_parser("create", help="make a token")
    create.add_argument("--for", dest="whom", metavar="USER", help="user or tenant/user; default: you")
    create.add_argument("--grant", action="append", metavar="PATTERN", help=_GRANT)
    create.add_argument("--label", default="", help="what it is for")
    create.add_argument("--approver", action="store_true", help="it answers approvals, and may do nothing else without --grant")
    create.add_argument("--vouches", action="store_true", help="for a product's backend: it may start programs as closed, whose author read no stranger's words")
    create.add_argument("--attenuable", action="store_true", help="its holders make narrower ones from it; it ends in 30 days, or by --days")
    create.add_argument("--days", type=float, help="until it expires; left out: until revoked")
    listing = actions.add_parser("list", help="tokens, without the secrets")
    revoke = actions.add_parser("revoke", help="refuse a token, and all made from it, from now on")
    revoke.add_argument("token_id", metavar="ID")
    rotate = actions.add_parser("rotate-key", help="sign attenuable tokens with a new key; older ones go on until they expire")
    rotate.add_argument("--void", action="store_true", help="tokens that older keys signed are void at once")
    for action in (create, listing, revoke, rotate):
        add_app_options(action)
        add_principal_option(action)
        action.add_argument("--json", action="store_true")
    attenuate = actions.add_parser("attenuate", help="make a narrower token from an attenuable one, without a server")
    attenuate.add_argument("--grant", action="append", metavar="PATTERN", help=_GRANT)
    attenuate.add_argument("--days", type=float, help="until it expires; left out: as the one it is made from")
    show = actions.add_parser("show", help="what an attenuable token says, without a server")
    for action in (attenuate, show):
        action.add_argument("token", nargs="?", metavar="TOKEN", help="left out: INHABIT_TOKEN; -: the first line of the standard input")
        action.add_argument("--json", action="store_true")


def run(args: argparse.Namespace) -> int:
    if args.action in ("create", "attenuate") and args.days is not None and not _A_SECOND <= args.days <= MAX_DAYS:   # nan is neither
        raise InvalidInput(f"--days {args.days:g} is no time until a token expires", fix=f"a number above 0, at most {MAX_DAYS}")
    if args.action in ("attenuate", "show"):
        return load("narrowing").main(args)
    actions = {"create": _create, "list": _list, "revoke": _revoke, "rotate-key": _rotate}
    return run_async(_with_api(args, actions[args.action]))


async def _with_api(args: argparse.Namespace, action: Any) -> int:
    async with api(args) as client:
        await action(client, args)
    return 0


async def _create(client: Api, args: argparse.Namespace) -> None:
    body: dict[str, Any] = {"label": args.label, "principal": args.whom, "grant": load("narrowing").wanted(args.grant)}
    if args.approver:
        body["approve"] = True
    if args.vouches:
        body["vouch"] = True
    if args.attenuable:
        body["attenuable"] = True
    if args.days is not None:
        body["expires_s"] = round(args.days * 86_400)
    answer = await client.post("/v1/tokens", {name: value for name, value in body.items() if value is not None})
    if args.json:
        show_json(answer)
        return
    say(answer["token"])
    for warning in answer["warnings"]:
        complain(f"warning: {warning}")
    complain(f"for {answer['principal']}, id {answer['id']}; it is not shown again")


async def _list(client: Api, args: argparse.Namespace) -> None:
    tokens = (await client.get("/v1/tokens"))["tokens"]
    if args.json:
        show_json(tokens)
        return
    table(("ID", "FOR", "RIGHT", "LABEL", "MADE", "EXPIRES", "REVOKED"), [
        (t["id"], t["principal"], "approves" if t["approve"] else "vouches" if t["vouch"] else "attenuable" if t["attenuable"] else "", t["label"], _day(t["created_ms"]), _day(t["expires_ms"]), _day(t["revoked_ms"])) for t in tokens])


async def _revoke(client: Api, args: argparse.Namespace) -> None:
    await client.delete(f"/v1/tokens/{args.token_id}")
    complain(f"token {args.token_id} is refused from now on")


async def _rotate(client: Api, args: argparse.Namespace) -> None:
    answer = await client.post("/v1/tokens/rotate-key", {"void": args.void})
    if args.json:
        show_json(answer)
        return
    say(f"new key {answer['key']}")
    for token_id in answer["void"]:
        say(f"  void     {token_id}")
    for token_id in answer["kept"]:
        say(f"  goes on  {token_id}")
    complain(f"the old key verifies until {_day(answer['until_ms'])}, when the last token that it signed expires" if answer["kept"]
             else "no token that older keys signed is valid now")


def _day(at_ms: int | None) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M") if at_ms else ""
