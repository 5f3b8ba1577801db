"""Surgery on a WebAssembly binary: imports cut off, own functions put in, exports stripped, memory baked.

Model: a module is a list of (section id, body). Imported functions come first in the function index space, so
replacing the n imports by n own functions at the front of the function and code sections leaves every other
index as it was. That is what `Surgery` does: the result has no imports at all, so nothing of the host can be
reached from inside, and no call ever leaves WebAssembly.

Nothing here runs guest code; the only input is the interpreter's own binary, whose hash is pinned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["I32", "I64", "Function", "Surgery", "bake", "read_unsigned", "signed", "unsigned"]

_PAGE = 65536
_GRAIN = 4096  # zero runs of this size are left out of the baked image
_FUNCTION, _MEMORY = 0, 2


def unsigned(value: int) -> bytes:
    """LEB128."""
    out = bytearray()
    while True:
        low = value & 0x7F
        value >>= 7
        out.append(low | (0x80 if value else 0))
        if not value:
            return bytes(out)


def signed(value: int) -> bytes:
    """Signed LEB128, as `i32.const` and `i64.const` take it."""
    out = bytearray()
    while True:
        low = value & 0x7F
        value >>= 7
        done = (value == 0 and not low & 0x40) or (value == -1 and bool(low & 0x40))
        out.append(low if done else low | 0x80)
        if done:
            return bytes(out)


def read_unsigned(data: bytes, at: int) -> tuple[int, int]:
    """The LEB128 number at `at`, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return value, at


def _name(data: bytes, at: int) -> tuple[str, int]:
    size, at = read_unsigned(data, at)
    return data[at:at + size].decode(), at + size


def _vector(items: Sequence[bytes]) -> bytes:
    return unsigned(len(items)) + b"".join(items)


I32, I64 = 0x7F, 0x7E


@dataclass(frozen=True, slots=True)
class Function:
    """A function to add: types of parameters and results, extra locals, and its instructions without `end`."""

    parameters: tuple[int, ...]
    results: tuple[int, ...]
    locals: tuple[int, ...]
    code: bytes

    @property
    def type(self) -> bytes:
        return b"\x60" + _vector([bytes([t]) for t in self.parameters]) + _vector([bytes([t]) for t in self.results])

    @property
    def body(self) -> bytes:
        declared = _vector([b"\x01" + bytes([t]) for t in self.locals])
        inner = declared + self.code + b"\x0b"
        return unsigned(len(inner)) + inner


@dataclass(slots=True)
class Surgery:
    """A parsed module. `functions` maps exported function names to their index, `imports` lists the imports' names."""

    wasm: bytes
    sections: list[tuple[int, bytes]] = field(default_factory=list[tuple[int, bytes]])
    functions: dict[str, int] = field(default_factory=dict[str, int])
    imports: list[str] = field(default_factory=list[str])
    import_types: list[int] = field(default_factory=list[int])

    def __post_init__(self) -> None:
        at = 8
        while at < len(self.wasm):
            kind = self.wasm[at]
            size, at = read_unsigned(self.wasm, at + 1)
            self.sections.append((kind, self.wasm[at:at + size]))
            at += size
        self._read_imports()
        for name, kind, index, _raw in self._exports():
            if kind == _FUNCTION:
                self.functions[name] = index

    def section(self, kind: int) -> bytes:
        return next((body for found, body in self.sections if found == kind), b"\0")

    def _read_imports(self) -> None:
        body = self.section(2)
        count, at = read_unsigned(body, 0)
        for _ in range(count):
            _module, at = _name(body, at)
            name, at = _name(body, at)
            if body[at] != _FUNCTION:
                raise ValueError(f"import {name} is not a function")
            kind, at = read_unsigned(body, at + 1)
            self.imports.append(name)
            self.import_types.append(kind)

    def _exports(self) -> list[tuple[str, int, int, bytes]]:
        body = self.section(7)
        count, at = read_unsigned(body, 0)
        found: list[tuple[str, int, int, bytes]] = []
        for _ in range(count):
            start = at
            name, at = _name(body, at)
            kind = body[at]
            index, at = read_unsigned(body, at + 1)
            found.append((name, kind, index, body[start:at]))
        return found

    def sealed(self, stubs: Mapping[str, Function], added: Mapping[str, Function], keep: frozenset[str] | None) -> bytes:
        """The module without imports: each replaced by its stub; `added` are exported; `keep` (None: all) stay exported."""
        missing = [name for name in self.imports if name not in stubs]
        if missing:
            raise ValueError(f"imports without a stub: {', '.join(missing)}")
        types, at = read_unsigned(self.section(1), 0)
        old_types = self.section(1)[at:]
        indices, at = read_unsigned(self.section(3), 0)
        old_indices = self.section(3)[at:]
        bodies, at = read_unsigned(self.section(10), 0)
        old_bodies = self.section(10)[at:]
        first_added = len(self.imports) + indices
        new = list(added.values())
        exports = [raw for name, kind, _i, raw in self._exports() if keep is None or name in keep or (kind == _MEMORY)]
        exports += [_text(name) + b"\0" + unsigned(first_added + i) for i, name in enumerate(added)]
        replaced = {
            1: unsigned(types + len(new)) + old_types + b"".join(f.type for f in new),
            3: unsigned(len(self.imports) + indices + len(new)) + b"".join(map(unsigned, self.import_types))
               + old_indices + b"".join(unsigned(types + i) for i in range(len(new))),
            7: _vector(exports),
            10: unsigned(len(self.imports) + bodies + len(new)) + b"".join(stubs[n].body for n in self.imports)
                + old_bodies + b"".join(f.body for f in new),
        }
        return self.rewritten(replaced, without=frozenset({2}))

    def rewritten(self, replaced: Mapping[int, bytes], without: frozenset[int] = frozenset()) -> bytes:
        """The module with other bodies for some sections. Custom sections say nothing at run time and are left out."""
        out = bytearray(self.wasm[:8])
        for kind, body in self.sections:
            if kind == 0 or kind in without:
                continue
            body = replaced.get(kind, body)
            out += bytes([kind]) + unsigned(len(body)) + body
        return bytes(out)

    def added_index(self, name: str, added: Sequence[str]) -> int:
        """The index an added function will have, so that added functions can call one another."""
        count, _ = read_unsigned(self.section(3), 0)
        return len(self.imports) + count + list(added).index(name)


def _text(name: str) -> bytes:
    raw = name.encode()
    return unsigned(len(raw)) + raw


def bake(wasm: bytes, memory: bytes) -> bytes:
    """`wasm` with its initial memory replaced by `memory`, and without a start function."""
    runs = [b"\0\x41" + signed(at) + b"\x0b" + unsigned(len(data)) + data for at, data in _runs(memory)]
    out = bytearray(wasm[:8])
    for kind, body in Surgery(wasm).sections:
        if kind == 8:
            continue
        if kind == 5:
            flags = body[1]
            _old, at = read_unsigned(body, 2)
            body = bytes([1, flags]) + unsigned(len(memory) // _PAGE) + body[at:]
        elif kind == 12:
            body = unsigned(len(runs))
        elif kind == 11:
            body = _vector(runs)
        out += bytes([kind]) + unsigned(len(body)) + body
    return bytes(out)


def _runs(memory: bytes) -> list[tuple[int, bytes]]:
    """Stretches of `memory` that are not all zero, with their addresses."""
    runs: list[tuple[int, bytes]] = []
    start: int | None = None
    zeros = bytes(_GRAIN)
    for at in range(0, len(memory) + _GRAIN, _GRAIN):
        empty = at >= len(memory) or memory[at:at + _GRAIN] == zeros
        if not empty and start is None:
            start = at
        if empty and start is not None:
            runs.append((start, memory[start:at]))
            start = None
    return runs
