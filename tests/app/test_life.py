"""The app's life: what a failed start leaves behind, and an ASGI app that outlives a stop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from inhabit import Capability, Inhabit, Principal
from inhabit.config import parse_config
from inhabit.contracts.clock import now_ms
from inhabit.contracts.connector import Call, ConnectorContext, ConnectorProblem
from inhabit.contracts.operation import Operation
from inhabit.errors import ConfigError, Unavailable
from inhabit.isolates.pool import WorkerPool


class Source:
    """A source that counts; `fault` is raised when it is opened."""

    def __init__(self, name: str, fault: Exception | None = None) -> None:
        self.name = name
        self.fault = fault
        self.open_now = 0
        self.outbound: Any = None

    async def open(self, context: ConnectorContext) -> None:
        self.outbound = context.outbound
        if self.fault is not None:
            raise self.fault
        self.open_now += 1

    def fingerprint(self) -> str:
        return self.name

    def operations(self) -> Iterable[Operation]:
        return ()

    def operation(self, name: str) -> Operation | None:
        return None

    def problems(self) -> tuple[ConnectorProblem, ...]:
        return ()

    async def call(self, call: Call) -> Any:
        raise NotImplementedError

    async def close(self) -> None:
        self.open_now = 0


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def home(tmp_path: Path, cache: Path) -> Path:
    """Of its own but for the compiled images."""
    (tmp_path / "cache").symlink_to(cache)
    return tmp_path


async def test_a_start_that_fails_closes_what_it_opened(home: Path) -> None:
    good, bad = Source("good"), Source("bad", RuntimeError("a fault nobody expected"))
    app = Inhabit([good, bad], home=home)
    with pytest.raises(RuntimeError):
        await app.start()
    assert good.open_now == 0 and not app.started
    bad.fault = None
    async with app:
        assert good.open_now == bad.open_now == 1
    assert good.open_now == bad.open_now == 0


async def test_sources_and_sign_ins_share_one_way_out(home: Path) -> None:
    one, other = Source("one"), Source("other")
    async with Inhabit([one, other], home=home) as app:
        assert one.outbound is other.outbound is app.home.outbound


async def test_a_look_at_a_home_runs_nothing_and_a_start_after_it_does(home: Path) -> None:
    gate, shop = asyncio.Event(), Capability("shop.orders")
    calls: list[str] = []

    @shop.operation
    async def wait() -> None:
        await gate.wait()

    @shop.operation(writes="external")
    async def pay() -> None:
        calls.append("paid")

    async with Inhabit([shop], home=home) as app:
        left = await app.execute("await shop.orders.wait(); await shop.orders.pay()", principal="ada", wait_s=0.2)
    gate.set()
    app = Inhabit([shop], home=home)
    try:
        looking = await app.start(resume=False)
        caller = app.caller("ada")
        assert (await looking.wait(left.run_id, caller, wait_s=0.2)).state == "running" and not calls
        assert isinstance(looking.parts.pool, WorkerPool) and looking.parts.pool.zygote_pid is None
        with pytest.raises(Unavailable, match="pool is not started"):
            await looking.execute("return 1", caller)
        assert await app.start() is looking
        assert (await looking.wait(left.run_id, caller, wait_s=20)).state == "completed" and calls == ["paid"]
    finally:
        await app.stop()


async def test_a_home_that_was_mended_can_be_opened(home: Path) -> None:
    async with Inhabit(home=home):
        pass
    app = Inhabit(home=home)
    (home / "connections.key").chmod(0o644)
    with pytest.raises(ConfigError, match="open to others"):
        await app.start()
    (home / "connections.key").chmod(0o600)
    async with app:
        assert app.home.journal.failure is None


async def test_a_problem_is_forgotten_with_its_cause(home: Path) -> None:
    source = Source("shop", Unavailable("not there yet"))
    app = Inhabit([source], home=home)
    async with app:
        assert list(app.problems) == ["shop"]
    source.fault = None
    async with app:
        assert not app.problems


def test_two_sources_of_one_name_are_refused(home: Path) -> None:
    with pytest.raises(ConfigError, match=r"'shop\.orders' is the name of more than one source"):
        Inhabit([Capability("shop.orders"), Capability("shop.cart"), Capability("shop.orders")], home=home)


async def test_the_asgi_app_serves_again_after_a_stop(home: Path) -> None:
    app = Inhabit(home=home)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app.asgi()), base_url="http://localhost") as client:
        for _ in range(2):
            assert (await client.get("/v1/health")).status_code == 200
            await app.stop()


@pytest.mark.parametrize("started_before", [False, True])
async def test_the_end_of_the_lifespan_stops_what_it_started(home: Path, started_before: bool) -> None:
    app, said = Inhabit(home=home), asyncio.Queue[str]()
    if started_before:
        await app.start()
    told = asyncio.Queue[dict[str, str]]()

    async def send(message: Any) -> None:
        await said.put(message["type"])

    serving = asyncio.ensure_future(app.asgi()({"type": "lifespan", "asgi": {"version": "3.0"}}, told.get, send))
    await told.put({"type": "lifespan.startup"})
    assert await said.get() == "lifespan.startup.complete" and app.started
    await told.put({"type": "lifespan.shutdown"})
    await serving
    assert app.started is started_before
    await app.stop()


@pytest.mark.parametrize(("text", "may"), [
    ("", True), ('[server]\ntenants = "several"', False), ('[server]\ntenants = "several"\n[grants]\ndefault = ["shop.**"]', True)])
def test_E18_a_file_without_grants_gives_nothing_where_there_are_several_tenants(home: Path, text: str, may: bool) -> None:
    app = Inhabit.from_config(parse_config(text, home / "inhabit.toml"), home=home)
    assert app.grant_of(Principal("mallory", "elsewhere")).shows("shop.orders.list") is may


@pytest.mark.parametrize(("table", "left"), [("", 1), ("[retention]\nmax_age_days = 1e-9", 0)])
async def test_the_file_says_how_long_runs_are_kept(home: Path, table: str, left: int) -> None:
    async with asyncio.timeout(60):
        async with Inhabit([], home=home) as app:
            run = (await app.execute("return 1", principal="ada")).run_id
        config = parse_config(table, home / "inhabit.toml")
        async with Inhabit.from_config(config, home=home) as app:
            await app.home.store.prune(now_ms(), app.home.retention)
            while len(kept := await app.home.journal.list(tenant="default")) > left:
                await asyncio.sleep(0.01)   # the start's own pruning may be at it
            assert [one.run_id for one in kept] == [run][:left]
