"""From a query to operations in order of use.

1. Concepts: each word of the query with what it may mean (synonyms; for a word that no operation has, the words
   that are near it), and the actions its verbs stand for.
2. Scores: BM25F over the postings of all segments, document frequencies counted over all of them, so that
   connectors added one by one rank as if indexed together. Of the terms of one concept the best counts.
3. Links: an operation that scores well and needs an id lends part of its score to those that find the id.
4. Places: where the best hits need an id, one operation that finds it gets a place among the first, for a
   program cannot make the call without it.

Pure arithmetic over arrays; the catalog gives the segments and the right to see.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inhabit.catalog.grams import distance
from inhabit.catalog.segment import Segment
from inhabit.catalog.synonyms import synonyms_of_stems
from inhabit.catalog.words import ACTIONS, STOP_WORDS, Lexer, stem

__all__ = ["Hit", "Ranker", "Tuning"]

Floats = NDArray[np.float32]
_QUERY_CHARS = 2_000
_QUERY_TERMS = 64
_MOST = 2.0
"""What a repeated word counts at most."""
_INSTANCE = re.compile(r"(?<=[a-z0-9,:;] )[A-Z][\w'-]+|[\"“'‘][^\"”'’]{2,}[\"”'’]")
"""A name in the middle of a sentence, or something in quotes."""
_WORD = re.compile(r"[^\W_]+(?:'[a-z]+)?")


@dataclass(frozen=True, slots=True)
class Hit:
    """`segment` is the position of the segment, `number` of the operation in it."""

    segment: int
    number: int
    name: str
    score: float


@dataclass(frozen=True, slots=True)
class Tuning:
    """Constants of the ranking, set on development data only (docs/search.md says which)."""

    k1: float = 1.2
    burden: float = 0.03          # how much each id that must be known counts against an operation
    action: float = 0.35          # an action term against a word of the query
    link: float = 0.1             # share of a score that goes to finders of a needed id
    linked_from: int = 8          # how many of the best lend
    pool: int = 60                # candidates that are put in order
    slots: int = 1                # finders put in at most
    slots_from: int = 5
    slot_own: float = 0.5
    slot_named: int = 3           # place, where the query names an instance
    slot_plain: int = 7
    slot_least: float = 0.5
    synonym: float = 0.3          # a synonym, where the word itself is known
    synonym_alone: float = 0.7    # and where it is not
    fuzzy: float = 0.6            # a near word against the word itself


class Ranker:
    """Ranks over a fixed set of segments; made anew when the set changes. Not shared by threads."""

    def __init__(self, segments: Sequence[Segment], lexer: Lexer, tuning: Tuning | None = None) -> None:
        self._segments = tuple(segments)
        self._lexer = lexer
        self._tuning = tuning or Tuning()
        self._synonyms = synonyms_of_stems()
        self._bases = np.cumsum([0, *(len(segment.names) for segment in segments)])
        self._size = int(self._bases[-1])
        needs = [np.diff(segment.arrays["needs.offsets"]) for segment in self._segments]
        self._needs: Floats = np.concatenate([np.zeros(0), *needs]).astype(np.float32)

    def rank(self, query: str, visible: Callable[[str], bool] | None = None, limit: int = 10) -> list[Hit]:
        """The best operations for a query in words, best first, all of them visible."""
        concepts = self._concepts(query)
        if not concepts or self._size == 0:
            return []
        scores = self._scores(concepts)
        self._link(scores)
        pool = self._pool(scores, visible, max(self._tuning.pool, limit))
        order = self._with_finders(pool, scores, visible, query, limit)
        return [self._hit(document, float(scores[document])) for document in order[:limit]]

    # -- words ------------------------------------------------------------------------------------------------

    def _concepts(self, query: str) -> list[list[tuple[str, float]]]:
        """What the query speaks of: for each word, the terms it may mean with their weights, its own first."""
        own: dict[str, float] = {}
        actions: dict[str, None] = {}
        for raw in _WORD.findall(query[:_QUERY_CHARS]):
            plain = raw.lower()
            if plain in STOP_WORDS:
                continue
            actions.update(dict.fromkeys(ACTIONS.get(stem(plain), ())))
            for term in self._lexer.terms(raw):
                own[term] = min(_MOST, own.get(term, 0.0) + 1.0)
        if not own:
            own = dict.fromkeys(self._lexer.terms(query[:_QUERY_CHARS]), 1.0)
        concepts = [[(other, weight * share) for other, share in self._meant(term) if share >= 1 or other not in own]
                    for term, weight in list(own.items())[:_QUERY_TERMS]]
        return [*concepts, *([(action, self._tuning.action)] for action in actions)]

    def _meant(self, term: str) -> list[tuple[str, float]]:
        """The term, its synonyms, and where neither is known the words of the index that are close to it."""
        known = self._frequency(term) > 0
        share = self._tuning.synonym if known else self._tuning.synonym_alone
        others = [(other, share) for other in self._synonyms.get(term, ()) if self._frequency(other)]
        if known:
            return [(term, 1.0), *others]
        return others or self._near(term)

    def _near(self, term: str) -> list[tuple[str, float]]:
        """Words of the index that are close to one it does not have."""
        if len(term) < 4:
            return []
        near: dict[str, float] = {}
        allowed = 1 if len(term) < 7 else 2
        for segment in self._segments:
            for row, similarity in segment.term_grams.nearest(term, 4):
                word = segment.operations.terms[row]
                if (len(term) >= 5 and word.startswith(term)) or (similarity >= 0.4 and distance(term, word, allowed) <= allowed):
                    near[word] = self._tuning.fuzzy
        return list(near.items())[:4]

    def _frequency(self, term: str) -> int:
        return sum(segment.operations.frequency(term) for segment in self._segments)

    # -- scores -----------------------------------------------------------------------------------------------

    def _scores(self, concepts: list[list[tuple[str, float]]]) -> Floats:
        """Each document's sum over the concepts; of the terms of one concept the best counts."""
        scores = np.zeros(self._size, np.float32)
        best = np.zeros(self._size, np.float32)
        for concept in concepts:
            found = list(self._postings(concept))
            if len(found) == 1:
                docs, values = found[0]
                scores[docs] += values
                continue
            for docs, values in found:
                best[docs] = np.maximum(best[docs], values)
            for docs, _values in found:
                scores[docs] += best[docs]
                best[docs] = 0
        return (scores / (1 + self._tuning.burden * self._needs)).astype(np.float32)

    def _postings(self, concept: list[tuple[str, float]]) -> Iterator[tuple[NDArray[Any], Floats]]:
        """For each term and segment: the documents that have it, and what it is worth to them. A synonym is worth
        no more than the rarity of the word itself allows."""
        k1 = self._tuning.k1
        most = math.inf
        for term, weight in concept:
            frequency = self._frequency(term)
            if frequency == 0:
                continue
            rarity = min(most, math.log(1 + (self._size - frequency + 0.5) / (frequency + 0.5)))
            if weight >= 1:
                most = rarity
            for base, segment in zip(self._bases, self._segments, strict=False):
                posting = segment.operations.of(term)
                if posting is not None:
                    yield posting[0] + base, (weight * (k1 + 1) * rarity * posting[1] / (posting[1] + k1)).astype(np.float32)

    def _link(self, scores: Floats) -> None:
        """Lend part of the best scores to the operations that find what those need."""
        count = min(self._tuning.linked_from, self._size)
        best = np.argpartition(scores, -count)[-count:]
        lent: dict[int, float] = {}
        for document in best.tolist():
            score = float(scores[document])
            if score <= 0:
                continue
            index, segment = self._segment_of(document)
            for entity in segment.row("needs", document - int(self._bases[index])).tolist():
                for finder, share in self._finders(index, entity):
                    lent[finder] = max(lent.get(finder, 0.0), score * share)
        for document, amount in lent.items():
            scores[document] += self._tuning.link * amount

    def _finders(self, index: int, entity: int) -> list[tuple[int, float]]:
        """Operations of the same connector that find an entity, the most direct ones."""
        segment = self._segments[index]
        rows, weights = segment.row("finders", entity), segment.row("finder_weights", entity)
        if len(rows) > 6:
            kept = np.argpartition(weights, -6)[-6:]
            rows, weights = rows[kept], weights[kept]
        base = int(self._bases[index])
        found = [(base + int(row), float(weight)) for row, weight in zip(rows, weights, strict=True)]
        anything = segment.entity_number.get("*")
        return found if anything is None or anything == entity else [*found, *self._finders(index, anything)]

    # -- order ------------------------------------------------------------------------------------------------

    def _pool(self, scores: Floats, visible: Callable[[str], bool] | None, count: int) -> list[int]:
        """The best documents that may be seen, in order."""
        positive = int(np.count_nonzero(scores > 0))
        if positive == 0:
            return []
        taken = min(positive, count if visible is None else count * 4)
        while True:
            best = np.argpartition(scores, -taken)[-taken:]
            ordered = best[np.lexsort((best, -scores[best]))].tolist()
            if visible is not None:
                ordered = [document for document in ordered if visible(self._name(document))]
            if len(ordered) >= count or taken == positive:
                return ordered[:count]
            taken = min(positive, taken * 8)

    def _with_finders(self, order: list[int], scores: Floats, visible: Callable[[str], bool] | None, query: str, limit: int) -> list[int]:
        """The order with up to `slots` operations put in that find the ids which the best hits need."""
        tuning = self._tuning
        if not order or tuning.slots == 0 or limit < 4:
            return order
        top = float(scores[order[0]])
        values: dict[int, float] = {}
        for document in order[: tuning.slots_from]:
            index, segment = self._segment_of(document)
            for entity in segment.row("needs", document - int(self._bases[index])).tolist():
                for finder, share in self._finders(index, entity):
                    value = float(scores[document]) / top * share * (1 + tuning.slot_own * float(scores[finder]) / top)
                    values[finder] = max(values.get(finder, 0.0), value)
        named = bool(_INSTANCE.search(query))
        place = tuning.slot_named if named else tuning.slot_plain
        best = sorted(values, key=lambda finder: (-values[finder], finder))[: tuning.slots]
        best = [finder for finder in best if finder not in order[:place] and (visible is None or visible(self._name(finder)))
                and values[finder] >= tuning.slot_least]
        rest = [document for document in order if document not in best]
        return [*rest[:place], *best, *rest[place:]]

    def _segment_of(self, document: int) -> tuple[int, Segment]:
        index = int(np.searchsorted(self._bases, document, side="right")) - 1
        return index, self._segments[index]

    def _name(self, document: int) -> str:
        index, segment = self._segment_of(document)
        return segment.names[document - int(self._bases[index])]

    def _hit(self, document: int, score: float) -> Hit:
        index, segment = self._segment_of(document)
        number = document - int(self._bases[index])
        return Hit(index, number, segment.names[number], score)
