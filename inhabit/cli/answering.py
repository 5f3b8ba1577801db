"""Answering a question from the command line: show the call, answer for exactly that, say how the run went on."""

from __future__ import annotations

import argparse
from typing import Any

from inhabit.cli.client import Api, api, server_note
from inhabit.cli.options import add_app_options, add_principal_option
from inhabit.cli.terminal import complain, say, show_json

__all__ = ["add_answer_arguments", "answered"]

WAIT_S = 20
"""For the run, where no server carries it on after this command."""
_THEN = {"suspended": "; inhabit approvals shows what it waits for now", "running": "; the next start goes on with it"}


def add_answer_arguments(parser: argparse.ArgumentParser) -> None:
    add_app_options(parser)
    add_principal_option(parser)
    parser.add_argument("approval", metavar="ID")
    parser.add_argument("--reason", default="", help="kept with the answer; the program reads it when the answer is no")
    parser.add_argument("--json", action="store_true")


async def answered(args: argparse.Namespace, body: dict[str, Any]) -> int:
    async with api(args, resume=True) as client:
        path = f"/v1/approvals/{args.approval}"
        asked = await client.get(path, whole=True)
        if not args.json:
            say(f"{asked['operation']} {asked['arguments']}")
            for warning in asked["warnings"]:
                say(f"  ! {warning}")
        answer = await client.post(path, {**body, "digest": asked["digest"]})
        state = await _carried_on(client, asked["run"]) if server_note(args) is None else None
    show_json(answer) if args.json else say(f"{answer['verdict']}: {answer['id']}, by {answer['by']} ({answer['credential']})")
    if state is not None and not args.json:
        complain(f"run {asked['run']}: {state}{_THEN.get(state, '')}")
    return 0


async def _carried_on(client: Api, run_id: str) -> str:
    """Without a server this process does what was approved: it stays until the run has ended or waits for people again.
    The state that it is in then."""
    state = "running"
    for _ in range(WAIT_S):
        state = (await client.get(f"/v1/runs/{run_id}", wait_s=1))["state"]
        if state != "running":
            break
    return state
