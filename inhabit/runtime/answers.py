"""A run as its caller is told of it: cut to what a model can read, with what can be done next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from inhabit.contracts.json import is_object
from inhabit.contracts.program import LogLine
from inhabit.contracts.result import RunResult
from inhabit.contracts.run import Asked, RunEnding, RunSummary, Terminal
from inhabit.limits import Limits
from inhabit.runtime.results import bounded
from inhabit.wire.values import decode_value

__all__ = ["ended_result", "parked_result", "recorded_result", "suspended_result"]

_LINE_CHARS = 1_000
_CUT = "the result was cut: return less (filter, map, aggregate in the program); the journal has it whole"


def recorded_result(run: RunSummary, ending: RunEnding) -> RunResult:
    logs = tuple(LogLine(entry.level, entry.text) for entry in ending.logs)  # type: ignore[arg-type]
    if ending.parked is not None:
        return parked_result(run.run_id, ending.parked, logs, ending.logs_cut, run.calls)
    if run.state == "suspended":
        return suspended_result(run.run_id, logs, ending.logs_cut, run.calls, ending.asked)
    if ending.terminal is None:
        return RunResult(run.run_id, run.state, logs=logs, logs_truncated=ending.logs_cut, calls=run.calls)
    tokens = Limits.of(run.limits).result_tokens
    return ended_result(run.run_id, ending.terminal, tokens, logs, ending.logs_cut, run.calls)


def parked_result(
    run_id: str, why: Mapping[str, Any], logs: tuple[LogLine, ...], logs_cut: bool, calls: int,
) -> RunResult:
    return RunResult(run_id, "parked", error=why, logs=logs, logs_truncated=logs_cut, calls=calls)


def suspended_result(
    run_id: str, logs: tuple[LogLine, ...], logs_cut: bool, calls: int, waiting: Sequence[Asked],
) -> RunResult:
    return RunResult(run_id, "suspended", logs=logs, logs_truncated=logs_cut, calls=calls,
                     approvals=tuple(waiting),
                     next=f"waits for a person's approval; ask again with run={run_id!r} when it was given")


def ended_result(
    run_id: str, terminal: Terminal, tokens: int, logs: tuple[LogLine, ...], logs_truncated: bool, calls: int,
) -> RunResult:
    value = decode_value(terminal.value)
    shown_logs, cut = _bounded_logs(logs, tokens)
    result = RunResult(run_id, terminal.state, logs=shown_logs, logs_truncated=logs_truncated or cut,
                       calls=calls, usage=terminal.usage, binaries=terminal.binaries)
    shown, truncated = bounded(value, tokens)
    if terminal.state != "completed":
        error = shown if is_object(shown) else {"code": value.get("code", "failed"), "message": shown}
        return replace(result, error=error, truncated=truncated)
    return replace(result, value=shown, truncated=truncated, next=_CUT if truncated else "")


def _bounded_logs(logs: tuple[LogLine, ...], tokens: int) -> tuple[tuple[LogLine, ...], bool]:
    """Logs get a third of the result's room, the last lines first: they are nearest to what went wrong."""
    room = tokens
    kept: list[LogLine] = []
    for line in reversed(logs):
        beyond = len(line.text) - _LINE_CHARS
        text = line.text if beyond <= 0 else f"{line.text[:_LINE_CHARS]}… {beyond} more characters"
        room -= len(text.encode(errors="replace")) + 8
        if room < 0:
            return tuple(reversed(kept)), True
        kept.append(LogLine(line.level, text))
    return tuple(reversed(kept)), False
