"""Both ends of a worker's socket look for a moment before they sleep: who looks when, whom it keeps waiting, who pays."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inhabit.contracts.program import Boot, Delivery, Finished, IssuedCall, Turn, Usage
from inhabit.errors import LimitExceeded, WorkerLost
from inhabit.isolates import looking
from inhabit.isolates.looking import LOOKS_S, cores
from inhabit.isolates.pool.channel import Channel
from inhabit.isolates.pool.isolate import PooledIsolate
from inhabit.isolates.pool.watch import Watch
from inhabit.isolates.worker import Worker
from inhabit.limits import Limits
from inhabit.wire.frames import Kind, frame
from inhabit.wire.messages import encode_start
from inhabit.wire.replies import Ready, encode_turn
from tests.isolates.conftest import Ground

CALLS = 200
CHATTY = f"""
state = [0]
def turn(before):
    state[0] += 1
    if state[0] > {CALLS}:
        return Turn(issued_before=before, finished=Finished(True, b"1"))
    return Turn((IssuedCall(state[0], "shop.list", b"{{}}"),), issued_before=before)
def start():
    return turn(())
def deliver(deliveries):
    return turn((state[0],))
"""


async def test_the_loop_has_its_turn_at_every_answer(ground: Ground) -> None:
    turns = 0

    def another() -> None:
        nonlocal turns
        turns += 1
        loop.call_soon(another)

    loop = asyncio.get_running_loop()
    isolate = await ground.pool.acquire("typescript", "ada", Limits())
    turn = await isolate.start(Boot(CHATTY, ("shop",)))
    another()
    while turn.finished is None:
        turn = await isolate.deliver([Delivery("result", turn.calls[0].sequence, b"1", 0)])
    assert turns >= CALLS
    await isolate.close()


# -- who pays -------------------------------------------------------------------------------------------------


class Process:
    """A worker whose CPU time the test says."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.spent_ns = 0

    def cpu_ns(self) -> int:
        return self.spent_ns

    def computes(self) -> bool:
        return False

    def prefer(self, *, idle: bool) -> bool:
        return True

    def kill(self) -> None:
        pass


class Scene:
    """One isolate, the worker's end of its socket, and what its worker computes while nobody asks."""

    def __init__(self) -> None:
        ours, self.worker = socket.socketpair()
        self.worker.setblocking(False)
        self.loop = asyncio.get_running_loop()
        self.process = Process()
        self.watch = Watch(self.loop)
        self.channel = Channel(self.loop, ours, self.process, lambda _: None, self.watch)   # type: ignore[arg-type]
        self.isolate = PooledIsolate(1, self.channel, "typescript", Limits(), "", lambda _: None)

    async def answers(self, turn: Turn) -> None:
        await self.loop.sock_recv(self.worker, 1 << 20)
        await self.loop.sock_sendall(self.worker, frame(Kind.TURN, 1, encode_turn(turn)))

    async def waits(self, times: int, between_ns: int, cpu_ms: int) -> None:
        """A program that computes nothing waits for so many calls, and its worker spends so much at each."""
        boot = Boot("", (), limits=Limits(cpu_ms=cpu_ms))
        await asyncio.gather(self.isolate.start(boot), self.answers(Turn((IssuedCall(1, "a.b", b"{}"),))))
        for n in range(1, times + 1):
            self.process.spent_ns += between_ns
            turn = Turn((IssuedCall(n + 1, "a.b", b"{}"),), issued_before=(n,), usage=Usage(0.0, 0))
            await asyncio.gather(self.isolate.deliver([Delivery("result", n, b"1", 0)]), self.answers(turn))


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    scene = Scene()
    yield scene
    scene.watch.close()
    scene.channel.kill(WorkerLost("the test is over"))
    scene.worker.close()


async def test_what_a_worker_spends_on_looking_is_on_nobodys_account(scene: Scene) -> None:
    await scene.waits(100, int(LOOKS_S * 1e9), cpu_ms=2)


async def test_B01_a_worker_that_computes_while_nobody_asks_pays_for_it(scene: Scene) -> None:
    with pytest.raises(LimitExceeded, match="cpu_ms = 20"):
        await scene.waits(100, 1_000_000, cpu_ms=20)


# -- who looks ------------------------------------------------------------------------------------------------


class Host:
    """The host's end as a worker's socket: gives the requests one by one, each after so many looks in vain."""

    def __init__(self, looks: int, *requests: bytes) -> None:
        self._looks = self._left = looks
        self._requests = list(requests)
        self.looked = self.slept = 0

    def sendall(self, _data: bytes) -> None: ...

    def recv(self, _size: int, flags: int = 0) -> bytes:
        if flags & socket.MSG_DONTWAIT:
            self.looked += 1
            if self._left:
                self._left -= 1
                raise BlockingIOError
        else:
            self.slept += 1
        self._left = self._looks
        return self._requests.pop(0) if self._requests else b""


class Engine:
    def create(self, boot: Boot) -> Engine:
        del boot
        return self

    def start(self) -> Turn:
        return Turn(finished=Finished(True, b"1"))

    def close(self) -> None: ...


REQUESTS = [frame(Kind.START, n, encode_start("typescript", Boot("", ()))) for n in range(1, 5)]


def served(host: Host, looks_s: float) -> Host:
    Worker(host, {"typescript": Engine()}, looks_s=looks_s).serve(Ready({}, ()))   # type: ignore[arg-type, dict-item]
    return host


def test_a_worker_looks_after_a_short_wait() -> None:
    """The first wait is slept through; an hour of looking finds the rest, and the end."""
    host = served(Host(3, *REQUESTS), 3600)
    assert (host.slept, host.looked) == (1, 4 * (3 + 1))


def test_a_worker_sleeps_after_it_looked_in_vain() -> None:
    host = served(Host(1_000_000_000, *REQUESTS), 0.002)
    assert host.looked > 0
    assert host.slept == len(REQUESTS) + 1


def test_a_worker_that_is_not_to_look_sleeps() -> None:
    host = served(Host(0, *REQUESTS), 0.0)
    assert (host.looked, host.slept) == (0, len(REQUESTS) + 1)


async def test_the_host_looks_for_one_worker_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    async def alone(count: float, busy: int) -> bool:
        monkeypatch.setattr("inhabit.isolates.pool.watch.cores", lambda: count)
        watch = Watch(asyncio.get_running_loop())
        scenes = [Scene() for _ in range(busy)]
        for scene in scenes:
            watch.busy(scene.channel)
        answer = watch.alone
        watch.close()
        for scene in scenes:
            scene.channel.kill(WorkerLost("the test is over"))
            scene.worker.close()
        return answer

    assert await alone(2, 1)
    assert not await alone(2, 2)
    assert not await alone(1, 1)
    assert not await alone(0.5, 1)


# -- how many cores -------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no binding to cores here")
def test_a_process_bound_to_one_core_has_one() -> None:
    code = "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\nfrom inhabit.isolates.looking import cores\nprint(cores() <= 1)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "True"


@pytest.mark.parametrize(("limits", "granted"), [
    ({}, None), ({"a/b": "max 100000"}, None), ({"a/b": "50000 100000"}, 0.5), ({"a": "25000 100000", "a/b": "max 100000"}, 0.25),
    ({"": "150000 100000"}, 1.5), ({"a/b": "garbage"}, None),
])
def test_a_control_group_grants_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: dict[str, str], granted: float | None) -> None:
    (tmp_path / "fs/a/b").mkdir(parents=True)
    for group, text in limits.items():
        (tmp_path / "fs" / group / "cpu.max").write_text(text)
    (tmp_path / "own").write_text("1:cpu:/elsewhere\n0::/a/b\n")
    monkeypatch.setattr(looking, "_GROUPS", tmp_path / "fs")
    monkeypatch.setattr(looking, "_OWN", tmp_path / "own")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)), raising=False)
    assert cores() == (granted or 8)
