"""Tenants' stores, opened when they are needed and closed when they are not.

Model: a store is in use while somebody reads it, holds it, or a run is under way that it records. `most` may be open at once;
for one more the longest unused goes, and where all are in use the asker waits a while and is then refused. Whoever asks in
a coroutine waits; whoever asks in a synchronous step (the begin of a run) opens in that step, if it was not made ready.
Threads: a store has one writer thread and at most three readers, for as long as it is open; so their number is bounded too.

Invariants: a store that is in use is not closed; one that is closed has everything on disk that was appended; a tenant
never has two open stores (a gate a tenant; the file's own lock is behind it). A failure to open one is nobody else's.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from inhabit.errors import Unavailable
from inhabit.limits import OPEN_STORES, STORE_IDLE_S
from inhabit.store.folders import synced
from inhabit.store.ledger import Ledger
from inhabit.store.store import Store
from inhabit.store.tenants.naming import AUDIT_KEY, JOURNAL, TENANTS, tenant_folder
from inhabit.store.tenants.survey import look

__all__ = ["Bounds", "Opened", "Opening"]

_PAUSE_S = 0.05
_GATES = 64


class Bounds(NamedTuple):
    """`most` stores at once; one is closed when it was unused for `idle_s`, or for `settled_s` where another is needed (what
    was just read of it is about to be answered); whoever needs one waits for `wait_s` at most."""

    most: int = OPEN_STORES
    idle_s: float = STORE_IDLE_S
    settled_s: float = 1.0
    wait_s: float = 10.0


@dataclass(slots=True, eq=False)
class Opened:
    """An open store. `users`: who reads or holds it now."""

    tenant: str
    store: Store
    ledger: Ledger
    used_s: float
    users: int = 0

    def closable(self, unused_s: float) -> bool:
        return not self.users and time.monotonic() - self.used_s >= unused_s and not self.store.journal.active


class Opening:
    """One for a home. `ledger_ms`: the time of usage, which goes on while a store is closed."""

    def __init__(self, home: Path, ledger_ms: Callable[[], int], bounds: Bounds) -> None:
        self._home = home
        self._ledger_ms = ledger_ms
        self._bounds = bounds
        self._lock = threading.Lock()
        self._gates = tuple(threading.Lock() for _ in range(_GATES))
        self._opened: dict[str, Opened] = {}
        self._coming = 0
        self._known: set[str] = set()
        self._over = False
        self.expiries: dict[str, int] = {}
        """Of closed stores, when their first question expires."""
        self.commits = 0
        """Of stores that are closed."""

    @property
    def opened(self) -> tuple[Opened, ...]:
        with self._lock:
            return tuple(self._opened.values())

    def exists(self, tenant: str) -> bool:
        return tenant in self._opened or (tenant_folder(self._home, tenant) / JOURNAL).exists()

    @asynccontextmanager
    async def using(self, tenant: str, *, make: bool = False) -> AsyncGenerator[Opened | None]:
        """The tenant's store, open until the end of the block; None where there is none and `make` is not asked for."""
        found = self._taken(tenant)
        if found is None and (make or self.exists(tenant)):
            found = await self._brought(tenant)
        try:
            yield found
        finally:
            if found is not None:
                self._left(found)

    @contextmanager
    def holding(self, tenant: str) -> Generator[Opened]:
        """The same in a synchronous step, and made if it is not there."""
        found = self._taken(tenant)
        while found is None:
            self.now(tenant)
            found = self._taken(tenant)
        try:
            yield found
        finally:
            self._left(found)

    def now(self, tenant: str) -> Opened:
        """The tenant's store, opened in the calling thread where it is not."""
        found = self._opened.get(tenant)
        if found is not None:
            found.used_s = time.monotonic()
            return found
        opened = self._opened_where_room(tenant)
        if opened is None:
            raise self._busy()
        return opened

    def close_one(self) -> bool:
        """Close the longest unused store. False where all are in use."""
        return any(self._close(opened, self._bounds.settled_s) for opened in sorted(self.opened, key=lambda one: one.used_s))

    def close_idle(self) -> int:
        """Close what nobody used for a while; how many."""
        return sum(self._close(opened, self._bounds.idle_s) for opened in self.opened)

    def close_all(self) -> None:
        """For good, whoever uses them."""
        with self._lock:
            self._over = True
        for opened in self.opened:
            self._close(opened, None)

    def forget(self, tenant: str) -> None:
        """Close a tenant's store, so that its folder can be moved or go. Raises `Unavailable` while it is in use."""
        opened = self._opened.get(tenant)
        if opened is not None and not self._close(opened, 0.0):
            raise Unavailable(f"the store of tenant {tenant} is in use", fix="let its runs end or cancel them, then do this again")
        self._known.discard(tenant)
        self.expiries.pop(tenant, None)

    def _taken(self, tenant: str) -> Opened | None:
        with self._lock:
            found = self._opened.get(tenant)
            if found is not None:
                found.users += 1
                found.used_s = time.monotonic()
            return found

    def _left(self, opened: Opened) -> None:
        with self._lock:
            opened.users -= 1
            opened.used_s = time.monotonic()

    async def _brought(self, tenant: str) -> Opened:
        deadline = time.monotonic() + self._bounds.wait_s
        while True:
            if await asyncio.to_thread(self._opened_where_room, tenant) is None:
                if time.monotonic() >= deadline:
                    raise self._busy()
                await asyncio.sleep(_PAUSE_S)
            elif (found := self._taken(tenant)) is not None:
                return found

    def _opened_where_room(self, tenant: str) -> Opened | None:
        """Room is reserved and used in one thread: an asker who is cancelled before a thread was free has taken none."""
        if self._reserved() or (self.close_one() and self._reserved()):
            return self._open(tenant)
        return None

    def _reserved(self) -> bool:
        """Whether there is room for one more; if so, it is taken, for `_open`."""
        with self._lock:
            if self._over:
                raise Unavailable("the stores are closed", code="journal_closed", fix="start the server again")
            free = len(self._opened) + self._coming < self._bounds.most
            self._coming += free
            return free

    def _open(self, tenant: str) -> Opened:
        try:
            with self._gates[hash(tenant) % _GATES]:
                found = self._opened.get(tenant)
                if found is None:
                    found = self._fresh(tenant)
                    with self._lock:
                        self._opened[tenant] = found
                return found
        finally:
            with self._lock:
                self._coming -= 1

    def _fresh(self, tenant: str) -> Opened:
        folder = tenant_folder(self._home, tenant)
        new = not (folder / JOURNAL).exists()
        store = Store.open(folder / JOURNAL, key=self._home / AUDIT_KEY, known_sound=tenant in self._known)
        try:
            if new:
                for made in (folder, self._home / TENANTS, self._home):
                    synced(made)
            ledger = store.ledger(self._ledger_ms())
        except BaseException:
            store.close_now()
            raise
        self.expiries.pop(tenant, None)
        return Opened(tenant, store, ledger, time.monotonic())

    def _close(self, opened: Opened, unused_s: float | None) -> bool:
        with self._gates[hash(opened.tenant) % _GATES]:
            with self._lock:
                if self._opened.get(opened.tenant) is not opened or not (unused_s is None or opened.closable(unused_s)):
                    return False
                del self._opened[opened.tenant]
            opened.ledger.close()
            sound = opened.store.journal.failure is None
            opened.store.close_now()
            self.commits += opened.store.database.writer.commits
            if sound:
                self._known.add(opened.tenant)
            waiting = look(opened.store.database.path)
            if waiting is None or waiting.expires_ms is not None:
                self.expiries[opened.tenant] = 0 if waiting is None or waiting.expires_ms is None else waiting.expires_ms
            return True

    def _busy(self) -> Unavailable:
        return Unavailable(f"the stores of {self._bounds.most} tenants are in use at once", code="stores_busy", fix="try again when some runs have ended",
                           details={"limit": "open_stores", "value": self._bounds.most, "unit": "stores"})
