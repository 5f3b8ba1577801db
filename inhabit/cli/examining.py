"""What `inhabit doctor` looks at: each part says what it found, and what to do about it."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
from collections import Counter
from pathlib import Path

from inhabit.app import Inhabit
from inhabit.cli.client import remote_api, running_server
from inhabit.cli.opening import open_app
from inhabit.cli.options import HOME_NAME, find_config, home_of
from inhabit.cli.terminal import progress, say
from inhabit.contracts.clock import now_ms
from inhabit.contracts.program import Language, Program
from inhabit.errors import ConfigError, InhabitError
from inhabit.isolates.jail import JailPolicy
from inhabit.isolates.javascript.cache import ImageCache
from inhabit.isolates.pool import WorkerPool
from inhabit.isolates.pool.images import images_folder
from inhabit.limits import DEFAULT_LIMITS
from inhabit.store.tenants.naming import JOURNAL, SERVER
from inhabit.store.tenants.stores import Stores

_PROBES: tuple[tuple[Language, str], ...] = (("typescript", "const n: number = 1; return n"), ("python", "1"))
_ENOUGH_BYTES = 1024**3


class _Report:
    """Lines as they are found; `failed` when one says that programs cannot run."""

    def __init__(self) -> None:
        self.failed = False

    def fine(self, what: str, detail: str = "") -> None:
        say(f"  ok       {what}" + (f": {detail}" if detail else ""))

    def warn(self, what: str, detail: str, fix: str = "") -> None:
        say(f"  missing  {what}: {detail}" + (f"\n           fix: {fix}" if fix else ""))

    def fail(self, what: str, error: InhabitError) -> None:
        self.failed = True
        say(f"  BROKEN   {what}: {error.message}" + (f"\n           fix: {error.fix}" if error.fix else ""))


async def main(args: argparse.Namespace) -> int:
    report = _Report()
    say(f"python {platform.python_version()} on {platform.system()} {platform.release()}, {os.cpu_count()} cores, {sys.executable}")
    app = _configured(args, report)
    home = app.home.path if app is not None else _beside(args)
    engines = await _workers(home, report)
    await _storage(home, report, engines)
    if app is not None:
        kept = app.home.retention
        report.fine("retention", f"finished runs of the last {kept.max_age_days:g} days, at most {kept.max_bytes / 1024**3:g} GiB of each tenant")
        await _approvals(app, report)
    if app is not None and not report.failed:
        note = running_server(home)
        await (_sources(app, report) if note is None else _served(note, app, report))
    return 1 if report.failed else 0


def _beside(args: argparse.Namespace) -> Path:
    """The home that a configuration would have which cannot be read, or is not there."""
    try:
        return home_of(args)
    except ConfigError:
        return Path.cwd() / HOME_NAME


def _configured(args: argparse.Namespace, report: _Report) -> Inhabit | None:
    say("configuration")
    path = args.config or find_config(Path.cwd())
    if path is None:
        report.warn("inhabit.toml", "none here or in a folder above", "inhabit init makes one")
        return None
    try:
        app = open_app(args)
    except InhabitError as error:
        report.fail(str(path), error)
        return None
    report.fine(str(path), f"for {'several tenants' if app.server.tenants == 'several' else 'one tenant'}")
    return app


async def _approvals(app: Inhabit, report: _Report) -> None:
    """Whether an agent could answer for a person."""
    say("approvals")
    note = running_server(app.home.path)
    if note is not None:
        async with remote_api(note) as client:
            people = {one["principal"] for one in (await client.get("/v1/passkeys"))["passkeys"] if one["revoked_ms"] is None}
        if people and app.approvals.passkeys != "optional":
            report.fine("passkeys", f"{', '.join(sorted(people))} answer with one and not without; the lines below are about everybody else")
    if app.approvals.passkeys == "required":
        report.fine("answers", "only with a passkey, which no program has: `inhabit approvals enrol`")
        return
    if app.own_approvals:
        report.warn("protection", "people may approve what their own programs ask for, so an agent that runs as the same user can too",
                    "passkeys = \"required\" under [approvals]; or self = false, and `inhabit token create --approver --for SOMEBODY ELSE`")
        return
    report.fine("answers", "only another person's, with a token made by `inhabit token create --approver`")
    home = app.home.path
    if not home.exists() or not hasattr(os, "getuid") or os.getuid() in (0, home.stat().st_uid):
        report.warn("protection", f"whoever runs as this user can read {home} and make such a token", "passkeys = \"required\" under [approvals], or let agents run as another user")
    else:
        report.fine("protection", "this user cannot read the home")


async def _workers(home: Path, report: _Report) -> set[str]:
    """The versions of the engines that start."""
    say("jail")
    pool = WorkerPool(home / "cache", jail=JailPolicy(require="warn"))
    try:
        async with progress("starting the workers"):
            await pool.start()
    except InhabitError as error:
        report.fail("workers", error)
        return set()
    try:
        for layer in pool.layers:
            if layer.active:
                report.fine(layer.name, layer.detail)
            else:
                report.warn(layer.name, layer.detail, layer.fix)
        say("engines")
        versions = {await _engine(pool, language, source, report) for language, source in _PROBES}
        folder = images_folder(home / "cache")
        count, size = ImageCache(folder).kept()
        report.fine("images", f"{count} compiled ones of this and other versions, {size // 1024**2} MiB, in {folder}")
        return versions
    finally:
        await pool.close()


async def _engine(pool: WorkerPool, language: Language, source: str, report: _Report) -> str:
    try:
        isolate = await pool.acquire(language, "doctor", DEFAULT_LIMITS)
        try:
            await isolate.prepare(Program(source, language), ())
            report.fine(language, isolate.engine_version)
            return isolate.engine_version
        finally:
            await isolate.close()
    except InhabitError as error:
        report.fail(language, error)
        return ""


async def _storage(home: Path, report: _Report, engines: set[str]) -> None:
    say("home")
    if running_server(home) is not None:
        report.fine(str(home), "a server is running on it; its stores are not read a second time")
        return
    if not any((home / name).exists() for name in (SERVER, JOURNAL)):
        report.fine(str(home), "no stores yet")
        return
    try:
        store = Stores.open(home, now_ms)
    except InhabitError as error:
        report.fail(str(home), error)
        return
    try:
        async with progress("reading the stores"):
            findings = await store.check()
        for finding in findings[:20]:
            report.failed = True
            say(f"  BROKEN   {finding}")
        if not findings:
            report.fine(str(home), f"whole: stores of {len(store.tenants())} tenants")
            await _waiting(store, report, engines)
    finally:
        await store.close()
    free = shutil.disk_usage(home).free
    if free < _ENOUGH_BYTES:
        report.warn("disk", f"{free // 1024**2} MiB free", "make room: a full disk stops every run")


async def _waiting(store: Stores, report: _Report, engines: set[str]) -> None:
    """Runs that began under another engine than those that are here."""
    others: Counter[str] = Counter()
    async for record in store.journal.unfinished():
        if record.header.rung == "isolate" and record.header.engine not in engines:
            others[record.header.engine] += 1
    for engine, count in others.items():
        report.warn("engine", f"{count} unfinished run{'' if count == 1 else 's'} began under {engine}, which is not here, and park{'s' if count == 1 else ''}",
                    "finish them with the version that began them, or `inhabit runs cancel RUN`")


async def _served(note: dict[str, str], app: Inhabit, report: _Report) -> None:
    """What the running server has of the sources in the file; they are not opened a second time."""
    say("sources")
    async with remote_api(note) as client:
        served = {one["name"]: one for one in (await client.get("/v1/capabilities"))["capabilities"]}
    for name, one in served.items():
        problems = len(one["problems"])
        report.fine(name, f"{one['operations']} operations" + (f", {problems} problems" if problems else ""))
    for name in app.source_names:
        if name.partition(".")[0] not in served:
            report.warn(name, "the running server has no operations of it that you may use",
                        "`inhabit serve` said why when it started; a source that was added since needs a restart")


async def _sources(app: Inhabit, report: _Report) -> None:
    say("sources")
    try:
        async with progress("opening the sources"):
            await app.start(resume=False)
    except InhabitError as error:
        report.fail("start", error)
        return
    try:
        for name, (operations, problems) in app.sources().items():
            if operations:
                report.fine(name, f"{operations} operations" + (f", {len(problems)} problems" if problems else ""))
            else:
                report.warn(name, problems[0].reason if problems else "it has no operations")
        for name, error in app.problems.items():
            report.fail(name, error)
        trouble = app.governing.trouble()
        if trouble:
            report.warn("policy", trouble, "inhabit policy check")
        elif app.governing.file is not None:
            report.fine("policy", str(app.governing.file))
    finally:
        await app.stop()
