"""Isolates beside their peers, in one run: `python -m bench.isolates [--json] [--quick]`.

Ours is measured as it is used: through the pool, in jailed workers, over the wire, on uvloop. `create_run_close` is
acquire, start, close of an already prepared program in a worker that serves the tenant; `prepare` (strip types,
parse, find calls) is shown apart. `call.raw` is one sequential host call answered at once, seen from the program.
`cold_tenant` is a tenant's first run while spares wait, as in a server at rest; it says nothing of a burst of tenants.
workerd is asked over HTTP; the cost of an empty request is taken off, and, where host calls are counted, that of an
empty program too, as for ours. Its host calls go to its own parent worker, ours to this process. The bodies of the
1 MB case are parsed on neither side outside the isolate. Monty bare runs without a jail and without a wire.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop
from pydantic_monty import Monty

from bench import peers
from bench.report import Report, options, peers_folder, percentile
from inhabit.contracts.program import Boot, Delivery, Language, Program, Turn
from inhabit.errors import InhabitError
from inhabit.isolates.pool import PoolSettings, WorkerPool
from inhabit.isolates.pool.isolate import PooledIsolate
from inhabit.limits import Limits

BOUNDS = Limits(cpu_ms=60_000, calls=1_000_000)
ROW = {"id": 1, "name": "a row of the table", "tags": ["red", "green"], "price": 12.5, "stock": None, "active": True}
MEGABYTE = json.dumps([ROW] * (1_000_000 // len(json.dumps(ROW)))).encode()


class Ours:
    def __init__(self, pool: WorkerPool) -> None:
        self.pool = pool

    async def prepared(self, source: str, language: Language = "typescript") -> str:
        isolate = await self.pool.acquire(language, "bench", BOUNDS)
        code = (await isolate.prepare(Program(source, language), ("host",))).code
        await isolate.close()
        return code

    async def run(self, code: str, language: Language = "typescript", *, tenant: str = "bench", given: bytes = b"null") -> Turn:
        isolate = await self.pool.acquire(language, tenant, BOUNDS)
        try:
            return await finish(isolate, await isolate.start(Boot(code, ("host",), given, limits=BOUNDS)))
        finally:
            await isolate.close()


async def finish(isolate: PooledIsolate, turn: Turn) -> Turn:
    """Answer every call at once, until the program ends."""
    while turn.finished is None:
        turn = await isolate.deliver([Delivery("result", call.sequence, b"3", 0) for call in turn.calls])
    if not turn.finished.ok:
        raise RuntimeError(f"the program failed: {turn.finished.value[:300]!r}")
    return turn


async def timed(rounds: int, act: Callable[[], Awaitable[object]]) -> list[float]:
    """Milliseconds of each round, after three that do not count."""
    times: list[float] = []
    for number in range(rounds + 3):
        began = time.perf_counter()
        await act()
        if number >= 3:
            times.append((time.perf_counter() - began) * 1000)
    return times


class Peers:
    """What the peers of this run measured; absent ones are said to be absent and leave no figure."""

    def __init__(self, report: Report, quick: bool) -> None:
        self.values: dict[str, float] = {}
        self._report = report
        self._quick = quick

    def measure(self) -> None:
        for name, act in (("workerd", self._workerd), ("socket pair", self._socket_pair), ("monty", self._monty), ("deno", self._processes), ("node", self._processes),
                          ("bubblewrap", self._processes)):
            try:
                act(name)
            except (RuntimeError, OSError) as error:
                self._report.note(f"peer {name} is absent: {error}")

    def _workerd(self, _name: str) -> None:
        workerd = peers.Workerd()
        with contextlib.closing(workerd):
            rounds = 60 if self._quick else 300
            http_ms = statistics.median(workerd.round_trip_s() for _ in range(rounds)) * 1000
            self.values["workerd.run_ms"] = percentile(self._times(workerd, rounds, "return 1 + 1"), 0.5) - http_ms
            self.values["workerd.run_p99_ms"] = percentile(self._times(workerd, rounds, "return 1 + 1"), 0.99) - http_ms
            calls = 1_000
            loop = f"let s = 0; for (let i = 0; i < {calls}; i++) s = await HOST.add(s, 1); return s"
            self.values["workerd.call_us"] = (
                percentile(self._times(workerd, 7 if self._quick else 15, loop), 0.5) - http_ms - self.values["workerd.run_ms"]) / calls * 1000
            together = "return (await Promise.all(Array.from({length: 100}, (_, i) => HOST.add(i, 1)))).length"
            self.values["workerd.concurrent_ms"] = percentile(self._times(workerd, 15, together), 0.5) - http_ms - self.values["workerd.run_ms"]
            self.values["workerd.json_ms"] = percentile(self._times(workerd, 10, "return input", MEGABYTE), 0.5) - http_ms
            before, held = workerd.resident_mb(), 100
            workerd.run("return 1 + 1", hold=held)
            self.values["workerd.memory_mb"] = (workerd.resident_mb() - before) / held

    @staticmethod
    def _times(workerd: peers.Workerd, rounds: int, body: str, given: bytes = b"null") -> list[float]:
        times: list[float] = []
        for _ in range(rounds):
            began = time.perf_counter()
            workerd.run(body, given=given)
            times.append((time.perf_counter() - began) * 1000)
        return times

    def _socket_pair(self, _name: str) -> None:
        self.values["socket.round_trip_us"] = peers.socket_round_trip_us(5_000)

    def _monty(self, _name: str) -> None:
        times: list[float] = []
        with Monty(max_processes=1) as pool:
            for _ in range(200):
                began = time.perf_counter()
                with pool.checkout() as session:
                    session.feed_run("1 + 1")
                times.append((time.perf_counter() - began) * 1000)
        self.values["monty.run_ms"] = percentile(times[20:], 0.5)

    def _processes(self, name: str) -> None:
        command = {"deno": peers.deno, "node": peers.node, "bubblewrap": peers.bubblewrapped_node}[name]()
        self.values[f"{name}.run_ms"] = percentile(peers.process_ms(command, 10 if self._quick else 40), 0.5)


async def ours(report: Report, beside: dict[str, float], quick: bool) -> None:
    pool = WorkerPool(peers_folder() / "images", settings=PoolSettings(min_spare=3))
    await pool.start()
    try:
        for layer in pool.layers:
            if not layer.active:
                report.note(f"measured without the jail layer {layer.name}: {layer.detail}")
        own = Ours(pool)
        await javascript(report, own, beside, 100 if quick else 500)
        await calls(report, own, beside, quick)
        await large_values(report, own, beside)
        await python(report, own, beside, 100 if quick else 500)
        await memory(report, pool, beside)
        await two_cores(report, own)
    finally:
        await pool.close()


async def javascript(report: Report, own: Ours, beside: dict[str, float], rounds: int) -> None:
    code = await own.prepared("return 1 + 1")
    times = await timed(rounds, lambda: own.run(code))
    report.figure("isolate.javascript.create_run_close.p50_ms", percentile(times, 0.5), "ms", peer="workerd", peer_value=beside.get("workerd.run_ms"))
    report.figure("isolate.javascript.create_run_close.p99_ms", percentile(times, 0.99), "ms", peer="workerd", peer_value=beside.get("workerd.run_p99_ms"))
    for name in ("deno", "node", "bubblewrap"):
        if f"{name}.run_ms" in beside:
            report.figure(f"isolate.javascript.beside_{name}.p50_ms", percentile(times, 0.5), "ms", peer=name, peer_value=beside[f"{name}.run_ms"])
    report.figure("isolate.javascript.prepare.p50_ms", percentile(await timed(rounds, lambda: own.prepared("return 1 + 1")), 0.5), "ms")
    cold: list[float] = []
    for number in range(rounds // 5):
        while own.pool.spares["typescript"] < 2:   # noqa: ASYNC110 - as a server at rest: its spares are there
            await asyncio.sleep(0.005)
        began = time.perf_counter()
        await own.run(code, tenant=f"tenant-{number}")
        cold.append((time.perf_counter() - began) * 1000)
    report.figure("isolate.javascript.cold_tenant.p50_ms", percentile(cold, 0.5), "ms")
    report.figure("isolate.javascript.cold_tenant.p99_ms", percentile(cold, 0.99), "ms")


async def calls(report: Report, own: Ours, beside: dict[str, float], quick: bool) -> None:
    number = 1_000
    loop = await own.prepared(f"let s = 0; for (let i = 0; i < {number}; i++) s = await host.add.one({{a: s, b: 1}}); return s")
    nothing = percentile(await timed(20, partial_run(own, await own.prepared("return 0"))), 0.5)
    times = await timed(7 if quick else 25, partial_run(own, loop))
    call_us = (percentile(times, 0.5) - nothing) / number * 1000
    report.figure("call.raw.p50_us", call_us, "us", peer="workerd", peer_value=beside.get("workerd.call_us"))
    report.figure("call.raw.beside_socket.p50_us", call_us, "us", peer="bare socket pair", peer_value=beside.get("socket.round_trip_us"))
    together = await own.prepared("return (await Promise.all(Array.from({length: 100}, (_, i) => host.add.one({a: i, b: 1})))).length")
    times = await timed(30 if quick else 100, partial_run(own, together))
    report.figure("call.concurrent100.p50_ms", percentile(times, 0.5) - nothing, "ms", peer="workerd", peer_value=beside.get("workerd.concurrent_ms"))


def partial_run(own: Ours, code: str) -> Callable[[], Awaitable[Turn]]:
    return lambda: own.run(code)


async def large_values(report: Report, own: Ours, beside: dict[str, float]) -> None:
    echo = await own.prepared("return input")
    times = await timed(10, lambda: own.run(echo, given=MEGABYTE))
    report.figure("isolate.javascript.json_1mb.p50_ms", percentile(times, 0.5), "ms", peer="workerd", peer_value=beside.get("workerd.json_ms"))


async def python(report: Report, own: Ours, beside: dict[str, float], rounds: int) -> None:
    code = await own.prepared("return 1 + 1", "python")
    times = await timed(rounds, lambda: own.run(code, "python"))
    report.figure("isolate.python.create_run_close.p50_ms", percentile(times, 0.5), "ms", peer="Monty bare", peer_value=beside.get("monty.run_ms"))
    report.figure("isolate.python.create_run_close.p99_ms", percentile(times, 0.99), "ms")


async def memory(report: Report, pool: WorkerPool, beside: dict[str, float]) -> None:
    """Private memory of a worker that holds guests in mid-await, less that of the same worker with none."""
    code = await Ours(pool).prepared("const kept = []; for (let i = 0; i < 100; i++) kept.push({i}); await host.wait.long({}); return kept.length")
    first = await pool.acquire("typescript", "memory", BOUNDS)
    pid = first.channel.process.pid
    base = private_mb(pid)
    if base is None:
        report.note("isolate.javascript.memory_mb: the kernel does not let this user see the worker's memory")
        return
    held = [first, *[isolate for isolate in [await pool.acquire("typescript", "memory", BOUNDS) for _ in range(60)] if isolate.channel is first.channel]]
    for isolate in held:
        await isolate.start(Boot(code, ("host",), limits=BOUNDS))
    full = private_mb(pid)
    assert full is not None
    report.figure("isolate.javascript.memory_mb", (full - base) / len(held), "MB", peer="workerd", peer_value=beside.get("workerd.memory_mb"))
    report.figure("isolate.worker.base_mb", base, "MB")
    for isolate in held:
        await isolate.close()


def private_mb(pid: int) -> float | None:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return None
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) * 1024 / 1e6


async def two_cores(report: Report, own: Ours) -> None:
    """The same work twice: one after the other, and at once. The peer is two processes that do nothing else: what this machine gives."""
    code = await own.prepared("let s = 0; for (let i = 0; i < 3_000_000; i++) s = (s * 31 + i) | 0; return s")

    async def busy() -> None:
        process = await asyncio.create_subprocess_exec(sys.executable, "-S", "-c", "for _ in range(5_000_000): pass")
        await process.wait()

    await own.run(code)
    ours, bare = list[float](), list[float]()
    for _ in range(5):
        ours.append(await _at_once(lambda tenant: own.run(code, tenant=tenant)))
        bare.append(await _at_once(lambda _: busy()))
    report.figure("isolate.two_workers.speedup", statistics.median(ours), "x", peer="two busy processes", peer_value=statistics.median(bare))


async def _at_once(work: Callable[[str], Awaitable[object]]) -> float:
    """How much sooner two of it are done at once than one after the other."""
    began = time.perf_counter()
    await work("one")
    await work("one")
    apart = time.perf_counter() - began
    began = time.perf_counter()
    await asyncio.gather(work("one"), work("two"))
    return apart / (time.perf_counter() - began)


def main() -> None:
    given = options(__doc__ or "")
    report = Report(given.json)
    beside = Peers(report, given.quick)
    beside.measure()
    load = os.getloadavg()[0]
    if load > 1.5:
        report.note(f"the machine is busy (load {load:.1f}): figures are worse than it can do")
    try:
        uvloop.run(ours(report, beside.values, given.quick))
    except InhabitError as error:
        raise SystemExit(f"{error.message}; {error.fix or ''}") from None


if __name__ == "__main__":
    main()
