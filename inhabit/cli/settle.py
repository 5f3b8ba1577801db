"""Say whether a call took effect of which nobody knows it: the run goes on with its result, makes it again, or ends.

What is answered for is what this command prints before, like an approval.
"""

from __future__ import annotations

import argparse
from typing import Any

import orjson

from inhabit.cli.answering import add_answer_arguments, answered
from inhabit.cli.loop import run_async
from inhabit.errors import InvalidInput


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_answer_arguments(parser)
    word = parser.add_mutually_exclusive_group(required=True)
    word.add_argument("--happened", metavar="JSON", nargs="?", const="null", help="it took effect; what it answered, where it answers something")
    word.add_argument("--not-done", action="store_true", help="it did not, and will not any more: it is made again")
    word.add_argument("--give-up", action="store_true", help="nobody can say: the run ends as unknown")


def run(args: argparse.Namespace) -> int:
    body: dict[str, Any] = {"verdict": "not_done" if args.not_done else "give_up", "reason": args.reason}
    if args.happened is not None:
        body |= {"verdict": "happened", "value": _value(args.happened)}
    return run_async(answered(args, body))


def _value(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"--happened is no JSON: {error}", fix="--happened '{\"id\": \"o-17\"}'") from None
