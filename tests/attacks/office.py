"""A small product for the tests of information flow, and what left it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from inhabit.app import Inhabit
from inhabit.connectors.functions import Capability
from inhabit.contracts.result import RunResult
from tests.attacks.conftest import Target

__all__ = ["Office", "opened", "outbox"]


@dataclass
class Office:
    app: Inhabit
    sent: list[tuple[str, Any]] = field(default_factory=list[tuple[str, Any]])
    fetched: list[str] = field(default_factory=list[str])

    async def run(self, source: str, **options: Any) -> RunResult:
        return await self.app.execute(source, principal="ada", wait_s=20, **options)

    async def record(self, run: RunResult) -> list[Any]:
        return [stored.entry for stored in (await self.app.home.journal.read(run.run_id, tenant="default")).entries]

    def forget(self) -> None:
        self.sent.clear()
        self.fetched.clear()


def outbox(seen: Sequence[Office]) -> Capability:
    """`mail`: what is sent by it leaves."""
    mail = Capability("mail")

    @mail.operation(writes="external", reads="none", irreversible=False)
    async def send(to: str, body: str) -> str:  # pyright: ignore[reportUnusedFunction]
        seen[0].sent.append((to, body))
        return "sent"

    return mail


_O = TypeVar("_O", bound=Office)


@asynccontextmanager
async def opened(made: type[_O], capabilities: Callable[[list[_O]], list[Any]], target: Target, home: Path) -> AsyncGenerator[_O]:
    """An office on a home of its own, with the images of the session's target."""
    (home / "cache").symlink_to(target.app.home.cache)
    seen: list[_O] = []
    app = Inhabit(capabilities(seen), home=home)
    seen.append(made(app))
    async with app:
        yield seen[0]
