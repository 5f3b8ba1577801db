"""Copy runs, binary values and tokens into one file, in one consistent state.

It opens the home itself, so the server on it must be stopped first.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from inhabit.cli.loop import run_async
from inhabit.cli.opening import add_app_options, home_of
from inhabit.cli.terminal import progress, say
from inhabit.store.store import Store


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_app_options(parser)
    parser.add_argument("target", type=Path, metavar="FILE", help="must not exist")


def run(args: argparse.Namespace) -> int:
    return run_async(_run(args))


async def _run(args: argparse.Namespace) -> int:
    store = Store.open(home_of(args) / "journal.db")
    try:
        async with progress("copying"):
            made = await store.backup(args.target)
    finally:
        await store.close()
    say(f"{made}: {made.stat().st_size} bytes")
    return 0
