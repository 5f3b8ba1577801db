"""A replay is held against how a run ended only as far as its program decided that."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from inhabit.contracts.program import Boot, Delivery, Finished, IssuedCall, Prepared, Problem, Program, Turn
from inhabit.contracts.run import Delivered, Entry, Outcome, RunRecord, StoredEntry, Terminal
from inhabit.errors import Cancelled, LimitExceeded
from inhabit.limits import Limits
from inhabit.runtime.endings import ended
from inhabit.runtime.handles import RETURNED
from inhabit.runtime.replay import Replayed, replay
from inhabit.runtime.writes import Writes
from inhabit.wire.values import encode_value
from tests.store.store_samples import header, intent

CANCELLED = encode_value(Cancelled("the run was cancelled by its owner").as_value())
LATE = encode_value(LimitExceeded.of("wall_ms", 1_000, "ms").as_value())
OTHER = encode_value({"code": "program_failed", "message": "no", "retryable": False, "effect": "none"})
FIRST = Outcome(1, True, b"1", 0.5, 7)


class Returns:
    """A guest that makes one call, does not wait for it, and returns 7."""

    engine_version = "e/1"

    async def prepare(self, program: Program, names: tuple[str, ...]) -> Prepared:
        return Prepared(program.source)

    async def typecheck(self, code: str, stubs: str) -> tuple[Problem, ...]:
        return ()

    async def start(self, boot: Boot) -> Turn:
        return Turn((IssuedCall(1, "shop.orders.cancel", b"{}"),), finished=Finished(True, b"7"))

    async def deliver(self, deliveries: Sequence[Delivery]) -> Turn:
        raise AssertionError("it had ended")

    async def close(self) -> None: ...


async def replayed(*entries: Entry) -> Replayed:
    record = RunRecord(header(), tuple(StoredEntry(number, entry) for number, entry in enumerate(entries, 1)), "failed")
    return await replay(record, Returns())


@pytest.mark.parametrize("value", [CANCELLED, LATE])
@pytest.mark.parametrize("more", [(), (FIRST,)])
async def test_a_run_that_its_host_ended_while_it_waited_for_calls_of_a_program_that_returned(value: bytes, more: tuple[Entry, ...]) -> None:
    assert await replayed(intent(1), *more, Terminal("failed", value, 9)) == Replayed(1)


async def test_a_result_that_named_a_handle_ended_as_the_host_said() -> None:
    """The guest's 7 stands for what named a handle: which it was, its record says."""
    calls = (intent(1), FIRST)
    state, value = ended(Finished(False, RETURNED), Limits.of({}), Writes.of([StoredEntry(n, call) for n, call in enumerate(calls, 1)]))
    assert await replayed(*calls, Terminal(state, value, 9)) == Replayed(1)


@pytest.mark.parametrize("end", [Terminal("failed", OTHER, 9), Terminal("completed", b"8", 9), Terminal("rejected", CANCELLED, 9)])
async def test_another_end_of_the_program_itself_is_a_difference(end: Terminal) -> None:
    found = await replayed(intent(1), FIRST, end)
    assert not found.equal and found.difference is not None and found.difference["message"] == "the program ended in another way"


async def test_a_call_that_the_replay_does_not_make_is_a_difference_also_in_a_cancelled_run() -> None:
    other = intent(1)._replace(operation="shop.orders.list")
    assert not (await replayed(other, Terminal("failed", CANCELLED, 9))).equal
    assert not (await replayed(intent(1), FIRST, Delivered("result", 1, 0, 5), Terminal("completed", b"8", 9))).equal
