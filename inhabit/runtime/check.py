"""From source to something that may run: language, size, syntax, known operations, fitting arguments, types.

Nothing has run when any of this refuses, and the refusal names line, column and the nearest right word.
Parsing happens inside the isolate's worker: the source is hostile.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from inhabit.contracts.fences import only_fence
from inhabit.contracts.program import CallSite, Isolate, Language, Prepared, Problem, Program
from inhabit.errors import InvalidInput, LimitExceeded, ProgramError
from inhabit.limits import Limits

__all__ = ["Checker", "CheckerCatalog", "language_of"]

_WORDS: dict[str, Language] = {
    "typescript": "typescript", "ts": "typescript", "javascript": "typescript", "js": "typescript", "tsx": "typescript",
    "python": "python", "py": "python", "python3": "python",
}
_FENCE = re.compile(r"\s*(?:```|~~~)[ \t]*([A-Za-z0-9]+)")
_QUOTED = re.compile(r"'[^'\n]*'|\"[^\"\n]*\"")
_PYTHON = re.compile(
    r"^[ \t]*(?:from [\w.]+ import |import \w+(?: as \w+)?[ \t]*$|(?:async )?def \w+\(|elif |print\(|# )"
    r"|^[ \t]*(?:if|for|while|with|try|except|else)\b[^{};\n]*:[ \t]*(?:#.*)?$"
    r"|\(\w+=[^=>]|, \w+=[^=>]|\bfor \w+(?:, \w+)* in [^;\n]{1,200}[\])}]|\b(?:None|True|False)\b|\bf\"", re.MULTILINE)
_TYPESCRIPT = re.compile(
    r"\b(?:const|let|var|function|new|typeof|interface|enum)\s|=>|;[ \t]*$|===|!==|&&|\|\||\?\.|`|^[ \t]*//|\{[ \t]*$|\)[ \t]*\{", re.MULTILINE)
_LOOKED_AT_CHARS = 20_000
_HALF_PAIR = re.compile("[\ud800-\udfff]")
_KEPT = 512
"""Prepared programs held at once; a saved or repeated program skips parsing and types."""
_KEPT_CHARS = 64 * 1024
"""Of source and code together: larger ones are prepared each time, so that what is held stays some tens of MB."""

Visible = Callable[[str], bool]
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class CheckerCatalog(Protocol):
    def check(self, calls: Sequence[CallSite], visible: Visible | None) -> tuple[Problem, ...]: ...

    def stubs_for(self, names: Sequence[str]) -> str: ...


def language_of(source: str, asked: str | None) -> Language:
    """The language asked for, else the one of the Markdown fence, else Python where the text has marks of it and none of
    TypeScript, else TypeScript. Raises `InvalidInput`."""
    if _HALF_PAIR.search(source):
        raise InvalidInput("the program contains half a surrogate pair, which no text file can hold", fix="write it as an escape, \\ud800")
    if asked is not None:
        if asked.lower() not in _WORDS:
            raise InvalidInput(f"unknown language {asked!r}", fix="typescript (or javascript) or python")
        return _WORDS[asked.lower()]
    fence, only = _FENCE.match(source), only_fence(source)
    for word in (fence.group(1).lower() if fence else "", only.language if only else ""):
        if word in _WORDS:
            return _WORDS[word]
    start = _QUOTED.sub('""', (source[only.start:only.end] if only else source)[:_LOOKED_AT_CHARS])
    return "python" if _PYTHON.search(start) and not _TYPESCRIPT.search(start) else "typescript"


class Checker:
    """Keeps what it learnt of a program by tenant, its hash, the engine's version and the namespaces it was shown.

    By tenant, because what is kept is the word of a worker: a guest that took one over must not write the code that
    another tenant's run of the same program executes.
    """

    def __init__(self, catalog: CheckerCatalog) -> None:
        self._catalog = catalog
        self._prepared: OrderedDict[tuple[str, str, str, tuple[str, ...]], Prepared] = OrderedDict()
        self._typed: OrderedDict[tuple[str, str, str], tuple[Problem, ...]] = OrderedDict()

    async def check(self, program: Program, isolate: Isolate, names: tuple[str, ...], visible: Visible,
                    limits: Limits, tenant: str) -> Prepared:
        """Raises `LimitExceeded` (source_bytes) or `ProgramError` with every problem found."""
        if len(program.source.encode(errors="replace")) > limits.source_bytes:
            raise LimitExceeded.of("source_bytes", limits.source_bytes, "bytes", what="the program")
        prepared = await self._prepare(program, isolate, names, tenant)
        problems = prepared.problems or self._catalog.check(prepared.calls, visible)
        if not problems and program.language == "python":
            problems = await self._types(program, prepared, isolate, tenant)
        if problems:
            raise _refusal(problems)
        return prepared

    async def _prepare(self, program: Program, isolate: Isolate, names: tuple[str, ...], tenant: str) -> Prepared:
        key = (tenant, program.hash, isolate.engine_version, names)
        held = self._prepared.get(key)
        if held is None:
            held = await isolate.prepare(program, names)
            if len(program.source) + len(held.code) <= _KEPT_CHARS:
                _keep(self._prepared, key, held)
        return held

    async def _types(self, program: Program, prepared: Prepared, isolate: Isolate, tenant: str) -> tuple[Problem, ...]:
        stubs = self._catalog.stubs_for(sorted({call.path for call in prepared.calls}))
        key = (tenant, program.hash, stubs)
        held = self._typed.get(key)
        if held is None:
            held = await isolate.typecheck(program.source, stubs)
            _keep(self._typed, key, held)
        return held


def _keep(cache: OrderedDict[_Key, _Value], key: _Key, value: _Value) -> None:
    cache[key] = value
    if len(cache) > _KEPT:
        cache.popitem(last=False)


def _refusal(problems: Sequence[Problem]) -> ProgramError:
    """The message says each problem, in order; `details` has their places and codes and does not say them again."""
    lines = [f"{p.line}:{p.column} {p.message}" if p.line else p.message for p in problems]
    return ProgramError(
        "the program was not run: " + "; ".join(lines),
        details={"problems": [
            {"line": p.line, "column": p.column, "code": p.code,
             **({"nearest": list(p.nearest)} if p.nearest else {})} for p in problems]})
