"""Who owns a database file, and how far it had come: the `.lock` file beside it.

Model: one process owns a database. It holds an exclusive lock on the file `<database>.lock`, and its epoch (one
more than the last owner's) is in the database; every commit asks for its own epoch, so that a process whose lock
was taken away (a deleted lock file, a file system without locks) writes nothing more.
Stored: two slots of 40 bytes, written in turn: epoch, highest run key, last entry (run key, number), crc32.
They are written after the commit they tell of and without fsync, so they are never ahead of a sound database. A
database behind them has lost what was acknowledged (its `-wal` was removed or cut), which SQLite cannot tell.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import struct
import time
import zlib
from pathlib import Path
from typing import NamedTuple

from inhabit.errors import Unavailable

__all__ = ["Mark", "Ownership", "was_owned"]

_SLOT = struct.Struct("<QQQQI4x")
_FILE_BYTES = 4096
_PID_AT = 1024
_PAUSE_S = 0.05


class Mark(NamedTuple):
    """How far a database had come. `entry_run` and `entry_number` are 0 when no entry is to be looked for."""

    epoch: int = 0
    last_run: int = 0
    entry_run: int = 0
    entry_number: int = 0


class Ownership:
    """The held lock of one database. Raises `Unavailable` when another process holds it after `wait_s`."""

    def __init__(self, database: Path, wait_s: float = 1.0) -> None:
        self.path = _beside(database)
        self._descriptor = _locked(self.path, database, wait_s)
        try:
            _filled(self._descriptor)
            self._map = mmap.mmap(self._descriptor, _FILE_BYTES)
        except BaseException:
            os.close(self._descriptor)
            raise
        self._turn = 0
        self.found = (_slot(self._map, 0), _slot(self._map, 1))
        """The marks that the last owner left: each was true once, and is true of a sound database still."""
        self._map[_PID_AT:_PID_AT + 16] = f"{os.getpid():<16}".encode()

    def write(self, mark: Mark) -> None:
        """Remember how far the database has come; survives the process, not the machine."""
        body = _SLOT.pack(*mark, zlib.crc32(struct.pack("<QQQQ", *mark)))
        at = self._turn * _SLOT.size
        self._map[at:at + _SLOT.size] = body
        self._turn ^= 1

    def reset(self, mark: Mark) -> None:
        """Write both slots, so that no earlier mark is left."""
        self.write(mark)
        self.write(mark)

    def release(self) -> None:
        """Give the database up; idempotent."""
        if self._descriptor >= 0:
            self._map[_PID_AT:_PID_AT + 16] = b" " * 16
            self._map.close()
            os.close(self._descriptor)
            self._descriptor = -1


def was_owned(database: Path) -> bool:
    """Whether there ever was such a database, by the lock beside it, which outlives it."""
    try:
        held = _beside(database).read_bytes()
    except FileNotFoundError:
        return False
    return len(held) >= _FILE_BYTES and any(_slot(held, index).epoch for index in (0, 1))


def _beside(database: Path) -> Path:
    return database.with_name(database.name + ".lock")


def _locked(path: Path, database: Path, wait_s: float) -> int:
    deadline = time.monotonic() + wait_s
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if _try_lock(descriptor) and _same_file(descriptor, path):
            return descriptor
        holder = os.pread(descriptor, 16, _PID_AT).decode("ascii", "replace").strip(" \0") or "unknown"
        os.close(descriptor)
        if time.monotonic() >= deadline:
            raise Unavailable(f"{database} is in use by another process (pid {holder})", code="journal_in_use",
                              fix="speak to it, if it serves: INHABIT_URL and INHABIT_TOKEN; else stop it, or take another home")
        time.sleep(_PAUSE_S)  # a killed predecessor's workers may hold the lock for a moment


def _filled(descriptor: int) -> None:
    """Bytes on the disk, not a hole: a map over a hole kills the process when the disk is full. Raises `OSError`."""
    held = os.fstat(descriptor).st_size
    if held < _FILE_BYTES and os.pwrite(descriptor, bytes(_FILE_BYTES - held), held) != _FILE_BYTES - held:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        ours, there = os.fstat(descriptor), path.stat()
    except FileNotFoundError:
        return False
    return (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)


def _slot(held: mmap.mmap | bytes, index: int) -> Mark:
    *fields, checksum = _SLOT.unpack_from(held, index * _SLOT.size)
    mark = Mark(*fields)
    return mark if zlib.crc32(struct.pack("<QQQQ", *mark)) == checksum else Mark()
