"""Isolates without a worker process, for tests of the runtime alone: the engine runs in this process, unjailed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inhabit.contracts.program import Boot, Delivery, Engine, Guest, Prepared, Problem, Program, Turn
from inhabit.isolates.javascript import JavaScriptEngine


class InProcessIsolate:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._guest: Guest | None = None
        self.engine_version = engine.version

    async def prepare(self, program: Program, names: tuple[str, ...]) -> Prepared:
        return self._engine.prepare(program.source, names)

    async def typecheck(self, code: str, stubs: str) -> tuple[Problem, ...]:
        return self._engine.typecheck(code, stubs)

    async def start(self, boot: Boot) -> Turn:
        self._guest = self._engine.create(boot)
        return self._guest.start()

    async def deliver(self, deliveries: Sequence[Delivery]) -> Turn:
        assert self._guest is not None
        return self._guest.deliver(deliveries)

    async def close(self) -> None:
        if self._guest is not None:
            self._guest.close()
            self._guest = None


class InProcessPool:
    """JavaScript only. `version` plays an upgrade of the engine."""

    def __init__(self, cache: Path, version: str | None = None) -> None:
        self._cache = cache
        self._version = version

    async def start(self) -> None:
        JavaScriptEngine.build(self._cache)
        self._engine = JavaScriptEngine.load(self._cache)

    async def acquire(self, language: str, tenant: str, limits: Any) -> InProcessIsolate:
        assert language == "typescript"
        isolate = InProcessIsolate(self._engine)
        isolate.engine_version = self._version or isolate.engine_version
        return isolate

    async def close(self) -> None: ...
