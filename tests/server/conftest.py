"""A runtime that follows a script, with a journal in memory, behind the real server.

Programs are words: `value` ends at once, `wait` ends when the test says so, `bad` is refused, `fail` fails,
`image` returns a picture's reference. Everything about doors can be seen this way without an isolate.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest

from inhabit.contracts.principal import Principal
from inhabit.contracts.program import LogLine
from inhabit.contracts.result import RunResult
from inhabit.contracts.run import (
    Delivered,
    Entry,
    EntryPage,
    Intent,
    Logged,
    Outcome,
    RunEnding,
    RunHeader,
    RunRecord,
    RunSummary,
    StoredEntry,
    Terminal,
)
from inhabit.errors import NotFound, ProgramError, TooMany
from inhabit.kernel.grants import Grant
from inhabit.runtime.service import Caller, Runtime
from inhabit.runtime.tally import Tally
from inhabit.runtime.visibility import RunPage
from inhabit.server.auth import Identity
from inhabit.server.http import ServerOptions, create_app
from inhabit.store.audit.events import IN_PROCESS, Actor
from inhabit.store.tokens import TokenRecord

PICTURE = b"\x89PNG\r\n\x1a\n not really"


class MemoryJournal:
    def __init__(self) -> None:
        self.headers: dict[str, RunHeader] = {}
        self.entries: dict[str, list[Entry]] = {}
        self.changed = asyncio.Event()

    def begin(self, header: RunHeader) -> Any:
        self.headers[header.run_id] = header
        self.entries[header.run_id] = []

    def append(self, run_id: str, *entries: Entry, also: Any = ()) -> Any:
        self.entries[run_id].extend(entries)
        self.changed.set()
        self.changed = asyncio.Event()

    def state(self, run_id: str) -> Any:
        last = self.entries[run_id][-1:]
        return last[0].state if last and isinstance(last[0], Terminal) else "running"

    async def read(self, run_id: str, *, tenant: str) -> RunRecord:
        raise AssertionError("no door reads a run whole")

    async def header(self, run_id: str, *, tenant: str) -> RunHeader:
        header = self.headers.get(run_id)
        if header is None or header.principal.tenant != tenant:
            raise NotFound(f"there is no run {run_id}")
        return header

    async def summary(self, run_id: str, *, tenant: str) -> RunSummary:
        return self._summary(await self.header(run_id, tenant=tenant))

    async def ending(self, run_id: str, *, tenant: str) -> RunEnding:
        last = self.entries[run_id][-1:]
        return RunEnding(last[0] if last and isinstance(last[0], Terminal) else None, ())

    async def page(self, run_id: str, *, tenant: str, after: int = 0, limit: int = 200) -> EntryPage:
        await self.header(run_id, tenant=tenant)
        entries = [StoredEntry(n, _shown(e)) for n, e in enumerate(self.entries[run_id], 1)]
        return EntryPage(tuple(entries[after:after + limit]), len(entries))

    async def entry(self, run_id: str, number: int, *, tenant: str) -> StoredEntry | None:
        await self.header(run_id, tenant=tenant)
        found = self.entries[run_id][number - 1:number]
        return StoredEntry(number, found[0]) if found else None

    def _summary(self, h: RunHeader) -> RunSummary:
        return RunSummary(h.run_id, h.principal, h.language, h.program_hash, self.state(h.run_id), h.clock_ms, None, 0, h.origin, h.grant)

    async def list(self, *, tenant: str, user: str | None = None, state: Any = None, before: str | None = None,
                   limit: int = 50) -> Sequence[RunSummary]:
        found = [
            self._summary(h)
            for h in reversed(self.headers.values())
            if h.principal.tenant == tenant and user in (None, h.principal.user) and state in (None, self.state(h.run_id))
            and (before is None or h.run_id < before)]
        return found[:limit]

    async def unfinished(self) -> AsyncIterator[RunRecord]:
        for nothing in ():
            yield nothing

    async def follow(self, run_id: str, *, tenant: str, after: int = 0) -> AsyncIterator[StoredEntry]:
        await self.header(run_id, tenant=tenant)
        while True:
            changed = self.changed
            for number, entry in list(enumerate(self.entries[run_id], 1))[after:]:
                after = number
                yield StoredEntry(number, entry)
                if isinstance(entry, Terminal):
                    return
            await changed.wait()


def _shown(entry: Entry) -> Entry:
    """As the store shows an entry among many: a long value is left out."""
    if isinstance(entry, Terminal) and len(entry.value) > 64 * 1024:
        return replace(entry, value=b'{"$omitted":%d}' % len(entry.value))
    return entry


class ScriptedRuntime(Runtime):
    tally = Tally()   # where the real one has a property

    def __init__(self, journal: MemoryJournal) -> None:  # pyright: ignore[reportMissingSuperCall]
        self.journal = journal
        self.status = "ok"
        self.tally = Tally()
        self.started = asyncio.Event()
        self.gates: dict[str, asyncio.Event] = {}
        self.cancelled: list[str] = []
        self.searches: list[tuple[str, str, int]] = []
        self.callers: list[Caller] = []

    async def search(self, query: str, caller: Caller, *, language: str = "typescript", budget_tokens: int = 1_500) -> str:
        self.searches.append((query, language, budget_tokens))
        return f"declare namespace shop {{}} // {query}"

    async def execute(self, source: str, caller: Caller, *, language: str | None = None, input: Any = None,
                      limits: Mapping[str, Any] | None = None, wait_s: float | None = None, progress: Any = None,
                      mode: str = "live") -> RunResult:
        self.callers.append(caller)
        if source == "bad":
            raise ProgramError("1:3: unexpected token", details={"problems": [{"line": 1, "column": 3, "message": "x"}]})
        if source == "many":
            raise TooMany("250 runs of acme/ada are going on (live_runs_per_user)", code="too_many_runs",
                          details={"limit": "live_runs_per_user", "value": 250, "unit": "runs"})
        if source == "crash":
            raise RuntimeError("a secret detail")
        run_id = f"run{len(self.journal.headers):05d}"
        digest = hashlib.sha256(source.encode()).hexdigest()
        self.journal.begin(RunHeader(run_id, caller.principal, "typescript", digest, source, source,
                                     orjson.dumps(input), "scripted", 1, 1_700_000_000_000, origin=caller.door))
        self.gates[run_id] = asyncio.Event()
        self.started.set()
        self.journal.append(
            run_id,
            Intent(1, "shop.orders.list", b'{"limit":3}', {"verdict": "allow"}, "h", "k", False, True, 1),
            Outcome(1, True, b'["\\u001b[2J","' + b"x" * 100 + b'"]', 1.5, 2),
            Delivered("result", 1, 1, 3), Logged("log", "hello"))
        if source != "wait":
            self.end(run_id, source, input)
        return await self.wait(run_id, caller, wait_s=wait_s or 0)

    def end(self, run_id: str, source: str = "value", value: Any = None) -> None:
        if source == "fail":
            self.journal.append(run_id, Terminal("failed", b'{"code":"program_error","message":"boom"}', 9))
        elif source == "image":
            reference = {"$binary": hashlib.sha256(PICTURE).hexdigest(), "type": "image/png", "size": len(PICTURE)}
            self.journal.append(run_id, Terminal("completed", orjson.dumps({"picture": reference}), 9,
                                                 binaries=(reference["$binary"],)))
        else:
            self.journal.append(run_id, Terminal("completed", orjson.dumps({"given": value}), 9))
        self.gates[run_id].set()

    async def wait(self, run_id: str, caller: Caller, *, wait_s: float = 0.0) -> RunResult:
        await self.visible(run_id, caller)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.gates[run_id].wait(), wait_s)
        last = self.journal.entries[run_id][-1]
        logs = (LogLine("log", "hello"),)
        if not isinstance(last, Terminal):
            return RunResult(run_id, "running", calls=1, logs=logs, next="still running")
        value = orjson.loads(last.value)
        if last.state == "completed":
            return RunResult(run_id, "completed", value, logs=logs, calls=1, binaries=last.binaries)
        return RunResult(run_id, last.state, error=value, logs=logs, calls=1)

    async def visible(self, run_id: str, caller: Caller) -> RunSummary:
        summary = await self.journal.summary(run_id, tenant=caller.principal.tenant)
        if summary.principal.user != caller.principal.user:
            raise NotFound(f"there is no run {run_id}")
        return summary

    async def list(self, caller: Caller, *, state: Any = None, kind: Any = None, before: str | None = None, limit: int = 50) -> RunPage:
        principal = caller.principal
        found = await self.journal.list(tenant=principal.tenant, user=principal.user, state=state, before=before, limit=limit)
        return RunPage(tuple(found), found[-1].run_id if len(found) == limit else None)

    async def cancel(self, run_id: str, caller: Caller, *, by: str = "its owner") -> RunResult:
        await self.wait(run_id, caller)
        if not self.gates[run_id].is_set():
            self.cancelled.append(run_id)
            self.journal.append(run_id, Terminal("failed", orjson.dumps({"code": "cancelled", "message": f"cancelled by {by}"}), 9))
            self.gates[run_id].set()
        return await self.wait(run_id, caller)

    async def revoke(self, tokens: Any) -> None: ...

    def unmatched(self, grant: Grant, visible: Grant) -> Sequence[str]:
        return [f"{clause.pattern} matches no operation" for layer in grant.layers for clause in layer if clause.pattern.startswith("shp")]

    def capabilities(self, caller: Caller) -> Sequence[Mapping[str, Any]]:
        return [{"name": name, "operations": 3, "problems": []} for name in ("github", "shop") if caller.grant.shows(name + ".x")]

    def health(self) -> Mapping[str, Any]:
        return {"status": self.status, "live_runs": 0, "operations": 6}

    def gauges(self) -> Mapping[str, int]:
        return {"live_runs": 0, "operations": 6}


class MemoryBlobs:
    async def put(self, data: bytes, *, tenant: str, mime: str) -> dict[str, Any]:
        raise NotImplementedError

    async def get(self, reference: Mapping[str, Any], *, tenant: str) -> bytes:
        if reference["$binary"] != hashlib.sha256(PICTURE).hexdigest():
            raise NotFound("no such value")
        return PICTURE


class MemoryTokens:
    def __init__(self) -> None:
        self.records: dict[str, TokenRecord] = {}

    async def create(self, principal: Principal, authority: Any, *, now_ms: int, expires_ms: int | None = None,
                     label: str = "", parent: str | None = None, by: Actor = IN_PROCESS) -> tuple[str, TokenRecord]:
        record = TokenRecord(f"id{len(self.records)}", principal, authority, label, parent, now_ms, expires_ms, None)
        self.records[record.id] = record
        return f"inh_{record.id}", record

    async def list(self, *, tenant: str) -> Sequence[TokenRecord]:
        return [record for record in self.records.values() if record.principal.tenant == tenant]

    async def revoke(self, token_id: str, *, tenant: str, now_ms: int, by: Actor = IN_PROCESS) -> None:
        self.records[token_id] = replace(self.records[token_id], revoked_ms=now_ms)


IDENTITIES = {
    "operator-token": Identity("t-op", Principal("root", "acme"), Grant.of("**"), operator=True),
    "ada-token": Identity("t-ada", Principal("ada", "acme"), Grant.of("**")),
    "bob-token": Identity("t-bob", Principal("bob", "acme"), Grant.of("shop.**")),
    "eve-token": Identity("t-eve", Principal("ada", "other"), Grant.of("**")),
}


async def check_token(token: str) -> Identity | None:
    return IDENTITIES.get(token)


@pytest.fixture
async def journal() -> MemoryJournal:
    return MemoryJournal()


@pytest.fixture
async def runtime(journal: MemoryJournal) -> ScriptedRuntime:
    return ScriptedRuntime(journal)


@pytest.fixture
def options() -> ServerOptions:
    return ServerOptions()


@pytest.fixture
def tokens() -> MemoryTokens:
    return MemoryTokens()


@pytest.fixture
async def app(runtime: ScriptedRuntime, journal: MemoryJournal, tokens: MemoryTokens, options: ServerOptions) -> Any:
    async def backup(target: Path, _tenant: str | None) -> Path:
        target.write_bytes(b"copy")
        return target

    return create_app(runtime, journal=journal, check_token=check_token, blobs=MemoryBlobs(), tokens=tokens, backup=backup,
                      options=options)


def as_user(app: Any, name: str | None = "ada") -> httpx2.AsyncClient:
    headers = {"authorization": f"Bearer {name}-token"} if name else {}
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://localhost:8642", headers=headers)


@pytest.fixture
async def ada(app: Any) -> AsyncGenerator[httpx2.AsyncClient]:
    async with as_user(app) as client:
        yield client


@pytest.fixture
async def bob(app: Any) -> AsyncGenerator[httpx2.AsyncClient]:
    async with as_user(app, "bob") as client:
        yield client


@pytest.fixture
async def eve(app: Any) -> AsyncGenerator[httpx2.AsyncClient]:
    """A token of another tenant, for a user of the same name."""
    async with as_user(app, "eve") as client:
        yield client


@pytest.fixture
async def operator(app: Any) -> AsyncGenerator[httpx2.AsyncClient]:
    async with as_user(app, "operator") as client:
        yield client


@pytest.fixture
async def nobody(app: Any) -> AsyncGenerator[httpx2.AsyncClient]:
    async with as_user(app, None) as client:
        yield client
