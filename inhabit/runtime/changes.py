"""The change set of a plan: each write that it held, in order, with all that a person needs to judge it. A reading of the
plan's journal; with the plan's principal and expiry it has one hash, which is what an approval binds.

A write depends on what the program had been told when it issued it: every read delivered before. That is more than it
looked at, and never less. A read names the earlier held writes of the same source that it may not show (`unseen`): all but those
that are known to be laid over it whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from inhabit.contracts.effects import Effects
from inhabit.contracts.operation import Operation, Resource
from inhabit.contracts.run import Delivered, Intent, Outcome, RunRecord, Terminal
from inhabit.errors import InvalidInput
from inhabit.runtime.holding import told_in
from inhabit.runtime.overlay import name_of, spread
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
    seen = [intent for intent in intents if not _held(intent) and (outcome := outcomes.get(intent.sequence)) is not None and outcome.seen]
    writes: list[dict[str, Any]] = []
    for intent in sorted(intents):
        if _held(intent):
            reads = [read.sequence for read in seen if told.get(read.sequence, intent.sequence) < intent.sequence]
            writes.append({"number": len(writes) + 1, **_write(intent, outcomes[intent.sequence], operation), "reads": reads})
    needed = {sequence for write in writes for sequence in write["reads"]}
    changes: dict[str, Any] = {
        "plan": header.run_id, "principal": str(header.principal), "program": header.program_hash, "writes": writes,
        "reads": [{**_read(intent, outcomes[intent.sequence]), **_unseen(intent, writes, outcomes, operation)}
                  for intent in seen if intent.sequence in needed],
        "asks": any(write["rule"] != PLANNED for write in writes), "expires_ms": last.at_ms + lasts_ms}
    return {**changes, "hash": digest_of_changes(changes)}


def digest_of_changes(changes: Mapping[str, Any]) -> str:
    """SHA-256 (hex) over everything but the hash itself."""
    return hashlib.sha256(encode_value({name: value for name, value in changes.items() if name != "hash"}, canonical=True)).hexdigest()


def _held(intent: Intent) -> bool:
    return intent.decision.get("verdict") == "hold"


def _unseen(read: Intent, writes: Sequence[Mapping[str, Any]], outcomes: Mapping[int, Outcome],
            operation: Callable[[str], Operation | None]) -> dict[str, Any]:
    reading, arguments = operation(read.operation), decode_value(read.arguments)
    resource = reading.resource if reading is not None else None
    missed = [write["number"] for write in writes
              if write["sequence"] < read.sequence and "answer" in write and _source(write["operation"]) == _source(read.operation)
              and not _laid(operation(write["operation"]), write["arguments"], outcomes[write["sequence"]], resource, arguments)]
    return {"unseen": missed} if missed else {}


def _source(name: str) -> str:
    return name.partition(".")[0]


def _laid(made: Operation | None, given: Mapping[str, Any], outcome: Outcome, read: Resource | None, arguments: Mapping[str, Any]) -> bool:
    """Whether all that a held write would have changed of a kind of things is in a later read of that kind."""
    write = made.resource if made is not None else None
    if write is None or read is None or write.kind != read.kind:
        return False
    if read.role == "read" and write.argument and name_of(write, given) != name_of(read, arguments):
        return True   # another thing
    if read.role == "list" and (not read.key or not arguments.keys() <= set(read.within)):
        return False
    if write.role == "delete" or told_in(outcome) is None:
        return True
    given = spread(write, given)
    members = {name for name, _ in write.members} if write.members is not None else set(given)
    return given.keys() <= {*members, write.argument, *write.within} and (write.role != "replace" or members <= given.keys())


def _write(intent: Intent, outcome: Outcome, operation: Callable[[str], Operation | None]) -> dict[str, Any]:
    made = operation(intent.operation)
    told = told_in(outcome)
    source = "preview" if told is None or told else "nothing" if made is None or made.output_schema is None else "simulation"
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
