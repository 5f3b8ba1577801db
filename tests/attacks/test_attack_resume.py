"""B20: being taken up again resets no counter. And the bounds on what comes in that no program can show: source, input."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from inhabit.connectors.functions import Capability
from inhabit.contracts.program import Finished, IssuedCall, LogLine, Turn
from inhabit.errors import InhabitError, LimitExceeded
from inhabit.runtime.driver import RunDriver
from inhabit.runtime.recording import Recording
from tests.attacks.conftest import Target
from tests.runtime.conftest import ScriptedIsolate, World

NAME = "a" * 20
BOUNDS: dict[str, tuple[dict[str, int], Any]] = {
    "calls": ({"calls": 3}, "**"), "journal_bytes": ({"journal_bytes": 150}, "**"), "log_bytes": ({"log_bytes": 40}, "**"),
    "granted_calls": ({}, {"pattern": "gate.*", "caveats": [{"calls": 3}]}),
}


def turns() -> list[Turn]:
    """Four calls one after the other, a line of log with two of them."""
    calls = [(IssuedCall(n, "gate.read", orjson.dumps({"name": NAME})),) for n in range(1, 5)]
    line = (LogLine("log", "x" * 20),)
    return [Turn(calls[0], logs=line), Turn(calls[1], (1,)), Turn(calls[2], (2,), logs=line), Turn(calls[3], (3,)),
            Turn(issued_before=(4,), finished=Finished(True, b"1"))]


async def end_of(driver: RunDriver) -> tuple[Any, ...]:
    """How a run ended, and what the bound did to it."""
    terminal = await driver.drive()
    error = orjson.loads(terminal.value) if terminal.state == "failed" else {}
    return terminal.state, driver.call_count, error.get("details", {}).get("limit"), driver.logs_truncated


@pytest.mark.parametrize("bound", BOUNDS)
async def test_B20_suspend_limit_reset(bound: str) -> None:
    """However often it is cut off and replayed, the run meets its bound where it meets it in one go."""
    limits, grant = BOUNDS[bound]
    capability = Capability("gate")

    @capability.operation
    async def read(name: str) -> str:  # pyright: ignore[reportUnusedFunction]
        return name

    whole = World(capability)
    expected = await end_of(whole.driver(ScriptedIsolate(lambda step, _: turns()[step]), whole.context(grant, **limits)))
    refused = sum(not outcome.ok for outcome in whole.outcomes())
    assert expected[0] == "failed" or expected[3] or refused
    for kept in whole.journal.appended["run"][:-1]:       # an append is on the disk whole or not at all
        here = World(capability)
        here.journal.headers["run"] = whole.journal.headers["run"]
        here.journal.entries["run"] = whole.journal.entries["run"][:kept]
        recording = Recording.of(here.journal.record(), 1_000)
        again = await end_of(here.driver(ScriptedIsolate(_steps()), here.context(grant, **limits), recording))
        assert again == expected, f"after {kept} entries"
        assert sum(not outcome.ok for outcome in here.outcomes()) == refused


def _steps() -> Any:
    """The script as a worker plays it: one inner turn a delivery, however they are batched."""
    at = 0

    def step(number: int, deliveries: Any) -> Turn:
        nonlocal at
        if number == 0:
            return turns()[0]
        inner = turns()[at + 1:at + 1 + len(deliveries)]
        at += len(deliveries)
        return Turn(tuple(c for t in inner for c in t.calls), tuple(b for t in inner for b in t.issued_before), inner[-1].finished, None,
                    tuple(line for t in inner for line in t.logs))
    return step


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("language", ["typescript", "python"])
async def test_B30_a_source_beyond_its_size_is_refused_before_anything_reads_it(target: Target, language: str) -> None:
    source = "x = 1\n" if language == "python" else "var x = 1\n"
    with pytest.raises(LimitExceeded, match="source_bytes"):
        await target.run(source * 60_000, language=language)
    with pytest.raises(LimitExceeded, match="source_bytes = 1000"):
        await target.run(source * 1_000, language=language, limits={"source_bytes": 1_000})


@pytest.mark.asyncio(loop_scope="session")
async def test_B14_an_input_beyond_its_size_or_depth_is_refused(target: Target) -> None:
    deep: Any = 1
    for _ in range(400):
        deep = [deep]
    for given, limits in (("x" * 2_000, {"input_bytes": 1_000}), (deep, None)):
        with pytest.raises(InhabitError) as refused:
            await target.run("return 1", input=given, limits=limits)
        assert refused.value.specific_code in {"limit_exceeded", "invalid_input"}


@pytest.mark.asyncio(loop_scope="session")
async def test_B16_an_operation_that_never_answers_meets_its_time(target: Target) -> None:
    run = await target.run("try { await kit.stubborn() } catch (e) { return [e.code, e.effect] }", limits={"call_ms": 200, "wall_ms": 5_000})
    assert run.value == ["call_timeout", "unknown"]
