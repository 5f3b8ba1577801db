"""What returns to the model is bounded structurally: always valid JSON, cut where it is long, and saying so.

A cut array ends with `"… 480 more items"`, a cut string with `"… 12000 more characters"`, a cut object carries
the key `"…"`. The whole value stays in the journal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import orjson

from inhabit.contracts.json import is_array, is_object
from inhabit.runtime.tokens import BYTES_AT_MOST, token_bound

__all__ = ["bounded"]

_STEPS = ((200, 4_000), (100, 2_000), (50, 1_000), (25, 500), (12, 250), (6, 120), (3, 60), (1, 30), (1, 12))
"""(items of an array or object, characters of a string), tried from generous to strict."""
_TOO_MUCH = object()


def bounded(value: Any, max_tokens: int) -> tuple[Any, bool]:
    """`value` cut to at most `max_tokens`, and whether it was cut."""
    if _fits(value, max_tokens):
        return value, False
    for items, characters in _STEPS:
        cut = _cut(value, items, characters, [max_tokens * BYTES_AT_MOST])
        if cut is not _TOO_MUCH and _fits(cut, max_tokens):
            return cut, True
    return _outline(value), True


def _fits(value: Any, max_tokens: int) -> bool:
    body = orjson.dumps(value)
    return len(body) <= max_tokens * BYTES_AT_MOST and token_bound(body) <= max_tokens


def _cut(value: Any, items: int, characters: int, room: list[int]) -> Any:
    """`room` is what is left of the nodes, at a byte each: a tree of a million small nodes is given up early, not
    walked at every step.
    """
    room[0] -= 1
    if room[0] < 0:
        return _TOO_MUCH
    if isinstance(value, str):
        rest = len(value) - characters
        return value if rest <= 0 else f"{value[:characters]}… {rest} more characters"
    if is_array(value):
        return _cut_array(value, items, characters, room)
    return _cut_object(value, items, characters, room) if is_object(value) else value


def _cut_array(value: Sequence[Any], items: int, characters: int, room: list[int]) -> Any:
    kept: list[Any] = []
    for item in value[:items]:
        cut = _cut(item, items, characters, room)
        if cut is _TOO_MUCH:
            return _TOO_MUCH
        kept.append(cut)
    return kept if len(value) <= items else [*kept, f"… {len(value) - items} more items"]


def _cut_object(value: Mapping[str, Any], items: int, characters: int, room: list[int]) -> Any:
    most = items * 2   # objects are records more often than maps: their keys are worth more than array items
    kept: dict[str, Any] = {}
    for key, item in islice(value.items(), most):
        cut = _cut(item, items, characters, room)
        if cut is _TOO_MUCH:
            return _TOO_MUCH
        kept[key[:characters * 2]] = cut
    return kept if len(value) <= most else {**kept, "…": f"{len(value) - most} more keys"}


def _outline(value: Any) -> Any:
    if is_array(value):
        return f"… an array of {len(value)} items, too large to show"
    if is_object(value):
        return f"… an object of {len(value)} keys, too large to show"
    return f"{str(value)[:30]}… too large to show"
