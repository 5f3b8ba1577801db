"""One SQLite file of ours: opened safely, written by one thread, read by a few.

Opening order: lock, refuse what is not ours, migrate, compare with the last owner's marks, look for damage, take a
new epoch. Nothing is written before the lock is held. The files are readable by their owner alone.
Invariant: this process writes and checkpoints through `writer` only; readers can do neither.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from inhabit.errors import Unavailable
from inhabit.store.audit.log import AuditLog, newest_run
from inhabit.store.audit.notes import Signer
from inhabit.store.folders import made, synced
from inhabit.store.ownership import Mark, Ownership
from inhabit.store.schema import migrate, refuse_foreign
from inhabit.store.writer import Writer

__all__ = ["Database", "audit_key", "connect"]

READERS = 3
QUICK_CHECK_BYTES = 256 * 1024 * 1024
"""A file up to this size is searched for damage at every start (≈ 0.3 s); a larger one by `inhabit doctor`."""
_WAL_LIMIT_BYTES = 64 * 1024 * 1024
_OLDEST_SQLITE = (3, 37, 0)
"""STRICT tables."""
_T = TypeVar("_T")


class Database:
    """Raises `Unavailable`, saying the fix, when the file is in use, foreign, newer, damaged or behind."""

    def __init__(self, path: Path, *, lock_wait_s: float = 1.0, key: Path | None = None, known_sound: bool = False) -> None:
        """`key`: of the audit log, where it does not lie beside the file. `known_sound`: this process closed it before."""
        self.path = path.absolute()
        self.key = key or audit_key(self.path)
        with _plainly(self.path):
            _private_files(self.path)
            self._ownership = Ownership(self.path, lock_wait_s)
        try:
            with _plainly(self.path):
                connection, epoch, last_run = _opened(self.path, self._ownership, known_sound)
                self.audit = _log_of(connection, self.key)
        except BaseException:
            self._ownership.release()
            raise
        self._connection = connection
        self.writer = Writer(connection, self._ownership, epoch, last_run, self.audit)
        self.epoch = epoch
        self.last_run = last_run
        self._idle: queue.SimpleQueue[sqlite3.Connection] = queue.SimpleQueue()
        self._readers: list[sqlite3.Connection] = []
        self._making = threading.Lock()
        self._threads = ThreadPoolExecutor(READERS, thread_name_prefix="inhabit-journal-read")

    async def read(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Run `work` in a reading transaction, off the event loop."""
        if self.writer.closed:
            raise Unavailable("the journal is closed", code="journal_closed", fix="start the server again")
        return await asyncio.get_running_loop().run_in_executor(self._threads, self.read_now, work)

    def read_now(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Like `read`, in the calling thread."""
        with _plainly(self.path):
            connection = self._reader()
        try:
            with _plainly(self.path):
                connection.execute("BEGIN")
                try:
                    return work(connection)
                finally:
                    connection.execute("COMMIT")
        finally:
            self._idle.put(connection)

    def _reader(self) -> sqlite3.Connection:
        """One that nobody uses; made when it is first needed."""
        with contextlib.suppress(queue.Empty):
            return self._idle.get_nowait()
        with self._making:
            if len(self._readers) < READERS:
                self._readers.append(connect(self.path, writing=False))
                return self._readers[-1]
        return self._idle.get()

    async def apart(self, work: Callable[[Database], _T]) -> _T:
        """Run `work`, which brings its own connection, off the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, self)

    def forget_mark(self) -> None:
        """Called on the writer's thread before records are deleted on purpose."""
        self._ownership.reset(Mark(self.epoch, 0, 0, 0))

    async def close(self) -> None:
        """Commit what is queued, fold the write-ahead log into the file, give the lock back; idempotent."""
        await asyncio.get_running_loop().run_in_executor(None, self.close_now)

    def close_now(self) -> None:
        self.writer.stop()
        self._threads.shutdown()
        for reader in self._readers:
            reader.close()
        with contextlib.suppress(sqlite3.Error):  # the log stays then, and the next start reads it
            self._connection.close()
        self._ownership.release()


def audit_key(path: Path) -> Path:
    """Where the key of a database's audit log lies."""
    return path.with_name(path.name + ".audit-key")


def _log_of(connection: sqlite3.Connection, key: Path) -> AuditLog:
    try:
        return AuditLog(connection, Signer(key))
    except BaseException:
        connection.close()
        raise


def connect(path: Path, *, writing: bool) -> sqlite3.Connection:
    """A connection with our settings, in autocommit, usable from any one thread at a time."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10.0,
                                 cached_statements=64)
    try:
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("PRAGMA query_only = " + ("OFF" if writing else "ON"))
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT_BYTES}")
    except BaseException:
        connection.close()
        raise
    return connection


def _opened(path: Path, ownership: Ownership, known_sound: bool) -> tuple[sqlite3.Connection, int, int]:
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        raise Unavailable(f"SQLite {sqlite3.sqlite_version} is too old for the journal",
                          fix=f"use a Python with SQLite {'.'.join(map(str, _OLDEST_SQLITE))} or newer")
    fresh = path.stat().st_size == 0
    connection = connect(path, writing=True)
    try:
        if fresh:
            _refuse_emptied(path, ownership)
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        refuse_foreign(connection, path)
        if connection.execute("PRAGMA journal_mode = WAL").fetchone() != ("wal",):
            raise Unavailable(f"{path} lies on a file system without shared memory", fix="use a local disk")
        migrate(connection)
        _look_for_loss(connection, path, ownership)
        if not known_sound:
            _look_for_damage(connection, path)
        connection.execute("UPDATE meta SET epoch = epoch + 1")
        (epoch,) = connection.execute("SELECT epoch FROM meta").fetchone()
        (kept,) = connection.execute("SELECT coalesce(max(key), 0) FROM runs").fetchone()
        last_run = max(kept, newest_run(connection))    # runs that were erased stand in the log by their keys
        ownership.reset(Mark(epoch, last_run, 0, 0))
        _tighten(path)
    except BaseException:
        connection.close()
        raise
    return connection, epoch, last_run


def _refuse_emptied(path: Path, ownership: Ownership) -> None:
    if any(mark.epoch for mark in ownership.found):
        raise _behind(path, ownership, "the database is empty or gone")


def _look_for_loss(connection: sqlite3.Connection, path: Path, ownership: Ownership) -> None:
    for mark in ownership.found:
        row = connection.execute("SELECT epoch FROM meta").fetchone()   # none or NULL where a disk has kept a part of the file
        if row is None or (row[0] or 0) < mark.epoch:
            raise _behind(path, ownership, "its last start is not in it")
        entry = connection.execute("SELECT 1 FROM entries WHERE run = ? AND number = ?",
                                   (mark.entry_run, mark.entry_number)).fetchone()
        if mark.entry_run and entry is None:
            raise _behind(path, ownership, "its last acknowledged record is not in it")


def _behind(path: Path, ownership: Ownership, reason: str) -> Unavailable:
    return Unavailable(
        f"{path} has lost acknowledged records: {reason} (was {path.name}-wal removed or damaged?)",
        code="journal_behind_mark",
        fix=f"put {path.name}-wal back or restore a backup; to go on without the lost records, remove {ownership.path}")


def _look_for_damage(connection: sqlite3.Connection, path: Path) -> None:
    if path.stat().st_size > QUICK_CHECK_BYTES:
        return
    found = [line for (line,) in connection.execute("PRAGMA quick_check(3)")]
    if found != ["ok"]:
        raise Unavailable(f"{path} is damaged: {'; '.join(found)[:300]}", code="journal_damaged",
                          fix="restore a backup, and check the disk")


def _private_files(path: Path) -> None:
    made(path.parent)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    synced(path.parent)


def _tighten(path: Path) -> None:
    for name in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
        with contextlib.suppress(FileNotFoundError):
            name.chmod(0o600)


@contextlib.contextmanager
def _plainly(path: Path) -> Generator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            raise _full(path) from error
        raise Unavailable(f"{path} cannot be read: {error}", code="journal_damaged",
                          fix="restore a backup, and check the disk") from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise _full(path) from error
        raise Unavailable(f"{path} cannot be opened: {error.strerror}", code="journal_unopenable",
                          fix="make its directory writable for this user") from error


def _full(path: Path) -> Unavailable:
    return Unavailable(f"{path} cannot be written: the disk is full", code="journal_full", fix="free space on its disk: make room for some MB")
