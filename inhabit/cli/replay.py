"""Execute a recorded run again with nothing behind it, and say where it does something else than its journal says.

No connector is opened and no call is made: the recorded answers are delivered. Exit code 0 when all is byte by byte the same.
"""

from __future__ import annotations

import argparse

from inhabit.cli.loading import load
from inhabit.cli.loop import run_async
from inhabit.cli.options import add_app_options, add_principal_option


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_app_options(parser)
    add_principal_option(parser)
    parser.add_argument("run_id", metavar="RUN")
    parser.add_argument("--json", action="store_true")


def run(args: argparse.Namespace) -> int:
    return run_async(load("replaying").main(args))
