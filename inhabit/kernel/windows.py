"""What was used in the last so many milliseconds, by key: each window in 32 parts, the amounts of a part added up.

Invariant: a part counts until it has left its window wholly, so a sum may be too large by what one part holds and is
never too small. A window of 0 has one part that never leaves.
"""

from __future__ import annotations

__all__ = ["PARTS", "Windows", "part_ms"]

PARTS = 32
Slot = tuple[str, int]
"""A key and its window in ms."""


def part_ms(window_ms: int) -> int:
    return -(-window_ms // PARTS) or 1


class Windows:
    def __init__(self) -> None:
        self._parts: dict[Slot, dict[int, float]] = {}

    def __len__(self) -> int:
        return len(self._parts)

    def knows(self, key: str, window_ms: int) -> bool:
        return (key, window_ms) in self._parts

    def used(self, key: str, window_ms: int, now_ms: int, /) -> float:
        parts = self._parts.get((key, window_ms))
        return _sum(parts, window_ms, now_ms) if parts else 0.0

    def add(self, key: str, window_ms: int, amount: float, now_ms: int) -> tuple[int, float]:
        """The part that the amount went into, and what it holds now."""
        part = now_ms // part_ms(window_ms) if window_ms else 0
        parts = self._parts.setdefault((key, window_ms), {})
        parts[part] = parts.get(part, 0.0) + amount
        return part, parts[part]

    def put(self, key: str, window_ms: int, part: int, amount: float) -> None:
        """As it was kept elsewhere."""
        self._parts.setdefault((key, window_ms), {})[part] = amount

    def forget(self, key: str, window_ms: int) -> None:
        self._parts.pop((key, window_ms), None)

    def sweep(self, now_ms: int) -> None:
        """Forget what no window holds any more."""
        for slot in [slot for slot, parts in self._parts.items() if slot[1] and not _sum(parts, slot[1], now_ms)]:
            del self._parts[slot]


def _sum(parts: dict[int, float], window_ms: int, now_ms: int) -> float:
    oldest = (now_ms - window_ms) // part_ms(window_ms) if window_ms else 0
    for part in [part for part in parts if part < oldest]:
        del parts[part]
    return sum(parts.values())
