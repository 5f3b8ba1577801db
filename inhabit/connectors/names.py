"""Names that a program can write, in TypeScript and in Python alike.

House convention: `lower_snake`, ASCII, at most 80 characters, never a reserved word of either language and
never a property that JavaScript itself looks up (`then`, `constructor`). One text gives one name, always.

- `identifier` makes a segment of an operation's name: `issues/list-for-repo` is split by its owner, and
  `list-for-repo`, `listForRepo` and `ListForRepo` all give `list_for_repo`.
- `parameter` keeps a name that already is an identifier, whatever its case, so that it reads as in the
  upstream's own docs; others are sanitised and the connector maps them back.
- `unique` settles collisions by order: the first keeps its name, later ones get `_2`, `_3`, …

ASCII only, because letters that look alike must not make two names out of what a person reads as one.
"""

from __future__ import annotations

import hashlib
import keyword
import re
import unicodedata
from collections.abc import Iterable, Sequence

__all__ = [
    "MAX_NAME_CHARS", "PYTHON_RESERVED", "TYPESCRIPT_RESERVED", "from_words", "identifier", "is_reserved", "parameter", "unique", "words",
]

MAX_NAME_CHARS = 80

PYTHON_RESERVED = frozenset(word.lower() for word in keyword.kwlist)
TYPESCRIPT_RESERVED = frozenset({
    "abstract", "arguments", "as", "async", "await", "break", "case", "catch", "class", "const", "continue",
    "debugger", "declare", "default", "delete", "do", "else", "enum", "eval", "export", "extends", "false", "finally",
    "for", "function", "if", "implements", "import", "in", "instanceof", "interface", "let", "new", "null",
    "package", "private", "protected", "public", "return", "static", "super", "switch", "this", "throw", "true",
    "try", "typeof", "undefined", "var", "void", "while", "with", "yield",
})
_LOOKED_UP = frozenset({"then", "constructor", "prototype"})

_COMPOUNDS = re.compile(
    r"OAuth|OpenID|OpenAPI|OpenApi|GitHub|GitLab|GraphQL|IPv4|IPv6|IPsec|MySQL|PostgreSQL|NoSQL|JavaScript|TypeScript"
    r"|WebSocket|LoRaWAN|YouTube|PayPal|DevOps|iOS|macOS|JSONPath|WiFi|vCenter|DNSSEC|LinkedIn|AdWords|WordPress")
_WORDS = re.compile(r"[A-Z]{2,}s(?![a-z])|[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def is_reserved(name: str) -> bool:
    """Whether `name` cannot stand alone as a name in TypeScript or Python."""
    return name in PYTHON_RESERVED or name in TYPESCRIPT_RESERVED or name in _LOOKED_UP or keyword.iskeyword(name)


def words(text: str) -> list[str]:
    """The words of a text in lower case: `"Get HTTPResponse v2"` → `["get", "http", "response", "v2"]`."""
    return _split(_COMPOUNDS.sub(lambda found: " " + found.group().capitalize(), _ascii(text)))


def from_words(parts: Sequence[str]) -> str:
    """One lower_snake segment of words that `words` gave; at least one."""
    return _legal(_bounded("_".join(parts)))


def identifier(text: str) -> str:
    """`text` as one lower_snake segment: `"Get HTTPResponse v2"` → `get_http_response_v2`.

    Text without a Latin letter or digit gives `n_` and a digest of it; a leading digit gets `n`.
    """
    parts = words(text)
    return from_words(parts) if parts else "n_" + _digest(text)


def parameter(text: str) -> str:
    """`text` itself when a program can write it as a keyword argument, else a sanitised form of it."""
    if _IDENTIFIER.match(text) and not text.startswith("__"):
        return text + "_" if keyword.iskeyword(text) else _bounded(text)
    plain = re.sub(r"[^A-Za-z0-9_]+", "_", _ascii(text)).strip("_")
    name = _bounded(plain) if plain else "n_" + _digest(text)
    if name[0].isdigit():
        name = "n" + name
    return name + "_" if keyword.iskeyword(name) else name


def unique(names: Iterable[str]) -> list[str]:
    """The names in the same order, later duplicates numbered from `_2`, never meeting another given name."""
    given = list(names)
    taken = set(given)
    seen: set[str] = set()
    result: list[str] = []
    counters: dict[str, int] = {}
    for name in given:
        chosen = name
        while chosen in seen or (chosen != name and chosen in taken):
            counters[name] = counters.get(name, 1) + 1
            chosen = f"{name}_{counters[name]}"
        seen.add(chosen)
        result.append(chosen)
    return result


def _ascii(text: str) -> str:
    """Accents and width forms removed; an apostrophe joins (`user's` is one word); the rest becomes a gap."""
    folded = unicodedata.normalize("NFKD", text[:1024].replace("ß", "ss").replace("'", "").replace("’", ""))
    return "".join(char if char.isascii() else "" if unicodedata.combining(char) else " " for char in folded)


def _split(text: str) -> list[str]:
    """Words by case and separators; digits stay with the letters before them (`v2`, `oauth2`)."""
    parts: list[str] = []
    end = -1
    for found in _WORDS.finditer(text):
        word = found.group().lower()
        if parts and word.isdigit() and found.start() == end:
            parts[-1] += word
        else:
            parts.append(word)
        end = found.end()
    return parts


def _bounded(name: str) -> str:
    if len(name) <= MAX_NAME_CHARS:
        return name
    return f"{name[: MAX_NAME_CHARS - 7].rstrip('_')}_{_digest(name)}"


def _legal(name: str) -> str:
    if name[0].isdigit():
        name = "n" + name
    return name + "_" if is_reserved(name) else name


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:6]
