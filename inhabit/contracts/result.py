"""What a door gives back: to a model, a person, an HTTP client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from inhabit.contracts.program import LogLine
from inhabit.contracts.run import Asked, RunState

__all__ = ["RunResult"]


@dataclass(frozen=True, slots=True)
class RunResult:
    """A run as far as it is known now. `value` is plain data, bounded to `result_tokens`; `truncated` says that
    it was cut, the whole is `GET /runs/{id}/result` or `inhabit runs show`. `error` is an error's value.
    `next` says what the caller can do now, when there is something to do. `binaries`: hashes of the values in it that
    a door may open for this caller. `approvals`: the calls of it that wait for a person.
    """

    run_id: str
    state: RunState
    value: Any = None
    truncated: bool = False
    error: Mapping[str, Any] | None = None
    logs: tuple[LogLine, ...] = ()
    logs_truncated: bool = False
    calls: int = 0
    usage: Mapping[str, float] = field(default_factory=dict[str, float])
    next: str = ""
    binaries: tuple[str, ...] = ()
    approvals: tuple[Asked, ...] = ()

    def as_value(self) -> dict[str, Any]:
        """The stable JSON shape of every door."""
        value: dict[str, Any] = {"run": self.run_id, "state": self.state}
        if self.state == "completed":
            value["result"] = self.value
        if self.truncated:
            value["truncated"] = True
        if self.error is not None:
            value["error"] = dict(self.error)
        if self.logs:
            value["logs"] = [f"{line.level}: {line.text}" if line.level != "log" else line.text for line in self.logs]
        if self.logs_truncated:
            value["logs_truncated"] = True
        value["calls"] = self.calls
        if self.approvals:
            value["approvals"] = [{"id": asked.approval, "operation": asked.operation, "reason": asked.reason, "expires_ms": asked.expires_ms}
                                  for asked in self.approvals]
        if self.next:
            value["next"] = self.next
        return value
