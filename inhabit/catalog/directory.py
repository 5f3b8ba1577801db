"""Names without ranking: direct lookups of a query, prefixes, and the nearest names to a wrong one.

A query is a direct lookup when it consists of operation names, prefixes of names, or `type NAME`, separated by
spaces or commas; anything else is a question in words.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from inhabit.catalog.grams import distance
from inhabit.catalog.segment import Segment

__all__ = ["Directory", "Lookup"]

Visible = Callable[[str], bool]

_DIRECT = re.compile(r"(?:type\s+)?[A-Za-z_$][\w$.*-]*(?:\(\s*\))?", re.IGNORECASE)
_TYPE = re.compile(r"\btype\s+([A-Za-z_$][\w$.-]*)")
_MAX_LOOKUPS = 20
_NEAREST_POOL = 24


@dataclass(frozen=True, slots=True)
class Lookup:
    """What a direct query named: operations, types (names), and words that are neither."""

    operations: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    total: int = 0


class Directory:
    """Sorted names of a fixed set of segments."""

    def __init__(self, segments: Sequence[Segment]) -> None:
        self._segments = tuple(segments)
        self.names: list[str] = sorted({name for segment in segments for name in segment.names})
        self._types = {name for segment in segments for name, _holder in segment.types}

    def namespaces(self, visible: Visible | None) -> tuple[str, ...]:
        """Top-level identifiers that have at least one visible operation, sorted."""
        found: list[str] = []
        place = 0
        while place < len(self.names):
            root = self.names[place].split(".", 1)[0]
            end = bisect_left(self.names, root + ".\U0010ffff", place)
            end = max(end, place + 1)
            if root not in found and (visible is None or any(visible(name) for name in self.names[place:end])):
                found.append(root)
            place = end
        return tuple(found)

    def under(self, prefix: str, visible: Visible | None) -> list[str]:
        """Visible operations named `prefix` or `prefix.…`."""
        start = bisect_left(self.names, prefix)
        found: list[str] = []
        for name in self.names[start:]:
            if not name.startswith(prefix):
                break
            if (len(name) == len(prefix) or name[len(prefix)] == ".") and (visible is None or visible(name)):
                found.append(name)
        return found

    def lookup(self, query: str, visible: Visible | None, limit: int) -> Lookup | None:
        """The direct reading of a query; None when it is a question in words."""
        types = tuple(dict.fromkeys(_TYPE.findall(query)))[:_MAX_LOOKUPS]
        rest = _TYPE.sub(" ", query)
        words = [word.removesuffix("()") for word in re.split(r"[\s,;]+", rest) if word]
        if len(words) > _MAX_LOOKUPS or not (words or types):
            return None
        found: dict[str, None] = {}
        unknown: list[str] = []
        total = 0
        for word in words:
            if not _DIRECT.fullmatch(word):
                return None
            matches = self.under(word.rstrip(".*"), visible) if word.rstrip(".*") else []
            if not matches:
                if not (types or "." in word):
                    return None
                unknown.append(word)
            elif len(words) > 1 and "." not in word and word not in matches and not types:
                return None   # several words of which one happens to be a namespace: a question
            total += len(matches)
            found.update(dict.fromkeys(matches[:limit]))
        known_types = tuple(name for name in types if name in self._types)
        unknown.extend(name for name in types if name not in self._types)
        if not found and not known_types and words and not types:
            return None
        return Lookup(tuple(found), known_types, tuple(unknown), total)

    def nearest(self, name: str, visible: Visible | None, count: int) -> tuple[str, ...]:
        """Visible names most like a wrong one, best first."""
        wanted = name.lower()
        last = wanted.rpartition(".")[2]
        scored: list[tuple[float, str]] = []
        for segment in self._segments:
            for number, similarity in segment.name_grams.nearest(name, _NEAREST_POOL):
                candidate = segment.names[number]
                if visible is None or visible(candidate):
                    scored.append((_likeness(wanted, last, candidate.lower(), similarity), candidate))
        scored.sort(key=lambda pair: (-pair[0], pair[1]))
        return tuple(dict.fromkeys(candidate for score, candidate in scored if score > 0.3))[:count]


def _likeness(wanted: str, last: str, candidate: str, similarity: float) -> float:
    limit = max(2, len(wanted) // 4)
    edits = distance(wanted, candidate, limit)
    close = 1 - edits / (limit + 1)
    tail = candidate.rpartition(".")[2]
    tail_edits = distance(last, tail, 2)
    return similarity + close + (0.5 * (3 - tail_edits) / 3)
