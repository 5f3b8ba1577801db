"""A plan writes nothing, and what is applied is what was shown: the same writes, in their order, or none of them."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from typing_extensions import TypedDict

from inhabit.connectors.functions import Capability
from inhabit.contracts.connector import Call
from inhabit.contracts.operation import Resource
from inhabit.contracts.principal import Principal
from inhabit.errors import CallError, ConfigError, Denied, InvalidInput, NotFound, TooMany, Unavailable
from inhabit.kernel.grants import Grant
from inhabit.kernel.policy import Policy, ResultRule, Rule
from inhabit.limits import LiveRuns
from inhabit.runtime.approvals import AlreadyDecided, Approver, Desk
from inhabit.runtime.context import Control
from inhabit.runtime.plans import PlanConflict, Plans, PlanUsed
from inhabit.runtime.service import Caller
from tests.runtime.conftest import left
from tests.runtime.test_asking import settled

ADA = Caller(Principal("ada"), Grant.of("**"))
EVE = Caller(Principal("eve"), Grant.of("**"))
BOSS = Approver(Principal("boss"), "test")

THINGS = {
    "typescript": """
const shelf = await shop.get({ thing_id: "shelf" });
const made = await shop.create({ name: "lamp" });
const seen = await shop.get({ thing_id: made.id });
const all = await shop.list({});
if (shelf.free > 0) await shop.update({ thing_id: "shelf", free: shelf.free - 1 });
await shop.note({ text: `put ${made.id} on the shelf` });
return { id: made.id, name: seen.name, count: all.length };
""",
}
AT_ONCE = {
    "typescript": 'return (await Promise.all(["a", "b", "c"].map(name => shop.create({ name })))).map(t => t.id)',
}


class Thing(TypedDict):
    id: str
    name: str
    free: int
    version: int


class Shop:
    """`written` counts every write that reached the sink."""

    def __init__(self) -> None:
        self.capability = Capability("shop")
        self.things: dict[str, Thing] = {"shelf": {"id": "shelf", "name": "shelf", "free": 3, "version": 1}}
        self.written: list[tuple[str, Any]] = []
        self.previewed = 0
        self.stop_after = 0
        self.stopped = asyncio.Event()

        def things(role: Any, argument: str = "") -> Resource:
            return Resource("thing", role, argument=argument, version="version")

        @self.capability.operation(reads="private", resource=things("read", "thing_id"))
        async def get(thing_id: str) -> Thing:
            if self.stop_after and len(self.written) == self.stop_after:
                self.stopped.set()
                await asyncio.sleep(60)
            if thing_id not in self.things:
                raise CallError(f"no thing {thing_id}", code="not_found")
            return self.things[thing_id]

        @self.capability.operation(name="list", reads="private", resource=things("list"))
        async def list_(name: str | None = None) -> list[Thing]:
            return [thing for thing in self.things.values() if name in (None, thing["name"])]

        @self.capability.operation(writes="internal", resource=things("create"))
        async def create(name: str) -> Thing:
            self.wrote("create", name)
            thing = Thing(id=f"t{len(self.things)}", name=name, free=0, version=1)
            self.things[thing["id"]] = thing
            return thing

        @self.capability.operation(reads="private")
        async def what_update_does(thing_id: str, free: int) -> dict[str, Any]:
            self.previewed += 1
            if free < 0:
                raise CallError("full", code="full")
            return {**self.things[thing_id], "free": free}

        @self.capability.operation(writes="internal", irreversible=False, preview=what_update_does, resource=things("update", "thing_id"))
        async def update(thing_id: str, free: int) -> Thing:
            self.wrote("update", (thing_id, free))
            thing = self.things[thing_id]
            thing.update(free=free, version=thing["version"] + 1)
            return thing

        @self.capability.operation(writes="external")
        async def note(text: str):  # type: ignore[no-untyped-def]
            self.wrote("note", text)

    def wrote(self, what: str, given: Any) -> None:
        self.written.append((what, given))


def _always(policy: Policy) -> Callable[[Principal], Policy]:
    return lambda _who: policy


@pytest.fixture
def opened(opened_runtime: Any) -> Any:
    def open_shop(shop: Shop, *rules: Rule) -> Any:
        policy = Policy(rules)
        return opened_runtime(shop.capability.connector(), control=Control(policy=_always(policy)))
    return open_shop


async def planned(runtime: Any, source: str, language: str = "typescript") -> tuple[str, Any]:
    run = await runtime.execute(source, ADA, language=language, mode="plan")
    assert run.state == "completed", run.error
    return run.run_id, await Plans(runtime).show(run.run_id, ADA)


@pytest.mark.parametrize("language", THINGS)
async def test_E20_a_plan_sees_its_own_writes_and_writes_nothing_then_is_applied_as_shown(opened: Any, language: str) -> None:
    shop = Shop()
    async with opened(shop) as (runtime, _store):
        run = await runtime.execute(THINGS[language], ADA, language=language, mode="plan")
        assert run.state == "completed", run.error
        assert shop.written == [] and run.value["name"] == "lamp" and run.value["count"] == 2 and run.value["id"].startswith("planned_")
        changes = await Plans(runtime).show(run.run_id, ADA)
        assert [(w["number"], w["operation"], w["from"]) for w in changes["writes"]] == [
            (1, "shop.create", "simulation"), (2, "shop.update", "preview"), (3, "shop.note", "nothing")]
        assert changes["writes"][1]["answer"] == {"id": "shelf", "name": "shelf", "free": 2, "version": 1} and shop.previewed == 1
        assert run.value["id"] in changes["writes"][2]["arguments"]["text"]
        assert [(r["operation"], r["seen"]) for r in changes["reads"][:1]] == [("shop.get", "version 1")] and not changes["asks"]
        done = await Plans(runtime).apply(run.run_id, ADA, digest=changes["hash"])
        assert done.state == "completed", done.error
        assert done.value == {"id": "t1", "name": "lamp", "count": 2}
        assert shop.written == [("create", "lamp"), ("update", ("shelf", 2)), ("note", "put t1 on the shelf")]
        with pytest.raises(PlanUsed, match="already applied"):
            await Plans(runtime).apply(run.run_id, ADA, digest=changes["hash"])
        assert (await Plans(runtime).show(run.run_id, ADA))["used"] == {"run": done.run_id, "state": "completed"}
        assert len(shop.written) == 3


@pytest.mark.parametrize("language", AT_ONCE)
async def test_E20_writes_at_once_are_held_and_applied_each_with_its_own_id(opened: Any, language: str) -> None:
    shop = Shop()
    async with opened(shop) as (runtime, _store):
        run, changes = await planned(runtime, AT_ONCE[language], language)
        assert shop.written == [] and len({w["answer"]["id"] for w in changes["writes"]}) == 3
        done = await Plans(runtime).apply(run, ADA, digest=changes["hash"])
        assert sorted(shop.written) == [("create", "a"), ("create", "b"), ("create", "c")] and sorted(done.value) == ["t1", "t2", "t3"]


async def test_what_was_read_has_changed_and_nothing_is_written(opened: Any) -> None:
    shop = Shop()
    async with opened(shop) as (runtime, _store):
        run, changes = await planned(runtime, THINGS["typescript"])
        shop.things["shelf"].update(version=2)
        with pytest.raises(PlanConflict) as refused:
            await Plans(runtime).apply(run, ADA, digest=changes["hash"])
        got, listed = refused.value.details["conflicts"]
        assert (got["operation"], got["was"], got["now"], got["writes"]) == ("shop.get", "version 1", "version 2", [1, 2, 3])
        assert listed["operation"] == "shop.list" and listed["writes"] == [2, 3] and shop.written == []
        shop.things["shelf"].update(version=1)     # nothing was used up
        assert (await Plans(runtime).apply(run, ADA, digest=changes["hash"])).state == "completed"


async def test_a_read_that_failed_when_planned_and_succeeds_now_is_a_conflict(opened: Any) -> None:
    shop = Shop()
    source = 'try { await shop.get({ thing_id: "t1" }) } catch { await shop.create({ name: "lamp" }) }'
    async with opened(shop) as (runtime, _store):
        run, changes = await planned(runtime, source)
        shop.things["t1"] = {"id": "t1", "name": "lamp", "free": 0, "version": 1}
        with pytest.raises(PlanConflict):
            await Plans(runtime).apply(run, ADA, digest=changes["hash"])
        assert shop.written == []


async def test_the_first_write_that_differs_parks_the_run_with_both_sides(opened: Any) -> None:
    shop = Shop()
    source = """
const made = await shop.create({ name: "lamp" });
if (made.free < 0) return;
try { await shop.note({ text: made.id.startsWith("planned_") ? "planned" : "live" }) } catch {}
await shop.create({ name: "never" });
"""
    async with opened(shop) as (runtime, _store):
        run, changes = await planned(runtime, source)
        done = await Plans(runtime).apply(run, ADA, digest=changes["hash"])
        assert done.state == "parked" and done.error is not None and done.error["code"] == "plan_left" and done.error["effect"] == "happened"
        assert '{"text":"planned"}' in str(done.error["details"]["approved"]) and '{"text":"live"}' in str(done.error["details"]["now"])
        assert shop.written == [("create", "lamp")]
    async with opened(shop) as (runtime, _store):      # each start tries again, and meets the same
        parked = await settled(runtime, done.run_id)
        assert parked.state == "parked" and parked.error == done.error and shop.written == [("create", "lamp")]
        assert (await runtime.cancel(done.run_id, ADA)).state == "failed"


async def test_one_write_more_than_was_approved_parks(opened: Any) -> None:
    shop = Shop()
    source = 'const a = await shop.create({ name: "a" }); if (!a.id.startsWith("planned_")) await shop.create({ name: "b" });'
    async with opened(shop) as (runtime, _store):
        run, changes = await planned(runtime, source)
        done = await Plans(runtime).apply(run, ADA, digest=changes["hash"])
        assert done.state == "parked" and done.error is not None and done.error["details"]["approved"] is None and shop.written == [("create", "a")]


async def test_a_change_set_is_asked_once_and_answered_by_another(opened: Any) -> None:
    shop = Shop()
    rules = (Rule("making", ("shop.create",), "ask", "people make things"), Rule("held", ("shop.note",), "hold", "notes are looked at"))
    async with opened(shop, *rules) as (runtime, store):
        run, changes = await planned(runtime, THINGS["typescript"])
        assert changes["asks"] and [w["rule"] for w in changes["writes"]] == ["making", "plan", "held"]
        asked = await Plans(runtime).apply(run, ADA, digest=changes["hash"])
        assert asked.state == "suspended" and len(asked.approvals) == 1 and shop.written == []
        desk = Desk(runtime, store.approvals)
        (approval,) = await desk.pending(BOSS)
        assert changes["hash"].encode() in (await desk.intent(approval)).arguments
        for by in (Approver(ADA.principal, "operator"), Approver(Principal("boss", agent="bot"), "token")):
            with pytest.raises(Denied):
                await desk.decide(approval.asked.approval, "approve", by)
        with pytest.raises(InvalidInput, match="as it is"):
            await desk.decide(approval.asked.approval, "approve", BOSS, arguments=b"{}")
        with pytest.raises(PlanUsed):
            await Plans(runtime).apply(run, ADA, digest=changes["hash"])
        assert shop.written == []
    async with opened(shop, *rules) as (runtime, store):     # it waits without a process
        desk = Desk(runtime, store.approvals)
        await desk.decide(asked.approvals[0].approval, "approve", BOSS)
        assert (await settled(runtime, asked.run_id)).state == "completed" and len(shop.written) == 3
        with pytest.raises(AlreadyDecided):
            await desk.decide(asked.approvals[0].approval, "approve", BOSS)


@pytest.mark.parametrize("late", [Rule("late", ("shop.note",), "hold"), Rule("making", ("shop.create",), "hold")])
async def test_E04_a_rule_that_holds_since_a_change_set_was_approved_parks(opened_runtime: Any, late: Rule) -> None:
    shop, rules = Shop(), [Rule("making", ("shop.create",), "ask"), Rule("held", ("shop.note",), "hold")]
    policies = [Policy(rules)]
    async with opened_runtime(shop.capability.connector(), control=Control(policy=lambda _who: policies[-1])) as (runtime, store):
        run, changes = await planned(runtime, THINGS["typescript"])
        asked = await Plans(runtime).apply(run, ADA, digest=changes["hash"])
        policies.append(Policy([*rules, late]))
        await Desk(runtime, store.approvals).decide(asked.approvals[0].approval, "approve", BOSS)
        done = await settled(runtime, asked.run_id)
        assert done.state == "parked" and done.error["code"] == "plan_left"
        assert not any(what == late.patterns[0].removeprefix("shop.") for what, _ in shop.written)
        policies.append(Policy(rules))                       # without it, the run goes on as it was approved
        assert (await runtime.resume(asked.run_id, ADA)).state == "completed" and len(shop.written) == 3


async def test_a_change_after_the_asking_is_found_before_the_first_write(opened: Any) -> None:
    shop = Shop()
    async with opened(shop, Rule("making", ("shop.create",), "ask", "people make things")) as (runtime, store):
        run, changes = await planned(runtime, THINGS["typescript"])
        asked = await Plans(runtime).apply(run, ADA, digest=changes["hash"])
        shop.things["shelf"].update(version=2)
        await Desk(runtime, store.approvals).decide(asked.approvals[0].approval, "approve", BOSS)
        done = await settled(runtime, asked.run_id)
        assert done.state == "failed" and done.error["code"] == "plan_conflict" and done.error["effect"] == "none" and shop.written == []


async def test_a_rejected_change_set_is_over(opened: Any) -> None:
    shop = Shop()
    async with opened(shop, Rule("making", ("shop.create",), "ask", "people make things")) as (runtime, store):
        run, changes = await planned(runtime, THINGS["typescript"])
        asked = await Plans(runtime).apply(run, ADA, digest=changes["hash"])
        await Desk(runtime, store.approvals).decide(asked.approvals[0].approval, "reject", BOSS, reason="no")
        assert (await settled(runtime, asked.run_id)).state == "rejected" and shop.written == []


async def test_another_change_set_than_was_shown_is_refused(opened: Any) -> None:
    shop = Shop()
    async with opened(shop) as (runtime, _store):
        run, changes = await planned(runtime, THINGS["typescript"])
        with pytest.raises(InvalidInput, match="not the change set"):
            await Plans(runtime).apply(run, ADA, digest="0" * 64)
        for other in (EVE, Caller(Principal("ada", agent="bot"), Grant.of("**")), Caller(Principal("ada"), Grant.of("shop.get"))):
            with pytest.raises(NotFound):
                await Plans(runtime).apply(run, other, digest=changes["hash"])
        runtime.clock.now = changes["expires_ms"]
        with pytest.raises(InvalidInput, match="too old"):
            await Plans(runtime).apply(run, ADA, digest=changes["hash"])
        assert shop.written == []


async def test_a_dropped_plan_is_never_applied(opened: Any) -> None:
    shop = Shop()
    async with opened(shop) as (runtime, _store):
        run, changes = await planned(runtime, THINGS["typescript"])
        await Plans(runtime).drop(run, ADA)
        with pytest.raises(PlanUsed, match="dropped"):
            await Plans(runtime).apply(run, ADA, digest=changes["hash"])
        assert shop.written == []


async def test_what_is_no_plan_or_did_not_complete_has_no_change_set(opened: Any) -> None:
    async with opened(Shop()) as (runtime, _store):
        live = await runtime.execute("return 1", ADA)
        failed = await runtime.execute('await shop.create({ name: "a" }); throw new Error("no")', ADA, mode="plan")
        for run in (live, failed):
            with pytest.raises(InvalidInput):
                await Plans(runtime).show(run.run_id, ADA)


async def test_a_plan_branches_on_what_is_simulated_and_a_preview_that_refuses_is_told(opened: Any) -> None:
    shop = Shop()
    source = """
const made = await shop.create({ name: "lamp" });
let said = "";
try { await shop.update({ thing_id: "shelf", free: -1 }) } catch (error) { said = error.code }
return [made.free === 0 ? "simulated" : "real", said, await shop.note({ text: "x" }) ?? null];
"""
    async with opened(shop) as (runtime, _store):
        run, changes = await planned(runtime, source)
        assert (await runtime.wait(run, ADA)).value == ["simulated", "full", None] and shop.written == []
        assert changes["writes"][1]["error"]["code"] == "full" and changes["writes"][2]["answer"] is None


async def test_a_made_up_id_never_reaches_a_system(opened: Any) -> None:
    shop = Shop()
    source = """
const made = await shop.create({ name: "lamp" });
try { await shop.what_update_does({ thing_id: made.id, free: 1 }) } catch (error) { return error.code }
"""
    async with opened(shop) as (runtime, _store):
        run, _ = await planned(runtime, source)
        assert (await runtime.wait(run, ADA)).value == "planned_only" and shop.previewed == 0


@pytest.mark.parametrize("attempt", ["socket", "file", "process", "bytes", "thread"])
async def test_E20_a_preview_has_no_way_out_and_nothing_to_write_with(opened_runtime: Any, tmp_path: Any, attempt: str) -> None:
    capability = Capability("shop")
    reached: list[str] = []

    def tried() -> None:
        if attempt == "socket":
            socket.create_connection(("127.0.0.1", 9))
        elif attempt == "process":
            subprocess.run(["true"], check=True)
        else:
            (tmp_path / "written").write_text("x")
        reached.append(attempt)

    @capability.operation(reads="private")
    async def preview(call: Call) -> dict[str, Any]:
        if attempt == "bytes":
            await call.blobs.put(b"x", tenant="default", mime="text/plain")
            reached.append(attempt)
        elif attempt == "thread":
            await asyncio.to_thread(tried)
        else:
            tried()
        return {}

    @capability.operation(writes="external", preview=preview)
    async def send() -> dict[str, Any]:
        reached.append("send")
        return {}

    async with opened_runtime(capability.connector()) as (runtime, _store):
        run = await runtime.execute("try { await shop.send({}) } catch (error) { return error.code }", ADA, mode="plan")
        assert run.value == ("preview_side_effect" if attempt != "bytes" else None)
        assert reached == [] and not (tmp_path / "written").exists()


async def test_E20_a_preview_that_may_write_is_refused_at_the_start() -> None:
    capability = Capability("shop")

    @capability.operation(writes="internal")
    async def write() -> None: ...

    @capability.operation(writes="internal", preview=write)
    async def other() -> None: ...

    with pytest.raises(ConfigError, match="may write"):
        capability.connector()


async def test_F02_an_apply_that_is_cut_off_goes_on_and_doubles_no_write(opened: Any) -> None:
    shop = Shop()
    async with opened(shop) as (runtime, _store):
        run, changes = await planned(runtime, 'const a = await shop.create({ name: "a" }); await shop.get({ thing_id: a.id }); '
                                              'const b = await shop.create({ name: "b" }); return [a.id, b.id]')
        shop.stop_after = 1
        applying = asyncio.create_task(Plans(runtime).apply(run, ADA, digest=changes["hash"]))
        await shop.stopped.wait()
        run_id = left(runtime)
        with pytest.raises(Unavailable):
            await applying
    shop.stop_after = 0
    async with opened(shop) as (runtime, _store):
        done = await settled(runtime, run_id)
        assert done.state == "completed" and done.value == ["t1", "t2"], done.error
        assert shop.written == [("create", "a"), ("create", "b")]


async def test_F02_who_stops_waiting_for_an_apply_leaves_no_run_that_nobody_drives(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop()
    async with opened(shop) as (runtime, _store):
        run, changes = await planned(runtime, THINGS["typescript"])
        pool, asked, go_on = runtime.parts.pool, asyncio.Event(), asyncio.Event()
        acquire = pool.acquire

        async def slow(*given: Any) -> Any:
            asked.set()
            await go_on.wait()
            return await acquire(*given)

        monkeypatch.setattr(pool, "acquire", slow)
        applying = asyncio.create_task(Plans(runtime).apply(run, ADA, digest=changes["hash"]))
        await asked.wait()
        applying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await applying
        go_on.set()
        used = (await Plans(runtime).show(run, ADA))["used"]["run"]
        assert (await settled(runtime, used)).state == "completed" and len(shop.written) == 3


async def test_an_apply_beyond_the_share_of_live_runs_is_refused(opened_runtime: Any) -> None:
    shop = Shop()
    async with opened_runtime(shop.capability.connector(), live_runs=LiveRuns(1, 1, 1)) as (runtime, _store):
        run, changes = await planned(runtime, THINGS["typescript"])
        other = await runtime.execute("await new Promise(r => setTimeout(r, 60000))", ADA, wait_s=0)
        with pytest.raises(TooMany):
            await Plans(runtime).apply(run, ADA, digest=changes["hash"])
        await runtime.cancel(other.run_id, ADA)
        assert shop.written == [] and (await Plans(runtime).apply(run, ADA, digest=changes["hash"])).state == "completed"


async def test_a_hold_outside_a_plan_is_denied_and_says_what_to_do(opened: Any) -> None:
    shop = Shop()
    async with opened(shop, Rule("kept", ("shop.note",), "hold")) as (runtime, _store):
        run = await runtime.execute('try { await shop.note({ text: "x" }) } catch (error) { return [error.code, error.message] }', ADA)
        assert run.value[0] == "denied" and "hold" in run.value[1] and shop.written == []


async def test_a_preview_that_is_not_granted_is_not_asked_and_the_answer_is_made_up(opened: Any) -> None:
    shop = Shop()
    async with opened(shop) as (runtime, _store):
        granted = Caller(Principal("ada"), Grant.of("shop.update"))
        run = await runtime.execute('return await shop.update({ thing_id: "shelf", free: 2 })', granted, mode="plan")
        assert run.state == "completed" and run.value["free"] == 2 and shop.previewed == 0 and shop.written == []


async def test_a_made_up_answer_is_redacted_like_a_real_one(opened_runtime: Any) -> None:
    shop, policy = Shop(), Policy((), (), (ResultRule("names", ("shop.create",), redact=("name",)),))
    async with opened_runtime(shop.capability.connector(), control=Control(policy=_always(policy))) as (runtime, _store):
        run = await runtime.execute('return (await shop.create({ name: "lamp" })).name', ADA, mode="plan")
        assert run.state == "completed" and run.value != "lamp" and shop.written == []
