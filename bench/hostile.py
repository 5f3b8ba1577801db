"""Hostile programs and hostile frames by the thousand: what is left of the host afterwards.

    python -m bench.hostile [--json] [--quick] [--programs N] [--fuzz-s S]

`hostile.programs` generated programs of both languages ran through the whole app: jailed pool, bridge, journal.
`hostile.host_crashes` are errors other than `InhabitError`, runs that did not end and what the event loop caught. `leaked_fds`
and `rss_growth_mb` compare the host at rest after the first quarter (its caches are full then) with the host at rest
at the end; descriptors are counted once more when the app is closed, against those before it was opened.
`hostile.fuzz_uncaught` are errors other than `InhabitError` that mutated frames of a worker got out of channel,
decoders, bridge or driver.

At rest: nothing runs, and the number of descriptors stands still. A live worker owns two descriptors of the host, its
socket and its pidfd; how many live is a matter of who ran last, so they are taken off by counting the processes. Memory
is what is anonymous after the allocator gave back what it holds free.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import gc
import itertools
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.hostile_frames import Fuzzed, fuzz, kit
from bench.hostile_programs import Language, program
from bench.report import Report
from inhabit.app import Inhabit
from inhabit.errors import InhabitError

_SEED = 20_261_121
_LIMITS = {"cpu_ms": 250, "wall_ms": 3_000, "memory_bytes": 64 * 1024 * 1024, "calls": 500, "log_bytes": 16 * 1024}
_AT_ONCE = 8
_REST_S = 60.0
_STILL_LOOKS = 5


def main() -> None:
    asked = _options()
    report = Report(asked.json)
    with tempfile.TemporaryDirectory(prefix="inhabit-hostile-") as home:
        asyncio.run(_programs(asked.programs, Path(home), report))
    with tempfile.TemporaryDirectory(prefix="inhabit-hostile-") as home:
        found = asyncio.run(fuzz(asked.fuzz_s, _SEED, Path(home)))
    _say_frames(found, report)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="generated hostile programs and fuzzed frames")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--quick", action="store_true", help="at most 45 seconds, the same names")
    parser.add_argument("--programs", type=int, help="programs to run (default 20000)")
    parser.add_argument("--fuzz-s", type=float, dest="fuzz_s", help="seconds of fuzzed frames (default 180)")
    asked = parser.parse_args()
    asked.programs = asked.programs or (400 if asked.quick else 20_000)
    asked.fuzz_s = asked.fuzz_s or (8.0 if asked.quick else 180.0)
    return asked


@dataclass(frozen=True)
class _Held:
    """What the host holds: descriptors that are no live worker's, and bytes."""

    descriptors: int
    bytes: int


async def _programs(count: int, home: Path, report: Report) -> None:
    crashes: list[str] = []
    states: Counter[str] = Counter()
    asyncio.get_running_loop().set_exception_handler(lambda _, what: crashes.append(f"loop: {what.get('exception') or what['message']!r}"))
    closed_before = _held()
    async with Inhabit([kit()], home=home, limits=_LIMITS) as app:
        seeds = iter(range(count))
        took = await _lanes(app, seeds, max(1, count // 4), crashes, states)
        before = await _at_rest()
        took += await _lanes(app, seeds, count, crashes, states)
        after = await _at_rest()
    left_open = _held().descriptors - closed_before.descriptors
    report.figure("hostile.programs", count, "programs")
    report.figure("hostile.programs_per_s", count / took, "1/s")
    report.figure("hostile.host_crashes", len(crashes), "errors")
    report.figure("hostile.leaked_fds", max(0, after.descriptors - before.descriptors, left_open), "descriptors")
    report.figure("hostile.rss_growth_mb", (after.bytes - before.bytes) / 1e6, "MB")
    report.note("ends: " + ", ".join(f"{state} {n}" for state, n in states.most_common(12)))
    for crash in sorted(set(crashes))[:20]:
        report.note(f"crash: {crash}")


async def _lanes(app: Inhabit, seeds: Iterator[int], most: int, crashes: list[str], states: Counter[str]) -> float:
    """Run programs of the next `most` seeds, or of as many as there are. Returns the seconds it took."""
    begun = time.monotonic()
    languages: tuple[Language, ...] = ("typescript", "typescript", "python")
    some = itertools.islice(seeds, most)

    async def lane() -> None:
        for seed in some:
            await _one(app, seed, languages[seed % len(languages)], crashes, states)

    await asyncio.gather(*(lane() for _ in range(_AT_ONCE)))
    return time.monotonic() - begun


async def _one(app: Inhabit, seed: int, language: Language, crashes: list[str], states: Counter[str]) -> None:
    try:
        result = await app.execute(program(seed, language), principal=f"t{seed % 3}/eve", language=language, wait_s=60)
        result.as_value()
        states[result.state if result.error is None else f"{result.state}:{result.error.get('code')}"[:60]] += 1
        if result.state == "running":
            crashes.append(f"{language} {seed}: did not end")
    except InhabitError as error:
        states[f"refused:{error.specific_code}"] += 1
        if error.specific_code not in ("program_invalid", "limit_exceeded", "invalid_input"):
            crashes.append(f"{language} {seed}: {type(error).__name__}: {error}"[:200])
    except Exception as error:  # noqa: BLE001 - what is counted
        crashes.append(f"{language} {seed}: {error!r}"[:200])


async def _at_rest() -> _Held:
    """Once what is held has stood still for a second. Raises `TimeoutError`: it never does."""
    async with asyncio.timeout(_REST_S):
        seen: list[_Held] = []
        while len(seen) < _STILL_LOOKS or len({each.descriptors for each in seen[-_STILL_LOOKS:]}) > 1:
            await asyncio.sleep(1 / _STILL_LOOKS)
            seen.append(_held())
    return seen[-1]


def _held() -> _Held:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    anonymous = next(line for line in Path("/proc/self/smaps_rollup").read_text().splitlines() if line.startswith("Anonymous:"))
    workers = [worker for zygote in _children(os.getpid()) for worker in _children(zygote)]
    return _Held(len(os.listdir("/proc/self/fd")) - 2 * len(workers), int(anonymous.split()[1]) * 1024)


def _children(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _say_frames(found: Fuzzed, report: Report) -> None:
    report.figure("hostile.fuzzed_frames", found.frames, "frames")
    report.figure("hostile.fuzz_uncaught", len(found.uncaught), "errors")
    for text in sorted(set(found.uncaught))[:20]:
        report.note(f"uncaught: {text}")


if __name__ == "__main__":
    sys.exit(main())
