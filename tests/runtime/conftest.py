"""A world small enough to see: a journal in memory, a catalog of functions, an isolate that follows a script."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from inhabit.catalog import Catalog
from inhabit.connectors.functions import Capability, FunctionConnector
from inhabit.contracts.clock import now_ms
from inhabit.contracts.operation import Operation
from inhabit.contracts.principal import Principal
from inhabit.contracts.program import Delivery, Turn
from inhabit.contracts.run import (
    Delivered,
    Entry,
    Intent,
    Outcome,
    RunHeader,
    RunRecord,
    StoredEntry,
    Terminal,
    Write,
)
from inhabit.errors import NotFound, Unavailable
from inhabit.kernel.grants import Grant
from inhabit.limits import LIVE_RUNS, Limits, LiveRuns
from inhabit.runtime.bridge import Bridge
from inhabit.runtime.context import NO_CONTROL, Control, RunContext
from inhabit.runtime.directory import ConnectedCatalog
from inhabit.runtime.driver import RunDriver
from inhabit.runtime.recording import Recording
from inhabit.runtime.service import Parts, Runtime
from inhabit.store.ids import new_run_id
from inhabit.store.store import Store
from tests.runtime.inprocess import InProcessPool


class MemoryTicket:
    def __init__(self, journal: MemoryJournal) -> None:
        self._journal = journal

    async def durable(self) -> None:
        if self._journal.broken:
            raise Unavailable("the journal cannot write")
        self._journal.waits += 1


class MemoryJournal:
    """Keeps entries in lists, and where each append ended; `broken` makes it behave like a full disk."""

    def __init__(self) -> None:
        self.headers: dict[str, RunHeader] = {}
        self.entries: dict[str, list[Entry]] = {}
        self.appended: dict[str, list[int]] = {}
        self.broken = False
        self.waits = 0
        self.failure: Unavailable | None = None

    def begin(self, header: RunHeader) -> MemoryTicket:
        self.headers[header.run_id] = header
        self.entries[header.run_id] = []
        return MemoryTicket(self)

    def append(self, run_id: str, *entries: Entry, also: Sequence[Write] = ()) -> MemoryTicket:
        if self.broken:
            raise Unavailable("the journal cannot write")
        self.entries.setdefault(run_id, []).extend(entries)
        self.appended.setdefault(run_id, [0]).append(len(self.entries[run_id]))
        return MemoryTicket(self)

    def of(self, kind: type[Any], run_id: str = "run") -> list[Any]:
        return [entry for entry in self.entries[run_id] if isinstance(entry, kind)]

    def record(self, run_id: str = "run") -> RunRecord:
        entries = self.entries[run_id]
        last = entries[-1] if entries else None
        state = last.state if isinstance(last, Terminal) else "running"
        return RunRecord(self.headers[run_id], tuple(StoredEntry(n, e) for n, e in enumerate(entries, 1)), state)


class NoBlobs:
    async def put(self, data: bytes, *, tenant: str, mime: str) -> dict[str, Any]:
        raise NotFound("no blobs here")

    async def get(self, reference: Any, *, tenant: str) -> bytes:
        raise NotFound("no blobs here")


class FunctionDirectory:
    def __init__(self, *capabilities: Capability) -> None:
        self.connectors: dict[str, FunctionConnector] = {c.name: c.connector() for c in capabilities}
        self.observed: list[tuple[str, Any]] = []

    def operation(self, name: str) -> Operation | None:
        found = (connector.operation(name) for connector in self.connectors.values())
        return next((operation for operation in found if operation is not None), None)

    def connector_of(self, operation: Operation) -> FunctionConnector:
        return self.connectors[operation.connector]

    def nearest(self, name: str, visible: Callable[[str], bool] | None) -> tuple[str, ...]:
        names = [o.name for c in self.connectors.values() for o in c.operations() if visible is None or visible(o.name)]
        return tuple(n for n in names if n[:3] == name[:3])[:3]

    def observe(self, operation: Operation, principal: Principal, value: Any) -> None:
        self.observed.append((operation.name, value))


class ScriptedIsolate:
    """`script(step, deliveries)` gives the turn of each step; step 0 is the start."""

    engine_version = "scripted 1"

    def __init__(self, script: Callable[[int, Sequence[Delivery]], Turn]) -> None:
        self._script = script
        self._step = 0
        self.delivered: list[Delivery] = []
        self.closed = False

    async def start(self, boot: Any) -> Turn:
        del boot
        return self._script(0, ())

    async def deliver(self, deliveries: Sequence[Delivery]) -> Turn:
        self._step += 1
        self.delivered.extend(deliveries)
        await asyncio.sleep(0)
        return self._script(self._step, deliveries)

    async def close(self) -> None:
        self.closed = True


def left(runtime: Runtime) -> str:
    """The one live run is left as a stopping server leaves it; its id."""
    ((run_id, live),) = runtime.driving.live.items()
    live.driver.leave()
    live.task.cancel()
    return run_id


class World:
    """A bridge and a driver over functions, with time that only moves when told."""

    def __init__(self, *capabilities: Capability) -> None:
        self.journal = MemoryJournal()
        self.directory = FunctionDirectory(*capabilities)
        self.now = 1_000_000
        self.bridge = Bridge(self.directory, self.journal, NoBlobs(), lambda: self.now)

    def context(self, *grant: Any, **limits: int) -> RunContext:
        self.journal.entries.setdefault("run", [])
        return RunContext("run", Principal("ada"), Grant.of(*(grant or ("**",))), Limits.of(limits))

    def driver(self, isolate: ScriptedIsolate, context: RunContext | None = None, recording: Recording | None = None) -> RunDriver:
        header = RunHeader("run", Principal("ada"), "typescript", "hash", "source", "code", b"null", "scripted 1", 7, self.now)
        if recording is None:
            self.journal.begin(header)
        return RunDriver(header, context or self.context(), isolate, self.bridge, self.journal, lambda: self.now, recording=recording)  # type: ignore[arg-type]

    def operations(self) -> list[str]:
        return [intent.operation for intent in self.journal.of(Intent)]

    def outcomes(self) -> list[Outcome]:
        return self.journal.of(Outcome)

    def deliveries(self) -> list[Delivered]:
        return self.journal.of(Delivered)


@pytest.fixture
def world() -> type[World]:
    return World


class Clock:
    """Real time until a test says otherwise."""

    def __init__(self) -> None:
        self.now: int | None = None

    def __call__(self) -> int:
        return now_ms() if self.now is None else self.now


@pytest.fixture
def opened_runtime(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A runtime over a journal on disk and the real engine, in this process; opened again it is the same journal."""
    cache = tmp_path_factory.getbasetemp() / "engine-cache"
    cache.mkdir(mode=0o700, exist_ok=True)

    @asynccontextmanager
    async def opened(connector: FunctionConnector, *, version: str | None = None, live_runs: LiveRuns = LIVE_RUNS,
                     control: Control = NO_CONTROL, start: bool = True, **parts: Any) -> AsyncIterator[tuple[Runtime, Store]]:
        store = Store.open(tmp_path / "journal.db")
        directory = ConnectedCatalog(Catalog(tmp_path))
        await directory.add(connector)
        clock = Clock()
        runtime = Runtime(Parts(directory, InProcessPool(cache, version), store.journal, store.blobs, lambda: new_run_id(1_700_000_000_000),
                                now_ms=clock, live_runs=live_runs, control=control, **parts))
        runtime.clock = clock  # type: ignore[attr-defined]
        if start:
            await runtime.start()
        try:
            yield runtime, store
        finally:
            await runtime.stop()
            await store.close()

    return opened
