"""A rollback is a run of its own: reverts in reverse, decided and journaled, taken up after a crash, honest about the rest."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from inhabit.connectors.functions import Capability
from inhabit.contracts.connector import Call
from inhabit.contracts.principal import Principal
from inhabit.contracts.program import Boot, Delivery
from inhabit.contracts.run import Intent
from inhabit.errors import CallError, InvalidInput, NotFound, Unavailable
from inhabit.kernel.grants import Grant
from inhabit.kernel.policy import Policy, Rule
from inhabit.limits import Limits
from inhabit.runtime.approvals import Approver, Desk
from inhabit.runtime.context import Control
from inhabit.runtime.rechecking import Rechecks
from inhabit.runtime.rollback import Steps
from inhabit.runtime.service import Caller
from tests.runtime.test_asking import settled

ADA = Caller(Principal("ada"), Grant.of("**"))
_BOOT = Boot("", (), b"null", 0, 0, Limits())
EVE = Caller(Principal("eve"), Grant.of("**"))
FIVE = """
for (const id of ["a", "b", "c"]) await shop.cancel({ id });
await shop.note({ text: "done" });
await shop.read({});
try { await shop.cancel({ id: "gone" }) } catch {}
return "ok";
"""


class Shop:
    def __init__(self) -> None:
        self.capability = Capability("shop")
        self.cancelled: list[str] = []
        self.changed: set[str] = set()

        @self.capability.operation(writes="internal", idempotent=True)
        async def reinstate(id: str, version: int) -> None:
            if id in self.changed:
                raise CallError(f"{id} was changed since version {version}", effect="none", code="conflict")
            self.cancelled.remove(id)

        @self.capability.operation(writes="internal", revert="shop.reinstate")
        async def cancel(id: str) -> dict[str, Any]:
            if id == "gone":
                raise CallError("no such order", effect="none")
            self.cancelled.append(id)
            return {"version": len(self.cancelled)}

        @self.capability.operation(writes="internal", irreversible=False)
        async def note(text: str) -> None: ...

        @self.capability.operation(reads="private")
        async def read() -> int:
            return len(self.cancelled)


@pytest.fixture
def opened(opened_runtime: Any) -> Any:
    def open_shop(shop: Shop, *rules: Rule) -> Any:
        policy = Policy(rules)
        return opened_runtime(shop.capability.connector(), control=Control(policy=lambda _who: policy))
    return open_shop


async def test_F11_F12_writes_are_undone_last_first_and_what_stands_is_listed(opened: Any) -> None:
    shop = Shop()
    async with opened(shop) as (runtime, _store):
        run = await runtime.execute(FIVE, ADA)
        assert run.state == "completed" and shop.cancelled == ["a", "b", "c"]
        plan = await runtime.undoing(run.run_id, ADA)
        assert [(s["sequence"], s["arguments"]) for s in plan["steps"]] == [
            (3, {"id": "c", "version": 3}), (2, {"id": "b", "version": 2}), (1, {"id": "a", "version": 1})]
        assert plan["stands"] == [{"sequence": 4, "operation": "shop.note", "why": "the operation declares no revert"}]
        shop.changed.add("b")
        undone = await runtime.rollback(run.run_id, ADA)
        assert undone.state == "completed" and shop.cancelled == ["b"]
        assert [u["sequence"] for u in undone.value["undone"]] == [3, 1]
        assert [(s["sequence"], s.get("code")) for s in undone.value["stands"]] == [(4, None), (2, "conflict")]
        with pytest.raises(InvalidInput, match="already"):
            await runtime.rollback(run.run_id, ADA)
        with pytest.raises(InvalidInput, match="itself"):
            await runtime.rollback(undone.run_id, ADA)
        record = await runtime.parts.journal.read(undone.run_id, tenant="default")
        assert record.header.parent_run == run.run_id
        assert [e.entry.operation for e in record.entries if isinstance(e.entry, Intent)] == ["shop.reinstate"] * 3


async def test_E18_a_rollback_is_for_whoever_may_see_the_run_and_within_their_grant(opened: Any) -> None:
    shop = Shop()
    async with opened(shop) as (runtime, _store):
        run = await runtime.execute(FIVE, ADA)
        with pytest.raises(NotFound):
            await runtime.rollback(run.run_id, EVE)
        with pytest.raises(NotFound):
            await runtime.rollback(run.run_id, Caller(Principal("ada"), Grant.of("shop.read")))
        assert shop.cancelled == ["a", "b", "c"]


async def test_reverts_are_asked_like_any_call_and_a_rejected_one_stands(opened: Any) -> None:
    shop = Shop()
    async with opened(shop, Rule("undo", ("shop.reinstate",), "ask", "a person undoes")) as (runtime, store):
        run = await runtime.execute("await shop.cancel({ id: 'a' }); await shop.cancel({ id: 'b' })", ADA)
        undone = await runtime.rollback(run.run_id, ADA)
        assert undone.state == "suspended"
    async with opened(shop, Rule("undo", ("shop.reinstate",), "ask", "a person undoes")) as (runtime, store):
        desk, boss = Desk(runtime, store.approvals), Approver(Principal("boss"), "test")
        for verdict in ("reject", "approve"):
            (approval,) = await desk.pending(boss)
            await desk.decide(approval.asked.approval, verdict, boss)
            result = await settled(runtime, undone.run_id)
        assert shop.cancelled == ["b"]
        assert [s["code"] for s in result.value["stands"]] == ["rejected"] and [u["sequence"] for u in result.value["undone"]] == [1]


async def test_run_that_goes_on_is_not_rolled_back(opened: Any) -> None:
    async with opened(Shop()) as (runtime, _store):
        run = await runtime.execute("await new Promise(r => setTimeout(r, 60000))", ADA, wait_s=0)
        with pytest.raises(InvalidInput, match="not ended"):
            await runtime.rollback(run.run_id, ADA)
        await runtime.cancel(run.run_id, ADA)


async def test_of_two_rollbacks_at_once_one_is_refused(opened: Any) -> None:
    shop = Shop()
    async with opened(shop) as (runtime, _store):
        run = await runtime.execute("await shop.cancel({ id: 'a' })", ADA)
        both = await asyncio.gather(*(runtime.rollback(run.run_id, ADA) for _ in range(2)), return_exceptions=True)
        assert sorted(type(one).__name__ for one in both) == ["InvalidInput", "RunResult"]
        assert len((await runtime.list(ADA)).runs) == 2


async def test_a_rollback_that_cannot_begin_keeps_no_place_among_the_live_runs(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(Shop()) as (runtime, _store):
        run = await runtime.execute("await shop.cancel({ id: 'a' })", ADA)

        def full(_header: Any) -> Any:
            raise Unavailable("the disk is full")

        with monkeypatch.context() as broken:
            broken.setattr(runtime.parts.journal, "begin", full)
            with pytest.raises(Unavailable):
                await runtime.rollback(run.run_id, ADA)
        assert runtime.driving.admission.live == 0
        assert (await runtime.rollback(run.run_id, ADA)).state == "completed"


async def test_E01_a_rollback_gives_no_bytes_that_its_run_was_not_given(opened_runtime: Any) -> None:
    """An upstream that names bytes of somebody else in its answer is not sent them when that answer is undone."""
    post, sent, named = Capability("post"), list[Any](), dict[str, Any]()

    @post.operation(writes="internal")
    async def unmake(body: dict[str, Any], call: Call) -> None:
        sent.append(await call.blobs.get(body, tenant=call.principal.tenant))

    @post.operation(writes="internal", revert="post.unmake")
    async def make(own: bool, call: Call) -> dict[str, Any]:
        return {"body": await call.blobs.put(b"its own", tenant=call.principal.tenant, mime="text/plain") if own else named}

    async with opened_runtime(post.connector()) as (runtime, _store):
        named.update(await runtime.parts.blobs.put(b"somebody else's", tenant="default", mime="text/plain"))
        run = await runtime.execute("await post.make({ own: true }); await post.make({ own: false })", ADA)
        undone = await runtime.rollback(run.run_id, ADA)
        assert sent == [b"its own"]
        assert [(stood["sequence"], "bytes" in stood["why"]) for stood in undone.value["stands"]] == [(2, True)]


@pytest.mark.parametrize("answers", [1, 2, 3])
async def test_F11_a_rollback_issues_the_same_when_a_replay_gives_it_several_answers_at_once(answers: int) -> None:
    steps = [{"sequence": 9 - number, "operation": "shop.cancel", "revert": "shop.reinstate", "arguments": {"id": str(number)}} for number in range(3)]
    singly, at_once = (Steps({"run": "r", "steps": steps, "stands": []}) for _ in range(2))
    given = [Delivery("result", number + 1, b"null", 0) for number in range(answers)]
    turns = [await singly.start(_BOOT), *[await singly.deliver([one]) for one in given]]
    assert await at_once.start(_BOOT) == turns[0]
    together = await at_once.deliver(given)
    assert together.calls == tuple(call for turn in turns[1:] for call in turn.calls)
    assert together.issued_before == tuple(before for turn in turns[1:] for before in turn.issued_before)
    assert together.finished == turns[-1].finished


async def test_F11_a_second_reading_issues_the_same_when_a_replay_gives_it_several_answers_at_once() -> None:
    changes = {"plan": "p", "reads": [{"sequence": number, "operation": "shop.read", "arguments": {}} for number in range(40)]}
    singly, at_once = Rechecks(changes), Rechecks(changes)
    given = [Delivery("result", number + 1, b"null", 0) for number in range(20)]
    assert await at_once.start(_BOOT) == await singly.start(_BOOT)
    turns = [await singly.deliver([one]) for one in given]
    together = await at_once.deliver(given)
    assert together.calls == tuple(call for turn in turns for call in turn.calls)
    assert together.issued_before == tuple(before for turn in turns for before in turn.issued_before)
