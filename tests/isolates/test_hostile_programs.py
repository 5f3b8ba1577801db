"""Hostile programs in the real engines, through the pool, with the jail on. Judged by the oracles of `ground`'s kind:
no canary comes out, the host lives and does not grow, nothing is leaked, the honest neighbour is answered.
"""

from __future__ import annotations

import asyncio
import gc
import os
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from inhabit.contracts.program import Boot, Delivery, Finished, Language, Program
from inhabit.errors import InhabitError, LimitExceeded, ProgramError, WorkerLost
from inhabit.isolates.pool import PoolSettings, WorkerPool
from inhabit.limits import Limits
from tests.isolates.conftest import RSS_GROWTH_BYTES, children, descriptors, resident_bytes

BOUNDS = {"cpu_ms": 400, "memory_bytes": 64 * 1024 * 1024, "calls": 500, "log_bytes": 64 * 1024, "value_bytes": 1024 * 1024}
CALLS_ANSWERED = 2_000
LANGUAGES: tuple[Language, ...] = ("typescript", "python")

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass
class Arena:
    pool: WorkerPool
    canaries: list[bytes]

    async def run(self, language: Language, source: str, *, tenant: str = "evil") -> Finished | InhabitError:
        """How a program ends. Every call is answered at once."""
        isolate = await self.pool.acquire(language, tenant, Limits(**BOUNDS))
        try:
            async with asyncio.timeout(20):
                prepared = await isolate.prepare(Program(source, language), ("shop",))
                if prepared.problems:
                    return ProgramError(prepared.problems[0].message)
                turn = await isolate.start(Boot(prepared.code, ("shop",), limits=Limits(**BOUNDS)))
                answered = 0
                while turn.finished is None and answered < CALLS_ANSWERED:
                    self._clean(str(turn).encode())
                    if not turn.calls:
                        return WorkerLost("the guest waits for nothing")
                    answered += len(turn.calls)
                    turn = await isolate.deliver([Delivery("result", call.sequence, b"1", 0) for call in turn.calls])
                self._clean(str(turn).encode())
                return turn.finished or LimitExceeded("still calling")
        except InhabitError as error:
            self._clean(str(error.as_value()).encode())
            return error
        finally:
            await isolate.close()

    def _clean(self, text: bytes) -> None:
        assert not any(canary in text for canary in self.canaries)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def open_arena(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Arena]:
    """One pool for all the programs; when it is closed, nothing of it may be left."""
    before = descriptors(), children()
    canary = os.environ["CANARY_ENV"] = f"CANARY_ENV_{uuid.uuid4().hex}"
    pool = WorkerPool(tmp_path_factory.mktemp("images"), settings=PoolSettings(min_spare=1))
    await pool.start()
    assert [layer.name for layer in pool.layers if not layer.active] == []
    yield Arena(pool, [canary.encode(), b"root:x:0:0"])
    await pool.close()
    del os.environ["CANARY_ENV"]
    await asyncio.sleep(0)
    gc.collect()
    assert (descriptors(), children()) == before


@pytest_asyncio.fixture(loop_scope="module")
async def arena(open_arena: Arena) -> AsyncIterator[Arena]:
    """The oracles after each program: the host has not grown, and the honest neighbours are answered."""
    was_resident = resident_bytes()
    yield open_arena
    for language in LANGUAGES:
        honest = await open_arena.run(language, "return 6 * 7", tenant="honest")
        assert isinstance(honest, Finished)
        assert honest.value == b"42"
    gc.collect()
    assert resident_bytes() - was_resident < RSS_GROWTH_BYTES


STOPPED = {   # programs that only a limit ends
    ("typescript", "B01_infinite_loop"): "while (true) {}",
    ("typescript", "B02_loop_swallowing_everything"): "while (true) { try { while (true) {} } catch (e) {} }",
    ("typescript", "B03_finally_loop"): "try { while (true) {} } finally { while (true) {} }",
    ("typescript", "B01_microtask_loop"): "const f = () => Promise.resolve().then(f); await f()",
    ("typescript", "B13_regex_backtrack"): "return /^(a+)+$/.test('a'.repeat(60) + 'b')",
    ("typescript", "B28_gc_churn"): "while (true) { const a = []; for (let i = 0; i < 1000; i++) a.push({i}) }",
    ("python", "B01_infinite_loop"): "while True: pass",
    ("python", "B02_loop_swallowing_everything"): "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
    ("python", "B03_finally_loop"): "try:\n    while True: pass\nfinally:\n    while True: pass",
}
HELD = {   # programs that end in an error or a bounded value
    ("typescript", "B04_memory_list"): "const a = []; while (true) a.push(new Array(10000).fill(a.length))",
    ("typescript", "B05_string_doubling"): "let s = 'x'; while (true) s += s",
    ("typescript", "B06_repeat"): "return 'a'.repeat(2 ** 31).length",
    ("typescript", "B07_shift"): "return (1n << (10n ** 10n)).toString().length",
    ("typescript", "B10_pad"): "return 'x'.padStart(2 ** 30).length",
    ("typescript", "B12_join"): "return new Array(1e9).join('abcdef').length",
    ("typescript", "B14_json_bomb"): "return JSON.parse('['.repeat(100000) + ']'.repeat(100000))",
    ("typescript", "B17_print_flood"): "for (let i = 0; i < 100000; i++) console.log('x'.repeat(1000)); return 1",
    ("typescript", "B18_huge_exception"): "throw new Error('x'.repeat(10_000_000))",
    ("typescript", "B19_host_call_flood"): "while (true) await shop.list.all({})",
    ("typescript", "B19_concurrent_calls"): "await Promise.all(Array.from({length: 10000}, () => shop.list.all({})))",
    ("typescript", "A15_deep_parens"): "return " + "(" * 20_000 + ")" * 20_000,
    ("typescript", "A16_deep_data"): "let a = []; for (let i = 0; i < 100000; i++) a = [a]; return a",
    ("typescript", "A08_constructor"): "return shop.list.all.constructor('return process')().env",
    ("typescript", "A10_reentry"): "await shop.list.all({toJSON() { return shop.list.all({}) }, get x() { return shop.list.all({}) }}); return 1",
    ("typescript", "A20_globals"): "return [typeof process, typeof require, typeof std, typeof os, typeof WebAssembly, typeof Deno]",
    ("typescript", "B22_sleep_forever"): "await new Promise(() => {})",
    ("python", "B04_memory_list"): "a = []\nwhile True: a.append('x' * 100000)",
    ("python", "B05_string_doubling"): "s = 'x'\nwhile True: s += s",
    ("python", "B06_repeat"): "return len('a' * 10 ** 11)",
    ("python", "B07_shift"): "return 1 << 10 ** 10",
    ("python", "B08_power"): "return 7 ** 10 ** 7",
    ("python", "B10_width"): "return len(f'{1:>{10 ** 10}}')",
    ("python", "B12_join"): "return len(','.join('x' * 1000 for _ in range(10 ** 6)))",
    ("python", "B17_print_flood"): "for i in range(100000): print('x' * 1000)",
    ("python", "B18_huge_exception"): "raise ValueError('x' * 10_000_000)",
    ("python", "B19_host_call_flood"): "while True: await shop.list.all()",
    ("python", "A01_subclasses_walk"): "return ().__class__.__base__.__subclasses__()",
    ("python", "A13_import"): "import ctypes\nreturn ctypes",
    ("python", "A15_deep_parens"): "return " + "(" * 20_000 + ")" * 20_000,
    ("python", "A16_deep_data"): "a = []\nfor i in range(100000): a = [a]\nreturn a",
    ("python", "A20_open"): "return open('/etc/passwd').read()",
    ("python", "A20_environ"): "import os\nreturn dict(os.environ)",
}


@pytest.mark.parametrize("case", STOPPED, ids="_".join)
async def test_stopped_at_its_limit(arena: Arena, case: tuple[Language, str]) -> None:
    end = await arena.run(case[0], STOPPED[case])
    assert isinstance(end, LimitExceeded), end
    assert end.details["limit"] == "cpu_ms"


@pytest.mark.parametrize("case", HELD, ids="_".join)
async def test_held(arena: Arena, case: tuple[Language, str]) -> None:
    end = await arena.run(case[0], HELD[case])
    if isinstance(end, Finished):
        assert len(end.value) <= BOUNDS["value_bytes"]


async def test_H06_a_crash_loop_of_one_tenant_leaves_the_others_alone(arena: Arena) -> None:
    for _ in range(4):
        assert isinstance(await arena.run("typescript", "while (true) {}"), LimitExceeded)
        assert isinstance(await arena.run("typescript", "return 1", tenant="other"), Finished)
