"""Controls of what a run did and may do again: the record before the effect, doubts, replay, rollback, plan and apply."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from inhabit.connectors import still
from inhabit.contracts.run import Decided
from inhabit.isolates.javascript import image
from inhabit.kernel.decide import RunFacts
from inhabit.runtime import (
    applying,
    bridge,
    driver,
    driving,
    holding,
    previewing,
    reconciling,
    rollback,
    service,
)
from inhabit.runtime.applying import Applying
from inhabit.runtime.doubts import Doubts
from inhabit.runtime.driver import RunDriver
from inhabit.runtime.driving import Driving
from inhabit.runtime.holding import PlanHolder
from inhabit.runtime.overlay import Overlay
from inhabit.runtime.plans import Plans
from inhabit.runtime.reconciling import NOT_DONE, Reconciling, Settled
from inhabit.runtime.recording import Recording
from inhabit.runtime.rollback import SETTLE, Steps
from inhabit.runtime.settling import Settling
from inhabit.runtime.shaping import ResultRules
from inhabit.runtime.simulating import Symbols
from inhabit.store.journal import SqliteJournal
from tests.switches.off import Control, all_of, gone, replaced

BRIDGE, DRIVER, SERVICE, DOUBTS, ASKING, ROLLBACK, PLAN, PLANNED = (
    f"tests/runtime/test_{name}.py" for name in ("bridge", "driver", "service", "doubts", "asking", "rollback", "plan", "plan_attacks"))
PROPERTY = "tests/runtime/test_replay_property.py"

_perform, _admitted, _boot, _drive = bridge.Bridge.perform, bridge.Bridge._admitted, driver.Boot, Driving.drive
_isolate_for, _shown = Driving._isolate_for, PlanHolder.read
_approves, _decide, _steps_of, _given, _facts = Applying.approves, previewing.decide, rollback.steps_of, rollback._given, driving.RunFacts


# -- the record and the effect --------------------------------------------------------------------------------


class _Done:
    async def durable(self) -> None: ...


async def _before_its_record(held: Any, context: Any, admitted: Any, _: Any, progress: Any) -> Any:
    return await _perform(held, context, admitted, _Done(), progress)


def _blindly_again(held: Any, context: Any, issued: Any, made: Any, *, approved: bool = False) -> Any:
    """Made again as it was decided then."""
    return _admitted(held, context, issued, made.arguments, approved=True)


async def _says_no(*_: Any) -> Settled:
    return Settled(NOT_DONE, by="nobody")


def _as_issued(entries: Any) -> Any:
    """Not as a person edited it."""
    return _doubts_of([replace(stored, entry=stored.entry._replace(arguments=None)) if isinstance(stored.entry, Decided) else stored for stored in entries])


_doubts_of = Doubts.of


# -- replay ---------------------------------------------------------------------------------------------------


def _two_at_once() -> bytes:
    """The boot script of an engine that drains its jobs after every second result only."""
    boot = _script().decode()
    assert boot.count("  step() {") == boot.count("return batch.length / 3;") == 1, "the boot script settles in another way by now"
    return boot.replace("  step() {", "  step() { hooks.one(); if (batch !== null) hooks.one(); },\n  one() {").replace(
        "return batch.length / 3;", "return Math.ceil(batch.length / 6);").encode()


_script = image.boot_script


def _follows_anything(recording: Any, turn: Any, _: Any) -> None:
    recording.followed += len(turn.calls)


def _results_first(run: Any, _: Any) -> Any:
    return _results(run, None)


_results = RunDriver._results


def _as_they_lie(recording: Any, most: int) -> Any:
    """Recorded deliveries by the number of their call."""
    recording.deliveries = type(recording.deliveries)(sorted(recording.deliveries, key=lambda one: one.id))
    return _next_deliveries(recording, most)


_next_deliveries = Recording.next_deliveries


def _born(*given: Any, seed: int | None = None, clock_ms: int | None = None) -> Any:
    born = _boot(*given)
    return replace(born, seed=born.seed if seed is None else seed, clock_ms=born.clock_ms if clock_ms is None else clock_ms)


class _Count:
    """Another one each time."""

    def __init__(self) -> None:
        self.last = 0

    def __call__(self) -> int:
        self.last += 1_000_003
        return self.last


_COUNT = _Count()


async def _of_any_engine(held: Any, header: Any, bounds: Any) -> Any:
    isolate = await _isolate_for(held, header, bounds)
    isolate.engine_version = header.engine
    return isolate


# -- rollback -------------------------------------------------------------------------------------------------


def _all_undone(steps: Any, delivery: Any) -> None:
    step = steps._steps[steps._at]
    steps._undone.append({"sequence": step["sequence"], "operation": step["operation"], "by": step["revert"]})
    steps._at += 1


def _first_first(record: Any, operation: Any) -> Any:
    found = _steps_of(record, operation)
    return {**found, "steps": found["steps"][::-1]}


def _of_the_arguments_alone(revert: str, required: Sequence[str], parameters: Sequence[str], *known: Any) -> Any:
    return _given(revert, (), parameters, *known[:1])


class _Forgetful(set[str]):
    def __contains__(self, _: object) -> bool:
        return False


def _at_once(runtime: Any, *given: Any) -> None:
    _runtime(runtime, *given)
    runtime._undoing = _Forgetful()


_runtime = service.Runtime.__init__


# -- plan and apply -------------------------------------------------------------------------------------------


def _anything_goes(held: Any, sequence: int, *_: Any) -> Any:
    held._taken.setdefault(sequence, len(held._taken))
    return frozenset() if held._asked else None


def _under_any_schema(held: Any, sequence: int, operation: str, arguments: Any, _: str) -> Any:
    at = min(held._taken.get(sequence, len(held._taken)), len(held._writes) - 1)
    return _approves(held, sequence, operation, arguments, held._writes[at]["schema"])


async def _never_used(*_: Any) -> None: ...


async def _raw(holder: Any, admitted: Any, live: Any, shaped: Any) -> Any:
    """What is read is laid over as it came."""
    async def seen() -> Any:
        value = await live()
        holder._overlay.saw(admitted.standing.operation.resource, admitted.arguments, value)
        return value
    return await _shown(holder, admitted, seen, shaped)


def _not_planning(*given: Any) -> RunFacts:
    return _facts(*given)._replace(planning=False)


CONTROLS: dict[str, Control] = {
    "record: before the effect": Control(replaced(bridge.Bridge, "perform", _before_its_record), (BRIDGE, DRIVER, "-k", "F19")),
    "doubts: never repeated blindly": Control(gone((Settling, "in_doubt"), answer=False), (SERVICE, DOUBTS, "-k", "F02_write_in_flight or F02_what_no_operation or F02_a_doubt_that")),
    "doubts: unknown stays unknown": Control(replaced(Reconciling, "ask", _says_no), (DOUBTS, "-k", "F02_what_no_operation or F02_a_doubt_that")),
    "doubts: what was made counts": Control(replaced(Doubts, "of", _as_issued), (DOUBTS, "-k", "F02_a_call_approved_with_edits")),
    "doubts: decided anew": Control(replaced(bridge.Bridge, "admit_again", _blindly_again), (DOUBTS, "-k", "F02_a_call_made_again or F02_a_call_that_is_refused")),
    "doubts: no program settles": Control(replaced(Settling, "asks", lambda _, issued: issued.operation == SETTLE), (DOUBTS, "-k", "F02_no_program")),
    "doubts: rules on reconciling": Control(replaced(reconciling, "decide", lambda facts, grant, *_: _decide(facts, grant)), (DOUBTS, "-k", "E18_a_rule_against")),
    "replay: divergence parks": Control(replaced(Recording, "follow", _follows_anything), (DRIVER, ASKING, "-k", "F08")),
    "replay: one result a delivery": Control(replaced(image, "boot_script", _two_at_once), (PROPERTY, "-k", "chance or settling_two")),
    "replay: order of deliveries": Control(replaced(Recording, "next_deliveries", _as_they_lie), (PROPERTY, "-k", "chance")),
    "replay: timers and results": Control(replaced(RunDriver, "_results", _results_first), (DRIVER, "-k", "F09_a_due_timer")),
    "replay: the seed": Control(replaced(driver, "Boot", lambda *given: _born(*given, seed=_COUNT())), (PROPERTY, "-k", "chance")),
    "replay: the clock": Control(replaced(driver, "Boot", lambda *given: _born(*given, clock_ms=_COUNT())), (PROPERTY, "-k", "chance")),
    "replay: the engine that began": Control(replaced(Driving, "_isolate_for", _of_any_engine), (ASKING, "-k", "F16")),
    "rollback: what stands is said": Control(replaced(Steps, "_take", _all_undone), (ROLLBACK, "-k", "F11_F12")),
    "rollback: the last write first": Control(replaced(service, "steps_of", _first_first), (ROLLBACK, "-k", "F11_F12")),
    "rollback: conditional on version": Control(replaced(rollback, "_given", _of_the_arguments_alone), (ROLLBACK, "-k", "F11_F12")),
    "rollback: doubts are settled first": Control(gone((rollback, "_settled_first"), answer="nobody asks"), (DOUBTS, "-k", "F11")),
    "rollback: once": Control(gone((SqliteJournal, "child")), (ROLLBACK, "-k", "F11_F12")),
    "rollback: one at a time": Control(all_of(replaced(service.Runtime, "__init__", _at_once)), (ROLLBACK,)),
    "rollback: what was held wrote nothing": Control(gone((rollback, "_wrote"), answer=True), (PLANNED, ROLLBACK, "-k", "rollback_of_a_plan or F11_F12")),
    "plan: writes are held": Control(replaced(driving, "RunFacts", _not_planning), ("tests/kernel/test_policy.py", PLAN, "-k", "E20_a_plan_sees or E20_writes_at_once")),
    "plan: previews do nothing": Control(gone((still, "_refuse")), (PLAN, "-k", "E20_a_preview_has")),
    "plan: previews are counted": Control(replaced(previewing, "decide", lambda *given: _decide(*given)._replace(charges=())), (PLANNED, "-k", "E08_a_preview")),
    "plan: rules on results": Control(replaced(ResultRules, "shaped", lambda *given: given[-1]), (PLANNED, PLAN, "-k", "E03_what_the_policy or redacted_like")),
    "plan: the overlay knows what was told": Control(replaced(PlanHolder, "read", _raw), (PLANNED, "-k", "E03_what_the_policy_hides_of_a_read or E01_what_a_handle")),
    "plan: the overlay": Control(replaced(Overlay, "read", lambda *given: given[3]), (PLAN, "-k", "E20_a_plan_sees")),
    "plan: made-up ids stay here": Control(gone((Symbols, "within"), answer=()), (PLAN, "-k", "made_up_id_never or E20_a_plan_sees")),
    "apply: each write is the next one": Control(replaced(Applying, "approves", _anything_goes), (PLAN, PLANNED, "-k", "first_write_that_differs or one_write_more or E04_a_handle_of_another or E04_an_upstream")),
    "apply: declared as it was": Control(replaced(Applying, "approves", _under_any_schema), (PLANNED, "-k", "E14")),
    "apply: rules of now": Control(gone((Applying, "agrees")), (PLANNED, "-k", "E04_a_rule_that or E04_a_run_that_parked")),
    "apply: ids are words": Control(replaced(applying, "_WORD", re.compile("")), (PLANNED, "-k", "E04_an_upstream")),
    "apply: what was read is read again": Control(gone((driving, "conflicts"), answer=[]), (PLAN, PLANNED, "-k", "what_was_read_has_changed or change_after_the_asking or E04_a_run_that_parked")),
    "apply: the digest of reads": Control(gone((holding, "_digest"), answer="sha256 0"), (PLAN, "-k", "what_was_read_has_changed")),
    "apply: rejected, expired, changed": Control(gone((driving, "refused_changes")), (PLAN, PLANNED, "-k", "rejected_change_set or E04_a_run_that_parked or another_change_set")),
    "apply: as it was shown": Control(gone((Plans, "_current")), (PLAN, "-k", "another_change_set")),
    "apply: once": Control(replaced(Plans, "_take", _never_used), (PLAN, PLANNED, "-k", "E04_who_looked or dropped_plan or E20_a_plan_sees")),
    "apply: within the token": Control(gone((Driving, "alive"), answer=True), (PLANNED, "-k", "E22")),
}
