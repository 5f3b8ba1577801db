"""One running program: deliveries in, answers out, limits kept.

CPU is budgeted on the thread's own clock, so waiting costs nothing. Each turn gets the time that is left as its
deadline, which `Stopper` keeps; behind it is the parent's kill timer.

When memory runs out, allocation fails inside the guest as an `InternalError: out of memory`, which a program may
catch; uncaught, it ends the run as `LimitExceeded` of `memory_bytes`, as does running out inside the glue.
After any `LimitExceeded` or trap the guest is dead and its machine is dropped.
"""

from __future__ import annotations

import hashlib
import struct
import time
from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import attrgetter

import orjson

from inhabit.contracts.program import Boot, Delivery, Finished, IssuedCall, LogLine, Timer, Turn, Usage
from inhabit.errors import LimitExceeded, WorkerLost
from inhabit.isolates.javascript.abi import Machine, Trapped, Why
from inhabit.isolates.javascript.image import INPUT_BYTES, Image, Layout
from inhabit.isolates.javascript.shims import ANSWERED

__all__ = ["JavaScriptGuest", "compile_answer"]

_RECORD, _FIELD = b"\x1e", b"\x1f"
_KINDS = {"result": 0, "error": 1, "timer": 2}
_clock_of = attrgetter("clock_ms")
_ANSWER = struct.Struct("<II")
_ANSWER_WORDS = 3   # address, size, pages of memory
_PAGE_BYTES = 64 * 1024
_CLOCK = struct.Struct("<q")
_OUT_OF_MEMORY = b'"code":"out_of_memory"'
_WORDLESS = (b'"message":"null"', b'"message":"Invalid error message"')  # thrown where no error could be made any more
_NEARLY_FULL_BYTES = 1024 * 1024


class JavaScriptGuest:
    """Implements `inhabit.contracts.program.Guest`."""

    def __init__(self, image: Image, boot: Boot) -> None:
        limits = boot.limits
        self._boot = boot
        self._limits = limits
        self._layout = image.layout
        self._dead = False
        self._cpu_ns = 0
        self._clock_ms = 0
        try:
            machine = image.machine(memory_bytes=limits.memory_bytes)
        except Trapped as trapped:
            raise self._memory_limit() from trapped
        self._machine = machine
        self._stopper = image.stopper
        self._budget_ns = limits.cpu_ms * 1_000_000
        self._room = machine.function("malloc", 1)
        self._start = machine.function("inhabit_start", 4)
        self._turn = machine.function("inhabit_turn", 2)
        self._answered = machine.words(image.layout.answer, _ANSWER_WORDS)

    def start(self) -> Turn:
        if self._dead:
            raise WorkerLost("this guest is dead")
        boot = self._boot
        code = boot.code.encode("utf-8", "surrogatepass") + b"\0"
        head = orjson.dumps({
            "names": boot.names, "seed": struct.unpack("<4I", hashlib.sha256(str(boot.seed).encode()).digest()[:16]),
            "limits": {name: getattr(boot.limits, name) for name in ("calls", "calls_in_flight", "value_bytes", "timers", "log_bytes")},
        })
        given = head[:-1] + b',"input":' + (boot.input or b"null") + b"}"
        self._set_clock(boot.clock_ms)
        began = self._begin()
        try:
            at = self._place(given)
            code_at = self._allocate(code)
            answer = self._answer(self._start(at, len(given), code_at, len(code) - 1))
        except Trapped as trapped:
            raise self._stopped(trapped) from None
        return self._read(answer, began)

    def deliver(self, deliveries: Sequence[Delivery]) -> Turn:
        if self._dead:
            raise WorkerLost("this guest is dead")
        began = self._begin()
        try:
            if len(deliveries) == 1:
                answer = self._settle(deliveries[0].clock_ms, deliveries)
            else:
                answer = b"".join([self._settle(clock_ms, group) for clock_ms, group in groupby(deliveries, key=_clock_of)])
        except Trapped as trapped:
            raise self._stopped(trapped) from None
        return self._read(answer, began)

    def _settle(self, clock_ms: int, deliveries: Iterable[Delivery]) -> bytes:
        """One turn for all that came at one time."""
        self._set_clock(clock_ms)
        given = b"[%b]" % b",".join([b"%d,%d,%b" % (_KINDS[kind], id, value or b"null") for kind, id, value, _ in deliveries])
        return self._answer(self._turn(self._place(given), len(given)))

    def close(self) -> None:
        self._dead = True
        self._machine.close()

    def _begin(self) -> int:
        """The time, from which this turn has what is left of the budget."""
        began = time.thread_time_ns()
        self._stopper.deadline_ns = began + self._budget_ns - self._cpu_ns
        return began

    # ---- memory and clock -----------------------------------------------------------------------------------

    def _set_clock(self, clock_ms: int) -> None:
        if clock_ms != self._clock_ms:
            self._clock_ms = clock_ms
            self._machine.write(self._layout.clock, _CLOCK.pack(clock_ms * 1_000_000))

    def _place(self, data: bytes) -> int:
        """Put what is delivered into the fixed buffer, or into one of its own that the turn frees."""
        if len(data) > INPUT_BYTES:
            return self._allocate(data)
        self._machine.write(self._layout.input, data)
        return self._layout.input

    def _allocate(self, data: bytes) -> int:
        at = self._room(len(data)) & 0xFFFFFFFF
        if at == 0:
            raise self._stop(self._memory_limit())
        self._machine.write(at, data)
        return at

    def _answer(self, status: int) -> bytes:
        if status != ANSWERED:
            raise self._stop(self._memory_limit())
        at, size, _ = self._answered
        return self._machine.read(at, size)

    # ---- limits -----------------------------------------------------------------------------------------------

    def _stop(self, error: LimitExceeded | WorkerLost) -> LimitExceeded | WorkerLost:
        self.close()
        return error

    def _memory_limit(self) -> LimitExceeded:
        return LimitExceeded.of("memory_bytes", self._limits.memory_bytes, "bytes", what="the program",
                                fix="hold less at once, or ask for a higher memory_bytes")

    def _cpu_limit(self) -> LimitExceeded:
        return LimitExceeded.of("cpu_ms", self._limits.cpu_ms, "ms of computing", what="the program",
                                fix="compute less, or ask for a higher cpu_ms")

    def _stopped(self, trapped: Trapped) -> LimitExceeded | WorkerLost:
        if trapped.why is Why.TIME:
            return self._stop(self._cpu_limit())
        if trapped.why is Why.STACK:
            return self._stop(LimitExceeded.of("stack_bytes", 2 * 1024 * 1024, "bytes", what="the program", fix="recurse less deeply"))
        return self._stop(WorkerLost(f"the JavaScript engine stopped: {trapped}"))

    # ---- answers ------------------------------------------------------------------------------------------------

    def _read(self, answer: bytes, began: int) -> Turn:
        calls: list[IssuedCall] = []
        logs: list[LogLine] = []
        before: list[int] = []
        timer: Timer | None = None
        finished: Finished | None = None
        for record in answer.split(_RECORD)[:-1]:
            kind, *fields = record.split(_FIELD)
            if kind == b"C":
                calls.append(IssuedCall(int(fields[0]), fields[1].decode(), fields[2]))
            elif kind == b"D":
                before.append(int(fields[0]))
                timer = None   # a batch of several times is answered in parts, and the last part knows which timer is left
            elif kind == b"L":
                logs.append(LogLine(fields[0].decode(), orjson.loads(fields[1])))  # type: ignore[arg-type]
            elif kind == b"T":
                timer = Timer(int(fields[0]), int(fields[1]))
            else:
                finished = Finished(fields[0] == b"1", fields[1])
                timer = None
        self._cpu_ns += time.thread_time_ns() - began
        if self._cpu_ns > self._budget_ns:
            raise self._stop(self._cpu_limit())
        memory = self._answered[2] * _PAGE_BYTES
        if finished is not None and not finished.ok and self._ran_out(finished.value, memory):
            raise self._stop(self._memory_limit())
        return Turn(tuple(calls), tuple(before), finished, timer, tuple(logs),
                    Usage(self._cpu_ns / 1e6, memory))

    def _ran_out(self, error: bytes, memory: int) -> bool:
        full = memory > self._limits.memory_bytes - _NEARLY_FULL_BYTES
        return _OUT_OF_MEMORY in error or (full and any(words in error for words in _WORDLESS))


def compile_answer(machine: Machine, layout: Layout, code: bytes) -> bytes | None:
    """Compile `code` in a fresh machine without running it: None, or the error as JSON. Raises `Trapped`."""
    at = machine.function("malloc", 1)(len(code) + 1) & 0xFFFFFFFF
    if at == 0:
        raise Trapped(Why.OTHER, "no memory for the source")
    machine.write(at, code + b"\0")
    if machine.function("inhabit_check", 2)(at, len(code)) != ANSWERED:
        raise Trapped(Why.OTHER, "no memory for the answer")
    answer, size = _ANSWER.unpack(machine.read(layout.answer, 8))
    record = machine.read(answer, size).rstrip(_RECORD).split(_FIELD)
    return record[2] if record[0] == b"F" else None
