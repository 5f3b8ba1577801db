"""Check what a start needs: each jail layer, each engine, the home, the journal, and the configuration's sources.

Exit code 0 when programs can run, 1 when something is broken; a missing jail layer is a warning for one
tenant, and refused for several unless the configuration accepts it.
"""

from __future__ import annotations

import argparse

from inhabit.cli.loading import load
from inhabit.cli.loop import run_async
from inhabit.cli.options import add_app_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_app_options(parser)


def run(args: argparse.Namespace) -> int:
    return run_async(load("examining").main(args))
