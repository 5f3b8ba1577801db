"""What waits in the stores of a home, all tenants together: seen once at the start, without opening them for good.

Who has unfinished runs or open questions is read from the closed files (`survey`); a store that a crash left is opened, which
mends it, and is closed again like any other when nobody needs it. Later on the open stores say it of themselves, and of
a closed one the time of its first expiry is remembered.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

from inhabit.contracts.run import Approval
from inhabit.errors import Unavailable
from inhabit.store.store import Store
from inhabit.store.tenants.naming import journal_of, tenants_in
from inhabit.store.tenants.opening import Opening
from inhabit.store.tenants.survey import Waiting, look, look_open

__all__ = ["Overview"]

_log = logging.getLogger(__name__)


class Overview:
    """One for a home."""

    def __init__(self, home: Path, opening: Opening) -> None:
        self._home = home
        self._opening = opening
        self._seen: dict[str, Waiting] | None = None

    async def unfinished(self) -> Sequence[str]:
        """Tenants that may have runs to take up."""
        seen = await self._looked()
        opened = {one.tenant for one in self._opening.opened}
        return sorted({tenant for tenant, waiting in seen.items() if waiting.unfinished} | opened)

    async def asked(self) -> Sequence[tuple[str, str]]:
        """The `(run, tenant)` of every open question."""
        self._seen = None
        return [(run, tenant) for tenant, waiting in (await self._looked()).items() for run in waiting.asked]

    async def due(self, now_ms: int) -> Sequence[Approval]:
        """Questions whose time is over. A closed store is opened only where there is one."""
        await self._looked()
        late = [tenant for tenant, expires_ms in self._opening.expiries.items() if expires_ms <= now_ms]
        found: list[Approval] = []
        for tenant in {*late, *(one.tenant for one in self._opening.opened)}:
            try:
                async with self._opening.using(tenant) as opened:
                    found += await opened.store.approvals.due(now_ms) if opened is not None else ()
            except Unavailable as error:
                _log.warning("the approvals of tenant %s were not looked through: %s", tenant, error)
        return found

    async def _looked(self) -> dict[str, Waiting]:
        if self._seen is None:
            self._seen = {}
            for tenant, seen in await asyncio.to_thread(lambda: [(name, look(journal_of(self._home, name))) for name in tenants_in(self._home)]):
                waiting = seen or await self._opened(tenant)
                if waiting is None:
                    continue
                if waiting.unfinished or waiting.asked:
                    self._seen[tenant] = waiting
                if waiting.expires_ms is not None and tenant not in {one.tenant for one in self._opening.opened}:
                    self._opening.expiries[tenant] = waiting.expires_ms
        return self._seen

    async def _opened(self, tenant: str) -> Waiting | None:
        try:
            async with self._opening.using(tenant) as opened:
                return await _of(opened.store) if opened is not None else None
        except Unavailable as error:
            _log.error("the store of tenant %s cannot be opened: %s", tenant, error)
            return None


async def _of(store: Store) -> Waiting:
    await store.database.writer.flush()
    return await store.database.read(look_open)
