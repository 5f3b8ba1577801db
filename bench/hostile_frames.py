"""A hostile worker at the other end of the real wire: mutated frames against channel, decoders, bridge and driver.

Each run of the runtime gets an isolate over a socket whose far end answers every request with valid replies, most
of them mutated. The only things that may come out are a result and an `InhabitError`.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inhabit.app.home import Home, now_ms
from inhabit.catalog import Catalog
from inhabit.connectors.functions import Capability
from inhabit.contracts.connector import ConnectorContext
from inhabit.contracts.principal import Principal
from inhabit.contracts.program import (
    CallSite,
    Finished,
    IssuedCall,
    Language,
    LogLine,
    Prepared,
    Problem,
    Timer,
    Turn,
    Usage,
)
from inhabit.egress import Broker
from inhabit.errors import InhabitError
from inhabit.isolates.pool.channel import Channel
from inhabit.isolates.pool.isolate import PooledIsolate
from inhabit.isolates.pool.process import WorkerProcess
from inhabit.isolates.pool.watch import Watch
from inhabit.kernel.grants import Grant
from inhabit.limits import Limits
from inhabit.runtime.directory import ConnectedCatalog
from inhabit.runtime.service import Caller, Parts, Runtime
from inhabit.store.ids import new_run_id
from inhabit.wire.frames import FROM_HOST, FrameParser, Kind, frame
from inhabit.wire.messages import decode_deliver
from inhabit.wire.replies import (
    decode_checked,
    decode_failed,
    decode_prepared,
    decode_ready,
    decode_turn,
    encode_failed,
    encode_prepared,
    encode_turn,
)

__all__ = ["Fuzzed", "fuzz", "kit"]

_JSON = (b"1", b"null", b'"x"', b"[]", b'{"value":1}', b'{"how":"x"}', b'"\\ud800"', b"[" * 300 + b"]" * 300, b"{", b"\xff", b"1e999", b"[1,2", b'{"a":1,"a":2}',
         b"\n\ndata: x\n\n", b"99999999999999999999999", b'{"message":1,"code":[]}', b"NaN", b"", b'{"$binary":"' + b"0" * 64 + b'"}', b'{"\\u0024binary":"' + b"0" * 64 + b'"}')
_OPERATIONS = ("kit.echo", "kit.fail", "kit", "", "kit.__proto__", "a\x1eb", "kit.echo\0", "é" * 500)
_RUNS_AT_ONCE = 96
_FRAMES_BETWEEN = 10_000
_DECODERS = (decode_turn, decode_prepared, decode_checked, decode_failed, decode_ready)


@dataclass
class Fuzzed:
    frames: int = 0
    runs: int = 0
    uncaught: list[str] = field(default_factory=list[str])


class _NoProcess(WorkerProcess):
    def __init__(self) -> None:
        super().__init__(0, None)

    def cpu_ns(self) -> int:
        return 0

    def computes(self) -> bool:
        return False

    def prefer(self, *, idle: bool) -> bool:
        return True

    def kill(self) -> None: ...


class _HostilePool:
    """Implements `IsolatePool` over sockets; the worker's end lies."""

    def __init__(self, rng: random.Random, found: Fuzzed) -> None:
        self._rng = rng
        self._found = found
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._watch = Watch(self._loop)

    async def acquire(self, language: Language, tenant: str, limits: Limits) -> PooledIsolate:
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        channel = Channel(self._loop, ours, _NoProcess(), lambda _: None, self._watch)
        isolate = PooledIsolate(1, channel, language, limits, f"fuzz {self._found.runs % 64}", lambda _: channel.kill(InhabitError("over")))
        task = self._loop.create_task(self._worker(theirs))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return isolate

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._watch.close()

    async def _worker(self, connection: socket.socket) -> None:
        """Answers until the host hangs up. Every third worker is honest in form, so that runs get far."""
        parser, issued, wild = FrameParser(FROM_HOST), 0, self._rng.random() < 0.66
        with connection:
            try:
                while data := await self._loop.sock_recv(connection, 1 << 16):
                    for kind, isolate, body in parser.feed(data):
                        reply, issued = self._reply(kind, isolate, body, issued)
                        sent = _mutated(self._rng, reply) if wild and self._rng.random() < 0.4 else reply
                        self._found.frames += 1
                        await self._loop.sock_sendall(connection, sent)
            except OSError:
                return

    def _reply(self, kind: Kind, isolate: int, body: bytes, issued: int) -> tuple[bytes, int]:
        rng = self._rng
        if rng.random() < 0.03:
            return frame(Kind.FAILED, isolate, encode_failed(RuntimeError("engine"))), issued
        if kind is Kind.PREPARE:
            return frame(Kind.PREPARED, isolate, encode_prepared(_prepared(rng))), issued
        deliveries = len(decode_deliver(body)) if kind is Kind.DELIVER else 0
        turn = _turn(rng, issued, deliveries)
        return frame(Kind.TURN, isolate, encode_turn(turn)), issued + len(turn.calls)


def _prepared(rng: random.Random) -> Prepared:
    calls = tuple(CallSite(rng.choice(_OPERATIONS), 1, 1, rng.choice((None, {"kind": "unknown"}))) for _ in range(rng.randrange(2)))
    problems = (Problem("bad", 1, 1),) if rng.random() < 0.05 else ()
    return Prepared("code", calls if rng.random() < 0.1 else (), problems)


def _turn(rng: random.Random, issued: int, deliveries: int) -> Turn:
    calls = tuple(IssuedCall(issued + n, rng.choice(_OPERATIONS), rng.choice(_JSON)) for n in range(1, rng.randrange(4) + 1))
    finished = Finished(rng.random() < 0.5, rng.choice(_JSON)) if rng.random() < 0.4 else None
    timer = Timer(rng.randrange(9), now_ms() + rng.randrange(-5, 5)) if rng.random() < 0.5 else None
    logs = tuple(LogLine("log", rng.choice(("", "x", "\0", "\x1b]52;c;x\x07"))) for _ in range(rng.randrange(3)))
    return Turn(calls, (issued,) * deliveries, finished, timer, logs, Usage(0.1, 1))


def _mutated(rng: random.Random, data: bytes) -> bytes:
    """One to three byte-level lies; the frame's length is repaired half of the time, so that the body is reached."""
    body = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(body)) if body else 0
        match rng.randrange(7):
            case 0:
                body[at:at + 1] = bytes([rng.randrange(256)])
            case 1:
                del body[at:at + rng.randint(1, 8)]
            case 2:
                body[at:at] = rng.randbytes(rng.randint(1, 8))
            case 3:
                body[at:at + 4] = struct.pack("<I", rng.choice((0, 1, 2**31, 2**32 - 1, len(body), 100_000)))
            case 4:
                body += body[at:]
            case 5:
                body[at:at] = rng.choice(_JSON)
            case _:
                body[at:at + 8] = struct.pack("<d", rng.choice((float("nan"), float("inf"), -1.0, 1e308)))
    if len(body) > 4 and rng.random() < 0.5:
        body[:4] = struct.pack("<I", len(body) - 4)
    return bytes(body)


def kit() -> Capability:
    """Two operations to attack through: one that answers with what it was given, one that fails."""
    made = Capability("kit")

    @made.operation
    async def echo(value: Any = None) -> Any:  # pyright: ignore[reportUnusedFunction]
        return value

    @made.operation(writes="external")
    async def fail(how: str) -> None:  # pyright: ignore[reportUnusedFunction]
        raise ValueError(how)

    return made


async def _no_secret(_name: str) -> None: ...


async def fuzz(seconds: float, seed: int, home: Path) -> Fuzzed:
    """Mutated frames for `seconds`; half of the time through whole runs, half straight into parser and decoders."""
    found, rng = Fuzzed(), random.Random(seed)
    asyncio.get_running_loop().set_exception_handler(lambda _, what: found.uncaught.append(repr(what.get("exception") or what["message"])))
    place = Home(home)
    place.open()
    pool = _HostilePool(rng, found)
    directory = ConnectedCatalog(Catalog(place.cache))
    connector = kit().connector()
    await connector.open(ConnectorContext(Broker(), place.connections, place.cache, directory.catalog.changed, _no_secret))
    await directory.add(connector)
    runtime = Runtime(Parts(directory, pool, place.journal, place.blobs, lambda: new_run_id(now_ms()), now_ms=now_ms))
    await runtime.start()
    try:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            await asyncio.gather(*(_one_run(runtime, found) for _ in range(_RUNS_AT_ONCE)))
            _decoders(rng, found, _FRAMES_BETWEEN)
    finally:
        await runtime.stop()
        await place.close()
    return found


async def _one_run(runtime: Runtime, found: Fuzzed) -> None:
    found.runs += 1
    caller = Caller(Principal("eve", f"t{found.runs % 7}"), Grant.of("**"))
    try:
        result = await runtime.execute(f"return {found.runs % 50}", caller, limits={"wall_ms": 2_000, "call_ms": 1_000}, wait_s=20)
        if result.state == "running":
            found.uncaught.append("a run that did not end")
        result.as_value()
        again = await runtime.wait(result.run_id, caller)
        if again.state != result.state:
            found.uncaught.append(f"{result.state} became {again.state}")
    except InhabitError:
        return
    except Exception as error:  # noqa: BLE001 - what is counted
        found.uncaught.append(f"run: {error!r}"[:300])


def _decoders(rng: random.Random, found: Fuzzed, count: int) -> None:
    parser = FrameParser({int(kind): kind for kind in Kind})
    for _ in range(count):
        turn = encode_turn(_turn(rng, 0, rng.randrange(3)))
        data = _mutated(rng, frame(Kind.TURN, 1, turn) if rng.random() < 0.5 else frame(Kind.PREPARED, 1, encode_prepared(_prepared(rng))))
        found.frames += 1
        try:
            for _, _, body in parser.feed(data):
                for decode in _DECODERS:
                    _decode(decode, body, found)
        except InhabitError:
            parser = FrameParser({int(kind): kind for kind in Kind})
        except Exception as error:  # noqa: BLE001 - what is counted
            found.uncaught.append(f"parser: {error!r}"[:300])


def _decode(decode: Any, body: bytes, found: Fuzzed) -> None:
    try:
        decode(body)
    except InhabitError:
        return
    except Exception as error:  # noqa: BLE001 - what is counted
        found.uncaught.append(f"{decode.__name__}: {error!r}"[:300])
