"""Real servers to kill, without paying for imports each time: a process that has loaded everything forks them.

A forked child runs `inhabit serve` through the command line's own entry, from the first line of it: it opens the
home, settles what the last one left, starts its jailed workers, listens. Only the loading of modules was done before.

    stdin of the nursery: one JSON line a server, `{"arguments", "environment", "folder", "kill_at"}`
    stdout: `V PID`, then what the server prints, `S STEP` when it kills itself at a step, `D STATUS` when it is dead

`kill_at` ["append", NAME]: the server kills itself where a record of that name is about to be handed to the journal; ["commit",
NAME]: where a commit that holds it is about to be made; ["committed", NAME]: where it is made. Names are of the runs that begin in
that server: what the run is for, the kind of the record, the operation if it has one, and a number from the second one on
(`apply Outcome ledger.make`, `recheck 2 Header`). With `ALL_STEPS` it dies at none and says each once.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import inhabit.cli.serving
import inhabit.server.http  # noqa: F401 - loaded before the fork, like the command
from bench.crash_ledger import LEDGER_ENV
from bench.report import ROOT
from inhabit.cli import main
from inhabit.runtime.rechecking import RECHECK
from inhabit.runtime.rollback import RUNG
from inhabit.store import writer
from inhabit.store.journal import SqliteJournal

__all__ = ["ALL_STEPS", "Served", "ServerNursery", "Step"]

Step = tuple[str, str]
ALL_STEPS: Step = ("", "")
_WAIT_S = 180.0
_SLOW_DISK_S = 0.3
"""How long a commit is about to be made before the server dies: whatever is acknowledged without waiting for it is, meanwhile."""


@dataclass(frozen=True)
class Served:
    """A server that listens. `token` when it made one: that is at its first start."""

    pid: int
    url: str
    token: str | None


class ServerNursery:
    """One server at a time over one home. Raises `RuntimeError` when a server ends by itself."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None
        self._living = False
        self.steps: list[Step] = []
        self.pid = 0

    async def __aenter__(self) -> ServerNursery:
        log = await asyncio.to_thread((self._folder / "servers.log").open, "ab")
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.crash_nursery", cwd=ROOT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1"}, stderr=log)
        log.close()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None and self._process.stdin is not None
        if self._living:   # something went wrong: the nursery waits for its server
            os.kill(self.pid, signal.SIGKILL)
        self._process.stdin.close()
        await self._process.wait()

    async def fork(self, *, kill_at: Step | None = None) -> int:
        """A new server, not yet listening; its pid."""
        assert self._process is not None and self._process.stdin is not None
        arguments = ["serve", "--port", "0", "--as", "ada", "--config", str(self._folder / "inhabit.toml")]
        environment = {LEDGER_ENV: str(self._folder / "ledger.db")}
        request = {"arguments": arguments, "environment": environment, "folder": str(self._folder), "kill_at": kill_at}
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self.pid = int((await self._line()).removeprefix("V "))
        self._living = True
        return self.pid

    async def listening(self) -> Served:
        """Once the server that was forked has said where it is."""
        url = ""
        while True:
            line = await self._line()
            if line.startswith("D "):
                log = (self._folder / "servers.log").read_text(errors="replace")[-800:]
                raise RuntimeError(f"the server ended by itself with {line[2:]}: {log}")
            if found := re.search(r"MCP +(http://\S+)/mcp", line):
                url = found[1]
            if line.startswith("token"):
                token = re.search(r"inh_[0-9a-f]{64}", line)
                return Served(self.pid, url, token[0] if token else None)

    async def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)   # unreaped until the nursery waits for it: the number is still its own
        await self.dead()

    async def dead(self) -> None:
        """Once the server is no more. Raises `RuntimeError` when it was not killed."""
        while not (line := await self._line()).startswith("D "):
            if line.startswith("S "):
                kind, _, name = line[2:].partition(" ")
                self.steps.append((kind, name))
        if line != f"D {-signal.SIGKILL}":
            raise RuntimeError(f"the server ended by itself with {line[2:]}")

    async def _line(self) -> str:
        assert self._process is not None and self._process.stdout is not None
        async with asyncio.timeout(_WAIT_S):
            line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError("the nursery is gone")
        if line.startswith(b"D "):
            self._living = False
        return line.decode().rstrip("\n")


class _Steps:
    """Names the steps of recording runs and ends this process at one of them."""

    def __init__(self, kind: str, name: str) -> None:
        self._at = kind, name
        self._said: set[Step] = set()
        self._counts: Counter[str] = Counter()
        self._names: dict[str, list[str]] = {}
        self._operations: dict[tuple[str, int], str] = {}

    def arm(self) -> None:
        """Wrap the journal of this process; it is a fork that will be killed."""
        begin, append, write_batch = SqliteJournal.begin, SqliteJournal.append, writer.write_batch

        def counted_begin(journal: SqliteJournal, header: Any, **more: Any) -> Any:
            self._names[header.run_id] = [f"{self._numbered(_role(header))} Header"]
            self._step("append", self._names[header.run_id])
            return begin(journal, header, **more)

        def counted_append(journal: SqliteJournal, run_id: str, *entries: Any, **more: Any) -> Any:
            if (names := self._names.get(run_id)) is not None:
                new = [self._numbered(f"{names[0].removesuffix(' Header')} {self._named(run_id, entry)}") for entry in entries]
                names += new   # before it is appended: the writer may have it at once
                self._step("append", new)
            return append(journal, run_id, *entries, **more)

        def counted_write(connection: Any, batch: Any, *more: Any) -> None:
            held = [*((run.run_id, 0) for run, *_ in batch.begun), *((row.run.run_id, row.number) for row in batch.rows)]
            names = [self._names[run_id][number] for run_id, number in held if run_id in self._names]
            self._step("commit", names)
            write_batch(connection, batch, *more)
            self._step("committed", names)

        _replace(SqliteJournal, "begin", counted_begin)
        _replace(SqliteJournal, "append", counted_append)
        _replace(writer, "write_batch", counted_write)

    def _named(self, run_id: str, entry: Any) -> str:
        """The kind of a record and the operation of its call."""
        sequence = getattr(entry, "sequence", getattr(entry, "id", -1))
        if operation := getattr(entry, "operation", ""):
            self._operations[run_id, sequence] = operation
        return f"{type(entry).__name__} {self._operations.get((run_id, sequence), '')}".rstrip()

    def _numbered(self, name: str) -> str:
        self._counts[name] += 1
        return name if self._counts[name] == 1 else f"{name} {self._counts[name]}"

    def _step(self, kind: str, names: list[str]) -> None:
        for name in names:
            if self._at not in (ALL_STEPS, (kind, name)) or (kind, name) in self._said:
                continue
            self._said.add((kind, name))
            _say(f"S {kind} {name}")
            if self._at != ALL_STEPS:
                time.sleep(_SLOW_DISK_S if kind == "commit" else 0.0)
                os.kill(os.getpid(), signal.SIGKILL)


def _role(header: Any) -> str:
    """What a run is for: it is named in the steps of recording it."""
    if header.rung == RUNG:
        return "recheck" if header.engine == RECHECK else "rollback"
    return "run" if header.mode == "live" else header.mode


def _replace(owner: Any, name: str, what: Callable[..., Any]) -> None:
    setattr(owner, name, what)


def _say(text: str) -> None:
    os.write(1, text.encode() + b"\n")


def _serve(request: Mapping[str, Any]) -> int:
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    if request["kill_at"]:
        _Steps(*request["kill_at"]).arm()
    return main(request["arguments"])


def _nursery(lines: Sequence[str] | Any) -> None:
    if len(os.listdir("/proc/self/task")) != 1:
        raise RuntimeError("a process with threads must not fork servers")
    for line in lines:
        pid = os.fork()
        if pid == 0:
            try:
                _say(f"V {os.getpid()}")
                os._exit(_serve(json.loads(line)))
            finally:
                os._exit(1)
        _, status = os.waitpid(pid, 0)
        _say(f"D {os.waitstatus_to_exitcode(status)}")


if __name__ == "__main__":
    _nursery(iter(sys.stdin.readline, ""))
