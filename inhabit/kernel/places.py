"""Whether a URL lies below another one, decided on parts and never on text.

`https://api.test` is a prefix of `https://api.test.evil.org` as text, and `https://api.test/v1` of `https://api.test/v10`.
Invariant: what two URL parsers might read differently (user names, escapes or foreign letters in the host, odd ports,
backslashes in the authority) is no place at all, and so lies nowhere.
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["below", "is_url", "place_of"]

_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443, "ftp": 21}
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^?#]*)([?#].*)?\Z", re.DOTALL)
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?"
_AUTHORITY = re.compile(rf"({_LABEL}(?:\.{_LABEL})*\.?|\[[0-9a-f:.]+\])(?::([0-9]{{1,5}})?)?\Z")
_OPAQUE = re.compile(r"[A-Za-z0-9._-]*\Z")
_UNRESERVED = re.compile(r"%(2d|2e|3[0-9]|4[1-9a-f]|5[0-9af]|6[1-9a-f]|7[0-9ae])", re.IGNORECASE)
_ESCAPE = re.compile(r"%[0-9a-fA-F]{2}")


class Place(NamedTuple):
    """`segments` of the path, escapes in one spelling; the last one is empty when it ends with a slash."""

    scheme: str
    host: str
    port: int
    segments: tuple[str, ...]
    rest: str


def is_url(text: str) -> bool:
    """Whether a prefix speaks of a place on a network (or `//host`, which says so without a scheme)."""
    return "://" in text or text.startswith("//")


def place_of(text: str) -> Place | None:
    """None for what is no plain absolute URL."""
    parts = _URL.match(text)
    if parts is None:
        return None
    scheme, path = parts[1].lower(), parts[3] or "/"
    if scheme in _PORTS:
        found = _AUTHORITY.match(parts[2].lower())
        if found is None:
            return None
        host, port = found[1].removesuffix("."), int(found[2] or _PORTS[scheme])
    elif _OPAQUE.match(parts[2]):
        host, port = parts[2], 0
    else:
        return None
    segments = tuple(_one_spelling(segment) for segment in path.split("/")[1:])
    return Place(scheme, host, port, segments, parts[4] or "")


def below(place: Place, prefix: Place) -> bool:
    """The same scheme, host and port, and all segments of the prefix's path; one that ends with `/` wants more."""
    wanted, open_end = prefix.segments, prefix.segments[-1] == ""
    if open_end:
        wanted = wanted[:-1]
    return (place[:3] == prefix[:3] and place.segments[:len(wanted)] == wanted
            and len(place.segments) >= len(wanted) + open_end)


def _one_spelling(segment: str) -> str:
    plain = _UNRESERVED.sub(lambda found: chr(int(found[1], 16)), segment)
    return _ESCAPE.sub(lambda found: found[0].upper(), plain)
