"""Put a backup in the place of the stores of a home whose server is stopped; with --tenant, of one of them. What was there
is kept beside it."""

from __future__ import annotations

import argparse
from pathlib import Path

from inhabit.cli.options import add_app_options, home_of
from inhabit.cli.terminal import complain, say
from inhabit.contracts.clock import now_ms
from inhabit.store.tenants.copies import restore_home, restore_tenant


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_app_options(parser)
    parser.add_argument("backup", type=Path, metavar="BACKUP", help="a folder, or with --tenant also a file")
    parser.add_argument("--tenant", metavar="TENANT", help="this one alone")


def run(args: argparse.Namespace) -> int:
    home = home_of(args)
    if args.tenant:
        restored = restore_tenant(args.backup, home, args.tenant, now_ms=now_ms())
    else:
        restored = restore_home(args.backup, home, now_ms=now_ms())
    say(f"restored {args.backup}" + (f"; what was there is kept as {restored.kept}" if restored.kept else ""))
    if restored.closed:
        say(f"{len(restored.closed)} runs that were going on are closed as unknown: {', '.join(restored.closed[:10])}")
    if not restored.revocations:
        complain("the replaced file could not be read: tokens revoked since the backup are valid again; revoke them anew")
    return 0
