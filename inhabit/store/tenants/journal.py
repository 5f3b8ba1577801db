"""The journal of a home: implements `contracts.run.Journal` over the journals of its tenants' stores.

Every method finds the one store by the tenant that it is given, and reads no other; an append finds it by the
run, which must be one that an open store has not ended. Invariant: no answer holds anything of two tenants,
but `unfinished`, which is for the start alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager

from inhabit.contracts.run import (
    Entry,
    EntryPage,
    RunEnding,
    RunHeader,
    RunRecord,
    RunState,
    RunSummary,
    StoredEntry,
    Suspended,
    Terminal,
    Ticket,
    Write,
)
from inhabit.errors import InvalidInput, NotFound, Unavailable
from inhabit.store.journal import SqliteJournal
from inhabit.store.tenants.opening import Opened, Opening
from inhabit.store.tenants.waiting import Overview

__all__ = ["TenantsJournal"]

_log = logging.getLogger(__name__)


class TenantsJournal:
    """`begin` and `append` do not block on the disk where the tenant's store is open: `ready` opens it,
    `hold` keeps it so.
    """

    def __init__(self, opening: Opening, overview: Overview) -> None:
        self._opening = opening
        self._overview = overview
        self._routes: dict[str, SqliteJournal] = {}
        self._followed: dict[str, list[tuple[asyncio.AbstractEventLoop, asyncio.Event]]] = {}

    async def ready(self, tenant: str) -> None:
        """Open the tenant's store, made if it is not there, so that a run can begin without waiting for the
        disk.
        """
        async with self._opening.using(tenant, make=True):
            pass

    def hold(self, tenant: str) -> AbstractContextManager[Opened]:
        """The tenant's store is open until the end of the block."""
        return self._opening.holding(tenant)

    def begin(self, header: RunHeader) -> Ticket:
        """Raises `InvalidInput` for an id in use, `Unavailable` when nothing can be written or all stores are
        in use.
        """
        journal = self._opening.now(header.principal.tenant).store.journal
        ticket = journal.begin(header)
        self._routes[header.run_id] = journal
        return ticket

    def append(self, run_id: str, *entries: Entry, also: Sequence[Write] = ()) -> Ticket:
        """Raises `InvalidInput` for a run that is not open, `Unavailable` when nothing can be written."""
        journal = self._routes.get(run_id)
        # a store that failed may be open anew
        if journal is None or journal.failure is not None or not journal.holds(run_id):
            journal = self._routes[run_id] = self._found(run_id)
        try:
            ticket = journal.append(run_id, *entries, also=also)
        finally:
            for loop, changed in self._followed.get(run_id, ()):
                loop.call_soon_threadsafe(changed.set)
        if entries and isinstance(entries[-1], Terminal | Suspended):
            del self._routes[run_id]    # its store may be closed from now on
        return ticket

    def written(self, run_id: str) -> int:
        """Bytes recorded so far for a run that has not ended; 0 for others."""
        journal = self._routes.get(run_id)
        return journal.written(run_id) if journal is not None else 0

    @property
    def failure(self) -> Unavailable | None:
        """Why nothing can be recorded now: the failure of every open store. One tenant's is its own."""
        failures = [opened.store.journal.failure for opened in self._opening.opened]
        return failures[0] if failures and all(failures) else None

    def gauges(self) -> Mapping[str, int]:
        journals = [opened.store.journal for opened in self._opening.opened]
        each = [journal.gauges() for journal in journals]
        return {"journal_commits": self._opening.commits + sum(one["journal_commits"] for one in each),
                "journal_pending_bytes": sum(one["journal_pending_bytes"] for one in each),
                "open_stores": len(journals),
                "stores_failed": sum(journal.failure is not None for journal in journals)}

    async def read(self, run_id: str, *, tenant: str) -> RunRecord:
        async with self._of(run_id, tenant) as journal:
            return await journal.read(run_id, tenant=tenant)

    async def summary(self, run_id: str, *, tenant: str) -> RunSummary:
        async with self._of(run_id, tenant) as journal:
            return await journal.summary(run_id, tenant=tenant)

    async def header(self, run_id: str, *, tenant: str) -> RunHeader:
        async with self._of(run_id, tenant) as journal:
            return await journal.header(run_id, tenant=tenant)

    async def ending(self, run_id: str, *, tenant: str) -> RunEnding:
        async with self._of(run_id, tenant) as journal:
            return await journal.ending(run_id, tenant=tenant)

    async def page(self, run_id: str, *, tenant: str, after: int = 0, limit: int = 200) -> EntryPage:
        async with self._of(run_id, tenant) as journal:
            return await journal.page(run_id, tenant=tenant, after=after, limit=limit)

    async def entry(self, run_id: str, number: int, *, tenant: str) -> StoredEntry | None:
        async with self._of(run_id, tenant) as journal:
            return await journal.entry(run_id, number, tenant=tenant)

    async def child(self, run_id: str, rung: str, *, tenant: str) -> str | None:
        async with self._of(run_id, tenant) as journal:
            return await journal.child(run_id, rung, tenant=tenant)

    async def list(self, *, tenant: str, user: str | None = None, state: RunState | None = None,
                   before: str | None = None, limit: int = 50) -> Sequence[RunSummary]:
        async with self._opening.using(tenant) as opened:
            if opened is None:
                return []
            journal = opened.store.journal
            return await journal.list(tenant=tenant, user=user, state=state, before=before, limit=limit)

    async def follow(self, run_id: str, *, tenant: str, after: int = 0) -> AsyncIterator[StoredEntry]:
        """The store is held while a page is read, and not between: whoever waits for a run that waits for a
        person, or reads slowly, keeps no other tenant's store closed. Raises `NotFound`, `Unavailable`.
        """
        with self._appended(run_id) as changed:
            while True:
                changed.clear()
                async with self._of(run_id, tenant) as journal:
                    found, failure = await journal.page(run_id, tenant=tenant, after=after), journal.failure
                for stored in found.entries:
                    after = stored.number
                    yield stored
                    if isinstance(stored.entry, Terminal):
                        return
                if after >= found.last:
                    if failure is not None:
                        raise failure
                    await changed.wait()

    async def unfinished(self) -> AsyncIterator[RunRecord]:
        """Of all tenants, one after the other. The store is open while its runs are taken up. A tenant whose
        store cannot be opened is said, and left as it is: it is no reason to keep the others waiting.
        """
        for tenant in await self._overview.unfinished():
            try:
                async with self._opening.using(tenant) as opened:
                    if opened is not None:
                        async for record in opened.store.journal.unfinished():
                            yield record
            except Unavailable as error:
                _log.error("the runs of tenant %s are not taken up: %s", tenant, error)

    @contextmanager
    def _appended(self, run_id: str) -> Generator[asyncio.Event]:
        """An event set at every append to the run, before it is on disk: a reading waits for that."""
        follower = (asyncio.get_running_loop(), asyncio.Event())
        self._followed.setdefault(run_id, []).append(follower)
        try:
            yield follower[1]
        finally:
            self._followed[run_id].remove(follower)
            if not self._followed[run_id]:
                del self._followed[run_id]

    @asynccontextmanager
    async def _of(self, run_id: str, tenant: str) -> AsyncGenerator[SqliteJournal]:
        async with self._opening.using(tenant) as opened:
            if opened is None:
                raise NotFound(f"no run {run_id}", fix="see `inhabit runs list`")
            yield opened.store.journal

    def _found(self, run_id: str) -> SqliteJournal:
        for opened in self._opening.opened:
            if opened.store.journal.holds(run_id):
                return opened.store.journal
        known = self._routes.pop(run_id, None)
        raise (known.failure if known else None) or InvalidInput(
            f"run {run_id} has ended or never began; nothing was recorded",
            fix="begin a run before its entries, and append nothing after its end")
