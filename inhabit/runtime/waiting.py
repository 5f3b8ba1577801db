"""What a run waits for: calls in flight, questions to people, results that were not delivered yet; and the waking of who waits.

The driver's state between two turns, and that of `settling`. Invariants: a call is in `calls` until its outcome is in `ready`,
also where it failed by a fault of the host; a run that waits for people alone holds no task.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine, Sequence
from typing import Any

from inhabit.contracts.principal import Principal
from inhabit.contracts.program import IssuedCall
from inhabit.contracts.run import Asked, Outcome
from inhabit.errors import InhabitError
from inhabit.runtime.context import Admitted
from inhabit.runtime.questions import OpenQuestions
from inhabit.runtime.recording import Recording

__all__ = ["OnlyPeople", "Waiting"]

_log = logging.getLogger(__name__)
_CUT_OFF_S = 1.0
"""How long a cancelled call may take to end before it is left behind."""


class OnlyPeople(Exception):
    """What is left to wait for is people's answers."""


class Waiting:
    """`asks`: calls that wait for a person, by sequence. `ready`: outcomes in order of arrival. `failure`: what ends the run."""

    def __init__(self, run_id: str, who: Principal, questions: OpenQuestions, recording: Recording) -> None:
        self._run_id = run_id
        self._who = who
        self._questions = questions
        self._asked: dict[int, Asked] = recording.asked | recording.doubts.asked
        self._woken: asyncio.Future[None] | None = None
        self._hurried = asyncio.Event()
        self.asks: dict[int, IssuedCall] = {}
        self.calls: dict[int, tuple[asyncio.Task[None], Admitted]] = {}
        self.ready: deque[Outcome] = deque()
        self.failure: BaseException | None = None

    @property
    def questions(self) -> Sequence[Asked]:
        """What waits for people now."""
        return [self._asked[sequence] for sequence in sorted(self.asks) if sequence in self._asked]

    def may_ask(self) -> None:
        """Raises `TooMany` when one more question would be too many for people to look at."""
        self._questions.admit(self._run_id, self._who.tenant)

    def ask(self, issued: IssuedCall, asked: Asked) -> None:
        """A new question; its entry is the caller's to journal."""
        self.asks[issued.sequence], self._asked[issued.sequence] = issued, asked
        self._questions.asked(self._run_id, self._who, asked)

    def told(self, sequence: int) -> frozenset[str]:
        """The rules that asked a person about this call."""
        return frozenset(self._asked[sequence].rule.split(" & "))

    def launch(self, admitted: Admitted, work: Coroutine[Any, Any, None], *, mark: str = "") -> None:
        sequence = admitted.issued.sequence
        self.calls[sequence] = asyncio.create_task(work, name=f"{self._run_id}:{sequence}{mark}"), admitted

    @property
    def only_people(self) -> bool:
        """Whether nothing but people's answers can move the run."""
        return bool(self.asks) and not self.calls

    def check(self) -> None:
        """Raises what ends the run."""
        if self.failure is not None:
            raise self.failure

    def fail(self, failure: Exception, what: str) -> None:
        """The run ends by it; of a fault of the host it is told no more than that."""
        if not isinstance(failure, InhabitError):
            _log.error("%s of run %s met a fault of the host", what, self._run_id, exc_info=failure)
            failure = InhabitError("the run met a fault in Inhabit; the server's log has it", code="internal")
        self.failure = failure

    def wake(self) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    async def sleep(self, seconds: float | None) -> None:
        """Until `wake`, or so long."""
        self._woken = asyncio.get_running_loop().create_future()
        try:
            if seconds is None:
                await self._woken
            else:
                await asyncio.wait([self._woken], timeout=seconds)
        finally:
            self._woken = None

    # -- ends ---------------------------------------------------------------------------------------------

    def hurry(self) -> None:
        """Somebody has cancelled the run that is ending."""
        self._hurried.set()

    async def calls_end(self, timeout_s: float) -> None:
        """Wait for the calls in flight, but not once the run is to hurry."""
        tasks = [task for task, _ in self.calls.values()]
        if tasks and not self._hurried.is_set():
            hurried = asyncio.create_task(self._hurried.wait())
            try:
                await asyncio.wait([asyncio.shield(asyncio.gather(*tasks, return_exceptions=True)), hurried], timeout=timeout_s,
                                   return_when=asyncio.FIRST_COMPLETED)
            finally:
                hurried.cancel()

    async def abandon(self) -> None:
        """Cut off what is in flight. A connector that swallows this is left behind: it was counted as doubtful already."""
        tasks = [task for task, _ in self.calls.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_CUT_OFF_S)
