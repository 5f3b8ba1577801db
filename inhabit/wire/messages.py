"""Requests, host → worker: PREPARE, TYPECHECK, START, DELIVER. (CLOSE and SHUTDOWN have no body.)

The worker decodes these; they come from the host, but the same bounds hold, so that an old worker under a new
host refuses cleanly. Values that are already JSON (`input`, results) travel as they are and are not parsed here.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import wraps
from typing import Any, Literal, ParamSpec, TypeVar

from inhabit.contracts.program import Boot, Delivery
from inhabit.errors import InvalidInput, ProtocolError
from inhabit.limits import Limits
from inhabit.wire.values import decode_value, encode_value

__all__ = [
    "Cursor", "decode_deliver", "decode_prepare", "decode_start", "decode_typecheck", "encode_deliver",
    "encode_prepare", "encode_start", "encode_typecheck", "hostile", "utf8",
]

_SIZE = struct.Struct("<I")
_DELIVERY = struct.Struct("<BQqI")   # kind, id, clock_ms, bytes of value
_ONE = struct.Struct("<IBQqI")       # a count of 1 and its delivery: nearly every frame
_KINDS: tuple[Literal["result", "error", "timer"], ...] = ("result", "error", "timer")

P = ParamSpec("P")
R = TypeVar("R")


def hostile(decode: Callable[P, R]) -> Callable[P, R]:
    """Marks a decoder: whatever it meets in the bytes, a `ProtocolError` comes out."""
    @wraps(decode)
    def decoder(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return decode(*args, **kwargs)
        except (struct.error, ValueError, LookupError, TypeError, AttributeError) as error:
            raise ProtocolError(f"{decode.__name__}: {type(error).__name__}") from None
    return decoder


class Cursor:
    """Reads a body from its start; never past its end. Errors are `struct.error` or `ValueError`, for `hostile`."""

    __slots__ = ("at", "body")

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.at = 0

    def fields(self, layout: struct.Struct) -> tuple[Any, ...]:
        values = layout.unpack_from(self.body, self.at)
        self.at += layout.size
        return values

    def take(self, size: int) -> bytes:
        end = self.at + size
        if end > len(self.body):
            raise ValueError("cut off")
        taken = self.body[self.at:end]
        self.at = end
        return taken

    def sized(self) -> bytes:
        return self.take(self.fields(_SIZE)[0])

    def done(self) -> None:
        if self.at != len(self.body):
            raise ValueError("bytes left over")


def utf8(text: str) -> bytes:
    """Raises `InvalidInput` for lone surrogates."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise InvalidInput("text with a lone surrogate cannot be sent", fix="give valid Unicode") from None


def _sized(*parts: bytes) -> bytes:
    return b"".join(piece for part in parts for piece in (_SIZE.pack(len(part)), part))


def encode_prepare(language: str, source: str, names: tuple[str, ...]) -> bytes:
    return _sized(language.encode(), utf8(source), encode_value(names))


@hostile
def decode_prepare(body: bytes) -> tuple[str, str, tuple[str, ...]]:
    """Language, source, names."""
    cursor = Cursor(body)
    language, source, names = cursor.sized().decode(), cursor.sized().decode(), decode_value(cursor.sized())
    cursor.done()
    return language, source, _names(names)


def encode_typecheck(language: str, code: str, stubs: str) -> bytes:
    return _sized(language.encode(), utf8(code), utf8(stubs))


@hostile
def decode_typecheck(body: bytes) -> tuple[str, str, str]:
    """Language, code, stubs."""
    cursor = Cursor(body)
    language, code, stubs = cursor.sized().decode(), cursor.sized().decode(), cursor.sized().decode()
    cursor.done()
    return language, code, stubs


def encode_start(language: str, boot: Boot) -> bytes:
    head = encode_value([language, boot.names, boot.seed, boot.clock_ms, boot.limits.as_value()])
    return _sized(head, utf8(boot.code), boot.input)


@hostile
def decode_start(body: bytes) -> tuple[str, Boot]:
    cursor = Cursor(body)
    language, names, seed, clock_ms, limits = decode_value(cursor.sized())
    code, given = cursor.sized().decode(), cursor.sized()
    cursor.done()
    if not (isinstance(language, str) and isinstance(seed, int) and isinstance(clock_ms, int)):
        raise TypeError
    if limits.keys() != asdict(Limits()).keys() or not all(type(bound) is int and bound > 0 for bound in limits.values()):
        raise ValueError
    return language, Boot(code, _names(names), given, seed, clock_ms, Limits(**limits))


def encode_deliver(deliveries: Sequence[Delivery]) -> bytes:
    parts = [_SIZE.pack(len(deliveries))]
    for delivery in deliveries:
        parts.append(_DELIVERY.pack(_KINDS.index(delivery.kind), delivery.id, delivery.clock_ms, len(delivery.value)))
        parts.append(delivery.value)
    return b"".join(parts)


@hostile
def decode_deliver(body: bytes) -> tuple[Delivery, ...]:
    if len(body) >= _ONE.size:
        count, kind, id, clock_ms, size = _ONE.unpack_from(body)
        if count == 1 and kind < len(_KINDS) and size == len(body) - _ONE.size:
            return (Delivery(_KINDS[kind], id, body[_ONE.size:], clock_ms),)
    cursor = Cursor(body)
    count = cursor.fields(_SIZE)[0]
    deliveries: list[Delivery] = []
    for _ in range(count):   # ends at the end of the body, however large the count is
        kind, id, clock_ms, size = cursor.fields(_DELIVERY)
        if kind >= len(_KINDS):
            raise ValueError
        deliveries.append(Delivery(_KINDS[int(kind)], id, cursor.take(size), clock_ms))
    cursor.done()
    return tuple(deliveries)


def _names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):   # pyright: ignore
        raise TypeError
    return tuple(value)   # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
