"""A run's journal as JSON for people and clients: every entry with its type, its recorded values inlined.

In pages and streams the store leaves a long value out (`{"$omitted": BYTES}`); the entry alone, or the run's result
route, gives it whole.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import orjson

from inhabit.contracts.run import RunHeader, RunSummary, StoredEntry

__all__ = ["as_json", "entry_json", "header_json", "summary_json"]


def entry_json(stored: StoredEntry) -> dict[str, Any]:
    """`{"number", "type", ...}`, `type` being the entry's kind: intent, outcome, asked, decided, suspended, delivered,
    logged, resumed, terminal."""
    entry = stored.entry
    names = entry._fields if isinstance(entry, tuple) else [field.name for field in fields(entry)]
    body: dict[str, Any] = {"number": stored.number, "type": type(entry).__name__.lower()}
    return body | {name: as_json(getattr(entry, name)) for name in names}


def header_json(header: RunHeader) -> dict[str, Any]:
    return {
        "conversation": header.conversation, "closed": header.spelled is not None,
        "run": header.run_id, "principal": str(header.principal), "language": header.language, "source": header.source,
        "input": as_json(header.input), "program_hash": header.program_hash, "engine": header.engine,
        "clock_ms": header.clock_ms, "seed": header.seed, "grant": header.grant, "limits": header.limits,
        "rung": header.rung, "origin": header.origin, "parent_run": header.parent_run,
        "policy_version": header.policy_version, "kind": header.kind, "plan": header.plan,
    }


def summary_json(summary: RunSummary) -> dict[str, Any]:
    return {
        "run": summary.run_id, "state": summary.state, "principal": str(summary.principal), "language": summary.language,
        "program_hash": summary.program_hash, "created_ms": summary.created_ms, "ended_ms": summary.ended_ms,
        "calls": summary.calls, "origin": summary.origin, "kind": summary.kind,
    }


def as_json(value: Any) -> Any:
    """A field's value; bytes are JSON texts as recorded."""
    if not isinstance(value, bytes):
        return value
    return orjson.Fragment(value or b"null")
