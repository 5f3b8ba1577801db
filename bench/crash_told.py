"""What clients were told while the server was killed, and what that comes to when everything is over.

Three lists say what is wrong: `lost`, what was acknowledged and is not so; `repeated`, writes that must not be repeated and
were, a plan that was applied twice, a run rolled back twice; `dishonest`, runs whose end the outside ledger contradicts, or
that have none in the end. `judge` reads nothing but its arguments.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

__all__ = ["GONE", "STRANGER", "Findings", "Plan", "Seen", "Told", "Work", "judge", "summed"]

Sums = TypeVar("Sums")
GONE = "gone"
STRANGER = "stranger"
"""In the ledger: somebody else wrote, after the plan had read."""
_REPEATABLE = ("put", STRANGER)
"""Two clients may both play the stranger before the plan is tried: that is the benchmark's own doing."""
_UNDONE_BY = {"ledger.pay": "refund", "ledger.make": "remove"}


@dataclass
class Work:
    """A run that writes. `writes`: in the order in which its result tells of them."""

    tag: str
    writes: tuple[str, ...]


@dataclass
class Plan(Work):
    """`reads`: it rests on what its own writes change. `shown`, `used`: the hash of its change set and the run that used it up,
    as they were shown last. `tried`: somebody asked to apply it. `runs`: those that were acknowledged as applying it.
    `disturbed`: what it had read is another since, and nobody had tried to apply it before, or said yes.
    """

    reads: bool = True
    shown: str = ""
    used: str = ""
    tried: bool = False
    disturbed: bool = False
    dropped: bool = False
    runs: set[str] = field(default_factory=set[str])


@dataclass
class Told:
    """`answered`: verdict and operation by approval. `forgotten`: those that waited again after that. `rollbacks`: the runs that
    undo a run, by that one. `odd`: answers that should not have been.
    """

    runs: dict[str, Work] = field(default_factory=dict[str, Work])
    plans: dict[str, Plan] = field(default_factory=dict[str, Plan])
    answered: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    forgotten: set[str] = field(default_factory=set[str])
    rollbacks: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    odd: list[str] = field(default_factory=list[str])
    doubts: int = 0

    @property
    def works(self) -> dict[str, Work]:
        """Runs that were acknowledged and write: those of programs and those of plans."""
        return {**self.runs, **{run: plan for plan in self.plans.values() for run in plan.runs}}


@dataclass
class Seen:
    """How it all stands in the end: runs and plans as their routes show them, answers by approval, the ledger."""

    runs: dict[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    plans: dict[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    verdicts: dict[str, str] = field(default_factory=dict[str, str])
    effects: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])

    def written(self, tag: str) -> list[str]:
        """Of a tag, whoever undid it afterwards."""
        return [operation for operation, of in self.effects if of == tag and operation != STRANGER]


@dataclass
class Findings:
    kills: int = 0
    answers: int = 0
    doubts: int = 0
    plans: int = 0
    applied: int = 0
    states: Counter[str] = field(default_factory=Counter[str])
    lost: list[str] = field(default_factory=list[str])
    repeated: list[str] = field(default_factory=list[str])
    dishonest: list[str] = field(default_factory=list[str])

    @property
    def wrong(self) -> int:
        return len(self.lost) + len(self.repeated) + len(self.dishonest)

    def also(self, other: Findings) -> None:
        """What was wrong with the same clients at another time, where that is not said yet."""
        for mine, theirs in ((self.lost, other.lost), (self.repeated, other.repeated), (self.dishonest, other.dishonest)):
            mine += [line for line in theirs if line not in mine]

    @classmethod
    def joined(cls, parts: Iterable[Findings]) -> Findings:
        return summed(cls(), parts)


def summed(whole: Sums, parts: Iterable[Sums]) -> Sums:
    """`whole` with every field of the parts added to its own: none can be forgotten."""
    for part in parts:
        for name, value in vars(part).items():
            setattr(whole, name, getattr(whole, name) + value)
    return whole


def judge(told: Told, seen: Seen) -> Findings:
    found = Findings(answers=len(told.answered), doubts=told.doubts, plans=len(told.plans), dishonest=list(told.odd))
    found.repeated += [f"{operation} {tag} {times} times" for (operation, tag), times in seen.effects.items()
                       if times > 1 and operation not in _REPEATABLE]
    found.dishonest += [f"a write for {tag} with an id that nothing has" for operation, tag in seen.effects if operation == "stray"]
    _judge_answers(told, seen, found)
    for run_id, work in told.runs.items():
        _judge_run(run_id, work, seen, found)
    for plan_id, plan in told.plans.items():
        _judge_plan(plan_id, plan, seen, found)
    works = told.works
    for run_id, rollbacks in told.rollbacks.items():
        _judge_rollback(run_id, works[run_id], rollbacks, seen, found)
    return found


def _judge_answers(told: Told, seen: Seen, found: Findings) -> None:
    found.lost += [f"{approval} was answered and waited again" for approval in sorted(told.forgotten)]
    for approval, (verdict, operation) in told.answered.items():
        now = seen.verdicts.get(approval)
        if now != verdict:
            found.lost.append(f"{approval} ({operation}) was answered {verdict}, it is {now}")


def _judge_run(run_id: str, work: Work, seen: Seen, found: Findings) -> None:
    """A program that catches whatever its calls come to: it can only have completed."""
    now = seen.runs[run_id]
    found.states[now["state"]] += 1
    if now["state"] == GONE:
        found.lost.append(f"run {run_id} was answered and is gone")
    elif now["state"] != "completed":
        found.dishonest.append(f"run {run_id} is {now['state']}: {now.get('error')}")
    else:
        _judge_result(run_id, work, now, seen, found)


def _judge_result(run_id: str, work: Work, now: Mapping[str, Any], seen: Seen, found: Findings) -> None:
    said = [status == "fulfilled" for status in now["result"]]
    happened = [bool(seen.effects[operation, work.tag]) for operation in work.writes]
    if said != happened:
        found.dishonest.append(f"run {run_id} was told {said}, the ledger has {happened} of {work.writes}")


def _judge_plan(plan_id: str, plan: Plan, seen: Seen, found: Findings) -> None:
    changes = seen.plans[plan_id]
    if changes.get("state") == GONE:
        found.lost.append(f"plan {plan_id} was answered and is gone")
        return
    if plan.shown and changes.get("hash") != plan.shown:
        found.lost.append(f"plan {plan_id} was shown as {plan.shown}, it is {changes}")
        return
    used: str | None = changes["used"]["run"] if "used" in changes else None
    found.lost += [f"run {run} was answered as applying plan {plan_id}, which {used} does" for run in sorted(plan.runs) if run != used]
    if len(plan.runs) > 1:
        found.repeated.append(f"plan {plan_id} was applied by {sorted(plan.runs)}")
    if used is not None:
        _judge_applied(plan_id, plan, used, seen, found)
    else:
        found.states["not applied"] += 1
        if plan.dropped:
            found.lost.append(f"plan {plan_id} was dropped and is still there")
        if not plan.disturbed or seen.written(plan.tag):
            found.dishonest.append(f"plan {plan_id} was never applied, and there is {seen.written(plan.tag)}")


def _judge_applied(plan_id: str, plan: Plan, run_id: str, seen: Seen, found: Findings) -> None:
    """It did all of the change set, or nothing and says why."""
    now = seen.runs[run_id]
    code = str(now["error"]["code"]) if now.get("error") else ""
    found.states[f"apply {now['state']} {code}".strip()] += 1
    if now["state"] == GONE:
        found.lost.append(f"run {run_id}, which applied plan {plan_id}, is gone")
    elif now["state"] == "completed":
        found.applied += 1
        _judge_result(run_id, plan, now, seen, found)
        if plan.disturbed or plan.dropped:
            found.dishonest.append(f"run {run_id} applied plan {plan_id}, which was dropped or rests on what has changed: {plan}")
    else:
        refused = seen.verdicts.get(f"{run_id}.0") == "reject"
        reasons = {"plan_dropped": plan.dropped or not plan.runs, "plan_conflict": plan.disturbed, "rejected": refused,
                   "interrupted": run_id not in plan.runs}
        if not reasons.get(code, False):
            found.dishonest.append(f"run {run_id}, which applied plan {plan_id}, is {now['state']}: {now.get('error')}")
        if seen.written(plan.tag):
            found.dishonest.append(f"run {run_id} is {now['state']} and wrote {seen.written(plan.tag)}")


def _judge_rollback(run_id: str, work: Work, rollbacks: set[str], seen: Seen, found: Findings) -> None:
    if len(rollbacks) > 1:
        found.repeated.append(f"run {run_id} is rolled back by {sorted(rollbacks)}")
    for rollback in rollbacks:
        undone = seen.runs[rollback]
        if undone["state"] == GONE:
            found.lost.append(f"rollback {rollback} was answered and is gone")
        elif undone["state"] != "completed":
            found.dishonest.append(f"rollback {rollback} is {undone['state']}: {undone.get('error')}")
        else:
            said = {call["operation"] for call in undone["result"]["undone"]}
            happened = {name for name, revert in _UNDONE_BY.items() if seen.effects[revert, work.tag]}
            if said != happened:
                found.dishonest.append(f"rollback {rollback} says it undid {said}, the ledger has {happened}")
