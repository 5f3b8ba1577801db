"""The change set of a plan: each write that it held, in order, with all that a person needs to judge it. A reading of the
plan's journal; with the plan's principal and expiry it has one hash, which is what an approval binds.

A write depends on what the program had been told when it issued it: every read delivered before. That is more than it
looked at, and never less.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from inhabit.contracts.effects import Effects
from inhabit.contracts.operation import Operation
from inhabit.contracts.run import Delivered, Intent, Outcome, RunRecord, Terminal
from inhabit.errors import InvalidInput
from inhabit.wire.values import decode_value, encode_value

__all__ = ["APPLY", "PLANNED", "change_set", "digest_of_changes"]

APPLY = "plan.apply"
"""Under this name a change set stands in the journal of the run that applies it, as a call with the number 0."""
PLANNED = "plan"
"""The rule of a write that was held for nothing but the plan; one of another rule would be asked or held live too."""


def change_set(record: RunRecord, operation: Callable[[str], Operation | None], lasts_ms: int) -> dict[str, Any]:
    """Raises `InvalidInput` for a run that is no plan or did not complete: what it would have done is not known."""
    header, last = record.header, record.entries[-1].entry if record.entries else None
    if header.mode != "plan" or header.rung != "isolate":
        raise InvalidInput(f"run {header.run_id} is no plan", code="not_a_plan", fix='start it with mode "plan" (inhabit run --plan)')
    if not isinstance(last, Terminal) or last.state != "completed":
        state = last.state if isinstance(last, Terminal) else record.state
        raise InvalidInput(f"plan {header.run_id} is {state}, so what it would do is not known", code="plan_incomplete",
                           fix="wait for its end, or mend the program and plan again")
    outcomes = {e.entry.sequence: e.entry for e in record.entries if isinstance(e.entry, Outcome)}
    intents = [e.entry for e in record.entries if isinstance(e.entry, Intent)]
    told = {e.entry.id: e.entry.issued_before for e in record.entries if isinstance(e.entry, Delivered) and e.entry.kind != "timer"}
    seen = [intent for intent in intents if (outcome := outcomes.get(intent.sequence)) is not None and outcome.seen]
    writes: list[dict[str, Any]] = []
    for intent in sorted(intents):
        if intent.decision.get("verdict") == "hold":
            reads = [read.sequence for read in seen if told.get(read.sequence, intent.sequence) < intent.sequence]
            writes.append({"number": len(writes) + 1, **_write(intent, outcomes[intent.sequence], operation), "reads": reads})
    needed = {sequence for write in writes for sequence in write["reads"]}
    changes: dict[str, Any] = {
        "plan": header.run_id, "principal": str(header.principal), "program": header.program_hash, "writes": writes,
        "reads": [_read(intent, outcomes[intent.sequence]) for intent in seen if intent.sequence in needed],
        "asks": any(write["rule"] != PLANNED for write in writes), "expires_ms": last.at_ms + lasts_ms}
    return {**changes, "hash": digest_of_changes(changes)}


def digest_of_changes(changes: Mapping[str, Any]) -> str:
    """SHA-256 (hex) over everything but the hash itself."""
    return hashlib.sha256(encode_value({name: value for name, value in changes.items() if name != "hash"}, canonical=True)).hexdigest()


def _write(intent: Intent, outcome: Outcome, operation: Callable[[str], Operation | None]) -> dict[str, Any]:
    made = operation(intent.operation)
    source = "nothing" if made is None else "preview" if made.preview else "simulation" if made.output_schema is not None else "nothing"
    shown = "answer" if outcome.ok else "error"
    return {
        "sequence": intent.sequence, "operation": intent.operation, "arguments": decode_value(intent.arguments),
        shown: decode_value(outcome.value), "from": source, "effects": None if made is None else _effects(made.effects),
        "revert": None if made is None else made.revert, "schema": intent.schema_hash,
        "rule": intent.decision.get("rule", ""), "reason": intent.decision.get("reason", "")}


def _read(intent: Intent, outcome: Outcome) -> dict[str, Any]:
    kept = {"handle": decode_value(outcome.value)["$handle"]} if outcome.ok and outcome.kept is not None else {}
    return {"sequence": intent.sequence, "operation": intent.operation, "arguments": decode_value(intent.arguments), "seen": outcome.seen, **kept}


def _effects(effects: Effects) -> dict[str, Any]:
    return {"writes": effects.writes, "irreversible": effects.irreversible, "idempotent": effects.idempotent}
