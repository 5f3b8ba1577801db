"""Parameter values to text, after OpenAPI's `style` and `explode` table. Pure.

Every value is percent-encoded here, once; a path parameter can never add a segment that a server would read as
a way up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import orjson

from inhabit.contracts.json import is_array, is_object
from inhabit.errors import InvalidInput

__all__ = ["encode_query", "header_value", "path_value", "query_pairs", "scalar"]

_RESERVED = ":/?#[]@!$&'()*+,;="
_SEPARATORS = {"spaceDelimited": "%20", "pipeDelimited": "|", "tabDelimited": "%09"}
_MAX_NESTING = 8

Pairs = list[tuple[str, str]]


def scalar(value: Any) -> str:
    """Text of a value that is not a list or object: JSON's words for booleans and null."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case None:
            return ""
        case float() if value.is_integer() and abs(value) < 1e15:
            return str(int(value))
        case int() | float():
            return str(value)
        case _:
            return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()


def query_pairs(name: str, value: Any, style: str, explode: bool) -> Pairs:
    """Name/value pairs, values still plain. Separators of non-exploded styles come already encoded."""
    if is_object(value):
        if style == "deepObject":
            return _deep(name, value, 0)
        if explode:
            return [(str(key), scalar(item)) for key, item in value.items()]
        return [(name, ",".join(_q(scalar(part)) for pair in value.items() for part in pair))]
    if is_array(value):
        if style == "deepObject":
            return _deep(name, value, 0)
        if explode:
            return [(name, scalar(item)) for item in value]
        return [(name, _SEPARATORS.get(style, ",").join(_q(scalar(item)) for item in value))]
    return [(name, scalar(value))]


def encode_query(pairs: Sequence[tuple[str, str, bool, bool]]) -> str:
    """`(name, value, ready, reserved)` pairs to a query string. `ready`: the value is encoded already."""
    return "&".join(f"{_q(name)}={value if ready else quote(value, safe=_RESERVED.replace('&', '').replace('#', '')) if reserved else _q(value)}"
                    for name, value, ready, reserved in pairs)


def header_value(value: Any, explode: bool) -> str:
    """Raises `InvalidInput` for a line break or control character."""
    if is_array(value):
        text = ",".join(scalar(item) for item in value)
    elif is_object(value):
        text = ",".join(f"{key}={scalar(item)}" if explode else f"{key},{scalar(item)}" for key, item in value.items())
    else:
        text = scalar(value)
    if any((ord(char) < 32 and char != "\t") or ord(char) == 127 for char in text):
        raise InvalidInput("a header value cannot carry control characters", code="arguments_invalid")
    return text


def path_value(name: str, value: Any, style: str, explode: bool, *, reserved: bool) -> str:
    """One or more path segments. Raises `InvalidInput` for an empty value and for `.` and `..`."""
    parts = _path_parts(value)
    if not parts or not any(parts):
        raise InvalidInput(f"{name} must not be empty: it is part of the path", code="arguments_invalid")
    if any(segment in {".", ".."} for part in parts for segment in part.replace("\\", "/").split("/")):
        raise InvalidInput(f"{name} must not hold a `.` or `..` segment: it is part of the path", code="arguments_invalid")
    encode = _reserved_path if reserved else _q
    match style:
        case "label":
            return "." + ("." if explode else ",").join(_encoded_parts(value, explode, encode))
        case "matrix":
            return _matrix(name, value, explode)
        case _:
            return ",".join(_encoded_parts(value, explode, encode))


def _encoded_parts(value: Any, explode: bool, encode: Callable[[str], str]) -> list[str]:
    if is_object(value) and explode:
        return [f"{encode(str(key))}={encode(scalar(item))}" for key, item in value.items()]
    return [encode(part) for part in _path_parts(value)]


def _path_parts(value: Any) -> list[str]:
    if is_object(value):
        return [scalar(part) for pair in value.items() for part in pair]
    if is_array(value):
        return [scalar(item) for item in value]
    return [scalar(value)]


def _matrix(name: str, value: Any, explode: bool) -> str:
    if is_object(value) and explode:
        return "".join(f";{_q(str(key))}={_q(scalar(item))}" for key, item in value.items())
    if is_array(value) and explode:
        return "".join(f";{_q(name)}={_q(scalar(item))}" for item in value)
    return f";{_q(name)}=" + ",".join(_q(part) for part in _path_parts(value))


def _deep(name: str, value: Any, depth: int) -> Pairs:
    """`a[b][c]=1`, and `a[]=1` for lists, as servers of this style read them."""
    if depth > _MAX_NESTING:
        raise InvalidInput(f"{name} is nested too deep for a query", code="arguments_invalid")
    if is_object(value):
        return [pair for key, item in _items(value) for pair in _deep(f"{name}[{key}]", item, depth + 1)]
    if is_array(value):
        plain = all(not is_object(item) and not is_array(item) for item in value)
        return [pair for index, item in enumerate(value)
                for pair in _deep(f"{name}[]" if plain else f"{name}[{index}]", item, depth + 1)]
    return [(name, scalar(value))]


def _items(value: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(str(key), item) for key, item in value.items()]


def _q(text: str) -> str:
    return quote(text, safe="")


def _reserved_path(text: str) -> str:
    return quote(text, safe=":/@!$&'()*+,;=")
