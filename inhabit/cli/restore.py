"""Put a backup in the place of the stores of a home whose server is stopped; with --tenant, of one of them. What was there
is kept beside it."""

from __future__ import annotations

import argparse
from pathlib import Path

from inhabit.cli.loading import load
from inhabit.cli.options import add_app_options

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_app_options(parser)
    parser.add_argument("backup", type=Path, metavar="BACKUP", help="a folder, or with --tenant also a file")
    parser.add_argument("--tenant", metavar="TENANT", help="this one alone")


def run(args: argparse.Namespace) -> int:
    return int(load("copying").restore(args))
