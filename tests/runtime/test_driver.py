"""Turns, deliveries, ends: with an isolate that follows a script."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

import orjson
import pytest

from inhabit.connectors.functions import Capability
from inhabit.contracts.program import Delivery, Finished, IssuedCall, LogLine, Timer, Turn, Usage
from inhabit.contracts.run import Delivered, Intent, Logged, Outcome, Resumed, Suspended, Terminal
from inhabit.errors import CallError, LimitExceeded, ProtocolError, Unavailable, WorkerLost
from inhabit.runtime.doubts import doubtful
from inhabit.runtime.recording import Recording
from tests.runtime.conftest import ScriptedIsolate

DONE = Finished(True, b'"done"')


def issued(sequence: int, operation: str, **arguments: Any) -> IssuedCall:
    return IssuedCall(sequence, operation, orjson.dumps(arguments))


def script(*turns: Turn) -> ScriptedIsolate:
    """Turn by turn; each turn answers for as many deliveries as it was given."""
    def step(number: int, deliveries: Sequence[Delivery]) -> Turn:
        turn = turns[number]
        before = turn.issued_before or tuple(0 for _ in deliveries)
        return Turn(turn.calls, before, turn.finished, turn.timer, turn.logs, turn.usage)
    return ScriptedIsolate(step)


class Gates:
    """Operations that end when the test says so."""

    def __init__(self) -> None:
        self.capability = Capability("gate")
        self.gates: dict[str, asyncio.Event] = {}
        self.passed: list[str] = []
        self.capability.operation(self._wait, name="read")
        self.capability.operation(self._wait, name="write", writes="internal")
        self.capability.operation(self._wait, name="put", writes="internal", idempotent=True)

    async def _wait(self, name: str) -> str:
        await self.gates.setdefault(name, asyncio.Event()).wait()
        self.passed.append(name)
        return name

    def open(self, name: str) -> None:
        self.gates.setdefault(name, asyncio.Event()).set()


async def test_run_without_calls_completes(world: Any) -> None:
    here = world()
    terminal = await here.driver(script(Turn(finished=DONE, usage=Usage(1.5, 2_000)))).drive()
    assert terminal.state == "completed" and terminal.value == b'"done"'
    assert terminal.usage["cpu_ms"] == 1.5 and here.journal.of(Terminal) == [terminal] and here.journal.waits == 1


async def test_program_that_throws_fails_with_its_own_words(world: Any) -> None:
    thrown = Finished(False, b'{"name":"TypeError","message":"x is not a function","stack":"at line 3"}')
    terminal = await world().driver(script(Turn(finished=thrown))).drive()
    error = orjson.loads(terminal.value)
    assert terminal.state == "failed" and error["code"] == "program_failed" and error["message"] == "x is not a function"
    assert error["details"] == {"name": "TypeError", "stack": "at line 3"}


async def test_results_are_delivered_in_the_order_they_arrive_and_journaled_so(world: Any) -> None:
    gates = Gates()
    here = world(gates.capability)
    isolate = script(Turn((issued(1, "gate.read", name="a"), issued(2, "gate.read", name="b"))),
                     Turn(issued_before=(2,)), Turn(issued_before=(2,), finished=DONE))
    task = asyncio.create_task(here.driver(isolate).drive())
    await asyncio.sleep(0)
    gates.open("b")
    while len(isolate.delivered) < 1:
        await asyncio.sleep(0)
    gates.open("a")
    assert (await task).state == "completed"
    assert [d.id for d in isolate.delivered] == [2, 1]
    assert here.deliveries() == [Delivered("result", 2, 2, here.now), Delivered("result", 1, 2, here.now)]
    assert [type(e).__name__ for e in here.journal.entries["run"]] == [
        "Intent", "Intent", "Outcome", "Delivered", "Outcome", "Delivered", "Terminal"]


async def test_effect_stands_after_its_cause_in_the_journal(world: Any) -> None:
    gates = Gates()
    gates.open("a")
    gates.open("b")
    here = world(gates.capability)
    log = (LogLine("log", "between"),)
    await here.driver(script(Turn((issued(1, "gate.read", name="a"),)), Turn((issued(2, "gate.read", name="b"),), logs=log),
                             Turn(finished=DONE))).drive()
    kinds = [type(e) for e in here.journal.entries["run"]]
    assert kinds == [Intent, Outcome, Delivered, Logged, Intent, Outcome, Delivered, Terminal]


async def test_program_that_returns_early_is_not_done_before_its_calls(world: Any) -> None:
    gates = Gates()
    here = world(gates.capability)
    task = asyncio.create_task(here.driver(script(Turn((issued(1, "gate.write", name="late"),), finished=DONE))).drive())
    for _ in range(20):
        await asyncio.sleep(0)
    assert not task.done()
    gates.open("late")
    assert (await task).state == "completed" and gates.passed == ["late"]
    assert [type(e) for e in here.journal.entries["run"]] == [Intent, Outcome, Terminal]


async def test_timer_fires_in_virtual_time_and_is_journaled(world: Any) -> None:
    here = world()
    isolate = script(Turn(timer=Timer(1, here.now + 20)), Turn(finished=DONE))
    driver = here.driver(isolate)
    task = asyncio.create_task(driver.drive())
    await asyncio.sleep(0.005)
    here.now += 25
    assert (await asyncio.wait_for(task, 5)).state == "completed"
    assert here.deliveries() == [Delivered("timer", 1, 0, 1_000_025)]


async def test_guest_clock_never_goes_back(world: Any) -> None:
    gates = Gates()
    gates.open("a")
    gates.open("b")
    here = world(gates.capability)
    clocks: list[int] = []

    def step(number: int, deliveries: Sequence[Delivery]) -> Turn:
        clocks.extend(d.clock_ms for d in deliveries)
        here.now -= 5_000
        calls = [(issued(1, "gate.read", name="a"),), (issued(2, "gate.read", name="b"),), ()][number]
        return Turn(calls, tuple(number for _ in deliveries), finished=DONE if number == 2 else None)

    await here.driver(ScriptedIsolate(step)).drive()
    assert clocks == [1_000_000, 1_000_000]


async def test_B25_a_loop_of_timers_pays_for_its_record(world: Any) -> None:
    here = world()

    def step(number: int, deliveries: Sequence[Delivery]) -> Turn:
        return Turn((), tuple(0 for _ in deliveries), timer=Timer(number, 0), finished=DONE if number > 200 else None)

    terminal = await here.driver(ScriptedIsolate(step), here.context(journal_bytes=6_400)).drive()
    assert orjson.loads(terminal.value)["details"]["limit"] == "journal_bytes" and len(here.deliveries()) == 100


WROTE = {"written_calls": [{"sequence": 1, "operation": "gate.write"}], "written": 1}


async def test_program_that_throws_after_it_wrote_says_what_was_written(world: Any) -> None:
    gates = Gates()
    gates.open("a")
    thrown = Finished(False, b'{"name":"Error","message":"x"}')
    turns = script(Turn((issued(1, "gate.write", name="a"),)), Turn((issued(2, "gate.read", name="a"),)), Turn(finished=thrown))
    error = orjson.loads((await world(gates.capability).driver(turns).drive()).value)
    assert error["effect"] == "happened" and error["details"] == {"name": "Error", **WROTE}


async def test_run_stopped_by_a_limit_after_it_wrote_says_what_was_written(world: Any) -> None:
    gates = Gates()
    gates.open("a")
    here = world(gates.capability)
    turns = script(Turn((issued(1, "gate.write", name="a"),)), Turn((issued(2, "gate.read", name="never"),)))
    error = orjson.loads((await here.driver(turns, here.context(wall_ms=100)).drive()).value)
    assert error["effect"] == "happened" and error["details"]["limit"] == "wall_ms" and error["details"]["written"] == 1


async def test_write_that_may_have_happened_leaves_the_end_unsure(world: Any) -> None:
    slow = Capability("slow")

    @slow.operation(writes="internal", timeout_s=0.01)
    async def write() -> None:
        await asyncio.Event().wait()

    @slow.operation(writes="internal")
    async def refused() -> None:
        raise CallError("no", effect="none")

    thrown = Finished(False, b'{"message":"x"}')
    error = orjson.loads((await world(slow).driver(script(Turn((issued(1, "slow.refused"),)), Turn(finished=thrown))).drive()).value)
    assert error["effect"] == "none" and error["details"] == {}
    error = orjson.loads((await world(slow).driver(script(Turn((issued(1, "slow.write"),)), Turn(finished=thrown))).drive()).value)
    assert error["effect"] == "unknown" and error["details"]["unsure_calls"] == [{"sequence": 1, "operation": "slow.write"}]


async def test_B22_waiting_for_nothing_is_named(world: Any) -> None:
    terminal = await world().driver(script(Turn())).drive()
    assert terminal.state == "failed" and orjson.loads(terminal.value)["code"] == "deadlock"


async def test_B22_wall_limit_ends_a_waiting_run(world: Any) -> None:
    gates = Gates()
    here = world(gates.capability)
    reading = here.driver(script(Turn((issued(1, "gate.read", name="never"),))), here.context(wall_ms=20))
    terminal = await reading.drive()
    assert terminal.state == "failed" and orjson.loads(terminal.value)["details"]["limit"] == "wall_ms"


async def test_B22_connector_that_swallows_the_cancellation_does_not_outlive_the_wall_limit(world: Any) -> None:
    stubborn = Capability("stubborn")

    @stubborn.operation
    async def read() -> str:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return "late"

    here = world(stubborn)
    reading = here.driver(script(Turn((issued(1, "stubborn.read"),)), Turn(finished=DONE)), here.context(wall_ms=20))
    terminal = await reading.drive()
    assert terminal.state == "failed" and orjson.loads(terminal.value)["details"]["limit"] == "wall_ms"


async def test_sequential_read_costs_no_task_and_a_write_has_its_own(world: Any) -> None:
    own = Capability("own")

    @own.operation
    async def read() -> bool:
        return asyncio.current_task() is driving

    @own.operation(writes="internal")
    async def write() -> bool:
        return asyncio.current_task() is driving

    here = world(own)
    turns = script(Turn((issued(1, "own.read"),)), Turn((issued(2, "own.write"),)),
                   Turn((issued(3, "own.read"), issued(4, "own.read"))), Turn(), Turn(finished=DONE))
    driving = asyncio.create_task(here.driver(turns).drive())
    await driving
    assert {o.sequence: o.value for o in here.outcomes()} == {1: b"true", 2: b"false", 3: b"false", 4: b"false"}


@pytest.mark.parametrize(("operation", "state"), [("gate.write", "unknown"), ("gate.put", "failed"), ("gate.read", "failed")])
async def test_cancelled_run_says_what_is_unknown(world: Any, operation: str, state: str) -> None:
    gates = Gates()
    here = world(gates.capability)
    task = asyncio.create_task(here.driver(script(Turn((issued(1, operation, name="never"),)))).drive())
    while not here.journal.of(Intent):
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    terminal = await task
    error = orjson.loads(terminal.value)
    assert terminal.state == state and error["code"] == "cancelled"
    if state == "unknown":
        assert error["effect"] == "unknown"
        assert error["details"]["unknown_calls"] == [{"sequence": 1, "operation": operation}]


async def test_B19_call_flood_ends_the_run(world: Any) -> None:
    gates = Gates()
    here = world(gates.capability)
    calls = tuple(issued(n, "gate.read", name="x") for n in range(1, 12))
    gates.open("x")
    terminal = await here.driver(script(Turn(calls)), here.context(calls=10)).drive()
    assert terminal.state == "failed" and orjson.loads(terminal.value)["details"]["limit"] == "calls"


@pytest.mark.parametrize("failure", [ProtocolError("nonsense"), LimitExceeded.of("cpu_ms", 5, "ms")])
async def test_lost_isolate_fails_the_run_after_its_calls_have_ended(world: Any, failure: Exception) -> None:
    gates = Gates()
    gates.open("a")
    here = world(gates.capability)

    def step(number: int, deliveries: Sequence[Delivery]) -> Turn:
        if number:
            raise failure
        return Turn((issued(1, "gate.write", name="a"), issued(2, "gate.write", name="b")))

    task = asyncio.create_task(here.driver(ScriptedIsolate(step)).drive())
    while not here.outcomes():
        await asyncio.sleep(0)
    gates.open("b")
    terminal = await task
    assert terminal.state == "failed" and gates.passed == ["a", "b"] and len(here.outcomes()) == 2
    assert orjson.loads(terminal.value)["code"] in {"protocol_error", "limit_exceeded"}


async def test_run_whose_worker_died_through_anothers_fault_has_not_ended(world: Any) -> None:
    gates = Gates()
    gates.open("a")
    here = world(gates.capability)

    def step(number: int, deliveries: Sequence[Delivery]) -> Turn:
        if number:
            raise WorkerLost("a neighbour was killed")
        return Turn((issued(1, "gate.write", name="a"), issued(2, "gate.write", name="b")))

    task = asyncio.create_task(here.driver(ScriptedIsolate(step)).drive())
    while not here.outcomes():
        await asyncio.sleep(0)
    gates.open("b")
    with pytest.raises(WorkerLost):
        await task
    assert gates.passed == ["a", "b"] and here.journal.of(Terminal) == []


@pytest.mark.parametrize("turn", [
    Turn((issued(2, "gate.read", name="a"),)),
    Turn((issued(1, "gate.read", name="a"), issued(1, "gate.read", name="a"))),
    Turn(issued_before=(0, 0), finished=DONE),
])
async def test_D10_worker_that_breaks_the_sequence_is_refused(world: Any, turn: Turn) -> None:
    gates = Gates()
    gates.open("a")
    terminal = await world(gates.capability).driver(script(turn)).drive()
    assert terminal.state == "failed" and orjson.loads(terminal.value)["code"] == "protocol_error"


async def test_B17_logs_are_bounded(world: Any) -> None:
    here = world()
    driver = here.driver(script(Turn(logs=tuple(LogLine("log", "x" * 40) for _ in range(10)), finished=DONE)), here.context(log_bytes=100))
    await driver.drive()
    assert len(driver.logs) == 2 and driver.logs_truncated and len(here.journal.of(Logged)) == 2


async def test_F19_broken_journal_stops_the_run_without_a_word(world: Any) -> None:
    gates = Gates()
    here = world(gates.capability)
    here.journal.broken = True
    driver = here.driver(script(Turn((issued(1, "gate.write", name="a"),))))
    with pytest.raises(Unavailable):
        await driver.drive()
    assert gates.passed == []


async def test_leaving_server_keeps_the_run_unfinished(world: Any) -> None:
    gates = Gates()
    here = world(gates.capability)
    driver = here.driver(script(Turn((issued(1, "gate.write", name="a"),))))
    task = asyncio.create_task(driver.drive())
    while not here.journal.of(Intent):
        await asyncio.sleep(0)
    driver.leave()
    task.cancel()
    await asyncio.sleep(0)
    gates.open("a")
    with pytest.raises(asyncio.CancelledError):
        await task
    assert here.journal.of(Terminal) == [] and len(here.outcomes()) == 1


# -- taking up again ------------------------------------------------------------------------------------------

FLOW = (
    Turn((issued(1, "gate.read", name="a"), issued(2, "gate.read", name="b"))),
    Turn((issued(3, "gate.put", name="c"),), issued_before=(2,), logs=(LogLine("log", "first"),)),
    Turn(issued_before=(3,)),
    Turn(issued_before=(3,), finished=DONE),
)


def one_by_one() -> ScriptedIsolate:
    """FLOW as a worker plays it: one inner step a delivery, however they are batched."""
    position = 0

    def step(number: int, deliveries: Sequence[Delivery]) -> Turn:
        nonlocal position
        if number == 0:
            return FLOW[0]
        inner = FLOW[position + 1:position + 1 + len(deliveries)]
        position += len(deliveries)
        return Turn(tuple(c for t in inner for c in t.calls), tuple(b for t in inner for b in t.issued_before),
                    inner[-1].finished, None, tuple(line for t in inner for line in t.logs))
    return ScriptedIsolate(step)


async def record_of_flow(world: Any) -> Any:
    gates = Gates()
    here = world(gates.capability)
    isolate = one_by_one()
    task = asyncio.create_task(here.driver(isolate).drive())
    for number, name in enumerate(("b", "a", "c"), 1):
        gates.open(name)
        while len(isolate.delivered) < number:
            await asyncio.sleep(0)
    assert (await task).state == "completed"
    return here


async def test_every_prefix_of_a_journal_leads_to_the_same_end(world: Any) -> None:
    whole = await record_of_flow(world)
    entries = whole.journal.entries["run"]
    assert [d.id for d in whole.deliveries()] == [2, 1, 3]
    for length in whole.journal.appended["run"][:-1]:   # an append is on disk whole or not at all
        gates = Gates()
        for name in "abc":
            gates.open(name)
        here = world(gates.capability)
        here.journal.entries["run"] = list(entries[:length])
        here.journal.headers["run"] = whole.journal.headers["run"]
        recording = Recording.of(here.journal.record(), 1_000)
        terminal = await here.driver(one_by_one(), recording=recording).drive()
        assert terminal.state == "completed", (length, terminal.value)
        performed = {o.sequence for o in here.outcomes()}
        assert performed == {1, 2, 3} and len(here.outcomes()) == 3
        assert len(here.journal.of(Intent)) == 3 and len(here.journal.of(Logged)) == 1
        assert [d.issued_before for d in here.deliveries()] == [2, 3, 3] and len(here.deliveries()) == 3
        recorded = {e.sequence for e in entries[:length] if isinstance(e, Outcome)}
        assert len(gates.passed) == 3 - len(recorded)
        reissued = {e.sequence for e in entries[:length] if isinstance(e, Intent)} - recorded
        assert {s for r in here.journal.of(Resumed) for s in r.reissued} == reissued


async def test_results_that_were_recorded_and_not_delivered_come_in_the_order_in_which_they_had_come(world: Any) -> None:
    here = await record_of_flow(world)
    entries = here.journal.entries["run"]
    kept = [e for e in entries if isinstance(e, Intent) and e.sequence < 3]
    kept += sorted((e for e in entries if isinstance(e, Outcome) and e.sequence < 3), key=lambda outcome: -outcome.sequence)
    here.journal.entries["run"] = kept
    isolate = script(FLOW[0], Turn(issued_before=(2, 2), finished=DONE))
    assert (await here.driver(isolate, recording=Recording.of(here.journal.record(), 1_000)).drive()).state == "completed"
    assert [d.id for d in isolate.delivered] == [2, 1]


@pytest.mark.parametrize("change", ["arguments", "operation", "points", "one more", "one less", "an early end"])
async def test_F08_a_replay_that_diverges_parks_the_run_at_the_first_difference_with_both_sides(world: Any, change: str) -> None:
    whole = await record_of_flow(world)
    here = world((gates := Gates()).capability)
    here.journal.entries["run"] = whole.journal.entries["run"][:-1]
    here.journal.headers["run"] = whole.journal.headers["run"]
    isolate = {
        "arguments": script(Turn((issued(1, "gate.read", name="other"),))),
        "operation": script(Turn((issued(1, "gate.put", name="a"),))),
        "points": script(FLOW[0], Turn((issued(3, "gate.put", name="c"),), issued_before=(2, 2, 3))),
        "one more": script(Turn((*FLOW[0].calls, issued(3, "gate.put", name="c")))),
        "one less": script(Turn(FLOW[0].calls[:1])),
        "an early end": script(FLOW[0]._replace(finished=DONE)),
    }[change]
    before = list(here.journal.entries["run"])
    parked = await here.driver(isolate, recording=Recording.of(here.journal.record(), 1_000)).drive()
    assert parked.parked["code"] == "replay_diverged" and {"recorded", "now"} <= set(parked.parked["details"])
    assert here.journal.entries["run"] == [*before, parked] and gates.passed == []
    again = await here.driver(script(Turn((issued(1, "gate.put", name="a"),))), recording=Recording.of(here.journal.record(), 1_000)).drive()
    assert again.parked["details"]["sequence"] == 1
    isolate = script(Turn((issued(1, "gate.put", name="a"),)))
    await here.driver(isolate, recording=Recording.of(here.journal.record(), 1_000)).drive()
    assert len(here.journal.of(Suspended)) <= 2, "the same difference is recorded once"


async def test_F08_a_run_that_was_parked_goes_on_where_the_program_takes_its_path_again(world: Any) -> None:
    whole = await record_of_flow(world)
    gates = Gates()
    for name in "abc":
        gates.open(name)
    here = world(gates.capability)
    here.journal.headers["run"] = whole.journal.headers["run"]
    length = whole.journal.appended["run"][1]
    here.journal.entries["run"] = [*whole.journal.entries["run"][:length], Suspended(2_000, {}, {"code": "replay_diverged"})]
    terminal = await here.driver(one_by_one(), recording=Recording.of(here.journal.record(), 3_000)).drive()
    assert terminal.state == "completed" and len(here.outcomes()) == 3
    assert here.journal.of(Resumed)[0].reason == "taken up"


async def test_F08_no_open_call_is_made_before_the_whole_record_was_followed(world: Any) -> None:
    """Call 1 is open, and the program is another one from delivery 2 on: what it was about to do again is not done."""
    whole = await record_of_flow(world)
    gates = Gates()
    here = world(gates.capability)
    here.journal.headers["run"] = whole.journal.headers["run"]
    here.journal.entries["run"] = [e for e in whole.journal.entries["run"][:-1]
                                   if not (isinstance(e, Outcome | Delivered) and (e.sequence if isinstance(e, Outcome) else e.id) == 1)]
    isolate = script(FLOW[0], Turn((issued(3, "gate.put", name="another"),), issued_before=(2, 3)))
    parked = await here.driver(isolate, recording=Recording.of(here.journal.record(), 1_000)).drive()
    assert parked.parked["details"]["sequence"] == 3 and gates.passed == [] and here.journal.of(Resumed) == []


async def test_F09_a_due_timer_goes_before_a_result_of_its_own_millisecond(world: Any) -> None:
    """What else the host was doing just then decides nothing."""
    here = world((gates := Gates()).capability)
    timer = Timer(1, here.now + 5)
    isolate = script(Turn((issued(1, "gate.read", name="a"),), timer=timer), Turn(issued_before=(1,)), Turn(issued_before=(1,), finished=DONE))
    task = asyncio.create_task(here.driver(isolate).drive())
    await asyncio.sleep(0)
    here.now += 5
    gates.open("a")
    assert (await task).state == "completed" and [d.kind for d in isolate.delivered] == ["timer", "result"]

    here = world((gates := Gates()).capability)
    isolate = script(Turn((issued(1, "gate.read", name="a"),), timer=Timer(1, here.now + 5)), Turn(issued_before=(1,), timer=timer), Turn(issued_before=(1,), finished=DONE))
    task = asyncio.create_task(here.driver(isolate).drive())
    await asyncio.sleep(0)
    here.now += 4
    gates.open("a")
    while not here.outcomes():
        await asyncio.sleep(0)
    here.now += 1
    assert (await task).state == "completed" and [d.kind for d in isolate.delivered] == ["result", "timer"]


async def test_journal_that_delivers_what_never_ended_is_refused(world: Any) -> None:
    here = world()
    here.journal.headers["run"] = (await record_of_flow(world)).journal.headers["run"]
    here.journal.entries["run"] = [Delivered("result", 1, 1, 0)]
    parked = await here.driver(script(Turn((issued(1, "gate.read", name="a"),))), recording=Recording.of(here.journal.record(), 1_000)).drive()
    assert parked.parked["code"] == "replay_diverged"


async def test_doubtful_are_writes_without_outcome_that_may_not_be_repeated(world: Any) -> None:
    gates = Gates()
    here = world(gates.capability)
    calls = (issued(1, "gate.write", name="a"), issued(2, "gate.put", name="b"), issued(3, "gate.read", name="c"))
    driver = here.driver(script(Turn(calls)))
    task = asyncio.create_task(driver.drive())
    while len(here.journal.of(Intent)) < 3:
        await asyncio.sleep(0)
    assert [i.sequence for i in doubtful(here.journal.record().entries)] == [1]
    task.cancel()
    await task
