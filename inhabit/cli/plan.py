"""Look at what a plan would write, or drop it. A plan is a run started with `inhabit run --plan`; `inhabit apply` applies it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any

from inhabit.cli.client import api
from inhabit.cli.loop import run_async
from inhabit.cli.options import add_app_options, add_principal_option
from inhabit.cli.terminal import say, show_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="command", required=True)
    for name, told in (("show", "the change set: each write, in order"), ("drop", "never apply it")):
        command = commands.add_parser(name, help=told, description=told)
        add_app_options(command)
        add_principal_option(command)
        command.add_argument("run_id", metavar="RUN")
        command.add_argument("--json", action="store_true")


def run(args: argparse.Namespace) -> int:
    return run_async(_show(args) if args.command == "show" else _drop(args))


async def _show(args: argparse.Namespace) -> int:
    async with api(args, resume=False) as client:
        changes = await client.get(f"/v1/runs/{args.run_id}/plan")
    if args.json:
        show_json(changes)
        return 0
    for write in changes["writes"]:
        _say_write(write)
    for read in changes["reads"]:
        missed = f"; may not show write {', '.join(map(str, read['unseen']))}" if "unseen" in read else ""
        say(f"rests on: call {read['sequence']} {read['operation']}({_shown(read['arguments'])}): {read['seen'][:40]}{missed}")
    say("a person is asked once, about all of it" if changes["asks"] else "nobody else is asked")
    used = changes.get("used")
    say(f"used by run {used['run']}: {used['state']}" if used else f"inhabit apply {args.run_id} --hash {changes['hash'][:16]}")
    return 0


async def _drop(args: argparse.Namespace) -> int:
    async with api(args, resume=False) as client:
        await client.delete(f"/v1/runs/{args.run_id}/plan")
    say(f"plan {args.run_id} is dropped")
    return 0


def _say_write(write: Mapping[str, Any]) -> None:
    effects = write["effects"] or {"writes": "unknown", "irreversible": True}
    back = f"undone by {write['revert']}" if write["revert"] else "cannot be undone" if effects["irreversible"] else "has no revert"
    say(f"{write['number']}. {write['operation']}({_shown(write['arguments'])})")
    told = f"would fail: {write['error']['message']}" if "error" in write else f"answers {json.dumps(write['answer'], ensure_ascii=False)[:200]} ({write['from']})"
    say(f"   {effects['writes']}, {back}; {told}")
    if write["rule"] != "plan":
        say(f"   asked by {write['rule']}: {write['reason']}")


def _shown(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in arguments.items())[:500]
