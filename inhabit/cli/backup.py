"""Copy a home's runs, binary values and tokens into a folder; with --tenant, one tenant's into a file.

A server that runs on the home makes the copy itself and goes on; else the home is opened for it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from inhabit.cli.client import remote_api, running_server
from inhabit.cli.loop import run_async
from inhabit.cli.options import add_app_options, home_of
from inhabit.cli.terminal import progress, say
from inhabit.contracts.clock import now_ms
from inhabit.store.tenants.stores import Stores, size_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_app_options(parser)
    parser.add_argument("target", type=Path, metavar="TARGET", help="must not exist")
    parser.add_argument("--tenant", metavar="TENANT", help="this one alone")


def run(args: argparse.Namespace) -> int:
    return run_async(_run(args))


async def _run(args: argparse.Namespace) -> int:
    target: Path = args.target.absolute()
    note = running_server(home_of(args))
    if note is not None:
        async with remote_api(note) as api, progress("copying"):
            made = await api.post("/v1/backup", {"file": str(target)} | ({"tenant": args.tenant} if args.tenant else {}))
        say(f"{made['file']}: {made['bytes']} bytes")
        return 0
    stores = Stores.open(home_of(args), now_ms)
    try:
        async with progress("copying"):
            made = await stores.backup(target, args.tenant)
    finally:
        await stores.close()
    say(f"{made}: {size_of(made)} bytes")
    return 0
