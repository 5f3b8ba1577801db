"""Kill the writer, and kill the whole server, at random moments under load; then look for what is missing.

    crash.kills, crash.lost            `inhabit serve` under HTTP load: SIGKILLs; answers that are not true afterwards
    crash.repeated                     writes that must not be repeated and were
    crash.dishonest                    runs without an honest end after the restart, or whose end the ledger contradicts
    crash.storage.kills, .lost         the journal alone in a small process: acknowledged records that are not there
    crash.storage.acknowledged         how many there were

`--kills N` and `--storage-kills N` choose the numbers (default 1,000 and 1,000; `--quick`: 8 and 100).
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

from bench.crash_server import ServerCrashes
from bench.crash_storage import Acknowledged, Nursery, lost_records
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


def server(folder: Path, kills: int, chance: random.Random, report: Report) -> int:
    """Kill the whole server; returns how much was lost, repeated or dishonest."""
    found = asyncio.run(ServerCrashes(folder, chance).run(kills))
    for line in (*found.lost, *found.repeated, *found.dishonest)[:20]:
        report.note(line)
    report.note(f"{found.runs} runs, {found.told} answered; their ends: "
                + ", ".join(f"{count} {state}" for state, count in found.states.most_common()))
    report.figure("crash.kills", found.kills, "SIGKILL")
    report.figure("crash.lost", len(found.lost), "answers and records")
    report.figure("crash.repeated", len(found.repeated), "writes")
    report.figure("crash.dishonest", len(found.dishonest), "runs")
    return len(found.lost) + len(found.repeated) + len(found.dishonest)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--kills", type=int)
    parser.add_argument("--storage-kills", type=int)
    given = parser.parse_args(arguments)
    report, chance = Report(given.json), random.Random()
    folder = Path(tempfile.mkdtemp(prefix="crash-", dir=peers_folder()))  # the repository's disk, not a tmpfs
    try:
        wrong = storage(folder, given.storage_kills or (100 if given.quick else 1_000), chance, report)
        wrong += server(folder, given.kills or (8 if given.quick else 1_000), chance, report)
    finally:
        shutil.rmtree(folder)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
