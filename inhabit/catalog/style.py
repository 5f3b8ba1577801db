"""How much a declaration says."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BARE", "BRIEF", "FULL", "NORMAL", "Style"]


@dataclass(frozen=True, slots=True)
class Style:
    """Bounds of one rendering. Characters count per note; `enum_values` is how many literals are spelt out;
    `depth` how deep objects are spelt out where they stand; `note_depth` how deep properties have notes."""

    doc_chars: int
    note_chars: int
    enum_values: int
    depth: int
    note_depth: int
    errors: int


FULL = Style(doc_chars=600, note_chars=300, enum_values=10_000, depth=60, note_depth=60, errors=12)
"""For files."""
BARE = Style(doc_chars=0, note_chars=0, enum_values=10_000, depth=60, note_depth=0, errors=0)
"""For a type checker alone."""
NORMAL = Style(doc_chars=160, note_chars=90, enum_values=16, depth=4, note_depth=2, errors=6)
"""For a model, with room."""
BRIEF = Style(doc_chars=80, note_chars=0, enum_values=6, depth=2, note_depth=0, errors=0)
"""Signature and one line: what is needed to choose, and often to call."""
