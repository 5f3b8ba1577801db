"""The functions put into the interpreter's binary: stand-ins for its imports, and the ends of a turn.

A turn is one call from the host: `inhabit_start` or `inhabit_turn`. Inside, WebAssembly alone makes the text,
calls the boot script's hooks, drains the job queue after every single delivery, and leaves the address and size
of the answer in fixed cells. So the host pays one call a turn, and the order "settle one, drain, settle the next"
is not the host's to get wrong.

The cells (`Cells`) are one block of guest memory at an address fixed in the image.
"""

from __future__ import annotations

from dataclasses import dataclass

from inhabit.isolates.javascript.wasm import I32, I64, Function, Surgery, signed, unsigned

__all__ = ["ANSWERED", "CELL_BYTES", "Cells", "Hooks", "added", "stubs"]

ANSWERED = 0
"""What `inhabit_start`, `inhabit_turn` and `inhabit_check` give when an answer lies in the cells."""
_HOOK_FAILED, _NO_ANSWER = 2, 1
CELL_BYTES = 64
_UNDEFINED = 3 << 32  # QuickJS values are 64 bits: tag above, payload below (NaN boxing)
_EXCEPTION_TAG = 6
_EVAL_STRICT, _EVAL_COMPILE_ONLY = 1 << 3, 1 << 5
_BAD_DESCRIPTOR, _NOT_SUPPORTED = 8, 52


@dataclass(frozen=True, slots=True)
class Cells:
    """Addresses in guest memory. `base` 0: not known yet (the build's first stage)."""

    base: int = 0
    input: int = 0          # the fixed buffer for what is delivered
    file_name: int = 0      # the program's name in stack traces, zero-terminated

    @property
    def clock_ns(self) -> int:
        return self.base

    @property
    def argument(self) -> int:
        return self.base + 8

    @property
    def job_context(self) -> int:
        return self.base + 16

    @property
    def answer(self) -> int:
        return self.base + 20

    @property
    def answer_size(self) -> int:
        return self.base + 24

    @property
    def memory_pages(self) -> int:
        """How far the memory has grown, written with each answer."""
        return self.base + 28


@dataclass(frozen=True, slots=True)
class Hooks:
    """The boot script's functions as QuickJS values, and the interpreter's runtime and context pointers."""

    runtime: int
    context: int
    boot: int
    run: int
    fail: int
    turn: int
    step: int
    finish: int


def _i32(value: int) -> bytes:
    return b"\x41" + signed(value)


def _i64(value: int) -> bytes:
    return b"\x42" + signed(value - (1 << 64) if value >= 1 << 63 else value)


def _get(local: int) -> bytes:
    return b"\x20" + unsigned(local)


def _set(local: int) -> bytes:
    return b"\x21" + unsigned(local)


def _tee(local: int) -> bytes:
    return b"\x22" + unsigned(local)


def _if(body: bytes, otherwise: bytes = b"") -> bytes:
    return b"\x04\x40" + body + (b"\x05" + otherwise if otherwise else b"") + b"\x0b"


_RETURN, _DROP = b"\x0f", b"\x1a"
_STORE32, _STORE64, _LOAD32, _LOAD64 = b"\x36\x02\x00", b"\x37\x03\x00", b"\x28\x02\x00", b"\x29\x03\x00"
_NOT_EQUAL, _IS_ZERO, _LESS, _MINUS, _NARROW = b"\x47", b"\x45", b"\x48", b"\x6b", b"\xa7"
_MEMORY_SIZE = b"\x3f\x00"
_IS_EXCEPTION = b"\x42\x20\x88\xa7" + _i32(_EXCEPTION_TAG) + b"\x46"  # (value >> 32) == tag


def stubs(cells: Cells) -> dict[str, Function]:
    """Own functions in place of every import. Time is the clock cell; there is no other source of anything."""
    clock = _i64(0) if cells.base == 0 else _i32(cells.clock_ns) + _LOAD64
    none = Function((), (), (), b"")

    def gives(value: int) -> Function:
        return Function((), (), (), _i32(value))

    return {
        "host_get_timezone_offset": gives(0),
        "host_interrupt": gives(0),
        "host_promise_rejection": none,
        "host_module_normalize": gives(0),
        "host_module_load": gives(0),
        "host_call": Function((), (), (), b"\x00"),
        "clock_time_get": Function((), (), (), _get(2) + clock + _STORE64 + _i32(0)),
        "fd_close": gives(_BAD_DESCRIPTOR),
        "fd_fdstat_get": gives(_BAD_DESCRIPTOR),
        "fd_seek": gives(_BAD_DESCRIPTOR),
        "fd_write": gives(_NOT_SUPPORTED),
        "random_get": gives(0),  # the boot script brings its own seeded generator
    }


_ADDED = ("inhabit_hook", "inhabit_fail", "inhabit_drain", "inhabit_finish", "inhabit_begin",
          "inhabit_start", "inhabit_turn", "inhabit_check")


class _Author:
    """Writes the added functions against one module's function indices, cells and hooks."""

    def __init__(self, module: Surgery, cells: Cells, hooks: Hooks) -> None:
        self.module, self.cells, self.hooks = module, cells, hooks
        self.context = _i32(hooks.context)

    def call(self, name: str) -> bytes:
        index = self.module.added_index(name, _ADDED) if name in _ADDED else self.module.functions[name]
        return b"\x10" + unsigned(index)

    def plain_call(self, hook: int) -> bytes:
        """Call a hook with no argument; its value is on the stack."""
        return (self.context + _i64(hook) + _i64(_UNDEFINED) + _i32(0) + _i32(self.cells.argument)
                + self.call("JS_Call"))

    def free_value(self, local: int) -> bytes:
        return self.context + _get(local) + self.call("JS_FreeValue")

    def hook(self) -> Function:
        """(function, argument) -> value; takes the argument's reference."""
        return Function((I64, I64), (I64,), (I64,), (
            _i32(self.cells.argument) + _get(1) + _STORE64
            + self.context + _get(0) + _i64(_UNDEFINED) + _i32(1) + _i32(self.cells.argument) + self.call("JS_Call")
            + _set(2) + self.free_value(1) + _get(2)))

    def fail(self) -> Function:
        """Hand the pending exception to the boot script: the program has failed with it."""
        return Function((), (), (I64,), (
            _i64(self.hooks.fail) + self.context + self.call("JS_GetException") + self.call("inhabit_hook")
            + _set(0) + self.free_value(0)))

    def drain(self) -> Function:
        """Run jobs until none is left."""
        run = _i32(self.hooks.runtime) + _i32(self.cells.job_context) + self.call("JS_ExecutePendingJob")
        return Function((), (), (I32,), (
            b"\x03\x40" + run + _tee(0) + _if(_get(0) + _i32(0) + _LESS + _if(self.call("inhabit_fail")) + b"\x0c\x01")
            + b"\x0b"))

    def finish(self) -> Function:
        answer = (self.context + _i32(self.cells.answer_size) + _get(0) + _i32(0) + self.call("JS_ToCStringLen2"))
        return Function((), (I32,), (I64, I32), (
            self.plain_call(self.hooks.finish) + _tee(0) + _IS_EXCEPTION + _if(_i32(_NO_ANSWER) + _RETURN)
            + answer + _set(1) + self.free_value(0)
            + _get(1) + _IS_ZERO + _if(_i32(_NO_ANSWER) + _RETURN)
            + _i32(self.cells.answer) + _get(1) + _STORE32
            + _i32(self.cells.memory_pages) + _MEMORY_SIZE + _STORE32 + _i32(ANSWERED)))

    def begin(self) -> Function:
        """(address, size) -> the text as a value; releases the last answer and the buffer, if it was allocated."""
        last = _i32(self.cells.answer) + _LOAD32
        return Function((I32, I32), (I64,), (I64,), (
            last + _if(self.context + last + self.call("JS_FreeCString") + _i32(self.cells.answer) + _i32(0) + _STORE32)
            + self.context + _get(0) + _get(1) + self.call("JS_NewStringLen") + _set(2)
            + _get(0) + _i32(self.cells.input) + _NOT_EQUAL + _if(_get(0) + self.call("free"))
            + _get(2)))

    def evaluate(self, code: int, size: int, flags: int) -> bytes:
        return (self.context + _get(code) + _get(size) + _i32(self.cells.file_name) + _i32(flags) + self.call("JS_Eval"))

    def accept(self, hook: int, local: int) -> bytes:
        """Begin with locals 0 and 1 and give the text to `hook`; its value goes to `local`; return on failure."""
        failed = _if(_i32(_HOOK_FAILED) + _RETURN)
        return (_get(0) + _get(1) + self.call("inhabit_begin") + _tee(local) + _IS_EXCEPTION + failed
                + _i64(hook) + _get(local) + self.call("inhabit_hook") + _tee(local) + _IS_EXCEPTION + failed)

    def start(self) -> Function:
        """(boot, size, code, size) -> status."""
        ran = (_i64(self.hooks.run) + _get(4) + self.call("inhabit_hook") + _tee(4)
               + _IS_EXCEPTION + _if(self.call("inhabit_fail"), self.free_value(4)))
        return Function((I32, I32, I32, I32), (I32,), (I64,), (
            self.accept(self.hooks.boot, 4) + self.free_value(4)
            + self.evaluate(2, 3, _EVAL_STRICT) + _set(4) + _get(2) + self.call("free")
            + _get(4) + _IS_EXCEPTION + _if(self.call("inhabit_fail"), ran)
            + self.call("inhabit_drain") + self.call("inhabit_finish")))

    def turn(self) -> Function:
        """(deliveries, size) -> status. The hook says how many deliveries there are; each is settled and drained."""
        one = (self.plain_call(self.hooks.step) + _tee(2) + _IS_EXCEPTION + _if(self.call("inhabit_fail"), self.free_value(2))
               + self.call("inhabit_drain") + _get(3) + _i32(1) + _MINUS + _set(3))
        return Function((I32, I32), (I32,), (I64, I32), (
            self.accept(self.hooks.turn, 2) + _get(2) + _NARROW + _set(3)
            + b"\x03\x40" + _get(3) + _if(one + b"\x0c\x01") + b"\x0b"
            + self.call("inhabit_finish")))

    def check(self) -> Function:
        """(code, size) -> status: compile without running; a syntax error is in the answer."""
        return Function((I32, I32), (I32,), (I64,), (
            self.evaluate(0, 1, _EVAL_STRICT | _EVAL_COMPILE_ONLY) + _tee(2)
            + _IS_EXCEPTION + _if(self.call("inhabit_fail"), self.free_value(2))
            + self.call("inhabit_finish")))


def added(module: Surgery, cells: Cells, hooks: Hooks) -> dict[str, Function]:
    """The functions to put into `module`, by export name."""
    author = _Author(module, cells, hooks)
    return {name: getattr(author, name.removeprefix("inhabit_"))() for name in _ADDED}
