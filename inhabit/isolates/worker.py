"""The loop of one worker process: read a request, let a guest take its turn, answer. One thread, one socket.

Model: the host speaks first; every request but CLOSE and SHUTDOWN gets exactly one reply, in order. A guest that
raises is dropped and FAILED is its reply; the host decides what becomes of this process.
Nothing here is trusted by the host: a guest that takes this process over owns all of it, and meets the jail.
"""

from __future__ import annotations

import contextlib
import gc
import socket
import time
from collections.abc import Callable, Mapping

from inhabit.contracts.program import Engine, Guest
from inhabit.errors import ProtocolError, WorkerLost
from inhabit.isolates.looking import AWAY_S, Patience
from inhabit.wire.frames import FROM_HOST, FrameParser, Kind, frame
from inhabit.wire.messages import decode_deliver, decode_prepare, decode_start, decode_typecheck
from inhabit.wire.replies import (
    Ready,
    encode_checked,
    encode_failed,
    encode_prepared,
    encode_ready,
    encode_turn,
)

__all__ = ["Worker"]

_READ_BYTES = 64 * 1024   # larger buffers come from mmap, at 13 µs a read
_GUESTS = 256   # a host asks for far fewer; more means that it lost count


class Worker:
    """Serves one socket until SHUTDOWN or its end."""

    def __init__(self, connection: socket.socket, engines: Mapping[str, Engine], *, looks_s: float = 0.0) -> None:
        self._connection = connection
        self._looks_s = looks_s
        self._soon = False   # the last wait was a short one
        self._patience = Patience()
        self._engines = engines
        self._guests: dict[int, Guest] = {}
        self._answers: dict[Kind, Callable[[int, bytes], tuple[Kind, bytes]]] = {
            Kind.PREPARE: self._prepare, Kind.TYPECHECK: self._typecheck, Kind.START: self._start, Kind.DELIVER: self._deliver,
        }

    def serve(self, ready: Ready) -> None:
        """Say READY, then answer. Raises `OSError` when the host is gone and `ProtocolError` when it errs."""
        connection, parser = self._connection, FrameParser(FROM_HOST)
        connection.sendall(frame(Kind.READY, 0, encode_ready(ready)))
        gc.freeze()   # what was loaded before is kept for good: no collection walks it, no shared page is copied
        while data := self._received():
            for kind, isolate, body in parser.feed(data):
                if kind is Kind.SHUTDOWN:
                    return
                if kind is Kind.CLOSE:
                    self._close(isolate)
                else:
                    connection.sendall(self._answer(kind, isolate, body))

    def _received(self) -> bytes:
        """What the host says next; b"" when it is gone."""
        began = now = time.perf_counter()
        until = began + self._looks_s if self._soon and self._patience.looks(began) else began
        data: bytes | None = None
        while data is None and now < until:
            with contextlib.suppress(BlockingIOError):
                data = self._connection.recv(_READ_BYTES, socket.MSG_DONTWAIT)
            before, now = now, time.perf_counter()
            if now - before > AWAY_S:
                self._patience.taken(now)
        if data is None:
            data = self._connection.recv(_READ_BYTES)
        self._soon = time.perf_counter() - began < self._looks_s
        return data

    def _answer(self, kind: Kind, isolate: int, body: bytes) -> bytes:
        try:
            reply, answer = self._answers[kind](isolate, body)
            return frame(reply, isolate, answer)
        except Exception as error:   # noqa: BLE001 - an engine's failure of any kind is its guest's end
            self._close(isolate)
            return frame(Kind.FAILED, isolate, encode_failed(error))

    def _prepare(self, isolate: int, body: bytes) -> tuple[Kind, bytes]:
        language, source, names = decode_prepare(body)
        return Kind.PREPARED, encode_prepared(self._engine(language).prepare(source, names))

    def _typecheck(self, isolate: int, body: bytes) -> tuple[Kind, bytes]:
        language, code, stubs = decode_typecheck(body)
        return Kind.CHECKED, encode_checked(self._engine(language).typecheck(code, stubs))

    def _start(self, isolate: int, body: bytes) -> tuple[Kind, bytes]:
        language, boot = decode_start(body)
        if isolate in self._guests or len(self._guests) >= _GUESTS:
            raise ProtocolError("a second start, or too many guests")
        guest = self._guests[isolate] = self._engine(language).create(boot)
        return Kind.TURN, encode_turn(guest.start())

    def _deliver(self, isolate: int, body: bytes) -> tuple[Kind, bytes]:
        guest = self._guests.get(isolate)
        if guest is None:
            raise ProtocolError("a delivery without a guest")
        return Kind.TURN, encode_turn(guest.deliver(decode_deliver(body)))

    def _engine(self, language: str) -> Engine:
        engine = self._engines.get(language)
        if engine is None:
            raise WorkerLost(f"this worker holds no engine for {language}")
        return engine

    def _close(self, isolate: int) -> None:
        guest = self._guests.pop(isolate, None)
        if guest is not None:
            guest.close()
