"""A call as a person may read it before saying yes: what hides is made visible, what is cut is said to be cut.

Characters that cannot be seen or that turn the direction of text, and letters that look like those of another alphabet,
are written as escapes. Nothing is interpreted as markup here; who shows it as HTML escapes it as text.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from inhabit.contracts.json import is_array, is_object

__all__ = ["MAX_SHOWN_CHARS", "ShownCall", "oddities", "shown_call"]

MAX_SHOWN_CHARS = 8_000
_HIDDEN = frozenset({"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"})
_LOOKALIKES = frozenset({"CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "FULLWIDTH", "MATHEMATICAL"})
_WORD = re.compile(r"\w+")
_MOST = 0.8
"""So many of a group must agree before one that does not is odd."""
_FEWEST = 3
_FACTOR = 5
MAX_FIELDS = 200


class ShownCall(NamedTuple):
    """`text`: the arguments as indented JSON. `warnings`: what about them could mislead. `truncated`: there is more."""

    text: str
    warnings: tuple[str, ...]
    truncated: bool


def shown_call(arguments: bytes, most: int | None = MAX_SHOWN_CHARS) -> ShownCall:
    """`arguments` is canonical JSON. Without `most` it is shown whole."""
    plain = json.dumps(orjson.loads(arguments), indent=2, ensure_ascii=False)
    warnings: list[str] = []
    text = "".join(_visible(char) for char in plain)
    if text != plain or re.search(r"\\u00[01]|\\u007f|\\[bfrt]", plain):
        warnings.append("it has characters that cannot be seen, shown as escapes")
    unmixed = _WORD.sub(lambda found: _unmixed(found[0]), text)
    if unmixed != text:
        warnings.append("it has words with letters of several alphabets, shown as escapes")
    if most is not None and len(unmixed) > most:
        warnings.append(f"{len(unmixed) - most} of {len(unmixed)} characters are not shown here")
        return ShownCall(f"{unmixed[:most]}\n… {len(unmixed) - most} more characters", tuple(warnings), True)
    return ShownCall(unmixed, tuple(warnings), False)


def oddities(calls: Sequence[bytes]) -> list[list[str]]:
    """What sets each of several calls of one operation apart from most of the others, in words."""
    flat = [_flat(orjson.loads(call)) for call in calls]
    found: list[list[str]] = [[] for _ in calls]
    if len(calls) < _FEWEST:
        return found
    for path in sorted({path for one in flat for path in one}):
        values = [one.get(path, _ABSENT) for one in flat]
        (usual, times), = Counter(values).most_common(1)
        numbers = sorted(value for value in values if isinstance(value, float))
        middle = numbers[len(numbers) // 2] if len(numbers) >= _MOST * len(values) else None
        for at, value in enumerate(values):
            if middle is not None and isinstance(value, float) and abs(value) > _FACTOR * max(abs(middle), 1e-9):
                found[at].append(f"{path} is {value:g}, most are about {middle:g}")
            elif value != usual and times >= _MOST * len(values):
                found[at].append(f"{path} is {_words(value)}, most are {_words(usual)}")
    return found


class _Absent:
    def __repr__(self) -> str:
        return "left out"


_ABSENT = _Absent()


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    """Scalars by their path; at most `MAX_FIELDS` of them."""
    found: dict[str, Any] = {}
    stack: list[tuple[str, Any]] = [(path, value)]
    while stack and len(found) < MAX_FIELDS:
        at, node = stack.pop()
        if is_object(node):
            stack += [(f"{at}.{key}".lstrip("."), inner) for key, inner in node.items()]
        elif is_array(node):
            found[f"{at} (length)"] = float(len(node))
            stack += [(f"{at}.{number}", inner) for number, inner in enumerate(node)]
        else:
            found[at] = float(node) if isinstance(node, int | float) and not isinstance(node, bool) else node
    return found


def _words(value: Any) -> str:
    shown = repr(value) if isinstance(value, _Absent) else json.dumps(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}…"


def _visible(char: str) -> str:
    if char == "\n" or (char.isascii() and char.isprintable()):
        return char
    hidden = unicodedata.category(char) in _HIDDEN or (unicodedata.category(char) == "Zs")
    return _escape(char) if hidden else char


def _unmixed(word: str) -> str:
    alphabets = {_alphabet(char) for char in word if char.isalpha()}
    return "".join(char if char.isascii() else _escape(char) for char in word) if "LATIN" in alphabets and alphabets & _LOOKALIKES else word


def _alphabet(char: str) -> str:
    return "LATIN" if char.isascii() else unicodedata.name(char, "?").split(" ", 1)[0]


def _escape(char: str) -> str:
    return json.dumps(char)[1:-1]

