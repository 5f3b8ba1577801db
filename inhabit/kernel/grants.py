"""What a principal may call: patterns with caveats, in layers.

A grant is a stack of layers. A call is permitted when EVERY layer has a clause that permits it, so adding a
layer can only narrow, whatever it says: that is the whole proof that delegation never widens. Nothing
removes or edits a layer.

A clause is a pattern over operation names and caveats that must all hold:

    shop.orders.*          one level: shop.orders.list, not shop.orders.items.add
    shop.**                every level
    shop.orders.cancel     exactly this

Caveats (an unknown one is refused when the grant is read, and an empty list of clauses grants nothing):

    {"effects": {"writes": "none"}}            at most these effects (what is left out is not bounded)
    {"argument": "amount", "max": 100}         a number at a path of the arguments, at most / at least
    {"argument": "status", "one_of": ["a"]}    equal to one of
    {"argument": "path", "prefix": "docs/"}    a string that starts so, with no `..` segment
    {"argument": "url", "prefix": "https://h/v1"}   a URL below, by scheme, host, port and whole segments
    {"expires_ms": 1790000000000}              Unix time
    {"calls": 5}                               allowed calls of this clause within a run
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from inhabit.contracts.json import is_array, is_object
from inhabit.contracts.operation import Operation
from inhabit.errors import InvalidInput
from inhabit.kernel.caveats import broken, checked

__all__ = ["Clause", "Grant", "Permitted", "Refusal", "is_pattern", "matches", "patterns_over"]

_PATTERN = re.compile(r"(?:\*\*|[A-Za-z_$][\w$]*(?:\.[A-Za-z_$][\w$]*)*(?:\.\*\*?)?)\Z")


def is_pattern(text: str) -> bool:
    return _PATTERN.match(text) is not None


def matches(pattern: str, name: str) -> bool:
    """Whether an operation's name lies under a pattern (`a.b`, `a.*`, `a.**` or `**`)."""
    if pattern == "**":
        return True
    if pattern.endswith(".**"):
        return name.startswith(pattern[:-2])
    if pattern.endswith(".*"):
        return name.startswith(pattern[:-1]) and "." not in name[len(pattern) - 1:]
    return name == pattern


def patterns_over(name: str) -> tuple[str, ...]:
    """Every pattern that matches an operation's name."""
    heads = [name[:at] for at, character in enumerate(name) if character == "."]
    return (name, "**", *(f"{head}.**" for head in heads), *(f"{head}.*" for head in heads[-1:]))


class Refusal(NamedTuple):
    """Why no: the clause that came closest, and the reason in words."""

    clause: str
    reason: str


class Permitted(NamedTuple):
    """The clauses that said yes (one a layer), and the counters that the call uses up."""

    clause: str
    counted: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Clause:
    pattern: str
    caveats: tuple[Mapping[str, Any], ...] = ()

    def matches(self, name: str) -> bool:
        return matches(self.pattern, name)

    def as_value(self) -> dict[str, Any]:
        return {"pattern": self.pattern, "caveats": [dict(c) for c in self.caveats]}


@dataclass(frozen=True, slots=True)
class Grant:
    """Build with `Grant.of("shop.**", ...)` or `Grant.from_value`; narrow with `narrowed`.

    Raises `InvalidInput` for a malformed pattern or an unknown or malformed caveat.
    """

    layers: tuple[tuple[Clause, ...], ...]

    def __post_init__(self) -> None:
        if not self.layers:
            raise InvalidInput("a grant needs at least one layer", fix="Grant.nothing() for none of anything")

    @classmethod
    def of(cls, *clauses: str | Clause | Mapping[str, Any]) -> Grant:
        return cls((_layer(clauses),))

    @classmethod
    def nothing(cls) -> Grant:
        return cls(((),))

    @classmethod
    def from_value(cls, value: Any) -> Grant:
        """Read the JSON form: `{"layers": [[{"pattern", "caveats"}]]}`, or a plain list for one layer."""
        if is_object(value):
            layers = value.get("layers")
            if set(value) != {"layers"} or not is_array(layers) or not layers:
                raise InvalidInput("a grant must be a list of clauses or {\"layers\": [[...], ...]}")
            return cls(tuple(_layer(layer) for layer in layers))
        return cls((_layer(value),))

    def as_value(self) -> dict[str, Any]:
        return {"layers": [[clause.as_value() for clause in layer] for layer in self.layers]}

    def narrowed(self, *clauses: str | Clause | Mapping[str, Any]) -> Grant:
        """This grant and also `clauses`: what is permitted must be permitted by both."""
        return Grant((*self.layers, _layer(clauses)))

    def within(self, other: Grant) -> Grant:
        return Grant((*self.layers, *other.layers))

    def shows(self, name: str) -> bool:
        """Whether some call of this operation could be permitted: what search and the check may name."""
        for layer in self.layers:
            for clause in layer:
                if clause.matches(name):
                    break
            else:
                return False
        return True

    def looks_at_calls(self, name: str) -> bool:
        """Whether the answer for this operation may depend on a call: its arguments, its time, how many came before."""
        return any(set(caveat) != {"effects"} for layer in self.layers for clause in layer if clause.matches(name)
                   for caveat in clause.caveats)

    def permits(self, operation: Operation, arguments: Mapping[str, Any], now_ms: int,
                used: Mapping[str, int]) -> Permitted | Refusal:
        clauses: list[str] = []
        counted: list[str] = []
        for number, layer in enumerate(self.layers):
            answer = _permit_in_layer(number, layer, operation, arguments, now_ms, used)
            if isinstance(answer, Refusal):
                return answer
            clauses.append(answer.clause)
            counted.extend(answer.counted)
        return Permitted(" & ".join(clauses), tuple(counted))


def _layer(clauses: Any) -> tuple[Clause, ...]:
    if not is_array(clauses):
        raise InvalidInput(f"a grant's layer must be a list of clauses, got {type(clauses).__name__}")
    return tuple(_clause(clause) for clause in clauses)


def _clause(value: Any) -> Clause:
    if isinstance(value, Clause):
        value = value.as_value()
    if isinstance(value, str):
        value = {"pattern": value}
    if not is_object(value) or not set(value) <= {"pattern", "caveats"}:
        raise InvalidInput(f"a grant's clause must be a pattern or {{pattern, caveats}}, got {value!r}")
    pattern = value.get("pattern")
    if not isinstance(pattern, str) or not is_pattern(pattern):
        raise InvalidInput(f"grant pattern {pattern!r} is not of the form a.b.c, a.b.*, a.** or **")
    caveats = value.get("caveats", ())
    if not is_array(caveats):
        raise InvalidInput(f"the caveats of {pattern!r} must be a list")
    return Clause(pattern, tuple(checked(caveat) for caveat in caveats))


def _permit_in_layer(number: int, layer: tuple[Clause, ...], operation: Operation, arguments: Mapping[str, Any],
                     now_ms: int, used: Mapping[str, int]) -> Permitted | Refusal:
    refusal = Refusal("grant", f"{operation.name} is not granted")
    for position, clause in enumerate(layer):
        if not clause.matches(operation.name):
            continue
        key = f"{number}.{position}"
        reason = broken(clause.caveats, key, operation.effects, arguments, now_ms, used)
        if reason is None:
            bounded = any("calls" in caveat for caveat in clause.caveats)
            return Permitted(clause.pattern, (key,) if bounded else ())
        refusal = Refusal(clause.pattern, reason)
    return refusal
