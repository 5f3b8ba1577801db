"""A BM25F index over numbered documents, in flat arrays that can be mapped from a file.

Model: a document is a bag of terms in named fields. For each (term, document) one weight is kept, the fields'
frequencies already weighted and normalised by length, so that a query is one pass over the postings of its
words. Average lengths are drawn towards a prior, so that a capability of three operations scores on the same
scale as one of ten thousand.

Arrays: `offsets` (terms + 1), `docs` and `weights` (one a posting).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["FIELDS", "Field", "Postings", "PostingsBuilder"]

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Field:
    """`weight` of one occurrence; `b` how much length counts against it (0-1); `typical` length in terms."""

    weight: float
    b: float
    typical: float


FIELDS: dict[str, Field] = {
    "name": Field(2.5, 0.4, 4),
    "path": Field(1.2, 0.5, 6),
    "summary": Field(2.0, 0.5, 7),
    "description": Field(1.0, 0.8, 25),
    "parameters": Field(0.5, 0.6, 25),
    "shape": Field(0.3, 0.7, 40),
    "tags": Field(0.8, 0.3, 3),
}
_PRIOR_DOCUMENTS = 20


class Postings:
    """Read side. `vocabulary` maps a term to its row."""

    def __init__(self, terms: Sequence[str], arrays: Mapping[str, NDArray[Any]]) -> None:
        self.terms = terms
        self.vocabulary = {term: row for row, term in enumerate(terms)}
        self.offsets: Ints = arrays["offsets"]
        self.docs: Ints = arrays["docs"]
        self.weights: Floats = arrays["weights"]

    def frequency(self, term: str) -> int:
        row = self.vocabulary.get(term)
        return 0 if row is None else int(self.offsets[row + 1] - self.offsets[row])

    def of(self, term: str) -> tuple[Ints, Floats] | None:
        """Documents that have the term, ascending, and their weights."""
        row = self.vocabulary.get(term)
        if row is None:
            return None
        start, end = self.offsets[row], self.offsets[row + 1]
        return self.docs[start:end], self.weights[start:end]


class PostingsBuilder:
    """Write side: `add` documents in order, then `arrays`."""

    def __init__(self) -> None:
        self._rows: dict[str, int] = {}
        self._counts: dict[str, tuple[list[int], list[int], list[int]]] = {name: ([], [], []) for name in FIELDS}
        self._lengths: dict[str, list[int]] = {name: [] for name in FIELDS}
        self._size = 0

    def add(self, fields: Mapping[str, Sequence[str]]) -> None:
        """One document: field → its terms. Fields that are missing are empty."""
        rows = self._rows
        for name in FIELDS:
            terms = fields.get(name, ())
            self._lengths[name].append(len(terms))
            counts: dict[int, int] = {}
            for term in terms:
                row = rows.setdefault(term, len(rows))
                counts[row] = counts.get(row, 0) + 1
            term_rows, docs, frequencies = self._counts[name]
            term_rows.extend(counts)
            frequencies.extend(counts.values())
            docs.extend([self._size] * len(counts))
        self._size += 1

    def arrays(self) -> tuple[list[str], dict[str, NDArray[Any]]]:
        """The vocabulary and the arrays of `Postings`."""
        keys: list[NDArray[np.int64]] = []
        weights: list[NDArray[np.float64]] = []
        for name, field in FIELDS.items():
            term_rows, docs, frequencies = self._counts[name]
            if not term_rows:
                continue
            lengths = np.asarray(self._lengths[name], dtype=np.float64)
            average = (lengths.sum() + _PRIOR_DOCUMENTS * field.typical) / (np.count_nonzero(lengths) + _PRIOR_DOCUMENTS)
            doc_rows = np.asarray(docs, dtype=np.int64)
            norm = 1 - field.b + field.b * lengths[doc_rows] / average
            keys.append(np.asarray(term_rows, dtype=np.int64) * self._size + doc_rows)
            weights.append(field.weight * np.asarray(frequencies, dtype=np.float64) / norm)
        return list(self._rows), self._merge(keys, weights)

    def _merge(self, keys: list[NDArray[np.int64]], weights: list[NDArray[np.float64]]) -> dict[str, NDArray[Any]]:
        if not keys:
            return {"offsets": np.zeros(1, np.int32), "docs": np.zeros(0, np.int32), "weights": np.zeros(0, np.float32)}
        unique, inverse = np.unique(np.concatenate(keys), return_inverse=True)
        summed = np.bincount(inverse, weights=np.concatenate(weights))
        term_rows = unique // self._size
        offsets = np.searchsorted(term_rows, np.arange(len(self._rows) + 1))
        return {"offsets": offsets.astype(np.int32), "docs": (unique % self._size).astype(np.int32),
                "weights": summed.astype(np.float32)}
