"""What is wrong with a policy, and where: values that a person reads and a tool counts."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

__all__ = ["Place", "Problem", "ordered", "suggestion"]

_SHOWN = 8


class Place(NamedTuple):
    """A line and a column of the file, from 1; 0 where there is no text (a policy given as values)."""

    line: int = 0
    column: int = 0


class Problem(NamedTuple):
    """`where` is the rule, limit, result or test by its name. An error keeps the policy from being used."""

    severity: Literal["error", "warning"]
    place: Place
    where: str
    message: str
    fix: str = ""

    def text(self, file: str) -> str:
        at = f"{file}:{self.place.line}:{self.place.column}" if self.place.line else file
        about = f"{self.where}: " if self.where else ""
        return f"{at}: {self.severity}: {about}{self.message}" + (f" ({self.fix})" if self.fix else "")


def ordered(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Each once, in the order of the file."""
    return tuple(sorted(dict.fromkeys(problems), key=lambda problem: (problem.place, problem.severity)))


def suggestion(name: str, known: Sequence[str]) -> str:
    """The nearest of the known names, else the first of them."""
    close = difflib.get_close_matches(name, known, 1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]!r}?"
    shown = ", ".join(known[:_SHOWN]) + (", …" if len(known) > _SHOWN else "")
    return f"known here: {shown}" if known else ""
