"""The audit log against tampering, and how fast it is verified. `python -m bench.audit`.

    audit.tampered_found_share   share of random changes to the file of a journal that the verifier finds. Each change
                                 starts from the sound file: an edit of any cell of the record (a byte flipped, a number
                                 moved), a row deleted, inserted or put in another's place, the end cut off consistently
                                 in all tables, an older copy of the whole file. The verifier has the public key and one checkpoint
                                 kept elsewhere. `audit.tampered_alone_share`: without it, cuts and old copies left out
    audit.verify1m_s             1,000,000 records, one leaf each (the most there can be)
    audit.verify1m_batched_s     1,000,000 records in leaves of twenty
"""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.journal import header, intent
from bench.report import Report, options, peers_folder
from inhabit.contracts.run import Outcome, Terminal
from inhabit.store.audit.log import AuditLog
from inhabit.store.audit.notes import PublicKey, Signer
from inhabit.store.audit.verify import newest_checkpoint, verify
from inhabit.store.batch import Batch, Ending, OpenRun, Row
from inhabit.store.codec import encode_entry, encode_header
from inhabit.store.commit import write_batch
from inhabit.store.database import connect
from inhabit.store.schema import migrate
from inhabit.store.store import Store

_CELLS = (("entries", "body"), ("entries", "number"), ("entries", "kind"), ("entries", "run"), ("headers", "body"), ("headers", "salt"),
          ("blobs", "data"), ("blobs", "digest"), ("runs", "user"), ("runs", "tenant"), ("runs", "run_id"), ("runs", "state"),
          ("runs", "created_ms"), ("runs", "ended_ms"), ("audit_notes", "body"), ("audit_checkpoints", "note"))
_KEYS = {"entries": "run, number", "headers": "run", "blobs": "key", "runs": "key", "audit_notes": "position", "audit_checkpoints": "size"}
_LONG = b'"' + b"v" * 6_000 + b'"'


async def filled(folder: Path) -> tuple[Path, Path, str, str]:
    """A journal of three sittings, an older copy, the public key and a checkpoint."""
    path, older = folder / "journal.db", folder / "older.db"
    key = ""
    for sitting in range(3):
        store = Store.open(path)
        key = store.database.audit.public_key
        for n in range(8):
            head = header()
            store.journal.begin(head)
            await store.journal.append(head.run_id, intent(1)).durable()
            store.journal.append(head.run_id, Outcome(1, True, _LONG + b"%d" % n, 1.0, 9), intent(2))
            await store.journal.append(head.run_id, Outcome(2, False, b'{"code":"denied"}', 1.0, 9)).durable()
            await store.journal.append(head.run_id, Terminal("completed", b"null", 9)).durable()
        await store.close()
        if sitting == 1:
            shutil.copy(path, older)
    return path, older, key, newest_checkpoint(path) or ""


def edit(c: sqlite3.Connection, chance: random.Random) -> str:
    table, column = chance.choice(_CELLS)
    row, value = chance.choice(c.execute(f"SELECT {_rowid(table)}, {column} FROM {table} WHERE {column} IS NOT NULL").fetchall())
    _set(c, table, column, row, _changed(value, chance))
    return f"edit of {table}.{column}"


def delete(c: sqlite3.Connection, chance: random.Random) -> str:
    table = chance.choice(list(_KEYS))
    row = chance.choice(c.execute(f"SELECT {_rowid(table)} FROM {table}").fetchall())[0]
    c.execute(f"DELETE FROM {table} WHERE {_rowid(table)} = ?", (row,))
    return f"deletion from {table}"


def insert(c: sqlite3.Connection, chance: random.Random) -> str:
    run, kind, body = chance.choice(c.execute("SELECT run, kind, body FROM entries").fetchall())
    (last,) = c.execute("SELECT max(number) FROM entries WHERE run = ?", (run,)).fetchone()
    c.execute("INSERT INTO entries VALUES (?, ?, ?, ?)", (run, chance.choice((last + 1, last + 2, 0 if run else last + 1)), kind, body))
    return "insertion into entries"


def reorder(c: sqlite3.Connection, chance: random.Random) -> str:
    """Two rows of one table exchange what they hold."""
    table, column = chance.choice((("entries", "body"), ("headers", "body"), ("headers", "salt"), ("entries", "number")))
    if column == "number":
        (run,) = chance.choice(c.execute("SELECT DISTINCT run FROM entries").fetchall())
        one, two = (n for (n,) in chance.sample(c.execute("SELECT number FROM entries WHERE run = ?", (run,)).fetchall(), 2))
        for was, now in ((one, -1), (two, one), (-1, two)):
            c.execute("UPDATE entries SET number = ? WHERE run = ? AND number = ?", (now, run, was))
        return "reordering of entries"
    rows = c.execute(f"SELECT {_rowid(table)}, {column} FROM {table}").fetchall()
    first, second = chance.sample(rows, 2)
    while first[1] == second[1]:
        first, second = chance.sample(rows, 2)
    _set(c, table, column, first[0], second[1])
    _set(c, table, column, second[0], first[1])
    return f"exchange of {table}.{column}"


def truncate(c: sqlite3.Connection, chance: random.Random) -> str:
    """Everything after a checkpoint or a leaf goes, as somebody would who knows how the log works."""
    (size,) = c.execute("SELECT max(size) FROM audit_checkpoints").fetchone()
    rows = c.execute("SELECT number, body FROM entries WHERE run = 0 AND number > 0 ORDER BY number").fetchall()
    cut = chance.choice([number for number, _ in rows if number < size])
    for number, body in rows:
        for at in range(0, len(body) if number >= cut else 0, 52):
            run, first = (int.from_bytes(body[at + k:at + k + 8], "big") for k in (0, 8))
            c.execute("DELETE FROM entries WHERE run = ? AND number >= ? AND run > 0", (run, first))
            if not first:
                for table, key in (("headers", "run"), ("blob_uses", "run"), ("runs", "key")):
                    c.execute(f"DELETE FROM {table} WHERE {key} = ?", (run,))
            c.execute("UPDATE runs SET state = 'running', ended_ms = NULL WHERE key = ?", (run,))
    c.execute("DELETE FROM entries WHERE run = 0 AND number >= ?", (cut,))
    c.execute("DELETE FROM audit_notes WHERE position >= ?", (cut,))
    c.execute("DELETE FROM audit_checkpoints WHERE size > ?", (cut,))
    return "truncation"


def _rowid(table: str) -> str:
    return "run * 1000000 + number" if table == "entries" else _KEYS[table]


def _set(c: sqlite3.Connection, table: str, column: str, row: int, value: object) -> None:
    c.execute(f"UPDATE OR IGNORE {table} SET {column} = ? WHERE {_rowid(table)} = ?", (value, row))


def _changed(value: object, chance: random.Random) -> object:
    if isinstance(value, int):
        return value + chance.choice((-1, 1, 7, 1_000_003))
    data = bytearray(value.encode("latin-1", "replace") if isinstance(value, str) else bytes(value))  # type: ignore[arg-type]
    at = chance.randrange(len(data))
    data[at] = chance.choice([byte for byte in range(33, 127) if byte != data[at]])
    return data.decode("latin-1") if isinstance(value, str) else bytes(data)


_CHANGES: tuple[tuple[Callable[[sqlite3.Connection, random.Random], str], int], ...] = (
    (edit, 45), (delete, 15), (insert, 10), (reorder, 15), (truncate, 15))


def tampered(folder: Path, count: int, report: Report) -> None:
    path, older, key, checkpoint = asyncio.run(filled(folder))
    sound, keys, chance = path.read_bytes(), [PublicKey(key)], random.Random(7)
    if verify(path, keys, checkpoint).findings:
        raise RuntimeError("the journal is not sound to begin with")
    found = alone = alone_of = made = 0
    missed: dict[str, int] = {}
    while made < count:
        path.write_bytes(sound)
        if made % 20 == 19:
            shutil.copy(older, path)
            what = "rollback"
        else:
            change = chance.choices([each for each, _ in _CHANGES], [weight for _, weight in _CHANGES])[0]
            what = _apply(path, change, chance)
            if not what:      # it changed nothing, e.g. the place was taken
                continue
        made += 1
        caught = bool(verify(path, keys, checkpoint).findings)
        found += caught
        missed[what] = missed.get(what, 0) + (not caught)
        if what not in ("truncation", "rollback", "deletion from audit_checkpoints"):
            alone_of += 1
            alone += bool(verify(path, keys).findings)
    report.figure("audit.tampered", made, "changes")
    report.figure("audit.tampered_found_share", found / made, "share")
    report.figure("audit.tampered_alone_share", alone / alone_of, "share")
    for what, times in missed.items():
        if times:
            report.note(f"missed {times} times: {what}")


def _apply(path: Path, change: Callable[[sqlite3.Connection, random.Random], str], chance: random.Random) -> str:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = MEMORY")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN")
        before = _content(connection)
        what = change(connection, chance)
        connection.execute("COMMIT")
        return what if _content(connection) != before else ""
    except sqlite3.IntegrityError:
        return ""
    finally:
        connection.close()


def _content(c: sqlite3.Connection) -> list[object]:
    return [c.execute(f"SELECT * FROM {table} ORDER BY {_KEYS[table]}").fetchall() for table in _KEYS]


def written(path: Path, records: int, at_once: int) -> str:
    """A journal of so many records, written through the real commit without waiting for the disk; the public key."""
    path.touch(0o600)
    connection = connect(path, writing=True)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = OFF")
    migrate(connection)
    signer = Signer(path.with_name(path.name + ".audit-key"))
    log = AuditLog(connection, signer)
    drafts = [encode_entry(intent(1)), encode_entry(Outcome(1, True, b'"' + b"r" * 100 + b'"', 1.0, 9))]
    end = encode_entry(Terminal("completed", b"null", 9))
    for key in range(1, records // 500 + 1):
        head = header()
        run = OpenRun(key, head.run_id, "default", 0, b"s" * 16)
        batch = Batch(lambda _: None)
        batch.begun.append((run, head, encode_header(head)))
        write_batch(connection, batch, 0, log)
        for first in range(1, 499, at_once):
            batch = Batch(lambda _: None)
            batch.rows = [Row(run, number, drafts[number % 2]) for number in range(first, min(first + at_once, 499))]
            write_batch(connection, batch, 0, log)
        batch = Batch(lambda _: None)
        batch.rows, batch.ended = [Row(run, 499, end)], [Ending(run, "completed", 9, 0, 0)]
        write_batch(connection, batch, 0, log)
        log.sign(connection, 0)
    connection.close()
    return signer.public


def timed(folder: Path, records: int, at_once: int) -> float:
    path = folder / f"many-{at_once}.db"
    keys = [PublicKey(written(path, records, at_once))]
    began = time.perf_counter()
    found = verify(path, keys)
    spent = time.perf_counter() - began
    if found.findings or found.records != records:
        raise RuntimeError(f"not sound: {found}")
    return spent


def main() -> int:
    given = options(__doc__ or "")
    report = Report(given.json)
    folder = Path(tempfile.mkdtemp(prefix="audit-", dir=peers_folder()))
    try:
        tampered(folder, 400 if given.quick else 10_000, report)
        for name, at_once in (("audit.verify1m_s", 1), ("audit.verify1m_batched_s", 20)):
            records = 100_000 if given.quick else 1_000_000
            report.figure(name, timed(folder, records, at_once) * (1_000_000 / records), "s")
    finally:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
