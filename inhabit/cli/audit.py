"""Prove what was recorded: the journal is a Merkle log, and its checkpoints are signed.

key         the public key: keep it elsewhere, with whoever verifies
checkpoint  the newest signed checkpoint: keep some elsewhere; with one, a cut end and an older copy are found
verify      all records against the log, the log against its checkpoints; needs the public key and the file alone
export      every record with its proof as JSON lines, or OpenTelemetry traces (OTLP/JSON, GenAI conventions)
erase       a user's data for good; the log still verifies; the server must be stopped

Exit code 1: something is not as it was recorded.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from inhabit.cli.loop import run_async
from inhabit.cli.options import add_app_options, home_of
from inhabit.cli.terminal import progress, say, show_json
from inhabit.contracts.principal import Principal
from inhabit.errors import InvalidInput, NotFound
from inhabit.store.audit.erase import Erased, erase
from inhabit.store.audit.export import lines, spans
from inhabit.store.audit.notes import PublicKey, public_key
from inhabit.store.audit.verify import Verified, newest_checkpoint, open_readonly, verify
from inhabit.store.connections import ConnectionStore
from inhabit.store.database import Database, audit_key

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="key|checkpoint|verify|export|erase")
    key = actions.add_parser("key", help="print the public key")
    checkpoint = actions.add_parser("checkpoint", help="print the newest signed checkpoint")
    check = actions.add_parser("verify", help="find what is not as it was recorded")
    export = actions.add_parser("export", help="write the records out")
    gone = actions.add_parser("erase", help="erase a user's data")
    for action in (key, checkpoint, check, export, gone):
        add_app_options(action)
    for action in (checkpoint, check, export):
        action.add_argument("--file", type=Path, metavar="FILE", help="default: the home's journal.db")
    check.add_argument("--key", action="append", metavar="KEY", help="the public key, or a file with it; default: the home's own")
    check.add_argument("--checkpoint", type=Path, metavar="FILE", help="a checkpoint that was kept elsewhere")
    check.add_argument("--json", action="store_true")
    export.add_argument("--format", choices=["jsonl", "otlp"], default="jsonl")
    export.add_argument("--values", action="store_true", help="otlp with the arguments and results of calls; jsonl has them always")
    gone.add_argument("--user", required=True, metavar="USER", help="user or tenant/user")
    gone.add_argument("--yes", action="store_true", help="really: what is erased cannot be had back")


def run(args: argparse.Namespace) -> int:
    return {"key": _key, "checkpoint": _checkpoint, "verify": _verify, "export": _export, "erase": _erase}[args.action](args)


def _file(args: argparse.Namespace) -> Path:
    return args.file or home_of(args) / "journal.db"


def _key(args: argparse.Namespace) -> int:
    say(public_key(audit_key(home_of(args) / "journal.db")))
    return 0


def _checkpoint(args: argparse.Namespace) -> int:
    text = newest_checkpoint(_file(args))
    if text is None:
        raise NotFound("nothing was signed yet", fix="start the server once")
    sys.stdout.write(text)
    return 0


def _verify(args: argparse.Namespace) -> int:
    path = _file(args)
    given = [_key_text(text) for text in args.key or ()] or [public_key(audit_key(home_of(args) / "journal.db"))]
    external = args.checkpoint.read_text(encoding="utf-8") if args.checkpoint else None
    found = verify(path, [PublicKey(text) for text in given], external)
    if args.json:
        show_json({"leaves": found.leaves, "unsigned": found.unsigned, "runs": found.runs, "records": found.records,
                   "erased": found.erased, "findings": [{"where": f.where, "what": f.what} for f in found.findings]})
    else:
        _told(found, external is not None)
    return 1 if found.findings else 0


def _key_text(given: str) -> str:
    return Path(given).read_text(encoding="utf-8") if Path(given).is_file() else given


def _told(found: Verified, external: bool) -> None:
    for finding in found.findings:
        say(str(finding))
    say(f"{'NOT SOUND' if found.findings else 'sound'}: {found.records} records of {found.runs} runs, {found.erased} erased runs,"
        f" {found.leaves} leaves, {found.unsigned} of them not signed yet")
    if not external:
        say("without a checkpoint kept elsewhere, a cut end or an older copy of the whole file cannot be found")


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
    whom = Principal.parse(args.user)
    if not args.yes:
        raise InvalidInput(f"this erases all runs, values, tokens and connections of {whom.user} in {whom.tenant} for good",
                           fix="add --yes; to keep a copy, `inhabit audit export` first")
    return run_async(_erased(home_of(args), whom))


def _gone(gone: Erased, connections: int) -> None:
    say(f"erased: {gone.runs} runs, {gone.values} values, {gone.tokens} tokens, {gone.charges} counts of usage, {connections} connections")
    for copy in gone.copies:
        say(f"not touched, and still holds what it held: {copy}")
    say("backups and copies elsewhere are not reached")


async def _erased(home: Path, whom: Principal) -> int:
    if not (home / "journal.db").is_file():
        raise NotFound(f"there is no journal in {home}", fix="name the home with --home")
    database = Database(home / "journal.db")
    try:
        async with progress("erasing"):
            gone = await erase(database, tenant=whom.tenant, user=whom.user)
            connections = await _disconnected(home, whom)
    finally:
        await database.close()
    _gone(gone, connections)
    return 0


async def _disconnected(home: Path, whom: Principal) -> int:
    if not (home / "connections.db").is_file():
        return 0
    vault = ConnectionStore(home / "connections.db", home / "connections.key")
    try:
        held = await vault.list(tenant=whom.tenant, user=whom.user)
        for info in held:
            await vault.remove(info.connector, info.principal)
        return len(held)
    finally:
        vault.close()
