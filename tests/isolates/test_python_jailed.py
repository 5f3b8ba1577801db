"""Python in the jailed pool: the whole way from a program to its result, and what becomes of a worker that was spent."""

from __future__ import annotations

import gc
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from inhabit.contracts.program import Boot, Delivery, Program
from inhabit.errors import LimitExceeded
from inhabit.isolates.jail import JailPolicy
from inhabit.isolates.pool import PoolSettings, WorkerPool
from inhabit.limits import Limits

NAMES = ("shop",)
PYTHON = {"python": "inhabit.isolates.python:PythonEngine"}


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def children() -> set[int]:
    return {int(pid) for thread in Path("/proc/self/task").iterdir() for pid in (thread / "children").read_text().split()}


@pytest.fixture
async def pool(tmp_path: Path) -> AsyncIterator[WorkerPool]:
    """As the server has it, warnings allowed where the machine lacks a layer; nothing is left after."""
    before = descriptors(), children()
    pool = WorkerPool(tmp_path, jail=JailPolicy(require="warn"), settings=PoolSettings(min_spare=1), engines=PYTHON)
    await pool.start()
    yield pool
    await pool.close()
    gc.collect()
    assert (descriptors(), children()) == before


async def run(pool: WorkerPool, source: str, *, tenant: str = "t", answer: Any = None, **limits: int) -> Any:
    bounds = Limits(**limits)
    isolate = await pool.acquire("python", tenant, bounds)
    try:
        prepared = await isolate.prepare(Program(source, "python"), NAMES)
        assert not prepared.problems, prepared.problems
        turn = await isolate.start(Boot(prepared.code, NAMES, limits=bounds))
        while turn.finished is None:
            turn = await isolate.deliver([Delivery("result", call.sequence, orjson.dumps(answer), 5) for call in turn.calls])
        value = orjson.loads(turn.finished.value)
        return value if turn.finished.ok else value["name"]
    finally:
        await isolate.close()


async def test_a_program_runs_is_checked_and_calls(pool: WorkerPool) -> None:
    source = "import asyncio\nrs = await asyncio.gather(*[shop.a.b(n=n) for n in range(50)])\nreturn sum(r['v'] for r in rs)"
    assert await run(pool, source, answer={"v": 2}) == 100
    isolate = await pool.acquire("python", "t", Limits())
    (problem,) = await isolate.typecheck("return nowhere", "")
    assert problem.message == "name nowhere is not defined"
    await isolate.close()


@pytest.mark.parametrize(("source", "limit", "bounds"), [
    ("while True: pass", "cpu_ms", {"cpu_ms": 200}), ("7 ** 10**7", "cpu_ms", {"cpu_ms": 200}),
    ("import time\nwhile True: time.time()", "cpu_ms", {"cpu_ms": 200}),
    ("a = []\nwhile True: a.append('x' * 1000)", "memory_bytes", {"memory_bytes": 30_000_000}),
    ("''.join(['a' * 10**6 for _ in range(10**6)])", "memory_bytes", {"memory_bytes": 30_000_000}),
])
async def test_B01_B04_a_spent_worker_is_replaced(pool: WorkerPool, source: str, limit: str, bounds: dict[str, int]) -> None:
    with pytest.raises(LimitExceeded) as caught:
        await run(pool, source, **bounds)
    assert caught.value.details["limit"] == limit
    assert await run(pool, "return 6 * 7") == 42
    assert await run(pool, "return 'other'", tenant="other") == "other"


async def test_A20_nothing_of_the_host_is_there(pool: WorkerPool) -> None:
    for path in ("/proc/self/environ", "/etc/passwd", "/proc/1/root/etc/passwd"):
        assert await run(pool, f"o = open\nreturn o({path!r}).read()") == "PermissionError"
    assert await run(pool, "import os\nreturn [os.getcwd(), dict(os.environ)]") == ["/", {}]


async def test_guests_of_one_tenant_wait_for_no_other(pool: WorkerPool) -> None:
    """A worker holds one Python guest: a second one gets a worker of its own."""
    one = await pool.acquire("python", "t", Limits())
    two = await pool.acquire("python", "t", Limits())
    turns = [await isolate.start(Boot(f"r = await shop.a.b(n={n})\nreturn r", NAMES)) for n, isolate in enumerate((one, two))]
    assert [turn.calls[0].arguments for turn in turns] == [b'{"n":0}', b'{"n":1}']
    for isolate in (two, one):
        done = await isolate.deliver([Delivery("result", 1, b"9", 1)])
        assert done.finished and done.finished.value == b"9"
        await isolate.close()
