"""What returns to the model is bounded structurally: always valid JSON, cut where it is long, and saying so.

A cut array ends with `"… 480 more items"`, a cut string with `"… 12000 more characters"`, a cut object carries
the key `"…"`. The whole value stays in the journal.
"""

from __future__ import annotations

from typing import Any

import orjson

from inhabit.contracts.json import is_array, is_object

__all__ = ["bounded", "token_bound"]

_BYTES_PER_TOKEN = 3
"""JSON in o200k runs at 3 to 4 bytes a token in English and code; 3 keeps the promise for most data."""
_STEPS = ((200, 4_000), (100, 2_000), (50, 1_000), (25, 500), (12, 250), (6, 120), (3, 60), (1, 30))
"""(items of an array or object, characters of a string), tried from generous to strict."""


def token_bound(body: bytes) -> int:
    """An upper estimate of the tokens of a JSON text."""
    return -(-len(body) // _BYTES_PER_TOKEN)


def bounded(value: Any, max_tokens: int) -> tuple[Any, bool]:
    """`value` cut to at most `max_tokens`, and whether it was cut."""
    if _fits(value, max_tokens):
        return value, False
    for items, characters in _STEPS:
        cut = _cut(value, items, characters)
        if _fits(cut, max_tokens):
            return cut, True
    return _outline(value), True


def _fits(value: Any, max_tokens: int) -> bool:
    return token_bound(orjson.dumps(value)) <= max_tokens


def _cut(value: Any, items: int, characters: int) -> Any:
    if isinstance(value, str):
        rest = len(value) - characters
        return value if rest <= 0 else f"{value[:characters]}… {rest} more characters"
    if is_array(value):
        kept = [_cut(item, items, characters) for item in value[:items]]
        return kept if len(value) <= items else [*kept, f"… {len(value) - items} more items"]
    if is_object(value):
        # Objects are records more often than maps: their keys are worth more than array items.
        room = items * 2
        kept_pairs = {key[:characters * 2]: _cut(item, items, characters) for key, item in list(value.items())[:room]}
        return kept_pairs if len(value) <= room else {**kept_pairs, "…": f"{len(value) - room} more keys"}
    return value


def _outline(value: Any) -> Any:
    if is_array(value):
        return f"… an array of {len(value)} items, too large to show"
    if is_object(value):
        return f"… an object of {len(value)} keys, too large to show"
    return f"{str(value)[:30]}… too large to show"
