"""Host calls through the whole spine: decided, journaled, carried out, delivered. `python -m bench.calls`.

`call.journaled.p50_us` is the time of one sequential call of an asynchronous Python function with a typed result,
seen from the program's side: total of a run with many calls, less one with none, by the number of calls. Intents
and outcomes are recorded; nothing waits for the disk, since the operation only reads. `call.durable.p50_us` is
the same for a write, whose intent is on disk before it is made.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from bench.report import Options, Report, options, percentile
from inhabit import Capability, Inhabit

_SEQUENTIAL = "for (let i = 0; i < input.n; i++) await bench.OPERATION({ id: i }); return input.n"
_CONCURRENT = "await Promise.all(Array.from({ length: input.n }, (_, id) => bench.read({ id }))); return input.n"


def capability() -> Capability:
    bench = Capability("bench")

    @bench.operation(reads="public")
    async def read(id: int) -> dict[str, int]:
        return {"id": id}

    @bench.operation(writes="internal")
    async def write(id: int) -> dict[str, int]:
        return {"id": id}

    return bench


async def measure(report: Report, given: Options) -> None:
    rounds, calls = (5, 300) if given.quick else (15, 1_000)
    with tempfile.TemporaryDirectory() as home:
        async with Inhabit([capability()], home=Path(home)) as app:
            async def run(source: str, n: int) -> float:
                begun = time.perf_counter()
                result = await app.execute(source, principal="bench", input={"n": n})
                assert result.value == n, result
                return time.perf_counter() - begun

            read, write = _SEQUENTIAL.replace("OPERATION", "read"), _SEQUENTIAL.replace("OPERATION", "write")
            for source in (read, write, _CONCURRENT):
                await run(source, 10)
            per_call = [(await run(read, calls) - await run(read, 0)) / calls * 1e6 for _ in range(rounds)]
            report.figure("call.journaled.p50_us", percentile(per_call, 0.5), "us")
            per_write = [(await run(write, 50) - await run(write, 0)) / 50 * 1e6 for _ in range(rounds)]
            report.figure("call.durable.p50_us", percentile(per_write, 0.5), "us")
            together = [(await run(_CONCURRENT, 100) - await run(_CONCURRENT, 0)) * 1e3 for _ in range(rounds)]
            report.figure("call.journaled_concurrent100.p50_ms", percentile(together, 0.5), "ms")
            whole = [await run(read, 0) * 1e3 for _ in range(rounds * 10)]
            report.figure("execute.p50_ms", percentile(whole, 0.5), "ms")


def main() -> int:
    given = options(__doc__ or "")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(measure(Report(given.json), given))
    return 0


if __name__ == "__main__":
    sys.exit(main())
