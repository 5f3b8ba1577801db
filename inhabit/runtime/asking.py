"""Questions to people: what exactly is asked, and what an answer means for the call.

An approval binds the operation, its canonical arguments, the run and the expiry, by hash: an answer to one question is
an answer to no other. It is used once: the journal holds one answer a question, and one outcome a call.
"""

from __future__ import annotations

import hashlib

import orjson

from inhabit.contracts.run import Asked, Decided, Intent
from inhabit.errors import Rejected

__all__ = ["digest_of", "question", "refusal"]


def question(run_id: str, intent: Intent, at_ms: int, lasts_ms: int) -> Asked:
    """The question that a call becomes."""
    expires_ms = at_ms + lasts_ms
    return Asked(
        f"{run_id}.{intent.sequence}", intent.sequence, intent.operation, digest_of(run_id, intent, expires_ms),
        str(intent.decision.get("rule", "")), str(intent.decision.get("reason", "")), at_ms, expires_ms)


def digest_of(run_id: str, intent: Intent, expires_ms: int) -> str:
    """SHA-256 (hex) over what an approval binds."""
    bound = orjson.dumps([run_id, intent.sequence, intent.operation, intent.arguments.decode(), intent.schema_hash, expires_ms])
    return hashlib.sha256(bound).hexdigest()


def refusal(decided: Decided) -> Rejected:
    """What the program catches when the answer was no, or never came."""
    if decided.verdict == "expire":
        return Rejected("nobody approved the call in time", code="approval_expired")
    said = f": {decided.reason}" if decided.reason else ""
    return Rejected(f"the call was rejected{said}", details={"by": decided.by})
