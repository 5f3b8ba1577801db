"""Reject a call that waits: the program is told so, with the reason, and goes on."""

from __future__ import annotations

import argparse

from inhabit.cli.answering import add_answer_arguments, answered
from inhabit.cli.loop import run_async


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_answer_arguments(parser)


def run(args: argparse.Namespace) -> int:
    return run_async(answered(args, {"verdict": "reject", "reason": args.reason}))
