"""A call that nobody knows the end of: its operation says it, or a person does; it is never repeated blindly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from inhabit.connectors.functions import Capability
from inhabit.contracts.connector import Call
from inhabit.contracts.principal import Principal
from inhabit.contracts.program import Finished, IssuedCall, Turn
from inhabit.contracts.reconciled import Reconciled
from inhabit.contracts.run import Asked, Decided, Outcome, Terminal
from inhabit.errors import ConfigError, InvalidInput
from inhabit.kernel.grants import Grant
from inhabit.kernel.policy import Limit, Policy, ResultRule, Rule
from inhabit.runtime.approvals import AlreadyDecided, Approver, Desk
from inhabit.runtime.bridge import Bridge
from inhabit.runtime.context import Control
from inhabit.runtime.rollback import SETTLE
from inhabit.runtime.service import Caller, Runtime
from tests.runtime.conftest import NoBlobs, ScriptedIsolate
from tests.runtime.test_asking import settled

FREE = Policy(())
ADA = Caller(Principal("ada"), Grant.of("**"))
BOSS = Approver(Principal("boss"), "test", protected=True)
OPEN = Policy()
ONE = "const made = await shop.place({ item: 'tea' }); return [made, await shop.count({})]"
NOT_AWAITED = "shop.place({ item: 'tea' }); return 'a program that did not wait'"


class Shop:
    """`says`: what reconciling answers, None where nothing is declared. `cut`: the next call hangs, before its effect or after."""

    def __init__(self, says: Reconciled | Exception | None = None) -> None:
        self.capability = Capability("shop")
        self.placed: list[str] = []
        self.asked: list[tuple[str, str]] = []
        self.says = says
        self.cut = ""
        self.entered = asyncio.Event()

        @self.capability.operation(reads="private")
        async def was_placed(item: str, idempotency_key: str) -> Reconciled:
            self.asked.append((item, idempotency_key))
            if isinstance(self.says, Exception):
                raise self.says
            assert self.says is not None
            return self.says

        @self.capability.operation(writes="internal", idempotent=True, irreversible=False)
        async def withdraw(order: str) -> None:
            self.placed.remove(order)

        @self.capability.operation(writes="internal", revert="shop.withdraw", reconcile="shop.was_placed" if says is not None else None)
        async def place(item: str, call: Call) -> dict[str, str]:
            if self.cut == "before":
                await self._hang()
            order = f"{item} {call.idempotency_key.rpartition(':')[2]}"
            self.placed.append(order)
            if self.cut == "after":
                await self._hang()
            return {"order": order}

        @self.capability.operation(reads="private")
        async def count() -> int:
            return len(self.placed)

    async def _hang(self) -> None:
        self.cut = ""
        self.entered.set()
        await asyncio.Event().wait()


@pytest.fixture
def opened(opened_runtime: Any) -> Any:
    def open_shop(shop: Shop, policy: Policy = FREE, **more: Any) -> Any:
        return opened_runtime(shop.capability.connector(), control=Control(policy=lambda _who: policy, **more))
    return open_shop


async def cut_off(opened: Any, shop: Shop, cut: str, source: str = ONE, *rules: Rule) -> str:
    """The id of a run whose server went away while its call was under way."""
    shop.cut = cut
    async with opened(shop, Policy(rules)) as (runtime, store):
        run = await runtime.execute(source, ADA, wait_s=0)
        if rules:
            asked = (await settled(runtime, run.run_id)).approvals[0]
            await Desk(runtime, store.approvals).decide(asked.approval, "approve", BOSS, arguments=b'{"item":"edited"}')
        await asyncio.wait_for(shop.entered.wait(), 10)
        await asyncio.sleep(0)
        crash(runtime)
    return run.run_id


def crash(runtime: Runtime) -> None:
    """A stop waits for calls in flight before it leaves; a crash does not."""
    for live in runtime.driving.live.values():
        for task, _ in live.driver.waiting.calls.values():
            task.cancel()


@pytest.mark.parametrize(("says", "cut", "result", "placed"), [
    (Reconciled.done({"order": "tea 1"}), "after", [{"order": "tea 1"}, 1], ["tea 1"]),
    (Reconciled.not_done(), "before", [{"order": "tea 1"}, 1], ["tea 1"])])
async def test_F02_a_declared_reconcile_settles_the_call(opened: Any, says: Reconciled, cut: str, result: list[Any], placed: list[str]) -> None:
    shop = Shop(says)
    run_id = await cut_off(opened, shop, cut)
    async with opened(shop) as (runtime, _store):
        ended = await settled(runtime, run_id)
        assert (ended.state, ended.value, shop.placed) == ("completed", result, placed), ended.error
        assert shop.asked == [("tea", f"{run_id}:1")]


@pytest.mark.parametrize("says", [None, Reconciled.unknown(), RuntimeError("down"), Reconciled.done("no order")])
async def test_F02_what_no_operation_can_say_is_asked_of_a_person(opened: Any, says: Any) -> None:
    shop = Shop(says)
    run_id = await cut_off(opened, shop, "after")
    async with opened(shop) as (runtime, store):
        if isinstance(says, Reconciled) and says.state == "done":   # what cannot be its answer is told as such, and it is not repeated
            ended = await settled(runtime, run_id)
            assert (ended.state, shop.placed) == ("failed", ["tea 1"]) and ended.error["details"]["written"] == 1
            return
        assert (await settled(runtime, run_id)).state == "suspended" and runtime.gauges()["live_runs"] == 0
        desk = Desk(runtime, store.approvals)
        (asked,) = await desk.pending(BOSS)
        assert asked.asked.doubt and asked.asked.operation == "shop.place" and runtime.gauges()["pending_approvals"] == 1
    async with opened(shop) as (runtime, store):   # the question outlives another server, and is not asked twice
        desk = Desk(runtime, store.approvals)
        (asked,) = await desk.pending(BOSS)
        with pytest.raises(InvalidInput, match="not by approve"):
            await desk.decide(asked.asked.approval, "approve", BOSS)
        with pytest.raises(InvalidInput, match="does not fit"):
            await desk.decide(asked.asked.approval, "happened", BOSS, value=7)
        await desk.decide(asked.asked.approval, "happened", BOSS, value={"order": "tea 1"})
        with pytest.raises(AlreadyDecided):
            await desk.decide(asked.asked.approval, "not_done", BOSS)
        ended = await settled(runtime, run_id)
        assert (ended.value, shop.placed) == ([{"order": "tea 1"}, 1], ["tea 1"])


async def test_F02_a_call_that_a_person_says_was_not_made_is_made_again_and_can_come_into_doubt_again(opened: Any) -> None:
    shop = Shop()
    run_id = await cut_off(opened, shop, "before")
    ids: list[str] = []
    for again in (True, False):
        shop.cut, shop.entered = "before" if again else "", asyncio.Event()
        async with opened(shop) as (runtime, store):
            await settled(runtime, run_id)
            desk = Desk(runtime, store.approvals)
            (asked,) = await desk.pending(BOSS)
            ids.append(asked.asked.approval)
            await desk.decide(asked.asked.approval, "not_done", BOSS)
            if again:
                await asyncio.wait_for(shop.entered.wait(), 10)
                crash(runtime)
            else:
                assert (await settled(runtime, run_id)).value == [{"order": "tea 1"}, 1]
    assert len(set(ids)) == 2 and shop.placed == ["tea 1"]


@pytest.mark.parametrize("source", [ONE, NOT_AWAITED])
@pytest.mark.parametrize("how", ["give_up", "expire", "cancel"])
async def test_F02_a_doubt_that_stays_ends_the_run_as_unknown(opened: Any, how: str, source: str) -> None:
    shop = Shop()
    run_id = await cut_off(opened, shop, "after", source)
    async with opened(shop) as (runtime, store):
        await settled(runtime, run_id)
        desk = Desk(runtime, store.approvals)
        (asked,) = await desk.pending(BOSS)
        if how == "give_up":
            await desk.decide(asked.asked.approval, "give_up", BOSS)
        elif how == "expire":
            runtime.clock.now = asked.asked.expires_ms + 1
            assert await desk.expire() == 1
        else:
            await runtime.cancel(run_id, ADA)
        ended = await settled(runtime, run_id)
        assert ended.state == "unknown" and [c["sequence"] for c in ended.error["details"]["unknown_calls"]] == [1]
        assert shop.placed == ["tea 1"] and await desk.pending(BOSS) == []


async def test_F02_a_call_approved_with_edits_is_settled_as_it_was_made(opened: Any) -> None:
    shop, rule = Shop(Reconciled.not_done()), Rule("placing", ("shop.place",), "ask", "people place")
    run_id = await cut_off(opened, shop, "before", ONE, rule)
    async with opened(shop, Policy([rule])) as (runtime, _store):
        ended = await settled(runtime, run_id)
        assert (ended.value, shop.asked) == ([{"order": "edited 1"}, 1], [("edited", f"{run_id}:1")])


@pytest.mark.parametrize("stricter", [False, True])
async def test_F02_a_call_made_again_is_not_charged_again_and_the_policy_of_now_can_refuse_it(opened_runtime: Any, stricter: bool) -> None:
    shop, once = Shop(Reconciled.not_done()), Limit("once", ("shop.place",), 1, 86_400_000, reason="one order a day")
    kept: dict[str, Any] = {"policy": Policy((), (once,))}
    control = Control(policy=lambda _who: kept["policy"], ledger=lambda tenant: kept["ledger"].of(tenant))

    @asynccontextmanager
    async def opened(shop: Shop, _policy: Policy = FREE) -> AsyncGenerator[Any]:
        async with opened_runtime(shop.capability.connector(), control=control, start=False) as (runtime, store):
            kept["ledger"] = store.ledger(runtime.clock())
            await runtime.start()
            yield runtime, store

    run_id = await cut_off(opened, shop, "before")
    if stricter:
        kept["policy"] = Policy((Rule("closed", ("shop.place",), "deny", "closed"),), (once,))
    async with opened(shop) as (runtime, _store):
        ended = await settled(runtime, run_id)
        assert (ended.state, len(shop.placed)) == (("failed", 0) if stricter else ("completed", 1)), ended.error
        assert not stricter or ended.error["effect"] == "none"


async def test_F02_what_a_reconcile_says_is_shaped_by_the_rules_on_its_own_results(opened: Any) -> None:
    shop = Shop(Reconciled.done({"order": "CANARY"}))
    run_id = await cut_off(opened, shop, "after")
    async with opened(shop, Policy(results=[ResultRule("orders are nobody's", ("shop.was_placed",), redact=("value.order",))])) as (runtime, _store):
        ended = await settled(runtime, run_id)
        assert ended.value == [{"order": "[redacted]"}, 1]
        assert "CANARY" not in str(await runtime.parts.journal.read(run_id, tenant="default"))


async def test_E18_a_rule_against_reconciling_makes_it_a_persons_question(opened: Any) -> None:
    shop = Shop(Reconciled.not_done())
    run_id = await cut_off(opened, shop, "before")
    async with opened(shop, Policy([Rule("closed", ("shop.was_placed",), "deny", "not now")])) as (runtime, _store):
        assert (await settled(runtime, run_id)).state == "suspended" and shop.asked == []


@pytest.mark.parametrize(("says", "undone", "stands"), [
    (Reconciled.done({"order": "tea 1"}), [1], []), (Reconciled.not_done(), [], []),
    (None, [1], []), (Reconciled.unknown(), [], ["it is unknown whether it took effect"])])
async def test_F11_a_rollback_finds_out_first_whether_there_is_something_to_undo(opened: Any, says: Any, undone: list[int], stands: list[str]) -> None:
    shop = Shop()
    run_id = await cut_off(opened, shop, "before" if says is not None and says.state == "not_done" else "after")
    async with opened(shop) as (runtime, store):
        await settled(runtime, run_id)
        await runtime.cancel(run_id, ADA)
    later = Shop(says)
    later.placed = shop.placed
    async with opened(later) as (runtime, store):
        plan = await runtime.undoing(run_id, ADA)
        assert [step["settle"]["idempotency_key"] for step in plan["steps"]] == [f"{run_id}:1"]
        result = await runtime.rollback(run_id, ADA)
        if result.state == "suspended":
            desk = Desk(runtime, store.approvals)
            (asked,) = await desk.pending(BOSS)
            assert asked.asked.operation == "shop.place"
            verdict = "happened" if says is None else "give_up"
            await desk.decide(asked.asked.approval, verdict, BOSS, value={"order": "tea 1"} if says is None else None)
            result = await settled(runtime, result.run_id)
        assert ([u["sequence"] for u in result.value["undone"]], [s["why"] for s in result.value["stands"]]) == (undone, stands), result
        assert later.placed == (["tea 1"] if stands else [])


async def test_F02_no_program_can_settle_calls(opened: Any, world: Any) -> None:
    """The name is not there; and a worker that was taken over and calls it all the same reaches no operation's `reconcile`."""
    shop = Shop(Reconciled.not_done())
    async with opened(shop) as (runtime, _store):
        source = "const own = Object.getOwnPropertyNames(globalThis); return own.includes('inhabit')"
        assert (await runtime.execute(source, ADA)).value is False
    here = world(shop.capability)
    question = IssuedCall(1, SETTLE, b'{"operation":"shop.place","arguments":{"item":"tea"},"idempotency_key":"another:1"}')
    isolate = ScriptedIsolate(lambda step, given: [Turn((question,)), Turn((), (1,), Finished(True, b"1"))][step])
    assert (await here.driver(isolate).drive()).state == "completed"
    assert isolate.delivered[0].kind == "error" and b"unknown_operation" in isolate.delivered[0].value
    assert shop.asked == []


@pytest.mark.parametrize("wrong", ["writes", "needs", "answers"])
def test_a_reconcile_that_cannot_answer_is_refused_at_the_start(wrong: str) -> None:
    capability = Capability("shop")
    if wrong == "writes":
        @capability.operation(writes="internal")
        async def was_placed(item: str) -> Reconciled: ...
    elif wrong == "needs":
        @capability.operation(name="was_placed")
        async def needs(order: str) -> Reconciled: ...
    else:
        @capability.operation(name="was_placed")
        async def answers(item: str) -> bool: ...

    @capability.operation(writes="internal", reconcile="was_placed")
    async def place(item: str) -> None: ...
    with pytest.raises(ConfigError, match="cannot settle a call"):
        capability.connector()


async def test_F02_the_record_of_a_settled_call_has_one_outcome_and_one_question(opened: Any) -> None:
    shop = Shop()
    run_id = await cut_off(opened, shop, "after")
    async with opened(shop) as (runtime, store):
        await settled(runtime, run_id)
        desk = Desk(runtime, store.approvals)
        (asked,) = await desk.pending(BOSS)
        await desk.decide(asked.asked.approval, "happened", BOSS, value={"order": "tea 1"})
        await settled(runtime, run_id)
        entries = [e.entry for e in (await runtime.parts.journal.read(run_id, tenant="default")).entries]
        assert sum(isinstance(e, Asked) for e in entries) == 1
        assert [e.sequence for e in entries if isinstance(e, Outcome)] == [1, 2]


async def test_F01_an_answer_that_comes_while_the_run_falls_asleep_is_not_lost(world: Any) -> None:
    """At whichever turn of the loop it comes: the run goes on with it, or says that it sleeps and is to be woken."""
    policy = Policy((Rule("placing", ("shop.place",), "ask", "people place"),))
    for ticks in range(25):
        shop = Shop()
        here = world(shop.capability)
        here.bridge = Bridge(here.directory, here.journal, NoBlobs(), lambda: 1_000, Control(policy=lambda _who: policy))
        driver = here.driver(ScriptedIsolate(lambda step, given: [
            Turn((IssuedCall(1, "shop.place", b'{"item":"tea"}'),)), Turn((), (1,), Finished(True, b"1"))][step]))
        running = asyncio.create_task(driver.drive())
        while not driver.questions:
            await asyncio.sleep(0)
        for _ in range(ticks):
            await asyncio.sleep(0)
        went_on = driver.decided(Decided("run.1", 1, "approve", "boss", "test", "", 1_000))
        last = await asyncio.wait_for(running, 10)
        assert isinstance(last, Terminal) == went_on and shop.placed == (["tea 1"] if went_on else []), f"after {ticks} turns"


async def test_F02_a_call_that_is_refused_when_made_again_may_have_taken_effect(opened_runtime: Any) -> None:
    capability, entered = Capability("shop"), asyncio.Event()

    @capability.operation(writes="internal", idempotent=True, irreversible=False)
    async def put(item: str) -> None:  # pyright: ignore[reportUnusedFunction]
        entered.set()
        await asyncio.Event().wait()

    async with opened_runtime(capability.connector()) as (runtime, _store):
        run = await runtime.execute("try { await shop.put({ item: 'tea' }) } catch (e) { return [e.code, e.effect] }", ADA, wait_s=0)
        await asyncio.wait_for(entered.wait(), 10)
        crash(runtime)
    closed = Policy((Rule("closed", ("shop.put",), "deny", "closed"),))
    async with opened_runtime(capability.connector(), control=Control(policy=lambda _who: closed)) as (runtime, _store):
        assert (await settled(runtime, run.run_id)).value == ["denied", "unknown"]
