"""Do what a plan shows: the same program again, and of its writes exactly those of the change set.

What the plan had read is read again first; where it has changed, nothing is written. A plan is applied once.
"""

from __future__ import annotations

import argparse
from typing import Any

from inhabit.cli.client import api
from inhabit.cli.loop import run_async
from inhabit.cli.options import add_app_options, add_principal_option
from inhabit.cli.terminal import complain, say, show_json
from inhabit.errors import InvalidInput

_WAIT_S = 60.0
_LEAST = 16


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_app_options(parser)
    add_principal_option(parser)
    parser.add_argument("run_id", metavar="RUN")
    parser.add_argument("--hash", required=True, help="of the change set as `inhabit plan show` showed it; its first 16 characters are enough")
    parser.add_argument("--json", action="store_true")


def run(args: argparse.Namespace) -> int:
    return run_async(_apply(args))


async def _apply(args: argparse.Namespace) -> int:
    async with api(args, resume=True) as client:
        changes = await client.get(f"/v1/runs/{args.run_id}/plan")
        if len(args.hash) < _LEAST or not changes["hash"].startswith(args.hash):
            raise InvalidInput("this is not the change set that you were shown", fix=f"inhabit plan show {args.run_id}", code="plan_changed")
        answer = await client.post(f"/v1/runs/{args.run_id}/apply", {"hash": changes["hash"], "wait_s": _WAIT_S})
    if args.json:
        show_json(answer)
    else:
        _say(answer)
    return 0 if answer["state"] in ("completed", "running", "suspended") else 1


def _say(answer: dict[str, Any]) -> None:
    say(f"run {answer['run']}: {answer['state']}")
    if answer["state"] == "completed":
        show_json(answer.get("result"))
    error = answer.get("error")
    if error:
        complain(f"{error['code']}: {error['message']}" + (f" ({error['fix']})" if error.get("fix") else ""))
    for asked in answer.get("approvals", []):
        say(f"waits for approval: {asked['reason']}; inhabit approve {asked['id']}")
