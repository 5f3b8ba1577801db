"""Kill the writer, and kill the whole server, at random moments under load; then look for what is missing.

    crash.kills, crash.lost            `inhabit serve` under HTTP load: SIGKILLs; answers that are not true afterwards
    crash.repeated                     writes that must not be repeated and were
    crash.dishonest                    runs without an honest end after the restart, or whose end the ledger contradicts
    crash.storage.kills, .lost         the journal alone in a small process: acknowledged records that are not there
    crash.storage.acknowledged         how many there were

    crash.steps                        journal steps of one run at each of which the server was killed once
    power.images, power.lost           `--images N`: crash images made from a recorded trace of writes and syncs (see
                                       `crash_power`), and those in which something acknowledged is not there

    control.kills, control.lost, …     `--control N`: SIGKILLs across suspend, approve, reject, settle, plan, apply and rollback, and
                                       at each step of two scenes of these (see `crash_control`); 0 lost, 0 repeated, 0 dishonest
                                       is the aim

`--images N` and `--control N` make these alone (`--control 0`: the steps). `--kills N` and `--storage-kills N` choose the numbers
(default 1,000 and 1,000; `--quick`: 8 and 100, and every eighth step). `--seed` repeats the choices; the moments are the machine's. `--folder DIR` keeps what was done there, and a bench
that was stopped goes on with it.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.crash_control import control
from bench.crash_power import power
from bench.crash_server import Findings, journal_steps, random_kills
from bench.crash_storage import Acknowledged, Nursery, lost_records
from bench.crash_told import summed
from bench.report import Report, peers_folder

_CHECK_EVERY = 100
"""Records of a storage database are compared and the database begun anew, so that checking stays quick."""


def storage(folder: Path, kills: int, chance: random.Random, report: Report) -> int:
    """Kill the journal's process; returns how many acknowledged records were lost."""
    lost: list[str] = []
    acknowledged = done = 0
    while done < kills:
        path, told = folder / f"storage{done}" / "journal.db", Acknowledged()
        with Nursery(path) as nursery:
            for _ in range(min(_CHECK_EVERY, kills - done)):
                nursery.kill_one(chance.uniform(0.0, 0.08), told)
                done += 1
        lost += asyncio.run(lost_records(path, told))
        acknowledged += sum(told.entries.values())
        shutil.rmtree(path.parent)
    for line in lost[:20]:
        report.note(line)
    report.figure("crash.storage.kills", done, "SIGKILL")
    report.figure("crash.storage.acknowledged", acknowledged, "records")
    report.figure("crash.storage.lost", len(lost), "records")
    return len(lost)


def server(folder: Path, kills: int, every_step: int, seed: str, report: Report) -> int:
    """Kill the whole server; returns how much was lost, repeated or dishonest."""
    found = asyncio.run(random_kills(folder, kills, seed))
    at_steps, steps = asyncio.run(journal_steps(folder, every_step))
    _say(found, "at random moments", report)
    _say(at_steps, "at steps", report)
    report.note("steps: " + "; ".join(steps))
    found = summed(found, [at_steps])
    report.figure("crash.kills", found.kills, "SIGKILL")
    report.figure("crash.steps", at_steps.kills, "SIGKILL")
    report.figure("crash.lost", len(found.lost), "answers and records")
    report.figure("crash.repeated", len(found.repeated), "writes")
    report.figure("crash.dishonest", len(found.dishonest), "runs")
    return len(found.lost) + len(found.repeated) + len(found.dishonest)


def _say(found: Findings, when: str, report: Report) -> None:
    for line in (*found.lost, *found.repeated, *found.dishonest)[:20]:
        report.note(line)
    report.note(f"{when}: {found.kills} kills, {found.runs} runs, {found.told} answered; their ends: "
                + ", ".join(f"{count} {state}" for state, count in found.states.most_common()))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--kills", type=int)
    parser.add_argument("--storage-kills", type=int)
    parser.add_argument("--images", type=int)
    parser.add_argument("--control", type=int)
    parser.add_argument("--seed", default="")
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args(arguments)
    report, seed = Report(given.json), given.seed or f"{random.SystemRandom().getrandbits(32):08x}"
    report.note(f"seed {seed}")
    folder = given.folder or Path(tempfile.mkdtemp(prefix="crash-", dir=peers_folder()))  # the repository's disk, not a tmpfs
    try:
        if given.control is not None:
            return 1 if control(folder.resolve(), given.control, 8 if given.quick else 1, seed, report) else 0
        if given.images is not None:
            return 1 if power(given.images, seed, report, folder) else 0
        storage_kills = given.storage_kills if given.storage_kills is not None else (100 if given.quick else 1_000)
        wrong = storage(folder, storage_kills, random.Random(seed), report)
        wrong += server(folder.resolve(), given.kills or (8 if given.quick else 1_000), 8 if given.quick else 1, seed, report)
    finally:
        if given.folder is None:
            shutil.rmtree(folder)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
