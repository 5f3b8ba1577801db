"""Frames on the one stream between a host and a worker.

    length u32 | kind u8 | isolate u32 | body          little-endian; `length` counts all that follows it

Trusted set. Invariants: a length is checked before a byte of the frame is kept; the buffer never holds more
than one frame and one read; an unknown kind is refused; after a `ProtocolError` the parser takes nothing more.
Which isolate a frame speaks for is only a claim: the host looks it up among the requests of that connection.
"""

from __future__ import annotations

import struct
from enum import IntEnum

from inhabit.errors import ProtocolError
from inhabit.limits import MAX_FRAME_BYTES

__all__ = ["FROM_HOST", "FROM_WORKER", "WIRE_VERSION", "FrameParser", "Kind", "frame"]

WIRE_VERSION = 1

_HEADER = struct.Struct("<IBI")
_LENGTH = struct.Struct("<I")
_AFTER_LENGTH = _HEADER.size - _LENGTH.size


class Kind(IntEnum):
    PREPARE = 1
    TYPECHECK = 2
    START = 3
    DELIVER = 4
    CLOSE = 5
    SHUTDOWN = 6
    READY = 65
    PREPARED = 66
    CHECKED = 67
    TURN = 68
    FAILED = 69


FROM_HOST = {int(kind): kind for kind in Kind if kind < Kind.READY}
FROM_WORKER = {int(kind): kind for kind in Kind if kind >= Kind.READY}


def frame(kind: Kind, isolate: int, body: bytes = b"", *, max_bytes: int = MAX_FRAME_BYTES) -> bytes:
    """One frame. Raises `ProtocolError` when the body is over the bound: the peer would refuse it."""
    if len(body) + _AFTER_LENGTH > max_bytes:
        raise ProtocolError(f"a frame of {len(body)} bytes; at most {max_bytes} are sent")
    return _HEADER.pack(len(body) + _AFTER_LENGTH, kind, isolate) + body


class FrameParser:
    """Takes the stream in any pieces, gives whole frames. `kinds` are those the peer may send."""

    def __init__(self, kinds: dict[int, Kind], *, max_bytes: int = MAX_FRAME_BYTES) -> None:
        self._kinds = kinds
        self._max_bytes = max_bytes
        self._buffer = bytearray()
        self._broken = False

    @property
    def partial(self) -> bool:
        """Whether a frame has begun and not ended."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> list[tuple[Kind, int, bytes]]:
        """The frames completed by `data`. Raises `ProtocolError` at the first bad one, and ever after."""
        if self._broken:
            raise ProtocolError("the stream was broken by an earlier frame")
        self._broken = True   # until this piece is found good
        if self._buffer:
            self._buffer += data
            if self._end(self._buffer, 0) > len(self._buffer):
                self._broken = False
                return []
            data = bytes(self._buffer)
            self._buffer.clear()
        frames: list[tuple[Kind, int, bytes]] = []
        at, size = 0, len(data)
        while at < size and (end := self._end(data, at)) <= size:
            _, kind, isolate = _HEADER.unpack_from(data, at)
            known = self._kinds.get(kind)
            if known is None:
                raise ProtocolError(f"a frame of kind {kind}, which this side does not take")
            frames.append((known, isolate, data[at + _HEADER.size:end]))
            at = end
        if at < size:
            self._buffer += data[at:]
        self._broken = False
        return frames

    def _end(self, source: bytes | bytearray, at: int) -> int:
        """Where the frame at `at` ends; past the end of `source` when that cannot be known yet."""
        if len(source) - at < _LENGTH.size:
            return len(source) + 1
        length = _LENGTH.unpack_from(source, at)[0]
        if not _AFTER_LENGTH <= length <= self._max_bytes:
            raise ProtocolError(f"a frame that claims {length} bytes; {_AFTER_LENGTH} to {self._max_bytes} are taken")
        return at + _LENGTH.size + length
