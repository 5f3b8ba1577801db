"""Calls that a program spells out: their operation and every argument stand in its source, or are its input's as it stands.

Where the author of a program has read no stranger's words, what stands in the source is the author's own word. A stranger
whose words the program reads while it runs may have a say in whether and when such a call is made. In what it does, and
where it goes, they have none: whatever the program was made to do, a call that differs in one argument is another call.

Invariants
- A header has spelled calls only where somebody vouched for its author (`closed`) and the author's conversation has read
  nothing untrusted; None else, and then nothing here weakens anything.
- Each is good once, so n of them tell at most log2 of the ways to make some of n calls in some order: 1 bit for one call,
  17 bits for eight. A second call alike is one that nobody spelled out.
- What is compared are values. An isolate that tells the wrong call site gains nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from inhabit.contracts.json import is_array, is_object
from inhabit.contracts.operation import Operation
from inhabit.contracts.program import CallSite
from inhabit.errors import InhabitError
from inhabit.wire.values import decode_value, encode_value

__all__ = ["Spelled", "SpelledCall", "spelled_calls"]

SpelledCall = Sequence[Any]
"""`[operation, shape]`; the shape as `CallSite` has it."""
_MOST = 200
_MOST_BYTES = 64 * 1024
"""Of all shapes of a run together: they stand in its header."""
_NOTHING: Mapping[str, Any] = {"kind": "object", "properties": {}, "open": False}


def spelled_calls(sites: Sequence[CallSite], find: Callable[[str], Operation | None]) -> tuple[SpelledCall, ...]:
    """Those of a source whose calls the guard could stop. What is past the bounds is not spelled out."""
    found: list[SpelledCall] = []
    left = _MOST_BYTES
    for site in sites:
        operation = find(site.path)
        shape = _NOTHING if site.arguments is None else site.arguments
        if operation is not None and (operation.effects.may_write or operation.url_argument) and _whole(shape):
            left -= _size(shape)
            if left < 0 or len(found) >= _MOST:
                break
            found.append([site.path, shape])
    return tuple(found)


def _size(shape: Mapping[str, Any]) -> int:
    """In a header. What JSON cannot hold (half a surrogate pair) is past every bound."""
    try:
        return len(encode_value(shape))
    except InhabitError:
        return _MOST_BYTES + 1


class Spelled:
    """Those of one run that are still to be made."""

    __slots__ = ("_input", "_left", "_made")

    def __init__(self, calls: Sequence[SpelledCall], input_body: bytes) -> None:
        self._left = list(calls)
        self._made: dict[int, SpelledCall] = {}
        self._input = decode_value(input_body)

    def takes(self, sequence: int, operation: str, arguments: Mapping[str, Any]) -> bool:
        """Whether this call is one of them, which is then used up. Asked again of the same call, the answer is the same."""
        made = self._made.get(sequence)
        if made is not None:
            return self._is(made, operation, arguments)
        for place, call in enumerate(self._left):
            if self._is(call, operation, arguments):
                self._made[sequence] = self._left.pop(place)
                return True
        return False

    def _is(self, call: SpelledCall, operation: str, arguments: Mapping[str, Any]) -> bool:
        return call[0] == operation and _fits(call[1], arguments, self._input)


def _whole(shape: Mapping[str, Any]) -> bool:
    """Whether a shape says all of its value."""
    if "input" in shape:
        return True
    match shape.get("kind"):
        case "literal":
            return True
        case "object":
            return not shape.get("open") and all(_whole(inner) for inner in shape["properties"].values())
        case "array":
            return not shape.get("open") and all(_whole(inner) for inner in shape["items"])
        case _:
            return False


def _fits(shape: Mapping[str, Any], value: Any, given: Any) -> bool:
    if "input" in shape:
        for name in shape["input"]:
            if not is_object(given) or name not in given:
                return False
            given = given[name]
        return _same(given, value)
    match shape.get("kind"):
        case "object":
            inner: Mapping[str, Any] = shape["properties"]
            return is_object(value) and inner.keys() == value.keys() and all(_fits(inner[name], value[name], given) for name in inner)
        case "array":
            return is_array(value) and len(value) == len(shape["items"]) and all(
                _fits(item, part, given) for item, part in zip(shape["items"], value, strict=True))
        case "literal":
            return _same(shape["value"], value)
        case _:
            return False


def _same(one: Any, other: Any) -> bool:
    """JSON equality: 1 and 1.0 are one value, 1 and true are not."""
    if is_object(one):
        return is_object(other) and one.keys() == other.keys() and all(_same(value, other[name]) for name, value in one.items())
    if is_array(one):
        return is_array(other) and len(one) == len(other) and all(_same(a, b) for a, b in zip(one, other, strict=True))
    return (one is other) if isinstance(one, bool) or isinstance(other, bool) else one == other
