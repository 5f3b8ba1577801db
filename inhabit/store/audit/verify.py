"""Whether a journal's file is what was recorded: needs the public keys, the file, and nothing of the server.

Order: the checkpoints and their chain, the tree against every checkpoint, then every record against its leaf, every
value against its name. A finding names where. What no file can tell of itself, that its end was cut or that all of it
is an older copy, a checkpoint kept elsewhere tells (`external`).
Not found without one: changes to what is not signed yet (`Verified.unsigned` leaves at the end).
"""

from __future__ import annotations

import sqlite3
import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson

from inhabit.errors import InhabitError, InvalidInput
from inhabit.store.audit.clearings import loose_clearings
from inhabit.store.audit.events import loose_events
from inhabit.store.audit.log import ITEM, LEAVES, commitment
from inhabit.store.audit.merkle import Frontier, leaf_hash
from inhabit.store.audit.notes import Checkpoint, PublicKey, read_checkpoint
from inhabit.store.codec import OUTCOME, TERMINAL, decode_entry, decode_header
from inhabit.store.packing import BlobRef, unpack

__all__ = ["MAX_FINDINGS", "Finding", "Verified", "newest_checkpoint", "open_readonly", "verify"]

MAX_FINDINGS = 100
_FRAME = struct.Struct(">BI")
_LISTED = ("tenant", "id", "user", "agent", "language", "program", "origin", "parent", "start")
_Leaf = tuple[int, int, int, bytes]
"""The fields of an `Item`: a million of them are quicker as what they are read as."""
_UNREADABLE = (InhabitError, ValueError, IndexError, KeyError, TypeError)


@dataclass(frozen=True, slots=True)
class Finding:
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(frozen=True, slots=True)
class Verified:
    """`unsigned`: leaves after the last checkpoint. `erased`: runs that were erased with a note. No findings: sound."""

    leaves: int
    unsigned: int
    runs: int
    records: int
    erased: int
    findings: tuple[Finding, ...]


def open_readonly(path: Path) -> sqlite3.Connection:
    """Raises `InvalidInput` when there is no such file."""
    if not path.is_file():
        raise InvalidInput(f"{path} is not a file", fix="name a home's journal.db, or a backup")
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)


def verify(path: Path, keys: Sequence[PublicKey], external: str | None = None, tenant: str | None = None) -> Verified:
    """`external`: the text of a checkpoint that was kept elsewhere. `tenant`: whose journal it should be. Raises `InvalidInput` for no file, or when
    `external` is not signed by one of `keys`."""
    kept = read_checkpoint(external, keys) if external is not None else None
    connection = open_readonly(path)
    verifier = _Verifier(connection, keys, kept, tenant)
    try:
        connection.execute("BEGIN")
        return verifier.run()
    except sqlite3.DatabaseError as error:
        return verifier.cut(Finding(str(path), f"the file cannot be read on: {error}"))
    finally:
        connection.close()


def newest_checkpoint(path: Path) -> str | None:
    """The text of the last checkpoint in the file, not verified; None when nothing was signed yet."""
    connection = open_readonly(path)
    try:
        row = connection.execute("SELECT note FROM audit_checkpoints ORDER BY size DESC LIMIT 1").fetchone()
        return row[0] if row else None
    except sqlite3.DatabaseError as error:
        raise InvalidInput(f"{path} is no journal with an audit log: {error}", fix="name a home's journal.db, or a backup") from None
    finally:
        connection.close()


class _Verifier:
    def __init__(self, connection: sqlite3.Connection, keys: Sequence[PublicKey], kept: Checkpoint | None, tenant: str | None) -> None:
        self._connection = connection
        self._tenant = tenant
        self._keys = keys
        self._kept = kept
        self._found: list[Finding] = []
        self._items: list[_Leaf] = []
        self._unsigned = 0
        self._runs = 0
        self._records = 0
        self._erased: set[int] = set()
        self._named: set[tuple[str, bytes]] = set()

    def run(self) -> Verified:
        for step in (self._tree, self._notes, self._content, self._values):
            for finding in step():
                self._found.append(finding)
                if len(self._found) >= MAX_FINDINGS:
                    return self._result()
        return self._result()

    def cut(self, finding: Finding) -> Verified:
        self._found.append(finding)
        return self._result()

    def _result(self) -> Verified:
        return Verified(len(self._items), self._unsigned, self._runs, self._records, len(self._erased), tuple(self._found))

    def _rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql, values).fetchall()

    # The tree

    def _tree(self) -> Iterator[Finding]:
        checkpoints: list[Checkpoint] = []
        yield from self._checkpoints(checkpoints)
        hashes: list[bytes] = []
        yield from self._leaves(hashes)
        yield from self._roots(checkpoints, hashes)
        self._unsigned = max(0, len(hashes) - (checkpoints[-1].size if checkpoints else 0))

    def _checkpoints(self, into: list[Checkpoint]) -> Iterator[Finding]:
        previous = "-"
        for size, text in self._rows("SELECT size, note FROM audit_checkpoints ORDER BY size"):
            where = f"checkpoint of {size} leaves"
            try:
                found = read_checkpoint(str(text), self._keys)
            except InvalidInput as error:
                yield Finding(where, error.message)
                previous = sha256(str(text).encode()).hexdigest()
                continue
            if found.size != size:
                yield Finding(where, f"it is signed for {found.size} leaves")
            if found.previous != previous:
                yield Finding(where, "the checkpoint before it is missing or another one")
            previous = found.digest
            into.append(found)
        if not into:
            yield Finding("log", "it has no valid checkpoint")

    def _leaves(self, hashes: list[bytes]) -> Iterator[Finding]:
        for first, kind, body in self._rows("SELECT number, kind, body FROM entries WHERE run = 0 ORDER BY number"):
            if first != len(hashes):
                yield Finding(f"leaf {len(hashes)}", f"leaves are missing or misplaced before {first}")
                return
            if kind != LEAVES or not body or len(body) % ITEM.size:
                yield Finding(f"leaf {first}", "this row is no row of leaves")
                return
            self._items += ITEM.iter_unpack(body)
            if len(body) == ITEM.size:      # the usual row, and a million of them
                hashes.append(sha256(b"\0" + body).digest())
            else:
                hashes += [leaf_hash(body[at:at + ITEM.size]) for at in range(0, len(body), ITEM.size)]

    def _roots(self, checkpoints: Sequence[Checkpoint], hashes: list[bytes]) -> Iterator[Finding]:
        marks = [(c.size, c.root, "its own checkpoint") for c in checkpoints]
        if self._kept is not None:
            marks.append((self._kept.size, self._kept.root, "the checkpoint kept elsewhere"))
            if self._kept.digest not in {c.digest for c in checkpoints}:
                yield Finding(f"checkpoint of {self._kept.size} leaves", "the one kept elsewhere is not in the file")
        tree, sound = Frontier(), 0
        for size, root, whose in sorted(marks):
            if size > len(hashes):
                yield Finding(f"leaves {len(hashes)} to {size - 1}", f"they are gone: {whose} has {size} leaves, the file {len(hashes)}"
                              " (cut, or an older copy)")
                return
            tree.extend(hashes[tree.size:size])
            if tree.root() != root:
                yield Finding(f"leaves {sound} to {size - 1}", f"they are not those that {whose} was signed for")
                return
            sound = size

    def _notes(self) -> Iterator[Finding]:
        bodies: dict[int, bytes] = dict(self._rows("SELECT position, body FROM audit_notes"))
        notes: dict[int, Any] = {}
        for position, (run, _, _, committed) in enumerate(self._items):
            if run:
                continue
            body = bodies.pop(position, None)
            if body is None or sha256(body).digest() != committed:
                yield Finding(f"leaf {position}", "its note is missing" if body is None else "its note was changed")
                continue
            notes[position] = note = orjson.loads(body)
            self._erased.update(note.get("erased", ()))
        for position in bodies:
            yield Finding(f"note {position}", "no leaf of the log stands for it")
        if self._has_clearings():
            yield from (Finding(*found) for found in loose_clearings(self._connection, notes))
        if self._rows("SELECT 1 FROM sqlite_schema WHERE name = 'token_events'"):      # a backup of an older version has none
            yield from (Finding(*found) for found in loose_events(self._connection, notes))

    def _has_clearings(self) -> bool:
        """A backup of an older version has none to hold against the log."""
        return any(name == "position" for _, name, *_ in self._rows("PRAGMA table_info(conversations_cleared)"))

    # Records

    def _content(self) -> Iterator[Finding]:
        expected: defaultdict[int, list[int]] = defaultdict(list)
        for position, item in enumerate(self._items):
            if item[0]:
                expected[item[0]].append(position)
        yield from self._listed()
        entries = _Entries(self._connection)
        cursor = self._connection.execute(
            "SELECT key, tenant, state, ended_ms, headers.body, salt, run_id, user, agent, language, program_hash, origin, parent,"
            " created_ms FROM runs JOIN headers ON run = key ORDER BY key")
        for key, *row in cursor:
            self._runs += 1
            for loose in entries.before(key):
                yield Finding(f"run key {loose}", "it has entries and no header")
            yield from self._run(key, row, entries.of(key), expected.pop(key, []))
        for loose in entries.rest():
            yield Finding(f"run key {loose}", "it has entries and no header")
        for key, positions in expected.items():
            if key not in self._erased:
                yield Finding(f"run key {key} (leaf {positions[0]})", "it is gone, and no note says that it was erased")

    def _listed(self) -> Iterator[Finding]:
        for run_id, tenant in self._rows("SELECT run_id, tenant FROM runs WHERE tenant != ?", self._tenant) if self._tenant is not None else ():
            yield Finding(f"run {run_id}", f"it is a run of tenant {tenant}, and this should be the journal of {self._tenant}")
        for (key,) in self._rows("SELECT key FROM runs WHERE key NOT IN (SELECT run FROM headers)"):
            yield Finding(f"run key {key}", "it is listed and has no header")
        for (key,) in self._rows("SELECT run FROM headers WHERE run NOT IN (SELECT key FROM runs)"):
            yield Finding(f"run key {key}", "it has a header and is not listed")

    def _run(self, key: int, row: list[Any], stored: list[tuple[int, int, bytes]], positions: list[int]) -> Iterator[Finding]:
        tenant, state, ended_ms, header, salt, *listed = row
        where = f"run {listed[0]}"
        if key in self._erased:
            yield Finding(where, "a note says that it was erased, and it is there")
        if not isinstance(salt, bytes):
            yield Finding(where, "its salt is gone")
            return
        records = [(0, 0, header), *stored]
        self._records += len(records)
        numbers = [number for number, _, _ in records]
        if numbers != list(range(len(numbers))):
            yield Finding(where, f"its entries are not numbered 1 to {len(numbers) - 1}: one is missing or added")
            return
        yield from _against(where, salt, records, ((at, *self._items[at][1:]) for at in positions))
        yield from self._named_by(where, tenant, records)
        yield from _against_list(where, header, records[-1], (tenant, *listed), (state, ended_ms))

    def _named_by(self, where: str, tenant: str, records: list[tuple[int, int, bytes]]) -> Iterator[Finding]:
        """Note the values that the records need. A record that cannot be read was found against its leaf."""
        for number, kind, body in records:
            if b"$binary" not in body and 1 not in body[6:6 + 5 * body[5] if len(body) > 5 else 0:5]:
                continue
            try:
                meta, parts = unpack(body, where)
                self._named.update((tenant, part.digest) for part in parts if isinstance(part, BlobRef))
                if kind in (OUTCOME, TERMINAL):
                    self._named.update((tenant, bytes.fromhex(name)) for name in _entry(kind, meta, parts).binaries)
            except _UNREADABLE as error:
                yield Finding(f"{where}, entry {number}", f"it cannot be read: {error}")

    def _values(self) -> Iterator[Finding]:
        held: set[tuple[str, bytes]] = set()
        for tenant, digest, size, data in self._connection.execute("SELECT tenant, digest, size, data FROM blobs"):
            held.add((tenant, digest))
            if len(data) != size or sha256(data).digest() != digest:
                yield Finding(f"value {digest.hex()[:16]}…", "its content does not fit its name")
        for _, digest in self._named - held:
            yield Finding(f"value {digest.hex()[:16]}…", "a record needs it, and it is gone")


class _Entries:
    """The entries of all runs, one run after the other, in one pass over the table."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._rows = connection.execute("SELECT run, number, kind, body FROM entries WHERE run != 0 ORDER BY run, number")
        self._next: tuple[int, int, int, bytes] | None = self._rows.fetchone()

    def of(self, run: int) -> list[tuple[int, int, bytes]]:
        found: list[tuple[int, int, bytes]] = []
        row, fetch = self._next, self._rows.fetchone
        while row is not None and row[0] == run:
            found.append(row[1:])
            row = fetch()
        self._next = row
        return found

    def before(self, run: int) -> Iterator[int]:
        """Runs with entries that come before this one."""
        while self._next is not None and self._next[0] < run:
            loose = self._next[0]
            self.of(loose)
            yield loose

    def rest(self) -> Iterator[int]:
        while self._next is not None:
            loose = self._next[0]
            self.of(loose)
            yield loose


def _against(where: str, salt: bytes, records: list[tuple[int, int, bytes]], leaves: Iterable[_Leaf]) -> Iterator[Finding]:
    """The records of a run against its leaves `(position, first, records, commitment)`, which follow on one another."""
    framed = [part for _, kind, body in records for part in (_FRAME.pack(kind & 255, len(body)), body)]
    at = 0
    for position, first, count, committed in leaves:
        if first != at or not count:
            yield Finding(f"{where} (leaf {position})", f"the log goes on at entry {first}, not at {at}")
            return
        at += count
        if at > len(records):
            yield Finding(f"{where} (leaf {position})", f"entries {len(records)} to {at - 1} are gone")
            return
        if commitment(salt, first, framed[2 * first:2 * at]) != committed:
            yield Finding(f"{where}, {_names(first, at - 1)} (leaf {position})", "this is not what was recorded")
    if at < len(records):
        yield Finding(where, f"entries {at} to {len(records) - 1} are not in the log")


def _names(first: int, last: int) -> str:
    if last == 0:
        return "header"
    start = "header" if first == 0 else f"entry {first}"
    return start if first == last else f"{start} to entry {last}"


def _against_list(where: str, header: bytes, last: tuple[int, int, bytes], listed: tuple[Any, ...],
                  ended: tuple[str, int | None]) -> Iterator[Finding]:
    """What lists show of a run against what it recorded."""
    try:
        meta, _ = unpack(header, where)
        h = decode_header(meta, (b"", b"", b""))
        said = (h.principal.tenant, h.run_id, h.principal.user, h.principal.agent, h.language, h.program_hash, h.origin, h.parent_run, h.clock_ms)
        if said != listed:
            wrong = next(name for name, one, other in zip(_LISTED, said, listed, strict=True) if one != other)
            yield Finding(where, f"its {wrong} in the list is not the recorded one")
        if last[1] == TERMINAL:
            end = _entry(TERMINAL, *unpack(last[2], where))
            if (end.state, end.at_ms) != ended:
                yield Finding(where, f"it is listed as {ended[0]}, its record says {end.state} (at {end.at_ms})")
        elif ended[1] is not None:
            yield Finding(where, f"it is listed as {ended[0]}, and its record has no end")
    except _UNREADABLE as error:
        yield Finding(where, f"its record cannot be read: {error}")


def _entry(kind: int, meta: bytes, parts: Sequence[bytes | BlobRef]) -> Any:
    """An entry; values that lie elsewhere are left empty."""
    return decode_entry(kind, meta, [part if isinstance(part, bytes) else b"" for part in parts])
