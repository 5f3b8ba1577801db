"""Guest values ↔ JSON. Data only: what has no place in JSON is refused by name, with what to do instead.

Conversions: tuples, sets and frozensets become lists (sets sorted, so that the order never depends on a process),
dates and times ISO text, Decimal text, timedelta seconds, paths text, instances of a program's own classes and
dataclasses objects of their attributes, exceptions `{name, message}`. Keys may be str, int, float, bool or None.
"""

from __future__ import annotations

import datetime
import decimal
import math
import pathlib
import re
from collections.abc import Callable
from typing import Any, cast

import orjson
from pydantic_monty import MontyClassProxy, MontyStdTypeProxy

from inhabit.errors import InvalidInput, LimitExceeded
from inhabit.limits import MAX_JSON_DEPTH
from inhabit.wire.values import encode_value

__all__ = ["NotData", "to_json"]

_UNAWAITED = re.compile(r"<coroutine (external_future\(\d+\)|\S+.*)>\Z")
_BIG = 2**64


class NotData(Exception):
    """A value that JSON cannot carry; the message is for the program's author."""


def to_json(value: Any, what: str, max_bytes: int) -> bytes:
    """JSON text. Raises `NotData`, or `LimitExceeded` (value_bytes)."""
    try:
        body = encode_value(_plain(value, what, 0))
    except InvalidInput as error:
        raise NotData(f"{what}: {error.message}") from None
    if len(body) > max_bytes:
        raise LimitExceeded.of("value_bytes", max_bytes, "bytes", what=what)
    return body


def _plain(value: Any, where: str, depth: int) -> Any:
    kind = cast("type[Any]", type(value))
    if kind is str:
        return _text(value, where)
    if kind is bool or value is None:
        return value
    if kind is int:
        return _integer(value, where)
    if kind is float:
        return _number(value, where)
    if depth > MAX_JSON_DEPTH:
        raise NotData(f"{where}: nested deeper than {MAX_JSON_DEPTH} levels (or it contains itself)")
    if isinstance(value, dict):
        items = cast("dict[Any, Any]", value)
        return {_key(key, where): _plain(item, where, depth + 1) for key, item in items.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, where, depth + 1) for item in cast("list[Any]", value)]
    if isinstance(value, set | frozenset):
        members = [_plain(item, where, depth + 1) for item in cast("set[Any]", value)]
        return sorted(members, key=_set_order)
    return _other(value, where, depth)


def _set_order(member: Any) -> tuple[int, float, bytes]:
    if isinstance(member, int | float):
        return (0, float(member), b"")
    return (1, 0.0, orjson.dumps(member))


def _other(value: Any, where: str, depth: int) -> Any:
    for kinds, convert in _CONVERSIONS:
        if isinstance(value, kinds):
            return convert(value)
    if isinstance(value, MontyClassProxy):
        return {name: _plain(item, where, depth + 1) for name, item in value.attributes.items()}
    if isinstance(value, BaseException):
        return {"name": type(value).__name__, "message": str(value)}
    raise NotData(f"{where}: {_name_of(value)} is not JSON data; {_advice(value)}")


_CONVERSIONS: tuple[tuple[type[Any] | tuple[type[Any], ...], Callable[[Any], Any]], ...] = (
    ((datetime.datetime, datetime.date, datetime.time), lambda value: value.isoformat()),
    (datetime.timedelta, lambda value: value.total_seconds()),
    (decimal.Decimal, str),
    (pathlib.PurePath, str),
)


def _key(key: Any, where: str) -> str:
    if isinstance(key, str):
        return _text(key, where)
    if key is None:
        return "null"
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, int):
        return str(_integer(key, where))
    if isinstance(key, float):
        return repr(_number(key, where))
    if isinstance(key, datetime.date):
        return key.isoformat()
    raise NotData(f"{where}: a {type(key).__name__} is no key of a JSON object; use a string")


def _text(value: str, where: str) -> str:
    if value.startswith("<coroutine ") and _UNAWAITED.match(value):
        raise NotData(f"{where}: a call that was not awaited; write `await` before it")
    return value


def _integer(value: int, where: str) -> int:
    if -_BIG // 2 <= value < _BIG:
        return value
    raise NotData(f"{where}: an integer beyond 64 bits; pass it as str(n)")


def _number(value: float, where: str) -> float:
    if math.isfinite(value):
        return value
    raise NotData(f"{where}: {value} is not JSON data; use None or a string")


def _name_of(value: Any) -> str:
    if isinstance(value, MontyStdTypeProxy):
        return f"the {value.kind} {value.name}"
    if isinstance(value, type):
        return f"the type {value.__name__}"
    return f"a value of type {getattr(value, 'type_name', None) or type(value).__name__}"


def _advice(value: Any) -> str:
    if isinstance(value, bytes | bytearray):
        return "use base64.b64encode(data).decode()"
    return "use dict, list, str, int, float, bool or None"
