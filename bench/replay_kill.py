"""A process that hosts runtime, store and workers, killed by SIGKILL in the middle of generated programs.

A nursery process imports everything once and forks a host for each life, which takes the program up where the last one
was killed. It kills itself at the n-th append of its journal: what had not been waited for is lost with it.

    stdin of the nursery: one JSON line a life, `{"folder", "seed", "run", "dies_at"}`
    stdout: `D STATUS` when the host is dead: -9 killed, 0 the run has ended
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from bench.replay_programs import Generated, generate
from bench.replay_runs import Stage, on_stage, one_life
from bench.replay_world import MortalJournal, World
from bench.report import ROOT

__all__ = ["KillNursery"]

_LIVES = 20


class KillNursery:
    """Programs' lives in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process = subprocess.Popen([sys.executable, "-m", "bench.replay_kill"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)

    def __enter__(self) -> KillNursery:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()

    def run(self, program: Generated, appends: int, chance: random.Random, kills: int) -> int:
        """See the program to its end; how often its host was killed. Its journal is the only one in the folder."""
        for killed in range(_LIVES):
            dies_at = chance.randint(1, max(1, appends)) if killed < kills else None
            status = self._life({"folder": str(self._folder), "seed": program.seed, "dies_at": dies_at})
            if status == 0:
                return killed
            if status != -9:
                raise RuntimeError(f"the host of program {program.seed} ended with {status}")
        raise RuntimeError(f"program {program.seed} has no end after {_LIVES} lives")

    def _life(self, request: dict[str, Any]) -> int:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline().removeprefix(b"D "))


def _host(request: dict[str, Any]) -> None:
    program = generate(request["seed"])

    async def life(stage: Stage) -> None:
        begun = await stage.store.journal.list(tenant="default")
        journal = MortalJournal(stage.store.journal, stage.gate, dies_at=request["dies_at"], killed=True)
        world = World(program.seed, stage.gate, uninterrupted=False)
        await one_life(stage, world, journal, program, begun[0].run_id if begun else "")

    on_stage(Path(request["folder"]), life)


def _nursery() -> None:
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            try:
                os.dup2(2, 1)
                _host(json.loads(line))
                os._exit(0)
            finally:
                os._exit(1)
        _, status = os.waitpid(pid, 0)
        os.write(1, b"D %d\n" % os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    _nursery()
