"""The one Markdown fence in what a model wrote, with prose around it: models explain their programs."""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["Fence", "only_fence"]

_MARK = re.compile(r"^[ \t]*```+[ \t]*([\w+#.-]*)[^\n`]*$", re.MULTILINE)
_IN_CODE = ('"""', "'''", "/*")
"""With one of these around it, a fence may be part of a string or comment of the program."""


class Fence(NamedTuple):
    """`start` and `end` of the code in the text."""

    start: int
    end: int
    language: str


def only_fence(text: str) -> Fence | None:
    """The fence of a text that has exactly one, closed, and cannot be a program's own."""
    if text.count("```") > 20:
        return None
    marks = list(_MARK.finditer(text))
    if len(marks) != 2 or marks[1][1]:
        return None
    around = text[:marks[0].start()] + text[marks[1].end():]
    if any(mark in around for mark in _IN_CODE):
        return None
    return Fence(min(marks[0].end() + 1, marks[1].start()), marks[1].start(), marks[0][1].lower())
