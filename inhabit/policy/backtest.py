"""What a policy would have done to recorded runs: which it would have stopped, at which call, and why.

Model: all calls of all runs are judged again in the order of their times. What is allowed is charged to the windows at
its recorded time; what is stopped is not, and the run's later calls are judged as if it had gone on, so that a person
sees each thing that would have been in the way. Only the policy is asked: the grants of then are not what changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from inhabit.contracts.operation import Operation
from inhabit.contracts.run import RunRecord
from inhabit.kernel.decide import Facts, RunFacts, reasons
from inhabit.kernel.flow import CLEAN, Labels, Source, labels_of
from inhabit.kernel.grants import Grant
from inhabit.kernel.policy import Policy, Reason, strictest
from inhabit.kernel.windows import Windows
from inhabit.policy.records import PastCall, PastRun, past_runs

__all__ = ["Backtest", "Stopped", "backtest"]

_ALL = Grant.of("**")


class Stopped(NamedTuple):
    run_id: str
    principal: str
    at_ms: int
    sequence: int
    operation: str
    arguments: Mapping[str, Any]
    verdict: str
    rule: str
    reason: str


class Backtest(NamedTuple):
    """`unknown`: operations that were called then and are not there now; their calls were not judged."""

    runs: int
    calls: int
    stopped: tuple[Stopped, ...]
    unknown: tuple[str, ...]

    @property
    def runs_stopped(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(stop.run_id for stop in self.stopped))


class _Run:
    """One run as it is gone through again."""

    def __init__(self, past: PastRun) -> None:
        self.past = past
        self.labels: Labels = CLEAN
        self.calls: list[Mapping[str, Any]] = []
        header = past.header
        self.facts = RunFacts(past.run_id, past.principal, header.program_hash, header.language, header.origin,
                              attended=header.attended, calls=self.calls)

    def learn(self, call: PastCall, operation: Operation) -> None:
        self.labels = self.labels.joined(labels_of(operation.effects, Source(call.operation, call.sequence)))
        self.calls.append({"operation": call.operation, "args": call.arguments, "ok": call.ok is True})


def backtest(records: Iterable[RunRecord], policy: Policy, operations: Mapping[str, Operation]) -> Backtest:
    runs = [_Run(past) for past in past_runs(records)]
    timeline = sorted(((call.at_ms, number, call.sequence, call) for number, run in enumerate(runs) for call in run.past.calls),
                      key=lambda event: event[:3])
    used, stopped, unknown = Windows(), list[Stopped](), dict[str, None]()
    for at_ms, number, _, call in timeline:
        run, operation = runs[number], operations.get(call.operation)
        if operation is None:
            unknown[call.operation] = None
            continue
        facts = Facts(operation, call.arguments, at_ms, run=run.facts, labels=run.labels, usage=used)
        words, charges = reasons(facts, _ALL, policy)
        word = strictest([word for word in words if word.rule != "information flow"])
        if word.verdict == "allow":
            for key, amount, window_ms in charges:
                used.add(key, window_ms or 0, amount, at_ms)
        else:
            stopped.append(_stopped(run.past, call, word))
        run.learn(call, operation)
    return Backtest(len(runs), len(timeline), tuple(stopped), tuple(unknown))


def _stopped(run: PastRun, call: PastCall, word: Reason) -> Stopped:
    return Stopped(run.run_id, str(run.principal), call.at_ms, call.sequence, call.operation, call.arguments, word.verdict, word.rule, word.text)
