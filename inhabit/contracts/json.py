"""What plain JSON data looks like to the type checker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

__all__ = ["is_array", "is_number", "is_object"]


def is_object(value: Any) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(value, dict) or isinstance(value, Mapping)   # noqa: SIM101 - an abstract class is six times the price


def is_array(value: Any) -> TypeGuard[Sequence[Any]]:
    """A list or tuple; text and bytes are not arrays."""
    return isinstance(value, list | tuple)


def is_number(value: Any) -> TypeGuard[int | float]:
    """A number that is not a boolean and not NaN."""
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value
