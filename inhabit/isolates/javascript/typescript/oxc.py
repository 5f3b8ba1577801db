"""The TypeScript compiler of the OXC project, for what erasing cannot do: enums and namespaces.

It comes as a WebAssembly module in `quickjs-rs`; only that file is used. It runs as a guest does: without imports,
under a deadline and a memory limit, in an instance of its own that is dropped when it traps. Its input is hostile.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path

import wasmtime

from inhabit.errors import Unavailable
from inhabit.isolates.javascript.abi import Machine, Native, Trapped, engine_of, pointer_of
from inhabit.isolates.javascript.blocks import with_own_blocks
from inhabit.isolates.javascript.cache import ImageCache, cpu
from inhabit.isolates.javascript.stop import Stopper
from inhabit.isolates.javascript.wasm import Function, Surgery, signed

__all__ = ["Oxc", "OxcError"]

_SOURCE_TS, _STRIP = 1 << 0, 1 << 8
_OK, _UNCHANGED = 0, 1
_MEMORY_BYTES = 256 * 1024 * 1024
_CPU_MS = 2_000  # a program within the size limit needs a hundredth
_NAME = b"program.ts"


class OxcError(Exception):
    """The compiler refused the text, or ran into a bound; the message is its own."""


def _stubs() -> dict[str, Function]:
    def gives(value: int) -> Function:
        return Function((), (), (), b"\x41" + signed(value))

    no_environment = b"\x20\x00\x41\x00\x36\x02\x00\x20\x01\x41\x00\x36\x02\x00\x41\x00"  # *count = *size = 0; success
    return {"random_get": gives(0), "environ_get": gives(0), "environ_sizes_get": Function((), (), (), no_environment),
            "fd_write": gives(8), "proc_exit": Function((), (), (), b"\x00")}


@dataclass(slots=True)
class Oxc:
    """The loaded compiler."""

    native: Native
    engine: wasmtime.Engine
    module: wasmtime.Module
    stopper: Stopper

    @classmethod
    def load(cls, images: ImageCache, stopper: Stopper) -> Oxc:
        """From the image cache, compiled first if need be. Raises `Unavailable`."""
        try:
            binary = (resources.files("quickjs_rs") / "_transform.wasm").read_bytes()
        except OSError as error:
            raise Unavailable("the TypeScript compiler is missing from quickjs-rs", fix="reinstall inhabit's dependencies") from error
        makers = [Path(__file__), *(Path(__file__).parent.parent / name for name in ("abi.py", "blocks.py", "wasm.py"))]
        parts = (binary, metadata.version("wasmtime").encode(), cpu(), *(maker.read_bytes() for maker in makers))
        digest = hashlib.sha256(b"".join(parts)).hexdigest()[:24]

        def make() -> bytes:
            sealed = Surgery(with_own_blocks(binary)).sealed(_stubs(), {}, frozenset(_EXPORTS))
            return bytes(wasmtime.Module(engine_of(), sealed).serialize())

        data = images.get(f"typescript-{digest}", make)
        engine = engine_of()
        return cls(Native(), engine, wasmtime.Module.deserialize(engine, data), stopper)

    def transform(self, source: bytes) -> bytes:
        """JavaScript for `source`. Raises `OxcError`."""
        try:
            machine = Machine(self.native, pointer_of(self.engine), pointer_of(self.module), self.stopper, memory_bytes=_MEMORY_BYTES)
        except Trapped as trapped:
            raise OxcError(str(trapped)) from trapped
        self.stopper.allow(_CPU_MS)
        try:
            return _transformed(machine, source)
        except Trapped as trapped:
            raise OxcError("the program is too large or too deeply nested to compile") from trapped
        finally:
            machine.close()


_EXPORTS = {"qjst_alloc": 1, "qjst_transform": 5, "qjst_result_len": 0, "qjst_result_ptr": 0, "qjst_error_len": 0,
            "qjst_error_ptr": 0}


def _transformed(machine: Machine, source: bytes) -> bytes:
    call = {name: machine.function(name, count) for name, count in _EXPORTS.items()}

    def place(data: bytes) -> int:
        at = call["qjst_alloc"](len(data)) & 0xFFFFFFFF
        machine.write(at, data)
        return at

    if not source:
        return source
    status = call["qjst_transform"](place(_NAME), len(_NAME), place(source), len(source), _SOURCE_TS | _STRIP)
    if status == _UNCHANGED:
        return source
    kind = "result" if status == _OK else "error"
    size, at = call[f"qjst_{kind}_len"](), call[f"qjst_{kind}_ptr"]() & 0xFFFFFFFF
    text = machine.read(at, size) if size else b""
    if status != _OK:
        raise OxcError(text.decode("utf-8", "replace").removeprefix("source parse error in program.ts: "))
    return text
