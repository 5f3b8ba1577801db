"""Search results as text within a token budget.

Each operation can be shown in three forms: full (with notes), brief (signature), name. Forms are raised in
order of rank while the budget lasts: first every hit its name, then brief, then full, then the types that the
best hits refer to. What was left out is named, with the query that shows it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from inhabit.catalog.naming import TypeNames
from inhabit.catalog.pythonic import RESERVED as PYTHON_RESERVED
from inhabit.catalog.pythonic import Python
from inhabit.catalog.shapes import Ref, Shape
from inhabit.catalog.style import BRIEF, NORMAL, Style
from inhabit.catalog.tokens import estimate_tokens
from inhabit.catalog.typescript import RESERVED as TYPESCRIPT_RESERVED
from inhabit.catalog.typescript import TypeScript
from inhabit.contracts.operation import Operation
from inhabit.contracts.program import Language

__all__ = ["Shown", "Typed", "render"]

_NAME_TOKENS = 12
_MAX_TYPES = 40
_TYPE_SHARE = 0.6
"""Share of the budget after the signatures that one type may take; larger ones are named only."""


@dataclass(frozen=True, slots=True)
class Typed:
    """An operation and its result's shape: declared, observed, or None."""

    operation: Operation
    output: Shape | None
    observed: bool = False


@dataclass(frozen=True, slots=True)
class Shown:
    """`elided` are types that are referred to and not shown, `short` operations not shown in full."""

    text: str
    elided: tuple[str, ...] = ()
    short: tuple[str, ...] = ()


@dataclass(slots=True)
class _Block:
    """One operation's text and the types it names."""

    text: str
    cost: int
    types: list[tuple[str, Ref]] = field(default_factory=list[tuple[str, Ref]])


def render(found: Sequence[Typed], types: Sequence[Ref], language: Language, budget: int) -> Shown:
    """Declarations of operations in order, and of `types` that were asked for by name."""
    page = _Page(language, budget)
    for ref in types:
        page.ask(ref)
    return page.compose(found)


class _PageNames(TypeNames):
    """Type names of one page. A declaration is rendered in several styles; its nameless objects keep their names
    through all of them. `used`: what the last rendering referred to."""

    def __init__(self, reserved: frozenset[str], *, capital: bool) -> None:
        super().__init__(reserved, capital=capital)
        self.used: dict[str, Ref] = {}
        self._owner = ""
        self._count = 0
        self._hoisted: dict[tuple[str, int], str] = {}

    def begin(self, owner: str) -> None:
        self._owner, self._count, self.used = owner, 0, {}

    def of(self, ref: Ref) -> str:
        name = super().of(ref)
        self.used[name] = ref
        return name

    def fresh(self, wanted: str) -> str:
        self._count += 1
        place = (self._owner + " " + wanted, self._count)
        if place not in self._hoisted:
            self._hoisted[place] = super().fresh(wanted)
        return self._hoisted[place]


class _Page:
    def __init__(self, language: Language, budget: int) -> None:
        self._language: Language = language
        self._budget = budget
        self._asked: list[tuple[str, Ref]] = []
        python = language == "python"
        self._names = _PageNames(PYTHON_RESERVED if python else TYPESCRIPT_RESERVED, capital=python)

    def ask(self, ref: Ref) -> None:
        self._asked.append((self._names.of(ref), ref))

    def compose(self, found: Sequence[Typed]) -> Shown:
        types, left = self._types(self._asked, self._budget, {}, share=1.0)
        left -= _NAME_TOKENS * len(found)
        chosen: list[_Block | None] = [None] * len(found)
        left = self._raise(found, chosen, BRIEF, left)
        left = self._raise(found, chosen, NORMAL, left)
        wanted = [pair for block in chosen if block for pair in block.types]
        more, left = self._types(wanted, left, types, share=_TYPE_SHARE)
        types.update(more)
        elided = dict.fromkeys(ref.name for name, ref in [*self._asked, *wanted] if name not in types)
        short = tuple(typed.operation.name for typed, block in zip(found, chosen, strict=True) if block is None)
        return Shown("\n".join(self._lines(found, chosen, types)), tuple(elided), short)

    def _raise(self, found: Sequence[Typed], chosen: list[_Block | None], style: Style, left: int) -> int:
        """Show as many operations as there is room for in this style, best first."""
        for place, typed in enumerate(found):
            block = self._block(typed, style)
            before = chosen[place]
            extra = block.cost - (before.cost if before else _NAME_TOKENS)
            if extra <= left:
                chosen[place] = block
                left -= extra
        return left

    def _block(self, typed: Typed, style: Style) -> _Block:
        self._names.begin(typed.operation.name)
        if self._language == "python":
            python = Python(self._names, style)
            text = python.signature(typed.operation, typed.output, observed=typed.observed)
            text = "\n".join([*python.hoisted, text])
        else:
            text = TypeScript(self._names, style).signature(typed.operation, typed.output, observed=typed.observed)
        heading = estimate_tokens(typed.operation.capability) // 2 + 3   # `declare namespace`, shared by neighbours
        return _Block(text, estimate_tokens(text) + heading, list(self._names.used.items()))

    def _types(self, wanted: Sequence[tuple[str, Ref]], left: int, shown: dict[str, str], *, share: float) -> tuple[dict[str, str], int]:
        """Declarations of the types wanted, nearest first, and of those they refer to while there is room."""
        found: dict[str, str] = {}
        queue = list(wanted)
        place = 0
        while place < len(queue) and len(found) < _MAX_TYPES:
            name, ref = queue[place]
            place += 1
            if name in found or name in shown:
                continue
            text, deeper = self._type(name, ref, BRIEF if share < 1 else NORMAL)
            cost = estimate_tokens(text) + 1
            if cost > left * share:
                continue
            left -= cost
            found[name] = text
            queue.extend(deeper)
        return found, left

    def _type(self, name: str, ref: Ref, style: Style) -> tuple[str, list[tuple[str, Ref]]]:
        self._names.begin(f"type {name}")
        if self._language == "python":
            python = Python(self._names, style)
            text = python.declaration(name, ref)
            text = "\n".join([*python.hoisted, text])
        else:
            text = TypeScript(self._names, style).declaration(name, ref)
        return text, list(self._names.used.items())

    def _lines(self, found: Sequence[Typed], chosen: Sequence[_Block | None], types: dict[str, str]) -> Iterator[str]:
        yield from self._operations(found, chosen)
        if types:
            yield from types.values()

    def _operations(self, found: Sequence[Typed], chosen: Sequence[_Block | None]) -> Iterator[str]:
        """Shown operations, those of one capability together for TypeScript; then the names of the others."""
        if self._language == "python":
            yield from (block.text for block in chosen if block)
        else:
            groups: dict[str, list[str]] = {}
            for typed, block in zip(found, chosen, strict=True):
                if block:
                    groups.setdefault(typed.operation.capability, []).append(block.text)
            for capability, texts in groups.items():
                yield f"declare namespace {capability} {{"
                yield from texts
                yield "}"
        names = [typed.operation.name for typed, block in zip(found, chosen, strict=True) if block is None]
        if names:
            yield f"{'#' if self._language == 'python' else '//'} also: {', '.join(names)}"
