"""Merkle trees in the form of RFC 6962: a leaf is SHA-256(0x00 ‖ data), a node SHA-256(0x01 ‖ left ‖ right).

`Frontier` is a tree that grows: it keeps only the roots of its full subtrees, one for each bit set in its size.
Invariant: `Frontier.root` equals the root over all leaves appended so far, in that order.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

__all__ = ["HASH_BYTES", "Frontier", "leaf_hash", "node_hash"]

HASH_BYTES = 32


def leaf_hash(data: bytes) -> bytes:
    return sha256(b"\0" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\1" + left + right).digest()


class Frontier:
    __slots__ = ("_peaks", "size")

    def __init__(self, size: int = 0, peaks: bytes = b"") -> None:
        """`peaks`: what `peaks` gave for a tree of that size. Raises `ValueError` when it cannot be of that size."""
        if len(peaks) != size.bit_count() * HASH_BYTES:
            raise ValueError(f"{len(peaks)} bytes are no frontier of {size} leaves")
        self.size = size
        self._peaks = [peaks[at:at + HASH_BYTES] for at in range(0, len(peaks), HASH_BYTES)]

    @property
    def peaks(self) -> bytes:
        """The roots of the full subtrees, largest first."""
        return b"".join(self._peaks)

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Append the hashes of leaves."""
        size, peaks = self.size, self._peaks
        for node in leaves:
            full = size
            while full & 1:
                node = sha256(b"\1" + peaks.pop() + node).digest()
                full >>= 1
            peaks.append(node)
            size += 1
        self.size = size

    def root(self) -> bytes:
        if not self._peaks:
            return sha256(b"").digest()
        *larger, root = self._peaks
        for peak in reversed(larger):
            root = node_hash(peak, root)
        return root
