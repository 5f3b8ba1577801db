"""Run ids: sortable by time of creation, and not to be guessed."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from inhabit.errors import InvalidInput

__all__ = ["RANDOM_BYTES", "new_run_id", "run_created_ms"]

RANDOM_BYTES = 10
"""80 random bits behind the 48 bits of time."""
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_LENGTH = 26
_MAX_MS = (1 << 48) - 1


def new_run_id(now_ms: int, random: Callable[[int], bytes] = secrets.token_bytes) -> str:
    """26 characters (Crockford base 32, lower case): Unix time in ms, then 80 bits of `random(10)`.

    String order is time order. Raises `InvalidInput` for a time outside 48 bits.
    """
    if not 0 <= now_ms <= _MAX_MS:
        raise InvalidInput(f"a run id cannot carry the time {now_ms} ms", fix="set the machine's clock")
    number = now_ms << 80 | int.from_bytes(random(RANDOM_BYTES), "big")
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))


def run_created_ms(run_id: str) -> int:
    """The Unix time in ms inside a run id. Raises `InvalidInput` for anything else."""
    if len(run_id) != _LENGTH or run_id[0] > "7" or any(letter not in _ALPHABET for letter in run_id):
        raise InvalidInput(f"{run_id[:40]!r} is not a run id", fix="26 characters as `inhabit runs list` shows them")
    number = 0
    for letter in run_id:
        number = number << 5 | _ALPHABET.index(letter)
    return number >> 80
