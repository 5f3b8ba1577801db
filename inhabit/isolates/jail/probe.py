"""Which layers a worker would get on this machine: a process goes in, reports, and ends. No engine, no pool."""

from __future__ import annotations

import os
import subprocess
import sys

import orjson

from inhabit.errors import Unavailable
from inhabit.isolates.jail.enter import Entrance, Jail
from inhabit.isolates.jail.policy import JailPolicy, Layer

__all__ = ["probe"]

_BOOT = "import sys; sys.path[:] = {path!r}; from inhabit.isolates.jail.probe import main; main()"
_PROBE_S = 30


def probe() -> tuple[Layer, ...]:
    """Every layer, active or with the fix. Raises `Unavailable` when not even a process can be started.

    The kill timer is the pool's own and needs nothing of the system, so it is not in the list.
    """
    path = [os.path.abspath(each) for each in sys.path]
    try:
        done = subprocess.run([sys.executable, "-I", "-c", _BOOT.format(path=path)], env={}, cwd="/", stdin=subprocess.DEVNULL,
                              capture_output=True, timeout=_PROBE_S, check=True)
        return tuple(Layer(*row) for row in orjson.loads(done.stdout))
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise Unavailable(f"the jail cannot be tried here: {error}", fix="run the probe by hand: python -m inhabit doctor") from None


def main() -> None:
    """Entry of the process that forks the one that goes in."""
    jail = Jail(JailPolicy(require="warn"))
    read, write = os.pipe()

    def report(entrance: Entrance) -> None:
        layers = jail.confine(entrance)
        os.write(write, orjson.dumps([[layer.name, layer.active, layer.detail, layer.fix] for layer in layers]))

    pid = jail.fork(frozenset({write}), report)
    os.close(write)
    with os.fdopen(read, "rb") as reports:
        sys.stdout.buffer.write(reports.read())
    os.waitpid(pid, 0)
