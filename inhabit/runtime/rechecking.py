"""Reading again what a plan had read, before anything of it is applied.

It is a run of its own whose guest issues the plan's reads as they were, in mode `plan`, so that it can write nothing
whatever it is given. What each read now is, as a version or a hash, stands in its journal beside what it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from inhabit.contracts.program import Boot, Delivery, Finished, IssuedCall, Prepared, Problem, Program, Turn
from inhabit.contracts.run import Outcome, RunRecord
from inhabit.runtime.rollback import one_by_one
from inhabit.wire.values import encode_value

__all__ = ["RECHECK", "Rechecks", "conflicting", "conflicts"]

RECHECK = "recheck-1"
_AT_ONCE = 16
_NAMED = 5


class Rechecks:
    """Implements `contracts.program.Isolate`: issues the reads of a change set, some at once."""

    engine_version = RECHECK

    def __init__(self, changes: Mapping[str, Any]) -> None:
        self._reads: Sequence[Mapping[str, Any]] = changes["reads"]
        self._issued = 0
        self._answered = 0

    async def prepare(self, program: Program, names: tuple[str, ...]) -> Prepared:
        return Prepared(program.source)

    async def typecheck(self, code: str, stubs: str) -> tuple[Problem, ...]:
        return ()

    async def start(self, boot: Boot) -> Turn:
        return self._turn()

    async def deliver(self, deliveries: Sequence[Delivery]) -> Turn:
        return one_by_one(deliveries, self._step)

    async def close(self) -> None: ...

    def _step(self, _delivery: Delivery) -> Turn:
        before = self._issued
        self._answered += 1
        return self._turn()._replace(issued_before=(before,))

    def _turn(self) -> Turn:
        if self._answered == len(self._reads):
            return Turn(finished=Finished(True, encode_value({"read": self._answered})))
        first = self._issued
        self._issued = min(len(self._reads), self._answered + _AT_ONCE)
        return Turn(tuple(IssuedCall(number + 1, self._reads[number]["operation"], encode_value(self._reads[number]["arguments"]))
                          for number in range(first, self._issued)))


def conflicts(changes: Mapping[str, Any], record: RunRecord) -> list[dict[str, Any]]:
    """Each read that is another one now, with the numbers of the writes that rest on it. One that could not be made again is
    a conflict too.
    """
    now = {e.entry.sequence: e.entry.seen for e in record.entries if isinstance(e.entry, Outcome)}
    found: list[dict[str, Any]] = []
    for number, read in enumerate(changes["reads"], 1):
        seen = now.get(number, "")
        if seen != read["seen"]:
            rest = [write["number"] for write in changes["writes"] if read["sequence"] in write["reads"]]
            found.append({"sequence": read["sequence"], "operation": read["operation"], "arguments": read["arguments"],
                          "was": read["seen"], "now": seen or "not readable", "writes": rest})
    return found


def conflicting(found: Sequence[Mapping[str, Any]]) -> str:
    """What is said of conflicts."""
    named = "; ".join(f"call {one['sequence']} {one['operation']} was {one['was'][:24]}, is {one['now'][:24]}" for one in found[:_NAMED])
    rest = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return f"what the plan rests on has changed, and nothing was written: {named}{rest}"
