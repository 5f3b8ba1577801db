"""What an operation does to the world, as declared or derived. Unknown means the dangerous value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["UNKNOWN_EFFECTS", "Effects", "Reads", "Trust", "Writes"]

Reads = Literal["none", "public", "private"]
Trust = Literal["trusted", "untrusted"]
Writes = Literal["none", "internal", "external"]


@dataclass(frozen=True, slots=True)
class Effects:
    """`reads`: whose data the result may carry. `trust`: who could have written that data.
    `writes`: how far a change reaches. `idempotent`: calling twice with one key equals calling once.
    """

    reads: Reads = "private"
    trust: Trust = "untrusted"
    writes: Writes = "external"
    irreversible: bool = True
    idempotent: bool = False

    @property
    def may_write(self) -> bool:
        return self.writes != "none"


UNKNOWN_EFFECTS = Effects()
