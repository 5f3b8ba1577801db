"""CPU limits of programs in the real worker: what stops them, how soon, and who lives on."""

from __future__ import annotations

import gc
import threading
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from inhabit.contracts.program import Boot, Delivery, Program, Turn
from inhabit.errors import LimitExceeded
from inhabit.isolates.javascript.image import quickjs_binary
from inhabit.isolates.javascript.stop import STACK_BYTES, Stopper
from inhabit.isolates.javascript.wasm import Surgery, signed
from inhabit.isolates.pool import PoolSettings, WorkerPool
from inhabit.isolates.pool.isolate import PooledIsolate
from inhabit.limits import Limits

CPU_MS = 150
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[WorkerPool]:
    pool = WorkerPool(tmp_path_factory.mktemp("images"), settings=PoolSettings(min_spare=1))
    await pool.start()
    yield pool
    await pool.close()
    gc.collect()


async def begun(pool: WorkerPool, source: str, limits: Limits) -> tuple[PooledIsolate, Turn]:
    isolate = await pool.acquire("typescript", "one", limits)
    prepared = await isolate.prepare(Program(source, "typescript"), ("shop",))
    assert prepared.problems == ()
    return isolate, await isolate.start(Boot(prepared.code, ("shop",), limits=limits))


# A builtin that computes long by itself, each of its own kind; the first turn ends before it, so that it has a neighbour.
LONG = {
    "loop": "for (;;);", "calls": "const f = () => {}; for (;;) f();", "throws": "for (;;) try { throw 1 } catch {}",
    "regex": "/(a+)+$/.test('a'.repeat(60) + 'b')", "sort": "const a = Array.from({ length: 3e5 }, (_, i) => i * 7919 % 9973); for (;;) a.sort((x, y) => x - y).reverse()",
    "repeat": "for (;;) 'ab'.repeat(1e6)", "json": "const a = new Array(2e5).fill('x'); for (;;) JSON.parse(JSON.stringify(a))",
    "bigint": "let n = 7n; for (;;) n = (n * n * n) % (1n << 200000n)", "search": "const s = 'x'.repeat(4e6); for (;;) s.lastIndexOf('y')",
    "split": "const s = 'x'.repeat(1e6); for (;;) s.split('')", "typed": "const b = new Int32Array(1e6); for (;;) b.sort()",
}


@pytest.mark.parametrize("name", LONG)
async def test_B01_B13_a_long_builtin_is_stopped_and_its_neighbour_lives(pool: WorkerPool, name: str) -> None:
    limits = Limits(cpu_ms=5_000)
    neighbour, waiting = await begun(pool, "return (await shop.x({})) + 1", limits)
    evil, _ = await begun(pool, f"await shop.x({{}}); {LONG[name]}", Limits(cpu_ms=CPU_MS))
    assert evil.channel is neighbour.channel
    process = evil.channel.process
    spent = process.cpu_ns()
    with pytest.raises(LimitExceeded) as caught:
        await evil.deliver([Delivery("result", 1, b"1", 0)])
    assert caught.value.details["limit"] == "cpu_ms"
    assert (process.cpu_ns() - spent) / 1e6 < CPU_MS + 100
    turn = await neighbour.deliver([Delivery("result", waiting.calls[0].sequence, b"41", 0)])
    assert turn.finished is not None
    assert turn.finished.value == b"42"
    await neighbour.close()
    await evil.close()


@pytest.mark.parametrize("source", [
    "const b = new Uint8Array(4e7); for (;;) b.copyWithin(1e6, 0)", "const b = new Uint8Array(4e7); for (;;) b.fill(3)",
    "const b = new Uint8Array(4e7); for (;;) b.slice()", "for (;;) String(Math.random())", "for (let i = 0; ; i++) 'k' + i / 7",
])
async def test_B13_block_copies_end_as_the_limit(pool: WorkerPool, source: str) -> None:
    """Where a copy were made outside of the compiled code, the stop would be the end of the worker."""
    neighbour, waiting = await begun(pool, "return (await shop.x({})) + 1", Limits())
    evil, _ = await begun(pool, f"await shop.x({{}}); {source}", Limits(cpu_ms=CPU_MS))
    with pytest.raises(LimitExceeded) as caught:
        await evil.deliver([Delivery("result", 1, b"1", 0)])
    assert caught.value.details["limit"] == "cpu_ms"
    turn = await neighbour.deliver([Delivery("result", waiting.calls[0].sequence, b"41", 0)])
    assert turn.finished is not None
    assert turn.finished.value == b"42"
    await neighbour.close()
    await evil.close()


async def test_waiting_for_the_host_is_free_and_turns_share_one_budget(pool: WorkerPool) -> None:
    spin = "{ let x = 0; for (let i = 0; i < 3e5; i++) x += i }"
    isolate, turn = await begun(pool, f"for (;;) {{ {spin} await shop.x({{}}) }}", Limits(cpu_ms=CPU_MS))
    turns = 0
    with pytest.raises(LimitExceeded):
        while True:
            turn = await isolate.deliver([Delivery("result", turn.calls[0].sequence, b"1", 0)])
            turns += 1
            assert turn.usage.cpu_ms < CPU_MS
    assert turns > 1
    await isolate.close()


class _Code:
    def __init__(self) -> None:
        self.base, self.taken = 0, 0


async def test_nothing_is_taken_before_the_deadline_nor_from_code_that_has_left() -> None:
    """A base of 0 is refused by the kernel: what was tried on it is not counted as taken, and harms nothing."""
    stopper, code, threads = Stopper(), _Code(), threading.active_count()
    stopper.start()
    stopper.start()
    assert threading.active_count() == threads + 1
    stopper.deadline_ns = 0
    stopper.enter(code)
    stopper.leave()
    sum(range(3_000_000))
    stopper.allow(60_000)
    stopper.enter(code)
    sum(range(3_000_000))
    assert code.taken == 0
    stopper.leave()


async def test_the_interpreters_stack_is_where_it_is_taken_from() -> None:
    body = Surgery(quickjs_binary()).section(6)
    assert b"\x7f\x01\x41" + signed(STACK_BYTES) + b"\x0b" in body, "the stack pointer starts at the end of the stack"
