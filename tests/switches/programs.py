"""Controls of what a program and its worker may take and send: limits, the kill timer, the wire, schemas of arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from inhabit.isolates.pool.channel import Channel, Request
from inhabit.isolates.pool.isolate import PooledIsolate
from inhabit.isolates.pool.watch import Watch
from inhabit.runtime.schemas import Validators
from inhabit.wire import values
from inhabit.wire.frames import FrameParser
from tests.switches.off import Control, gone, replaced, unbounded

PROGRAMS, RESUME, VALUES, AUTHORITY = (f"tests/attacks/test_attack_{name}.py" for name in ("programs", "resume", "values", "authority"))
FRAMES, POOL, LOOKING, JS, JS_ENGINE, PYTHON = (
    f"tests/isolates/test_{name}.py" for name in ("hostile_frames", "pool", "looking", "js_hostile", "js_engine", "python_attacks"))
BRIDGE, DRIVER, SERVICE = (f"tests/runtime/test_{name}.py" for name in ("bridge", "driver", "service"))

_parser: Callable[..., None] = FrameParser.__init__


def _of_any_length(parser: Any, kinds: Any, **_: Any) -> None:
    _parser(parser, kinds, max_bytes=2**40)


def _all_forgiven(channel: Channel, _request: Request) -> None:
    channel.settle()


CONTROLS: dict[str, Control] = {
    "kill timer": Control(gone((Watch, "_end")), (POOL, FRAMES, "-k", "B01_a_loop or B22_a_worker or D19 or longer_than_sent")),
    "limit cpu_ms": Control(unbounded("cpu_ms"), (PROGRAMS, "-k", "stopped_at_its_limit and (B01 or B02 or B03)"), case_s=20),
    "limit wall_ms": Control(unbounded("wall_ms"), (DRIVER, "-k", "B22_wall_limit")),
    "limit call_ms": Control(unbounded("call_ms"), (RESUME, "-k", "B16")),
    "limit memory_bytes": Control(unbounded("memory_bytes"), (JS, PYTHON, "-k", "(B04_to_B12_memory_bombs and (Uint8Array or 3e7)) or (B04_to_B12_memory and not bombs)")),
    "limit log_bytes": Control(unbounded("log_bytes"), (FRAMES, DRIVER, JS_ENGINE, JS, PYTHON, VALUES, "-k", "B17 or limit_of_logs")),
    "limit calls": Control(unbounded("calls"), (FRAMES, DRIVER, JS_ENGINE, PYTHON, RESUME, "-k", "B19_call_flood or limits_of_calls or B19_host_call or (B20 and calls)")),
    "limit calls_in_flight": Control(unbounded("calls_in_flight"), (BRIDGE, JS_ENGINE, JS, PYTHON, "-k", "B19_calls_in_flight or limits_of_calls or B19_a_flood or B19_host_call")),
    "limit value_bytes": Control(unbounded("value_bytes"), (BRIDGE, JS_ENGINE, PYTHON, "-k", "value_bounds or limits_of_calls or B19_timers_and_values")),
    "limit source_bytes": Control(unbounded("source_bytes"), (RESUME, "-k", "B30")),
    "limit input_bytes": Control(unbounded("input_bytes"), (RESUME, "-k", "B14")),
    "limit timers": Control(unbounded("timers"), (JS_ENGINE, PYTHON, "-k", "limit_of_timers or B19_timers_and_values")),
    "limit journal_bytes": Control(unbounded("journal_bytes"), (BRIDGE, RESUME, "-k", "B25_journal_quota or (B20 and journal)")),
    "limit result_tokens": Control(unbounded("result_tokens"), (SERVICE, "-k", "large_result")),
    "wire: length of a frame": Control(replaced(FrameParser, "__init__", _of_any_length), ("tests/wire/test_frames.py", FRAMES, "-k", "D01")),
    "wire: depth and items of a value": Control(gone((values, "_over_bounds")), ("tests/wire/test_values.py", BRIDGE, "-k", "D16 or D15_items or D18_cycles")),
    "wire: integers beyond 64 bits": Control(gone((values, "_exact_integer"), answer=0), ("tests/wire/test_values.py", "-k", "D15_text_that_is_refused")),
    "worker: one count a delivery": Control(gone((PooledIsolate, "_check_counts")), (FRAMES, "-k", "D07_counts")),
    "worker: log text": Control(gone((PooledIsolate, "_check_logs")), (FRAMES, "-k", "B17")),
    "worker: computing unasked": Control(replaced(Channel, "_forgive", _all_forgiven), (LOOKING, "-k", "B01")),
    "schemas of arguments": Control(gone((Validators, "arguments")), (BRIDGE, AUTHORITY, "-k", "failure_is_a_value or A10 or B13_a_pattern or recursive_schema")),
}
