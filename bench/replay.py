"""Interrupted runs against uninterrupted ones: generated programs in both languages, over real jailed workers.

    replay.programs, .diverged    programs; those whose interrupted run was not the uninterrupted one: calls, results,
                                  deliveries with their clock, log and end
    replay.constructs             kinds of constructs in them (listed in the notes, with how many programs have each)
    replay.stops, .kills, .sleeps hard stops of the runtime, SIGKILLs of a process that hosts runtime and store, sleeps
                                  over a question
    replay.in_doubt               interrupted runs that ended `unknown`, as they must: cut off in a call not to be repeated
    replay.replayed, .unequal     finished journals executed again with nothing behind them; those not byte-equal
    replay.reached                calls of those replays that reached an operation
    replay.alterations, .missed   changed arguments, order, calls, random and clocks; those not found at the first
                                  different call
    replay.resume1000.p50_ms      a sleeping run with 1,000 recorded calls: from the answer to the next live call, on the wall
    replay.resume1000.host_cpu_ms, .worker_cpu_ms   what that takes of a core, which other load changes less
    sleep.memory_kb, .processes   what a sleeping run holds of the server's memory, over 1,000 of them; processes they hold

`--programs N` (default 400; full size 10,000), `--kills N` programs whose host is killed (default 24), `--seed N` the first
of them. `--tally FILE`: what is done is kept there after each piece, and the same command line goes on from it.
Time is virtual, latencies and answers come from the seed (see `replay_world`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench.replay_kill import KillNursery
from bench.replay_programs import generate
from bench.replay_resume import Resumed, resumes, sleeping
from bench.replay_runs import (
    Stage,
    Whole,
    altered,
    difference,
    in_doubt,
    in_pieces,
    on_stage,
    replayed,
    whole,
)
from bench.report import Report, percentile
from inhabit.contracts.run import RunRecord
from inhabit.errors import WorkerLost
from inhabit.store.store import Store

_ALTERATIONS = ("argument", "order", "extra", "random", "clock")
_MOST_STOPS = 4
_TRIES = 4
"""How often a program that was cut off in a call not to be repeated is begun anew, so that the others are compared."""


@dataclass
class Findings:
    counts: Counter[str] = field(default_factory=Counter[str])
    constructs: Counter[str] = field(default_factory=Counter[str])
    wrong: list[str] = field(default_factory=list[str])

    def add(self, other: Findings) -> None:
        self.counts += other.counts
        self.constructs += other.constructs
        self.wrong += other.wrong


_PIECE = 50
"""Programs between two entries in the tally: a stage of their own, so that nothing grows with their number."""


class Tally:
    """What was found so far, kept in a file if there is one; pieces that are in it are not done again."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self.found, self.done = Findings(), set[str]()
        if file is not None and file.exists():
            kept = json.loads(file.read_bytes())
            self.found = Findings(Counter(kept["counts"]), Counter(kept["constructs"]), kept["wrong"])
            self.done = set(kept["done"])

    def piece(self, name: str, seeds: range, work: Callable[[Findings], None]) -> None:
        key = f"{name} {seeds.start}-{seeds.stop}"
        if key in self.done:
            return
        found, begun = Findings(), time.monotonic()
        work(found)
        self.found.add(found)
        self.done.add(key)
        if self._file is not None:
            new = self._file.with_suffix(".new")
            new.write_text(json.dumps({"counts": self.found.counts, "constructs": self.found.constructs, "wrong": self.found.wrong,
                                       "done": sorted(self.done)}))
            new.replace(self._file)
        print(f"{key}: {len(found.wrong)} wrong, {time.monotonic() - begun:.0f} s; in all {self.found.counts['programs']} programs, "
              f"{len(self.found.wrong)} wrong", file=sys.stderr, flush=True)


def pieces(first: int, count: int) -> list[range]:
    return [range(at, min(at + _PIECE, first + count)) for at in range(first, first + count, _PIECE)]


async def interrupted(stage: Stage, seeds: Sequence[int], found: Findings) -> None:
    """Every program whole, in pieces, both replayed, and altered."""
    for seed in seeds:
        program, chance = generate(seed), random.Random(f"stops {seed}")
        found.constructs.update(program.constructs)
        found.counts["programs"] += 1
        one = await whole(stage, program)
        await _replayed(stage, seed, one, found)
        await _altered(stage, seed, one.record, chance, found)
        for _ in range(_TRIES):
            other = await in_pieces(stage, program, one.appends, chance, chance.randint(0, _MOST_STOPS))
            found.counts["stops"] += other.stops
            found.counts["sleeps"] += other.sleeps
            if not in_doubt(other.record):
                break
            found.counts["in_doubt"] += 1
        else:
            continue
        found.counts["compared"] += 1
        _compare(seed, one.record, other.record, found)
        await _replayed(stage, seed, other, found)


def _compare(seed: int, one: RunRecord, other: RunRecord, found: Findings) -> None:
    apart = difference(one, other)
    if apart:
        found.counts["diverged"] += 1
        found.wrong.append(f"program {seed}: {apart[:600]}")


async def _replayed(stage: Stage, seed: int, run: Whole, found: Findings) -> None:
    effects = run.world.effects.total()
    again = await replayed(stage, run.record)
    found.counts["replayed"] += 1
    found.counts["reached"] += run.world.effects.total() - effects
    if not again.equal:
        found.counts["unequal"] += 1
        found.wrong.append(f"replay of {seed}: {again.difference}")


async def _altered(stage: Stage, seed: int, record: RunRecord, chance: random.Random, found: Findings) -> None:
    for kind in _ALTERATIONS:
        changed = altered(record, kind, chance)
        if changed is None:
            continue
        found.counts["alterations"] += 1
        found.counts[f"altered.{kind}"] += 1
        try:
            again = await replayed(stage, changed[0])
        except WorkerLost as lost:   # what the worker says of another path does not fit the record's deliveries
            found.counts["missed"] += 1
            found.wrong.append(f"program {seed}, {kind} at call {changed[1]}: {lost}")
            continue
        at = again.calls + 1
        if again.equal or (at != changed[1] if kind not in ("random", "clock") else at > changed[1]):
            found.counts["missed"] += 1
            found.wrong.append(f"program {seed}, {kind} at call {changed[1]}: found at {at}: {again.difference}")


def killed(folder: Path, seeds: Sequence[int], found: Findings) -> None:
    """The same with SIGKILL: of the process that hosts runtime and store."""
    wholes: dict[int, Whole] = {}

    async def first(stage: Stage) -> None:
        for seed in seeds:
            wholes[seed] = await whole(stage, generate(seed))

    on_stage(folder / "whole", first)
    for seed in seeds:
        chance = random.Random(f"kills {seed}")
        home = folder / f"killed{seed}"
        home.mkdir()
        with KillNursery(home) as nursery:
            found.counts["kills"] += nursery.run(generate(seed), wholes[seed].appends, chance, chance.randint(1, 3))
        record = asyncio.run(_only_record(home))
        if in_doubt(record):
            found.counts["in_doubt"] += 1
        else:
            found.counts["compared"] += 1
            _compare(seed, wholes[seed].record, record, found)
        found.counts["programs"] += 1
        shutil.rmtree(home)


async def _only_record(home: Path) -> RunRecord:
    store = Store.open(home / "journal.db")
    try:
        (run,) = await store.journal.list(tenant="default")
        return await store.journal.read(run.run_id, tenant="default")
    finally:
        await store.close()


def _interrupted(seeds: range, folder: Path, found: Findings) -> None:
    on_stage(folder, lambda stage: interrupted(stage, seeds, found))


def _killed(seeds: range, folder: Path, found: Findings) -> None:
    (folder / "whole").mkdir()
    killed(folder, seeds, found)


def in_a_folder(work: Callable[[Path, Findings], None]) -> Callable[[Findings], None]:
    """In memory: a SIGKILL loses nothing that was written, so no disk is needed to see what it does lose."""
    def done(found: Findings) -> None:
        memory = Path("/dev/shm")
        folder = Path(tempfile.mkdtemp(prefix="replay-", dir=memory if memory.is_dir() else None))
        try:
            work(folder, found)
        finally:
            shutil.rmtree(folder)
    return done


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--programs", type=int)
    parser.add_argument("--kills", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tally", type=Path)
    given = parser.parse_args(arguments)
    programs = given.programs if given.programs is not None else 40 if given.quick else 400
    kills = given.kills if given.kills is not None else 2 if given.quick else 24
    report, tally, begun = Report(given.json), Tally(given.tally), time.monotonic()
    for seeds in pieces(given.seed, programs):
        tally.piece("interrupted", seeds, in_a_folder(partial(_interrupted, seeds)))
    for seeds in pieces(given.seed + programs, kills):
        tally.piece("killed", seeds, in_a_folder(partial(_killed, seeds)))
    resumed, asleep = list[Resumed](), list[tuple[float, int]]()
    in_a_folder(lambda folder, _: resumed.extend(resumes(folder, 5 if given.quick else 25)))(found := tally.found)
    in_a_folder(lambda folder, _: asleep.append(sleeping(folder)))(found)
    for line in found.wrong[:20]:
        report.note(line)
    report.note("constructs: " + ", ".join(f"{name} {count}" for name, count in sorted(found.constructs.items())))
    report.note("alterations: " + ", ".join(f"{kind} {found.counts[f'altered.{kind}']}" for kind in _ALTERATIONS)
                + f"; {found.counts['compared']} programs compared in {time.monotonic() - begun:.0f} s")
    report.figure("replay.programs", found.counts["programs"], "programs")
    report.figure("replay.constructs", len(found.constructs), "kinds")
    for name, unit in (("diverged", "programs"), ("stops", "stops"), ("kills", "SIGKILL"), ("sleeps", "sleeps"), ("in_doubt", "runs"),
                       ("replayed", "journals"), ("unequal", "journals"), ("reached", "calls"), ("alterations", "journals"), ("missed", "journals")):
        report.figure(f"replay.{name}", found.counts[name], unit)
    report.figure("replay.resume1000.p50_ms", percentile([one.wall_ms for one in resumed], 0.5), "ms")
    report.figure("replay.resume1000.host_cpu_ms", percentile([one.host_cpu_ms for one in resumed], 0.5), "ms")
    report.figure("replay.resume1000.worker_cpu_ms", percentile([one.worker_cpu_ms for one in resumed], 0.5), "ms")
    report.figure("sleep.memory_kb", asleep[0][0], "KiB")
    report.figure("sleep.processes", asleep[0][1], "processes")
    return 1 if found.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
