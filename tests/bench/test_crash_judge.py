"""What the crash benchmark calls wrong: an honest end counts nothing, each lie is counted where it belongs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from bench.crash_told import GONE, STRANGER, Findings, Plan, Seen, Told, Work, judge

_DONE = {"state": "completed", "result": ["fulfilled", "fulfilled"]}
_DROPPED = {"state": "rejected", "error": {"code": "plan_dropped"}}


def _honest() -> tuple[Told, Seen]:
    """A run that was rolled back, one plan that was applied after a yes, one that was dropped, one that nobody may apply."""
    told = Told(
        runs={"run": Work("a", ("pay", "put"))},
        plans={"plan": Plan("b", ("make", "mark"), shown="hash b", used="applier", tried=True, runs={"applier"}),
               "dropped": Plan("c", ("make", "mark"), shown="hash c", dropped=True),
               "disturbed": Plan("d", ("make", "mark"), shown="hash d", disturbed=True)},
        answered={"applier.0": ("approve", "plan.apply")}, rollbacks={"run": {"undoing"}})
    seen = Seen(
        runs={"run": _DONE, "plan": _DONE, "applier": _DONE, "dropper": _DROPPED,
              "undoing": {"state": "completed", "result": {"undone": [{"operation": "ledger.pay"}]}}},
        plans={"plan": {"hash": "hash b", "used": {"run": "applier"}}, "dropped": {"hash": "hash c", "used": {"run": "dropper"}},
               "disturbed": {"hash": "hash d"}},
        verdicts={"applier.0": "approve"},
        effects=Counter({("pay", "a"): 1, ("refund", "a"): 1, ("put", "a"): 2, ("make", "b"): 1, ("mark", "b"): 1, (STRANGER, "d"): 2}))
    return told, seen


def _counts(found: Findings) -> tuple[int, int, int]:
    return len(found.lost), len(found.repeated), len(found.dishonest)


def test_F01_an_honest_end_counts_nothing() -> None:
    found = judge(*_honest())
    assert _counts(found) == (0, 0, 0), found
    assert (found.plans, found.applied, found.answers) == (3, 1, 1)


_LIES: dict[str, tuple[Callable[[Told, Seen], object], tuple[int, int, int]]] = {
    "a run is gone": (lambda t, s: s.runs.update(run={"state": GONE}), (1, 0, 0)),
    "a run parked": (lambda t, s: s.runs.update(run={"state": "parked"}), (0, 0, 1)),
    "a write was done twice": (lambda t, s: s.effects.update({("pay", "a"): 1}), (0, 1, 0)),
    "a write was told and not done": (lambda t, s: s.effects.pop(("put", "a")), (0, 0, 1)),
    "an answer is another one": (lambda t, s: s.verdicts.update({"applier.0": "reject"}), (1, 0, 0)),
    "an answer was forgotten": (lambda t, s: t.forgotten.add("applier.0"), (1, 0, 0)),
    "a plan is gone": (lambda t, s: s.plans.update(plan={"state": GONE}), (1, 0, 0)),
    "a plan is another one": (lambda t, s: s.plans["plan"].update(hash="other"), (1, 0, 0)),   # type: ignore[attr-defined]
    "an applier is forgotten": (lambda t, s: s.plans["plan"].pop("used"), (1, 0, 1)),   # type: ignore[attr-defined]
    "a plan was applied by two": (lambda t, s: t.plans["plan"].runs.add("other"), (1, 1, 0)),
    "an applier did half": (lambda t, s: s.effects.pop(("mark", "b")), (0, 0, 1)),
    "an applier failed and wrote": (lambda t, s: s.runs.update(applier={"state": "failed", "error": {"code": "x"}}), (0, 0, 2)),
    "an applier wrote with a made-up id": (lambda t, s: s.effects.update({("stray", "b"): 1}), (0, 0, 1)),
    "a dropped plan was applied": (lambda t, s: s.runs.update(dropper=_DONE), (0, 0, 2)),
    "a dropped plan is still there": (lambda t, s: s.plans["dropped"].pop("used"), (1, 0, 1)),   # type: ignore[attr-defined]
    "a conflict was written over": (lambda t, s: s.effects.update({("make", "d"): 1}), (0, 0, 1)),
    "a plan was never applied": (lambda t, s: setattr(t.plans["disturbed"], "disturbed", False), (0, 0, 1)),
    "a rollback says more than it did": (lambda t, s: s.effects.pop(("refund", "a")), (0, 0, 1)),
    "a run was rolled back by two": (lambda t, s: (t.rollbacks["run"].add("more"), s.runs.update(more=s.runs["undoing"])), (0, 1, 0)),
}


@pytest.mark.parametrize("lie", _LIES)
def test_F02_each_lie_is_counted(lie: str) -> None:
    told, seen = _honest()
    tell, expected = _LIES[lie]
    tell(told, seen)
    assert _counts(judge(told, seen)) == expected
