"""Binary values of a tenant, by content: implements `contracts.run.Blobs`.

Model: the bytes lie in the `blobs` table under (tenant, SHA-256); equal bytes are kept once per tenant. A journaled
record that carries a reference keeps its blob alive; one that no record names is pruned `UNUSED_DAYS` after it was
last put. Invariant: `put` returns after the fsync, so that a reference never names bytes that a crash could lose.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any

from inhabit.contracts.clock import now_ms
from inhabit.errors import InvalidInput, LimitExceeded, NotFound
from inhabit.limits import CEILINGS
from inhabit.store.commit import insert_blob
from inhabit.store.database import Database
from inhabit.store.reading import blob

__all__ = ["MAX_BLOB_BYTES", "MAX_TENANT_BYTES", "SqliteBlobs"]

MAX_BLOB_BYTES = CEILINGS.value_bytes
MAX_TENANT_BYTES = 8 * 1024**3
"""All values a tenant may have here at once, so that one cannot fill the disk of the others."""
_UNKNOWN = "application/octet-stream"
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")
_MIME = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,127}/[A-Za-z0-9!#$&^_.+-]{1,127}(; ?[\x20-\x7e]{1,200})?\Z")


class SqliteBlobs:
    def __init__(self, database: Database, *, max_tenant_bytes: int = MAX_TENANT_BYTES,
                 now_ms: Callable[[], int] = now_ms) -> None:
        self._database = database
        self._max_tenant_bytes = max_tenant_bytes
        self._now_ms = now_ms

    async def put(self, data: bytes, *, tenant: str, mime: str) -> dict[str, Any]:
        """Keep `data` and return its reference. Raises `LimitExceeded`, `Unavailable`.

        The media type is an upstream's word: one that is none must not cost the answer of a call that has happened.
        """
        if len(data) > MAX_BLOB_BYTES:
            raise LimitExceeded.of("value_bytes", MAX_BLOB_BYTES, "bytes", what=f"a binary value of {len(data)} bytes",
                                   fix="pass it in smaller pieces")
        digest = await asyncio.to_thread(_digest, data)
        await self._room(tenant, len(data))
        touched_ms = self._now_ms()
        await self._database.writer.perform(lambda c: insert_blob(c, tenant, digest, data, touched_ms), len(data))
        return {"$binary": digest.hex(), "type": mime if _MIME.match(mime) else _UNKNOWN, "size": len(data)}

    async def get(self, reference: Mapping[str, Any], *, tenant: str) -> bytes:
        """Raises `NotFound` for an unknown or another tenant's reference, `InvalidInput` for what is none."""
        name = reference.get("$binary")
        if not isinstance(name, str) or not _DIGEST.match(name):
            raise InvalidInput('a binary reference has a "$binary" of 64 hexadecimal digits',
                               fix="pass the reference on as it was received")
        found = await self._database.read(lambda c: blob(c, tenant, bytes.fromhex(name)))
        if found is None:
            raise NotFound(f"no binary value {name[:12]}…", fix="it may have been pruned; fetch it again")
        return found

    async def _room(self, tenant: str, size: int) -> None:
        held: int = await self._database.read(lambda c: c.execute(
            "SELECT coalesce(sum(size), 0) FROM blobs WHERE tenant = ?", (tenant,)).fetchone()[0])
        if held + size > self._max_tenant_bytes:
            raise LimitExceeded.of("tenant_bytes", self._max_tenant_bytes, "bytes", what=f"values of tenant {tenant}",
                                   fix="prune old runs, or raise the limit")


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
