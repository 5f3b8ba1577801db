"""Copy runs, binary values and tokens into one file, in one consistent state.

A server that runs on the home makes the copy itself and goes on; else the home is opened for it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from inhabit.cli.client import remote_api, running_server
from inhabit.cli.loop import run_async
from inhabit.cli.options import add_app_options, home_of
from inhabit.cli.terminal import progress, say
from inhabit.store.store import Store


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_app_options(parser)
    parser.add_argument("target", type=Path, metavar="FILE", help="must not exist")


def run(args: argparse.Namespace) -> int:
    return run_async(_run(args))


async def _run(args: argparse.Namespace) -> int:
    target: Path = args.target.absolute()
    note = running_server(home_of(args))
    if note is not None:
        async with remote_api(note) as api, progress("copying"):
            made = await api.post("/v1/backup", {"file": str(target)})
        say(f"{made['file']}: {made['bytes']} bytes")
        return 0
    store = Store.open(home_of(args) / "journal.db")
    try:
        async with progress("copying"):
            made = await store.backup(target)
    finally:
        await store.close()
    say(f"{made}: {made.stat().st_size} bytes")
    return 0
