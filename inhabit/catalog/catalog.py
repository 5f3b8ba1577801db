"""Everything a model learns about operations passes through here.

Model: one segment (index) a connector, cached on disk under the connector's fingerprint; a ranker and a
directory over all segments, made anew when one changes. Schemas stay with their connectors and are asked for
one operation at a time. Whoever asks passes `visible`; what it denies is answered like what does not exist,
in rankings, names, types and suggestions alike.

Stored: `CACHE/*.index` (names, words, weights) and `CACHE/observed/` (learnt shapes, by tenant). Both may be
deleted at any time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from inhabit.catalog.check import check_calls
from inhabit.catalog.directory import Directory, Lookup, type_visible
from inhabit.catalog.nodes import is_list, list_of
from inhabit.catalog.observe import OBSERVED, Observations
from inhabit.catalog.pythonic import python_file
from inhabit.catalog.ranking import Ranker
from inhabit.catalog.render import Shown, Typed, render
from inhabit.catalog.segment import Segment, SegmentBuilder
from inhabit.catalog.shapes import Ref, Scope, shape_of
from inhabit.catalog.typescript import typescript_file
from inhabit.catalog.words import Lexer
from inhabit.contracts.connector import Connector
from inhabit.contracts.operation import Operation
from inhabit.contracts.program import CallSite, Language, Problem
from inhabit.errors import InvalidInput, NotFound

__all__ = ["Catalog", "SearchResult"]

Visible = Callable[[str], bool]

_DEFAULT_LIMIT = 10
_MAX_LIMIT = 100
_MIN_BUDGET_TOKENS = 60
_DESCRIBE_TOKENS = 50_000
_QUERY_CHARS = 10_000
_OVERVIEW_NAMES = 40
_TROUBLES = 3


@dataclass(frozen=True, slots=True)
class SearchResult:
    """`text` is for the model, next step included. `names`: operations in rank order, also those that `text`
    only names. `truncated`: something was left out for the budget or the limit; `next_step` says how to see it."""

    text: str
    names: tuple[str, ...] = ()
    truncated: bool = False
    next_step: str | None = None


class Catalog:
    """Operations of all connectors: found, declared, checked, observed. For one event loop."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._connectors: dict[str, Connector] = {}
        self._segments: dict[str, Segment] = {}
        self._observations = Observations(cache / OBSERVED)
        self._lexer = Lexer()
        self._ranker = Ranker((), self._lexer)
        self._directory = Directory(())

    # -- what is known ----------------------------------------------------------------------------------------------

    async def add(self, connector: Connector) -> None:
        """Index a connector's operations, or open the index kept for its fingerprint."""
        segment = await asyncio.to_thread(_segment_of, connector, self._cache)
        self._connectors[connector.name] = connector
        self._segments[connector.name] = segment
        self._refresh()

    async def changed(self, connector: Connector) -> None:
        """Index one connector anew; the others are untouched."""
        await self.add(connector)

    def remove(self, name: str) -> None:
        """Forget a connector. Unknown names are ignored."""
        self._connectors.pop(name, None)
        self._segments.pop(name, None)
        self._refresh()

    def operation(self, name: str) -> Operation | None:
        """One operation by its full name, asked of its connector."""
        connector = self._connector_of(name)
        return None if connector is None else connector.operation(name)

    def names(self) -> Sequence[str]:
        """All operations, sorted."""
        return self._directory.names

    def namespaces(self, visible: Visible | None = None) -> tuple[str, ...]:
        """Top-level identifiers with at least one visible operation, sorted."""
        return self._directory.namespaces(visible)

    def nearest(self, name: str, visible: Visible | None = None, n: int = 3) -> tuple[str, ...]:
        """Visible operations most like a wrong name, best first."""
        return self._directory.nearest(name, visible, n)

    # -- for the model ------------------------------------------------------------------------------------------------

    def search(self, query: str, *, language: Language = "typescript", visible: Visible | None = None,
               limit: int = _DEFAULT_LIMIT, budget_tokens: int = 1_500, tenant: str | None = None) -> SearchResult:
        """Declarations for a question in words, for operation names or prefixes, or for `type NAME`.

        `tenant` adds types observed for it. Raises `InvalidInput` for a query over 10,000 characters.
        """
        if len(query) > _QUERY_CHARS:
            raise InvalidInput(f"the query has {len(query)} characters", fix=f"at most {_QUERY_CHARS}")
        limit = max(1, min(limit, _MAX_LIMIT))
        budget = max(_MIN_BUDGET_TOKENS, budget_tokens)
        if not query.strip():
            return self._overview(language, visible)
        direct = self._directory.lookup(query, visible, limit * 2)
        if direct is None:
            hits = self._ranker.rank(query, visible, limit)
            direct = Lookup(tuple(hit.name for hit in hits), self._directory.types_named(query, visible), total=len(hits))
        types = [ref for name in direct.types if (ref := self._type(name, visible)) is not None]
        if not direct.operations and not types:
            return self._nothing(query, direct, language, visible)
        found = [typed for name in direct.operations if (typed := self._typed(name, tenant)) is not None]
        return _result(render(found, types, language, budget), found, direct, language)

    def describe(self, names: Sequence[str], language: Language = "typescript", *, visible: Visible | None = None,
                 tenant: str | None = None) -> str:
        """Full declarations of operations and the types they need. Raises `NotFound`, with the nearest names."""
        found: list[Typed] = []
        for name in names:
            typed = self._typed(name, tenant) if visible is None or visible(name) else None
            if typed is None:
                near = self.nearest(name, visible)
                raise NotFound(f"there is no operation {name}", fix=f"did you mean {' or '.join(near)}?" if near else None,
                               details={"nearest": list(near)})
            found.append(typed)
        return render(found, [], language, _DESCRIBE_TOKENS).text

    def declarations(self, of: Connector | str | Sequence[str], language: Language = "typescript", *,
                     tenant: str | None = None) -> Iterator[str]:
        """A whole `.d.ts` or stub file in chunks, for a connector or for operations by name."""
        names = self._names_of(of)
        triples = ((typed.operation, typed.output, typed.observed) for name in names if (typed := self._typed(name, tenant)) is not None)
        return python_file(triples) if language == "python" else typescript_file(triples)

    def stubs_for(self, names: Sequence[str], *, tenant: str | None = None) -> str:
        """A Python stub of these operations only; what it leaves out is `Any`, not an error. Unknown names are
        left out. Observed types are not used: a guess must not refuse a program."""
        found = {name: self._typed(name, None) for name in names}
        handles = [_handle_of(one.operation) for name in names if found[name] is None and name.endswith(".handle")
                   and (one := self._typed(name.removesuffix(".handle"), None)) is not None]
        typed = [(one.operation, one.output, False) for one in found.values() if one is not None]
        return "".join(python_file([*typed, *((operation, None, False) for operation in handles)], open_ended=True))

    def check(self, calls: Sequence[CallSite], visible: Visible | None = None) -> tuple[Problem, ...]:
        """What is surely wrong with the calls of a program, before it runs."""
        return check_calls(calls, self.operation, visible, lambda name: self.nearest(name, visible), self._empty)

    def observe(self, operation_name: str, tenant: str, value: Any) -> tuple[str, ...]:
        """Learn the shape of a result where the operation declares none. Returns contradictions with what was
        learnt before (drift); empty when there are none."""
        operation = self.operation(operation_name)
        if operation is None or operation.output_schema is not None:
            return ()
        return self._observations.observe(operation_name, tenant, value)

    # -- inside ---------------------------------------------------------------------------------------------------------

    def _refresh(self) -> None:
        segments = tuple(self._segments.values())
        self._ranker = Ranker(segments, self._lexer)
        self._directory = Directory(segments)

    def _connector_of(self, name: str) -> Connector | None:
        prefix = name
        while prefix:
            prefix = prefix.rpartition(".")[0]
            connector = self._connectors.get(prefix)
            if connector is not None:
                return connector
        return None

    def _empty(self, path: str) -> str | None:
        """What to say of a path into a source that has no operation now; None where it has some, or is not there."""
        found = next((c for c in self._connectors.values() if path.startswith(f"{c.name}.")), None)
        if found is None or self._segments[found.name].names:
            return None
        reasons = "; ".join(problem.reason for problem in found.problems()[:2])
        return f"there is no operation {path}: the source {found.name} is configured but has no operations now" + (
            f" ({reasons})" if reasons else "; `inhabit doctor` says why")

    def _typed(self, name: str, tenant: str | None) -> Typed | None:
        operation = self.operation(name)
        if operation is None:
            return None
        if operation.output_schema is not None:
            return Typed(operation, shape_of(operation.output_schema, Scope(operation.definitions)))
        learnt = self._observations.shape(name, tenant) if tenant else None
        return Typed(operation, learnt, learnt is not None)

    def _names_of(self, of: Connector | str | Sequence[str]) -> list[str]:
        if isinstance(of, str):
            return self._directory.under(of, None)
        if is_list(of):
            return sorted(map(str, list_of(of)))
        segment = self._segments.get(getattr(of, "name", ""))
        return [] if segment is None else sorted(segment.names)

    def _type(self, name: str, visible: Visible | None) -> Ref | None:
        """A type by name, if a visible operation uses it."""
        for connector, segment in self._segments.items():
            for number, (known, holder) in enumerate(segment.types):
                if known == name and type_visible(segment, number, visible):
                    operation = self._connectors[connector].operation(segment.names[holder])
                    if operation is not None and name in operation.definitions:
                        return Ref(name, Scope(operation.definitions))
        return None

    def _overview(self, language: Language, visible: Visible | None) -> SearchResult:
        mark = "#" if language == "python" else "//"
        counts = [(root, len(self._directory.under(root, visible))) for root in self.namespaces(visible)]
        shown = ", ".join(f"{root} ({count})" for root, count in counts[:_OVERVIEW_NAMES])
        more = f" and {len(counts) - _OVERVIEW_NAMES} more" if len(counts) > _OVERVIEW_NAMES else ""
        if not counts:
            return SearchResult(f"{mark} there is no operation that you may call: {self._why_none(visible)}")
        step = "search('what you want to do'), search('NAMESPACE') or search('type NAME')"
        return SearchResult(f"{mark} operations by namespace: {shown}{more}\n{mark} next: {step}", truncated=bool(counts), next_step=step)

    def _why_none(self, visible: Visible | None) -> str:
        """A source that has nothing now says why, to those whose grant holds all of it."""
        silent = [connector for name, connector in self._connectors.items()
                  if not self._segments[name].names and (visible is None or visible(f"{name}.anything"))]
        told = [f"{connector.name}: {' '.join(problems[0].reason.split())}" for connector in silent if (problems := connector.problems())]
        return "; ".join(told[:_TROUBLES]) or "no source has any now, or no grant gives you one"

    def _nothing(self, query: str, direct: Lookup, language: Language, visible: Visible | None) -> SearchResult:
        mark = "#" if language == "python" else "//"
        near = [name for word in direct.unknown if not word.startswith("type ") for name in self.nearest(word, visible)]
        overview = self._overview(language, visible)
        text = f"{mark} nothing found for {' '.join(query.split())[:100]!r}"
        if near:
            text += f"; did you mean {', '.join(dict.fromkeys(near))}?"
        return SearchResult(f"{text}\n{overview.text}", next_step=overview.next_step)


def _segment_of(connector: Connector, cache: Path) -> Segment:
    fingerprint = connector.fingerprint()
    path = Segment.path(cache, connector.name)
    kept = Segment.open(path, fingerprint)
    if kept is not None:
        return kept
    builder = SegmentBuilder(Lexer())
    for operation in connector.operations():
        builder.operation(operation)
    return builder.build(fingerprint, path)


def _result(shown: Shown, found: Iterable[Typed], direct: Lookup, language: Language) -> SearchResult:
    mark = "#" if language == "python" else "//"
    steps: list[str] = []
    names = tuple(typed.operation.name for typed in found)
    if shown.short:
        steps.append(f"search('{' '.join(shown.short[:3])}')")
    if shown.elided:
        steps.append(f"search('{' '.join(f'type {name}' for name in shown.elided[:4])}')")
    if direct.total > len(names):
        steps.append(f"a longer prefix or words ({direct.total - len(names)} more match)")
    lines = [shown.text]
    if direct.unknown:
        lines.append(f"{mark} unknown: {', '.join(direct.unknown)}")
    step = " or ".join(steps) or None
    if step:
        lines.append(f"{mark} more: {step}")
    return SearchResult("\n".join(lines), names, bool(steps), step)


def _handle_of(operation: Operation) -> Operation:
    """What a program calls for a handle: the same parameters, and a result of any type, since it stands for any."""
    return replace(operation, name=f"{operation.name}.handle", output_schema=None)
