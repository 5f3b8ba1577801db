"""The decision on one call: a pure function of the call, the grant and what the run has used.

The kernel never does I/O, never reads a clock, never logs and never raises on a call's content: whatever it
cannot understand, it denies.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from inhabit.contracts.effects import Effects
from inhabit.contracts.operation import Operation
from inhabit.kernel.grants import Grant, Refusal

__all__ = ["Charge", "Decision", "Facts", "Verdict", "decide", "settled"]

Verdict = Literal["allow", "deny", "ask", "hold"]
_NOTHING_USED: Mapping[str, int] = MappingProxyType({})


class Facts(NamedTuple):
    """All the kernel may know of a call. `now_ms` is Unix time, passed in; `granted_calls` counts the run's
    earlier allowed calls by the key of the grant clause that bounds them.
    """

    operation: Operation
    arguments: Mapping[str, Any]
    now_ms: int
    granted_calls: Mapping[str, int] = _NOTHING_USED

    @property
    def effects(self) -> Effects:
        return self.operation.effects


class Charge(NamedTuple):
    """What an allowed call uses up; the caller books it before the call is made."""

    key: str
    amount: int = 1


class Decision(NamedTuple):
    verdict: Verdict
    rule: str
    reason: str
    charges: tuple[Charge, ...] = ()

    def as_value(self) -> dict[str, Any]:
        return {"verdict": self.verdict, "rule": self.rule, "reason": self.reason}


def decide(facts: Facts, grant: Grant) -> Decision:
    """Authority comes from the grant alone: every layer of it must have a clause that permits the call."""
    permitted = grant.permits(facts.operation, facts.arguments, facts.now_ms, facts.granted_calls)
    if isinstance(permitted, Refusal):
        return Decision("deny", permitted.clause, permitted.reason)
    return Decision("allow", permitted.clause, "granted", tuple(Charge(key) for key in permitted.counted))


def settled(operation: Operation, grant: Grant) -> Decision | None:
    """The decision that every call of this operation gets under this grant, whatever its arguments, the time and what
    was used; None where these matter. It may be kept for as long as the operation is the same object.
    """
    if grant.looks_at_calls(operation.name):
        return None
    return decide(Facts(operation, {}, 0), grant)
