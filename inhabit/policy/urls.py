"""URLs in conditions. Text functions on URLs are how policies are got around: `startsWith("https://api.test")` is true of
`https://api.test.evil.org`. These compare by parts, as grants do, and what two parsers might read differently is nowhere.

Called by the CEL evaluator: they answer and never raise, since an error thrown through it is worse than a no.
"""

from __future__ import annotations

from inhabit.kernel.caveats import has_prefix
from inhabit.kernel.places import is_url, place_of

__all__ = ["below", "host"]


def below(text: str, prefix: str) -> bool:
    """`text` is a URL (or a path) at or below `prefix`."""
    return has_prefix(text, prefix)


def host(text: str) -> str:
    """The host in lower case without a last dot; empty for what is no plain absolute URL."""
    place = place_of(text) if is_url(text) else None
    return place.host if place and place.port else ""     # no port: a scheme of which we know nothing
