"""Calls in doubt, and how they are settled: by their operation, else by a person, before the run goes on from them.

A call is in doubt when it may have taken effect and the record has no outcome of it (`doubts`); a rollback asks the same of
the calls of another run (`SETTLE`). What is known of it by now makes its outcome, or a call that is made after all.
Invariants: a person is asked only what the operation could not say; every step is journaled before what follows from it;
a doubt that nobody can lift ends the run, it never makes the call again.
"""

from __future__ import annotations

from collections.abc import Callable

from inhabit.contracts.program import IssuedCall
from inhabit.contracts.run import Decided, Entry, Intent, Resumed, RunHeader
from inhabit.errors import InhabitError
from inhabit.runtime.bridge import Bridge
from inhabit.runtime.context import Admitted, RunContext
from inhabit.runtime.doubts import Doubts
from inhabit.runtime.reconciling import NOT_DONE, Settled, said, to_settle
from inhabit.runtime.rollback import RUNG, SETTLE
from inhabit.runtime.waiting import Waiting
from inhabit.runtime.writes import Writes

__all__ = ["Settling"]


class Settling:
    """Those of one run. `held`: calls whose doubt is being settled. `go_on` journals what was found outside a turn, and makes the
    call where there is one. Each method that takes `entries` adds to what its caller journals, and gives the call to make.
    """

    def __init__(self, header: RunHeader, context: RunContext, bridge: Bridge, doubts: Doubts, waiting: Waiting, writes: Writes,
                 now_ms: Callable[[], int], go_on: Callable[[Admitted | None, list[Entry]], None]) -> None:
        self._header = header
        self._context = context
        self._bridge = bridge
        self._doubts = doubts
        self._waiting = waiting
        self._writes = writes
        self._now_ms = now_ms
        self._go_on = go_on
        self.held: dict[int, Admitted] = {}

    def asks(self, issued: IssuedCall) -> bool:
        """Whether this call of a rollback is itself the question what became of another run's call."""
        return issued.operation == SETTLE and self._header.rung == RUNG

    def in_doubt(self, issued: IssuedCall) -> bool:
        return issued.sequence in self._doubts.open or issued.sequence in self._doubts.decided or self.asks(issued)

    def taken_up(self, issued: IssuedCall, entries: list[Entry]) -> Admitted | None:
        """A call in doubt of which the record has no more to say."""
        meant = to_settle(issued, self._now_ms())[1] if self.asks(issued) else self._doubts.made[issued.sequence]
        return self.begin(issued, meant, entries)

    def begin(self, issued: IssuedCall, meant: Intent, entries: list[Entry]) -> Admitted | None:
        """A person has said it, or is asked already, or the operation of the call that is `meant` is asked first."""
        sequence, doubts = issued.sequence, self._doubts
        held = self.held[sequence] = Admitted(issued, meant, None, {})
        decided = doubts.decided.get(sequence)
        if decided is not None:
            return self._settled(held, said(decided), entries)
        if sequence in doubts.asked:
            self._waiting.asks[sequence] = issued
        else:
            self._waiting.launch(held, self._ask_operation(held), mark="?")
        return None

    def answered(self, decided: Decided, entries: list[Entry]) -> Admitted | None:
        """A person has said what became of a call that is `held`."""
        return self._settled(self.held[decided.sequence], said(decided), entries)

    async def _ask_operation(self, held: Admitted) -> None:
        """Ask the operation; where it cannot say, ask a person."""
        waiting, sequence = self._waiting, held.issued.sequence
        try:
            settled, entries = await self._bridge.reconciled(self._context, held.intent), list[Entry]()
            del waiting.calls[sequence]
            self._go_on(self._settled(held, settled, entries) if settled.state != "unknown" else self._ask_person(held, entries), entries)
        except Exception as failure:  # noqa: BLE001 - whatever it was, the run has an end
            waiting.fail(failure, f"the doubt about call {sequence}")
        finally:
            waiting.wake()

    def _ask_person(self, held: Admitted, entries: list[Entry]) -> None:
        asked = self._doubts.question(self._header.run_id, held.intent, self._now_ms(), self._bridge.approval_ms)
        entries.append(asked)
        self._waiting.ask(held.issued, asked)

    def _settled(self, held: Admitted, settled: Settled, entries: list[Entry]) -> Admitted | None:
        """What is known by now makes of the call: its outcome, or one to perform; a doubt that stays ends the run."""
        issued, meant = held.issued, held.intent
        if issued.operation != SETTLE and settled.state == "unknown":
            self._waiting.failure = InhabitError(f"nobody could say whether call {issued.sequence} ({meant.operation}) took effect", code="interrupted")
            return None
        del self.held[issued.sequence]
        if issued.operation != SETTLE and settled.state == NOT_DONE:
            entries.append(Resumed(self._now_ms(), f"it had not taken effect, says {settled.by}", (issued.sequence,)))
            return self._bridge.admit_again(self._context, issued, meant, approved=True)
        entries.append(Resumed(self._now_ms(), f"{settled.state.replace('_', ' ')}, says {settled.by}"))
        outcome = self._bridge.settled(self._context, issued, meant, settled)
        self._writes.note(meant, outcome)
        self._waiting.ready.append(outcome)
        return None
