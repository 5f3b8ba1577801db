"""A scripted hostile worker at the other end of the wire: it dies of every lie, and only it.

No engine and no process here: the test writes the worker's bytes itself.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from inhabit.contracts.program import Boot, Delivery, Finished, IssuedCall, LogLine, Program, Turn
from inhabit.errors import LimitExceeded, ProtocolError, WorkerLost
from inhabit.isolates.pool.channel import Channel
from inhabit.isolates.pool.isolate import PooledIsolate
from inhabit.isolates.pool.process import WorkerProcess
from inhabit.isolates.pool.watch import Watch
from inhabit.limits import Limits
from inhabit.wire.frames import FROM_HOST, FrameParser, Kind, frame
from inhabit.wire.messages import decode_deliver
from inhabit.wire.replies import encode_failed, encode_turn

CALL = Turn((IssuedCall(1, "shop.list", b"{}"),))
DONE = Turn(finished=Finished(True, b"1"))


class FakeProcess(WorkerProcess):
    def __init__(self) -> None:
        super().__init__(0, None)
        self.killed = 0

    def cpu_ns(self) -> int:
        return 0

    def computes(self) -> bool:
        return False

    def prefer(self, *, idle: bool) -> bool:
        return True

    def kill(self) -> None:
        self.killed += 1


class Scene:
    """A channel, the worker's end of its socket, and isolates 1, 2, 3 in it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        ours, self.worker = socket.socketpair()
        self.worker.setblocking(False)
        self.loop = loop
        self.process = FakeProcess()
        self.watch = Watch(loop)
        self.lost: list[Channel] = []
        self.over = asyncio.Event()
        self.channel = Channel(loop, ours, self.process, self._lost, self.watch)
        self.isolates = [PooledIsolate(n, self.channel, "typescript", Limits(cpu_ms=200, log_bytes=1000, calls=50), "", lambda _: None) for n in (1, 2, 3)]

    def _lost(self, channel: Channel) -> None:
        self.lost.append(channel)
        self.over.set()

    async def reads(self) -> bytes:
        """What the host sent."""
        return await self.loop.sock_recv(self.worker, 1 << 20)

    async def writes(self, data: bytes) -> None:
        await self.loop.sock_sendall(self.worker, data)

    async def start(self, isolate: int = 1) -> asyncio.Task[Turn]:
        task = asyncio.ensure_future(self.isolates[isolate - 1].start(Boot("", (), limits=Limits(cpu_ms=200, log_bytes=1000, calls=50))))
        await self.reads()
        return task

    async def turn(self, turn: Turn, isolate: int = 1) -> Turn:
        task = await self.start(isolate)
        await self.writes(frame(Kind.TURN, isolate, encode_turn(turn)))
        return await task

    def close(self) -> None:
        self.watch.close()
        self.channel.kill(WorkerLost("the test is over"))
        self.worker.close()


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    scene = Scene(asyncio.get_running_loop())
    yield scene
    scene.close()


async def dies(scene: Scene, task: asyncio.Task[Any] | None = None, error: type[Exception] = ProtocolError) -> None:
    """The worker is killed, the asker hears why, and nothing more can be asked."""
    async with asyncio.timeout(5):
        if task is not None:
            with pytest.raises(error):
                await task
        await scene.over.wait()
    assert scene.process.killed == 1
    assert scene.lost == [scene.channel]
    with pytest.raises(WorkerLost):
        await scene.isolates[2].prepare(Program("", "typescript"), ())


LIES = {
    "D01_length_zero": struct.pack("<I", 0), "D01_length_2_31": struct.pack("<I", 2**31), "D01_length_minus_one": struct.pack("<i", -1),
    "D06_unknown_type": struct.pack("<IBI", 5, 99, 1), "D06_host_kind": frame(Kind.START, 1), "D08_duplicate_reply": frame(Kind.TURN, 1, encode_turn(CALL)) * 2,
    "D09_other_isolate": frame(Kind.TURN, 2, encode_turn(CALL)), "D09_isolate_zero": frame(Kind.TURN, 0, encode_turn(CALL)),
    "D14_forged_identity": frame(Kind.TURN, 0xFFFFFFFF, encode_turn(CALL)), "D12_result_before_start": frame(Kind.PREPARED, 1, b"[]"),
    "D12_ready_again": frame(Kind.READY, 1, b"[1,{},[]]"), "D13_two_terminal_frames": frame(Kind.TURN, 1, encode_turn(DONE)) * 2,
    "D15_garbage_turn": frame(Kind.TURN, 1, b"\xff" * 40), "D15_bad_utf8_name": frame(Kind.TURN, 1, encode_turn(CALL).replace(b"shop", b"\xff\xfe\xfd\xfc")),
    "D10_sequence_reuse": frame(Kind.TURN, 1, encode_turn(Turn(CALL.calls * 2))),
    "D10_sequence_wraparound": frame(Kind.TURN, 1, encode_turn(Turn((IssuedCall(2**32 - 1, "a.b", b"{}"),)))),
    "D10_sequence_from_zero": frame(Kind.TURN, 1, encode_turn(Turn((IssuedCall(0, "a.b", b"{}"),)))),
    "D07_counts_without_delivery": frame(Kind.TURN, 1, encode_turn(Turn(issued_before=(0,)))),
    "B17_log_flood": frame(Kind.TURN, 1, encode_turn(Turn(logs=(LogLine("log", "x" * 200_000),)))),
    "B19_call_flood": frame(Kind.TURN, 1, encode_turn(Turn(tuple(IssuedCall(n + 1, "a.b", b"") for n in range(60))))),
    "D17_failed_garbage": frame(Kind.FAILED, 1, b'{"__class__":"x"}'),
}


@pytest.mark.parametrize("lie", LIES)
async def test_lies_kill_the_worker(scene: Scene, lie: str) -> None:
    task = await scene.start()
    await scene.writes(LIES[lie])
    if "TURN" in lie or lie in {"D08_duplicate_reply", "D13_two_terminal_frames"}:
        await task   # the first of the two was due
        await dies(scene)
    else:
        await dies(scene, task)


@pytest.mark.parametrize("words", [frame(Kind.TURN, 1, encode_turn(CALL)), frame(Kind.FAILED, 1), b"\x05"])
async def test_D07_reply_without_call(scene: Scene, words: bytes) -> None:
    await scene.writes(words)
    await dies(scene)


async def test_D11_call_after_done(scene: Scene) -> None:
    await scene.turn(DONE)
    with pytest.raises(WorkerLost, match="no guest"):
        await scene.isolates[0].deliver([Delivery("result", 1, b"1", 0)])
    await scene.writes(frame(Kind.TURN, 1, encode_turn(CALL)))
    await dies(scene)


async def test_D02_truncated_frame(scene: Scene) -> None:
    task = await scene.start()
    await scene.writes(frame(Kind.TURN, 1, encode_turn(CALL))[:-1])
    scene.worker.close()
    await dies(scene, task, WorkerLost)


async def test_D03_half_frame_then_kill(scene: Scene) -> None:
    task = await scene.start()
    await scene.writes(frame(Kind.TURN, 1, encode_turn(CALL))[:3])
    scene.worker.shutdown(socket.SHUT_WR)
    await dies(scene, task, WorkerLost)


async def test_D01_a_frame_longer_than_sent_meets_the_deadline(scene: Scene) -> None:
    task = await scene.start()
    await scene.writes(struct.pack("<IBI", 1000, Kind.TURN, 1))
    await dies(scene, task, WorkerLost)


async def test_D19_slow_reader(scene: Scene) -> None:
    """It never reads its requests: the write waits in a bounded buffer and the deadline comes."""
    await scene.turn(CALL)
    task = asyncio.ensure_future(scene.isolates[0].deliver([Delivery("result", 1, b"1" * 8_000_000, 0)]))
    await dies(scene, task, WorkerLost)


async def test_D04_D05_two_frames_in_one_and_bytewise(scene: Scene) -> None:
    tasks = [await scene.start(1), await scene.start(2)]
    for byte in frame(Kind.TURN, 1, encode_turn(CALL)) + frame(Kind.TURN, 2, encode_turn(DONE)):
        await scene.writes(bytes([byte]))
    assert [await task for task in tasks] == [CALL, DONE]


async def test_D09_replies_out_of_turn(scene: Scene) -> None:
    first, second = await scene.start(1), await scene.start(2)
    await scene.writes(frame(Kind.TURN, 2, encode_turn(CALL)))
    await dies(scene, first)
    with pytest.raises(WorkerLost):
        await second


async def test_neighbours_of_a_liar_hear_that_the_worker_ended(scene: Scene) -> None:
    first, second = await scene.start(1), await scene.start(2)
    await scene.writes(b"\0" * 20)
    await dies(scene, first)
    with pytest.raises(WorkerLost) as caught:
        await second
    assert not isinstance(caught.value, ProtocolError)
    assert caught.value.retryable


@pytest.mark.parametrize("counts", [(), (1, 1), (2,), (0,)], ids=["none", "too_many", "past_the_calls", "fallen"])
async def test_D07_counts_that_do_not_fit_the_deliveries(scene: Scene, counts: tuple[int, ...]) -> None:
    await scene.turn(CALL)
    task = asyncio.ensure_future(scene.isolates[0].deliver([Delivery("result", 1, b"1", 0)]))
    await scene.reads()
    await scene.writes(frame(Kind.TURN, 1, encode_turn(Turn(issued_before=counts))))
    await dies(scene, task)


async def test_D10_sequences_go_on_over_turns(scene: Scene) -> None:
    await scene.turn(CALL)
    task = asyncio.ensure_future(scene.isolates[0].deliver([Delivery("result", 1, b"1", 0)]))
    await scene.reads()
    await scene.writes(frame(Kind.TURN, 1, encode_turn(Turn((IssuedCall(2, "a.b", b"{}"),), (1,)))))
    assert (await task).calls[0].sequence == 2


async def test_a_limit_ends_the_guest_and_not_the_worker(scene: Scene) -> None:
    task = await scene.start()
    await scene.writes(frame(Kind.FAILED, 1, encode_failed(LimitExceeded.of("memory_bytes", 5, "bytes"))))
    with pytest.raises(LimitExceeded, match="memory_bytes"):
        await task
    assert scene.channel.failed
    assert await scene.turn(DONE, isolate=2) == DONE


async def test_a_batch_beyond_one_frame_is_one_turn(scene: Scene) -> None:
    """Three results of 20 MB go in two frames; the caller sees one turn."""
    await scene.turn(Turn(tuple(IssuedCall(n, "a.b", b"{}") for n in (1, 2, 3))))
    values = [Delivery("result", n, b'"' + b"x" * 20_000_000 + b'"', n) for n in (1, 2, 3)]
    task = asyncio.ensure_future(scene.isolates[0].deliver(values))
    parser, seen = FrameParser(FROM_HOST), []
    while len(seen) < 3:
        for _, _, body in parser.feed(await scene.reads()):
            got = decode_deliver(body)
            seen += [each.id for each in got]
            last = Turn(issued_before=(3,) * len(got), finished=Finished(True, b"1") if 3 in seen else None)
            await scene.writes(frame(Kind.TURN, 1, encode_turn(last)))
    assert await task == Turn(issued_before=(3, 3, 3), finished=Finished(True, b"1"))


@pytest.mark.parametrize("act", [
    lambda isolate: isolate.deliver([Delivery("result", 1, b"1", 0)]), lambda isolate: isolate.start(Boot("", ()))], ids=["deliver", "start_again"])
async def test_misuse_by_the_host_is_refused(scene: Scene, act: Callable[[PooledIsolate], Awaitable[Turn]]) -> None:
    if act.__code__.co_names[0] == "start":   # type: ignore[attr-defined]
        await scene.turn(CALL)
    with pytest.raises(WorkerLost):
        await act(scene.isolates[0])
