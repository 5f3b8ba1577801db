"""How many questions are open, and who is told of a new one.

People approve what they are asked too often: a run, and a tenant, can have so many open questions and no more; the call
beyond is refused. The counts are of this process, begun from what the store has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from inhabit.contracts.principal import Principal
from inhabit.contracts.run import Asked
from inhabit.errors import TooMany
from inhabit.limits import QUESTIONS, Questions

__all__ = ["OpenQuestions"]


class OpenQuestions:
    """`told` is called with each new question, and must return at once."""

    def __init__(self, bounds: Questions = QUESTIONS, told: Callable[[Principal, Asked], None] = lambda _who, _asked: None) -> None:
        self._bounds = bounds
        self._told = told
        self._runs: dict[str, tuple[str, int]] = {}
        self._tenants: Counter[str] = Counter()

    @property
    def open(self) -> int:
        return self._tenants.total()

    def begin(self, waiting: Iterable[tuple[str, str]]) -> None:
        """With the `(run, tenant)` of each question that an earlier process left."""
        self._runs.clear()
        self._tenants.clear()
        for run_id, tenant in waiting:
            self._count(run_id, tenant, 1)

    def admit(self, run_id: str, tenant: str) -> None:
        """Raises `TooMany` when one more would be too many."""
        bounds = self._bounds
        for held, limit, most in ((self._runs.get(run_id, ("", 0))[1], "questions_per_run", bounds.questions_per_run),
                                  (self._tenants[tenant], "questions_per_tenant", bounds.questions_per_tenant)):
            if held >= most:
                raise TooMany(f"{most} calls wait for approval already ({limit})", code="too_many_questions",
                              fix="ask for fewer things at once: approved calls make room",
                              details={"limit": limit, "value": most, "unit": "questions"})

    def asked(self, run_id: str, who: Principal, asked: Asked) -> None:
        self._count(run_id, who.tenant, 1)
        self._told(who, asked)

    def answered(self, run_id: str) -> None:
        tenant, held = self._runs.get(run_id, ("", 0))
        if held:
            self._count(run_id, tenant, -1)

    def ended(self, run_id: str) -> None:
        tenant, held = self._runs.get(run_id, ("", 0))
        if held:
            self._count(run_id, tenant, -held)

    def _count(self, run_id: str, tenant: str, change: int) -> None:
        held = self._runs.get(run_id, (tenant, 0))[1] + change
        self._tenants[tenant] += change
        if held > 0:
            self._runs[run_id] = (tenant, held)
        else:
            self._runs.pop(run_id, None)
        if self._tenants[tenant] <= 0:
            del self._tenants[tenant]
