"""One app for all attacks: real engines, workers, journal; capabilities that misbehave on request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest_asyncio
from pydantic import with_config
from typing_extensions import TypedDict

from inhabit.app import Inhabit
from inhabit.connectors.functions import Capability
from inhabit.contracts.connector import Call
from inhabit.contracts.result import RunResult
from inhabit.contracts.run import RunRecord, Terminal
from inhabit.errors import CallError, UpstreamError
from inhabit.server.http import create_app
from inhabit.testing import running


@with_config(extra="allow")
class Tree(TypedDict, total=False):
    a: Any


@dataclass
class Target:
    """The app, and what its capabilities saw."""

    app: Inhabit
    wrote: list[tuple[str, float]] = field(default_factory=list[tuple[str, float]])
    entered: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, source: str, *, principal: str = "ada", **options: Any) -> RunResult:
        async with asyncio.timeout(30):
            return await self.app.execute(source, principal=principal, **options)

    async def record(self, run: RunResult, tenant: str = "default") -> RunRecord:
        return await self.app.home.journal.read(run.run_id, tenant=tenant)

    async def ends(self, run: RunResult) -> int:
        return sum(isinstance(stored.entry, Terminal) for stored in (await self.record(run)).entries)

    async def client(self, principal: str = "ada", **token: Any) -> httpx2.AsyncClient:
        made, _ = await self.app.create_token(principal, **token)
        return self.client_of(made)

    def client_of(self, token: str) -> httpx2.AsyncClient:
        server = create_app(self.app.runtime, journal=self.app.home.journal, check_token=self.app.check_token,
                            blobs=self.app.home.blobs, tokens=self.app.home.tokens)
        return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=server), base_url="http://localhost",
                                  headers={"authorization": f"Bearer {token}"})


def kit(seen: list[Target]) -> Capability:
    made = Capability("kit")

    @made.operation
    async def echo(value: Any = None) -> Any:  # pyright: ignore[reportUnusedFunction]
        return value

    @made.operation(writes="external")
    async def write(path: str, amount: float = 1e9) -> str:  # pyright: ignore[reportUnusedFunction]
        seen[0].wrote.append((path, amount))
        return path

    @made.operation
    async def fail(how: str, size: int = 1) -> None:  # pyright: ignore[reportUnusedFunction]
        deep: Any = 1
        for _ in range(size if how == "deep" else 0):
            deep = [deep]
        raise {
            "long": CallError("x" * size), "surrogate": CallError("a\ud800b"), "deep": UpstreamError("no", details={"body": deep}),
            "nan": UpstreamError("no", details={"body": float("nan")}), "object": UpstreamError("no", details={"body": object()}),
        }[how]

    @made.operation
    async def tree(depth: int) -> dict[str, int]:  # pyright: ignore[reportUnusedFunction]
        value: Any = 1
        for _ in range(depth):
            value = {"a": value}
        return value

    @made.operation(writes="external")
    async def stubborn() -> int:  # pyright: ignore[reportUnusedFunction]
        seen[0].entered.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(0.3)
            raise
        return 1

    @made.operation
    async def store(text: str, call: Call) -> dict[str, Any]:  # pyright: ignore[reportUnusedFunction]
        return await call.blobs.put(text.encode(), tenant=call.principal.tenant, mime="image/png")

    @made.operation
    async def open(reference: dict[str, Any], call: Call) -> str:  # pyright: ignore[reportUnusedFunction]
        return (await call.blobs.get(reference, tenant=call.principal.tenant)).decode()

    return made


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def target_of_session() -> AsyncGenerator[Target]:
    seen: list[Target] = []
    async with running(kit(seen)) as app:
        seen.append(Target(app))
        yield seen[0]


@pytest_asyncio.fixture(loop_scope="session")
async def target(target_of_session: Target) -> Target:
    target_of_session.wrote.clear()
    target_of_session.entered = asyncio.Event()
    return target_of_session
