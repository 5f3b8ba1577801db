"""The record for other tools: one JSON object a line, or OpenTelemetry traces in OTLP's own JSON.

A line is a record with the leaf of the log that stands for it and what proves it: `commitment` is SHA-256 over
SHA-256(salt ‖ first) and the framed records of the leaf (see `log`). A trace is a run: the run's span carries
`invoke_agent`, each call's span `execute_tool`, in the words of the GenAI semantic conventions. Values (arguments, results)
are left out of traces unless asked for, as those conventions advise. Nothing is changed, and the reading is one snapshot.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict
from hashlib import sha256
from typing import Any, cast

import orjson

from inhabit.contracts.run import Intent, Outcome, RunRecord, StoredEntry, Terminal
from inhabit.contracts.version import VERSION
from inhabit.store.audit.log import Item, items_of
from inhabit.store.reading import record

__all__ = ["lines", "spans"]

_INTERNAL, _CLIENT = 1, 3
_ERROR = 2
_NS_PER_MS = 1_000_000


def lines(connection: sqlite3.Connection) -> Iterator[bytes]:
    """Every record of every run, oldest first, a line each without its end. Raises `Unavailable` for a damaged one."""
    by_run = _leaves(connection)
    for key, salt in connection.execute("SELECT run, salt FROM headers ORDER BY run"):
        read = record(connection, key)
        who = {"run": read.header.run_id, "tenant": read.header.principal.tenant}
        for number, kind, body in _records(read):
            leaf = next(((at, item) for at, item in by_run[key] if item.first <= number < item.first + item.records), None)
            proof = {"leaf": leaf[0], "first": leaf[1].first, "records": leaf[1].records, "commitment": leaf[1].commitment.hex(),
                     "salt": sha256(salt + leaf[1].first.to_bytes(8, "big")).hexdigest()} if leaf else None
            yield orjson.dumps({**who, "number": number, "kind": kind, "record": body, "audit": proof}, default=_plain)


def spans(connection: sqlite3.Connection, *, values: bool = False) -> Iterator[bytes]:
    """One `TracesData` document a run that has ended, a line each, as collectors read from files (OTLP/JSON). `values`: with
    the arguments and results of calls."""
    for (key,) in connection.execute("SELECT key FROM runs WHERE ended_ms IS NOT NULL ORDER BY key"):
        yield orjson.dumps({"resourceSpans": [{
            "resource": {"attributes": _attributes({"service.name": "inhabit"})},
            "scopeSpans": [{"scope": {"name": "inhabit", "version": VERSION}, "spans": _trace(record(connection, key), values)}]}]})


def _leaves(connection: sqlite3.Connection) -> defaultdict[int, list[tuple[int, Item]]]:
    found: defaultdict[int, list[tuple[int, Item]]] = defaultdict(list)
    for first, body in connection.execute("SELECT number, body FROM entries WHERE run = 0 ORDER BY number"):
        for at, item in enumerate(items_of(body), first):
            found[item.run].append((at, item))
    return found


def _records(read: RunRecord) -> Iterator[tuple[int, str, Any]]:
    yield 0, "header", asdict(read.header)
    for stored in read.entries:
        yield stored.number, type(stored.entry).__name__.lower(), _fields(stored)


def _fields(stored: StoredEntry) -> dict[str, Any]:
    entry = stored.entry
    return dict(entry._asdict()) if isinstance(entry, tuple) else asdict(entry)


def _plain(value: Any) -> Any:
    """Long values are JSON text already; they are passed on as text."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if hasattr(value, "items"):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not JSON data")


def _trace(read: RunRecord, values: bool) -> list[dict[str, Any]]:
    header = read.header
    trace = sha256(header.run_id.encode()).hexdigest()[:32]
    root = trace[:16]
    end = read.entries[-1].entry
    ended_ms = end.at_ms if isinstance(end, Terminal) else header.clock_ms
    whole = _span(trace, root, None, f"invoke_agent {header.principal.agent or ''}".rstrip(), _INTERNAL, header.clock_ms, ended_ms, {
        "gen_ai.operation.name": "invoke_agent", "gen_ai.provider.name": "inhabit", "gen_ai.agent.name": header.principal.agent,
        "gen_ai.conversation.id": header.conversation or None, "inhabit.run": header.run_id, "inhabit.origin": header.origin, "inhabit.state": read.state,
        "inhabit.language": header.language, "inhabit.program": header.program_hash, "inhabit.mode": header.mode, "inhabit.tenant": header.principal.tenant},
        ok=read.state == "completed", error=read.state)
    return [whole, *_calls(read, trace, root, ended_ms, values)]


def _calls(read: RunRecord, trace: str, root: str, ended_ms: int, values: bool) -> Iterator[dict[str, Any]]:
    outcomes = {stored.entry.sequence: stored.entry for stored in read.entries if isinstance(stored.entry, Outcome)}
    for stored in read.entries:
        call = stored.entry
        if not isinstance(call, Intent):
            continue
        outcome = outcomes.get(call.sequence)
        decision = call.decision
        yield _span(trace, sha256(f"{trace}{call.sequence}".encode()).hexdigest()[:16], root, f"execute_tool {call.operation}", _CLIENT,
                    call.at_ms, outcome.at_ms if outcome else ended_ms, {
            "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": call.operation, "gen_ai.tool.type": "function",
            "gen_ai.tool.call.id": f"{read.header.run_id}/{call.sequence}", "inhabit.decision": decision.get("verdict"),
            "inhabit.rule": decision.get("rule"), "inhabit.may_write": call.may_write, "inhabit.duration_ms": outcome.duration_ms if outcome else None,
            "gen_ai.tool.call.arguments": _text(call.arguments) if values else None,
            "gen_ai.tool.call.result": _text(outcome.value) if values and outcome else None},
            ok=outcome is not None and outcome.ok, error=_error_type(outcome))


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _error_type(outcome: Outcome | None) -> str:
    """The code of the error: never its message, which may quote a value."""
    if outcome is None:
        return "unknown"
    try:
        value: Any = orjson.loads(outcome.value)
    except orjson.JSONDecodeError:
        return "error"
    code = cast(dict[str, Any], value).get("code") if isinstance(value, dict) else None
    return code if isinstance(code, str) else "error"


def _span(trace: str, span: str, parent: str | None, name: str, kind: int, start_ms: int, end_ms: int, attributes: dict[str, Any],
          *, ok: bool, error: str) -> dict[str, Any]:
    """A status is set for errors alone: that all is well is for whoever reads a trace to say."""
    if not ok:
        attributes["error.type"] = error
    made = {"traceId": trace, "spanId": span, "name": name, "kind": kind, "startTimeUnixNano": str(start_ms * _NS_PER_MS),
            "endTimeUnixNano": str(max(start_ms, end_ms) * _NS_PER_MS), "attributes": _attributes(attributes), "status": {} if ok else {"code": _ERROR}}
    return made | ({"parentSpanId": parent} if parent else {})


def _attributes(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _any_value(value)} for key, value in values.items() if value is not None]


def _any_value(value: object) -> dict[str, object]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, float):
        return {"doubleValue": value}
    return {"intValue": str(value)} if isinstance(value, int) else {"stringValue": str(value)}
