"""A process that journals under load and is killed: the storage half of `bench.crash`.

A nursery process imports everything once and forks a victim for each round, so that a round costs milliseconds. A
victim opens the store as a server does (settling what the last one left), then drives runs through it and writes
one line to the pipe for each acknowledgement AFTER `durable()` returned:

    V PID              the victim lives        A RUN NUMBER   entry acknowledged      E RUN   end acknowledged
    D STATUS           it is dead (from the nursery; everything of the victim lies before it in the pipe)
"""

from __future__ import annotations

import asyncio
import os
import random
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from inhabit.contracts.clock import now_ms
from inhabit.contracts.principal import Principal
from inhabit.contracts.run import Intent, Outcome, Resumed, RunHeader, Terminal
from inhabit.store.ids import new_run_id
from inhabit.store.store import Store

__all__ = ["Acknowledged", "Nursery", "lost_records"]

RUNS_AT_ONCE = 8
_ROUND_TIMEOUT_S = 30.0


@dataclass
class Acknowledged:
    """What victims were told is on disk: run → highest entry number, and the runs that were ended."""

    entries: dict[str, int] = field(default_factory=dict[str, int])
    ended: set[str] = field(default_factory=set[str])

    def read(self, line: str) -> None:
        match line.split():
            case ["A", run_id, number]:
                self.entries[run_id] = max(self.entries.get(run_id, 0), int(number))
            case ["E", run_id]:
                self.ended.add(run_id)
            case _:
                raise ValueError(f"a victim said {line!r}")


class Nursery:
    """Forks victims that journal into one database, and kills each after a while."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._process = subprocess.Popen([sys.executable, "-m", "bench.crash_storage"], stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, cwd=Path(__file__).parents[1])
        self._rest = b""

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(_ROUND_TIMEOUT_S)
        self._process.stdout.close()

    def kill_one(self, after_s: float, told: Acknowledged) -> int:
        """One victim, killed `after_s` after it was forked; its acknowledgements go into `told`.

        Returns how it ended: `-9` killed. Raises `RuntimeError` if the victim ended by itself.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(f"{self._path}\n".encode())
        self._process.stdin.flush()
        pid = int(self._line(time.monotonic() + _ROUND_TIMEOUT_S).removeprefix("V "))
        kill_at = time.monotonic() + after_s
        killed = False
        while True:
            line = self._line(time.monotonic() + _ROUND_TIMEOUT_S if killed else kill_at)
            if line == "" and not killed:
                os.kill(pid, signal.SIGKILL)
                killed = True
            elif line.startswith("D "):
                status = int(line[2:])
                if not killed:
                    raise RuntimeError(f"the victim ended by itself with status {status}")
                return status
            elif line:
                told.read(line)
            else:
                raise RuntimeError("the nursery does not answer")

    def _line(self, deadline: float) -> str:
        """The next line, or "" at the deadline."""
        assert self._process.stdout is not None
        while b"\n" not in self._rest:
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                return ""
            self._rest += os.read(self._process.stdout.fileno(), 65536)
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()


async def lost_records(path: Path, told: Acknowledged) -> list[str]:
    """Open the database as the next server does; what was acknowledged and is not there, or is not sound."""
    store = Store.open(path)
    try:
        problems = list(await store.check())
        for run_id, number in told.entries.items():
            record = await store.journal.read(run_id, tenant="default")
            if len(record.entries) < number:
                problems.append(f"run {run_id}: entry {number} was acknowledged, {len(record.entries)} are there")
            if run_id in told.ended and record.state != "completed":
                problems.append(f"run {run_id}: its end was acknowledged, it is {record.state}")
        return problems
    finally:
        await store.close()


async def _victim(path: Path) -> None:
    store = Store.open(path)
    async for record in store.journal.unfinished():
        store.journal.append(record.header.run_id, Resumed(1, "start"), Terminal("unknown", b"null", 2))
    chance = random.Random()
    while True:
        await asyncio.gather(*(_one_run(store, chance) for _ in range(RUNS_AT_ONCE)))


async def _one_run(store: Store, chance: random.Random) -> None:
    run_id = new_run_id(now_ms())
    store.journal.begin(RunHeader(run_id, Principal("ada"), "javascript", "h", "return 1", "return 1", b"null", "e", 1, 1))
    number = 0
    for sequence in range(1, chance.randint(2, 8)):
        value = b"%d" % sequence * chance.choice((1, 40, 6_000))
        ticket = store.journal.append(
            run_id, Intent(sequence, "a.b", b"{}", {}, "", "", True, False, 1), Outcome(sequence, True, value, 1.0, 1))
        number += 2
        if chance.random() < 0.7:
            await ticket.durable()
            _say(f"A {run_id} {number}")
    await store.journal.append(run_id, Terminal("completed", b"null", 3)).durable()
    _say(f"A {run_id} {number + 1}\nE {run_id}")


def _say(text: str) -> None:
    os.write(1, text.encode() + b"\n")  # one write: a line is whole or not there


def _nursery() -> None:
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _say(f"V {os.getpid()}")
            try:
                asyncio.run(_victim(Path(line.rstrip("\n"))))
            finally:
                os._exit(1)
        _, status = os.waitpid(pid, 0)
        _say(f"D {os.waitstatus_to_exitcode(status)}")


if __name__ == "__main__":
    _nursery()
