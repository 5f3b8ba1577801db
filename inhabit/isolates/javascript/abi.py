"""The thin edge to wasmtime's C interface: one store and one instance a guest, calls without conversion.

Why not wasmtime-py's own `Func`: it looks up and converts types at every call (about 15 us each); a turn of a
guest here is one unchecked call of about a microsecond. `Machine` is the choke point: every pointer and size
that comes out of a guest's memory is checked in `read` before the host touches it.

Invariants: a machine that trapped is never called again, and one that lost its memory to `Stopper` is never read
again; memory never moves (the reservation is 4 GiB).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from enum import Enum
from typing import Any

import wasmtime
from wasmtime import _ffi as ffi  # pyright: ignore[reportPrivateUsage]

from inhabit.isolates.javascript.stop import Stopper

__all__ = ["Machine", "Native", "Trapped", "Why", "engine_of", "pointer_of"]

_STACK_BYTES = 2 * 1024 * 1024  # native stack of compiled code, the most wasmtime allows; QuickJS meets its own limit first


class Why(Enum):
    STACK = 0
    OTHER = -1
    TIME = -2     # stopped by us: no code of wasmtime's


class Trapped(Exception):
    """The compiled code stopped for good; the machine is dead."""

    def __init__(self, why: Why, text: str) -> None:
        super().__init__(text)
        self.why = why


def engine_of() -> wasmtime.Engine:
    """An engine with the one configuration that images are made for. Starts no threads once a module is loaded."""
    config = wasmtime.Config()
    config.cranelift_opt_level = "speed"
    config.memory_init_cow = True
    config.memory_may_move = False
    config.parallel_compilation = False  # no thread pool: a process with threads is not one to fork from
    config.max_wasm_stack = _STACK_BYTES
    config.cranelift_nan_canonicalization = True
    return wasmtime.Engine(config)


def pointer_of(managed: wasmtime.Engine | wasmtime.Module) -> int:
    """The C object behind one of wasmtime-py's; the caller keeps `managed` alive."""
    return ctypes.cast(managed.ptr(), ctypes.c_void_p).value or 0


_VALUE_BYTES = 16   # of one argument or result, wherever in a call
_VALUES = 8
_WORD_BYTES = 4


class Native:
    """The C functions in use, with our own prototypes (the shared ones belong to wasmtime-py)."""

    def __init__(self) -> None:
        library = ctypes.CDLL(ffi.dll._name)  # pyright: ignore[reportUnknownMemberType, reportPrivateUsage, reportUnknownArgumentType, reportAttributeAccessIssue]
        pointer, size, i64 = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int64

        def declare(name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
            function = getattr(library, name)
            function.restype = result
            function.argtypes = arguments
            return function

        self.store_new = declare("wasmtime_store_new", pointer, pointer, pointer, pointer)
        self.store_delete = declare("wasmtime_store_delete", None, pointer)
        self.store_context = declare("wasmtime_store_context", pointer, pointer)
        self.store_limiter = declare("wasmtime_store_limiter", None, pointer, i64, i64, i64, i64, i64)
        self.instance_new = declare("wasmtime_instance_new", pointer, pointer, pointer, pointer, size, pointer, pointer)
        self.export_get = declare("wasmtime_instance_export_get", ctypes.c_bool, pointer, pointer, ctypes.c_char_p, size, pointer)
        self.call = declare("wasmtime_func_call_unchecked", pointer, pointer, pointer, pointer, size, pointer)
        self.memory_data = declare("wasmtime_memory_data", pointer, pointer, pointer)
        self.memory_size = declare("wasmtime_memory_data_size", size, pointer, pointer)
        self.trap_code = declare("wasmtime_trap_code", ctypes.c_bool, pointer, pointer)
        self.trap_message = declare("wasm_trap_message", None, pointer, pointer)
        self.trap_delete = declare("wasm_trap_delete", None, pointer)
        self.error_message = declare("wasmtime_error_message", None, pointer, pointer)
        self.error_delete = declare("wasmtime_error_delete", None, pointer)
        self.bytes_delete = declare("wasm_byte_vec_delete", None, pointer)


class Machine:
    """One instance of a module without imports, in its own store."""

    def __init__(self, native: Native, engine: int, module: int, stopper: Stopper, *, memory_bytes: int) -> None:
        """Raises `Trapped` when the instance cannot be made (the module needs more than `memory_bytes`)."""
        self.taken = 0
        self._native = native
        self._stopper = stopper
        self._store: int | None = native.store_new(engine, None, None)
        native.store_limiter(self._store, memory_bytes, -1, 1, 1, 1)
        self._context: int = native.store_context(self._store)
        self._values = (ctypes.c_char * (_VALUES * _VALUE_BYTES))()
        self._trap = ctypes.c_void_p()
        self._trap_at = ctypes.addressof(self._trap)
        self._bytes = memoryview(b"")
        self._externs: list[Any] = []
        self._instance = ffi.wasmtime_instance_t()
        try:
            self._check(native.instance_new(self._context, module, None, 0, ctypes.addressof(self._instance), self._trap_at))
        except Trapped:
            self.close()
            raise
        self._memory = self._export(b"memory")
        self.base: int = native.memory_data(self._context, self._memory)
        self._size: int = native.memory_size(self._context, self._memory)
        # Over all that it may ever grow to: `read` and `write` look at how far it has.
        self._bytes = memoryview((ctypes.c_char * memory_bytes).from_address(self.base)).cast("B")

    def _export(self, name: bytes) -> int:
        """Address of the exported function or memory."""
        extern = ffi.wasmtime_extern_t()
        if not self._native.export_get(self._context, ctypes.addressof(self._instance), name, len(name), ctypes.addressof(extern)):
            raise KeyError(name)
        self._externs.append(extern)
        return ctypes.addressof(extern.of)

    def function(self, name: str, parameters: int) -> Callable[..., int]:
        """The exported function taking `parameters` i32 values and giving an i32 (or nothing), all unsigned."""
        where = self._export(name.encode())
        native_call, values_at, stopper = self._native.call, ctypes.addressof(self._values), self._stopper
        trap, trap_at, context, slots = self._trap, self._trap_at, self._context, max(parameters, 1)
        values = memoryview(self._values).cast("B").cast("I")[::_VALUE_BYTES // _WORD_BYTES]

        def call(*arguments: int) -> int:
            assert len(arguments) == parameters
            for place, argument in enumerate(arguments):
                values[place] = argument
            stopper.enter(self)
            error = native_call(context, where, values_at, slots, trap_at)
            stopper.leave()
            if error or trap.value or self.taken:
                self._check(error)
            return values[0]

        return call

    def _check(self, error: int | None) -> None:
        native, trap = self._native, self._trap
        if self.taken:   # and whatever else it says, it is over
            raise Trapped(Why.TIME, "out of time")
        if error:
            text = self._text(native.error_message, error)
            native.error_delete(error)
            raise Trapped(Why.OTHER, text)
        if trap.value:
            code = ctypes.c_uint8(255)
            known = native.trap_code(trap, ctypes.addressof(code))
            text = self._text(native.trap_message, trap)
            native.trap_delete(trap)
            self._trap.value = None
            try:
                why = Why(code.value) if known else Why.OTHER
            except ValueError:
                why = Why.OTHER
            raise Trapped(why, text)

    def _text(self, get: Callable[..., Any], source: Any) -> str:
        vector = ffi.wasm_byte_vec_t()
        get(source, ctypes.addressof(vector))
        text = ffi.to_str(vector)
        self._native.bytes_delete(ctypes.addressof(vector))
        return text

    @property
    def memory_bytes(self) -> int:
        """Linear memory now."""
        self._size = self._native.memory_size(self._context, self._memory)
        return self._size

    def words(self, at: int, count: int) -> memoryview:
        """A view of `count` 32-bit words at a fixed place; not to be used once the machine is closed."""
        return self._bytes[at:at + count * _WORD_BYTES].cast("I")

    def read(self, at: int, size: int) -> bytes:
        """Copy out; `at` and `size` come from the guest's memory and are believed only inside it."""
        if at < 0 or size < 0 or (at + size > self._size and at + size > self.memory_bytes):
            raise Trapped(Why.OTHER, f"guest pointed outside its memory: {at}+{size}")
        return bytes(self._bytes[at:at + size])

    def write(self, at: int, data: bytes) -> None:
        if at <= 0 or (at + len(data) > self._size and at + len(data) > self.memory_bytes):
            raise Trapped(Why.OTHER, f"guest pointed outside its memory: {at}+{len(data)}")
        self._bytes[at:at + len(data)] = data

    def close(self) -> None:
        store, self._store = self._store, None
        self._bytes = memoryview(b"")
        if store is not None:
            self._native.store_delete(store)
