"""How effects combine: towards danger freely, away from it only where someone with the right says so."""

from __future__ import annotations

from dataclasses import replace

from inhabit.contracts.effects import Effects, Reads, Trust, Writes

__all__ = ["READS", "TRUST", "WRITES", "no_more_than", "worst"]

READS: tuple[Reads, ...] = ("none", "public", "private")
TRUST: tuple[Trust, ...] = ("trusted", "untrusted")
WRITES: tuple[Writes, ...] = ("none", "internal", "external")
"""Each scale from harmless to dangerous."""


def worst(a: Effects, b: Effects) -> Effects:
    """The join: at least as dangerous as both in every respect."""
    return Effects(
        reads=READS[max(READS.index(a.reads), READS.index(b.reads))],
        trust=TRUST[max(TRUST.index(a.trust), TRUST.index(b.trust))],
        writes=WRITES[max(WRITES.index(a.writes), WRITES.index(b.writes))],
        irreversible=a.irreversible or b.irreversible,
        idempotent=a.idempotent and b.idempotent,
    )


def no_more_than(effects: Effects, ceiling: Effects) -> bool:
    """Whether `effects` is nowhere more dangerous than `ceiling`. (Idempotence is a promise, not a danger.)"""
    widened = worst(effects, ceiling)
    return replace(widened, idempotent=ceiling.idempotent) == ceiling
