"""A response body with three bounds: decoded bytes, time, and the codings it may be wrapped in.

Decoding happens here, in steps of 64 KiB, and is counted as it comes out: ten kilobytes that unfold to ten
gigabytes are cut after `max_bytes`. The reader above sees plain bytes and no Content-Encoding.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Sequence
from typing import Protocol

import httpcore2
import httpx2

from inhabit.egress.failures import Exchange

__all__ = ["BoundedBody", "decoders"]

_STEP_BYTES = 64 * 1024
_MAX_CODINGS = 2


class _Decoder(Protocol):
    def feed(self, data: bytes) -> Iterator[bytes]: ...


def decoders(content_encoding: str) -> Sequence[_Decoder] | None:
    """One decoder for each coding, outermost first; None when a coding is unknown or there are too many."""
    codings = [part.strip().lower() for part in content_encoding.split(",") if part.strip()]
    codings = [coding for coding in codings if coding != "identity"]
    if len(codings) > _MAX_CODINGS or any(coding not in {"gzip", "x-gzip", "deflate"} for coding in codings):
        return None
    return [_Inflate(raw_allowed=coding == "deflate") for coding in reversed(codings)]


class _Inflate:
    def __init__(self, *, raw_allowed: bool) -> None:
        self._raw_allowed = raw_allowed
        self._engine = zlib.decompressobj(zlib.MAX_WBITS | 32)

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data:
            try:
                step = self._engine.decompress(data, _STEP_BYTES)
            except zlib.error:
                if not self._raw_allowed:
                    raise
                self._engine = zlib.decompressobj(-zlib.MAX_WBITS)
                self._raw_allowed = False
                continue
            self._raw_allowed = False
            yield step
            data = self._engine.unconsumed_tail
            if self._engine.eof:
                data = self._engine.unused_data
                if data[:2] != b"\x1f\x8b":
                    return
                self._engine = zlib.decompressobj(zlib.MAX_WBITS | 16)


class BoundedBody(httpx2.AsyncByteStream):
    """Raises `UpstreamError` past `max_bytes` or on a broken coding, `CallTimeout` past the deadline."""

    def __init__(self, stream: AsyncIterable[bytes], codings: Sequence[_Decoder], max_bytes: int, exchange: Exchange) -> None:
        self._stream = stream
        self._codings = codings
        self._max_bytes = max_bytes
        self._exchange = exchange

    async def __aiter__(self) -> AsyncIterator[bytes]:
        received = 0
        source = aiter(self._stream)
        while True:
            chunk = await self._next(source)
            if chunk is None:
                return
            for part in self._decoded(chunk):
                received += len(part)
                if received > self._max_bytes:
                    raise self._exchange.too_large(self._max_bytes)
                if part:
                    yield part

    async def aclose(self) -> None:
        close = getattr(self._stream, "aclose", None)
        if close is not None:
            await close()

    async def _next(self, source: AsyncIterator[bytes]) -> bytes | None:
        try:
            async with asyncio.timeout_at(self._exchange.deadline):
                return await anext(source, None)
        except (TimeoutError, httpcore2.TimeoutException):
            raise self._exchange.timed_out() from None
        except (httpcore2.NetworkError, httpcore2.ProtocolError) as error:
            raise self._exchange.broke(error) from None

    def _decoded(self, chunk: bytes) -> Iterator[bytes]:
        try:
            yield from _through(self._codings, chunk)
        except zlib.error:
            raise self._exchange.refused("a body that does not fit its Content-Encoding") from None


def _through(codings: Sequence[_Decoder], chunk: bytes) -> Iterator[bytes]:
    if not codings:
        yield chunk
        return
    for part in codings[0].feed(chunk):
        yield from _through(codings[1:], part)
