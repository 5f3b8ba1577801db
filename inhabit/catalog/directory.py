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

__all__ = ["Directory", "Lookup", "type_visible"]

Visible = Callable[[str], bool]

_DIRECT = re.compile(r"(?:type\s+)?[A-Za-z_$][\w$.*-]*(?:\(\s*\))?", re.IGNORECASE)
_TYPE = re.compile(r"\btype\s+([A-Za-z_$][\w$.-]*)")
_MAX_LOOKUPS = 20
_NEAREST_POOL = 24
_MENTIONED = 2


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
        self._types: dict[str, list[tuple[Segment, int]]] = {}
        for segment in segments:
            for number, (name, _holder) in enumerate(segment.types):
                self._types.setdefault(name.lower(), []).append((segment, number))

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
        seen = {name: self._type(name, visible) for name in types}
        known_types = tuple(known for known in seen.values() if known is not None)
        unknown.extend(f"type {name}" for name, known in seen.items() if known is None)
        if not found and not known_types and words and not types:
            return None
        return Lookup(tuple(found), known_types, tuple(unknown), total)

    def types_named(self, query: str, visible: Visible | None) -> tuple[str, ...]:
        """Visible types that a question mentions by name: `what does a FullRepository hold`."""
        words = (word for word in re.findall(r"[A-Za-z_]\w{2,}", query) if not word.islower() or "_" in word)
        found = (self._type(word, visible) for word in words)
        return tuple(dict.fromkeys(name for name in found if name is not None))[:_MENTIONED]

    def _type(self, name: str, visible: Visible | None) -> str | None:
        """The name of a visible type as it is written; case does not count, but the same case is preferred."""
        places = self._types.get(name.lower(), ())
        seen = [segment.types[number][0] for segment, number in places if type_visible(segment, number, visible)]
        return name if name in seen else seen[0] if seen else None

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


def type_visible(segment: Segment, number: int, visible: Visible | None) -> bool:
    """Whether a visible operation refers to the type, through other types or directly."""
    if visible is None:
        return True
    seen = {number}
    stack = [number]
    while stack:
        current = stack.pop()
        users: list[int] = segment.row("type_users", current).tolist()
        if any(visible(segment.names[user]) for user in users):
            return True
        parents: list[int] = segment.row("type_parents", current).tolist()
        for parent in parents:
            if parent not in seen:
                seen.add(parent)
                stack.append(parent)
    return False
