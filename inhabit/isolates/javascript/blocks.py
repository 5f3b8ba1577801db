"""Block copies and fills as code of the module's own, in place of calls into wasmtime.

Why: a fault in compiled code is a trap, which is how `Stopper` ends a guest; a fault in the memmove that wasmtime
would call for `memory.copy` is the end of the process. With these no code of a guest ever leaves the module.

Model: every `memory.copy` and `memory.fill` is overwritten by a call of just its length (an index padded with
empty LEB128 groups), so that nothing else in the code moves. Finding them takes a walk over all instructions, since the same bytes
may be part of a constant; an instruction that the walk does not know is an error of the build.
"""

from __future__ import annotations

from collections.abc import Iterator

from inhabit.isolates.javascript.wasm import I32, I64, Function, Surgery, read_unsigned, signed, unsigned

__all__ = ["with_own_blocks"]

_MEMORY_COPY, _MEMORY_FILL = b"\xfc\x0a\x00\x00", b"\xfc\x0b\x00"
_CALL = 0x10
_GROUP, _MORE = 7, 0x80

# Opcodes by what follows them, where that is not nothing: how many LEB128 numbers.
_NUMBERS = {
    **dict.fromkeys((0x02, 0x03, 0x04, 0x0C, 0x0D, 0x10, *range(0x20, 0x27), 0x3F, 0x40, 0x41, 0x42, 0xD0, 0xD2), 1),
    **dict.fromkeys((0x11, *range(0x28, 0x3F)), 2),
}
_FIXED = {0x43: 4, 0x44: 8}                       # f32.const, f64.const
_BRANCH_TABLE, _SELECT_TYPED, _PREFIX = 0x0E, 0x1C, 0xFC
_PREFIXED = {**dict.fromkeys(range(8), 0), 8: 2, 9: 1, 10: 2, 11: 1, 12: 2, 13: 1, 14: 2, 15: 1, 16: 1, 17: 1}
_PLAIN = frozenset((0x00, 0x01, 0x05, 0x0B, 0x0F, 0x1A, 0x1B, 0xD1, *range(0x45, 0xC5)))


def with_own_blocks(wasm: bytes) -> bytes:
    """The module with every block instruction a call. Raises `ValueError` for an instruction that it does not know."""
    module, own = Surgery(wasm), (_copy(), _fill())
    types, _ = read_unsigned(module.section(1), 0)
    count, _ = read_unsigned(module.section(3), 0)
    first = len(module.imports) + count
    code = module.section(10)
    _, at = read_unsigned(code, 0)
    return module.rewritten({
        1: _longer(module.section(1), own[0].type),   # both have the same
        3: _longer(module.section(3), unsigned(types), unsigned(types)),
        10: _longer(code[:at] + _called(code[at:], first, first + 1), *(function.body for function in own)),
    })


def _longer(section: bytes, *items: bytes) -> bytes:
    count, at = read_unsigned(section, 0)
    return unsigned(count + len(items)) + section[at:] + b"".join(items)


def _called(code: bytes, copy_index: int, fill_index: int) -> bytes:
    patched = bytearray(code)
    for at in _blocks(code):
        old = _MEMORY_COPY if code[at + 1] == _MEMORY_COPY[1] else _MEMORY_FILL
        if code[at:at + len(old)] != old:
            raise ValueError(f"a block instruction of another form at {at}")
        patched[at:at + len(old)] = bytes([_CALL]) + _padded(copy_index if old is _MEMORY_COPY else fill_index, len(old) - 1)
    return bytes(patched)


def _padded(value: int, size: int) -> bytes:
    if value >> _GROUP * size:
        raise ValueError(f"function {value} does not fit into {size} bytes")
    groups = [value >> _GROUP * i & 0x7F for i in range(size)]
    return bytes([group | _MORE for group in groups[:-1]] + groups[-1:])


def _blocks(code: bytes) -> Iterator[int]:
    at = 0
    while at < len(code):
        size, at = read_unsigned(code, at)
        end = at + size
        groups, at = read_unsigned(code, at)
        for _ in range(groups):
            at = read_unsigned(code, at)[1] + 1
        while at < end:
            if code[at] == _PREFIX and code[at + 1] in (_MEMORY_COPY[1], _MEMORY_FILL[1]):
                yield at
            at = _after(code, at)


def _after(code: bytes, at: int) -> int:
    """Where the instruction at `at` ends."""
    opcode = code[at]
    at += 1
    if opcode in _PLAIN:
        return at
    if opcode in _FIXED:
        return at + _FIXED[opcode]
    count = _NUMBERS.get(opcode)
    if opcode in (_BRANCH_TABLE, _SELECT_TYPED):
        count, at = read_unsigned(code, at)
        count += opcode == _BRANCH_TABLE   # and where to go otherwise
    elif opcode == _PREFIX:
        which, at = read_unsigned(code, at)
        count = _PREFIXED.get(which)
    if count is None:
        raise ValueError(f"an unknown instruction {opcode:#x} at {at - 1}")
    for _ in range(count):
        while code[at] & _MORE:
            at += 1
        at += 1
    return at


# ---- the functions: bytes 64 at a time, then 8, then 1 -----------------------------------------------------

_TO, _FROM, _SIZE = 0, 1, 2   # parameters; `fill` has the byte where `copy` has the source
_ADD, _SUB, _BELOW, _MULTIPLY, _WIDEN, _AND = b"\x6a", b"\x6b", b"\x49", b"\x7e", b"\xad", b"\x71"
_LOAD, _STORE = {1: b"\x2d\x00", 8: b"\x29\x00", 16: b"\xfd\x00\x00"}, {1: b"\x3a\x00", 8: b"\x37\x00", 16: b"\xfd\x0b\x00"}
_SPLAT64 = b"\xfd\x12"
_STEPS = (64, 8, 1)


def _get(local: int) -> bytes:
    return b"\x20" + unsigned(local)


def _set(local: int) -> bytes:
    return b"\x21" + unsigned(local)


def _i32(value: int) -> bytes:
    return b"\x41" + signed(value)


def _moved(local: int, by: int) -> bytes:
    return _get(local) + _i32(by) + _ADD + _set(local)


def _while_left(step: int, body: bytes) -> bytes:
    """While at least `step` bytes are left: `body`."""
    return b"\x02\x40\x03\x40" + _get(_SIZE) + _i32(step) + _BELOW + b"\x0d\x01" + body + b"\x0c\x00\x0b\x0b"


def _pieces(step: int) -> tuple[int, tuple[int, ...]]:
    width = min(step, 16)
    return width, tuple(range(0, step, width))


def _copied(step: int, to: bytes, source: bytes) -> bytes:
    """All is loaded before any of it is stored: the two may overlap."""
    width, offsets = _pieces(step)
    loads = b"".join(to + source + _LOAD[width] + unsigned(offset) for offset in offsets)
    return loads + b"".join(_STORE[width] + unsigned(offset) for offset in reversed(offsets))


def _copy() -> Function:
    """(to, from, size), as memmove: from the end where `to` lies within what is read."""
    ahead = b"".join(_while_left(step, _copied(step, _get(_TO), _get(_FROM)) + _moved(_TO, step) + _moved(_FROM, step) + _moved(_SIZE, -step))
                     for step in _STEPS)
    back = b"".join(_while_left(step, _moved(_SIZE, -step) + _copied(step, _get(_TO) + _get(_SIZE) + _ADD, _get(_FROM) + _get(_SIZE) + _ADD))
                    for step in _STEPS)
    overlaps = _get(_TO) + _get(_FROM) + _SUB + _get(_SIZE) + _BELOW
    return Function((I32, I32, I32), (), (), overlaps + b"\x04\x40" + back + b"\x05" + ahead + b"\x0b")


def _fill() -> Function:
    """(to, byte, size)."""
    word = 3
    spread = _get(_FROM) + _i32(255) + _AND + _WIDEN + b"\x42" + signed(0x0101010101010101) + _MULTIPLY + _set(word)
    value = {1: _get(_FROM), 8: _get(word), 16: _get(word) + _SPLAT64}

    def filled(step: int) -> bytes:
        width, offsets = _pieces(step)
        stores = b"".join(_get(_TO) + value[width] + _STORE[width] + unsigned(offset) for offset in offsets)
        return _while_left(step, stores + _moved(_TO, step) + _moved(_SIZE, -step))

    return Function((I32, I32, I32), (), (I64,), spread + b"".join(map(filled, _STEPS)))
