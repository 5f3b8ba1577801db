"""Validators whose time is bounded, whatever regular expressions a source's schema has.

Model: a `pattern` is matched by an engine in linear time, and by a small automaton: that is cheap for any text. A schema
with look-around, back-references or a very large pattern gets the other kind, which can be dear by the character; a
value with much text is then refused rather than matched for minutes on the server's own loop.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import jsonschema_rs

from inhabit.contracts.json import is_array, is_object

__all__ = ["MAX_CHARACTERS", "MAX_STRINGS", "Validator", "compiled"]

MAX_STRINGS = 4_000
MAX_CHARACTERS = 64 * 1024
"""Of all strings of a value, keys too, where a pattern is dear."""
_BACKTRACKS = 5_000
"""Steps back in one match; past them it does not match. At the library's own million, one pattern over 100 KB of text
held the event loop for two minutes."""
_SMALL_BYTES = 64 * 1024
_LARGE_BYTES = 1_000_000
"""Of an automaton: with one of a megabyte, a megabyte of text took 25 seconds."""
_CACHE_BYTES = 2_000_000


class Validator(Protocol):
    def is_valid(self, value: Any, /) -> bool: ...

    def iter_errors(self, value: Any, /) -> Iterator[Any]: ...


def compiled(schema: dict[str, Any]) -> Validator:
    """Raises `jsonschema_rs.ValidationError` or `ValueError` for what is no valid schema."""
    small = jsonschema_rs.RegexOptions(size_limit=_SMALL_BYTES, dfa_size_limit=_CACHE_BYTES)
    try:
        return jsonschema_rs.Draft202012Validator(schema, pattern_options=small)
    except jsonschema_rs.ValidationError:
        dear = jsonschema_rs.FancyRegexOptions(backtrack_limit=_BACKTRACKS, size_limit=_LARGE_BYTES, dfa_size_limit=_CACHE_BYTES)
        return _Dear(jsonschema_rs.Draft202012Validator(schema, pattern_options=dear))


@dataclass(frozen=True, slots=True)
class _TooMuch:
    instance_path: tuple[str, ...] = ()
    message: str = (f"more than {MAX_STRINGS} strings or {MAX_CHARACTERS} characters, too much for a schema whose patterns have"
                    " look-around, back-references or long repetitions")


class _Dear:
    def __init__(self, inner: Validator) -> None:
        self._inner = inner

    def is_valid(self, value: Any, /) -> bool:
        return _little_text(value) and self._inner.is_valid(value)

    def iter_errors(self, value: Any, /) -> Iterator[Any]:
        return self._inner.iter_errors(value) if _little_text(value) else iter((_TooMuch(),))


def _little_text(value: Any) -> bool:
    """The walk ends when there is too much."""
    strings = characters = 0
    stack = [value]
    while stack and strings <= MAX_STRINGS and characters <= MAX_CHARACTERS:
        node = stack.pop()
        if isinstance(node, str):
            strings, characters = strings + 1, characters + len(node)
        elif is_object(node):
            stack.extend(node)
            stack.extend(node.values())
        elif is_array(node):
            stack.extend(node)
    return strings <= MAX_STRINGS and characters <= MAX_CHARACTERS
