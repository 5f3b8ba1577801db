"""All stores of a home, as `app` opens them.

    server.db                  what is of the whole home: tokens (looked up before it is known whose they are), passkeys, and a log of
                               what befell tenants as a whole; its lock makes the home one process's
    audit.key                  signs the audit logs of all stores
    tenants/NAME/journal.db    one tenant's runs, values, questions, conversations, usage, and their audit log
    erased/ID.db               what is left of an erased tenant: leaves and checkpoints, which say nothing

Invariants: nothing is written before the lock of `server.db` is held; a record of one tenant is in no file of another.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from inhabit.errors import NotFound, Unavailable
from inhabit.store.ledger import TenantLedger
from inhabit.store.passkeys import Passkeys
from inhabit.store.retention import Pruned, Retention
from inhabit.store.store import Store
from inhabit.store.tenants.connections import TenantsConnections
from inhabit.store.tenants.copies import copy_home
from inhabit.store.tenants.journal import TenantsJournal
from inhabit.store.tenants.moving import move_over
from inhabit.store.tenants.naming import AUDIT_KEY, JOURNAL, SERVER, journal_of, tenants_in
from inhabit.store.tenants.opening import Bounds, Opening
from inhabit.store.tenants.readings import TenantsApprovals, TenantsBlobs, TenantsConversations
from inhabit.store.tenants.survey import look
from inhabit.store.tenants.waiting import Overview
from inhabit.store.tokens import TokenStore

__all__ = ["PRUNE_EVERY_S", "Stores", "connections_of", "size_of", "take"]

PRUNE_EVERY_S = 3_600.0
_TIDY_EVERY_S = 5.0
_DEFAULT = Bounds()
_log = logging.getLogger(__name__)


class Stores:
    """Close them once, after everything that appends has stopped. `open` instead of the constructor."""

    def __init__(self, home: Path, server: Store, ledger_ms: Callable[[], int], bounds: Bounds) -> None:
        self.home = home
        self.server = server
        self.opening = Opening(home, ledger_ms, bounds)
        overview = Overview(home, self.opening)
        self.journal = TenantsJournal(self.opening, overview)
        self.blobs = TenantsBlobs(self.opening)
        self.conversations = TenantsConversations(self.opening)
        self.approvals = TenantsApprovals(self.opening, overview)

    @classmethod
    def open(cls, home: Path, now_ms: Callable[[], int], bounds: Bounds = _DEFAULT) -> Stores:
        """Take the home, and move over what an older version left in one file. Raises `Unavailable`, saying the fix."""
        with take(home) as server:
            return cls(home, server, _ledger_ms(now_ms), bounds)

    @property
    def tokens(self) -> TokenStore:
        return self.server.tokens

    @property
    def passkeys(self) -> Passkeys:
        """What approvers answer with: a credential is of one person in the whole home."""
        return self.server.passkeys

    def tenants(self) -> tuple[str, ...]:
        """Everyone who has a store."""
        return tuple(tenants_in(self.home))

    def ledger_of(self, tenant: str) -> TenantLedger:
        """Usage of the policy's limits. What was handed out judges nothing any more once the store is closed."""
        return self.opening.now(tenant).ledger.of(tenant)

    async def check(self) -> tuple[str, ...]:
        """Read all files whole; what is wrong with them, one line each, () when all is well."""
        found = [f"server.db: {line}" for line in await self.server.check()]
        for tenant in self.tenants():
            async with self.opening.using(tenant) as opened:
                found += [f"tenant {tenant}: {line}" for line in await opened.store.check()] if opened is not None else ()
        return tuple(found)

    async def backup(self, target: Path, tenant: str | None = None) -> Path:
        """Copy the home to a new folder, or a tenant to a new file, while all goes on: all that was appended before. Raises
        `InvalidInput`, `NotFound`, `Unavailable`."""
        if tenant is None:
            await asyncio.gather(*(one.store.database.writer.flush() for one in self.opening.opened))
            return await asyncio.to_thread(copy_home, self.home, target)
        async with self.opening.using(tenant) as opened:
            if opened is None:
                raise NotFound(f"there is no tenant {tenant} in {self.home}", fix="name another")
            return await opened.store.backup(target)

    async def prune(self, now_ms: int, retention: Retention | None = None) -> Pruned:
        """Forget what is older or more than `retention` allows each tenant. Only stores that have such a thing are opened."""
        kept = retention or Retention()
        total = await self.server.prune(now_ms, kept)
        for tenant in self.tenants():
            if await asyncio.to_thread(self._nothing_old, tenant, kept, now_ms):
                continue
            try:
                async with self.opening.using(tenant) as opened:
                    if opened is not None:
                        await opened.ledger.prune()
                        total += await opened.store.prune(now_ms, kept)
            except Unavailable as error:
                _log.warning("pruning the store of tenant %s was put off: %s", tenant, error.message)
        return total

    async def keep_pruning(self, now_ms: Callable[[], int], retention: Retention | None = None, *, every_s: float = PRUNE_EVERY_S) -> None:
        """Prune now and every `every_s` seconds, until cancelled. A failure is logged and tried again."""
        while True:
            try:
                pruned = await self.prune(now_ms(), retention)
                if pruned.runs:
                    _log.info("pruned %d runs and %d values", pruned.runs, pruned.values)
            except Exception as error:  # noqa: BLE001  as below
                _put_off("pruning", error)
            await asyncio.sleep(every_s)

    async def keep_closing(self, every_s: float = _TIDY_EVERY_S) -> None:
        """Close stores that nobody uses, until cancelled. A failure is logged and tried again."""
        while True:
            await asyncio.sleep(every_s)
            try:
                await asyncio.to_thread(self.opening.close_idle)
            except Exception as error:  # noqa: BLE001  stores that are never closed again would fill the share of the others
                _put_off("closing unused stores", error)

    async def close(self) -> None:
        await asyncio.to_thread(self.close_now)

    def close_now(self) -> None:
        """Idempotent."""
        self.opening.close_all()
        self.server.close_now()

    def _nothing_old(self, tenant: str, kept: Retention, now_ms: int) -> bool:
        """Of a store that is closed; who only connected, or is erased meanwhile, has none."""
        path = journal_of(self.home, tenant)
        try:
            if any(opened.tenant == tenant for opened in self.opening.opened) or path.stat().st_size > kept.max_bytes:
                return False
        except FileNotFoundError:
            return True
        waiting = look(path)
        return waiting is not None and (waiting.oldest_ms is None or waiting.oldest_ms >= kept.unused_before_ms(now_ms))


def _put_off(what: str, error: Exception) -> None:
    """What we did not expect is told with where it happened; a disk that is full or fails says enough by itself."""
    _log.warning("%s was put off: %s", what, error, exc_info=None if isinstance(error, (Unavailable, OSError, sqlite3.Error)) else error)


def connections_of(home: Path) -> TenantsConnections:
    """The credentials of a home, whether a server has it or not; one of an older version is moved over first."""
    if (home / JOURNAL).exists():
        with take(home) as server:
            server.close_now()
    return TenantsConnections(home)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all in a folder."""
    return path.stat().st_size if path.is_file() else sum(one.stat().st_size for one in path.rglob("*") if one.is_file())


@contextmanager
def take(home: Path) -> Generator[Store]:
    """The home's own store, and with it the home; closed again where the block fails."""
    move_over(home)
    server = Store.open(home / SERVER, key=home / AUDIT_KEY)
    try:
        yield server
    except BaseException:
        server.close_now()
        raise


def _ledger_ms(now_ms: Callable[[], int]) -> Callable[[], int]:
    """The wall clock as it was at the start, going on at the pace of one that nobody sets."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    begun_ms, begun_ns = now_ms(), time.clock_gettime_ns(clock)
    return lambda: begun_ms + (time.clock_gettime_ns(clock) - begun_ns) // 1_000_000
