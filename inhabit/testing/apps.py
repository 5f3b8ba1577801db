"""A real app for the length of a test, and what its runs did."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inhabit.app import Inhabit
from inhabit.app.sources import Source
from inhabit.contracts.result import RunResult
from inhabit.contracts.run import Intent, Outcome
from inhabit.wire.values import decode_value

__all__ = ["RecordedCall", "calls_of", "running"]


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """One call of a run: what was asked, what was decided, what came back (or the error's value)."""

    operation: str
    arguments: Any
    verdict: str
    ok: bool | None
    value: Any


@asynccontextmanager
async def running(*capabilities: Source, grants: Mapping[str, Any] | None = None,
                  limits: Mapping[str, Any] | None = None) -> AsyncGenerator[Inhabit]:
    """A started app over `capabilities`, in a home of its own. Starting takes about a second: share it in a fixture."""
    with tempfile.TemporaryDirectory(prefix="inhabit-test-") as home:
        async with Inhabit(capabilities, home=Path(home), grants=grants, limits=limits) as app:
            yield app


async def calls_of(app: Inhabit, result: RunResult, *, tenant: str = "default") -> list[RecordedCall]:
    """The calls of a run in program order; `ok` is None for one that has not ended. Raises `NotFound`."""
    record = await app.home.journal.read(result.run_id, tenant=tenant)
    entries = [stored.entry for stored in record.entries]
    outcomes = {entry.sequence: entry for entry in entries if isinstance(entry, Outcome)}
    return [_call(entry, outcomes.get(entry.sequence)) for entry in entries if isinstance(entry, Intent)]


def _call(intent: Intent, outcome: Outcome | None) -> RecordedCall:
    return RecordedCall(
        intent.operation, decode_value(intent.arguments), str(intent.decision["verdict"]),
        None if outcome is None else outcome.ok, None if outcome is None else decode_value(outcome.value))
