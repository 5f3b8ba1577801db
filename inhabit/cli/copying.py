"""What `backup` and `restore` do."""

from __future__ import annotations

import argparse
from pathlib import Path

from inhabit.cli.client import remote_api, running_server
from inhabit.cli.loop import run_async
from inhabit.cli.options import home_of
from inhabit.cli.terminal import complain, progress, say
from inhabit.contracts.clock import now_ms
from inhabit.store.tenants.copies import restore_home, restore_tenant
from inhabit.store.tenants.stores import Stores, size_of

__all__ = ["back_up", "restore"]


def back_up(args: argparse.Namespace) -> int:
    return run_async(_back_up(args))


async def _back_up(args: argparse.Namespace) -> int:
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


def restore(args: argparse.Namespace) -> int:
    home = home_of(args)
    if args.tenant:
        restored = restore_tenant(args.backup, home, args.tenant, now_ms=now_ms())
    else:
        restored = restore_home(args.backup, home, now_ms=now_ms())
    say(f"restored {args.backup}" + (f"; what was there is kept as {restored.kept}" if restored.kept else ""))
    if restored.closed:
        say(f"{len(restored.closed)} runs that were going on are closed as unknown: {', '.join(restored.closed[:10])}")
    if restored.acted_on:
        complain(f"{len(restored.acted_on)} runs were applied or rolled back since the backup, which is not known any more: to do it again"
                 f" does it twice: {', '.join(restored.acted_on[:10])}")
    if not restored.revocations:
        complain("a replaced file could not be read: tokens and passkeys revoked since the backup are valid again, and what was used of limits and"
                 " read by conversations since is not counted; revoke them anew")
    return 0
