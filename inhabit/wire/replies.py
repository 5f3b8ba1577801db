"""Replies, worker → host: READY, PREPARED, CHECKED, TURN, FAILED.

Trusted set: every byte decoded here may be written by a guest that took its worker over. Each decoder gives
well-typed values or raises `ProtocolError`. What only the host can know is the host's to check: whether this
reply was asked for, the numbering of calls, the sizes against the run's limits.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any, Literal

from inhabit.contracts.program import (
    CallSite,
    Finished,
    IssuedCall,
    LogLine,
    Prepared,
    Problem,
    Timer,
    Turn,
    Usage,
)
from inhabit.errors import InhabitError, InvalidInput, LimitExceeded, ProtocolError, WorkerLost
from inhabit.wire.frames import WIRE_VERSION
from inhabit.wire.messages import Cursor, hostile
from inhabit.wire.values import decode_value, encode_value

__all__ = [
    "Ready", "ReportedLayer", "decode_checked", "decode_failed", "decode_prepared", "decode_ready", "decode_turn",
    "encode_checked", "encode_failed", "encode_prepared", "encode_ready", "encode_turn",
]

_TURN = struct.Struct("<BdQIII")     # flags, cpu_ms, memory_bytes, calls, issued_before, logs
_TIMER = struct.Struct("<Qq")        # id, due_ms
_CALL = struct.Struct("<IHI")        # sequence, bytes of name, bytes of arguments
_LOG = struct.Struct("<BI")          # level, bytes of text
_COUNT = struct.Struct("<I")
_FINISHED, _OK, _HAS_TIMER = 1, 2, 4
_LEVELS: tuple[Literal["log", "info", "warn", "error", "debug"], ...] = ("log", "info", "warn", "error", "debug")
_NAME = 2_000        # characters of an operation name; the runtime refuses far shorter ones
_SHORT = 64          # names of limits, units, layers
_MESSAGE = 2_000     # a worker's own words in an error of ours
_SHAPES = frozenset({"string", "number", "boolean", "unknown"})


@dataclass(frozen=True, slots=True)
class ReportedLayer:
    """One layer of the jail as the worker found it, before any guest ran in it."""

    name: str
    active: bool
    detail: str = ""
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Ready:
    engines: dict[str, str]
    layers: tuple[ReportedLayer, ...]


# -- TURN: the hot path -----------------------------------------------------------------------------------


def encode_turn(turn: Turn) -> bytes:
    flags = (_FINISHED if turn.finished else 0) | (_OK if turn.finished and turn.finished.ok else 0) | (
        _HAS_TIMER if turn.timer else 0)
    parts = [_TURN.pack(flags, turn.usage.cpu_ms, turn.usage.memory_bytes, len(turn.calls), len(turn.issued_before),
                        len(turn.logs))]
    for call in turn.calls:
        name = call.operation[:_NAME].encode("utf-8", "replace")
        parts += (_CALL.pack(call.sequence, len(name), len(call.arguments)), name, call.arguments)
    parts.append(struct.pack(f"<{len(turn.issued_before)}I", *turn.issued_before))
    for line in turn.logs:
        text = line.text.encode("utf-8", "replace")
        parts += (_LOG.pack(_LEVELS.index(line.level), len(text)), text)
    if turn.timer:
        parts.append(_TIMER.pack(turn.timer.id, turn.timer.due_ms))
    if turn.finished:
        parts.append(turn.finished.value)
    return b"".join(parts)


@hostile
def decode_turn(body: bytes, *, max_calls: int = 1_000_000, max_logs: int = 1_000_000) -> Turn:
    """The bounds are counted before the work: millions of tiny records in one frame would hold the host up."""
    cursor = Cursor(body)
    flags, cpu_ms, memory, calls, issued, logs = cursor.fields(_TURN)
    if flags & ~(_FINISHED | _OK | _HAS_TIMER) or not (math.isfinite(cpu_ms) and cpu_ms >= 0):
        raise ValueError
    if calls > max_calls or logs > max_logs or issued > max_calls:
        raise ValueError
    if calls * _CALL.size + issued * _COUNT.size + logs * _LOG.size > len(body):
        raise ValueError
    issued_calls = _calls(cursor, calls)
    issued_before = cursor.fields(_COUNT) if issued == 1 else struct.unpack(f"<{issued}I", cursor.take(issued * _COUNT.size))
    log_lines = tuple([_log(cursor) for _ in range(logs)])
    timer = Timer(*cursor.fields(_TIMER)) if flags & _HAS_TIMER else None
    finished = Finished(bool(flags & _OK), body[cursor.at:]) if flags & _FINISHED else None
    if finished is None:
        cursor.done()
    return Turn(issued_calls, issued_before, finished, timer, log_lines, Usage(cpu_ms, memory))


def _calls(cursor: Cursor, count: int) -> tuple[IssuedCall, ...]:
    """In one loop: a method call for each field is half of the time of a host call's decoding."""
    body, at, size = cursor.body, cursor.at, len(cursor.body)
    found: list[IssuedCall] = []
    for _ in range(count):
        sequence, name, arguments = _CALL.unpack_from(body, at)
        begin = at + _CALL.size
        middle = begin + name
        at = middle + arguments
        if at > size:
            raise ValueError("cut off")
        found.append(IssuedCall(sequence, body[begin:middle].decode(), body[middle:at]))
    cursor.at = at
    return tuple(found)


def _log(cursor: Cursor) -> LogLine:
    level, size = cursor.fields(_LOG)
    if level >= len(_LEVELS):
        raise ValueError
    return LogLine(_LEVELS[int(level)], cursor.take(size).decode())


# -- PREPARED, CHECKED ------------------------------------------------------------------------------------


def encode_prepared(prepared: Prepared) -> bytes:
    """Arguments that JSON cannot carry (half a surrogate pair in a literal) are left for the call itself to refuse."""
    problems = [_problem_row(problem) for problem in prepared.problems]
    sites = [[site.path, site.line, site.column, site.arguments] for site in prepared.calls]
    try:
        return encode_value([prepared.code, sites, problems])
    except InvalidInput:
        bare = [[_printable(site.path), site.line, site.column, None if site.arguments is None else {"kind": "unknown"}] for site in prepared.calls]
        rows = [[_printable(message), line, column, code, [_printable(name) for name in near]] for message, line, column, code, near in problems]
        return encode_value([_printable(prepared.code), bare, rows])


def _printable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


@hostile
def decode_prepared(body: bytes) -> Prepared:
    code, calls, problems = decode_value(body)
    return Prepared(_text(code), tuple([_site(*row) for row in _rows(calls)]),
                    tuple([_problem(*row) for row in _rows(problems)]))


def encode_checked(problems: tuple[Problem, ...]) -> bytes:
    return encode_value([_problem_row(problem) for problem in problems])


@hostile
def decode_checked(body: bytes) -> tuple[Problem, ...]:
    return tuple([_problem(*row) for row in _rows(decode_value(body))])


def _problem_row(problem: Problem) -> list[Any]:
    return [problem.message, problem.line, problem.column, problem.code, problem.nearest]


def _problem(message: Any, line: Any, column: Any, code: Any, nearest: Any) -> Problem:
    return Problem(_text(message), _count(line), _count(column), _text(code), tuple(map(_text, _rows(nearest))))


def _site(path: Any, line: Any, column: Any, arguments: Any) -> CallSite:
    if arguments is not None:
        _check_shape(arguments)
    return CallSite(_text(path), _count(line), _count(column), arguments)


def _check_shape(shape: Any) -> None:
    """Raises for what is not a shape as `CallSite.arguments` defines it. Its depth is bounded by the decoder."""
    kind = shape["kind"]
    if kind == "object":
        for name, inner in shape["properties"].items():
            _text(name)
            _check_shape(inner)
        _flag(shape["open"])
    elif kind == "array":
        for inner in _rows(shape["items"]):
            _check_shape(inner)
        _flag(shape["open"])
    elif kind == "literal":
        shape["value"]
    elif kind not in _SHAPES:
        raise ValueError


# -- READY, FAILED ----------------------------------------------------------------------------------------


def encode_ready(ready: Ready, *, version: int = WIRE_VERSION) -> bytes:
    return encode_value([version, ready.engines, [[y.name, y.active, y.detail, y.fix] for y in ready.layers]])


@hostile
def decode_ready(body: bytes) -> Ready:
    """Raises `ProtocolError` naming both versions when the worker speaks another one."""
    version, *rest = decode_value(body)
    if version != WIRE_VERSION:
        raise ProtocolError(f"the worker speaks wire version {_count(version)}, this host {WIRE_VERSION}",
                            fix="restart the server, so that host and workers are of one installation")
    engines, layers = rest
    names = {_text(language): _text(engine) for language, engine in engines.items()}
    return Ready(names, tuple([_layer(*row) for row in _rows(layers)]))


def _layer(name: Any, active: Any, detail: Any, fix: Any) -> ReportedLayer:
    return ReportedLayer(_text(name)[:_SHORT], _flag(active), _text(detail)[:_MESSAGE], _text(fix)[:_MESSAGE])


def encode_failed(error: Exception) -> bytes:
    if isinstance(error, LimitExceeded):
        details = error.details
        return encode_value([details.get("limit", "?"), details.get("value", 0), details.get("unit", ""), error.message[:_MESSAGE]])
    words = error.message if isinstance(error, InhabitError) else f"{type(error).__name__}: {error}"
    return encode_value(["", 0, "", words[:_MESSAGE].encode("utf-8", "replace").decode()])


@hostile
def decode_failed(body: bytes) -> LimitExceeded | WorkerLost:
    """The error to raise in the host: the named limit, or the engine's own failure."""
    limit, value, unit, message = decode_value(body)
    words = _text(message)[:_MESSAGE]
    if not _text(limit):
        return WorkerLost(f"the engine failed: {words}")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    return LimitExceeded(words, details={"limit": limit[:_SHORT], "value": value, "unit": _text(unit)[:_SHORT]})


# -- checks -----------------------------------------------------------------------------------------------


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise TypeError
    return value


def _rows(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError
    return value   # pyright: ignore[reportUnknownVariableType]
