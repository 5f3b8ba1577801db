"""The one writer thread: group commit.

Model: appends go into the open batch under a lock. The thread takes the batch as soon as somebody waits for
it, or at most `LINGER_S` after its first record when nobody does, and commits it with one fsync; what is
appended meanwhile makes the next batch, so that the number of waiters, not a timer, sets the size of a batch.
A thread that was busy looks by itself every `LINGER_S` and rests only when it found nothing for a while:
waking a thread costs the one who appends more than the append.
Invariants: batches are committed in the order of their records; a waiter is released only after its commit;
per commit and event loop there is one `call_soon_threadsafe`. After a failed commit nothing is accepted: a
full disk is tried again every second and starts a new generation (runs of the old one stay interrupted), any
other failure is final, since a page whose fsync failed may be lost while looking written.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from inhabit.contracts.run import RunHeader, Write
from inhabit.errors import Unavailable
from inhabit.store.audit.log import AuditLog
from inhabit.store.batch import Batch, Ending, Job, OpenRun, Row, again
from inhabit.store.commit import check_epoch, write_batch
from inhabit.store.ownership import Mark, Ownership
from inhabit.store.packing import Draft

__all__ = ["LINGER_S", "MAX_PENDING_BYTES", "Writer"]

LINGER_S = 0.01
"""How long a record nobody waits for may gather company."""
MAX_PENDING_BYTES = 256 * 1024 * 1024
"""Records queued for the disk; more are refused, so that a slow disk does not become a full memory."""
_SOON_BYTES = 4 * 1024 * 1024
_RETRY_S = 1.0
_LOOKS = 20
"""How often a thread without work looks again, `LINGER_S` apart, before it rests."""
_log = logging.getLogger(__name__)
_T = TypeVar("_T")


class Writer:
    """Owns the writing connection. Thread-safe; `close` is to be called once, from any thread."""

    def __init__(self, connection: sqlite3.Connection, ownership: Ownership, epoch: int, last_run: int,
                 log: AuditLog) -> None:
        self._connection = connection
        self._audit = log
        self._ownership = ownership
        self._epoch = epoch
        self._last_run = last_run
        self._lock = threading.Lock()
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._open = Batch(self._ask)
        self._taken: Batch | None = None
        self._urgent = False
        self._resting = False
        self._closing = False
        self._pending_bytes = 0
        self.commits = 0
        self.generation = 0
        self.failure: Unavailable | None = None
        self._thread = threading.Thread(target=self._work, name="inhabit-journal", daemon=True)
        self._thread.start()

    def begin(self, run: OpenRun, header: RunHeader, draft: Draft) -> Batch:
        with self._lock:
            batch = self._accepting(draft.size)
            batch.begun.append((run, header, draft))
            return batch

    def append(self, run: OpenRun, rows: list[Row], ending: Ending | None, size: int,
               also: Sequence[Write] = ()) -> Batch:
        with self._lock:
            if run.generation != self.generation:
                raise Unavailable(
                    f"the record of run {run.run_id} was interrupted", code="journal_interrupted",
                    fix="it is settled at the next start of the server")
            batch = self._accepting(size)
            batch.rows += rows
            if ending is not None:
                batch.ended.append(ending)
            batch.also += also
            return batch

    async def perform(self, work: Callable[[sqlite3.Connection], _T], size: int = 0) -> _T:
        """Do `work` on the writer's connection and return once it is on disk. Raises what `work` raises."""
        job = Job(work)
        with self._lock:
            batch = self._accepting(size)
            batch.jobs.append(job)
        return await _done(job, batch)

    async def maintain(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Like `perform`, outside a transaction. No connection but the writer's may write or checkpoint:
        SQLite before 3.51.3 could lose a commit when one connection reset the log while another wrote.
        """
        job = Job(work)
        with self._lock:
            batch = self._accepting(0)
            batch.after.append(job)
        return await _done(job, batch)

    async def flush(self) -> None:
        """Return when all that was appended before is on disk; at once if it never will be."""
        with self._lock:
            batch = self._taken if self._open.empty else self._open
        if batch is not None:
            with contextlib.suppress(Unavailable):
                await batch.durable()

    @property
    def pending_bytes(self) -> int:
        """On their way to the disk now, against `MAX_PENDING_BYTES`."""
        return self._pending_bytes

    @property
    def closed(self) -> bool:
        return self._closing

    def stop(self) -> None:
        """Commit what is queued and end the thread; idempotent."""
        with self._lock:
            self._closing = True
            self._wake.put(None)
        self._thread.join()

    def _accepting(self, size: int) -> Batch:
        """The open batch, for `size` more bytes. Raises `Unavailable`: no record, no effect."""
        if self.failure is not None:
            raise again(self.failure)
        if self._closing:
            raise Unavailable("the journal is closed", code="journal_closed", fix="start the server again")
        if self._pending_bytes + size > MAX_PENDING_BYTES:
            raise Unavailable(f"the journal is behind by {self._pending_bytes} bytes", code="journal_behind",
                              fix="a faster disk, fewer runs at once, or smaller values")
        batch = self._open
        batch.size += size
        self._pending_bytes += size
        if self._resting or (batch.size > _SOON_BYTES and not self._urgent):
            self._resting = False
            self._urgent = self._urgent or batch.size > _SOON_BYTES
            self._wake.put(None)
        return batch

    def _ask(self, batch: Batch) -> asyncio.Future[None] | None:
        with self._lock:
            if batch.settled:
                return None
            waiter = asyncio.get_running_loop().create_future()
            batch.waiters.append(waiter)
            if batch is self._open and not self._urgent:
                self._urgent = True
                self._wake.put(None)
            return waiter

    def _work(self) -> None:
        while True:
            self._idle()
            batch = self._take()
            if batch is None:
                break
            self._settle(batch, self.failure or self._commit(batch))
            if self._audit.due():
                self._sign()
        self._sign()
        self._settle(Batch(self._ask), Unavailable("the journal is closed", code="journal_closed"))

    def _idle(self) -> None:
        """Sleep until there is something to commit, and for company if nobody waits."""
        if self.failure is not None and self.failure.specific_code == "journal_full":
            self._try_again()
            return
        for _ in range(_LOOKS):
            self._linger()
            if not self._open.empty:
                return
        if self._rests():
            self._rest()
            self._linger()

    def _rest(self) -> None:
        """Sleep until the next append; sign meanwhile what is not signed."""
        with contextlib.suppress(queue.Empty):
            self._wake.get(timeout=self._audit.due_in_s())
            return
        self._sign()
        self._wake.get()

    def _sign(self) -> None:
        """A checkpoint that cannot be written is made up for later: what it would sign is on disk."""
        if self.failure is None:
            try:
                self._audit.sign(self._connection, self._epoch)
            except sqlite3.Error as error:
                _log.warning("the audit log's checkpoint was put off: %s", error)

    def _linger(self) -> None:
        if not (self._urgent or self._closing):
            with contextlib.suppress(queue.Empty):
                self._wake.get(timeout=LINGER_S)

    def _rests(self) -> bool:
        """Whether nothing came while the thread looked: from now on the first append wakes it."""
        with self._lock:
            self._resting = self._open.empty and not (self._urgent or self._closing)
            return self._resting

    def _take(self) -> Batch | None:
        with self._lock:
            while not self._wake.empty():
                self._wake.get_nowait()
            if self._closing and self._open.empty:
                return None
            if self._closing:
                self._wake.put(None)
            batch, self._open = self._open, Batch(self._ask)
            self._taken = batch
            self._pending_bytes -= batch.size
            self._urgent = False
            return batch

    def _commit(self, batch: Batch) -> Unavailable | None:
        if batch.empty:
            return None
        try:
            write_batch(self._connection, batch, self._epoch, self._audit)
        except Unavailable as error:
            return error
        except Exception as error:  # noqa: BLE001  the thread must outlive any failure, to tell it
            return _failure(error)
        self.commits += 1
        self._mark(batch)
        for job in batch.after:
            try:
                job.result = job.work(self._connection)
            except Exception as error:  # noqa: BLE001  the asker gets it
                job.error = error
        return None

    def _mark(self, batch: Batch) -> None:
        if batch.begun:
            self._last_run = batch.begun[-1][0].key
        if batch.rows:
            last = batch.rows[-1]
            self._ownership.write(Mark(self._epoch, self._last_run, last.run.key, last.number))

    def _settle(self, batch: Batch, error: Unavailable | None) -> None:
        with self._lock:
            settled = [batch] if error is None else [batch, *self._fail(error)]
            for each in settled:
                each.error = error
                each.settled = True
            self._taken = None
            released = _by_loop([waiter for each in settled for waiter in each.waiters])
        for loop, waiters in released.items():
            with contextlib.suppress(RuntimeError):  # that loop is closed; nobody waits there any more
                loop.call_soon_threadsafe(_release, waiters)

    def _fail(self, error: Unavailable) -> tuple[Batch, ...]:
        """Refuse from now on. What was appended meanwhile goes too: it follows on what is lost."""
        if self.failure is None:
            self.failure = error
            if not self._closing:
                _log.error("%s", error.message)
        doomed, self._open = self._open, Batch(self._ask)
        self._pending_bytes = 0
        return (doomed,)

    def _try_again(self) -> None:
        with contextlib.suppress(queue.Empty):
            self._wake.get(timeout=_RETRY_S)
        if self._closing:
            return
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            check_epoch(self._connection, self._epoch)
            self._connection.execute("UPDATE meta SET epoch = epoch")
            self._connection.execute("COMMIT")
        except (sqlite3.Error, Unavailable):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            return
        with self._lock:
            self.failure = None
            self.generation += 1
        _log.warning("the disk has room again: the journal goes on")


async def _done(job: Job, batch: Batch) -> Any:
    await batch.durable()
    if job.error is not None:
        raise job.error
    return job.result


def _by_loop(
    waiters: list[asyncio.Future[None]],
) -> dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]]:
    found: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    for waiter in waiters:
        found.setdefault(waiter.get_loop(), []).append(waiter)
    return found


def _release(waiters: list[asyncio.Future[None]]) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)


def _failure(error: Exception) -> Unavailable:
    code = getattr(error, "sqlite_errorcode", None)
    if code == sqlite3.SQLITE_FULL:
        return Unavailable(
            "the journal cannot be written: the disk is full", code="journal_full",
            fix="free space on its disk; the journal goes on by itself,"
                " runs it interrupted at the next start")
    return Unavailable(f"the journal cannot be written: {error}", code="journal_failed",
                       fix="check the disk, then start the server again")
