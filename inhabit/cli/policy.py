"""Check, test and try a policy: against the operations there are, the examples it has, and the runs that were recorded.

FILE is the policy; without it, the one that `[policy]` of inhabit.toml names, else policy.toml beside that.
Exit code 1: the policy has errors, an example fails, a call is not allowed, or a recorded run would have been stopped.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from inhabit.cli.loading import load
from inhabit.cli.loop import run_async
from inhabit.cli.options import add_app_options, add_principal_option, number_within

MAX_RUNS = 100_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="check|test|explain|backtest|suggest")
    for name, help_text in (
            ("check", "what is wrong with the policy, by line"), ("test", "try the examples in the file"),
            ("explain", "why a call is decided as it is"), ("backtest", "which recorded runs it would have stopped"),
            ("suggest", "the narrowest policy that recorded runs would have needed")):
        action = actions.add_parser(name, help=help_text, description=help_text)
        add_app_options(action)
        add_principal_option(action)
        action.add_argument("--json", action="store_true")
        if name != "suggest":
            action.add_argument("--policy", type=Path, metavar="FILE", help="default: what inhabit.toml names, else policy.toml")
        if name == "explain":
            _add_call(action)
        elif name in ("backtest", "suggest"):
            action.add_argument("--runs", type=number_within(1, MAX_RUNS), default=10_000, help=f"the newest so many, at most {MAX_RUNS:,}")


def _add_call(action: argparse.ArgumentParser) -> None:
    action.add_argument("operation", metavar="OPERATION")
    action.add_argument("--args", default="{}", metavar="JSON", help="the call's arguments")
    action.add_argument("--label", action="append", default=[], choices=["private", "untrusted"], help="what the run has read")
    action.add_argument("--used", action="append", default=[], metavar="LIMIT=N", help="how much of a limit is used")
    action.add_argument("--attended", action="store_true", help="a person can be asked")


def run(args: argparse.Namespace) -> int:
    return run_async(load("judging").main(args))
