"""The conditions that a grant's clause may carry. An unknown one is refused when it is read: a caveat nobody
understands would be a promise nobody keeps.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from inhabit.contracts.effects import Effects
from inhabit.contracts.json import is_array, is_number, is_object
from inhabit.errors import InvalidInput
from inhabit.kernel.effects import READS, TRUST, WRITES
from inhabit.kernel.places import below, is_url, place_of

__all__ = ["broken", "checked", "has_prefix"]

_SCALES: Mapping[str, tuple[str, ...]] = {"reads": READS, "trust": TRUST, "writes": WRITES}
_MISSING = object()
_DECODINGS = 4
_MAX_PREFIXED_CHARS = 8_192
"""A longer value lies below no prefix: it is looked at character by character, on the server's own loop."""
_UNSEEN = frozenset({"Cc", "Cf", "Cs"})   # control, format, surrogate: what a parser further on may drop


def checked(caveat: Any) -> Mapping[str, Any]:
    """The caveat itself when it is one we understand: an unknown caveat would be an unkept promise."""
    if is_object(caveat):
        keys = set(caveat)
        well_formed = (
            (keys == {"effects"} and _is_effects_ceiling(caveat["effects"]))
            or ("argument" in keys and _is_argument_bound(caveat))
            or (keys == {"expires_ms"} and is_number(caveat["expires_ms"]))
            or (keys == {"calls"} and type(caveat["calls"]) is int and caveat["calls"] >= 0)
        )
        if well_formed:
            _plain_prefix(caveat.get("prefix", ""))
            return dict(caveat)
    raise InvalidInput(f"unknown or malformed caveat {caveat!r}", fix="effects, argument+max/min/one_of/prefix, expires_ms or calls")


def _plain_prefix(prefix: str) -> None:
    """Raises `InvalidInput` for a URL that values cannot be compared with by parts."""
    if is_url(prefix) and ((place := place_of(prefix)) is None or place.rest or not _stays(prefix)):
        raise InvalidInput(f"the prefix {prefix[:200]!r} is not a plain URL",
                           fix="scheme://host[:port]/path, without a user, a query, or escapes in the host")


def _is_effects_ceiling(value: Any) -> bool:
    return is_object(value) and bool(value) and all(
        (value[key] in scale if (scale := _SCALES.get(key)) else key == "irreversible" and value[key] is False)
        for key in value)


def _is_argument_bound(caveat: Mapping[str, Any]) -> bool:
    bounds = set(caveat) - {"argument"}
    return (
        isinstance(caveat["argument"], str) and bool(caveat["argument"]) and bool(bounds)
        and bounds <= {"max", "min", "one_of", "prefix"}
        and all(is_number(caveat[b]) for b in bounds & {"max", "min"})
        and ("one_of" not in bounds or is_array(caveat["one_of"]))
        and ("prefix" not in bounds or isinstance(caveat["prefix"], str))
    )


def broken(caveats: Sequence[Mapping[str, Any]], key: str, effects: Effects, arguments: Mapping[str, Any],
           now_ms: int, used: Mapping[str, int]) -> str | None:
    """Why a call breaks one of the (checked) caveats, or None. `used[key]` counts the clause's earlier calls."""
    for caveat in caveats:
        if "effects" in caveat:
            reason = _effects_above(effects, caveat["effects"])
        elif "argument" in caveat:
            reason = _argument_outside(arguments, caveat)
        elif "expires_ms" in caveat:
            reason = None if now_ms < caveat["expires_ms"] else "the grant has expired"
        else:
            reason = None if used.get(key, 0) < caveat["calls"] else f"only {caveat['calls']} calls are granted"
        if reason:
            return reason
    return None


def _effects_above(effects: Effects, ceiling: Mapping[str, Any]) -> str | None:
    for key, most in ceiling.items():
        have = getattr(effects, key)
        above = have is True if key == "irreversible" else _SCALES[key].index(have) > _SCALES[key].index(most)
        if above:
            return f"the operation's {key} is {have}, granted is at most {most}"
    return None


def _argument_outside(arguments: Mapping[str, Any], caveat: Mapping[str, Any]) -> str | None:
    path = caveat["argument"]
    value: Any = arguments
    for part in path.split("."):
        value = value.get(part, _MISSING) if is_object(value) else _MISSING
    if value is _MISSING:
        return f"argument {path} must be given: the grant bounds it"
    if "max" in caveat and not (is_number(value) and value <= caveat["max"]):
        return f"argument {path} must be a number of at most {caveat['max']}"
    if "min" in caveat and not (is_number(value) and value >= caveat["min"]):
        return f"argument {path} must be a number of at least {caveat['min']}"
    if "one_of" in caveat and not any(_same(value, allowed) for allowed in caveat["one_of"]):
        return f"argument {path} must be one of {list(caveat['one_of'])}"
    if "prefix" in caveat and not has_prefix(value, caveat["prefix"]):
        what = "a URL below" if is_url(caveat["prefix"]) else "a string that starts with"
        return f"argument {path} must be {what} {caveat['prefix']!r} and have no '..'"
    return None


def _same(value: Any, allowed: Any) -> bool:
    """Equal and of the same type, at any depth: true is not 1."""
    if is_object(value) and is_object(allowed):
        return value.keys() == allowed.keys() and all(_same(item, allowed[key]) for key, item in value.items())
    if is_array(value) and is_array(allowed):
        return len(value) == len(allowed) and all(map(_same, value, allowed))
    return type(value) is type(allowed) and bool(value == allowed)


def has_prefix(value: Any, prefix: str) -> bool:
    """Whether the value starts so and stays below it. A URL is compared by its parts."""
    if not isinstance(value, str) or len(value) > _MAX_PREFIXED_CHARS:
        return False
    if is_url(prefix):
        place, bound = place_of(value), place_of(prefix)
        if place is None or bound is None or not below(place, bound):
            return False
    elif not value.startswith(prefix):
        return False
    return _stays(value)


def _stays(value: str) -> bool:
    """No way up, however often who reads it undoes percent-encoding, drops control characters, folds widths or takes
    `..;x`, `.. ` and `...` for one.
    """
    for _ in range(_DECODINGS):
        if any(unicodedata.category(character) in _UNSEEN for character in value) or any(map(_leads_up, re.split(r"[/\\]", value))):
            return False
        decoded = unicodedata.normalize("NFKC", unquote(value, errors="replace"))
        if decoded == value:
            return True
        value = decoded
    return False


def _leads_up(segment: str) -> bool:
    name = re.split(r"[;?#:]", segment, maxsplit=1)[0].rstrip(" ")
    return len(name) > 1 and not name.strip(".")
