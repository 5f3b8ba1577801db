"""What the host knows of one run while it goes on: its authority, its counters, its labels.

All of it is rebuilt from the journal when a run is taken up again. Nothing here comes from the program but what it
did; who calls and with what right is fixed before its first line runs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from inhabit.contracts.operation import Operation
from inhabit.contracts.principal import Principal
from inhabit.contracts.program import IssuedCall
from inhabit.contracts.run import Intent, Outcome, RunHeader, Write
from inhabit.errors import Denied, InhabitError, LimitExceeded
from inhabit.kernel.decide import NO_LEDGER, Charge, Decision, RunFacts
from inhabit.kernel.flow import CLEAN, Labels
from inhabit.kernel.grants import Grant
from inhabit.kernel.policy import NO_POLICY, Policy, ResultRule, Usage
from inhabit.limits import Limits
from inhabit.runtime.bodies import binaries_in
from inhabit.runtime.handles import Given, Handles
from inhabit.runtime.provenance import GIVEN_BY_PEOPLE, Urls
from inhabit.runtime.spelled import Spelled
from inhabit.wire.values import decode_value

__all__ = ["NO_CONTROL", "Admitted", "Approved", "Charges", "Control", "Holder", "RunContext", "Standing"]


class Standing(NamedTuple):
    """What all calls of one operation in one run have in common. `decision`: None where each call is looked at."""

    operation: Operation
    schema_hash: str
    may_write: bool
    idempotent: bool
    limit_ms: int
    decision: Decision | None
    policy: Policy
    results: tuple[ResultRule, ...] = ()


class Charges(Usage, Protocol):
    """A tenant's part of the ledger: read by the kernel, charged by the bridge."""

    def reserve(self, charges: Sequence[Charge], run_id: str) -> tuple[Write, ...]: ...

    def ended(self, run_id: str) -> tuple[Write, ...]: ...


class _NothingKept:
    def used(self, key: str, window_ms: int, now_ms: int, /) -> float:
        return NO_LEDGER.used(key, window_ms, now_ms)

    def reserve(self, charges: Sequence[Charge], run_id: str) -> tuple[Write, ...]:
        return ()

    def ended(self, run_id: str) -> tuple[Write, ...]:
        return ()


class Holder(Protocol):
    """Answers calls that are held."""

    async def answer(self, admitted: Admitted, preview: Callable[[], Awaitable[Any]] | None) -> Any:
        """What the program is told in place of the write. `preview`: asks the operation, where it has one. Raises `InhabitError`."""
        ...

    def planned(self, admitted: Admitted) -> Mapping[str, Any] | None:
        """Members that the run has given the thing of a held call so far."""
        ...

    async def read(self, admitted: Admitted, live: Callable[[], Awaitable[Any]], shaped: Callable[[Any], Any]) -> Any:
        """What `live` answers, with what the run has written so far laid over it; or that alone. `shaped`: as it may be seen."""
        ...

    def seen(self, sequence: int) -> str:
        """What a call read, as a version or a hash."""
        ...

    def told(self, outcome: Outcome) -> None:
        """What the program is told of a call, as its rules let it be seen."""
        ...


class Approved(Protocol):
    """The writes that a person approved beforehand, in their order."""

    def approves(self, sequence: int, operation: str, arguments: Mapping[str, Any], schema: str) -> frozenset[str] | None:
        """None where no person was asked about them, else the rules that they saw hold this one. Raises what parks the run for a
        write that is not the next one of them.
        """
        ...

    def agrees(self, sequence: int, verdict: str, reason: str) -> None:
        """Raises what parks the run for a write that a person would be asked about now, and was not."""
        ...

    def answered(self, made: Intent, outcome: Outcome) -> None:
        """A call has its outcome: ids in it are known now."""
        ...


class Control(NamedTuple):
    """The policy in force, asked at every call, so that a reload holds from the next one on; and who keeps count.
    `trouble`: why what its author last wrote is not in force, if it is not.
    """

    policy: Callable[[Principal], Policy] = lambda _principal: NO_POLICY
    ledger: Callable[[str], Charges] = lambda _tenant: _NOTHING_KEPT
    approval_ms: int = 7 * 24 * 3_600_000
    trouble: Callable[[], str] = lambda: ""


@dataclass(slots=True)
class RunContext:
    """One run's authority and counters. `history`: its calls as conditions see them, kept where there is a policy.
    `told`: by call that a person approved, the rules that asked them."""

    run_id: str
    principal: Principal
    grant: Grant
    limits: Limits
    facts: RunFacts | None = None
    labels: Labels = CLEAN
    charges: Charges = field(default_factory=lambda: _NOTHING_KEPT)
    holder: Holder | None = None
    applying: Approved | None = None
    told: dict[int, frozenset[str]] = field(default_factory=dict[int, frozenset[str]])
    history: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    granted_calls: dict[str, int] = field(default_factory=dict[str, int])
    standings: dict[str, Standing] = field(default_factory=dict[str, Standing])
    binaries: set[str] = field(default_factory=set[str])
    handles: Handles = field(default_factory=Handles)
    remembered: Callable[[Labels], tuple[Write, ...]] = lambda _labels: ()
    urls: Urls = field(default_factory=Urls)
    spelled: Spelled | None = None
    journaled_bytes: int = 0
    in_flight: int = 0

    @property
    def run(self) -> RunFacts:
        if self.facts is None:
            self.facts = RunFacts(self.run_id, self.principal, calls=self.history)
        return self.facts

    def count(self, size: int) -> None:
        """Raises `LimitExceeded` once the run has recorded more than it may."""
        self.journaled_bytes += size
        if self.journaled_bytes > self.limits.journal_bytes:
            raise LimitExceeded.of("journal_bytes", self.limits.journal_bytes, "bytes")

    def learn(self, made: Intent, outcome: Outcome, brought: Labels) -> None:
        """What an answer gives the run, before it is delivered: labels, bytes it may use, URLs it may go to; or a handle."""
        if self.applying is not None:
            self.applying.answered(made, outcome)
        if self.holder is not None:
            self.holder.told(outcome)
        if outcome.kept is None:
            if brought != CLEAN:
                self.labels = self.labels.joined(brought)
            self.binaries.update(outcome.binaries)
            self.urls.learn(outcome.value, made.arguments)
        else:
            self.handles.learn(outcome, brought)
            self.urls.learn(outcome.kept, made.arguments)

    def begin(self, header: RunHeader) -> None:
        """A run may use the references in its input, the word of whoever starts it, and go where a person's input says. In
        a conversation a model speaks, through whatever door.
        """
        self.binaries |= binaries_in(header.input)
        if header.origin in GIVEN_BY_PEOPLE and not header.conversation:
            self.urls.learn(header.input)
        if header.spelled is not None:
            self.spelled = Spelled(header.spelled, header.input)

    def provenance(self, sequence: int, operation: Operation, given: Given) -> tuple[bool, bool]:
        """Whose word a call is: `(built_url, meant)`, as `flow.guard` takes them. Meant is a call that an author who had read no
        stranger's words spelled out; or one of a run that has read none so far, where handles bring such words only as content.
        """
        built = self.urls.built(operation, given.value)
        if self.spelled is None or not (operation.effects.may_write or operation.url_argument):
            return built, False
        spelled = not given.any and self.spelled.takes(sequence, operation.name, given.value)
        return built and not spelled, spelled or not (self.labels.untrusted or given.where.untrusted)

    def repeated(self, issued: IssuedCall, intent: Intent) -> None:
        """A call that the journal has, as the counters saw it."""
        self.book(intent.decision.get("counts", ()))
        self.handles.told_bits += intent.decision.get("bits", 0)
        if self.spelled is not None:
            self.spelled.takes(issued.sequence, intent.operation, decode_value(intent.arguments))

    def standing(self) -> tuple[Write, ...]:
        """What is committed with an entry after which the run's result may be answered."""
        return self.remembered(self.labels)

    def without(self, made: Intent) -> tuple[Mapping[str, int], Usage]:
        """What was used beside a call that is in the record and is charged already."""
        counts = made.decision.get("counts", ())
        return {key: used - (key in counts) for key, used in self.granted_calls.items()}, UNCOUNTED

    def approves(self, issued: IssuedCall, standing: Standing, arguments: Mapping[str, Any]) -> frozenset[str] | None:
        """Whether a person has approved this write as part of a change set, and the rules that they saw hold it. Where there is a
        change set, another write parks the run.
        """
        if self.applying is None or not standing.may_write:
            return None
        return self.applying.approves(issued.sequence, standing.operation.name, arguments, standing.schema_hash)

    def agrees(self, issued: IssuedCall, standing: Standing, decision: Decision) -> None:
        """A change set that nobody was asked about lifts nothing: where a write of it would be asked now, the run parks. Nor does a
        person's yes to one call lift a limit that they were not told of: several calls that wait may go past it together.
        """
        if decision.verdict == "allow" and (told := self.told.get(issued.sequence)) is not None:
            limits = {limit.name for limit in standing.policy.applicable(standing.operation).limits}
            if unseen := sorted(limits.intersection(decision.rule.split(" & ")) - told):
                raise Denied(f"{issued.operation}: limit {', '.join(unseen)} asks by now, and whoever approved the call was not told of it",
                             details=decision.as_value(), fix="make the call again: it is asked anew")
        if self.applying is not None and standing.may_write:
            self.applying.agrees(issued.sequence, decision.verdict, decision.reason)

    def book(self, counts: Sequence[str]) -> None:
        """Count a call against the clauses of the grant that bound it."""
        for key in counts:
            self.granted_calls[key] = self.granted_calls.get(key, 0) + 1


class Admitted(NamedTuple):
    """A call that was decided. `error` is set when it is already over: refused, and why. `also` is committed with its
    intent. `arguments` have the values of handles in place, whose labels are `carried`; `kept`: its result becomes a handle.
    """

    issued: IssuedCall
    intent: Intent
    standing: Standing | None
    arguments: dict[str, Any]
    error: InhabitError | None = None
    also: tuple[Write, ...] = ()
    carried: Labels = CLEAN
    kept: bool = False

    @property
    def verdict(self) -> str:
        return self.intent.decision["verdict"]

    @property
    def doubted(self) -> bool:
        """Whether, cut off without an answer, it may have written something that must not be repeated."""
        return self.intent.may_write and not self.intent.idempotent and self.verdict != "hold"


class _Uncounted:
    """For a call whose charges are in the ledger already: what they left room for, they still do."""

    def used(self, key: str, window_ms: int, now_ms: int, /) -> float:
        del key, window_ms, now_ms
        return 0.0


_NOTHING_KEPT = _NothingKept()
UNCOUNTED = _Uncounted()
NO_CONTROL = Control()
