"""Which binary values a run may use: those that the host itself kept for it, and no others of its tenant.

A reference names bytes by their hash, and a hash can be repeated by anybody: an upstream, a guest, a model. So that a
text contains one proves nothing. What counts is that `Blobs.put` returned it to a call of this run; the journal has
that in the call's outcome. What a run is started with is the word of whoever starts it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from inhabit.contracts.run import Blobs

__all__ = ["CallBlobs"]


class CallBlobs:
    """A tenant's binary values as one call sees them. Implements `contracts.run.Blobs`."""

    __slots__ = ("_blobs", "kept")

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self.kept: tuple[str, ...] = ()

    async def put(self, data: bytes, *, tenant: str, mime: str) -> dict[str, Any]:
        reference = await self._blobs.put(data, tenant=tenant, mime=mime)
        self.kept += (reference["$binary"],)
        return reference

    async def get(self, reference: Mapping[str, Any], *, tenant: str) -> bytes:
        return await self._blobs.get(reference, tenant=tenant)
