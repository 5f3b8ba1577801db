"""The ready-made interpreter: boot script run, memory baked in, compiled ahead of time, kept on disk under its hash.

Two stages. First the interpreter runs once, with every export, to evaluate the boot script and to learn the
addresses of the hooks; its memory is taken. Then the same binary is written anew with the turn functions that
know these addresses, with that memory, without the exports nobody calls, and is compiled.

An image is a JSON head line and then the compiled module; its name in the cache covers the binary, the boot
script, wasmtime's version, the machine with its CPU's features, and this code.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import asdict, dataclass
from importlib import metadata, resources
from pathlib import Path

import orjson
import wasmtime

from inhabit.errors import Unavailable
from inhabit.isolates.javascript.abi import Machine, Native, engine_of, pointer_of
from inhabit.isolates.javascript.blocks import with_own_blocks
from inhabit.isolates.javascript.cache import ImageCache, cpu
from inhabit.isolates.javascript.shims import CELL_BYTES, Cells, Hooks, added, stubs
from inhabit.isolates.javascript.stop import Stopper
from inhabit.isolates.javascript.wasm import Surgery, bake

__all__ = ["INPUT_BYTES", "Image", "Layout", "boot_script", "build", "load_or_build", "quickjs_binary"]

_FORMAT = 2
INPUT_BYTES = 64 * 1024
"""The fixed input buffer; larger deliveries get a buffer of their own for one turn."""
_STACK_BYTES = 448 * 1024  # of the 1 MiB the binary was linked with; half is left to native frames
_FIRST_GC_BYTES = 4 * 1024 * 1024  # of heap; a collection writes to every page, and most runs never need one
_BUILD_MEMORY = 256 * 1024 * 1024
_KEEP = frozenset({"malloc"})
_MAKERS = ("abi.py", "blocks.py", "shims.py", "wasm.py")   # what an image depends on, beside the binary
_FILE_NAME = b"program.ts\0"
_FIX = "install inhabit from a wheel, or run `pip install -e .` in the repository, which fetches it"


def quickjs_binary() -> bytes:
    """The interpreter as the build hook installed it. Raises `Unavailable` when it is missing."""
    file = resources.files("inhabit.isolates.javascript") / "_artifacts" / "quickjs.wasm"
    try:
        return file.read_bytes()
    except OSError as error:
        raise Unavailable(f"the JavaScript interpreter is missing: {file}", fix=_FIX) from error


def boot_script() -> bytes:
    """All boot files in the order of their names, in one scope."""
    folder = resources.files("inhabit.isolates.javascript") / "boot"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".js")), key=lambda f: f.name)
    return b"(() => {\n'use strict';\n" + b"\n".join(f.read_bytes() for f in files) + b"\n})();\n"


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things lie in guest memory."""

    input: int
    clock: int
    answer: int


@dataclass(frozen=True, slots=True)
class Image:
    """A module ready to be instantiated. `hash` names its content: a run's journal refers to it."""

    native: Native
    engine: wasmtime.Engine
    module: wasmtime.Module
    layout: Layout
    quickjs: str
    hash: str
    stopper: Stopper

    def machine(self, *, memory_bytes: int) -> Machine:
        return Machine(self.native, pointer_of(self.engine), pointer_of(self.module), self.stopper, memory_bytes=memory_bytes)


def _key(binary: bytes, boot: bytes) -> str:
    digest = hashlib.sha256()
    for part in (str(_FORMAT).encode(), binary, boot, metadata.version("wasmtime").encode(), cpu(), *(Path(__file__).with_name(name).read_bytes() for name in _MAKERS)):
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()[:24]


class _Stage:
    """The interpreter with all exports, for the first stage only: it runs our own boot script, never a guest's code."""

    def __init__(self, native: Native, engine: wasmtime.Engine, module: Surgery) -> None:
        self.module = wasmtime.Module(engine, module.sealed(stubs(Cells()), {}, None))
        self.machine = Machine(native, pointer_of(engine), pointer_of(self.module), Stopper(), memory_bytes=_BUILD_MEMORY)
        self.call("_initialize")
        if self.call("qjs_init") != 0:
            raise Unavailable("the JavaScript interpreter does not initialise", fix=_FIX)
        self.call("qjs_set_max_stack_size", _STACK_BYTES)

    def call(self, name: str, *arguments: int) -> int:
        return self.machine.function(name, len(arguments))(*arguments)

    def block(self, data: bytes) -> int:
        at = self.call("malloc", len(data))
        self.machine.write(at, data)
        return at

    def evaluate(self, code: bytes, name: bytes) -> int:
        """The value's bits, as QuickJS holds them. Raises `Unavailable` with the script's error."""
        text, file = self.block(code + b"\0"), self.block(name + b"\0")
        handle = self.call("qjs_eval", text, len(code), file, 0)
        if self.call("qjs_is_exception", handle):
            raise Unavailable(f"the boot script fails: {self.text(self.call('qjs_get_exception'))}")
        return struct.unpack("<Q", self.machine.read(handle, 8))[0]

    def text(self, handle: int) -> str:
        stack = self.call("qjs_get_prop_string", handle, self.block(b"stack\0"))
        shown = [self.call("qjs_get_string", item) for item in (handle, stack)]
        return " ".join(self.machine.read(at, 400).split(b"\0")[0].decode(errors="replace") for at in shown if at)

    def version(self) -> str:
        at = self.call("qjs_get_quickjs_version")
        return self.machine.read(at, 40).split(b"\0")[0].decode()


def build(binary: bytes, boot: bytes) -> tuple[dict[str, object], bytes]:
    """Head and compiled module. Takes about a second of one core."""
    native, engine, module = Native(), engine_of(), Surgery(with_own_blocks(binary))
    stage = _Stage(native, engine, module)
    stage.evaluate(boot, b"inhabit:boot")
    cells = Cells(base=stage.block(bytes(CELL_BYTES)), input=stage.block(bytes(INPUT_BYTES)), file_name=stage.block(_FILE_NAME))
    hook = {name: stage.evaluate(b"__inhabit_hooks." + name.encode(), b"inhabit:hooks")
            for name in ("boot", "run", "fail", "turn", "step", "finish")}
    stage.evaluate(b"delete globalThis.__inhabit_hooks", b"inhabit:hooks")
    hooks = Hooks(runtime=stage.call("qjs_get_runtime_ptr"), context=stage.call("qjs_get_context_ptr"), **hook)
    stage.call("qjs_run_gc")
    stage.call("qjs_set_gc_threshold", _FIRST_GC_BYTES)
    memory = stage.machine.read(0, stage.machine.memory_bytes)
    version = stage.version()
    final = bake(module.sealed(stubs(cells), added(module, cells, hooks), _KEEP), memory)
    layout = Layout(input=cells.input, clock=cells.clock_ns, answer=cells.answer)
    stage.machine.close()
    head: dict[str, object] = {"quickjs": version, "layout": asdict(layout), "wasm": hashlib.sha256(final).hexdigest()}
    return head, bytes(wasmtime.Module(engine, final).serialize())


def load_or_build(images: ImageCache, stopper: Stopper) -> Image:
    """The image from the cache, built and kept there first if need be. Raises `Unavailable`."""
    binary, boot = quickjs_binary(), boot_script()

    def make() -> bytes:
        head, compiled = build(binary, boot)
        return orjson.dumps(head) + b"\n" + compiled

    return _open(images.get(f"javascript-{_key(binary, boot)}", make), stopper)


def _open(data: bytes, stopper: Stopper) -> Image:
    cut = data.index(b"\n")
    head = orjson.loads(data[:cut])
    engine = engine_of()
    module = wasmtime.Module.deserialize(engine, data[cut + 1:])
    return Image(native=Native(), engine=engine, module=module, layout=Layout(**head["layout"]),
                 quickjs=head["quickjs"], hash=head["wasm"][:16], stopper=stopper)
