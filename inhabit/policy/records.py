"""Recorded runs as a policy sees them: calls with their arguments, in the order in which they were made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, cast

import orjson

from inhabit.contracts.json import is_object
from inhabit.contracts.principal import Principal
from inhabit.contracts.run import Intent, Outcome, RunHeader, RunRecord

__all__ = ["PastCall", "PastRun", "past_runs"]


class PastCall(NamedTuple):
    """`ok` None: nothing is known of how it ended."""

    sequence: int
    operation: str
    arguments: dict[str, Any]
    at_ms: int
    ok: bool | None


class PastRun(NamedTuple):
    """`calls` were allowed at the time; what was refused then had no effect and is left out."""

    run_id: str
    principal: Principal
    header: RunHeader
    calls: tuple[PastCall, ...]


def past_runs(records: Iterable[RunRecord]) -> Iterator[PastRun]:
    for record in records:
        ended = {stored.entry.sequence: stored.entry.ok for stored in record.entries if isinstance(stored.entry, Outcome)}
        calls = [PastCall(entry.sequence, entry.operation, _arguments(entry.arguments), entry.at_ms, ended.get(entry.sequence))
                 for stored in record.entries if isinstance(entry := stored.entry, Intent) and entry.decision.get("verdict") == "allow"]
        yield PastRun(record.header.run_id, record.header.principal, record.header, tuple(calls))


def _arguments(body: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return cast(dict[str, Any], value) if is_object(value) else {}
