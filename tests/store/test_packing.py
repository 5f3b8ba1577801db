"""How a record lies on disk."""

from __future__ import annotations

import hashlib
import random

from hypothesis import given
from hypothesis import strategies as some

from inhabit.store.packing import pack, pack_inline, unpack, unpack_inline


@given(meta=some.binary(max_size=300), parts=some.lists(some.binary(max_size=300), max_size=4))
def test_the_short_way_of_packing_gives_the_same_bytes(meta: bytes, parts: list[bytes]) -> None:
    body = pack_inline(meta, parts)
    assert body == pack(meta, parts, (None,) * len(parts))
    assert unpack(body, "a test") == (meta, parts)


def test_the_short_way_of_unpacking_gives_the_same_or_nothing() -> None:
    chance = random.Random(7)
    for _ in range(2_000):
        meta, parts = chance.randbytes(chance.randrange(60)), [chance.randbytes(chance.randrange(60)) for _ in range(chance.randrange(3))]
        body = pack_inline(meta, parts)
        assert unpack_inline(body) == ((meta, tuple(parts)) if len(parts) < 2 else None)
        assert unpack_inline(body[:chance.randrange(len(body))]) is None
        flipped = bytearray(body)
        flipped[chance.randrange(len(body))] ^= 1 << chance.randrange(8)
        assert unpack_inline(bytes(flipped)) is None


def test_the_short_way_of_unpacking_leaves_a_part_that_lies_elsewhere() -> None:
    part = b"long" * 2_000
    assert unpack_inline(pack(b"[]", [part], [hashlib.sha256(part).digest()])) is None
