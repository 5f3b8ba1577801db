"""What was used of the policy's limits: implements `kernel.policy.Usage`, across runs and restarts.

Model: memory is the truth while this process holds the database's lock; the table `charges` is the truth after a
restart. A charge is booked in memory in the same synchronous step in which the call is decided, and the write that it
returns is committed in one transaction with the call's intent: what was acknowledged is charged, and what is not
charged was never done.

Invariants
- Two calls decided one after the other see each other's charges, so no number of concurrent calls passes a limit.
- The ledger's time only goes forward, at the pace of a clock that nobody sets. A wall clock that jumps moves no window;
  it is asked once, at the start. After a start it never lies before the newest charge.
- A tenant has a bounded number of keys; a further one cannot be judged, and what cannot be judged is denied.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence

from inhabit.contracts.run import Write
from inhabit.kernel.decide import Charge
from inhabit.kernel.policy import Unjudgeable
from inhabit.kernel.windows import Windows
from inhabit.store.database import Database

__all__ = ["MAX_KEYS_PER_TENANT", "Ledger", "TenantLedger"]

MAX_KEYS_PER_TENANT = 100_000
"""Some 40 MB. A shop with a limit for each customer has one for each that was active within its window."""
_SWEEP_EVERY_MS = 10_000
_CHARGE = ("INSERT INTO charges (tenant, key, window_ms, part, amount, run, at_ms) VALUES (?, ?, ?, ?, ?, ?, ?)"
           " ON CONFLICT DO UPDATE SET amount = excluded.amount, at_ms = excluded.at_ms")
_FORGET_RUN = "DELETE FROM charges WHERE run = ?"
_LEFT = "DELETE FROM charges WHERE window_ms > 0 AND (part + 1) * ((window_ms + 31) / 32) <= ? - window_ms"
_COUNTING = ("SELECT tenant, key, window_ms, part, amount, run FROM charges WHERE"
             " (window_ms > 0 AND (part + 1) * ((window_ms + 31) / 32) > ? - window_ms)"
             " OR run IN (SELECT run_id FROM runs WHERE ended_ms IS NULL)")
_ENDED = "DELETE FROM charges WHERE run != '' AND run NOT IN (SELECT run_id FROM runs WHERE ended_ms IS NULL)"


def _boot_ms() -> int:
    """Goes on while the machine sleeps, where the system has such a clock."""
    return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)) // 1_000_000


class Ledger:
    """One for a database. `of` gives a tenant's part of it."""

    def __init__(self, database: Database, now_ms: int, elapsed_ms: Callable[[], int] = _boot_ms) -> None:
        self._database = database
        self._elapsed_ms = elapsed_ms
        self._tenants: dict[str, TenantLedger] = {}
        start_ms = database.read_now(lambda connection: self._load(connection, now_ms))
        self._offset_ms = start_ms - elapsed_ms()

    def of(self, tenant: str) -> TenantLedger:
        held = self._tenants.get(tenant)
        if held is None:
            held = self._tenants[tenant] = TenantLedger(tenant, self.time_ms)
        return held

    def close(self) -> None:
        """What was handed out judges nothing from now on: another ledger may be the truth soon."""
        for tenant in self._tenants.values():
            tenant.closed = True

    def time_ms(self) -> int:
        return self._elapsed_ms() + self._offset_ms

    async def prune(self) -> None:
        """Forget what has left every window, here and on disk, and what belongs to runs that have ended."""
        now = self.time_ms()
        for tenant in self._tenants.values():
            tenant.sweep()
        await self._database.writer.perform(lambda c: _prune(c, now))

    def _load(self, connection: sqlite3.Connection, now_ms: int) -> int:
        """Take up what still counts. Returns the ledger's time: it does not go back behind a charge."""
        (newest,) = connection.execute("SELECT coalesce(max(at_ms), 0) FROM charges").fetchone()
        start_ms = max(now_ms, newest)
        for tenant, key, window_ms, part, amount, run in connection.execute(_COUNTING, (start_ms,)):
            self.of(tenant).put(key, window_ms, part, amount, run)
        return start_ms


class TenantLedger:
    """The kernel reads it, the bridge charges it, both in one synchronous step."""

    def __init__(self, tenant: str, time_ms: Callable[[], int]) -> None:
        self._tenant = tenant
        self._time_ms = time_ms
        self._windows = Windows()
        self._runs: dict[str, set[str]] = {}
        self._swept_ms: int | None = None
        self.closed = False

    def used(self, key: str, window_ms: int, now_ms: int, /) -> float:
        """The time is the ledger's own, whatever the caller's clock says. Raises `Unjudgeable` beyond the bound."""
        if self.closed:
            raise Unjudgeable("the tenant's usage is no longer kept here")
        if not self._windows.knows(key, window_ms) and len(self._windows) >= MAX_KEYS_PER_TENANT and not self._room():
            raise Unjudgeable(f"the tenant's usage is kept under {MAX_KEYS_PER_TENANT} keys already; one more is not kept")
        return self._windows.used(key, window_ms, self._time_ms())

    def reserve(self, charges: Sequence[Charge], run_id: str) -> tuple[Write, ...]:
        """Book what an allowed call uses up. The writes go to the journal with the call's intent."""
        writes: list[Write] = []
        for key, amount, window_ms in charges:
            if window_ms is not None and amount:
                writes.append(self._charge(key, amount, window_ms, "" if window_ms else run_id))
        return tuple(writes)

    def ended(self, run_id: str) -> tuple[Write, ...]:
        """Forget what was counted for a run alone. The writes go with its terminal entry."""
        keys = self._runs.pop(run_id, None)
        if keys is None:
            return ()
        for key in keys:
            self._windows.forget(key, 0)
        return (Write(_FORGET_RUN, (run_id,)),)

    def put(self, key: str, window_ms: int, part: int, amount: float, run: str) -> None:
        self._windows.put(key, window_ms, part, amount)
        if run:
            self._runs.setdefault(run, set()).add(key)

    def sweep(self) -> None:
        self._swept_ms = self._time_ms()
        self._windows.sweep(self._swept_ms)

    def _charge(self, key: str, amount: float, window_ms: int, run: str) -> Write:
        now = self._time_ms()
        part, total = self._windows.add(key, window_ms, amount, now)
        if run:
            self._runs.setdefault(run, set()).add(key)
        return Write(_CHARGE, (self._tenant, key, window_ms, part, total, run, now))

    def _room(self) -> bool:
        """Whether looking for what can be forgotten made room; looked at now and then, since a full ledger is asked often."""
        if self._swept_ms is None or self._time_ms() - self._swept_ms >= _SWEEP_EVERY_MS:
            self.sweep()
        return len(self._windows) < MAX_KEYS_PER_TENANT


def _prune(connection: sqlite3.Connection, now_ms: int) -> None:
    connection.execute(_LEFT, (now_ms,))
    connection.execute(_ENDED)
