"""Hostile programs and hostile frames by the thousand: what is left of the host afterwards.

    python -m bench.hostile [--json] [--quick] [--programs N] [--fuzz-s S]

`hostile.programs` generated programs of both languages ran through the whole app: jailed pool, bridge, journal.
`hostile.host_crashes` are errors other than `InhabitError`, runs that did not end and what the event loop caught. `leaked_fds`
and `rss_growth_mb` compare the host after the first tenth (caches are warm then) with the end. `hostile.fuzz_uncaught`
are errors other than `InhabitError` that mutated frames of a worker got out of channel, decoders, bridge or driver.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from bench.hostile_frames import Fuzzed, fuzz, kit
from bench.hostile_programs import Language, program
from bench.report import Report
from inhabit.app import Inhabit
from inhabit.errors import InhabitError

_SEED = 20_261_121
_LIMITS = {"cpu_ms": 250, "wall_ms": 3_000, "memory_bytes": 64 * 1024 * 1024, "calls": 500, "log_bytes": 16 * 1024}
_AT_ONCE = 8


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


async def _programs(count: int, home: Path, report: Report) -> None:
    crashes: list[str] = []
    states: Counter[str] = Counter()
    asyncio.get_running_loop().set_exception_handler(lambda _, what: crashes.append(f"loop: {what.get('exception') or what['message']!r}"))
    upcoming = iter(range(count))
    async with Inhabit([kit()], home=home, limits=_LIMITS) as app:
        before = (0, 0.0)
        begun = time.monotonic()
        warm = max(1, count // 10)

        async def lane(languages: tuple[Language, ...]) -> None:
            nonlocal before
            for seed in upcoming:
                if seed == warm:
                    before = _held()
                await _one(app, seed, languages[seed % len(languages)], crashes, states)

        await asyncio.gather(*(lane(("typescript", "typescript", "python")) for _ in range(_AT_ONCE)))
        took = time.monotonic() - begun
        after = _held()
    report.figure("hostile.programs", count, "programs")
    report.figure("hostile.programs_per_s", count / took, "1/s")
    report.figure("hostile.host_crashes", len(crashes), "errors")
    report.figure("hostile.leaked_fds", max(0, after[0] - before[0]), "descriptors")
    report.figure("hostile.rss_growth_mb", after[1] - before[1], "MB")
    report.note("ends: " + ", ".join(f"{state} {n}" for state, n in states.most_common(12)))
    for crash in sorted(set(crashes))[:20]:
        report.note(f"crash: {crash}")


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


def _held() -> tuple[int, float]:
    """Open descriptors that outlive an idle pool's workers do not count: sockets of live workers are alike at both looks."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return len(os.listdir("/proc/self/fd")), pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _say_frames(found: Fuzzed, report: Report) -> None:
    report.figure("hostile.fuzzed_frames", found.frames, "frames")
    report.figure("hostile.fuzz_uncaught", len(found.uncaught), "errors")
    for text in sorted(set(found.uncaught))[:20]:
        report.note(f"uncaught: {text}")


if __name__ == "__main__":
    sys.exit(main())
