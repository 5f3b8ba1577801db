"""How close the journal comes to the disk: durable appends beside this disk's own fdatasync, on the same disk, in turns.

    journal.fsync_ratio        durable appends per second of 64 runs, each waiting for its own, / fdatasync per second;
                               the peer is one SQLite commit (WAL, FULL) per append, in the same unit
    journal.commit_ratio       commits per second under that load / fdatasync per second (1.0 = nothing but fsync)
    journal.alone_ratio        the same with a single run: one commit per append through all our layers
    journal.fdatasync_per_s    4 KiB overwritten and fdatasync, one after the other
    journal.append.p50_us      what an append costs its caller, encoding included, nobody waiting
    journal.durable.p50_ms     append until acknowledged, 64 runs at once
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.report import Report, options, peers_folder, percentile
from inhabit.contracts.clock import now_ms
from inhabit.contracts.principal import Principal
from inhabit.contracts.run import Intent, Outcome, RunHeader
from inhabit.store.ids import new_run_id
from inhabit.store.store import Store

RUNS = 64
PEER = "SQLite commit per append"
_ARGUMENTS = b'{"order_id":"o-18273","reason":"asked by the customer","lines":[1,2,3,4]}'
_RESULT = b'{"id":"o-18273","state":"cancelled","total":12900,"note":"' + b"n" * 120 + b'"}'
_DECISION = {"effect": "allow", "rule": "default", "clause": "shop.**", "reason": "granted"}


def header() -> RunHeader:
    return RunHeader(new_run_id(now_ms()), Principal("ada"), "javascript", "h", "return 1", "return 1",
                     b"null", "bench/1", 1, 1)


def intent(sequence: int) -> Intent:
    return Intent(sequence, "shop.orders.cancel", _ARGUMENTS, _DECISION, "0123456789abcdef", f"key-{sequence}", True, False,
                  1_790_000_000_000)


def fdatasync_per_s(folder: Path, seconds: float) -> float:
    """This disk's own rate: one page overwritten and synced at a time."""
    descriptor = os.open(folder / "probe", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.pwrite(descriptor, bytes(4096 * 256), 0)
        os.fsync(descriptor)
        done, began = 0, time.perf_counter()
        while (spent := time.perf_counter() - began) < seconds:
            os.pwrite(descriptor, b"x" * 4096, done % 256 * 4096)
            os.fdatasync(descriptor)
            done += 1
        return done / spent
    finally:
        os.close(descriptor)


def naive_per_s(folder: Path, seconds: float) -> float:
    """The peer: the same record, one transaction each."""
    connection = sqlite3.connect(folder / "naive.db", isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE IF NOT EXISTS entries (run INTEGER, number INTEGER, body BLOB)")
        done, began = 0, time.perf_counter()
        while (spent := time.perf_counter() - began) < seconds:
            connection.execute("INSERT INTO entries VALUES (?, ?, ?)", (done % RUNS, done, _ARGUMENTS + _RESULT))
            done += 1
        return done / spent
    finally:
        connection.close()


async def journal_per_s(store: Store, runs: int, seconds: float) -> tuple[float, float, list[float]]:
    """Durable appends and commits per second, and how long each append waited, in ms."""
    heads = [header() for _ in range(runs)]
    await asyncio.gather(*(store.journal.begin(head).durable() for head in heads))
    waits: list[float] = []
    commits, began = store.database.writer.commits, time.perf_counter()

    async def one(run_id: str) -> None:
        sequence = 0
        while time.perf_counter() - began < seconds:
            sequence += 1
            asked = time.perf_counter()
            await store.journal.append(run_id, intent(sequence)).durable()
            waits.append((time.perf_counter() - asked) * 1e3)

    await asyncio.gather(*(one(head.run_id) for head in heads))
    spent = time.perf_counter() - began
    return len(waits) / spent, (store.database.writer.commits - commits) / spent, waits


async def append_us(store: Store, count: int) -> list[float]:
    """What the caller pays, in µs; pauses let the writer keep up, as waiting for calls does."""
    head, costs = header(), list[float]()
    await store.journal.begin(head).durable()
    for sequence in range(1, count + 1):
        entry = intent(sequence) if sequence % 2 else Outcome(sequence - 1, True, _RESULT, 1.25, 1_790_000_000_000)
        began = time.perf_counter()
        store.journal.append(head.run_id, entry)
        costs.append((time.perf_counter() - began) * 1e6)
        if sequence % 20 == 0:
            await asyncio.sleep(0.001)
    return costs


async def measure(folder: Path, quick: bool, report: Report) -> None:
    rounds, seconds = (3, 0.6) if quick else (8, 1.5)
    store = Store.open(folder / "journal.db")
    disk, naive, loaded, commits, alone, waits = ([], [], [], [], [], [])
    for _ in range(rounds):  # in turns, so that a busy machine is busy for all of them
        disk.append(fdatasync_per_s(folder, seconds))
        naive.append(naive_per_s(folder, seconds))
        rate, committed, waited = await journal_per_s(store, RUNS, seconds)
        loaded.append(rate)
        commits.append(committed)
        waits += waited
        alone.append((await journal_per_s(store, 1, seconds))[0])
    costs = await append_us(store, 2_000 if quick else 10_000)
    findings = await store.check()
    await store.close()
    if findings:
        raise RuntimeError(f"the journal is not sound after the load: {findings[0]}")
    fsync = statistics.median(disk)
    report.figure("journal.fsync_ratio", statistics.median(loaded) / fsync, "appends per fdatasync", peer=PEER,
                  peer_value=statistics.median(naive) / fsync)
    report.figure("journal.commit_ratio", statistics.median(commits) / fsync, "commits per fdatasync")
    report.figure("journal.alone_ratio", statistics.median(alone) / fsync, "commits per fdatasync", peer=PEER,
                  peer_value=statistics.median(naive) / fsync)
    report.figure("journal.fdatasync_per_s", fsync, "1/s")
    report.figure("journal.appends_per_s", statistics.median(loaded), "1/s", peer=PEER,
                  peer_value=statistics.median(naive))
    report.figure("journal.append.p50_us", percentile(costs, 0.5), "us")
    report.figure("journal.append.p99_us", percentile(costs, 0.99), "us")
    report.figure("journal.durable.p50_ms", percentile(waits, 0.5), "ms")
    report.figure("journal.durable.p99_ms", percentile(waits, 0.99), "ms")


def main(arguments: Sequence[str] | None = None) -> int:
    given = options(__doc__ or "", arguments)
    folder = Path(tempfile.mkdtemp(prefix="journal-", dir=peers_folder()))  # the repository's disk, not a tmpfs
    try:
        asyncio.run(measure(folder, given.quick, Report(given.json)))
    finally:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
