"""Run the benchmarks of a checkout: `python -m bench` with the same options."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from inhabit.errors import Unavailable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")


def run(args: argparse.Namespace) -> int:
    root = Path(__file__).parents[2]
    if not (root / "bench").is_dir():
        raise Unavailable("the benchmarks are not part of the installed package", fix="run it in a checkout")
    flags = [flag for flag, given in (("--json", args.json), ("--quick", args.quick)) if given]
    modules = [f"bench.{name}" for name in args.names] or ["bench"]
    codes = [subprocess.call([sys.executable, "-m", module, *flags], cwd=root) for module in modules]
    return max(codes)
