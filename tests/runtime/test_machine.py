"""D21: any order of calls, results, crashes, replays and cancellations leaves a journal that keeps its promises.

The machine owns the outside world: it decides when a connector answers and how, when the process dies and how much of
what was not yet durable is lost, and when the run is taken up again as a starting server does. The guest is a fixed
plan: at its n-th inner step it issues the n-th list of calls, whatever happened, so a replay can be compared.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import orjson
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from inhabit.connectors.functions import Capability
from inhabit.contracts.principal import Principal
from inhabit.contracts.program import Delivery, Finished, IssuedCall, Turn
from inhabit.contracts.run import (
    Delivered,
    Entry,
    Intent,
    Outcome,
    Resumed,
    RunHeader,
    RunRecord,
    StoredEntry,
    Terminal,
    Write,
)
from inhabit.errors import CallError
from inhabit.kernel.grants import Grant
from inhabit.limits import Limits
from inhabit.runtime.bridge import Bridge
from inhabit.runtime.context import RunContext
from inhabit.runtime.doubts import doubtful
from inhabit.runtime.driver import RunDriver
from inhabit.runtime.recording import Recording
from tests.runtime.conftest import FunctionDirectory, NoBlobs

KINDS = ("read", "read", "read", "put", "put", "write", "secret", "nothing")   # `secret` is not granted, `nothing` does not exist
MAX_IN_FLIGHT = 3
HEADER = RunHeader("run", Principal("ada"), "typescript", "hash", "source", "code", b"null", "planned", 7, 1_000)


class Journal:
    """Entries of one life of the process; `durable` of them survive whatever comes."""

    def __init__(self, entries: Sequence[Entry] = ()) -> None:
        self.entries = list(entries)
        self.durable = len(self.entries)
        self.appended = [len(self.entries)]

    def append(self, run_id: str, *entries: Entry, also: Sequence[Write] = ()) -> Ticket:
        assert not any(isinstance(entry, Terminal) for entry in self.entries), "nothing follows the end"
        self.entries += entries
        self.appended.append(len(self.entries))
        return Ticket(self, len(self.entries))

    def record(self) -> RunRecord:
        return RunRecord(HEADER, tuple(StoredEntry(n, e) for n, e in enumerate(self.entries, 1)), "running")


class Ticket:
    def __init__(self, journal: Journal, upto: int) -> None:
        self._journal = journal
        self._upto = upto

    async def durable(self) -> None:
        await asyncio.sleep(0)
        self._journal.durable = max(self._journal.durable, self._upto)


class Planned:
    """An isolate whose guest follows the plan: one inner step a delivery, however they are batched."""

    engine_version = "planned"

    def __init__(self, plan: Sequence[Sequence[str]], finish_at: int, seen: list[Delivery]) -> None:
        self._plan = plan
        self._finish_at = finish_at
        self._step = 0
        self._issued = 0
        self._seen = seen

    async def start(self, boot: Any) -> Turn:
        del boot
        calls, finished = self._inner()
        return Turn(calls, finished=finished)

    async def deliver(self, deliveries: Sequence[Delivery]) -> Turn:
        await asyncio.sleep(0)
        calls: list[IssuedCall] = []
        counts: list[int] = []
        finished: Finished | None = None
        for delivery in deliveries:
            self._seen.append(delivery)
            counts.append(self._issued)
            if finished is None:
                more, finished = self._inner()
                calls += more
        return Turn(tuple(calls), tuple(counts), finished)

    async def close(self) -> None: ...

    def _inner(self) -> tuple[tuple[IssuedCall, ...], Finished | None]:
        kinds = self._plan[self._step] if self._step < len(self._plan) else ()
        self._step += 1
        calls: list[IssuedCall] = []
        for kind in kinds:
            self._issued += 1
            calls.append(IssuedCall(self._issued, f"world.{kind}", orjson.dumps({"n": self._issued})))
        return tuple(calls), Finished(True, b"1") if self._step > self._finish_at else None


class RunMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.effects: Counter[tuple[str, int]] = Counter()
        self.waiting: dict[int, tuple[str, asyncio.Future[Any]]] = {}
        self.task: asyncio.Task[Terminal] | None = None
        self.journal = Journal()
        self.seen: list[Delivery] = []
        self.life = 0
        self.wrong: list[str] = []

    @initialize(plan=st.lists(st.lists(st.sampled_from(KINDS), min_size=1, max_size=3), min_size=2, max_size=7), finish_at=st.integers(0, 12),
                calls=st.integers(2, 20), journal_bytes=st.sampled_from((150, 10_000, 10_000)))
    def begin(self, plan: list[list[str]], finish_at: int, calls: int, journal_bytes: int) -> None:
        self.plan, self.finish_at = plan, finish_at
        self.limits = Limits.of({"calls": calls, "calls_in_flight": MAX_IN_FLIGHT, "journal_bytes": journal_bytes, "call_ms": 3_600_000})
        self._drive(Recording())

    def _drive(self, recording: Recording) -> None:
        self.life += 1
        self.seen = []
        capability = Capability("world")
        for kind, effects in {"read": {}, "put": {"writes": "internal", "idempotent": True}, "write": {"writes": "external"},
                              "secret": {"writes": "external"}}.items():
            capability.operation(self._operation(kind, self.life), name=kind, **effects)
        bridge = Bridge(FunctionDirectory(capability), self.journal, NoBlobs(), lambda: 1_000)  # type: ignore[arg-type]
        context = RunContext("run", Principal("ada"), Grant.of("world.read", "world.put", "world.write"), self.limits)
        driver = RunDriver(HEADER, context, Planned(self.plan, self.finish_at, self.seen), bridge, self.journal,  # type: ignore[arg-type]
                           lambda: 1_000, recording=recording)
        self.task = self.loop.create_task(driver.drive())
        self._spin()

    def _operation(self, kind: str, life: int) -> Any:
        async def operation(n: int) -> int:
            self.wrong += self._unrecorded(kind, n, life)
            self.effects[kind, n] += 1
            answer = self.waiting[n] = (kind, self.loop.create_future())
            try:
                return await answer[1]
            finally:
                if self.waiting.get(n) is answer:
                    del self.waiting[n]
        return operation

    def _unrecorded(self, kind: str, n: int, life: int) -> list[str]:
        """What is wrong with calling a connector now; kept, since the bridge turns whatever it raises into an error value."""
        if life != self.life:
            return ["a dead process did something"]
        intent = next((e for e in self.journal.entries if isinstance(e, Intent) and e.sequence == n), None)
        if intent is None or intent.decision["verdict"] != "allow":
            return [f"call {n} was made without its record"]
        if kind in ("put", "write") and self.journal.entries.index(intent) >= self.journal.durable:
            return [f"call {n} may write, and its intent was not on disk"]
        return []

    def _spin(self) -> None:
        async def turns() -> None:
            for _ in range(40):
                await asyncio.sleep(0)
        self.loop.run_until_complete(turns())

    @property
    def alive(self) -> bool:
        return self.task is not None and not self.task.done()

    # -- what may happen --------------------------------------------------------------------------------------

    @precondition(lambda self: self.alive and self.waiting)
    @rule(data=st.data(), ok=st.booleans(), both=st.booleans())
    def answer(self, data: st.DataObject, ok: bool, both: bool) -> None:
        """A connector answers, or two in the same moment."""
        for n in data.draw(st.permutations(sorted(self.waiting)))[:1 + both]:
            future = self.waiting[n][1]
            if ok:
                future.set_result(n)
            else:
                future.set_exception(CallError("upstream"))
        self._spin()

    @rule(kept=st.sampled_from((0.0, 0.4, 1.0, 1.0)))
    def crash_and_start(self, kept: float) -> None:
        """The process dies; of what was not durable, a prefix is there. The next one settles as a server's start does."""
        if not self.alive:
            return   # the run has ended, and its end is on disk
        survives = self.journal.durable + round(kept * (len(self.journal.entries) - self.journal.durable))
        survives = max(end for end in self.journal.appended if end <= survives)   # an append is on disk whole or not at all
        entries, was_seen = self.journal.entries[:survives], [(d.kind, d.id, d.value) for d in self.seen]
        self._die()
        self.journal = Journal(entries)
        doubts = doubtful(self.journal.record().entries)
        if doubts:
            self.journal.append("run", Resumed(1_000, "start"), Terminal("unknown", b"null", 1_000))
            return
        recorded = sum(isinstance(entry, Delivered) for entry in entries)
        self._drive(Recording.of(self.journal.record(), 1_000))
        now_seen = [(d.kind, d.id, d.value) for d in self.seen]
        assert now_seen[:recorded] == was_seen[:recorded], "a replay gives what was given"

    @precondition(lambda self: self.alive)
    @rule()
    def cancel(self) -> None:
        assert self.task is not None
        self.task.cancel()
        self._spin()
        assert self.task.done()

    def _die(self) -> None:
        """No code of that process runs any more; here its tasks are ended, and what they still write goes nowhere."""
        self.life += 1
        self.journal = Journal()
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self._spin()
        self.waiting.clear()

    # -- what must hold ---------------------------------------------------------------------------------------

    @invariant()
    def the_journal_keeps_its_promises(self) -> None:
        entries = self.journal.entries
        intents = [e.sequence for e in entries if isinstance(e, Intent)]
        assert intents == list(range(1, len(intents) + 1)), "calls are numbered in program order"
        assert len(intents) <= self.limits.calls
        known: set[int] = set()
        answered: set[int] = set()
        delivered: set[int] = set()
        for number, entry in enumerate(entries):
            if isinstance(entry, Intent):
                known.add(entry.sequence)
            elif isinstance(entry, Outcome):
                assert entry.sequence in known and entry.sequence not in answered, "one outcome for a call, after its intent"
                answered.add(entry.sequence)
            elif isinstance(entry, Delivered):
                assert entry.id in answered and entry.id not in delivered, "what is delivered was recorded, and once"
                delivered.add(entry.id)
            elif isinstance(entry, Terminal):
                assert number == len(entries) - 1, "nothing follows the end"

    @invariant()
    def the_world_saw_no_more_than_was_recorded(self) -> None:
        assert self.wrong == []
        assert len(self.waiting) <= MAX_IN_FLIGHT
        for (kind, n), times in self.effects.items():
            assert kind != "secret", "what is not granted is not called"
            assert kind != "write" or times == 1, f"write {n} was repeated"

    @invariant()
    def an_end_is_honest(self) -> None:
        last = self.journal.entries[-1] if self.journal.entries else None
        if not isinstance(last, Terminal):
            return
        answered = {e.sequence for e in self.journal.entries if isinstance(e, Outcome)}
        doubt = [n for (kind, n) in self.effects if kind == "write" and n not in answered]
        assert not doubt or last.state == "unknown", f"writes {doubt} may have happened, and the run says {last.state}"
        assert self.journal.durable == len(self.journal.entries) or self.alive or last.state == "unknown"

    def teardown(self) -> None:
        self._die()
        if self.task is not None and self.task.done() and not self.task.cancelled():
            self.task.exception()
        self.loop.close()


TestD21RunMachine = RunMachine.TestCase
TestD21RunMachine.settings = settings(max_examples=120, stateful_step_count=20, deadline=None)
