"""Character trigrams over a list of words: the nearest of thousands in under a millisecond.

Used for misspelt operation names and for query words that no document has. Trigrams are hashed to a fixed
number of buckets; candidates are ranked by shared trigrams and then by edit distance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

__all__ = ["GramBuilder", "Grams", "distance", "grams_of"]

_BUCKETS = 4_096
_MAX_CHARS = 120


def grams_of(word: str) -> set[int]:
    """Buckets of the trigrams of a word, its edges marked; case and separators do not count."""
    plain = "".join(c for c in word[:_MAX_CHARS].lower() if c.isalnum())
    padded = f"^{plain}$"
    return {crc32(padded[i : i + 3].encode()) % _BUCKETS for i in range(max(1, len(padded) - 2))}


class Grams:
    """Read side. Raises nothing; an empty list of words has no candidates."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._offsets = arrays["offsets"]
        self._rows = arrays["rows"]
        self._sizes = arrays["sizes"]

    def nearest(self, word: str, count: int) -> list[tuple[int, float]]:
        """Up to `count` (row, Dice similarity 0-1), best first."""
        size = len(self._sizes)
        if size == 0:
            return []
        buckets = grams_of(word)
        shared = np.zeros(size, np.float32)
        for bucket in buckets:
            shared[self._rows[self._offsets[bucket] : self._offsets[bucket + 1]]] += 1
        similarity = 2 * shared / (self._sizes + len(buckets))
        best = np.argpartition(similarity, -min(count, size))[-min(count, size) :]
        ordered = best[np.argsort(-similarity[best], kind="stable")]
        return [(int(row), float(similarity[row])) for row in ordered if similarity[row] > 0]


class GramBuilder:
    """Write side."""

    def __init__(self) -> None:
        self._buckets: list[int] = []
        self._rows: list[int] = []
        self._sizes: list[int] = []

    def add(self, word: str) -> None:
        buckets = grams_of(word)
        self._buckets.extend(buckets)
        self._rows.extend([len(self._sizes)] * len(buckets))
        self._sizes.append(len(buckets))

    def arrays(self) -> dict[str, NDArray[Any]]:
        buckets = np.asarray(self._buckets, np.int32)
        order = np.argsort(buckets, kind="stable")
        offsets = np.searchsorted(buckets[order], np.arange(_BUCKETS + 1))
        return {"offsets": offsets.astype(np.int32), "rows": np.asarray(self._rows, np.int32)[order],
                "sizes": np.asarray(self._sizes, np.float32)}


def distance(left: Sequence[str], right: Sequence[str], limit: int) -> int:
    """Edits between two texts (insert, delete, replace, swap of neighbours); `limit + 1` when there are more."""
    if abs(len(left) - len(right)) > limit:
        return limit + 1
    before: list[int] = []
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        older, before = before, row
        row = [i]
        for j, b in enumerate(right, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == right[j - 2] and left[i - 2] == b:
                cost = min(cost, older[j - 2] + 1)
            row.append(cost)
        if min(row) > limit and (not before or min(before) > limit):
            return limit + 1
    return min(row[-1], limit + 1)
