"""A call that is asked waits for a person; its run goes on, sleeps without a worker, and wakes with the answer."""

from __future__ import annotations

import asyncio
import gc
from dataclasses import replace
from typing import Any

import pytest

from inhabit.connectors.functions import Capability
from inhabit.contracts.principal import Principal
from inhabit.contracts.run import Asked, Decided, Resumed, Suspended
from inhabit.errors import Denied, InvalidInput, TooMany, Unavailable
from inhabit.kernel.grants import Grant
from inhabit.kernel.policy import Limit, Policy, Rule
from inhabit.limits import LiveRuns
from inhabit.runtime.approvals import AlreadyDecided, Approver, Desk
from inhabit.runtime.context import Control
from inhabit.runtime.driver import RunDriver
from inhabit.runtime.service import Caller, Runtime
from inhabit.store.ledger import TenantLedger
from tests.runtime.inprocess import InProcessIsolate

ADA = Caller(Principal("ada"), Grant.of("**"))
BOSS = Approver(Principal("boss"), "test", protected=True)
POLICY = Policy([Rule("cancelling", ("shop.cancel",), "ask", "orders are cancelled by people")])
TWO = """
const [a, b] = await Promise.allSettled([shop.cancel({ id: "a" }), shop.cancel({ id: "b" })]);
const now = await shop.read({});
return [a.status, b.status, a.reason?.code ?? a.value, b.reason?.code ?? b.value, now];
"""


class Shop:
    def __init__(self) -> None:
        self.capability = Capability("shop")
        self.cancelled: list[str] = []

        @self.capability.operation(writes="internal", irreversible=False)
        async def cancel(id: str) -> str:
            self.cancelled.append(id)
            return f"cancelled {id}"

        @self.capability.operation(reads="private")
        async def read() -> int:
            return len(self.cancelled)


@pytest.fixture
def opened(opened_runtime: Any) -> Any:
    def open_shop(shop: Shop, policy: Policy = POLICY) -> Any:
        return opened_runtime(shop.capability.connector(), control=Control(policy=lambda _who: policy))
    return open_shop


async def settled(runtime: Runtime, run_id: str) -> Any:
    async with asyncio.timeout(10):
        while (result := await runtime.wait(run_id, ADA, wait_s=0.2)).state == "running" or run_id in runtime.live:
            await asyncio.sleep(0)
    return result


@pytest.mark.parametrize("name", ["cancelling", "another"])
async def test_E04_a_rule_that_holds_since_the_approval_holds(opened_runtime: Any, name: str) -> None:
    shop, policies = Shop(), [POLICY]
    async with opened_runtime(shop.capability.connector(), control=Control(policy=lambda _who: policies[-1])) as (runtime, store):
        run = await runtime.execute("try { return await shop.cancel({ id: 'a' }) } catch (error) { return [error.code, error.message] }", ADA)
        policies.append(Policy([*POLICY.rules, Rule(name, ("shop.cancel",), "hold", "looked at together")]))
        await Desk(runtime, store.approvals).decide(run.approvals[0].approval, "approve", BOSS)
        result = await settled(runtime, run.run_id)
        assert result.value[0] == "denied" and "held for review" in result.value[1] and shop.cancelled == []


@pytest.mark.parametrize("edited", [None, b'{"id":"b"}'])
async def test_E08_calls_that_wait_together_pass_no_limit_that_their_approver_was_not_told_of(opened_runtime: Any, edited: bytes | None) -> None:
    """Each was asked about while there was room; what the limit asks is another question, and is put when the call is made again."""
    shop, ledger = Shop(), TenantLedger("default", lambda: 1_000)
    policy = Policy(POLICY.rules, [Limit("a day", ("shop.cancel",), 1, 86_400_000, verdict="ask", reason="one a day")])
    program = "const once = () => shop.cancel({ id: 'a' }); try { return await once() } catch (error) { return [error.code, error.message, await once()] }"
    async with opened_runtime(shop.capability.connector(), control=Control(lambda _who: policy, lambda _tenant: ledger)) as (runtime, store):
        desk = Desk(runtime, store.approvals)
        runs = [await runtime.execute(program, ADA) for _ in range(2)]
        for run, more in zip(runs, (None, edited), strict=True):
            assert run.approvals[0].rule == "cancelling"
            await desk.decide(run.approvals[0].approval, "approve", BOSS, arguments=more)
            await settled(runtime, run.run_id)
        assert shop.cancelled == ["a"]
        (asked,) = await desk.pending(BOSS)
        assert asked.asked.rule == "a day & cancelling" and "1 used, 1 more is over 1" in asked.asked.reason
        await desk.decide(asked.asked.approval, "approve", BOSS)
        code, message, answer = (await settled(runtime, runs[1].run_id)).value
        assert (code, answer) == ("denied", "cancelled a") and "limit a day asks by now" in message and shop.cancelled == ["a", "a"]


async def test_run_sleeps_over_its_questions_and_wakes_with_each_answer(opened: Any) -> None:
    shop = Shop()
    async with opened(shop) as (runtime, store):
        desk = Desk(runtime, store.approvals)
        run = await runtime.execute(TWO, ADA)
        assert run.state == "suspended" and shop.cancelled == [], run.error
        assert runtime.gauges()["live_runs"] == 0
        first, second = await desk.pending(BOSS)
        assert (first.asked.operation, first.asked.reason) == ("shop.cancel", "orders are cancelled by people")
        assert (await desk.intent(first)).arguments == b'{"id":"a"}'
        await desk.decide(first.asked.approval, "approve", BOSS, digest=first.asked.digest)
        assert (await settled(runtime, run.run_id)).state == "suspended" and shop.cancelled == ["a"]
        await desk.decide(second.asked.approval, "reject", BOSS, reason="keep it")
        result = await settled(runtime, run.run_id)
        assert result.value == ["fulfilled", "rejected", "cancelled a", "rejected", 1]
        assert await desk.pending(BOSS) == []
        kinds = [type(e.entry) for e in (await runtime.parts.journal.read(run.run_id, tenant="default")).entries]
        assert kinds.count(Asked) == 2 and kinds.count(Decided) == 2 and kinds.count(Suspended) == 2 and kinds.count(Resumed) == 1


async def test_F01_no_answer_comes_between_a_run_that_falls_asleep_and_the_record_of_it(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start takes up nothing whose last record says that it sleeps: an answer recorded before that would move the run no more."""
    async with opened(Shop()) as (runtime, store):
        slept: list[str] = []
        append = store.journal.append

        def noted(run_id: str, *entries: Any, **more: Any) -> Any:
            slept.extend(run_id for entry in entries if isinstance(entry, Suspended))
            return append(run_id, *entries, **more)

        monkeypatch.setattr(store.journal, "append", noted)

        async def when_asleep() -> list[str]:
            while not any(live.driver.asleep for live in runtime.driving.live.values()):
                await asyncio.sleep(0)
            return list(slept)

        watching = asyncio.create_task(when_asleep())
        run = await runtime.execute(TWO, ADA)
        assert await watching == [run.run_id]


async def test_a_sleeping_run_outlives_its_server(opened: Any) -> None:
    shop = Shop()
    async with opened(shop) as (runtime, store):
        run = await runtime.execute(TWO, ADA)
    async with opened(shop) as (runtime, store):
        assert (await runtime.wait(run.run_id, ADA)).state == "suspended"
        desk = Desk(runtime, store.approvals)
        for approval in await desk.pending(BOSS):   # both at once: the second comes while the run wakes with the first
            await desk.decide(approval.asked.approval, "approve", BOSS)
        result = await settled(runtime, run.run_id)
        assert result.value == ["fulfilled", "fulfilled", "cancelled a", "cancelled b", 2]
        assert sorted(shop.cancelled) == ["a", "b"]


async def test_F16_a_sleeping_run_is_parked_by_an_upgrade_that_took_its_engine_and_says_what_it_wrote(opened: Any, opened_runtime: Any) -> None:
    shop = Shop()
    async with opened(shop) as (runtime, store):
        run = await runtime.execute(TWO, ADA)
        first, second = await Desk(runtime, store.approvals).pending(BOSS)
        await Desk(runtime, store.approvals).decide(first.asked.approval, "approve", BOSS)
        assert (await settled(runtime, run.run_id)).state == "suspended" and shop.cancelled == ["a"]
    control = Control(policy=lambda _who: POLICY)
    for _ in range(2):   # a second start without it changes nothing
        async with opened_runtime(shop.capability.connector(), control=control, version="quickjs 99") as (runtime, store):
            if second.verdict is None:
                await Desk(runtime, store.approvals).decide(second.asked.approval, "approve", BOSS)
                second = second._replace(verdict="approve")
            parked = await settled(runtime, run.run_id)
            assert parked.state == "parked" and "quickjs 99" in parked.error["message"] and parked.error["effect"] == "happened"
            assert parked.error["details"]["written_calls"] == [{"sequence": 1, "operation": "shop.cancel"}]
            assert [r.state for r in (await runtime.list(ADA)).runs] == ["parked"] and shop.cancelled == ["a"]
    async with opened(shop) as (runtime, store):
        result = await settled(runtime, run.run_id)
        assert result.value == ["fulfilled", "fulfilled", "cancelled a", "cancelled b", 2] and shop.cancelled == ["a", "b"]


async def test_H05_a_parked_run_is_taken_up_where_there_is_a_place_for_one_more(opened: Any, opened_runtime: Any) -> None:
    shop = Shop()
    async with opened(shop) as (runtime, store):
        run = await runtime.execute(TWO, ADA)
    control = Control(policy=lambda _who: POLICY)
    async with opened_runtime(shop.capability.connector(), control=control, version="quickjs 99", live_runs=LiveRuns(4, 4, 1)) as (runtime, store):
        for approval in await Desk(runtime, store.approvals).pending(BOSS):
            await Desk(runtime, store.approvals).decide(approval.asked.approval, "approve", BOSS)
        assert (await settled(runtime, run.run_id)).state == "parked"
        taken = runtime.driving.seat(ADA.principal)
        with pytest.raises(TooMany, match="live_runs_per_user"):
            await runtime.resume(run.run_id, ADA)
        taken.leave()
        assert (await runtime.resume(run.run_id, ADA)).state == "parked" and runtime.health()["live_runs"] == 0


async def test_H05_an_answer_that_comes_as_the_run_parks_leaves_it_parked(
        opened: Any, opened_runtime: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is recorded after the run was parked and before that was over: nobody would have looked at the run again."""
    shop = Shop()
    async with opened(shop) as (runtime, store):
        run = await runtime.execute(TWO, ADA)
    control = Control(policy=lambda _who: POLICY)
    async with opened_runtime(shop.capability.connector(), control=control, version="quickjs 99") as (runtime, store):
        desk = Desk(runtime, store.approvals)
        first, second = await desk.pending(BOSS)
        real, left = runtime.driving.take_up, [second]

        async def take_up(record: Any, **given: Any) -> Any:
            live = await real(record, **given)
            if left:
                await desk.decide(left.pop().asked.approval, "approve", BOSS)
            return live

        monkeypatch.setattr(runtime.driving, "take_up", take_up)
        await desk.decide(first.asked.approval, "approve", BOSS)
        assert (await settled(runtime, run.run_id)).state == "parked" and not left


async def test_F08_a_sleeping_run_whose_program_takes_another_path_is_parked_with_both_sides_and_its_owner_resumes_or_cancels_it(
        opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that calls itself the same and is not: nothing is done for the program before all of its record was met."""
    shop, real = Shop(), InProcessIsolate.start

    async def start(self: InProcessIsolate, boot: Any) -> Any:
        return await real(self, replace(boot, code=boot.code.replace('"b"', '"z"')))

    async with opened(shop) as (runtime, store):
        runs = [(await runtime.execute(TWO, ADA)).run_id for _ in range(2)]
    with monkeypatch.context() as patch:
        patch.setattr(InProcessIsolate, "start", start)
        async with opened(shop) as (runtime, store):
            for approval in await Desk(runtime, store.approvals).pending(BOSS):
                await Desk(runtime, store.approvals).decide(approval.asked.approval, "approve", BOSS)
            for run_id in runs:
                parked = await settled(runtime, run_id)
                assert parked.state == "parked" and parked.error["code"] == "replay_diverged"
                sides = {side: parked.error["details"][side]["arguments"] for side in ("recorded", "now")}
                assert sides == {"recorded": '{"id":"b"}', "now": '{"id":"z"}'} and parked.error["details"]["sequence"] == 2
                assert (await runtime.resume(run_id, ADA)).state == "parked"
            assert shop.cancelled == [] and {r.state for r in (await runtime.list(ADA)).runs} == {"parked"}
            assert (await runtime.cancel(runs[1], ADA)).state == "failed"
            resumed = await runtime.parts.journal.read(runs[0], tenant="default")
            assert sum(isinstance(e.entry, Suspended) and e.entry.parked is not None for e in resumed.entries) <= 2, "told once, not at each try"
            patch.undo()   # the version that began it is back
            result = await runtime.resume(runs[0], ADA)
            assert result.value == ["fulfilled", "fulfilled", "cancelled a", "cancelled b", 2] and shop.cancelled == ["a", "b"]
            with pytest.raises(InvalidInput, match="not parked"):
                await runtime.resume(runs[0], ADA)


async def test_a_woken_run_whose_journal_fails_is_heard_of_when_nobody_waits_for_it(
        opened: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    async def drive(self: RunDriver) -> Any:
        raise Unavailable("the journal takes no more")

    unheard: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: unheard.append(context))
    async with opened(Shop()) as (runtime, store):
        run = await runtime.execute("return await shop.cancel({ id: 'a' })", ADA)
        (approval,) = await Desk(runtime, store.approvals).pending(BOSS)
        monkeypatch.setattr(RunDriver, "drive", drive)
        await Desk(runtime, store.approvals).decide(approval.asked.approval, "approve", BOSS)
        async with asyncio.timeout(10):
            while run.run_id in runtime.live:
                await asyncio.sleep(0)
    gc.collect()
    assert unheard == [] and f"run {run.run_id} has no recorded end, the next start settles it: the journal takes no more" in caplog.text


async def test_whoever_asks_after_a_sleeping_run_has_not_its_whole_record_read(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    caller = replace(ADA, door="mcp", conversation="talk")
    async with opened(Shop()) as (runtime, store):
        run = await runtime.execute(TWO, caller)
        while run.run_id in runtime.live:
            await asyncio.sleep(0)
        read: list[str] = []
        whole = runtime.parts.journal.read

        async def counted(run_id: str, *, tenant: str) -> Any:
            read.append(run_id)
            return await whole(run_id, tenant=tenant)

        monkeypatch.setattr(runtime.parts.journal, "read", counted)
        assert [one.sequence for one in (await runtime.wait(run.run_id, caller)).approvals] == [1, 2] and read == []
        await runtime.wait(run.run_id, replace(caller, conversation="another"))
        assert read == [run.run_id]     # what it has read, the other conversation has read now
        monkeypatch.undo()
        await Desk(runtime, store.approvals).decide(run.approvals[0].approval, "reject", BOSS)
        asleep = await settled(runtime, run.run_id)
        assert asleep.state == "suspended" and [one.sequence for one in asleep.approvals] == [2]


async def test_rejection_that_nobody_catches_ends_the_run_rejected(opened: Any) -> None:
    shop = Shop()
    async with opened(shop) as (runtime, store):
        run = await runtime.execute("return await shop.cancel({ id: 'a' })", ADA)
        desk = Desk(runtime, store.approvals)
        (approval,) = await desk.pending(BOSS)
        await desk.decide(approval.asked.approval, "reject", BOSS)
        result = await settled(runtime, run.run_id)
        assert result.state == "rejected" and result.error["code"] == "rejected" and shop.cancelled == []


async def test_E04_an_answer_counts_once_and_for_what_was_shown(opened: Any) -> None:
    shop = Shop()
    async with opened(shop) as (runtime, store):
        await runtime.execute("return await shop.cancel({ id: 'a' })", ADA)
        desk = Desk(runtime, store.approvals)
        (approval,) = await desk.pending(BOSS)
        with pytest.raises(AlreadyDecided, match="shown"):
            await desk.decide(approval.asked.approval, "approve", BOSS, digest="0" * 64)
        answers = await asyncio.gather(*(desk.decide(approval.asked.approval, "approve", BOSS) for _ in range(5)), return_exceptions=True)
        assert sum(isinstance(a, Decided) for a in answers) == 1 and sum(isinstance(a, AlreadyDecided) for a in answers) == 4
        await settled(runtime, approval.run_id)
        with pytest.raises(AlreadyDecided):
            await desk.decide(approval.asked.approval, "approve", BOSS)
        assert shop.cancelled == ["a"]


async def test_E07_an_agent_cannot_answer(opened: Any) -> None:
    async with opened(Shop()) as (runtime, store):
        await runtime.execute("return await shop.cancel({ id: 'a' })", ADA)
        desk = Desk(runtime, store.approvals)
        (approval,) = await desk.pending(BOSS)
        for user in ("ada", "boss"):    # neither for whom it runs nor for somebody who may answer
            with pytest.raises(Denied, match="an agent cannot answer"):
                await desk.decide(approval.asked.approval, "approve", Approver(Principal(user, agent="helper"), "token"))
        with pytest.raises(InvalidInput):
            await desk.decide(approval.asked.approval, "reject", BOSS, reason="x" * 3_000)


async def test_edited_call_is_decided_anew_and_both_forms_are_recorded(opened: Any) -> None:
    shop = Shop()
    never = Policy([*POLICY.rules, Rule("not b", ("shop.cancel",), "deny", "never b", condition=_is_b)])
    async with opened(shop, never) as (runtime, store):
        desk = Desk(runtime, store.approvals)
        for edited, state in ((b'{"id": "c"}', "completed"), (b'{"id": "b"}', "failed")):
            run = await runtime.execute("return await shop.cancel({ id: 'a' })", ADA)
            (approval,) = await desk.pending(BOSS)
            await desk.decide(approval.asked.approval, "approve", BOSS, arguments=edited)
            assert (await settled(runtime, run.run_id)).state == state
        assert shop.cancelled == ["c"]
        entries = [e.entry for e in (await runtime.parts.journal.read(run.run_id, tenant="default")).entries]
        assert next(e for e in entries if isinstance(e, Decided)).arguments == b'{"id":"b"}'


async def test_an_edit_that_does_not_fit_uses_no_answer_up(opened: Any) -> None:
    shop = Shop()
    async with opened(shop) as (runtime, store):
        desk = Desk(runtime, store.approvals)
        run = await runtime.execute("return await shop.cancel({ id: 'a' })", ADA)
        (approval,) = await desk.pending(BOSS)
        for slip in (b'{"nope": 1}', b'{"id": 7}', b'["a"]', b'{"id"', b"{}"):
            with pytest.raises(InvalidInput, match="nothing is answered") as refused:
                await desk.decide(approval.asked.approval, "approve", BOSS, arguments=slip)
            assert refused.value.specific_code == "edit_unfit" and "shop.cancel" in (refused.value.fix or "")
        await desk.decide(approval.asked.approval, "approve", BOSS, arguments=b'{"id": "c"}')
        assert (await settled(runtime, run.run_id)).state == "completed" and shop.cancelled == ["c"]
        with pytest.raises(AlreadyDecided):
            await desk.decide(approval.asked.approval, "approve", BOSS, arguments=b'{"nope": 1}')


async def test_a_question_expires(opened: Any) -> None:
    shop = Shop()
    async with opened(shop) as (runtime, store):
        run = await runtime.execute("try { await shop.cancel({ id: 'a' }) } catch (e) { return e.code }", ADA)
        desk = Desk(runtime, store.approvals)
        assert await desk.expire() == 0
        (approval,) = await desk.pending(BOSS)
        runtime.clock.now = approval.asked.expires_ms + 1
        with pytest.raises(AlreadyDecided, match="time"):
            await desk.decide(approval.asked.approval, "approve", BOSS)
        assert (await settled(runtime, run.run_id)).value == "approval_expired" and shop.cancelled == []


class _IsB:
    text = "args.id == 'b'"
    reads = frozenset({"args.id"})

    def __call__(self, facts: Any, /) -> bool:
        return facts["args"].get("id") == "b"


_is_b = _IsB()


async def test_a_sleeping_run_can_be_cancelled_and_asks_nothing_more(opened: Any) -> None:
    shop = Shop()
    async with opened(shop) as (runtime, store):
        run = await runtime.execute(TWO, ADA)
        assert (await runtime.cancel(run.run_id, ADA)).error["code"] == "cancelled"
        desk = Desk(runtime, store.approvals)
        assert await desk.pending(BOSS) == []
        with pytest.raises(AlreadyDecided):
            await desk.decide(f"{run.run_id}.1", "approve", BOSS)
        assert shop.cancelled == []


async def test_a_run_that_is_woken_while_the_server_stops_is_left_too(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop()
    async with opened(shop) as (runtime, store):
        asleep = await runtime.execute('await shop.cancel({ id: "a" }); await new Promise(r => setTimeout(r, 60000))', ADA)
        (approval,) = await Desk(runtime, store.approvals).pending(BOSS)
        pool, asked, go_on = runtime.parts.pool, asyncio.Event(), asyncio.Event()
        acquire = pool.acquire

        async def slow(*given: Any) -> Any:
            asked.set()
            await go_on.wait()
            return await acquire(*given)

        monkeypatch.setattr(pool, "acquire", slow)
        await Desk(runtime, store.approvals).decide(approval.asked.approval, "approve", BOSS)
        await asked.wait()
        stopping = asyncio.create_task(runtime.stop())
        await asyncio.sleep(0)
        go_on.set()
        await stopping
        assert not runtime.live and (await runtime.wait(asleep.run_id, ADA)).state == "running"


async def test_a_question_that_cannot_be_closed_keeps_no_other_one_open(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(Shop()) as (runtime, store):
        desk = Desk(runtime, store.approvals)
        first, second = [await runtime.execute("await shop.cancel({ id: 'a' })", ADA) for _ in range(2)]
        runtime.clock.now = (await desk.pending(BOSS))[-1].asked.expires_ms
        decide = runtime.decide

        def failing(run: Any, decided: Decided) -> Any:
            if run.run_id == first.run_id:
                raise Unavailable("the disk is full")
            return decide(run, decided)

        monkeypatch.setattr(runtime, "decide", failing)
        assert await desk.expire() == 1
        assert [approval.run_id for approval in await desk.pending(BOSS)] == [first.run_id]
        assert (await settled(runtime, second.run_id)).error["code"] == "approval_expired"


async def test_E04_an_answer_that_was_looked_up_before_another_was_given_counts_for_nothing(opened: Any) -> None:
    """Two people, and a reader that is slow for one of them: who has said no is not overruled by a question that was read before."""
    shop = Shop()
    async with opened(shop) as (runtime, store):
        run = await runtime.execute(TWO, ADA)
        slow: Any = _SlowQuestions(store.approvals)
        desk = Desk(runtime, slow)
        approval, _ = await desk.pending(BOSS)
        late = asyncio.create_task(desk.decide(approval.asked.approval, "approve", BOSS))
        await slow.found.wait()
        slow.slow = False
        await desk.decide(approval.asked.approval, "reject", Approver(Principal("chief"), "test", protected=True))
        slow.go_on.set()
        with pytest.raises(AlreadyDecided):
            await late
        assert (await settled(runtime, run.run_id)).state == "suspended" and shop.cancelled == []
        entries = [e.entry for e in (await runtime.parts.journal.read(run.run_id, tenant="default")).entries]
        assert [e.verdict for e in entries if isinstance(e, Decided)] == ["reject"]


class _SlowQuestions:
    """Hands out the first question that it finds only when it is told to."""

    def __init__(self, questions: Any) -> None:
        self._questions = questions
        self.slow = True
        self.found = asyncio.Event()
        self.go_on = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._questions, name)

    async def find(self, approval: str, *, tenant: str) -> Any:
        found = await self._questions.find(approval, tenant=tenant)
        if self.slow:
            self.found.set()
            await self.go_on.wait()
        return found
