"""Modules that Monty lacks, answered in the worker: what needs the run's own randomness, and small pure helpers.

The functions are the standard library's (or the run's seed), called on plain data; nothing of the guest is executed.
Their arguments are bounded here, since the guest's own memory limit does not see them.
"""

from __future__ import annotations

import base64
import functools
import html
import statistics
import string
import textwrap
import urllib.parse
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

from pydantic_monty import ExternalModule, FunctionSnapshot

from inhabit.isolates.python.ambient import Ambient

__all__ = ["PROVIDED", "Modules"]

PROVIDED = frozenset({"html", "secrets", "statistics", "string", "textwrap", "urllib", "uuid"})
_MOST_BYTES = 65_536
_MOST_TEXT = 262_144        # characters of all arguments
_MOST_ITEMS = 100_000
_MOST_PREFIX = 64           # of `textwrap.indent`, which repeats it on every line
_LARGEST = 10**30

_STATISTICS = ("fmean", "geometric_mean", "harmonic_mean", "mean", "median", "median_high", "median_low", "mode", "multimode", "pstdev",
               "pvariance", "quantiles", "stdev", "variance")
_PURE: Mapping[str, Callable[..., Any]] = {
    **{f"statistics.{name}": getattr(statistics, name) for name in _STATISTICS},
    **{f"textwrap.{name}": getattr(textwrap, name) for name in ("dedent", "fill", "indent", "shorten", "wrap")},
    **{f"urllib.parse.{name}": getattr(urllib.parse, name) for name in ("quote", "quote_plus", "unquote", "unquote_plus", "urlencode", "urljoin")},
    **{f"html.{name}": getattr(html, name) for name in ("escape", "unescape")},
}
_CONSTANTS: Mapping[str, str] = {
    f"string.{name}": getattr(string, name)
    for name in ("ascii_letters", "ascii_lowercase", "ascii_uppercase", "digits", "hexdigits", "octdigits", "punctuation", "whitespace")}


class Modules:
    def __init__(self, ambient: Ambient) -> None:
        self._ambient = ambient
        self._seeded: dict[str, Callable[..., Any]] = {
            "uuid.uuid4": ambient.uuid4, "secrets.token_hex": self._token_hex, "secrets.token_bytes": self._token,
            "secrets.token_urlsafe": self._token_urlsafe, "secrets.randbelow": ambient.below, "secrets.choice": self._choice,
        }
        self.provided = {name: functools.partial(self._module, name) for name in PROVIDED}
        """For Monty's `external_modules`: made when a program imports them."""

    def call(self, name: str, snapshot: FunctionSnapshot) -> Any:
        """The answer, or None when `name` is no function of a module."""
        function = self._seeded.get(name) or _PURE.get(name)
        if function is None:
            return None
        args, kwargs = snapshot.args, snapshot.kwargs
        if not _is_bounded([*args, *kwargs.values()]) or (name == "textwrap.indent" and len(str((*args, "", "")[1])) > _MOST_PREFIX):
            return {"exc_type": "ValueError", "message": f"{name}: the arguments are too large"}
        try:
            return {"return_value": function(*args, **kwargs)}
        except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
            kind = "TypeError" if isinstance(error, TypeError) else "ValueError"   # StatisticsError among them
            return {"exc_type": kind, "message": f"{name}: {error}"[:500]}

    def _module(self, name: str) -> ExternalModule:
        found: dict[str, Any] = {key: _named(key) for key in (*self._seeded, *_PURE)} | dict(_CONSTANTS)
        return _tree({key.split(".", 1)[1]: value for key, value in found.items() if key.startswith(f"{name}.")})

    def _choice(self, sequence: Sequence[Any]) -> Any:
        return sequence[self._ambient.below(len(sequence))]

    def _token(self, nbytes: int | None = None) -> bytes:
        return self._ambient.token(min(32 if nbytes is None else nbytes, _MOST_BYTES))

    def _token_hex(self, nbytes: int | None = None) -> str:
        return self._token(nbytes).hex()

    def _token_urlsafe(self, nbytes: int | None = None) -> str:
        return base64.urlsafe_b64encode(self._token(nbytes)).rstrip(b"=").decode()


def _tree(entries: Mapping[str, Any]) -> ExternalModule:
    """`parse.quote` becomes a submodule `parse`."""
    inner = {key.partition(".")[0] for key in entries if "." in key}
    submodules = {
        name: _tree({key.partition(".")[2]: value for key, value in entries.items() if key.startswith(f"{name}.")}) for name in inner}
    return ExternalModule({key: value for key, value in entries.items() if "." not in key} | submodules)


def _is_bounded(given: Iterable[Any]) -> bool:
    """Whether all of it together is small: text, items, and the size of each number."""
    text, items = 0, 0
    pending: list[Any] = list(given)
    while pending:
        value = pending.pop()
        items += 1
        if isinstance(value, str | bytes):
            text += len(value)
        elif isinstance(value, int) and abs(value) > _LARGEST:
            return False
        elif isinstance(value, dict):
            pending += [*cast("dict[Any, Any]", value).keys(), *cast("dict[Any, Any]", value).values()]
        elif isinstance(value, list | tuple | set | frozenset):
            pending += cast("list[Any]", value)
        if text > _MOST_TEXT or items > _MOST_ITEMS or len(pending) > _MOST_ITEMS:
            return False
    return True


def _named(name: str) -> Callable[[], None]:
    def function() -> None: ...
    function.__name__ = name
    return function
