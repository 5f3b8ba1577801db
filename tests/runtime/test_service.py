"""The runtime end to end: catalog, check, engine, bridge, journal on disk. Workers have their own tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Literal

import pytest

from inhabit.connectors.functions import Capability
from inhabit.contracts.connector import ConnectorProblem
from inhabit.contracts.principal import Principal
from inhabit.contracts.run import Intent, Outcome, Resumed
from inhabit.errors import (
    InvalidInput,
    LimitExceeded,
    NotFound,
    ProgramError,
    TooMany,
    Unavailable,
    WorkerLost,
)
from inhabit.kernel.grants import Grant
from inhabit.limits import LiveRuns
from inhabit.runtime.service import Caller, Runtime
from inhabit.store import reading
from tests.runtime.conftest import left
from tests.runtime.inprocess import InProcessIsolate

ADA = Caller(Principal("ada"), Grant.of("**"))
EVE = Caller(Principal("eve"), Grant.of("**"))


class Shop:
    def __init__(self) -> None:
        self.capability = Capability("shop.orders", "Orders")
        self.cancelled: list[str] = []
        self.held = asyncio.Event()
        self.held.set()

        @self.capability.operation(reads="private")
        async def list(customer: Principal, status: Literal["open", "done"] = "open") -> list[dict[str, Any]]:
            """Orders of a customer."""
            return [{"id": f"{customer.user}-{n}", "status": status, "total": n * 10} for n in range(1, 4)]

        @self.capability.operation(writes="internal")
        async def cancel(order_id: str) -> dict[str, str]:
            """Cancel an order."""
            await self.held.wait()
            if order_id == "gone":
                raise LookupError("no such order")
            self.cancelled.append(order_id)
            return {"id": order_id}

        @self.capability.operation(reads="private")
        async def wait(name: str) -> str:
            """Wait for the gate."""
            await self.held.wait()
            return name


Open = Callable[..., Any]


@pytest.fixture
def opened(opened_runtime: Any) -> Open:
    @asynccontextmanager
    async def opened(shop: Shop, **options: Any) -> AsyncIterator[Runtime]:
        async with opened_runtime(shop.capability.connector(), **options) as (runtime, _store):
            yield runtime

    return opened


async def test_program_runs_over_operations_and_only_its_result_returns(opened: Open) -> None:
    async with opened(Shop()) as runtime:
        result = await runtime.execute("""
            const open = await shop.orders.list({ status: "open" });
            console.log("found", open.length);
            const sums: number[] = await Promise.all(open.map(async (o: any) => (await shop.orders.cancel({ order_id: o.id })).id.length));
            return { total: open.reduce((sum, o) => sum + o.total, 0), n: sums.length };
        """, ADA)
        assert result.as_value() == {"run": result.run_id, "state": "completed", "result": {"total": 60, "n": 3},
                                     "logs": ["found 3"], "calls": 4}
        again = await runtime.wait(result.run_id, ADA)
        assert again.value == result.value and again.logs == result.logs and again.calls == 4
        record = await runtime.parts.journal.read(result.run_id, tenant="default")
        assert [type(e.entry).__name__ for e in record.entries].count("Outcome") == 4
        assert record.header.code and record.header.principal == Principal("ada")


@pytest.mark.parametrize(("source", "line", "words"), [
    ("return 1 +;", 1, ""),
    ("\nreturn await shop.orders.lst({})", 2, "shop.orders.list"),
    ("await shop.orders.cancel({ orderid: 'x' })", 1, "order_id"),
    ("await shop.orders.cancel({})", 1, "order_id"),
    ("await shop.orders.list({ status: 'closed' })", 1, "open"),
    ("await shp.orders.cancel({ order_id: 'x' })", 1, "did you mean shop.orders.cancel"),
    ("const x = shop.orders.cancel({ order_id: 'x' });\nreturn x.id", 2, "`await` it first"),
    ("// nothing", 1, "the program is empty"),
])
async def test_what_cannot_work_is_refused_before_anything_runs(opened: Open, source: str, line: int, words: str) -> None:
    async with opened(Shop()) as runtime:
        with pytest.raises(ProgramError) as caught:
            await runtime.execute(source, ADA)
        problem = caught.value.details["problems"][0]
        assert problem["line"] == line and problem["column"] >= 1 and words in caught.value.message
        assert str(caught.value.as_value()).count(caught.value.message[-20:]) == 1   # each problem is said once
        assert await runtime.parts.journal.list(tenant="default") == []


async def test_an_error_is_a_value_the_program_can_catch_and_read(opened: Open) -> None:
    async with opened(Shop()) as runtime:
        result = await runtime.execute("""
            const name: any = "cancel";
            const seen: any[] = [];
            for (const args of [{ order_id: "gone" }, { orderid: 1 }, {}]) {
                try { await shop.orders[name](args) } catch (e: any) { seen.push([e.name, e.code, e.operation, e.details?.parameters ?? null, e instanceof Error]) }
            }
            return seen;
        """, ADA)
        assert result.value == [
            ["OperationError", "not_found", "shop.orders.cancel", None, True],
            ["OperationError", "arguments_invalid", "shop.orders.cancel", ["order_id"], True],
            ["OperationError", "arguments_invalid", "shop.orders.cancel", ["order_id"], True]]


async def test_grant_bounds_what_is_seen_and_what_is_called(opened: Open) -> None:
    reader = Caller(Principal("ada"), Grant.of({"pattern": "shop.**", "caveats": [{"effects": {"writes": "none"}}]}))
    nobody = Caller(Principal("ada"), Grant.nothing())
    async with opened(Shop()) as runtime:
        result = await runtime.execute("try { await shop.orders.cancel({order_id: 'x'}) } catch (e) { return e.code }", reader)
        assert result.value == "denied"
        assert runtime.capabilities(nobody) == [] and "shop" not in await runtime.search("cancel an order", nobody)
        assert runtime.capabilities(ADA) == [{"name": "shop", "operations": 3, "problems": []}]
        result = await runtime.execute("return typeof shop", nobody)
        assert result.value == "undefined"


async def test_search_shows_what_a_program_needs(opened: Open) -> None:
    async with opened(Shop()) as runtime:
        text = await runtime.search("cancel an order", ADA)
        assert "cancel" in text and "order_id" in text
        assert "order_id" in await runtime.search("cancel an order", ADA, language="python")


async def test_large_result_is_cut_and_kept_whole_in_the_journal(opened: Open) -> None:
    async with opened(Shop()) as runtime:
        result = await runtime.execute("return Array.from({length: 20000}, (_, i) => 'item ' + i)", ADA)
        assert result.truncated and "more items" in result.value[-1] and "cut" in result.next
        record = await runtime.parts.journal.read(result.run_id, tenant="default")
        assert len(record.entries[-1].entry.value) > 200_000


async def test_long_run_goes_on_and_can_be_waited_for(opened: Open) -> None:
    shop = Shop()
    shop.held.clear()
    async with opened(shop) as runtime:
        started = await runtime.execute("return await shop.orders.wait({name: 'x'})", ADA, wait_s=0)
        assert started.state == "running" and started.run_id in started.next
        shop.held.set()
        assert (await runtime.wait(started.run_id, ADA, wait_s=5)).value == "x"


async def test_E18_other_users_run_is_not_found(opened: Open) -> None:
    shop = Shop()
    shop.held.clear()
    async with opened(shop) as runtime:
        live = await runtime.execute("return await shop.orders.wait({name: 'x'})", ADA, wait_s=0)
        for caller in (EVE, Caller(Principal("ada", "other"), Grant.of("**"))):
            for asking in (runtime.wait, runtime.cancel):
                with pytest.raises(NotFound):
                    await asking(live.run_id, caller)
        shop.held.set()
        ended = await runtime.wait(live.run_id, ADA, wait_s=5)
        for caller in (EVE, Caller(Principal("ada", "other"), Grant.of("**"))):
            with pytest.raises(NotFound):
                await runtime.wait(ended.run_id, caller)


async def test_cancel_ends_a_run_and_says_what_is_in_doubt(opened: Open) -> None:
    shop = Shop()
    shop.held.clear()
    async with opened(shop) as runtime:
        run = await runtime.execute("await shop.orders.cancel({order_id: 'a'})", ADA, wait_s=0.05)
        result = await runtime.cancel(run.run_id, ADA)
        assert result.state == "unknown" and result.error is not None and result.error["effect"] == "unknown"


@pytest.mark.parametrize("limits", [{"cpu_ms": 0}, {"cpu_ms": -1}, {"cpu_ms": "5"}, {"cpu_ms": float("nan")}, {"cpu_ms": float("inf")}, {"speed": 1}])
async def test_B21_limits_that_are_none_are_refused(opened: Open, limits: Any) -> None:
    async with opened(Shop()) as runtime:
        with pytest.raises(InvalidInput):
            await runtime.execute("return 1", ADA, limits=limits)


async def test_B21_limits_can_only_be_tightened(opened: Open) -> None:
    async with opened(Shop()) as runtime:
        result = await runtime.execute("return 1", ADA, limits={"cpu_ms": 1e9, "calls": None})
        record = await runtime.parts.journal.read(result.run_id, tenant="default")
        assert record.header.limits["cpu_ms"] == 5_000 and record.header.limits["calls"] == 10_000


@pytest.mark.parametrize(("arguments", "error"), [
    ({"source": "x" * 300_000}, LimitExceeded),
    ({"source": "return 1", "language": "cobol"}, InvalidInput),
    ({"source": "return 1", "input": {1, 2}}, InvalidInput),
    ({"source": "return 1", "input": "x" * 17_000_000}, LimitExceeded),
])
async def test_bad_requests_name_what_is_wrong(opened: Open, arguments: dict[str, Any], error: type[Exception]) -> None:
    async with opened(Shop()) as runtime:
        with pytest.raises(error):
            await runtime.execute(arguments.pop("source"), ADA, **arguments)


async def test_F02_write_in_flight_at_a_crash_is_asked_about_and_not_repeated(opened: Open) -> None:
    shop = Shop()
    shop.held.clear()
    run_id = await crashed(opened, shop, "await shop.orders.cancel({order_id: 'a'})")
    shop.held.set()
    async with opened(shop) as runtime:
        result = await runtime.wait(run_id, ADA, wait_s=5)
        assert result.state == "suspended" and [asked.doubt for asked in result.approvals] == [True]
        result = await runtime.cancel(run_id, ADA)
        assert result.state == "unknown" and result.error is not None
        [call] = result.error["details"]["unknown_calls"]
        assert call["operation"] == "shop.orders.cancel" and call["idempotency_key"] == f"{run_id}:1"
    assert shop.cancelled == []


async def test_run_with_reads_in_flight_goes_on_after_a_crash(opened: Open) -> None:
    shop = Shop()
    shop.held.clear()
    source = """
        const id = crypto.randomUUID(); const at = Date.now(); const r = Math.random();
        const [first] = await shop.orders.list({});
        console.log("before");
        const both = await Promise.all([shop.orders.wait({name: id}), shop.orders.wait({name: first.id})]);
        console.log("after");
        await shop.orders.cancel({ order_id: both[1] });
        return { same: both[0] === id, at, r, both };
    """
    run_id = await crashed(opened, shop, source)
    shop.held.set()
    async with opened(shop) as runtime:
        result = await runtime.wait(run_id, ADA, wait_s=5)
        assert result.state == "completed" and result.value["same"] and result.value["both"][1] == "ada-1", result.error
        assert [line.text for line in result.logs] == ["before", "after"]
        entries = [e.entry for e in (await runtime.parts.journal.read(run_id, tenant="default")).entries]
        assert len([e for e in entries if isinstance(e, Intent)]) == len([e for e in entries if isinstance(e, Outcome)]) == 4
        assert sorted(s for e in entries if isinstance(e, Resumed) for s in e.reissued) == [2, 3]
    assert shop.cancelled == ["ada-1"]


async def test_run_whose_engine_is_gone_says_so(opened: Open) -> None:
    shop = Shop()
    shop.held.clear()
    run_id = await crashed(opened, shop, "const a = await shop.orders.list({}); return await shop.orders.wait({name: 'x'})")
    async with opened(shop, version="quickjs 99") as runtime:
        result = await runtime.wait(run_id, ADA)
        assert result.state == "parked" and result.error is not None and "quickjs 99" in result.error["message"]
    shop.held.set()
    async with opened(shop) as runtime:   # and goes on once its engine is there again
        assert (await runtime.wait(run_id, ADA, wait_s=5)).state == "completed"


async def test_run_goes_on_in_a_new_worker_when_its_own_dies(opened: Open) -> None:
    shop = Shop()
    async with opened(shop) as runtime:
        lost: list[int] = []
        real = InProcessIsolate.deliver

        async def deliver(self: InProcessIsolate, deliveries: Any) -> Any:
            if len(lost) < 2 and len(shop.cancelled) > len(lost):
                lost.append(1)
                raise WorkerLost("a neighbour was killed")
            return await real(self, deliveries)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(InProcessIsolate, "deliver", deliver)
            result = await runtime.execute(
                "console.log('hi'); for (const id of ['a', 'b', 'c']) await shop.orders.cancel({order_id: id}); return Math.random()", ADA)
        assert result.state == "completed" and shop.cancelled == ["a", "b", "c"] and len(lost) == 2
        assert result.calls == 3 and [line.text for line in result.logs] == ["hi"]


@pytest.mark.parametrize(("neighbours", "losses", "state"), [(True, 6, "completed"), (False, 2, "completed"), (False, 3, "failed")])
async def test_workers_that_die_of_other_runs_are_not_counted_against_a_run(
        opened: Open, neighbours: bool, losses: int, state: str) -> None:
    shop = Shop()
    async with opened(shop) as runtime:
        left = [losses]
        real = InProcessIsolate.deliver

        async def deliver(self: InProcessIsolate, deliveries: Any) -> Any:
            if left[0] and shop.cancelled:
                left[0] -= 1
                lost = WorkerLost("the worker ended")
                lost.neighbours = neighbours
                raise lost
            return await real(self, deliveries)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(InProcessIsolate, "deliver", deliver)
            result = await runtime.execute("await shop.orders.cancel({order_id: 'a'}); return 1", ADA)
        assert result.state == state and shop.cancelled == ["a"] and left == [0]
        if state == "failed":
            assert result.error is not None and result.error["code"] == "worker_lost" and not result.error["retryable"]
            assert result.error["message"].startswith("the run was given up: 3 of its workers died while it was this run's turn")
            assert result.error["effect"] == "happened" and result.error["details"]["written"] == 1


WAITING = "return await shop.orders.wait({name: 'x'})"


async def test_H05_one_tenant_cannot_take_all_live_runs(opened: Open) -> None:
    shop = Shop()
    shop.held.clear()
    bounds = LiveRuns(live_runs=6, live_runs_per_tenant=4, live_runs_per_user=2)
    async with opened(shop, live_runs=bounds) as runtime:

        async def start(tenant: str, user: str) -> str:
            try:
                return (await runtime.execute(WAITING, Caller(Principal(user, tenant), Grant.of("**")), wait_s=0)).state
            except (TooMany, Unavailable) as refused:
                return refused.details["limit"]

        # All at once: a share that is only looked at, and taken later, lets all of them through.
        assert sorted(await asyncio.gather(*(start("evil", "a") for _ in range(4)))) == ["live_runs_per_user"] * 2 + ["running"] * 2
        assert [await start("evil", "b") for _ in range(2)] == ["running"] * 2
        assert await start("evil", "c") == "live_runs_per_tenant"
        assert [await start("acme", user) for user in ("ada", "bob", "cyd")] == ["running", "running", "live_runs"]
        assert runtime.health()["live_runs"] == 6


async def test_H05_a_seat_is_given_back_however_a_run_ends_or_never_begins(opened: Open) -> None:
    async with opened(Shop(), live_runs=LiveRuns(live_runs=1)) as runtime:
        for source in ("return 1", "throw new Error('x')", "return 1 +;", "return await shop.orders.nothing({})",
                       "await new Promise(() => {})"):
            with suppress(ProgramError):
                await runtime.execute(source, ADA, limits={"cpu_ms": 50})
        stopped = asyncio.create_task(runtime.execute("return 2", ADA))
        await asyncio.sleep(0)
        stopped.cancel()
        await asyncio.wait([stopped])
        while runtime.health()["live_runs"]:   # who stopped waiting did not stop the run
            await asyncio.sleep(0)
        run = await runtime.execute("await new Promise(r => setTimeout(r, 60000))", ADA, wait_s=0)
        with pytest.raises(Unavailable, match="live_runs"):
            await runtime.execute("return 1", ADA)
        await runtime.cancel(run.run_id, ADA)
        assert (await runtime.execute("return 3", ADA)).value == 3


async def test_runs_taken_up_after_a_crash_hold_seats_too(opened: Open) -> None:
    shop = Shop()
    shop.held.clear()
    run_id = await crashed(opened, shop, WAITING)
    async with opened(shop, live_runs=LiveRuns(live_runs=1)) as runtime:
        with pytest.raises(Unavailable, match="live_runs"):
            await runtime.execute("return 1", ADA)
        shop.held.set()
        assert (await runtime.wait(run_id, ADA, wait_s=5)).state == "completed"
        assert (await runtime.execute("return 1", ADA)).value == 1


async def test_a_look_at_an_ended_run_reads_its_end_and_not_its_calls(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(Shop()) as runtime:
        run = await runtime.execute("for (let i = 0; i < 50; i++) await shop.orders.list({}); console.log('done'); return 'x'.repeat(300000)", ADA)
        decoded: list[int] = []
        real = reading.decode_entry
        monkeypatch.setattr(reading, "decode_entry", lambda kind, meta, parts: decoded.append(kind) or real(kind, meta, parts))
        again = [await runtime.wait(run.run_id, ADA) for _ in range(3)]
        assert all(a == again[0] for a in again) and (again[0].value, again[0].calls, again[0].logs) == (run.value, 50, run.logs)
        assert len(decoded) == 2   # the terminal entry and one line of log, and only the first time


async def test_E18_a_list_holds_exactly_what_may_be_opened(opened: Open) -> None:
    async with opened(Shop()) as runtime:
        reader = Caller(ADA.principal, Grant.of("shop.orders.list"))
        helper = Caller(Principal("ada", agent="helper"), Grant.of("**"))
        for caller in (ADA, reader, helper, ADA, EVE):
            await runtime.execute("return 1", caller)
        for caller, seen in ((ADA, 4), (reader, 1), (helper, 1), (EVE, 1), (Caller(ADA.principal, Grant.nothing()), 0)):
            page = await runtime.list(caller)
            assert len(page.runs) == seen and page.before is None
            for run in await runtime.parts.journal.list(tenant="default"):
                listed = run.run_id in {shown.run_id for shown in page.runs}
                if listed:
                    assert (await runtime.wait(run.run_id, caller)).value == 1
                else:
                    with pytest.raises(NotFound):
                        await runtime.wait(run.run_id, caller)


async def test_who_waits_for_a_run_while_the_server_stops_is_told_its_id_and_what_to_do(opened: Open) -> None:
    shop = Shop()
    shop.held.clear()
    async with opened(shop) as runtime:
        waiting = asyncio.create_task(runtime.execute(WAITING, ADA))
        while not runtime.health()["live_runs"] or not runtime.driving.live:
            await asyncio.sleep(0)
        run_id = left(runtime)
        with pytest.raises(Unavailable, match=run_id) as told:
            await waiting
        assert run_id in (told.value.fix or "") and told.value.details == {"run": run_id}


async def test_a_run_that_is_cancelled_before_its_first_step_ends_and_leaves_its_place(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop()
    shop.held.clear()
    async with opened(shop) as runtime:
        drive = runtime.driving.drive

        def cancelled(*given: Any, **more: Any) -> Any:
            live = drive(*given, **more)
            runtime.driving.cancel(live, "somebody")
            return live

        monkeypatch.setattr(runtime.driving, "drive", cancelled)
        run = await runtime.execute(WAITING, ADA)
        assert run.state == "failed" and "somebody" in run.error["message"]
        assert not runtime.live and runtime.driving.admission.live == 0


@pytest.mark.parametrize(("source", "state"), [(WAITING, "failed"), ("await shop.orders.cancel({order_id: 'a'})", "unknown")])
async def test_a_run_that_nobody_drives_can_be_cancelled_without_running_it(opened: Open, source: str, state: str) -> None:
    shop = Shop()
    shop.held.clear()
    run_id = await crashed(opened, shop, source)
    shop.held.set()
    async with opened(shop, start=False) as runtime:
        assert (await runtime.wait(run_id, ADA)).state == "running"
        with pytest.raises(NotFound):
            await runtime.cancel(run_id, EVE)
        ended = await runtime.cancel(run_id, ADA)
        assert (ended.state, ended.error and ended.error["code"]) == (state, "cancelled")
        assert await runtime.cancel(run_id, ADA) == ended and shop.cancelled == []
    assert state == "failed" or [c["operation"] for c in ended.error["details"]["unknown_calls"]] == ["shop.orders.cancel"]


async def test_every_problem_below_a_name_is_shown(opened: Open) -> None:
    async with opened(Shop()) as runtime:
        for name in ("shop.a", "shop.b"):
            source = Capability(name).connector()
            source.problems = lambda name=name: (ConnectorProblem(name, "/x", f"{name} is broken"),)  # type: ignore[method-assign]
            await runtime.parts.directory.add(source)
        (shown,) = runtime.capabilities(ADA)
        assert [p["reason"] for p in shown["problems"]] == ["shop.a is broken", "shop.b is broken"]


async def crashed(opened: Open, shop: Shop, source: str) -> str:
    """Start a run, wait until it is held, and leave the server with it unfinished."""
    async with opened(shop) as runtime:
        run = await runtime.execute(source, ADA, wait_s=0.1)
        assert run.state == "running"
        # A stop waits for calls in flight before it leaves; a crash does not.
        live = runtime.driving.live[run.run_id]
        for task, _ in live.driver.waiting.calls.values():
            task.cancel()
    run_id: str = run.run_id
    return run_id
