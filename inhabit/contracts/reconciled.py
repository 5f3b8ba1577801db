"""The answer to "did it take effect?", as an operation's `reconcile` gives it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Reconciled"]


@dataclass(frozen=True, slots=True)
class Reconciled:
    """Of one call, told by its arguments and its idempotency key. `not_done` says that it has not taken effect and will not
    any more: then the call is made again. Whoever cannot say that says `unknown`, and a person is asked.
    """

    state: Literal["done", "not_done", "unknown"]
    value: Any = None

    @classmethod
    def done(cls, value: Any = None) -> Reconciled:
        """It took effect. `value`: what the call would have answered."""
        return cls("done", value)

    @classmethod
    def not_done(cls) -> Reconciled:
        return cls("not_done")

    @classmethod
    def unknown(cls) -> Reconciled:
        return cls("unknown")
