"""Undo what a run wrote, last write first; `--plan` says beforehand what would be undone and what would stand.

Exit code 6: it went as far as it can, and something that the run wrote still stands.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from inhabit.cli.client import api
from inhabit.cli.loop import run_async
from inhabit.cli.options import add_app_options, add_principal_option
from inhabit.cli.terminal import say, show_json

_WAIT_S = 60.0
STANDS = 6
"""The exit code where something that the run wrote was not undone."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_app_options(parser)
    add_principal_option(parser)
    parser.add_argument("run_id", metavar="RUN")
    parser.add_argument("--plan", action="store_true", help="show what would be done, and do nothing")
    parser.add_argument("--json", action="store_true")


def run(args: argparse.Namespace) -> int:
    return run_async(_rollback(args))


async def _rollback(args: argparse.Namespace) -> int:
    async with api(args, resume=not args.plan) as client:
        path = f"/v1/runs/{args.run_id}/rollback"
        answer = await client.get(path) if args.plan else await client.post(path, {"wait_s": _WAIT_S})
    if args.json:
        show_json(answer)
        return 0 if args.plan else _exit_code(answer)
    if args.plan:
        for step in answer["steps"]:
            first = "would find out whether it took effect, then " if "settle" in step else "would "
            say(f"{first}undo call {step['sequence']} {step['operation']} by {step['revert']}({_shown(step['arguments'])})")
        _say_stands(answer)
        _say_nothing(args.run_id, answer["steps"] or answer["stands"])
        return 0
    say(f"run {answer['run']}: {answer['state']}")
    report: Mapping[str, Any] = answer.get("result") or {"undone": (), "stands": ()}
    for done in report["undone"]:
        say(f"undone: call {done['sequence']} {done['operation']}")
    _say_stands(report)
    if answer["state"] == "completed":
        _say_nothing(args.run_id, report["undone"] or report["stands"])
    if answer.get("next"):
        say(answer["next"])
    return _exit_code(answer)


def _exit_code(answer: Mapping[str, Any]) -> int:
    if answer["state"] != "completed":
        return 1
    return STANDS if answer["result"]["stands"] else 0


def _say_stands(report: Mapping[str, Any]) -> None:
    for call in report["stands"]:
        say(f"stands: call {call['sequence']} {call['operation']}: {call['why']}")


def _say_nothing(run_id: str, calls: Sequence[Any]) -> None:
    if not calls:
        say(f"run {run_id} wrote nothing, so there is nothing to undo")


def _shown(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in arguments.items())[:200]
