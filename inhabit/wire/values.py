"""JSON text ↔ plain values, bounded before anything recursive or greedy sees the text.

Trusted set. Invariants:
- `decode_value` raises `ProtocolError` and nothing else, whatever the bytes are.
- What it returns, `encode_value` writes back, and decoding that gives an equal value.
- The depth and the number of items are counted on the text, linearly, so a bomb costs no memory. (The parser
  itself stops at 1,024 levels and refuses NaN, Infinity, 1e400, bad UTF-8 and lone surrogates.)
- An integer beyond 64 bits would silently become a double. It passes only when it is spelt as a double prints
  (what JavaScript writes for 2**64), so that nothing is rounded unseen.
"""

from __future__ import annotations

import json
import math
import re
from itertools import accumulate
from typing import Any

import orjson

from inhabit.errors import InvalidInput, ProtocolError
from inhabit.limits import MAX_FRAME_BYTES, MAX_JSON_DEPTH

__all__ = ["MAX_JSON_ITEMS", "TOO_MANY_ITEMS", "decode_value", "encode_value"]

MAX_JSON_ITEMS = 1_000_000
"""Members and elements of one value: 16 MB of `{},{},…` would otherwise unfold to gigabytes."""
TOO_MANY_ITEMS = "too_many_items"
"""The code of the errors that say so, for who has a limit of its own to name."""

_SAFE_INTEGER_DIGITS = 18
_LONGEST_DOUBLE_AS_INTEGER = 22   # sign and 21 digits: doubles print with an exponent from 1e21 on
_DIGIT_RUN = b"0" * (_SAFE_INTEGER_DIGITS + 1)
_DIGITS_TO_ZERO = bytes.maketrans(b"123456789", b"0" * 9)
_STRUCTURE = b'[]{}",'
_NOT_STRUCTURE = bytes(set(range(256)) - set(_STRUCTURE))
_BRACES_TO_BRACKETS = bytes.maketrans(b"{}", b"[]")
_QUOTED = re.compile(rb'"[^"]*"')
_WITHIN = ("", None)
_STEP = tuple({ord("["): 1, ord("]"): -1}.get(byte, 0) for byte in range(256))


def decode_value(body: bytes, *, max_bytes: int = MAX_FRAME_BYTES, max_depth: int = MAX_JSON_DEPTH,
                 max_items: int = MAX_JSON_ITEMS) -> Any:
    """The value of one JSON text. Raises `ProtocolError` for anything that is not one, or is over a bound."""
    if len(body) > max_bytes:
        raise ProtocolError(f"a JSON value of {len(body)} bytes; at most {max_bytes} are taken")
    problem, code = _over_bounds(body, max_depth, max_items)
    if problem:
        raise ProtocolError(problem, code=code)
    try:
        value = orjson.loads(body)
    except ValueError as error:   # orjson.JSONDecodeError; its message carries no input text
        raise ProtocolError(f"not JSON: {error}") from None
    if _DIGIT_RUN in body.translate(_DIGITS_TO_ZERO):
        json.loads(body, parse_int=_exact_integer)
    return value


def encode_value(value: Any, *, canonical: bool = False, max_items: int = MAX_JSON_ITEMS) -> bytes:
    """JSON text of plain data; `canonical` sorts the keys. Raises `InvalidInput` for what JSON cannot carry:
    other types, NaN and Infinity, integers beyond 64 bits, lone surrogates, cycles, too deep data.
    """
    try:
        body = orjson.dumps(value, option=orjson.OPT_SORT_KEYS if canonical else None)
    except TypeError as error:    # orjson.JSONEncodeError
        raise InvalidInput(f"not JSON data: {error}", fix="give plain dict, list, str, int, float, bool or None") from None
    problem, code = _over_bounds(body, MAX_JSON_DEPTH, max_items)
    if problem:
        raise InvalidInput(problem, code=code)
    if b"null" in body and _holds_non_finite(value):   # orjson writes NaN as null
        raise InvalidInput("not JSON data: NaN or Infinity", fix="give a finite number or null")
    return body


def _over_bounds(body: bytes, max_depth: int, max_items: int) -> tuple[str, str | None]:
    """Why the text is too deep or has too many items, or "". For text that is not JSON the answer is arbitrary."""
    if len(body) <= max_depth and len(body) <= max_items:   # each level and each item takes a byte
        return _WITHIN
    openers = body.count(b"[") + body.count(b"{")
    if openers <= max_depth and openers + body.count(b",") <= max_items:
        return _WITHIN
    structure = _structure(body)
    if structure.count(b"[") + structure.count(b",") > max_items:
        return f"a JSON value with more than {max_items} items", TOO_MANY_ITEMS
    if max(accumulate(map(_STEP.__getitem__, structure.replace(b",", b""))), default=0) > max_depth:
        return f"a JSON value nested deeper than {max_depth} levels", None
    return _WITHIN


def _structure(body: bytes) -> bytes:
    """Only the brackets and commas outside strings, braces written as brackets."""
    if b"\\" in body:   # a run of backslashes starts aligned, so escaped pairs can be dropped from its left
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    bare = body.translate(None, _NOT_STRUCTURE).replace(b'""', b"")
    if b'"' in bare:
        bare = _QUOTED.sub(b"", bare)
    return bare.translate(_BRACES_TO_BRACKETS)


def _exact_integer(text: str) -> int:
    if len(text) <= _SAFE_INTEGER_DIGITS:
        return 0
    if len(text) <= _LONGEST_DOUBLE_AS_INTEGER:
        exact = int(text)
        if -(2**63) <= exact < 2**64 or _as_double_prints(float(exact)) == text:
            return 0
    raise ProtocolError("an integer beyond 64 bits", fix="pass large integers as strings")


def _as_double_prints(number: float) -> str:
    """The integer digits JavaScript prints for a double in [2**63, 1e21): shortest digits, then zeros."""
    mantissa, _, exponent = repr(number).partition("e+")
    whole, _, fraction = mantissa.partition(".")
    return whole + fraction.ljust(int(exponent or 0), "0")


def _holds_non_finite(value: Any) -> bool:
    pending: list[Any] = [[value]]
    while pending:
        container = pending.pop()
        for item in container.values() if isinstance(container, dict) else container:   # pyright: ignore
            if isinstance(item, float):
                if not math.isfinite(item):
                    return True
            elif isinstance(item, dict | list | tuple):
                pending.append(item)
    return False
