"""A home with stores, and records in them that can be told apart."""

from __future__ import annotations

import asyncio
from pathlib import Path

from inhabit.contracts.clock import now_ms
from inhabit.contracts.principal import Principal
from inhabit.contracts.run import Asked
from inhabit.store.tenants.opening import Bounds
from inhabit.store.tenants.stores import Stores
from tests.store.store_samples import ended, header, intent, outcome

__all__ = ["files_with", "opened", "recorded"]


def opened(home: Path, *, most: int = 100, settled_s: float = 0.0, wait_s: float = 10.0) -> Stores:
    return Stores.open(home, now_ms, Bounds(most=most, settled_s=settled_s, wait_s=wait_s))


def files_with(folder: Path, needle: bytes) -> list[str]:
    """Files of a folder and all below that hold these bytes, or are named so."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*")
                  if needle in str(path.relative_to(folder)).encode() or (path.is_file() and needle in path.read_bytes()))


async def recorded(stores: Stores, tenant: str, n: int, canary: str = "nothing", *, end: bool = True, asks: int | None = None) -> str:
    """A run with the canary in its source, its arguments, a long result and a binary value; `asks`: a question that expires then."""
    head = header(n, user=f"u-{canary}"[:100], tenant=tenant, source=f"return {canary!r}")
    await stores.journal.ready(tenant)
    bound = await stores.blobs.put(canary.encode() * 900 + b"%d" % n, tenant=tenant, mime="text/plain")
    stores.journal.begin(head)
    await stores.journal.append(head.run_id, intent(1, b'{"a":"%s"}' % canary.encode())).durable()
    value = b'{"$binary":"%s","type":"text/plain","size":1}' % bound["$binary"].encode()
    await stores.journal.append(head.run_id, intent(2), intent(3), outcome(1, b'"' + canary.encode() * 900 + b'"'), outcome(2, value)._replace(binaries=(bound["$binary"],)),
                                *((Asked(f"ap-{tenant}-{n}", 3, "shop.pay", "d", "r", canary, 5, asks),) if asks is not None else ())).durable()
    await stores.conversations.join(Principal(f"u-{canary}"[:100], tenant), f"chat {canary}", head.run_id, [("U", "web.fetch")], now_ms())
    if end:
        await stores.journal.append(head.run_id, ended(now_ms())).durable()
    await asyncio.sleep(0)
    return head.run_id
