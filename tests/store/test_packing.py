"""How a record lies on disk."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as some

from inhabit.store.packing import pack, pack_inline, unpack


@given(meta=some.binary(max_size=300), parts=some.lists(some.binary(max_size=300), max_size=4))
def test_the_short_way_of_packing_gives_the_same_bytes(meta: bytes, parts: list[bytes]) -> None:
    body = pack_inline(meta, parts)
    assert body == pack(meta, parts, (None,) * len(parts))
    assert unpack(body, "a test") == (meta, parts)
