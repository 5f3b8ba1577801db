"""The runtime as every door sees it: search, execute, wait, cancel. Doors add transport and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inhabit.contracts.principal import Principal
from inhabit.contracts.result import RunResult
from inhabit.kernel.grants import Grant

__all__ = ["Caller", "Runtime"]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, with what authority, through which door ("python", "cli", "http", "mcp")."""

    principal: Principal
    grant: Grant
    door: str = "python"


class Runtime:
    """Joined by `app.py` from a catalog, connectors, a pool, a journal and blobs."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def search(self, query: str, caller: Caller, *, language: str = "typescript", budget_tokens: int = 1_500) -> str:
        """Declarations the caller may use, as text for a model."""
        raise NotImplementedError

    async def execute(self, source: str, caller: Caller, *, language: str | None = None, input: Any = None,
                      limits: Mapping[str, Any] | None = None, wait_s: float | None = None) -> RunResult:
        """Check and run a program. Returns when it ends or after `wait_s` seconds, whichever is first; the run
        goes on in the second case. Raises `ProgramError` when nothing ran, `InvalidInput` for bad arguments.
        """
        raise NotImplementedError

    async def wait(self, run_id: str, caller: Caller, *, wait_s: float = 0.0) -> RunResult:
        """Raises `NotFound`."""
        raise NotImplementedError

    async def cancel(self, run_id: str, caller: Caller) -> RunResult:
        """Stop a run; calls in flight that may write make it `unknown`. Raises `NotFound`."""
        raise NotImplementedError

    def capabilities(self, caller: Caller) -> Sequence[Mapping[str, Any]]:
        """`[{name, connector, operations, problems}]`, only what the caller's grant shows."""
        raise NotImplementedError

    def health(self) -> Mapping[str, Any]:
        raise NotImplementedError
