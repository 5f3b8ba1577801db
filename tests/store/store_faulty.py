"""Workloads on a disk that fails or is recorded; run in a process that has `disk_faults.c` preloaded.

    python -m tests.store.store_faulty fail              lines `NTH ERRNO STICKY PATH` on stdin, one JSON line each
    python -m tests.store.store_faulty control           the same for what is kept beside a run's entries
    python -m tests.store.store_faulty record LOG PATH   journal until done; the run ids as one JSON line
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import sys
from pathlib import Path
from typing import Any

from bench.crash_power import Ack
from inhabit.contracts.clock import now_ms
from inhabit.contracts.connector import Secret
from inhabit.contracts.principal import Principal
from inhabit.contracts.run import Asked, Decided
from inhabit.errors import Unavailable
from inhabit.kernel.decide import Charge
from inhabit.store.sealed import SealedSecrets
from inhabit.store.store import Store
from tests.store.store_samples import END, header, intent, outcome

RECORDED_RUNS, RECORDED_ENTRIES = 6, 120


async def eager(path: Path, pages: int) -> Store:
    """A store that folds its log into the file every `pages` pages, so that a short load writes both."""
    store = Store.open(path)
    await store.database.writer.perform(lambda c: c.execute(f"PRAGMA wal_autocheckpoint = {pages}") and None)
    return store


async def failing(nth: int, error: int, sticky: int, path: Path) -> dict[str, object]:
    """Fail the `nth` change of the disk; what was said of it. Acknowledgements go to the file `acks` beside `path`."""
    faults, store = ctypes.CDLL(None), await eager(path, 8)
    acks = os.open(path.with_name("acks"), os.O_WRONLY | os.O_CREAT, 0o600)
    said: list[str] = []
    faults.faults_arm(ctypes.c_long(nth), error, sticky)
    for number in range(3):
        head = header(number)
        try:
            store.journal.begin(head)
            for entries in ([intent(1)], [outcome(1, b"v" * (10 if number % 2 else 9_000)), END]):
                await store.journal.append(head.run_id, *entries).durable()
                os.write(acks, f"{head.run_id} {len(entries)}\n".encode())
        except Unavailable as failure:
            said.append(failure.specific_code)
    reached = faults.faults_hits()
    faults.faults_arm(ctypes.c_long(0), 0, 0)
    await store.close()
    return {"said": said, "reached": reached}


async def recorded(log: Path, path: Path) -> list[str]:
    """Journal while every change of the disk goes to `log`, with a note for each acknowledgement."""
    faults, descriptor = ctypes.CDLL(None), os.open(log, os.O_WRONLY | os.O_CREAT, 0o600)
    faults.faults_record(descriptor)
    store = await eager(path, 40)

    async def one(number: int) -> str:
        head = header(number)
        store.journal.begin(head)
        for sequence in range(1, RECORDED_ENTRIES + 1):
            await store.journal.append(head.run_id, intent(sequence, b"a" * 1_500)).durable()
            faults.faults_note(ctypes.c_uint64(number << 32 | sequence))
        return head.run_id

    runs = await asyncio.gather(*(one(number) for number in range(RECORDED_RUNS)))
    faults.faults_record(-1)
    await store.close()
    return runs


async def controlled(nth: int, error: int, sticky: int, path: Path) -> dict[str, object]:
    """Fail the `nth` change while questions, answers, charges, labels, tokens and secrets are kept. When the disk works again,
    what was refused is done once more.
    """
    faults, store = ctypes.CDLL(None), await eager(path, 8)
    sealed, ledger = SealedSecrets(path.with_name("secrets.sealed"), path.with_name("secrets.key")), store.ledger(now_ms())
    acks: list[Ack] = []
    said: list[str] = []
    faults.faults_arm(ctypes.c_long(nth), error, sticky)
    for step in range(6):
        refused = await attempted(store, sealed, ledger, step, acks)
        said += refused
    reached = faults.faults_hits()
    faults.faults_arm(ctypes.c_long(0), 0, 0)
    again = bool(said) and store.journal.failure is not None and store.journal.failure.specific_code == "journal_full"
    if again:
        async with asyncio.timeout(20):
            while store.journal.failure is not None:
                await asyncio.sleep(0.05)
        said += [f"again: {code}" for code in await attempted(store, sealed, ledger, 9, acks)]
    ledger.close()
    await store.close()
    return {"said": said, "reached": reached, "acks": acks}


async def attempted(store: Store, sealed: SealedSecrets, ledger: Any, step: int, acks: list[Ack]) -> list[str]:
    """One of each; what was refused. Each is acknowledged for itself."""
    head, who = header(step), Principal("ada")

    async def run() -> list[Ack]:
        store.journal.begin(head)
        writes = ledger.of("default").reserve([Charge("1:refunds", 1, 86_400_000)], head.run_id)
        asked = Asked(f"{head.run_id}.1", 1, "shop.pay", "d", "rule", "why", 1, 2)
        await store.journal.append(head.run_id, intent(1, b"v" * 5_000), asked, also=writes).durable()
        decided = Decided(asked.approval, 1, "approve", "boss", "token", "", 1)
        await store.journal.append(head.run_id, decided).durable()
        return [Ack("asked", head.run_id, 1), Ack("decided", head.run_id, 1, "approve"), Ack("entry", head.run_id, 3)]

    async def label() -> list[Ack]:
        await store.conversations.join(who, "chat", head.run_id, [("private", "inbox")], 1)
        return [Ack("label", "chat", text="inbox")]

    async def token() -> list[Ack]:
        made, _ = await store.tokens.create(who, {}, now_ms=now_ms())
        return [Ack("token", text=made)]

    async def secret() -> list[Ack]:
        await asyncio.to_thread(sealed.put, "ONE", Secret(str(step)))
        return [Ack("secret", "ONE", step)]

    refused: list[str] = []
    for kept in (run, label, token, secret):
        try:
            acks += await kept()
        except Unavailable as failure:
            refused.append(failure.specific_code)
    return refused


def nursery(work: Any) -> None:
    """Fork for each case: imports are paid once, and a case that dies is told from one that fails."""
    for line in sys.stdin:
        nth, error, sticky, path = line.split()
        pid = os.fork()
        if pid == 0:
            result = asyncio.run(work(int(nth), int(error), int(sticky), Path(path)))
            os.write(1, json.dumps(result).encode() + b"\n")
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        if status:
            os.write(1, json.dumps({"died": status}).encode() + b"\n")


if __name__ == "__main__":
    if sys.argv[1] in ("fail", "control"):
        nursery(failing if sys.argv[1] == "fail" else controlled)
    else:
        print(json.dumps(asyncio.run(recorded(Path(sys.argv[2]), Path(sys.argv[3])))))  # noqa: T201
