"""Approve a call that waits, as it stands or edited; the run goes on with it.

What is approved is what this command prints before: where the call changes or is answered in between, nothing happens.
"""

from __future__ import annotations

import argparse
from typing import Any

import orjson

from inhabit.cli.answering import add_answer_arguments, answered
from inhabit.cli.loop import run_async
from inhabit.contracts.json import is_object
from inhabit.errors import InvalidInput


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_answer_arguments(parser)
    parser.add_argument("--edit", metavar="JSON", help="other arguments: the call is decided anew with them")


def run(args: argparse.Namespace) -> int:
    body: dict[str, Any] = {"verdict": "approve", "reason": args.reason}
    if args.edit is not None:
        body["arguments"] = _edited(args.edit)
    return run_async(answered(args, body))


def _edited(text: str) -> dict[str, Any]:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"--edit is no JSON: {error}", fix="--edit '{\"amount\": 5}'") from None
    if not is_object(value):
        raise InvalidInput("--edit must be one object of arguments", fix="--edit '{\"amount\": 5}'")
    return dict(value)
