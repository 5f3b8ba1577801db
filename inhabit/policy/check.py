"""A policy held against the operations that there are, and against itself: what it names that is not there, what it
compares that cannot be compared, and what can never have an effect.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from inhabit.contracts.operation import Operation
from inhabit.kernel.grants import matches
from inhabit.kernel.policy import Limit, Policy, ResultRule, Rule, Scope
from inhabit.policy.arguments import argument, hidden, unfit
from inhabit.policy.comparing import mismatches
from inhabit.policy.conditions import CelCondition
from inhabit.policy.document import Document, Written
from inhabit.policy.expression import EVERY, walk
from inhabit.policy.expression import path_of as fact
from inhabit.policy.problems import Problem, ordered, suggestion
from inhabit.policy.tables import Table
from inhabit.policy.toml import Path

__all__ = ["checked"]

_STRICTNESS = {"allow": 0, "ask": 1, "hold": 2, "deny": 3}
_NAMED = 3
Key = tuple[str, str]


def checked(document: Document, operations: Sequence[Operation], *, complete: bool = True) -> tuple[Problem, ...]:
    """All problems, those of the file too. `complete`: these are all operations there will be; where a source could not
    be reached, a name that is not known is a warning.
    """
    found: list[Problem] = [*document.problems]
    by_name = {operation.name: operation for operation in operations}
    limits = {one.item.name: one.item for one in document.written if isinstance(one.item, Limit)}
    for one in document.written:
        table = _Collecting(one.table, found)
        concerned = _concerned(one, table, by_name, complete)
        for at, condition in one.conditions.items():
            _condition(table, at, condition, concerned)
            _usage(table, at, condition, concerned, limits)
        if isinstance(one.item, ResultRule):
            _redactions(table, one.item.redact, concerned)
    _dead(document, found)
    for example in document.examples:
        operation = by_name.get(example.operation)
        if operation is None:
            found.append(Problem("error" if complete else "warning", example.place, example.name,
                                 f"there is no operation {example.operation!r}", suggestion(example.operation, sorted(by_name))))
            continue
        for message, fix in unfit(operation, example.facts(operation).arguments):
            found.append(Problem("warning", example.place, example.name, message, fix))
    return ordered(found)


class _Collecting(Table):
    """The same table, its problems gathered in another list."""

    def __init__(self, table: Table, problems: list[Problem]) -> None:
        self.__dict__.update(table.__dict__)
        self._problems = problems


def _concerned(one: Written, table: Table, by_name: Mapping[str, Operation], complete: bool) -> list[Operation]:
    severity = "error" if complete else "warning"
    found: dict[str, Operation] = {}
    for pattern in one.item.patterns:
        named = [operation for name, operation in by_name.items() if matches(pattern, name)]
        found |= {operation.name: operation for operation in named}
        if not named:
            what = f"no operation is named {pattern!r}" if "*" not in pattern else f"no operation lies under {pattern!r}"
            table.error(("on",), what, suggestion(pattern, _candidates(pattern, by_name)), severity=severity)
    if isinstance(one.item, Rule | Limit) and one.item.effects and found:
        effects = one.item.effects
        kept = [op for op in found.values() if all(getattr(op.effects, name) in values for name, values in effects.items())]
        if not kept:
            table.warn(("effects",), f"none of the {len(found)} operations under `on` has these effects")
        return kept
    return list(found.values())


def _candidates(pattern: str, by_name: Mapping[str, Operation]) -> list[str]:
    if "*" not in pattern:
        return sorted(by_name)
    ending = "." + pattern.rpartition(".")[2]
    return sorted({".".join(name.split(".")[:length]) + ending for name in by_name for length in range(1, name.count(".") + 1)})


def _condition(table: Table, at: Path, condition: CelCondition, concerned: Sequence[Operation]) -> None:
    """Arguments that are not there, that may be left out, or that are compared with another kind of thing."""
    guarded = {path for node, scope in walk(condition.root) if node.kind == "has" and (path := fact(node, scope)) is not None}
    named: set[str] = set()
    for path in sorted(condition.paths):
        if path[:1] == ("args",) and len(path) > 1 and path[1] != EVERY:
            _argument(table, at, path, concerned, any(path[:len(tested)] == tested for tested in guarded), named)
    for message, fix, severity in dict.fromkeys(mismatches(condition.root, at[0] == "when", at[0] == "amount", concerned)):
        table.error(at, message, fix, severity=severity)


def _argument(table: Table, at: Path, path: tuple[str, ...], concerned: Sequence[Operation], guarded: bool,
              named: set[str]) -> None:
    """`named`: what was found missing already, on a way that several paths share."""
    shown = ".".join(path).removesuffix(f".{EVERY}.")
    found = [(operation, argument(operation, path[1:])) for operation in concerned]
    missing = [(operation, what) for operation, what in found if what.missing]
    if missing and (len(missing) == len(found) or not guarded) and missing[0][1].missing not in named:
        operation, what = missing[0]
        named.add(what.missing)
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        other = "" if len(missing) == len(found) else "; such a call is denied, as it cannot be judged: has() asks first"
        table.error(at, f"{operation.name}{more} {'have' if more else 'has'} no {shown}{other}", suggestion(what.missing, what.known))
    optional = [operation.name for operation, what in found if what.optional and not what.missing]
    if optional and not guarded:
        names = ", ".join(optional[:_NAMED]) + (", …" if len(optional) > _NAMED else "")
        table.warn(at, f"{shown} may be left out of {names}: such a call is denied, as it cannot be judged",
                   f"has({shown}) && … asks first")


def _redactions(table: Table, paths: Sequence[str], concerned: Sequence[Operation]) -> None:
    """A path that no result has hides nothing, which nobody would notice."""
    for path in paths:
        found = [hidden(operation, path.split(".")) for operation in concerned]
        if found and all(one.missing for one in found):
            known = sorted({name for one in found for name in one.known})
            table.warn(("redact",), f"no result under `on` has {path}, so nothing is hidden by it", suggestion(found[0].missing, known))


def _usage(table: Table, at: Path, condition: CelCondition, concerned: Sequence[Operation], limits: Mapping[str, Limit]) -> None:
    for path in sorted(condition.paths):
        limit = limits.get(path[1]) if path[:1] == ("usage",) and len(path) > 1 else None
        if limit is None:
            continue
        alone = Policy((), [limit])
        apart = [operation.name for operation in concerned if not alone.applicable(operation).limits]
        if apart:
            table.error(at, f"limit {limit.name!r} does not count {apart[0]}, so its usage is not known there",
                        "let `on` of both name the same operations")


# -- what can never have an effect ------------------------------------------------------------------------


def _dead(document: Document, found: list[Problem]) -> None:
    """Rules and limits behind a stricter rule that always holds where they do. Found by key, not by pairs: a policy may
    have ten thousand of them.
    """
    walls: dict[Key, list[Written]] = {}
    for one in document.written:
        if isinstance(one.item, Rule) and not one.item.effects and one.table.sound:
            for pattern in one.item.patterns:
                walls.setdefault((pattern, _when(one)), []).append(one)
    for one in document.written:
        if isinstance(one.item, Rule | Limit) and one.table.sound:
            table = _Collecting(one.table, found)
            constant = one.conditions.get(("when",))
            if constant is not None and constant.root.kind == "const" and constant.root.value is False:
                table.error(("when",), "the condition never holds", "remove the rule, or the condition")
            else:
                _shadowed(one, table, walls)


def _shadowed(one: Written, table: Table, walls: Mapping[Key, Sequence[Written]]) -> None:
    item = one.item
    assert isinstance(item, Rule | Limit)
    behind = [_wall(pattern, one, walls) for pattern in item.patterns]
    if not behind or None in behind:
        return
    wall = behind[0]
    assert wall is not None and isinstance(wall.item, Rule)
    line = wall.table.place().line
    place = f" (line {line})" if line else ""
    if _strict(wall.item.verdict) > _strict(item.verdict) or isinstance(item, Limit):
        table.error((), f"it can never have an effect: {wall.item.name!r}{place} says {wall.item.verdict} to all of it",
                    "remove one of the two, or narrow the other")
    else:
        table.warn((), f"it says what {wall.item.name!r}{place} says already")


def _wall(pattern: str, one: Written, walls: Mapping[Key, Sequence[Written]]) -> Written | None:
    """A rule that speaks wherever this one does on `pattern`, and leaves it nothing to say."""
    own = (pattern, _when(one))
    for above in _wider(pattern):
        for when in dict.fromkeys(("", own[1])):
            for wall in walls.get((above, when), ()):
                if wall is not one and _silences(wall, one, wider=(above, when) != own):
                    return wall
    return None


def _silences(wall: Written, one: Written, *, wider: bool) -> bool:
    other, item = wall.item, one.item
    assert isinstance(other, Rule) and isinstance(item, Rule | Limit)
    if not _around(other.scope, item.scope):
        return False
    if isinstance(item, Limit):
        return other.verdict == "deny"
    before = wider or other.scope != item.scope or wall.table.path < one.table.path     # of two alike the later one is too much
    return _strict(other.verdict) > _strict(item.verdict) or (other.verdict == item.verdict and before)


def _wider(pattern: str) -> Iterator[str]:
    """The patterns that hold everything this one does."""
    yield pattern
    parts = pattern.removesuffix(".**").removesuffix(".*").split(".")
    if pattern == "**":
        return
    exact = "*" not in pattern
    if exact and len(parts) > 1:
        yield ".".join(parts[:-1]) + ".*"
    if pattern.endswith(".*"):
        yield pattern + "*"
    for length in range(len(parts) - 1, 0, -1):
        yield ".".join(parts[:length]) + ".**"
    yield "**"


def _when(one: Written) -> str:
    condition = one.conditions.get(("when",))
    if condition is None or (condition.root.kind == "const" and condition.root.value is True):
        return ""
    return condition.text.strip()


def _around(outer: Scope, inner: Scope) -> bool:
    return all(wide in (None, narrow) for wide, narrow in zip(outer, inner, strict=True))


def _strict(verdict: str) -> int:
    return _STRICTNESS[verdict]
