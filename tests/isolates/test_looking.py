"""Both ends of a worker's socket look for a moment before they sleep: who looks when, whom it keeps waiting, who pays."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inhabit.contracts.program import Boot, Delivery, Finished, IssuedCall, Timer, Turn, Usage
from inhabit.errors import LimitExceeded, Unavailable, WorkerLost
from inhabit.isolates import looking
from inhabit.isolates.looking import AWAY_S, LOOKS_S, Patience, cores
from inhabit.isolates.pool import WorkerPool
from inhabit.isolates.pool.channel import Channel
from inhabit.isolates.pool.control import Settings
from inhabit.isolates.pool.isolate import PooledIsolate
from inhabit.isolates.pool.nursery import Nursery
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


class Ears(socket.socket):
    """The host's end of a socket: counts how often it is read."""

    looks = 0

    def recv(self, *given: int) -> bytes:
        self.looks += 1
        return super().recv(*given)


class Scene:
    """One isolate, the worker's end of its socket, and what its worker computes while nobody asks."""

    def __init__(self) -> None:
        pair, self.worker = socket.socketpair()
        self.ears = ours = Ears(fileno=pair.detach())
        self.worker.setblocking(False)
        self.loop = asyncio.get_running_loop()
        self.process = Process()
        self.watch = Watch(self.loop)
        self.channel = Channel(self.loop, ours, self.process, lambda _: None, self.watch)   # type: ignore[arg-type]
        self.isolate = PooledIsolate(1, self.channel, "typescript", Limits(), "", lambda _: None)

    async def ends(self) -> None:
        self.watch.close()
        self.channel.kill(WorkerLost("the test is over"))
        self.worker.close()
        await asyncio.sleep(0)

    async def answers(self, turn: Turn, spent_ns: int = 0) -> None:
        await self.loop.sock_recv(self.worker, 1 << 20)
        self.process.spent_ns += spent_ns
        await self.loop.sock_sendall(self.worker, frame(Kind.TURN, 1, encode_turn(turn)))

    async def waits_for_timers(self, times: int, between_ns: int, cpu_ms: int) -> None:
        boot = Boot("", (), limits=Limits(cpu_ms=cpu_ms))
        await asyncio.gather(self.isolate.start(boot), self.answers(Turn(timer=Timer(0, 0))))
        for n in range(times):
            self.process.spent_ns += between_ns
            turn = Turn(issued_before=(0,), timer=Timer(n + 1, 0), usage=Usage(0.0, 0))
            await asyncio.gather(self.isolate.deliver([Delivery("timer", n, b"null", 0)]), self.answers(turn))

    async def asks(self) -> asyncio.Future[Turn]:
        """A guest is delivered a result, and does not answer."""
        await self.waits(2, 0, 1_000)
        asked = asyncio.ensure_future(self.isolate.deliver([Delivery("result", 3, b"1", 0)]))
        await asyncio.sleep(0)
        return asked

    async def looks(self, turns: int) -> int:
        """How often the host looks in so many turns of its loop."""
        before = self.ears.looks
        for _ in range(turns):
            await asyncio.sleep(0)
        return self.ears.looks - before

    async def waits(self, times: int, between_ns: int, cpu_ms: int, answer_ns: int = 0) -> None:
        """A program that computes nothing waits for so many calls, and its worker spends so much before each and in each."""
        boot = Boot("", (), limits=Limits(cpu_ms=cpu_ms))
        await asyncio.gather(self.isolate.start(boot), self.answers(Turn((IssuedCall(1, "a.b", b"{}"),))))
        for n in range(1, times + 1):
            self.process.spent_ns += between_ns
            turn = Turn((IssuedCall(n + 1, "a.b", b"{}"),), issued_before=(n,), usage=Usage(0.0, 0))
            await asyncio.gather(self.isolate.deliver([Delivery("result", n, b"1", 0)]), self.answers(turn, answer_ns))


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    scene = Scene()
    yield scene
    await scene.ends()


async def test_what_a_worker_spends_on_looking_is_on_nobodys_account(scene: Scene) -> None:
    await scene.waits(1_000, int(LOOKS_S * 1e9), cpu_ms=2)


async def test_what_it_spends_on_looking_before_its_answer_is_read_is_not_either(scene: Scene) -> None:
    await scene.waits(1_000, 0, cpu_ms=2, answer_ns=int(LOOKS_S * 1e9))


async def test_B01_what_a_guest_says_of_itself_makes_it_no_cheaper(scene: Scene) -> None:
    """It says that it computes nothing, and takes a millisecond a turn."""
    with pytest.raises(LimitExceeded, match="cpu_ms = 20"):
        await scene.waits(200, 0, cpu_ms=20, answer_ns=1_000_000)


async def test_B01_a_worker_that_computes_while_nobody_asks_pays_for_it(scene: Scene) -> None:
    with pytest.raises(LimitExceeded, match="cpu_ms = 20"):
        await scene.waits(500, 1_000_000, cpu_ms=20)


async def test_B01_what_is_forgiven_of_timers_is_bounded(scene: Scene) -> None:
    """They are not counted as calls are: each would give a worker that was taken over a moment for nothing."""
    with pytest.raises(LimitExceeded, match="cpu_ms = 20"):
        await scene.waits_for_timers(1_000, int(LOOKS_S * 1e9), cpu_ms=20)


# -- who looks ------------------------------------------------------------------------------------------------


class Host:
    """The host's end as a worker's socket: gives the requests one by one, each after so many looks in vain."""

    def __init__(self, looks: int, *requests: bytes) -> None:
        self._looks = self._left = looks
        self._requests = list(requests)
        self.looked = self.slept = 0
        self.away_s = 0.0   # at every look

    def sendall(self, _data: bytes) -> None: ...

    def recv(self, _size: int, flags: int = 0) -> bytes:
        if flags & socket.MSG_DONTWAIT:
            self.looked += 1
            time.sleep(self.away_s)
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


def test_a_worker_looks_after_a_short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first wait is slept through; an hour of looking finds the rest, and the end."""
    monkeypatch.setattr("inhabit.isolates.worker.AWAY_S", 3600)
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
            await scene.ends()
        return answer

    assert await alone(2, 1)
    assert not await alone(2, 2)
    assert not await alone(1, 1)
    assert not await alone(0.5, 1)
    assert not await alone(1.5, 1)   # two that look use up a second's grant before it is over


@pytest.fixture
def ever(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look takes an hour, on any machine: a test says when it ends."""
    monkeypatch.setattr(scene.watch, "_cores", 2.0)
    monkeypatch.setattr("inhabit.isolates.pool.channel.LOOKS_S", 3600)
    monkeypatch.setattr("inhabit.isolates.pool.channel.AWAY_S", 3600)


@pytest.mark.usefixtures("ever")
async def test_the_host_looks_once_a_turn_of_its_loop(scene: Scene) -> None:
    asked = await scene.asks()
    assert await scene.looks(50) == 50
    asked.cancel()


@pytest.mark.usefixtures("ever")
async def test_the_host_does_not_look_while_another_worker_is_busy(scene: Scene) -> None:
    other = Scene()
    scene.watch.busy(other.channel)
    asked = await scene.asks()
    assert await scene.looks(50) == 0
    asked.cancel()
    await other.ends()


@pytest.mark.usefixtures("ever")
async def test_the_host_does_not_look_after_a_slow_answer_nor_for_a_start(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    starts = asyncio.ensure_future(scene.isolate.start(Boot("", ())))
    await asyncio.sleep(0)
    assert await scene.looks(50) == 0
    monkeypatch.setattr("inhabit.isolates.pool.channel.LOOKS_S", 0.0)   # as slow as any
    await asyncio.gather(starts, scene.answers(Turn((IssuedCall(1, "a.b", b"{}"),))))
    asked = asyncio.ensure_future(scene.isolate.deliver([Delivery("result", 1, b"1", 0)]))
    await asyncio.sleep(0)
    assert await scene.looks(50) == 0
    asked.cancel()


@pytest.mark.usefixtures("ever")
async def test_guests_of_one_worker_are_looked_for_together(scene: Scene) -> None:
    others = [PooledIsolate(n, scene.channel, "typescript", Limits(), "", lambda _: None) for n in range(2, 12)]
    for isolate in others:
        answer = frame(Kind.TURN, isolate.id, encode_turn(Turn((IssuedCall(1, "a.b", b"{}"),))))
        await asyncio.gather(isolate.start(Boot("", ())), scene.loop.sock_sendall(scene.worker, answer))
    scene.worker.recv(1 << 20)
    asked = [await scene.asks()]
    asked += [asyncio.ensure_future(isolate.deliver([Delivery("result", 1, b"1", 0)])) for isolate in others]
    await asyncio.sleep(0)
    assert await scene.looks(50) == 50
    for each in asked:
        each.cancel()


@pytest.mark.usefixtures("ever")
@pytest.mark.parametrize("killed", [True, False])
async def test_nobody_looks_when_nothing_is_awaited(scene: Scene, *, killed: bool) -> None:
    asked = await scene.asks()
    if killed:
        scene.channel.kill(WorkerLost("the test says so"))
    else:
        await scene.loop.sock_sendall(scene.worker, frame(Kind.TURN, 1, encode_turn(Turn(issued_before=(3,)))))
    await asyncio.wait([asked])
    assert (asked.exception() is not None) == killed
    assert await scene.looks(50) <= 1


@pytest.mark.usefixtures("ever")
async def test_a_host_whose_core_others_want_does_not_look(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inhabit.isolates.pool.channel.AWAY_S", -1.0)   # it is away at every look
    asked = await scene.asks()
    assert await scene.looks(50) <= 1
    monkeypatch.setattr("inhabit.isolates.pool.channel.AWAY_S", 3600)
    await asyncio.gather(asked, scene.answers(Turn((IssuedCall(4, "a.b", b"{}"),), issued_before=(3,))))
    asked = asyncio.ensure_future(scene.isolate.deliver([Delivery("result", 4, b"1", 0)]))
    await asyncio.sleep(0)
    assert await scene.looks(50) == 0
    asked.cancel()


def test_a_worker_whose_core_others_want_does_not_look() -> None:
    host = Host(3, *REQUESTS)
    host.away_s = AWAY_S * 2
    served(host, 3600)
    assert (host.slept, host.looked) == (len(REQUESTS), 3 + 1)


def test_a_core_that_is_taken_again_soon_is_left_alone_for_longer() -> None:
    patience = Patience()
    assert patience.looks(10.0)
    patience.taken(10.0)
    assert not patience.looks(10.09) and patience.looks(10.1)
    patience.taken(10.2)
    assert not patience.looks(12.1) and patience.looks(12.2)
    patience.taken(20.0)
    assert not patience.looks(20.05) and patience.looks(20.1)


@pytest.mark.parametrize(("count", "looks_s"), [(2.0, LOOKS_S), (1.9, 0.0), (0.5, 0.0)])
async def test_a_worker_is_told_whether_to_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: float, looks_s: float) -> None:
    told: list[float] = []

    def nursery(_loop: object, settings: Settings) -> Nursery:
        told.append(settings.looks_s)
        raise Unavailable("the test ends here")

    monkeypatch.setattr("inhabit.isolates.pool.pool.cores", lambda: count)
    monkeypatch.setattr("inhabit.isolates.pool.pool.Nursery", nursery)
    with pytest.raises(Unavailable):
        await WorkerPool(tmp_path).start()
    assert told == [looks_s]
    given = Settings({}, "", 1, looks_s)
    assert Settings.from_value(given.as_value()) == given


# -- how many cores -------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no binding to cores here")
def test_a_process_bound_to_one_core_has_one() -> None:
    code = "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\nfrom inhabit.isolates.looking import cores\nprint(cores() <= 1)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "True"


@pytest.mark.parametrize(("limits", "granted"), [
    ({}, None), ({"a/b": "max 100000"}, None), ({"a/b": "50000 100000"}, 0.5), ({"a": "25000 100000", "a/b": "max 100000"}, 0.25),
    ({"": "150000 100000"}, 1.5), ({"a/b": "garbage"}, None), ({"cpu/elsewhere": "-1 100000"}, None),
    ({"cpu/elsewhere": "75000 50000"}, 1.5), ({"cpu": "50000 100000"}, 0.5),
])
def test_a_control_group_grants_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: dict[str, str], granted: float | None) -> None:
    (tmp_path / "fs/a/b").mkdir(parents=True)
    (tmp_path / "fs/cpu/elsewhere").mkdir(parents=True)
    for group, text in limits.items():
        if group.startswith("cpu"):   # version 1
            for name, part in zip(("quota", "period"), text.split(), strict=True):
                (tmp_path / "fs" / group / f"cpu.cfs_{name}_us").write_text(part)
        else:
            (tmp_path / "fs" / group / "cpu.max").write_text(text)
    (tmp_path / "own").write_text("7:pids:/a\n1:cpu,cpuacct:/elsewhere\n0::/a/b\n")
    monkeypatch.setattr(looking, "_GROUPS", tmp_path / "fs")
    monkeypatch.setattr(looking, "_OWN", tmp_path / "own")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)), raising=False)
    assert cores() == (granted or 8)
