"""Put a backup in the place of the journal of a home whose server is stopped. What was there is kept beside it."""

from __future__ import annotations

import argparse
from pathlib import Path

from inhabit.cli.options import add_app_options, home_of
from inhabit.cli.terminal import complain, say
from inhabit.contracts.clock import now_ms
from inhabit.store.store import Store


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_app_options(parser)
    parser.add_argument("backup", type=Path, metavar="FILE")


def run(args: argparse.Namespace) -> int:
    home = home_of(args)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    restored = Store.restore(args.backup, home / "journal.db", now_ms=now_ms())
    say(f"restored {args.backup}" + (f"; what was there is kept as {restored.kept}" if restored.kept else ""))
    if restored.closed:
        say(f"{len(restored.closed)} runs that were going on are closed as unknown: {', '.join(restored.closed[:10])}")
    if not restored.revocations:
        complain("the replaced file could not be read: tokens revoked since the backup are valid again; revoke them anew")
    return 0
