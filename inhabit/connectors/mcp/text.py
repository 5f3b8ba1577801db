"""Text written by a server, made fit for a person and a model to read: bounded, without control characters."""

from __future__ import annotations

import unicodedata

__all__ = ["MAX_DESCRIPTION_CHARS", "MAX_LINE_CHARS", "clean", "one_line"]

MAX_DESCRIPTION_CHARS = 8_000
MAX_LINE_CHARS = 300

_KEPT = frozenset("\n\t")
# Cc control, Cf format (bidi overrides, zero width, tag characters), Cs surrogate, Co private use, Cn unassigned
_DROPPED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})


def clean(text: object, limit: int = MAX_DESCRIPTION_CHARS) -> str:
    """`text` without invisible or directional characters, cut to `limit` characters with a visible mark."""
    if not isinstance(text, str):
        return ""
    cut = text[: limit * 2].replace("\r\n", "\n")
    kept = cut if cut.isascii() and cut.isprintable() else "".join(c for c in cut if _shown(c))
    kept = kept.strip()
    return kept if len(kept) <= limit and len(text) <= limit * 2 else kept[: limit - 1].rstrip() + "…"


def one_line(text: object, limit: int = MAX_LINE_CHARS) -> str:
    """`clean`, on one line: for error messages and progress."""
    return " ".join(clean(text, limit).split())


def _shown(char: str) -> bool:
    return char in _KEPT or unicodedata.category(char) not in _DROPPED
