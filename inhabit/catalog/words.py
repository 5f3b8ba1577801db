"""Text to index terms: splitting, light stemming, and a small vocabulary of what APIs do.

A term is lower-case and stemmed; both sides of a search pass through the same `Lexer`, so a term need not be
a word. Identifiers are split by case, separators and digits (`listForRepo`, `list-for-repo` → list, for,
repo); an identifier of few parts is kept whole too (`GitHub` → git, hub, github). Action terms begin with `~`
(`~create`): what a verb or an HTTP method means, in one term for all its synonyms.

Nothing here is learnt from any data set: the tables are general English of API documentation.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

__all__ = ["ACTIONS", "STOP_WORDS", "Lexer", "action_of", "stem"]

_RAW = re.compile(r"[A-Za-z]+(?:'[a-z]+)?|[0-9]+|[^\W\d_]+")
_PARTS = re.compile(r"[A-Z]{2,}s(?![a-z])|[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[A-Z]")
_WIDE = re.compile(r"[぀-ヿ㐀-鿿豈-﫿가-힯]")
_MAX_WORD_CHARS = 64
_CACHE_WORDS = 200_000
"""Distinct raw words remembered by one lexer: some 20 MB at most."""

STOP_WORDS = frozenset(
    ["a", "an", "the", "of", "to", "in", "on", "for", "with", "by", "and", "or", "is", "are", "was", "were", "be", "been", "being", "am", "i", "me", "my", "mine", "we", "us", "our", "you", "your", "he", "him", "his", "she", "her", "it", "its", "they", "them", "their", "this", "that", "these", "those", "from", "as", "at", "into", "about", "than", "then", "there", "here", "do", "does", "did", "have", "has", "had", "having", "will", "would", "can", "could", "should", "shall", "may", "might", "must", "not", "no", "nor", "so", "if", "but", "what", "which", "who", "whom", "whose", "when", "where", "why", "how", "want", "need", "like", "please", "help", "know", "let", "any", "some", "all", "every", "each", "also", "just", "only", "very", "more", "most", "much", "many", "such", "same", "other", "another", "up", "out", "over", "under", "again", "further", "once", "too", "own", "both", "few", "per", "via", "using", "use", "used", "get", "gets", "got", "give", "tell", "show", "could's", "there's", "i'd", "i'm", "i've", "i'll", "don't", "doesn't", "let's", "it's", "what's", "who's", "that's", "im", "id's"])

_VERBS = {
    "~read": "get list fetch show read retrieve view display describe return lookup query find search see load check"
             " inspect browse enumerate download count obtain tell give look watch know what which who when where",
    "~search": "search find lookup query discover filter match seek locate",
    "~create": "create add new make insert register post open start begin generate issue submit book schedule order"
               " build upload publish place set provision append invite sign subscribe enroll compose write launch",
    "~update": "update edit change modify patch set put rename replace adjust alter reset configure enable disable"
               " move toggle assign mark save revise correct switch turn",
    "~delete": "delete remove drop erase clear cancel revoke destroy purge unsubscribe close discard detach"
               " uninstall withdraw terminate unassign unlink wipe",
    "~send": "send mail email message notify deliver forward reply share transfer pay post invite",
    "~run": "run execute start trigger invoke launch perform call dispatch play compute calculate analyze process",
    "~stop": "stop halt pause suspend abort terminate end cancel disable",
}
_METHODS = {"get": "~read", "head": "~read", "post": "~create", "put": "~update", "patch": "~update", "delete": "~delete"}


def _by_verb() -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for action, verbs in _VERBS.items():
        for verb in verbs.split():
            found.setdefault(stem(verb), []).append(action)
    return {verb: tuple(actions) for verb, actions in found.items()}


def action_of(method: str) -> str | None:
    """The action term of an HTTP method, in any case."""
    return _METHODS.get(method.lower())


_DOUBLED = re.compile(r"([bdfgklmnprt])\1\Z")
_HAS_VOWEL = re.compile(r"[aeiouy]")


def stem(word: str) -> str:
    """A light stem of a lower-case ASCII word: plural, past, gerund and a few derivations. Others unchanged."""
    if len(word) <= 3 or not word.isascii() or not word.isalpha():
        return word
    word = _singular(word)
    word = _verbal(word)
    for ending, into in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)] + into
            break
    if len(word) > 4 and word.endswith("e"):
        word = word[:-1]
    if len(word) > 3 and word.endswith("y"):
        word = word[:-1] + "i"
    return word


_ENDINGS = (
    ("ization", "iz"), ("isation", "iz"), ("ational", "at"), ("fulness", "ful"), ("iveness", "iv"),
    ("ication", "ic"), ("ation", "at"), ("ition", "it"), ("ction", "ct"), ("ssion", "ss"), ("ution", "ut"),
    ("ement", "e"), ("ment", ""), ("ness", ""), ("ator", "at"), ("ally", "al"), ("able", ""), ("ible", ""),
    ("ance", ""), ("ence", ""), ("ship", ""), ("er", ""), ("or", ""), ("ly", ""),
)


def _singular(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes", "zes")):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def _verbal(word: str) -> str:
    for ending in ("ing", "ed"):
        if word.endswith(ending):
            base = word[: -len(ending)]
            if len(base) < 3 or not _HAS_VOWEL.search(base):
                return word
            if _DOUBLED.search(base):
                return base[:-1]
            return base
    return word


ACTIONS: dict[str, tuple[str, ...]] = _by_verb()
"""Stem of a verb → its action terms."""


class Lexer:
    """Terms of texts, with a bounded memory of words already split. One per catalog; not shared by threads."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[str, ...]] = {}

    def terms(self, text: str) -> list[str]:
        """All terms of a text in order, stop words included: short names are made of them."""
        seen = self._seen
        found: list[str] = []
        for raw in _RAW.findall(text):
            known = seen.get(raw)
            if known is None:
                known = self._split(raw)
                if len(seen) < _CACHE_WORDS:
                    seen[raw] = known
            found.extend(known)
        return found

    def content(self, text: str) -> list[str]:
        """Terms without stop words; all terms when nothing else is left."""
        words = [raw for raw in _RAW.findall(text) if raw.lower() not in STOP_WORDS]
        return [term for word in words for term in self.terms(word)] or self.terms(text)

    @staticmethod
    def _split(raw: str) -> tuple[str, ...]:
        raw = raw[:_MAX_WORD_CHARS]
        if not raw.isascii():
            return tuple(_foreign(raw))
        if "'" in raw:
            raw = raw.split("'", 1)[0]
        parts = [part.lower() for part in _PARTS.findall(raw)] or [raw]
        stems = [stem(part) for part in parts]
        if 1 < len(parts) <= 3:
            stems.append(stem(raw.lower()))
        return tuple(stems)


def _foreign(raw: str) -> Iterable[str]:
    """Accents removed from Latin words; scripts without spaces give pairs of characters."""
    folded = "".join(c for c in unicodedata.normalize("NFKD", raw.lower()) if not unicodedata.combining(c))
    if folded.isascii():
        yield stem(folded)
    elif _WIDE.search(folded):
        yield from (folded[i : i + 2] for i in range(max(1, len(folded) - 1)))
    else:
        yield folded
