"""How a record lies on disk: one body of bytes, version 1.

    version u8 = 1 │ crc32 u32 of all that follows │ P u8 │ P × (place u8, length u32) │ M u32 │ M bytes │ P parts

All numbers are big endian. The M bytes are a JSON array of the record's small fields in the order of its
dataclass. A part is a long field (arguments, result, source): `place` 0 means its bytes lie here, 1 means that
here lie the 32 bytes of its SHA-256 and the tenant's blob table holds the bytes (`length` is the real length).

Invariant: `unpack(pack(meta, parts, …))` gives the same meta and parts; a flipped bit is an error, never a value.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import NamedTuple

from inhabit.errors import Unavailable

__all__ = ["FORMAT", "INLINE_BYTES", "BlobRef", "Draft", "damaged", "pack", "pack_inline", "unpack", "unpack_inline"]

FORMAT = 1
INLINE_BYTES = 4096
"""A longer part goes to the blob table: past one page, sharing beats locality."""
_HEAD = struct.Struct(">BI")
_PART = struct.Struct(">BI")
_COUNT = struct.Struct(">I")
_NO_PART = struct.Struct(">BI")      # P, M
_ONE_PART = struct.Struct(">BBII")   # P, place, length, M
_START = struct.Struct(">BIB")       # version, crc32, P
_DIGEST_BYTES = 32
_SHORTEST = _HEAD.size + _NO_PART.size


class Draft(NamedTuple):
    """A record before it is laid out: small fields as JSON, long fields as they are."""

    kind: int
    meta: bytes
    parts: tuple[bytes, ...]

    @property
    def size(self) -> int:
        """Bytes this record will take, before values are shared."""
        return len(self.meta) + sum(map(len, self.parts))


class BlobRef(NamedTuple):
    digest: bytes
    size: int


def pack(meta: bytes, parts: Sequence[bytes], digests: Sequence[bytes | None]) -> bytes:
    """Lay out a record; `digests[i]` is the SHA-256 of a part kept elsewhere, else None."""
    table = [bytes((len(parts),))]
    tail = [_COUNT.pack(len(meta)), meta]
    for part, digest in zip(parts, digests, strict=True):
        table.append(_PART.pack(digest is not None, len(part)))
        tail.append(part if digest is None else digest)
    rest = b"".join(table + tail)
    return _HEAD.pack(FORMAT, zlib.crc32(rest)) + rest


def pack_inline(meta: bytes, parts: Sequence[bytes]) -> bytes:
    """What `pack` gives for a record whose parts all lie in it, in a third of the time for one part or none."""
    if len(parts) == 1:
        rest = _ONE_PART.pack(1, 0, len(parts[0]), len(meta)) + meta + parts[0]
    elif not parts:
        rest = _NO_PART.pack(0, len(meta)) + meta
    else:
        return pack(meta, parts, (None,) * len(parts))
    return _HEAD.pack(FORMAT, zlib.crc32(rest)) + rest


def unpack(body: bytes, where: str) -> tuple[bytes, list[bytes | BlobRef]]:
    """The meta and the parts of a record. Raises `Unavailable`, naming `where`, if it is not whole."""
    try:
        version, checksum = _HEAD.unpack_from(body)
        if version != FORMAT:
            raise damaged(where, f"it has format {version}, this version reads {FORMAT}")
        if zlib.crc32(memoryview(body)[_HEAD.size:]) != checksum:
            raise damaged(where, "its checksum does not fit")
        return _fields(body)
    except (struct.error, IndexError) as error:
        raise damaged(where, "it is cut short") from error


def unpack_inline(body: bytes) -> tuple[bytes, tuple[bytes, ...]] | None:
    """What `unpack` gives for a whole record with one part or none, which lies in it, in a third of the time; None for any
    other, damaged ones too: `unpack` knows what to say of them.
    """
    if len(body) < _SHORTEST:
        return None
    version, checksum, parts = _START.unpack_from(body)
    if version != FORMAT or parts > 1 or zlib.crc32(body[_HEAD.size:]) != checksum:
        return None
    if not parts:
        return body[_SHORTEST:], ()
    if len(body) < _SHORTEST + _PART.size:
        return None
    _, place, _, size = _ONE_PART.unpack_from(body, _HEAD.size)
    at = _SHORTEST + _PART.size
    return None if place else (body[at:at + size], (body[at + size:],))


def damaged(where: str, reason: str) -> Unavailable:
    """The error for a record that is not as it was written."""
    return Unavailable(f"the record of {where} is damaged: {reason}", code="journal_damaged",
                       fix="restore a backup, and check the disk")


def _fields(body: bytes) -> tuple[bytes, list[bytes | BlobRef]]:
    at = _HEAD.size + 1
    table = [_PART.unpack_from(body, at + i * _PART.size) for i in range(body[_HEAD.size])]
    at += len(table) * _PART.size
    (length,) = _COUNT.unpack_from(body, at)
    at += _COUNT.size
    meta, at = body[at:at + length], at + length
    parts: list[bytes | BlobRef] = []
    for place, size in table:
        held = _DIGEST_BYTES if place else size
        piece, at = body[at:at + held], at + held
        parts.append(BlobRef(piece, size) if place else piece)
    return meta, parts
