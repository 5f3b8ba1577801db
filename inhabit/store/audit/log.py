"""The audit log: a Merkle log over the journal, written with it in the same statement.

Model: a leaf stands for the records of one run in one commit, as 52 bytes: run key, number of the first, how many, and
SHA-256 over a salt and the records as they lie on disk. A run's header is its record 0. Leaves lie in the table
`entries` under run 0, one row a commit, so that the usual commit stays ONE statement; no leaf holds anything of a
user. The salt of a run lies beside its header and goes with it: then nobody can tell what a leaf stood for, and
the log verifies as before. A leaf of run 0 stands for a note (`audit_notes`): what was erased, restored or begun.
Checkpoints (`audit_checkpoints`) are signed every `SIGN_EVERY_LEAVES` leaves or `SIGN_EVERY_S`, and at start and end.
Invariants: a record is in the file if and only if a leaf stands for it: no record without its leaf, no effect
without its record. Everything here runs on the writer's thread, or before it starts.
"""

from __future__ import annotations

import secrets
import sqlite3
import struct
import time
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, NamedTuple

import orjson

from inhabit.contracts.clock import now_ms
from inhabit.errors import Unavailable
from inhabit.store.audit.merkle import Frontier, leaf_hash
from inhabit.store.audit.notes import Signer

__all__ = ["ITEM", "LEAVES", "SALT_BYTES", "SIGN_EVERY_LEAVES", "SIGN_EVERY_S", "AuditLog", "Gathered", "Item", "commitment", "items_of", "new_salt", "newest_run"]

LEAVES = 255
"""The kind of a row of leaves."""
SALT_BYTES = 16
SIGN_EVERY_LEAVES = 4_096
SIGN_EVERY_S = 60.0
ITEM = struct.Struct(">QQI32s")
_FRAME = struct.Struct(">BI")
_FIRST = struct.Struct(">Q")
_ADOPTED = 1_000
"""Records of one leaf when an older file is taken into a log."""


class Item(NamedTuple):
    """What a leaf says: records `first` to `first + records - 1` of a run. Run 0: a note."""

    run: int
    first: int
    records: int
    commitment: bytes


def new_salt() -> bytes:
    return secrets.token_bytes(SALT_BYTES)


def commitment(salt: bytes, first: int, framed: Sequence[bytes]) -> bytes:
    """`framed`: for each record its frame and its body. A leaf has a salt of its own, derived from its run's, so
    that showing what one leaf stands for opens no other."""
    return sha256(sha256(salt + _FIRST.pack(first)).digest() + b"".join(framed)).digest()


def items_of(body: bytes) -> list[Item]:
    """The leaves of one row. Raises `struct.error` for a body that is none."""
    return [Item(*fields) for fields in ITEM.iter_unpack(body)]


class _Group:
    __slots__ = ("first", "framed", "next", "run", "salt")

    def __init__(self, run: int, salt: bytes, first: int) -> None:
        self.run = run
        self.salt = salt
        self.first = first
        self.next = first
        self.framed: list[bytes] = []


class Gathered:
    """The records of one commit, by run."""

    __slots__ = ("_groups", "_last")

    def __init__(self) -> None:
        self._groups: list[_Group] = []
        self._last: dict[int, _Group] = {}

    def add(self, run: int, salt: bytes, number: int, kind: int, body: bytes) -> None:
        group = self._last.get(run)
        if group is None or group.next != number:
            group = self._last[run] = _Group(run, salt, number)
            self._groups.append(group)
        group.next = number + 1
        group.framed += (_FRAME.pack(kind, len(body)), body)

    def items(self) -> list[bytes]:
        return [ITEM.pack(g.run, g.first, g.next - g.first, commitment(g.salt, g.first, g.framed)) for g in self._groups]


class AuditLog:
    """The log of one database, as far as it is committed. `signer`: None signs nothing (a file that is being restored)."""

    def __init__(self, connection: sqlite3.Connection, signer: Signer | None) -> None:
        """Reads where the log stands; begins one in a file that has none. Raises `Unavailable` for a damaged one."""
        self._signer = signer
        self._staged: list[bytes] = []
        self._frontier, self._previous = _last_checkpoint(connection)
        self._signed = self._frontier.size
        for first, body in connection.execute("SELECT number, body FROM entries WHERE run = 0 AND number >= ? ORDER BY number",
                                              (self._frontier.size,)):
            if first != self._frontier.size or not body or len(body) % ITEM.size:
                raise _damaged(f"leaf {self._frontier.size} is missing")
            self._frontier.extend(_hashes(body))
        if not self._frontier.size:
            self._adopt(connection)
        self._due_s = time.monotonic() if self._unsigned else time.monotonic() + SIGN_EVERY_S

    @property
    def size(self) -> int:
        return self._frontier.size

    @property
    def public_key(self) -> str:
        return self._signer.public if self._signer else ""

    def stage(self, items: Sequence[bytes]) -> list[Any]:
        """The fields of the row for these leaves, alone of their commit."""
        self._staged = list(items)
        return [0, self._frontier.size, LEAVES, b"".join(items)]

    def open(self, items: Sequence[bytes]) -> None:
        """Begin the leaves of a commit; notes may follow until `write`."""
        self._staged = list(items)

    def note(self, connection: sqlite3.Connection, what: dict[str, Any]) -> int:
        """Record what happened to the log itself, within the commit that is being written. Returns the place of its leaf."""
        body = orjson.dumps({**what, "at_ms": now_ms()})
        position = self._frontier.size + len(self._staged)
        connection.execute("INSERT INTO audit_notes VALUES (?, ?)", (position, body))
        self._staged.append(ITEM.pack(0, 0, 0, sha256(body).digest()))
        return position

    @property
    def staged(self) -> int:
        return len(self._staged)

    def back_to(self, staged: int) -> None:
        """Forget notes whose savepoint was rolled back."""
        del self._staged[staged:]

    def write(self, connection: sqlite3.Connection) -> None:
        """Write the row of the commit's leaves, if it has any."""
        if self._staged:
            connection.execute("INSERT INTO entries VALUES (0, ?, ?, ?)", (self._frontier.size, LEAVES, b"".join(self._staged)))

    def committed(self) -> None:
        """The commit is on disk: its leaves are part of the tree."""
        self._frontier.extend(map(leaf_hash, self._staged))
        self._staged = []

    @property
    def _unsigned(self) -> int:
        return self._frontier.size - self._signed if self._signer else 0

    def due_in_s(self) -> float | None:
        """When to sign, if nothing more comes; None when all is signed."""
        return max(0.0, self._due_s - time.monotonic()) if self._unsigned else None

    def due(self) -> bool:
        unsigned = self._unsigned
        return unsigned >= SIGN_EVERY_LEAVES or (unsigned > 0 and time.monotonic() >= self._due_s)

    def sign(self, connection: sqlite3.Connection, epoch: int) -> None:
        """Sign how the log stands, in a commit of its own; nothing to do when it is signed. Raises `sqlite3.Error`."""
        if not self._unsigned or self._signer is None:
            return
        signed = self._signer.checkpoint(self._frontier.size, self._frontier.root(), now_ms(), self._previous)
        connection.execute("INSERT INTO audit_checkpoints SELECT ?, ?, ? WHERE (SELECT epoch FROM meta) = ?",
                           (signed.size, signed.text, self._frontier.peaks, epoch))
        self._previous = signed.digest
        self._signed = self._frontier.size
        self._due_s = time.monotonic() + SIGN_EVERY_S

    def _adopt(self, connection: sqlite3.Connection) -> None:
        """Begin the log with what the file holds: nothing, or the runs of a version that had no log."""
        connection.execute("BEGIN IMMEDIATE")
        try:
            gathered: list[bytes] = []
            runs = connection.execute("SELECT run, body FROM headers ORDER BY run").fetchall()
            for run, header in runs:
                salt = new_salt()
                connection.execute("UPDATE headers SET salt = ? WHERE run = ?", (salt, run))
                gathered += _adopted(connection, run, salt, header)
            self.open(())
            self.note(connection, {"log": "begins", "runs": len(runs)})
            self._staged += gathered
            self.write(connection)
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        self.committed()


def _adopted(connection: sqlite3.Connection, run: int, salt: bytes, header: bytes) -> list[bytes]:
    found: list[bytes] = []
    gathered = Gathered()
    gathered.add(run, salt, 0, 0, header)
    for number, kind, body in connection.execute("SELECT number, kind, body FROM entries WHERE run = ? ORDER BY number", (run,)):
        if not number % _ADOPTED:
            found += gathered.items()
            gathered = Gathered()
        gathered.add(run, salt, number, kind, body)
    return found + gathered.items()


def newest_run(connection: sqlite3.Connection) -> int:
    """The highest run key that a leaf stands for, 0 where there is none. A run's first leaf has its header, and runs begin in the
    order of their keys, so that the last such leaf is the newest run's, erased or not: a key is never given out twice. Raises
    `Unavailable` for a damaged log."""
    for number, body in connection.execute("SELECT number, body FROM entries WHERE run = 0 ORDER BY number DESC"):
        if not body or len(body) % ITEM.size:
            raise _damaged(f"leaf {number} cannot be read")
        for item in reversed(items_of(body)):
            if item.run and not item.first:
                return item.run
    return 0


def _hashes(body: bytes) -> list[bytes]:
    return [leaf_hash(body[at:at + ITEM.size]) for at in range(0, len(body), ITEM.size)]


def _last_checkpoint(connection: sqlite3.Connection) -> tuple[Frontier, str]:
    row = connection.execute("SELECT size, note, peaks FROM audit_checkpoints ORDER BY size DESC LIMIT 1").fetchone()
    if row is None:
        return Frontier(), "-"
    size, note, peaks = row
    held = connection.execute("SELECT number, length(body) FROM entries WHERE run = 0 AND number < ? ORDER BY number DESC LIMIT 1", (size,)).fetchone()
    if held is None or held[0] + held[1] // ITEM.size != size:
        raise _damaged(f"a checkpoint of {size} leaves is signed, and the log has not that many")
    try:
        return Frontier(size, peaks), sha256(note.encode()).hexdigest()
    except ValueError as error:
        raise _damaged(str(error)) from None


def _damaged(reason: str) -> Unavailable:
    return Unavailable(f"the audit log is damaged: {reason}", code="audit_damaged",
                       fix="`inhabit audit verify` says where; restore a backup")
