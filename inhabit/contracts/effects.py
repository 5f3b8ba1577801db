"""What an operation does to the world, as declared or derived. Unknown means the dangerous value."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from inhabit.errors import ConfigError

__all__ = ["UNKNOWN_EFFECTS", "Effects", "Reads", "Trust", "Writes", "checked_effects"]

Reads = Literal["none", "public", "private"]
Trust = Literal["trusted", "untrusted"]
Writes = Literal["none", "internal", "external"]


@dataclass(frozen=True, slots=True)
class Effects:
    """`reads`: whose data the result may carry. `trust`: who could have written that data.
    `writes`: how far a change reaches. `idempotent`: calling twice with one key equals calling once.
    """

    reads: Reads = "private"
    trust: Trust = "untrusted"
    writes: Writes = "external"
    irreversible: bool = True
    idempotent: bool = False

    @property
    def may_write(self) -> bool:
        return self.writes != "none"


UNKNOWN_EFFECTS = Effects()
_CHOICES: dict[str, tuple[Any, ...]] = {
    "reads": get_args(Reads), "trust": get_args(Trust), "writes": get_args(Writes),
    "irreversible": (True, False), "idempotent": (True, False)}


def checked_effects(given: Mapping[str, Any], *, where: str) -> Effects:
    """Effects from plain data; what is left out is the dangerous value. Raises `ConfigError` for a word that is none:
    a misspelt one would count as something that no rule looks for."""
    for key, value in given.items():
        if key not in _CHOICES:
            raise ConfigError(f"{where}: unknown effect {key!r}", fix=_nearest(key, tuple(_CHOICES)))
        choices = _CHOICES[key]
        if not any(value is choice or (isinstance(value, str) and value == choice) for choice in choices):
            raise ConfigError(f"{where}: {key} cannot be {value!r}", fix=_nearest(str(value), choices))
    return Effects(**given)


def _nearest(word: str, choices: tuple[Any, ...]) -> str:
    close = difflib.get_close_matches(word, [choice for choice in choices if isinstance(choice, str)], 1)
    known = f"one of {', '.join(map(str, choices))}"
    return f"did you mean {close[0]!r}? It is {known}" if close else known
