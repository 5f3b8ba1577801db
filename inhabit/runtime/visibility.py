"""Whose runs a caller may see: its own tenant's and user's, as far as its own authority reaches.

A run's journal holds what its operations answered. So it is shown to a caller whose grant holds every layer that
the run was started under, or else grants each operation that the run could call without a caveat: a token that was
handed a part reads no more of the past than it could ask for now. An agent sees the runs of that agent only.

Invariant: a list holds exactly what may be opened; the same `Sight` decides both.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from inhabit.contracts.principal import Principal
from inhabit.contracts.run import RunHeader, RunKind, RunSummary
from inhabit.errors import InvalidInput
from inhabit.kernel.grants import Clause, Grant

__all__ = ["RunPage", "Sight", "visible_page"]

_ALL = (Clause("**"),)
_CHUNK = 200
_MAX_LOOKED_AT = 2_000
"""Runs that one request for a list looks at; a page may be short then, and the next one goes on."""
_TIME_CHARS = 10
_AFTER_ALL = "~"
"""Sorts behind every character of a run id."""


class RunPage(NamedTuple):
    """`before` is where the next page begins; None: there is none."""

    runs: tuple[RunSummary, ...]
    before: str | None


class Sight:
    """What one caller sees; `names` gives every operation there is."""

    def __init__(self, principal: Principal, grant: Grant, names: Callable[[], Iterable[str]]) -> None:
        self._principal = principal
        self._grant = grant
        self._names = names
        self._bounds = [layer for layer in grant.layers if layer != _ALL]
        self._known: dict[bytes, bool] = {}

    def sees(self, run: RunHeader | RunSummary) -> bool:
        mine, owner = self._principal, run.principal
        if (owner.tenant, owner.user) != (mine.tenant, mine.user) or mine.agent not in (None, owner.agent):
            return False
        if not self._bounds or not run.grant:
            return True
        key = orjson.dumps(run.grant, default=dict)   # most runs of a user were started under the same few grants
        if key not in self._known:
            self._known[key] = self._reaches(run.grant)
        return self._known[key]

    def _reaches(self, recorded: Mapping[str, Any]) -> bool:
        try:
            then = Grant.from_value(recorded)
        except InvalidInput:   # written by rules that are no longer read: nobody can say what it reached
            return False
        if all(layer in then.layers for layer in self._bounds):
            return True
        return all(_whole(self._bounds, name) for name in self._names() if then.shows(name))


def _whole(layers: Sequence[tuple[Clause, ...]], name: str) -> bool:
    """Whether every layer grants all calls of the operation: a bound on its arguments, time or number is a bound on what
    it answers, and a run of before did not keep to it.
    """
    return all(any(clause.matches(name) and not clause.caveats for clause in layer) for layer in layers)


async def visible_page(older: Callable[[str | None, int], Awaitable[Sequence[RunSummary]]], sight: Sight,
                       before: str | None, limit: int, kind: RunKind | None = None) -> RunPage:
    """The next `limit` runs (of one kind) that are seen, of those that `older(before, most)` gives newest first."""
    found: list[RunSummary] = []
    looked_at, last = 0, before
    while looked_at < _MAX_LOOKED_AT:
        chunk = await older(last, _CHUNK)
        for run in chunk:
            last = run.run_id
            if kind in (None, run.kind) and sight.sees(run):
                found.append(run)
                if len(found) == limit:
                    return RunPage(tuple(found), last)
        looked_at += len(chunk)
        if len(chunk) < _CHUNK:
            return RunPage(tuple(found), None)
    # Never the id of a run that is not seen: the last one shown, else the moment that was reached.
    return RunPage(tuple(found), found[-1].run_id if found else (last or "")[:_TIME_CHARS] + _AFTER_ALL)
