"""How a program ended, as it is recorded. What it returned or threw is the worker's word and hostile.

Invariant: the value of a terminal entry is JSON that can be read again, whatever the worker sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from inhabit.contracts.json import is_object
from inhabit.contracts.program import Finished
from inhabit.contracts.run import RunRecord
from inhabit.errors import Cancelled, ProtocolError, WorkerLost
from inhabit.limits import Limits
from inhabit.runtime.applying import PlanLeft
from inhabit.runtime.doubts import doubtful
from inhabit.runtime.recording import Diverged
from inhabit.runtime.writes import Writes
from inhabit.wire.values import decode_value, encode_value

__all__ = ["called_off", "ended", "given_up", "parked", "parted"]

_CODE_CHARS = 100
_FIX_CHARS = 400
_DETAILS_CHARS = 2_048
_WORDS_CHARS = 64 * 1024
"""Of an error's message or stack: what a program threw is kept whole up to here."""


def ended(finished: Finished, limits: Limits, writes: Writes) -> tuple[Literal["completed", "failed", "rejected"], bytes]:
    """The run's state and the value to record. `rejected`: a person said no and the program had nothing to say to it."""
    if not finished.ok:
        error = writes.told(_thrown(finished.value))
        return "rejected" if error["code"] in ("rejected", "approval_expired") else "failed", encode_value(error)
    try:
        decode_value(finished.value, max_bytes=limits.value_bytes)
    except ProtocolError as error:
        return "failed", encode_value(writes.told({
            "code": "result_not_json", "message": f"the program returned what cannot be recorded: {error.message}", "retryable": False,
            "effect": "none", "fix": "return plain JSON data without half surrogate pairs, and less of it"}))
    return "completed", finished.value


def given_up(record: RunRecord, losses: Sequence[WorkerLost]) -> tuple[Literal["failed", "unknown"], dict[str, Any]]:
    """The state and the error of a run whose workers died again and again: what happened, what was written, what to do."""
    own = sum(not lost.neighbours for lost in losses)
    others = len(losses) - own
    message = f"the run was given up: {own} of its workers died while it was this run's turn"
    if others:
        message += f", {others} more while they worked for other runs"
    state, error = _doubted(record, {
        "code": WorkerLost.code, "message": f"{message}; the last time: {losses[-1].message}", "retryable": True, "effect": "none",
        "fix": "run it again, in smaller steps if it dies again: a program that brings its engine down does so each time"})
    if error["effect"] != "none":
        error["retryable"] = False
        error["fix"] = "some calls have written: see written_calls, unsure_calls and unknown_calls, and read before you run it again"
    return state, error


def called_off(record: RunRecord, by: str) -> tuple[Literal["failed", "unknown"], dict[str, Any]]:
    """The state and the error of a run that was cancelled while nobody drove it."""
    return _doubted(record, Cancelled(f"the run was cancelled by {by}").as_value())


def parked(record: RunRecord, why: str) -> dict[str, Any]:
    """The error of a run that cannot go on here, with what it wrote before."""
    return Writes.of(record.entries).told({
        "code": "parked", "message": f"the run cannot go on here: {why}", "retryable": True, "effect": "none",
        "fix": "start the version that has its engine and the run goes on, or cancel it"})


def parted(writes: Writes, diverged: Diverged | PlanLeft) -> dict[str, Any]:
    """The error of a run whose program takes another path than its record, or than was approved: both sides, and what it wrote."""
    path, fix = (("approved", diverged.fix) if isinstance(diverged, PlanLeft) else
                 ("recorded", "start the version that began it and the run goes on (inhabit runs resume), or cancel it"))
    return writes.told({
        "code": diverged.code, "message": f"the run cannot go on here: its program takes another path than is {path}: {diverged.message}",
        "retryable": True, "effect": "none", "details": dict(diverged.details),
        "fix": fix})


def _doubted(record: RunRecord, error: dict[str, Any]) -> tuple[Literal["failed", "unknown"], dict[str, Any]]:
    """The state and the error with what was written, and with the calls that have no outcome and may have written."""
    told = Writes.of(record.entries).told(error)
    doubts = doubtful(record.entries)
    if not doubts:
        return "failed", told
    details = {**told.get("details", {}), "unknown_calls": [
        {"sequence": d.sequence, "operation": d.operation, "idempotency_key": d.idempotency_key} for d in doubts]}
    return "unknown", {**told, "effect": "unknown", "details": details}


def _thrown(body: bytes) -> dict[str, Any]:
    """The error's value of a program that threw. Each part of the report is taken only as what it should be, and cut."""
    try:
        thrown = decode_value(body)
    except ProtocolError:
        thrown = None
    if not is_object(thrown):
        thrown = {"message": "the program failed with an error that is not JSON data"}
    code, message = thrown.get("code"), thrown.get("message")
    details = {key: _cut(value) for key in ("name", "stack", "line", "column", "operation")
               if isinstance(value := thrown.get(key), str | int | float)}
    given, fix = thrown.get("details"), thrown.get("fix")
    if given:   # of an operation's error that the program did not catch: why it failed, which a model needs to go on
        details["details"] = _kept(given)
    return {**({"fix": fix[:_FIX_CHARS]} if isinstance(fix, str) and fix else {}),
            "code": code[:_CODE_CHARS] if isinstance(code, str) and code else "program_failed",
            "message": _cut(message) if isinstance(message, str) else "the program failed",
            "retryable": False, "effect": "none", "details": details}


def _kept(given: Any) -> Any:
    text = encode_value(given).decode(errors="replace")
    rest = len(text) - _DETAILS_CHARS
    return given if rest <= 0 else f"{text[:_DETAILS_CHARS]}… {rest} more characters"


def _cut(value: Any) -> Any:
    rest = len(value) - _WORDS_CHARS if isinstance(value, str) else 0
    return f"{value[:_WORDS_CHARS]}… {rest} more characters" if rest > 0 else value
