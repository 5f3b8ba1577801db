"""The two tools, `search` and `execute`: their definitions, and what a call of them does. Transport is elsewhere.

Model: the definitions are constants, so their cost in a model's context does not depend on what is mounted.
A run started here is a task of the runtime: a client that stops waiting ends its wait, and whether the run ends
with it is `ToolOptions.cancel_with_client`.

Invariants: a call never raises an `InhabitError` (it becomes an answer with `is_error`), and it returns within
`wait_s`, with the run's state and how to go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import anyio
import orjson
from pydantic import Field

from inhabit.contracts.result import RunResult
from inhabit.contracts.run import TERMINAL_STATES, Asked
from inhabit.errors import InhabitError, InvalidInput
from inhabit.runtime.service import Caller, Runtime
from inhabit.server.metrics import Metrics
from inhabit.server.requests import MAX_WAIT_S, StrictBody, validated

__all__ = ["EXECUTE", "SEARCH", "ToolAnswer", "ToolDefinition", "ToolOptions", "Toolset"]

BAD_STATES = frozenset({"failed", "rejected", "unknown"})

Progress = Callable[[float, str], Awaitable[None]]
"""Told the seconds waited so far and one line about the run."""


@dataclass(frozen=True, slots=True)
class ToolDefinition:
    name: str
    description: str
    input_schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolOptions:
    """`wait_s` is below the 60 s after which common clients give a tool call up."""

    wait_s: float = 45.0
    progress_s: float = 2.0
    search_tokens: int = 1_500
    cancel_with_client: bool = True


@dataclass(frozen=True, slots=True)
class ToolAnswer:
    """`text` is what a model reads; `value` is the same as plain data, where it is data."""

    text: str
    value: dict[str, Any] | None = None
    is_error: bool = False
    binaries: tuple[str, ...] = ()   # hashes of the values in it that may be opened for this caller
    approvals: tuple[Asked, ...] = ()   # of a suspended run


_LANGUAGE = {"enum": ["typescript", "python"], "default": "typescript"}

SEARCH = ToolDefinition(
    "search",
    "Find the operations you can call, before you write a program for `execute`. Returns typed declarations with docs. "
    'Say in a few words what to do, e.g. "list failed invoices"; search once for each kind of step. Names of operations or types give them whole.',
    {
        "type": "object",
        "properties": {"query": {"type": "string"}, "language": _LANGUAGE},
        "required": ["query"],
        "additionalProperties": False,
    },
)

EXECUTE = ToolDefinition(
    "execute",
    """Run a program over the operations that `search` found. They are globals; a program can call many, loop, filter, and return only what matters.
- TypeScript: `const orders = await shop.orders.list({ limit: 3 }); return orders.map(o => o.id);` One object per call. Python: `await shop.orders.list(limit=3)`, keywords only.
- Top-level `await` and `return` work. `Promise.all` / `asyncio.gather` make calls run at once. Return JSON data; console.log/print is shown too. `input` is the value given as input.
- Sealed: no network, files, imports of packages, or state between programs.
- `<operation>.handle(args)` gives a handle instead of the value: pass it, or `{...h, at: "/field"}` (Python `h | {"at": "/field"}`), on to data you need not read.
- A failed call throws an error with `code` and `message`; catch it to go on. Misspelt operations or arguments are refused before anything runs.
- Large results are cut: filter and sum up in the program.
- A run that outlasts `wait_s` goes on: call again with only `{run}` to wait for it. So does one that is `suspended`: a person must approve.""",
    {
        "type": "object",
        "properties": {
            "program": {"type": "string"},
            "language": _LANGUAGE,
            "input": {"type": "object"},
            "run": {"type": "string", "description": "A run to go on waiting for, instead of a program"},
            "wait_s": {"type": "number", "description": "Seconds to wait at most"},
            "mode": {"enum": ["live", "plan"], "description": "plan: writes are held for a person to review and apply"},
        },
        "additionalProperties": False,
    },
)


class _Search(StrictBody):
    query: str = Field(max_length=2_000)
    language: Literal["typescript", "javascript", "python"] = "typescript"


class _Execute(StrictBody):
    program: str | None = None
    language: Literal["typescript", "javascript", "python"] | None = None
    input: Any = None
    run: str | None = Field(None, max_length=100)
    mode: Literal["live", "plan"] = "live"
    wait_s: float | None = Field(None, ge=0, le=MAX_WAIT_S, allow_inf_nan=False)


class _Heard:
    """What a system upstream said last about a call of the run."""

    def __init__(self) -> None:
        self.last = ""

    def note(self, words: str) -> None:
        self.last = words


class Toolset:
    """`call` carries out one tool call for a caller."""

    definitions: tuple[ToolDefinition, ...] = (SEARCH, EXECUTE)

    def __init__(self, runtime: Runtime, options: ToolOptions | None = None, metrics: Metrics | None = None) -> None:
        self._runtime = runtime
        self.options = options or ToolOptions()
        self._metrics = metrics or Metrics()

    async def call(self, name: str, arguments: Mapping[str, Any] | None, caller: Caller,
                   progress: Progress | None = None) -> ToolAnswer:
        try:
            match name:
                case "search":
                    return await self._search(validated(_Search, arguments or {}), caller)
                case "execute":
                    result = await self._execute(validated(_Execute, arguments or {}), caller, progress)
                    self._metrics.programs[caller.door, result.state] += 1
                    return _answer(result)
                case _:
                    raise InvalidInput(f"there is no tool {name!r}", fix="search or execute")
        except InhabitError as error:
            value = {"error": error.as_value()}
            return ToolAnswer(orjson.dumps(value).decode(), value, is_error=True)

    async def _search(self, asked: _Search, caller: Caller) -> ToolAnswer:
        text = await self._runtime.search(asked.query, caller, language=_language(asked.language) or "typescript",
                                          budget_tokens=self.options.search_tokens)
        return ToolAnswer(text)

    async def _execute(self, asked: _Execute, caller: Caller, progress: Progress | None) -> RunResult:
        if (asked.program is None) == (asked.run is None):
            raise InvalidInput("give either `program` or `run`", fix='{"program": "return 1"} or {"run": "..."}')
        wait_s = self.options.wait_s if asked.wait_s is None else asked.wait_s
        if asked.program is None:
            return await self._wait(asked.run or "", caller, wait_s, progress, cancel=False)
        heard = _Heard()
        started = await self._start(asked.program, asked, caller, heard)
        if started.state in TERMINAL_STATES or wait_s == 0:
            return started
        return await self._wait(started.run_id, caller, wait_s, progress, cancel=self.options.cancel_with_client, heard=heard)

    async def _start(self, program: str, asked: _Execute, caller: Caller, heard: _Heard) -> RunResult:
        """Shielded: once a run exists its id must be known here, or it could not be cancelled."""
        starting = asyncio.ensure_future(self._runtime.execute(
            program, caller, language=_language(asked.language), input=asked.input, wait_s=0, progress=heard.note, mode=asked.mode))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            with anyio.CancelScope(shield=True), contextlib.suppress(InhabitError):
                await self._abandon((await starting).run_id, caller)
            raise

    async def _wait(self, run_id: str, caller: Caller, wait_s: float, progress: Progress | None, *,
                    cancel: bool, heard: _Heard | None = None) -> RunResult:
        begun = time.monotonic()
        try:
            while True:
                left = wait_s - (time.monotonic() - begun)
                result = await self._runtime.wait(run_id, caller, wait_s=max(0.0, min(left, self.options.progress_s)))
                waited = time.monotonic() - begun
                if result.state not in ("queued", "running") or waited >= wait_s:
                    return result
                if progress is not None:
                    upstream = f"; {heard.last}" if heard is not None and heard.last else ""
                    await progress(waited, f"run {run_id} is {result.state}, {result.calls} calls so far{upstream}")
        except asyncio.CancelledError:
            if cancel:
                await self._abandon(run_id, caller)
            raise

    async def _abandon(self, run_id: str, caller: Caller) -> None:
        """Cancel the run of a client that has gone, unless the options let it go on."""
        if self.options.cancel_with_client:
            with anyio.CancelScope(shield=True), contextlib.suppress(InhabitError):
                await self._runtime.cancel(run_id, caller, by="its client going away")


def _answer(result: RunResult) -> ToolAnswer:
    value = result.as_value()
    return ToolAnswer(orjson.dumps(value).decode(), value, is_error=result.state in BAD_STATES, binaries=result.binaries,
                      approvals=result.approvals if result.state == "suspended" else ())


def _language(given: str | None) -> str | None:
    return "typescript" if given == "javascript" else given
