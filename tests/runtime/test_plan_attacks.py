"""A hostile program, product or moment against plan and apply: what is done is what a person was shown, or nothing."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from typing_extensions import TypedDict

from inhabit.connectors.functions import Capability
from inhabit.contracts.operation import Resource
from inhabit.contracts.principal import Principal
from inhabit.contracts.run import RunHeader
from inhabit.errors import Denied, TooMany
from inhabit.kernel.grants import Grant
from inhabit.kernel.policy import Policy, ResultRule, Rule
from inhabit.limits import LiveRuns
from inhabit.runtime.context import Control
from inhabit.runtime.plans import Plans, PlanUsed
from inhabit.runtime.service import Caller

ADA = Caller(Principal("ada"), Grant.of("**"))


class Paper(TypedDict):
    id: str
    title: str
    text: str


class Filed(TypedDict):
    id: str


class Office:
    """Papers that are read, mail that goes out. `next_id` is what the next thing made is called upstream."""

    def __init__(self) -> None:
        self.capability = Capability("office")
        self.sent: list[Any] = []
        self.next_id: Any = "p1"
        self.reads = 0
        self.slow = asyncio.Event()
        self.slow.set()
        self.papers = {"menu": Paper(id="menu", title="menu", text="soup"), "pay": Paper(id="pay", title="pay", text="SECRET-PAY")}
        paper = "paper"

        @self.capability.operation(reads="private", resource=Resource(paper, "read", argument="paper_id"))
        async def read(paper_id: str) -> Paper:
            self.reads += 1
            await self.slow.wait()
            return self.papers[paper_id]

        @self.capability.operation(reads="private")
        async def what_retitle_does(paper_id: str, title: str) -> Paper:
            return {**self.papers[paper_id], "title": title}

        @self.capability.operation(writes="internal", resource=Resource(paper, "create"))
        async def file(title: str) -> dict[str, Any]:
            self.sent.append(("file", title))
            return {"id": self.next_id}

        @self.capability.operation(writes="internal", irreversible=False, resource=Resource(paper, "update", argument="paper_id"))
        async def rename(paper_id: str, title: str) -> Paper:
            self.sent.append(("rename", paper_id, title))
            return self.papers[paper_id]

        @self.capability.operation(writes="internal", irreversible=False, preview=what_retitle_does)
        async def retitle(paper_id: str, title: str) -> Paper:
            self.sent.append(("retitle", paper_id, title))
            return self.papers[paper_id]

        @self.capability.operation(writes="internal", irreversible=False)
        async def make(title: str) -> Filed:
            self.sent.append(("make", title))
            return {"id": self.next_id}

        @self.capability.operation(writes="external", irreversible=False)
        async def send(body: Any) -> None:
            self.sent.append(("send", body))


class World:
    """A policy that its author changes while things go on."""

    def __init__(self, *rules: Rule, results: tuple[ResultRule, ...] = ()) -> None:
        self.policy = Policy(rules, results=results)

    def control(self) -> Control:
        def policy(_who: Principal) -> Policy:
            return self.policy
        return Control(policy=policy)


async def planned(runtime: Any, source: str) -> tuple[str, Any]:
    run = await runtime.execute(source, ADA, mode="plan")
    assert run.state == "completed", run.error
    return run.run_id, await Plans(runtime).show(run.run_id, ADA)


async def test_E04_a_handle_of_another_read_does_not_stand_for_the_one_that_was_shown(opened_runtime: Any) -> None:
    office = Office()
    source = """
const made = await office.make({ title: "x" });
const paper = await office.read.handle({ paper_id: made.id.startsWith("planned_") ? "menu" : "pay" });
await office.send({ body: paper });
"""
    async with opened_runtime(office.capability.connector()) as (runtime, _store):
        run, changes = await planned(runtime, source)
        done = await Plans(runtime).apply(run, ADA, digest=changes["hash"])
        assert done.state == "parked" and [one for one in office.sent if one[0] == "send"] == []


async def test_E04_a_handle_of_the_same_read_is_sent_as_it_was_approved(opened_runtime: Any) -> None:
    office = Office()
    source = """
const paper = await office.read.handle({ paper_id: "menu" });
const made = await office.make({ title: "x" });
await office.send({ body: paper });
"""
    async with opened_runtime(office.capability.connector()) as (runtime, _store):
        run, changes = await planned(runtime, source)
        done = await Plans(runtime).apply(run, ADA, digest=changes["hash"])
        assert done.state == "completed", done.error
        assert office.sent == [("make", "x"), ("send", office.papers["menu"])]


async def test_E04_a_rule_that_came_after_the_plan_is_not_lifted_by_a_set_that_nobody_was_asked_about(opened_runtime: Any) -> None:
    office, world = Office(), World()
    async with opened_runtime(office.capability.connector(), control=world.control()) as (runtime, _store):
        run, changes = await planned(runtime, 'await office.make({ title: "x" })')
        assert not changes["asks"]
        world.policy = Policy((Rule("new", ("office.make",), "ask", "a person looks at it"),))
        done = await Plans(runtime).apply(run, ADA, digest=changes["hash"])
        assert done.state == "parked" and office.sent == []


async def test_E01_what_a_handle_holds_is_not_in_a_simulated_answer(opened_runtime: Any) -> None:
    office = Office()
    source = """
await office.read.handle({ paper_id: "pay" });
return await office.rename({ paper_id: "pay", title: "x" });
"""
    async with opened_runtime(office.capability.connector()) as (runtime, _store):
        run = await runtime.execute(source, ADA, mode="plan")
        assert run.state == "completed" and "SECRET-PAY" not in str(run.value)


async def test_E03_what_the_policy_hides_of_a_read_is_not_in_a_simulated_answer(opened_runtime: Any) -> None:
    office = Office()
    world = World(results=(ResultRule("hide", ("office.read",), redact=("text",)),))
    source = """
const read = await office.read({ paper_id: "pay" });
return [read, await office.rename({ paper_id: "pay", title: "x" })];
"""
    async with opened_runtime(office.capability.connector(), control=world.control()) as (runtime, _store):
        run = await runtime.execute(source, ADA, mode="plan")
        assert run.state == "completed" and "SECRET-PAY" not in str(run.value), run


async def test_E03_what_the_policy_hides_of_a_preview_is_not_in_what_it_tells(opened_runtime: Any) -> None:
    office = Office()
    world = World(results=(ResultRule("hide", ("office.what_retitle_does",), redact=("text",)),))
    async with opened_runtime(office.capability.connector(), control=world.control()) as (runtime, _store):
        run = await runtime.execute('return await office.retitle({ paper_id: "pay", title: "x" })', ADA, mode="plan")
        assert run.state == "completed" and "SECRET-PAY" not in str(run.value), run


async def test_E11_what_is_hidden_of_a_held_writes_answer_is_in_no_later_read(opened_runtime: Any) -> None:
    """A preview tells more than the write's own answer may show; what is laid over reads is what the write showed."""
    shelve = Capability("shelve")
    paper = {"id": "pay", "title": "pay", "text": "public"}

    @shelve.operation(reads="private", resource=Resource("paper", "read", argument="id"))
    async def read_(id: str) -> Paper:
        return Paper(**paper)

    @shelve.operation(name="all", reads="private", resource=Resource("paper", "list"))
    async def all_() -> list[Paper]:
        return [Paper(**paper)]

    @shelve.operation(reads="private")
    async def what_change_does(id: str, title: str) -> Paper:
        return Paper(id=id, title=title, text="SECRET-PAY")

    @shelve.operation(writes="internal", preview=what_change_does, resource=Resource("paper", "update", argument="id"))
    async def change(id: str, title: str) -> Paper:
        return Paper(**paper)

    @shelve.operation(reads="private")
    async def what_make_does(title: str) -> Paper:
        return Paper(id="new", title=title, text="SECRET-NEW")

    @shelve.operation(writes="internal", preview=what_make_does, resource=Resource("paper", "create"))
    async def make(title: str) -> Paper:
        return Paper(**paper)

    world = World(results=(ResultRule("hide", ("shelve.change", "shelve.make"), redact=("text",)),))
    source = """
const said = [await shelve.change({ id: "pay", title: "new" }), await shelve.make({ title: "made" })];
return [said, await shelve.read_({ id: "pay" }), await shelve.read_({ id: "new" }), await shelve.all({})];
"""
    async with opened_runtime(shelve.connector(), control=world.control()) as (runtime, _store):
        run = await runtime.execute(source, ADA, mode="plan")
        assert run.state == "completed" and "SECRET" not in str(run.value), run
        said, changed, made, listed = run.value
        assert [one["text"] for one in said] == ["[redacted]"] * 2
        assert changed == {"id": "pay", "title": "new", "text": "public"} and made["title"] == "made"
        assert [one["text"] for one in listed] == ["public", "[redacted]"]


async def test_E12_a_change_set_tells_nothing_of_what_is_hidden_by_a_hash_of_it(opened_runtime: Any) -> None:
    """A hash over a field that is hidden would tell it to whoever tries all values of it."""
    office = Office()
    world = World(results=(ResultRule("hide", ("office.read",), redact=("text",)),))
    source = 'await office.read({ paper_id: "pay" }); await office.make({ title: "x" })'
    async with opened_runtime(office.capability.connector(), control=world.control()) as (runtime, _store):
        _, one = await planned(runtime, source)
        office.papers["pay"]["text"] = "another"
        _, other = await planned(runtime, source)
        assert one["reads"][0]["seen"] == other["reads"][0]["seen"]
        office.papers["pay"]["title"] = "another"
        _, third = await planned(runtime, source)
        assert one["reads"][0]["seen"] != third["reads"][0]["seen"]


async def test_E08_a_preview_is_not_a_way_to_read_uncounted(opened_runtime: Any) -> None:
    office = Office()
    counted = Caller(Principal("ada"), Grant.of("office.retitle", {"pattern": "office.what_retitle_does", "caveats": [{"calls": 1}]}))
    source = 'const out = []; for (const n of [1, 2, 3]) out.push(await office.retitle({ paper_id: "pay", title: `${n}` })); return out'
    async with opened_runtime(office.capability.connector()) as (runtime, _store):
        run = await runtime.execute(source, counted, mode="plan")
        assert run.state == "completed" and "SECRET-PAY" not in str(run.value), run


@pytest.mark.parametrize("real", ["../../admin", "x' OR '1'='1", "a b", "x?all=true", "x#", "a\nb", "%2e%2e", "..", "x&y=1"])
async def test_E04_an_upstream_does_not_write_into_an_approved_text(opened_runtime: Any, real: str) -> None:
    office = Office()
    office.next_id = real
    source = 'const made = await office.make({ title: "x" }); await office.send({ body: `https://other.test/things/${made.id}` })'
    async with opened_runtime(office.capability.connector()) as (runtime, _store):
        run, changes = await planned(runtime, source)
        done = await Plans(runtime).apply(run, ADA, digest=changes["hash"])
        assert done.state == "parked" and office.sent == [("make", "x")]


async def test_E14_an_operation_that_is_another_one_now_is_not_what_was_approved(opened_runtime: Any) -> None:
    office = Office()
    async with opened_runtime(office.capability.connector()) as (runtime, _store):
        run, changes = await planned(runtime, 'await office.make({ title: "x" })')
        directory = runtime.parts.directory
        found, made = directory.operation, directory.operation("office.make")
        other = replace(made, effects=replace(made.effects, reads="public"))

        def changed(name: str) -> Any:
            return other if name == made.name else found(name)

        directory.operation = changed
        done = await Plans(runtime).apply(run, ADA, digest=changes["hash"])
        assert done.state == "parked" and "declared otherwise" in str(done.error) and office.sent == []


async def test_E22_nothing_is_read_again_for_a_token_that_was_revoked(opened_runtime: Any) -> None:
    office = Office()
    caller = Caller(Principal("ada"), Grant.of("**"), token="t1")
    valid = {"t1"}

    async def alive(header: RunHeader) -> bool:
        return header.token in valid

    async with opened_runtime(office.capability.connector(), alive=alive) as (runtime, _store):
        run, changes = await planned(runtime, 'await office.read({ paper_id: "menu" }); await office.make({ title: "x" })')
        reads = office.reads
        valid.clear()
        await runtime.revoke(["t1"])
        with pytest.raises(Denied):
            await Plans(runtime).apply(run, caller, digest=changes["hash"])
        assert office.reads == reads and office.sent == []


@pytest.mark.parametrize(("named", "begins"), [("t1", False), ("t1.a", False), ("t1.b", True), ("t2", True)])
async def test_E22_what_is_revoked_while_the_store_is_asked_begins_nothing(named: str, begins: bool, opened_runtime: Any) -> None:
    office, asked, answered = Office(), asyncio.Event(), asyncio.Event()
    caller = Caller(Principal("ada"), Grant.of("**"), token="t1.a")

    async def alive(header: RunHeader) -> bool:
        asked.set()
        await answered.wait()
        return True     # as it was when the store looked

    async with opened_runtime(office.capability.connector(), alive=alive) as (runtime, _store):
        beginning = asyncio.create_task(runtime.execute('await office.make({ title: "x" }); return 1', caller))
        await asyncio.wait_for(asked.wait(), 20)
        await runtime.revoke([named])
        answered.set()
        if begins:
            assert (await beginning).value == 1
        else:
            with pytest.raises(Denied, match="revoked"):
                await beginning
        assert bool(office.sent) == begins


async def test_B19_applying_takes_a_place_among_the_live_runs(opened_runtime: Any) -> None:
    office = Office()
    async with opened_runtime(office.capability.connector(), live_runs=LiveRuns(10, 10, 2)) as (runtime, _store):
        plans = [await planned(runtime, 'await office.read({ paper_id: "menu" }); await office.make({ title: "x" })') for _ in range(6)]
        office.slow.clear()
        tasks = [asyncio.create_task(Plans(runtime).apply(run, ADA, digest=changes["hash"])) for run, changes in plans]
        while office.reads < 8:
            await asyncio.sleep(0.01)
            if sum(task.done() for task in tasks):
                break
        office.slow.set()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert sum(isinstance(one, TooMany) for one in ended) == 4, ended


async def test_E04_who_looked_before_the_other_applied_does_not_apply_again(opened_runtime: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    office, looked, go_on = Office(), asyncio.Event(), asyncio.Event()
    async with opened_runtime(office.capability.connector()) as (runtime, _store):
        run, changes = await planned(runtime, 'await office.make({ title: "x" })')
        plans, journal = Plans(runtime), runtime.parts.journal
        child = journal.child

        async def late(*given: Any, **more: Any) -> Any:
            found = await child(*given, **more)
            if not looked.is_set():
                looked.set()
                await go_on.wait()
            return found

        monkeypatch.setattr(journal, "child", late)
        first = asyncio.create_task(plans.apply(run, ADA, digest=changes["hash"]))
        await looked.wait()
        with pytest.raises(PlanUsed):
            await plans.apply(run, ADA, digest=changes["hash"])
        go_on.set()
        assert (await first).state == "completed" and office.sent == [("make", "x")]


@pytest.mark.parametrize(("later", "code"), [("expired", "plan_expired"), ("changed", "plan_conflict"), ("same", "")])
async def test_E04_a_run_that_parked_before_its_first_write_is_held_against_time_and_reads_again(opened_runtime: Any, later: str, code: str) -> None:
    office, world = Office(), World()
    async with opened_runtime(office.capability.connector(), control=world.control()) as (runtime, _store):
        run, changes = await planned(runtime, 'await office.read({ paper_id: "menu" }); await office.make({ title: "x" })')
        before, world.policy = world.policy, Policy((Rule("new", ("office.make",), "ask", "a person looks at it"),))
        done = await Plans(runtime).apply(run, ADA, digest=changes["hash"])
        assert done.state == "parked"
        world.policy = before
        if later == "expired":
            runtime.clock.now = changes["expires_ms"]
        elif later == "changed":
            office.papers["menu"]["text"] = "stew"
        ended = await runtime.resume(done.run_id, ADA)
        assert ended.state == ("failed" if code else "completed") and code in str(ended.error)
        assert office.sent == ([] if code else [("make", "x")])


async def test_a_rollback_of_a_plan_undoes_nothing(opened_runtime: Any) -> None:
    office = Office()
    async with opened_runtime(office.capability.connector()) as (runtime, _store):
        run, _ = await planned(runtime, 'await office.make({ title: "x" })')
        assert (await runtime.undoing(run, ADA))["steps"] == []
        await runtime.rollback(run, ADA)
        assert office.sent == []
