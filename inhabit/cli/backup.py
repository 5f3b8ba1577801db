"""Copy a home's runs, binary values and tokens into a folder; with --tenant, one tenant's into a file.

A server that runs on the home makes the copy itself and goes on; else the home is opened for it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from inhabit.cli.loading import load
from inhabit.cli.options import add_app_options

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_app_options(parser)
    parser.add_argument("target", type=Path, metavar="TARGET", help="must not exist")
    parser.add_argument("--tenant", metavar="TENANT", help="this one alone")


def run(args: argparse.Namespace) -> int:
    return int(load("copying").back_up(args))
