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
    {"expires_ms": 1790000000000}              Unix time
    {"calls": 5}                               allowed calls of this clause within a run
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inhabit.contracts.effects import Effects
from inhabit.contracts.operation import Operation
from inhabit.errors import InvalidInput
from inhabit.kernel.effects import READS, TRUST, WRITES

__all__ = ["Clause", "Grant", "Permitted", "Refusal"]

_PATTERN = re.compile(r"(?:\*\*|[A-Za-z_$][\w$]*(?:\.[A-Za-z_$][\w$]*)*(?:\.\*\*?)?)\Z")
_SCALES: Mapping[str, tuple[str, ...]] = {"reads": READS, "trust": TRUST, "writes": WRITES}
_MISSING = object()


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why no: the clause that came closest, and the reason in words."""

    clause: str
    reason: str


@dataclass(frozen=True, slots=True)
class Permitted:
    """The clauses that said yes (one a layer), and the counters that the call uses up."""

    clause: str
    counted: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Clause:
    pattern: str
    caveats: tuple[Mapping[str, Any], ...] = ()

    def matches(self, name: str) -> bool:
        pattern = self.pattern
        if pattern == "**":
            return True
        if pattern.endswith(".**"):
            return name.startswith(pattern[:-2])
        if pattern.endswith(".*"):
            return name.startswith(pattern[:-1]) and "." not in name[len(pattern) - 1:]
        return name == pattern

    def as_value(self) -> dict[str, Any]:
        return {"pattern": self.pattern, "caveats": [dict(c) for c in self.caveats]}


@dataclass(frozen=True, slots=True)
class Grant:
    """Build with `Grant.of("shop.**", ...)` or `Grant.from_value`; narrow with `narrowed`.

    Raises `InvalidInput` for a malformed pattern or an unknown or malformed caveat.
    """

    layers: tuple[tuple[Clause, ...], ...]

    @classmethod
    def of(cls, *clauses: str | Clause | Mapping[str, Any]) -> Grant:
        return cls((_layer(clauses),))

    @classmethod
    def nothing(cls) -> Grant:
        return cls(((),))

    @classmethod
    def from_value(cls, value: Any) -> Grant:
        """Read the JSON form: `{"layers": [[{"pattern", "caveats"}]]}`, or a plain list for one layer."""
        if isinstance(value, Mapping):
            layers = value.get("layers")
            if set(value) != {"layers"} or not _is_list(layers) or not layers:
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
        return all(any(clause.matches(name) for clause in layer) for layer in self.layers)

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
    if not _is_list(clauses):
        raise InvalidInput(f"a grant's layer must be a list of clauses, got {type(clauses).__name__}")
    return tuple(_clause(clause) for clause in clauses)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _clause(value: Any) -> Clause:
    if isinstance(value, Clause):
        value = value.as_value()
    if isinstance(value, str):
        value = {"pattern": value}
    if not isinstance(value, Mapping) or not set(value) <= {"pattern", "caveats"}:
        raise InvalidInput(f"a grant's clause must be a pattern or {{pattern, caveats}}, got {value!r}")
    pattern = value.get("pattern")
    if not isinstance(pattern, str) or not _PATTERN.match(pattern):
        raise InvalidInput(f"grant pattern {pattern!r} is not of the form a.b.c, a.b.*, a.** or **")
    caveats = value.get("caveats", ())
    if not _is_list(caveats):
        raise InvalidInput(f"the caveats of {pattern!r} must be a list")
    return Clause(pattern, tuple(_checked(caveat) for caveat in caveats))


def _checked(caveat: Any) -> Mapping[str, Any]:
    """The caveat itself when it is one we understand: an unknown caveat would be an unkept promise."""
    if isinstance(caveat, Mapping):
        keys = set(caveat)
        well_formed = (
            (keys == {"effects"} and _is_effects_ceiling(caveat["effects"]))
            or ("argument" in keys and _is_argument_bound(caveat))
            or (keys == {"expires_ms"} and _is_number(caveat["expires_ms"]))
            or (keys == {"calls"} and type(caveat["calls"]) is int and caveat["calls"] >= 0)
        )
        if well_formed:
            return dict(caveat)
    raise InvalidInput(f"unknown or malformed caveat {caveat!r}", fix="effects, argument+max/min/one_of/prefix, expires_ms or calls")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def _is_effects_ceiling(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(value) and all(
        (value[key] in scale if (scale := _SCALES.get(key)) else key == "irreversible" and value[key] is False)
        for key in value)


def _is_argument_bound(caveat: Mapping[str, Any]) -> bool:
    bounds = set(caveat) - {"argument"}
    return (
        isinstance(caveat["argument"], str) and bool(caveat["argument"]) and bool(bounds)
        and bounds <= {"max", "min", "one_of", "prefix"}
        and all(_is_number(caveat[b]) for b in bounds & {"max", "min"})
        and ("one_of" not in bounds or _is_list(caveat["one_of"]))
        and ("prefix" not in bounds or isinstance(caveat["prefix"], str))
    )


def _permit_in_layer(number: int, layer: tuple[Clause, ...], operation: Operation, arguments: Mapping[str, Any],
                     now_ms: int, used: Mapping[str, int]) -> Permitted | Refusal:
    refusal = Refusal("grant", f"{operation.name} is not granted")
    for position, clause in enumerate(layer):
        if not clause.matches(operation.name):
            continue
        key = f"{number}.{position}"
        reason = _broken_caveat(clause, key, operation.effects, arguments, now_ms, used)
        if reason is None:
            bounded = any("calls" in caveat for caveat in clause.caveats)
            return Permitted(clause.pattern, (key,) if bounded else ())
        refusal = Refusal(clause.pattern, reason)
    return refusal


def _broken_caveat(clause: Clause, key: str, effects: Effects, arguments: Mapping[str, Any], now_ms: int,
                   used: Mapping[str, int]) -> str | None:
    for caveat in clause.caveats:
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
        value = value.get(part, _MISSING) if isinstance(value, Mapping) else _MISSING
    if value is _MISSING:
        return f"argument {path} must be given: the grant bounds it"
    if "max" in caveat and not (_is_number(value) and value <= caveat["max"]):
        return f"argument {path} must be a number of at most {caveat['max']}"
    if "min" in caveat and not (_is_number(value) and value >= caveat["min"]):
        return f"argument {path} must be a number of at least {caveat['min']}"
    if "one_of" in caveat and not any(value == allowed and type(value) is type(allowed) for allowed in caveat["one_of"]):
        return f"argument {path} must be one of {list(caveat['one_of'])}"
    if "prefix" in caveat and not _has_prefix(value, caveat["prefix"]):
        return f"argument {path} must be a string that starts with {caveat['prefix']!r} and has no '..'"
    return None


def _has_prefix(value: Any, prefix: str) -> bool:
    return isinstance(value, str) and value.startswith(prefix) and ".." not in re.split(r"[/\\]", value)
