"""What `inhabit policy` does once its options are read."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from inhabit.app import Inhabit
from inhabit.cli.client import running_server
from inhabit.cli.opening import config_from
from inhabit.cli.options import home_of, principal_from
from inhabit.cli.terminal import complain, progress, say, show_json, table
from inhabit.contracts.json import is_object
from inhabit.contracts.operation import Operation
from inhabit.contracts.run import TERMINAL_STATES, Journal, RunRecord
from inhabit.errors import ConfigError, InvalidInput, NotFound
from inhabit.policy.arguments import unfit
from inhabit.policy.backtest import Backtest, backtest
from inhabit.policy.check import checked
from inhabit.policy.document import Document, read_policy
from inhabit.policy.examples import facts_of, tried, unknown_limits
from inhabit.policy.explain import explained
from inhabit.policy.problems import suggestion
from inhabit.policy.suggest import suggested
from inhabit.store.journal import SqliteJournal
from inhabit.store.store import Store
from inhabit.store.tenants.naming import existing_journal

POLICY_NAME = "policy.toml"
_PAGE = 500


async def main(args: argparse.Namespace) -> int:
    actions = {"check": _check, "test": _test, "explain": _explain, "backtest": _backtest, "suggest": _suggest}
    return await actions[args.action](args)


@dataclass(frozen=True, slots=True)
class Known:
    """The operations that there are. `missing`: sources that could not be reached."""

    app: Inhabit
    operations: tuple[Operation, ...]
    missing: tuple[str, ...]

    @property
    def by_name(self) -> dict[str, Operation]:
        return {operation.name: operation for operation in self.operations}


async def _check(args: argparse.Namespace) -> int:
    document = _document(args)
    async with _known(args) as known:
        problems = checked(document, known.operations, complete=not known.missing)
    errors = sum(problem.severity == "error" for problem in problems)
    if args.json:
        show_json([{"severity": p.severity, "line": p.place.line, "column": p.place.column, "where": p.where, "message": p.message,
                    "fix": p.fix} for p in problems])
        return 1 if errors else 0
    for problem in problems:
        say(problem.text(document.file))
    if known.missing:
        complain(f"not reached, so their operations are not known: {', '.join(known.missing)}")
    say(f"{len(document.written)} rules, limits and results; {errors} errors, {len(problems) - errors} warnings")
    return 1 if errors else 0


async def _test(args: argparse.Namespace) -> int:
    document = _document(args)
    policy = document.policy()
    async with _known(args) as known:
        results = tried(policy, document.examples, known.by_name)
    failed = [one for one in results if one.problem]
    if args.json:
        show_json([{"name": one.example.name, "line": one.example.place.line, "problem": one.problem,
                    "decision": one.decision.as_value() if one.decision else None} for one in results])
        return 1 if failed else 0
    for one in failed:
        say(f"{document.file}:{one.example.place.line}: {one.example.name}: {one.problem}")
    say(f"{len(results) - len(failed)} of {len(results)} examples hold")
    return 1 if failed else 0


async def _explain(args: argparse.Namespace) -> int:
    policy = _document(args).policy()
    used = dict(_used(text) for text in args.used)
    for _, message, fix in unknown_limits(used, [limit.name for limit in policy.limits]):
        raise InvalidInput(f"--used: {message}", fix=fix or "the policy has none")
    facts = facts_of({"principal": str(principal_from(args)), "args": _json(args.args), "labels": args.label,
                      "used": used, "run": {"attended": args.attended}})
    async with _known(args) as known:
        operation = known.by_name.get(args.operation)
        if operation is None:
            raise NotFound(f"there is no operation {args.operation!r}", fix=suggestion(args.operation, sorted(known.by_name)))
        asked = facts(operation)
        for message, fix in unfit(operation, asked.arguments):
            raise InvalidInput(f"--args: {message}", fix=fix)
        found = explained(asked, known.app.grant_of(principal_from(args)), policy)
    if args.json:
        show_json({"decision": found.decision.as_value(), "parts": [part._asdict() for part in found.parts]})
    else:
        say(f"{found.decision.verdict}, by {found.decision.rule}: {found.decision.reason}\n")
        table(("PART", "NAME", "SAYS", "WHY", "BECAUSE"), [(p.kind, p.name, p.verdict or "-", p.text, p.because) for p in found.parts])
    return 0 if found.decision.verdict == "allow" else 1


async def _backtest(args: argparse.Namespace) -> int:
    policy = _document(args).policy()
    async with _known(args) as known:
        found = backtest(await _records(known.app, args), policy, known.by_name)
    if args.json:
        show_json({"runs": found.runs, "calls": found.calls, "unknown": found.unknown, "stopped": [s._asdict() for s in found.stopped]})
    else:
        _show_backtest(found)
    return 1 if found.stopped else 0


def _show_backtest(found: Backtest) -> None:
    if found.stopped:
        table(("RUN", "WHEN", "FOR", "CALL", "OPERATION", "VERDICT", "WHY"), [
            (s.run_id, datetime.fromtimestamp(s.at_ms / 1000).astimezone().strftime("%Y-%m-%d %H:%M"), s.principal, s.sequence, s.operation,
             s.verdict, s.reason) for s in found.stopped])
    if found.unknown:
        complain(f"not there any more, so not judged: {', '.join(found.unknown)}")
    say(f"{len(found.runs_stopped)} of {found.runs} runs would have been stopped, at {len(found.stopped)} of {found.calls} calls")


async def _suggest(args: argparse.Namespace) -> int:
    async with _known(args) as known:
        found = suggested(await _records(known.app, args), known.by_name)
    if args.json:
        show_json({"runs": found.runs, "grant": found.grant, "policy": found.policy})
    else:
        say(found.policy)
    return 0


def _document(args: argparse.Namespace) -> Document:
    path: Path | None = args.policy
    if path is None:
        config = config_from(args)
        path = config.resolve(config.policy.file) if config.policy is not None else config.base / POLICY_NAME
    try:
        return read_policy(path.read_bytes().decode(), file=str(path))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", fix="name it with --policy") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text") from None


@asynccontextmanager
async def _known(args: argparse.Namespace) -> AsyncGenerator[Known]:
    """An app on the home, or, while a server has that, on an empty one: operations are the same, credentials are not there.

    It is not governed: what is wrong with the policy is for these commands to say, not a reason not to start.
    """
    with tempfile.TemporaryDirectory() as aside:
        home = Path(aside) if running_server(home_of(args)) is not None else home_of(args)
        app = Inhabit.from_config(config_from(args).model_copy(update={"policy": None}), home=home)
        async with progress("starting"):
            await app.start(resume=False)
        try:
            yield Known(app, app.operations(), tuple(app.problems))
        finally:
            await app.stop()


async def _records(app: Inhabit, args: argparse.Namespace) -> Sequence[RunRecord]:
    """The newest runs of the principal's tenant, from the open home or from a copy of the one that a server has."""
    tenant = principal_from(args).tenant
    if app.home.path == home_of(args):
        return await _newest(app.home.journal, tenant, args.runs)
    with tempfile.TemporaryDirectory() as aside:
        store = Store.open(Store.copy(existing_journal(home_of(args), tenant), Path(aside) / "journal.db"))
        try:
            return await _newest(store.journal, tenant, args.runs)
        finally:
            await store.close()


async def _newest(journal: Journal | SqliteJournal, tenant: str, most: int) -> Sequence[RunRecord]:
    ids: list[str] = []
    while len(ids) < most:
        page = await journal.list(tenant=tenant, before=ids[-1] if ids else None, limit=min(_PAGE, most - len(ids)))
        ids += [one.run_id for one in page]
        if len(page) < min(_PAGE, most):
            break
    records = [await journal.read(run_id, tenant=tenant) for run_id in ids]
    return [record for record in records if record.state in TERMINAL_STATES]


def _json(text: str) -> Any:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"--args is no JSON: {error}", fix='--args \'{"amount": 5}\'') from None
    if not is_object(value):
        raise InvalidInput("--args must be one object", fix='--args \'{"amount": 5}\'')
    return value


def _used(text: str) -> tuple[str, float]:
    name, _, amount = text.rpartition("=")
    try:
        return name, float(amount)
    except ValueError:
        raise InvalidInput(f"--used {text!r} gives no number", fix='--used "refunds a day=150"') from None
