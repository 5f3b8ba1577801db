"""A shop with a few thousand rows, three programs over it, and a server to look around in.

Everything lies in one folder (.inhabit/demo). --once stops after the programs; --fresh begins with a new shop.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from inhabit.cli.loading import load
from inhabit.cli.loop import run_async


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--home", type=Path, default=Path(".inhabit/demo"), metavar="DIR")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8642)
    parser.add_argument("--once", action="store_true", help="stop after the programs")
    parser.add_argument("--fresh", action="store_true", help="throw the demo's folder away first")


def run(args: argparse.Namespace) -> int:
    return run_async(load("demonstrating").main(args))
