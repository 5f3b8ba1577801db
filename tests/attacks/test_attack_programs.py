"""Hostile programs through the whole app: real engines in jailed workers, bridge, journal. Four oracles after each:

O1  no canary (a file's, the environment's, a secret's, another tenant's) in result, error, output, log or journal, and
    no connection to a port of the host
O2  the host lives, has not grown, and no task of the run is left; at the end of all no descriptor and no process
O3  exactly one terminal record, the last of entries 1..n; nothing recorded for a program that was refused; at the end
    the journal passes its own check
O4  an honest tenant's programs in both languages, running beside it, are answered
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import pytest_asyncio

from inhabit.app import Inhabit
from inhabit.connectors.functions import Capability
from inhabit.contracts.program import Language
from inhabit.contracts.result import RunResult
from inhabit.contracts.run import RunRecord, Terminal
from inhabit.errors import InhabitError, LimitExceeded, ProgramError
from inhabit.isolates.jail import LAYERS
from inhabit.isolates.pool import WorkerPool
from tests.attacks.programs import HELD, STOPPED, Case
from tests.isolates.conftest import RSS_GROWTH_BYTES, children, descriptors, resident_bytes

pytestmark = pytest.mark.asyncio(loop_scope="module")

BOUNDS = {"cpu_ms": 400, "wall_ms": 4_000, "memory_bytes": 64 * 1024 * 1024, "calls": 500, "calls_in_flight": 400, "log_bytes": 64 * 1024,
          "value_bytes": 1024 * 1024, "journal_bytes": 16 * 1024 * 1024}
HONEST: dict[Language, str] = {"typescript": "return 6 * await shop.echo({ value: 7 })", "python": "return 6 * await shop.echo(value=7)"}
MAX_RECORDED_CHARS = 4 * BOUNDS["journal_bytes"]


def kit(secret: str) -> Capability:
    made = Capability("shop")

    @made.operation
    async def echo(value: Any = None) -> Any:  # pyright: ignore[reportUnusedFunction]
        return value

    @made.operation
    async def fail() -> None:  # pyright: ignore[reportUnusedFunction]
        raise RuntimeError(f"could not sign in with {secret}")

    @made.operation
    async def leak() -> str:  # pyright: ignore[reportUnusedFunction]
        return secret

    @made.operation
    async def bomb() -> Any:  # pyright: ignore[reportUnusedFunction]
        return [[]] * 400_000

    return made


@dataclass
class Arena:
    app: Inhabit
    canaries: list[str]
    trap: socket.socket

    async def attack(self, case: Case) -> RunResult | InhabitError:
        """The end of a program of the tenant `evil`, once O1, O3 and O4 were asserted."""
        _, language, source = case
        journal = self.app.home.journal
        before = {run.run_id for run in await journal.list(tenant="evil", limit=500)}
        honest = [asyncio.create_task(self.app.execute(text, principal="good/ada", language=each)) for each, text in HONEST.items()]
        end: RunResult | InhabitError
        try:
            async with asyncio.timeout(30):
                end = await self.app.execute(source, principal="evil/eve", language=language)
        except InhabitError as refused:
            end = refused
        for answer in await asyncio.gather(*honest):
            assert answer.value == 42   # O4
        begun = {run.run_id for run in await journal.list(tenant="evil", limit=500)} - before
        assert begun == ({end.run_id} if isinstance(end, RunResult) else set())   # O3
        said = str(end.as_value())
        for run_id in begun:
            said += await self._recorded(run_id)
        assert not any(canary in said for canary in self.canaries)   # O1
        assert len(said) < MAX_RECORDED_CHARS
        return end

    async def _recorded(self, run_id: str) -> str:
        entries = (await self.app.home.journal.read(run_id, tenant="evil")).entries
        terminal = [stored for stored in entries if isinstance(stored.entry, Terminal)]
        assert len(terminal) == 1 and terminal[0] is entries[-1]   # O3
        assert [stored.number for stored in entries] == list(range(1, len(entries) + 1))
        return "".join(str(stored.entry) for stored in entries)

    def trapped(self) -> bool:
        try:
            connection, _ = self.trap.accept()
        except BlockingIOError:
            return False
        connection.close()
        return True


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def open_arena(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Arena]:
    """One app for all the programs; when it is closed, nothing of it may be left."""
    gc.collect()
    before = descriptors(), children()
    environment, secret, tenant, file = (f"CANARY_{kind}_{uuid.uuid4().hex}" for kind in ("ENV", "SECRET", "TENANT", "FS"))
    folder = tmp_path_factory.mktemp("arena")
    (folder / "passwd").write_text(file)
    os.environ |= {"CANARY_ENV": environment, "INHABIT_SECRET_SHOP": secret}
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.setblocking(False)
        async with Inhabit([kit(secret)], home=folder / "home", limits=BOUNDS) as app:
            pool = app.runtime.parts.pool
            assert isinstance(pool, WorkerPool)
            assert {layer.name for layer in pool.layers if layer.active} == set(LAYERS)
            await app.execute(f"return {tenant!r}", principal="other/bob")
            yield Arena(app, [environment, secret, tenant, file, "root:x:0:0", "CANARY_CLOCK", str(folder)], trap)
            assert not await app.home.store.check()   # O3
    del os.environ["CANARY_ENV"], os.environ["INHABIT_SECRET_SHOP"]
    await asyncio.sleep(0)
    gc.collect()
    assert (descriptors(), children()) == before   # O2


@pytest_asyncio.fixture(loop_scope="module")
async def arena(open_arena: Arena, caplog: pytest.LogCaptureFixture) -> AsyncIterator[Arena]:
    tasks, was_resident = asyncio.all_tasks(), resident_bytes()
    caplog.set_level(logging.DEBUG, logger="inhabit")
    yield open_arena
    async with asyncio.timeout(5):   # O2: what a run started ends with it
        while any(task.get_name().startswith(("run ", "01")) for task in asyncio.all_tasks() - tasks):
            await asyncio.sleep(0.01)
    gc.collect()
    assert resident_bytes() - was_resident < RSS_GROWTH_BYTES
    assert not open_arena.trapped()   # O1
    logged = "\n".join(record.getMessage() for record in caplog.records)
    assert not any(canary in logged for canary in open_arena.canaries)


@pytest.mark.parametrize("case", STOPPED.values(), ids=STOPPED)
async def test_stopped_at_its_limit(arena: Arena, case: Case) -> None:
    end = await arena.attack(case)
    assert isinstance(end, RunResult) and end.error is not None
    assert (end.error["code"], end.error["details"]["limit"]) == ("limit_exceeded", "cpu_ms")


@pytest.mark.parametrize("case", HELD.values(), ids=HELD)
async def test_held(arena: Arena, case: Case) -> None:
    end = await arena.attack(case)
    assert isinstance(end, RunResult | ProgramError | LimitExceeded)
    assert end.state != "running" if isinstance(end, RunResult) else True


async def test_H06_a_crash_loop_of_one_tenant_leaves_the_others_alone(arena: Arena) -> None:
    for _ in range(4):
        end = await arena.attack(("H06", "typescript", "while (true) {}"))
        assert isinstance(end, RunResult) and end.state == "failed"


@pytest.mark.parametrize("source", ["return await shop.leak({})", "console.log(await shop.leak({}))", "throw new Error(await shop.leak({}))", "await shop.leak({}); return 1"])
async def test_O1_goes_red_when_a_canary_comes_out(arena: Arena, source: str) -> None:
    with pytest.raises(AssertionError):
        await arena.attack(("leak", "typescript", source))


async def test_O3_goes_red_when_an_entry_or_the_end_is_missing(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    read = arena.app.home.journal.read

    async def without_end(run_id: str, *, tenant: str) -> RunRecord:
        record = await read(run_id, tenant=tenant)
        return replace(record, entries=record.entries[:-1])

    monkeypatch.setattr(arena.app.home.journal, "read", without_end)
    with pytest.raises(AssertionError):
        await arena.attack(("none", "typescript", "return 1"))
