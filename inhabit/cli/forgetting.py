"""What an erasure takes from the cache of a home; loaded when it is wanted, since the catalog is large."""

from __future__ import annotations

from pathlib import Path

from inhabit.catalog import forget_learnt

__all__ = ["forget"]


def forget(home: Path, tenant: str) -> None:
    forget_learnt(home / "cache", tenant)
