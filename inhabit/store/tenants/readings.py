"""Binary values, conversations and open questions of a home's tenants, each in its tenant's own store.

What is only read makes no store: a tenant that has none has nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from inhabit.contracts.principal import Principal
from inhabit.contracts.run import Approval, Write
from inhabit.errors import NotFound
from inhabit.store.conversations import Cleared, ConversationLabels
from inhabit.store.tenants.opening import Opening
from inhabit.store.tenants.waiting import Overview

__all__ = ["TenantsApprovals", "TenantsBlobs", "TenantsConversations"]


class TenantsBlobs:
    """Implements `contracts.run.Blobs`."""

    def __init__(self, opening: Opening) -> None:
        self._opening = opening

    async def put(self, data: bytes, *, tenant: str, mime: str) -> dict[str, Any]:
        async with self._opening.using(tenant, make=True) as opened:
            assert opened is not None, "it was to be made"
            return await opened.store.blobs.put(data, tenant=tenant, mime=mime)

    async def get(self, reference: Mapping[str, Any], *, tenant: str) -> bytes:
        async with self._opening.using(tenant) as opened:
            if opened is None:
                raise NotFound(f"no binary value {str(reference.get('$binary'))[:12]}…", fix="it may have been pruned; fetch it again")
            return await opened.store.blobs.get(reference, tenant=tenant)


class TenantsConversations:
    """Implements `runtime.conversations.Conversations` and `server.labels.LabelsDesk`."""

    def __init__(self, opening: Opening) -> None:
        self._opening = opening

    async def labels(self, principal: Principal, scope: str) -> tuple[tuple[str, str], ...]:
        async with self._opening.using(principal.tenant) as opened:
            return await opened.store.conversations.labels(principal, scope) if opened is not None else ()

    def writes(self, principal: Principal, scope: str, run_id: str, labels: Sequence[tuple[str, str]], now_ms: int) -> tuple[Write, ...]:
        if not labels:
            return ()
        return self._opening.now(principal.tenant).store.conversations.writes(principal, scope, run_id, labels, now_ms)

    async def join(self, principal: Principal, scope: str, run_id: str, labels: Sequence[tuple[str, str]], now_ms: int) -> None:
        if labels:
            async with self._opening.using(principal.tenant, make=True) as opened:
                assert opened is not None, "it was to be made"
                await opened.store.conversations.join(principal, scope, run_id, labels, now_ms)

    async def list(self, *, tenant: str) -> Sequence[ConversationLabels]:
        async with self._opening.using(tenant) as opened:
            return await opened.store.conversations.list(tenant=tenant) if opened is not None else []

    async def cleared(self, *, tenant: str) -> Sequence[Cleared]:
        async with self._opening.using(tenant) as opened:
            return await opened.store.conversations.cleared(tenant=tenant) if opened is not None else []

    async def clear(self, principal: Principal, scope: str, *, by: str, reason: str, now_ms: int) -> Cleared:
        """Raises `NotFound`, `InvalidInput`."""
        async with self._opening.using(principal.tenant) as opened:
            if opened is None:
                raise NotFound(f"conversation {scope[:100]!r} of {principal.user} carries no labels", fix="see `inhabit labels list`")
            return await opened.store.conversations.clear(principal, scope, by=by, reason=reason, now_ms=now_ms)


class TenantsApprovals:
    """Implements `runtime.approvals.Questions`."""

    def __init__(self, opening: Opening, overview: Overview) -> None:
        self._opening = opening
        self._overview = overview

    async def pending(self, *, tenant: str, limit: int = 100) -> Sequence[Approval]:
        async with self._opening.using(tenant) as opened:
            return await opened.store.approvals.pending(tenant=tenant, limit=limit) if opened is not None else []

    async def find(self, approval: str, *, tenant: str) -> Approval | None:
        async with self._opening.using(tenant) as opened:
            return await opened.store.approvals.find(approval, tenant=tenant) if opened is not None else None

    async def due(self, now_ms: int) -> Sequence[Approval]:
        """Of all tenants: what nobody answered in time is answered for them."""
        return await self._overview.due(now_ms)

    async def waiting(self) -> Sequence[tuple[str, str]]:
        """The `(run, tenant)` of every undecided one, of all tenants."""
        return await self._overview.asked()
