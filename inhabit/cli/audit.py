"""Prove what was recorded: each tenant's journal is a Merkle log, and its checkpoints are signed.

key         the public key of the home: keep it elsewhere, with whoever verifies
checkpoint  the newest signed checkpoint: keep some elsewhere; with one, a cut end and an older copy are found
tokens      who made and revoked which token, for whom, with which grant; needs no server
verify      all records against the log, the log against its checkpoints; needs the public key and the file
export      every record with its proof as JSON lines, or OpenTelemetry traces (OTLP/JSON, GenAI conventions)
erase       a user's or a tenant's data for good; the log still verifies; the server must be stopped

Where a home has several tenants, --tenant says whose; `verify` without it verifies all of them, and what is
of the whole home (`server.db`). Exit code 1: something is not as it was recorded.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from inhabit.cli.loading import load
from inhabit.cli.loop import run_async
from inhabit.cli.options import add_app_options, home_of
from inhabit.cli.terminal import complain, progress, say, show_json
from inhabit.contracts.clock import now_ms
from inhabit.contracts.principal import Principal
from inhabit.errors import InvalidInput, NotFound
from inhabit.store.audit.export import lines, spans
from inhabit.store.audit.notes import PublicKey, public_key
from inhabit.store.audit.verify import Finding, Verified, newest_checkpoint, open_readonly, verify
from inhabit.store.database import audit_key
from inhabit.store.ownership import was_owned
from inhabit.store.tenants.erasing import erase_tenant, erase_user
from inhabit.store.tenants.naming import AUDIT_KEY, JOURNAL, SERVER, existing_journal, journal_of, tenants_in
from inhabit.store.tenants.stores import Stores

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="|".join(_ACTIONS))
    key = actions.add_parser("key", help="print the public key")
    checkpoint = actions.add_parser("checkpoint", help="print the newest signed checkpoint")
    tokens = actions.add_parser("tokens", help="who made and revoked which token")
    check = actions.add_parser("verify", help="find what is not as it was recorded")
    export = actions.add_parser("export", help="write the records out")
    gone = actions.add_parser("erase", help="erase a user's data, or a tenant's")
    for action in (key, checkpoint, tokens, check, export, gone):
        add_app_options(action)
    tokens.add_argument("--tenant", metavar="TENANT", help="of one tenant; default: of all")
    for action in (checkpoint, check, export):
        action.add_argument("--file", type=Path, metavar="FILE", help="a journal; default: the tenant's in the home")
        action.add_argument("--tenant", metavar="TENANT", help="whose; default: the only one")
    check.add_argument("--key", action="append", metavar="KEY",
                       help="the public key, or a file with it; default: the home's own")
    check.add_argument("--checkpoint", type=Path, metavar="FILE", help="a checkpoint that was kept elsewhere")
    for action in (check, tokens):
        action.add_argument("--json", action="store_true")
    export.add_argument("--format", choices=["jsonl", "otlp"], default="jsonl")
    export.add_argument("--values", action="store_true",
                        help="otlp with the arguments and results of calls; jsonl has them always")
    whom = gone.add_mutually_exclusive_group(required=True)
    whom.add_argument("--user", metavar="USER", help="user or tenant/user")
    whom.add_argument("--tenant", metavar="TENANT", help="all of a tenant, whose folder goes")
    gone.add_argument("--yes", action="store_true", help="really: what is erased cannot be had back")


def run(args: argparse.Namespace) -> int:
    return _ACTIONS[args.action](args)


def _file(args: argparse.Namespace) -> Path:
    """Raises `InvalidInput` where it is not clear whose is meant, `NotFound`."""
    if args.file:
        return args.file
    home = home_of(args)
    return existing_journal(home, args.tenant or _only_tenant(home))


def _only_tenant(home: Path) -> str:
    tenants = [tenant for tenant in tenants_in(home) if journal_of(home, tenant).exists()]
    if len(tenants) > 1:
        more = "|…" if len(tenants) > 10 else ""
        raise InvalidInput(f"{home} has {len(tenants)} tenants", fix=f"--tenant {'|'.join(tenants[:10])}{more}")
    return tenants[0] if tenants else "default"


def _key(args: argparse.Namespace) -> int:
    say(_public_key(home_of(args)))
    return 0


def _public_key(home: Path) -> str:
    old = audit_key(home / JOURNAL)
    return public_key(old if old.exists() else home / AUDIT_KEY)


def _checkpoint(args: argparse.Namespace) -> int:
    text = newest_checkpoint(_file(args))
    if text is None:
        raise NotFound("nothing was signed yet", fix="start the server once")
    sys.stdout.write(text)
    return 0


def _tokens(args: argparse.Namespace) -> int:
    home = home_of(args)
    _refuse_no_home(home)
    return load("granted").main(home, args.tenant, as_json=args.json)


def _verify(args: argparse.Namespace) -> int:
    home = Path() if args.file and args.key else home_of(args)
    keys = [PublicKey(text) for text in ([_key_text(text) for text in args.key or ()] or [_public_key(home)])]
    external = args.checkpoint.read_text(encoding="utf-8") if args.checkpoint else None
    found = _verified(args, home, keys, external)
    if args.json:
        show_json([_as_json(tenant, one) for tenant, one in found])
    else:
        several = sum(tenant is not None for tenant, _ in found) > 1
        for tenant, one in found:
            _told(f"{SERVER}: " if tenant is None else f"tenant {tenant}: " if several else "", one)
        if external is None:
            say("without a checkpoint kept elsewhere,"
                " a cut end or an older copy of the whole file cannot be found")
    return 1 if any(one.findings for _, one in found) else 0


def _verified(
    args: argparse.Namespace, home: Path, keys: Sequence[PublicKey], external: str | None,
) -> list[tuple[str | None, Verified]]:
    """By tenant; None is what is of the whole home, "" a file of which nobody said whose it is."""
    if args.file or args.tenant or external is not None:
        return [(args.tenant or "", verify(_file(args), keys, external, args.tenant))]
    server = home / SERVER
    whole = [(None, verify(server, keys))] if server.is_file() else []
    tenants = tuple(tenants_in(home)) or (() if whole else (_only_tenant(home),))
    return [*((tenant, one) for tenant in tenants if (one := _tenants(home, tenant, keys, alone=not whole))), *whole]


def _tenants(home: Path, tenant: str, keys: Sequence[PublicKey], *, alone: bool) -> Verified | None:
    """None: nothing was recorded, as of somebody who only connected a source. A folder without a journal says no more than that."""
    journal = journal_of(home, tenant)
    if alone or journal.exists():
        return verify(existing_journal(home, tenant), keys, None, tenant)
    if was_owned(journal):
        return Verified(0, 0, 0, 0, 0, (Finding(str(journal), "it was there, and is gone"),))
    complain(f"tenant {tenant} has a folder and no journal: either nothing was recorded, or all of it is gone")
    return None


def _as_json(tenant: str | None, found: Verified) -> dict[str, Any]:
    return {"tenant": tenant, "leaves": found.leaves, "unsigned": found.unsigned, "runs": found.runs,
            "records": found.records, "erased": found.erased,
            "findings": [{"where": f.where, "what": f.what} for f in found.findings]}


def _key_text(given: str) -> str:
    return Path(given).read_text(encoding="utf-8") if Path(given).is_file() else given


def _told(whose: str, found: Verified) -> None:
    for finding in found.findings:
        say(f"{whose}{finding}")
    say(f"{whose}{'NOT SOUND' if found.findings else 'sound'}: {found.records} records of {found.runs} runs,"
        f" {found.erased} erased runs, {found.leaves} leaves, {found.unsigned} of them not signed yet")


def _export(args: argparse.Namespace) -> int:
    connection = open_readonly(_file(args))
    try:
        connection.execute("BEGIN")
        for line in spans(connection, values=args.values) if args.format == "otlp" else lines(connection):
            sys.stdout.buffer.write(line + b"\n")
    finally:
        connection.close()
    return 0


def _erase(args: argparse.Namespace) -> int:
    whom = args.tenant or Principal.parse(args.user)
    if not args.yes:
        what = f"all of tenant {whom}" if args.tenant else (
            f"all runs, values, tokens and connections of {whom.user} in {whom.tenant}")
        raise InvalidInput(f"this erases {what} for good",
                           fix="add --yes; to keep a copy, `inhabit audit export` first")
    home = home_of(args)
    return run_async(_erased_tenant(home, args.tenant) if args.tenant else _erased(home, whom))


@asynccontextmanager
async def _erasing(home: Path, tenant: str) -> AsyncGenerator[Stores]:
    _refuse_no_home(home)
    stores = Stores.open(home, now_ms)
    try:
        async with progress("erasing"):
            yield stores
            load("forgetting").forget(home, tenant)
    finally:
        await stores.close()


async def _erased_tenant(home: Path, tenant: str) -> int:
    async with _erasing(home, tenant) as stores:
        gone = await erase_tenant(stores, tenant)
    say(f"erased: tenant {tenant}, {gone.runs} runs, {gone.tokens} tokens, and its folder")
    if gone.log is not None:
        say("its audit log, which says nothing any more, still verifies:"
            f" inhabit audit verify --file {gone.log}")
    _copies(gone.copies)
    return 0


async def _erased(home: Path, whom: Principal) -> int:
    async with _erasing(home, whom.tenant) as stores:
        gone = await erase_user(stores, whom)
    if not any((gone.runs, gone.values, gone.tokens, gone.charges, gone.connections)):
        say(f"there is nothing of {whom} to erase")
    else:
        say(f"erased of {whom}: {gone.runs} runs, {gone.values} values, {gone.tokens} tokens,"
            f" {gone.charges} counts of usage, {gone.connections} connections")
    _copies(gone.copies)
    return 0


def _refuse_no_home(home: Path) -> None:
    if not any((home / name).is_file() for name in (SERVER, JOURNAL)):
        raise NotFound(f"there is no journal in {home}", fix="name the home with --home")


def _copies(copies: Sequence[Path]) -> None:
    for copy in copies:
        say(f"not touched, and still holds what it held: {copy}")
    say("backups and copies elsewhere are not reached")


_ACTIONS = {"key": _key, "checkpoint": _checkpoint, "tokens": _tokens, "verify": _verify, "export": _export,
            "erase": _erase}
