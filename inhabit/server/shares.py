"""How much of something that all tenants share one of them may take."""

from __future__ import annotations

__all__ = ["has_room"]


def has_room(held: int, total: int, most: int) -> bool:
    """Whether a tenant that holds `held` of `total` gets one more, where there are `most`. The last quarter is for those who hold
    less than a quarter: one tenant alone is hardly bounded, and cannot keep the others out."""
    return total < most and (total < most - most // 4 or held < most // 4)
