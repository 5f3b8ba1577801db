"""What `inhabit replay` does: a journal to read, a sealed worker, and no sources at all."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from inhabit.cli.client import running_server
from inhabit.cli.options import home_of, principal_from
from inhabit.cli.terminal import say, show_json
from inhabit.contracts.run import TERMINAL_STATES, RunRecord
from inhabit.errors import InvalidInput
from inhabit.isolates.jail import JailPolicy
from inhabit.isolates.pool import WorkerPool
from inhabit.limits import Limits
from inhabit.runtime.replay import Replayed, replay
from inhabit.store.store import Store
from inhabit.store.tenants.naming import AUDIT_KEY, existing_journal

__all__ = ["main"]


async def main(args: argparse.Namespace) -> int:
    home = home_of(args)
    record = await _record(home, args.run_id, principal_from(args).tenant)
    if record.state not in TERMINAL_STATES:
        raise InvalidInput(f"run {args.run_id} is {record.state}: only what has ended can be compared", fix="wait for its end")
    engine, found = await _again(home, record)
    if args.json:
        show_json({"run": args.run_id, "equal": found.equal, "calls": found.calls, "engine": engine, "difference": found.difference})
    elif found.difference is None:
        say(f"run {args.run_id}: the same again, {found.calls} calls")
    else:
        say(f"run {args.run_id} differs after {found.calls} calls: {found.difference['message']}")
        for name, value in found.difference.items():
            if name != "message":
                say(f"  {name:<9} {value}")
        if engine != record.header.engine:
            say(f"  it ran on {record.header.engine}; this is {engine}")
    return 0 if found.equal else 1


async def _record(home: Path, run_id: str, tenant: str) -> RunRecord:
    path = existing_journal(home, tenant)
    with tempfile.TemporaryDirectory() as aside:
        served = running_server(home) is not None
        store = Store.open(Store.copy(path, Path(aside) / "journal.db") if served else path, key=home / AUDIT_KEY)
        try:
            return await store.journal.read(run_id, tenant=tenant)
        finally:
            await store.close()


async def _again(home: Path, record: RunRecord) -> tuple[str, Replayed]:
    header = record.header
    pool = WorkerPool(home / "cache", jail=JailPolicy(require="warn"))
    try:
        await pool.start()
        isolate = await pool.acquire(header.language, header.principal.tenant, Limits.of(header.limits))
        try:
            return isolate.engine_version, await replay(record, isolate)
        finally:
            await isolate.close()
    finally:
        await pool.close()
