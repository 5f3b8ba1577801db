"""A generated program, run whole, run in pieces, and replayed: what `bench.replay` compares.

A life is a runtime over the shared store and pool that ends by a hard stop: its journal records nothing more, its calls
are cut off. The next one takes the run up as a starting server does.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.replay_programs import Generated
from bench.replay_world import Gate, MortalJournal, VirtualLoop, WatchedPool, World
from inhabit.catalog import Catalog
from inhabit.contracts.principal import Principal
from inhabit.contracts.program import IsolatePool, Language
from inhabit.contracts.run import (
    TERMINAL_STATES,
    Delivered,
    Intent,
    Logged,
    Outcome,
    RunRecord,
    StoredEntry,
    Terminal,
)
from inhabit.errors import Unavailable
from inhabit.isolates.pool import PoolSettings, WorkerPool
from inhabit.kernel.grants import Grant
from inhabit.kernel.policy import Policy, Rule
from inhabit.limits import Limits
from inhabit.runtime.approvals import AlreadyDecided, Approver, Desk
from inhabit.runtime.context import NO_CONTROL, Control
from inhabit.runtime.directory import ConnectedCatalog
from inhabit.runtime.doubts import doubtful
from inhabit.runtime.replay import Replayed, replay
from inhabit.runtime.service import Caller, Parts, Runtime
from inhabit.store.store import Store

__all__ = ["ADA", "ASKING", "Stage", "Whole", "altered", "difference", "in_doubt", "in_pieces", "on_stage", "one_life", "path_of", "replayed",
           "runtime_over", "whole"]

ADA = Caller(Principal("ada"), Grant.of("**"))
BOSS = Approver(Principal("boss"), "bench")
_SELLING = Policy([Rule("selling", ("world.sell",), "ask", "a person sells")])
_LIVES = 60


@dataclass
class Stage:
    """What outlives the lives."""

    gate: Gate
    store: Store
    pool: IsolatePool
    folder: Path
    ids: int = 0

    def new_id(self) -> str:
        self.ids += 1
        return f"{self.ids:032x}"


@dataclass(frozen=True)
class Whole:
    """A finished run: its record, how many appends it took, how often it was stopped and slept."""

    record: RunRecord
    world: World
    appends: int
    stops: int = 0
    sleeps: int = 0


@asynccontextmanager
async def open_stage(folder: Path, gate: Gate, pool: IsolatePool) -> AsyncGenerator[Stage]:
    """A real store in `folder`, and workers that are ready."""
    store = Store.open(folder / "journal.db")
    await pool.start()
    try:
        if isinstance(pool, WorkerPool):
            await _ready(pool)
        gate.virtual = True
        yield Stage(gate, store, WatchedPool(pool, gate), folder)
    finally:
        gate.virtual = False
        await pool.close()
        await store.close()


async def _ready(pool: WorkerPool) -> None:
    """A worker and a spare of each language: nothing real may be under way once time is virtual."""
    languages: tuple[Language, ...] = ("typescript", "python")
    for language in languages:
        await (await pool.acquire(language, "default", Limits())).close()
    while not all(pool.spares.values()):   # noqa: ASYNC110 - the pool tells nobody
        await asyncio.sleep(0.02)


def on_stage(folder: Path, work: Callable[[Stage], Any], pool: IsolatePool | None = None) -> Any:
    """Run `work` in a loop with virtual time, over jailed workers unless another pool is given."""
    gate = Gate()

    async def main() -> Any:
        asyncio.get_running_loop().set_exception_handler(_but_the_dead)
        workers = pool or WorkerPool(folder, settings=PoolSettings(idle_s=1e9, min_spare=1, workers_per_tenant=1))
        async with open_stage(folder, gate, workers) as stage:
            return await work(stage)

    with asyncio.Runner(loop_factory=lambda: VirtualLoop(gate)) as runner:
        return runner.run(main())


def _but_the_dead(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A stopped life's runs end with an error that nobody waits for."""
    if not isinstance(context.get("exception"), Unavailable):
        loop.default_exception_handler(context)


async def runtime_over(stage: Stage, world: World, journal: Any, seed: int, control: Control) -> Runtime:
    directory = ConnectedCatalog(Catalog(stage.folder))
    await directory.add(world.capability().connector())
    return Runtime(Parts(directory, stage.pool, journal, stage.store.blobs, stage.new_id, now_ms=world.now_ms, random_seed=lambda: seed, control=control))


def _selling(_who: Principal) -> Policy:
    return _SELLING


ASKING = Control(policy=_selling, approval_ms=10**9)


async def whole(stage: Stage, program: Generated) -> Whole:
    """Run it without a stop and without a suspension. Raises `AssertionError` when it is not a program."""
    world, journal = World(program.seed, stage.gate, uninterrupted=True), MortalJournal(stage.store.journal, stage.gate)
    runtime = await runtime_over(stage, world, journal, program.seed, NO_CONTROL)
    world.begin()
    result = await runtime.execute(program.source, ADA, language=program.language)
    assert result.state in TERMINAL_STATES, result
    return Whole(await journal.read(result.run_id, tenant="default"), world, journal.appends)


async def in_pieces(stage: Stage, program: Generated, appends: int, chance: random.Random, stops: int) -> Whole:
    """Run it asked, and stopped `stops` times at random appends."""
    world = World(program.seed, stage.gate, uninterrupted=False)
    run_id, done = "", 0
    for life in range(_LIVES):
        dies_at = chance.randint(1, max(1, appends)) if life < stops else None
        journal = MortalJournal(stage.store.journal, stage.gate, dies_at=dies_at, kept=chance.choice((0.0, 0.5, 1.0, 1.0, 1.0, 1.0)))
        try:
            record, sleeps = await one_life(stage, world, journal, program, run_id)
            return Whole(record, world, journal.appends, done, sleeps)
        except Unavailable:
            done += 1
            run_id = journal.only or run_id
    raise AssertionError(f"{program.seed}: no end after {_LIVES} lives")


async def one_life(stage: Stage, world: World, journal: MortalJournal, program: Generated, run_id: str) -> tuple[RunRecord, int]:
    """Begin the run, or take it up, and see it to its end; also how often it slept. Raises `Unavailable` once stopped."""
    journal.only = run_id or None
    runtime = await runtime_over(stage, world, journal, program.seed, ASKING)
    try:
        if run_id:
            world.resume(await journal.read(run_id, tenant="default"))
            await runtime.start()
        else:
            world.begin()
            await runtime.execute(program.source, ADA, language=program.language)
        run_id = journal.only or run_id
        sleeps = await _answer(stage, world, runtime, run_id)
        return await journal.read(run_id, tenant="default"), sleeps
    finally:
        while runtime.live:   # noqa: ASYNC110 - tasks of a dead process, a turn or two from their end
            await asyncio.sleep(0)


async def _answer(stage: Stage, world: World, runtime: Runtime, run_id: str) -> int:
    """Wait for the end; while the run sleeps, answer one question at a time in the person's order."""
    desk, sleeps = Desk(runtime, stage.store.approvals), 0
    while True:
        result = await runtime.wait(run_id, ADA, wait_s=3600.0)
        if result.state in TERMINAL_STATES or result.state == "parked":   # parked: of these programs none may be
            return sleeps
        if result.state == "suspended" and run_id not in runtime.live:
            sleeps += 1
            asked = (await stage.gate.during(stage.store.journal.ending(run_id, tenant="default"))).asked
            assert asked, f"run {run_id} sleeps over nothing"
            first = min(asked, key=lambda one: world.turn_of(one.sequence))
            verdict = "give_up" if first.doubt else "approve" if world.approves(first.sequence) else "reject"
            await stage.gate.during(_decide(desk, first.approval, verdict))
        else:
            if runtime.parts.journal.dead:   # type: ignore[attr-defined]
                raise Unavailable("this process is dead")
            await asyncio.sleep(0)


async def _decide(desk: Desk, approval: str, verdict: Any) -> None:
    with contextlib.suppress(AlreadyDecided):   # recorded before the stop, and not heard of
        await desk.decide(approval, verdict, BOSS, reason="no" if verdict == "reject" else "")


def path_of(record: RunRecord) -> dict[str, list[Any]]:
    """All that a run did, but for what a stop adds to its record: calls, results, deliveries with their clock, log, end."""
    path: dict[str, list[Any]] = {"calls": [], "results": [], "deliveries": [], "logs": [], "end": []}
    for stored in record.entries:
        match stored.entry:
            case Intent() as intent:
                path["calls"].append((intent.sequence, intent.operation, intent.arguments))
            case Outcome() as outcome:
                path["results"].append((outcome.sequence, outcome.ok, outcome.value))
            case Delivered() as delivered:
                path["deliveries"].append(tuple(delivered))
            case Logged() as logged:
                path["logs"].append(tuple(logged))
            case Terminal() as terminal:
                path["end"].append((terminal.state, terminal.value))
            case _:
                pass
    path["results"].sort()   # when a call ended is seen where it was delivered; cut off between the two it may end again
    return path


def difference(one: RunRecord, other: RunRecord) -> str:
    """The first part of the path in which two runs differ; "" when none."""
    left, right = path_of(one), path_of(other)
    for part, here in left.items():
        there = right[part]
        if here != there:
            at = next((i for i, (a, b) in enumerate(zip(here, there, strict=False)) if a != b), min(len(here), len(there)))
            return f"{part} at {at}: {here[at:at + 2]} / {there[at:at + 2]} of {len(here)} / {len(there)}"
    return ""


async def replayed(stage: Stage, record: RunRecord) -> Replayed:
    isolate = await stage.pool.acquire(record.header.language, "default", Limits.of(record.header.limits))
    try:
        return await replay(record, isolate)
    finally:
        await isolate.close()


def in_doubt(record: RunRecord) -> bool:
    """Whether the run ended `unknown`, and rightly: a call that must not be repeated has no outcome."""
    return record.state == "unknown" and bool(doubtful([e for e in record.entries if not isinstance(e.entry, Terminal)]))


def altered(record: RunRecord, kind: str, chance: random.Random) -> tuple[RunRecord, int] | None:
    """The record as another path would have left it, and the first call that differs; None where this one has no such
    place. Of another seed or clock, the call is the first that carries it: a branch may differ before.
    """
    intents = [e.entry for e in record.entries if isinstance(e.entry, Intent)]
    if kind in ("random", "clock"):
        mark = b'"x":0.' if kind == "random" else b'"x":170000'   # no number that was drawn looks like this year's clock
        first = next((i.sequence for i in intents if mark in i.arguments), None)
        if first is None:
            return None
        header = replace(record.header, seed=record.header.seed + 1) if kind == "random" else replace(record.header, clock_ms=record.header.clock_ms + 1)
        return replace(record, header=header, entries=record.entries if kind == "random" else _later(record.entries)), first
    if len(intents) < 2:
        return None
    at = chance.randrange(len(intents) - 1)
    changed = list(intents)
    if kind == "argument":
        changed[at] = intents[at]._replace(arguments=intents[at].arguments.replace(b'"n":', b'"n":9'))
    elif kind == "order":
        a, b = intents[at], intents[at + 1]
        changed[at], changed[at + 1] = (a._replace(operation=b.operation, arguments=b.arguments), b._replace(operation=a.operation, arguments=a.arguments))
    else:   # an extra call: what is now the k-th was not recorded, all after it came one earlier
        changed = [i if p < at else intents[p + 1]._replace(sequence=i.sequence) for p, i in enumerate(intents[:-1])]
    by_number = {i.sequence: i for i in changed}
    entries = tuple(StoredEntry(e.number, by_number[e.entry.sequence]) if isinstance(e.entry, Intent) else e
                    for e in record.entries if not isinstance(e.entry, Intent) or e.entry.sequence in by_number)
    return replace(record, entries=entries), intents[at].sequence


def _later(entries: tuple[StoredEntry, ...]) -> tuple[StoredEntry, ...]:
    return tuple(StoredEntry(e.number, e.entry._replace(clock_ms=e.entry.clock_ms + 1)) if isinstance(e.entry, Delivered) else e for e in entries)
