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


class _Page:
    def __init__(self, language: Language, budget: int) -> None:
        self._language: Language = language
        self._budget = budget
        self._asked: list[Ref] = []
        self._new: list[tuple[str, Ref]] = []
        reserved = PYTHON_RESERVED if language == "python" else TYPESCRIPT_RESERVED
        self._reserved = reserved

    def ask(self, ref: Ref) -> None:
        self._asked.append(ref)

    def compose(self, found: Sequence[Typed]) -> Shown:
        left = self._budget
        types, left = self._types([("", ref) for ref in self._asked], left, {}, share=1.0)
        left -= _NAME_TOKENS * len(found)
        chosen: list[_Block | None] = [None] * len(found)
        left = self._raise(found, chosen, BRIEF, left)
        left = self._raise(found, chosen, NORMAL, left)
        wanted = [pair for block in chosen if block for pair in block.types]
        more, left = self._types(wanted, left, types, share=_TYPE_SHARE)
        types.update(more)
        named = {name for name, _ref in wanted} | {ref.name for ref in self._asked}
        elided = tuple(sorted(name for name in named if name not in types))
        short = tuple(typed.operation.name for typed, block in zip(found, chosen, strict=True) if block is None)
        return Shown("\n".join(self._lines(found, chosen, types)), elided, short)

    def _raise(self, found: Sequence[Typed], chosen: list[_Block | None], style: Style, left: int) -> int:
        for place, typed in enumerate(found):
            block = self._block(typed, style)
            before = chosen[place]
            extra = block.cost - (before.cost if before else _NAME_TOKENS)
            if extra <= left:
                chosen[place] = block
                left -= extra
        return left

    def _block(self, typed: Typed, style: Style) -> _Block:
        types: list[tuple[str, Ref]] = []
        root = typed.operation.name.split(".", 1)[0]
        names = TypeNames(self._reserved, lambda name, ref: types.append((name, ref)), capital=self._language == "python")
        if self._language == "python":
            python = Python(names, style)
            text = python.signature(typed.operation, typed.output, observed=typed.observed)
            text = "\n".join([*python.hoisted, text])
        else:
            text = TypeScript(names, style).signature(typed.operation, typed.output, observed=typed.observed)
        return _Block(text, estimate_tokens(text) + 2 + estimate_tokens(root) // 4, types)

    def _types(self, wanted: Sequence[tuple[str, Ref]], left: int, shown: dict[str, str], *, share: float) -> tuple[dict[str, str], int]:
        """Declarations of the types wanted, nearest first, and of those they refer to while there is room."""
        found: dict[str, str] = {}
        queue = list(wanted)
        place = 0
        while place < len(queue) and len(found) < _MAX_TYPES:
            name, ref = queue[place]
            place += 1
            name = name or ref.name
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
        types: list[tuple[str, Ref]] = []
        names = TypeNames(self._reserved, lambda one, other: types.append((one, other)), capital=self._language == "python")
        if self._language == "python":
            python = Python(names, style)
            text = python.declaration(name, ref)
            return "\n".join([*python.hoisted, text]), types
        return TypeScript(names, style).declaration(name, ref), types

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
