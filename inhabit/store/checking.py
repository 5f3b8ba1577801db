"""Is everything in the file as it was written, and does every run keep the journal's promises?"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator

from inhabit.contracts.run import Intent, Outcome, RunRecord, Terminal
from inhabit.errors import Unavailable
from inhabit.store.reading import record

__all__ = ["MAX_FINDINGS", "findings"]

MAX_FINDINGS = 100


def findings(connection: sqlite3.Connection) -> tuple[str, ...]:
    """What is wrong, one line each, at most `MAX_FINDINGS`; () when all is well. Reads the whole file."""
    found: list[str] = []
    for line in _all(connection):
        found.append(line)
        if len(found) == MAX_FINDINGS:
            break
    return tuple(found)


def run_findings(read: RunRecord, state: str) -> Iterator[str]:
    """What one run's record breaks of the journal's promises; `state` is what lists show."""
    run_id = read.header.run_id
    numbers = [stored.number for stored in read.entries]
    if numbers != list(range(1, len(numbers) + 1)):
        yield f"run {run_id}: its entries are not numbered 1 to {len(numbers)}"
    if any(isinstance(stored.entry, Terminal) for stored in read.entries[:-1]):
        yield f"run {run_id}: entries follow its end"
    if state != read.state:
        yield f"run {run_id}: listed as {state}, its record says {read.state}"
    intents: set[int] = set()
    for stored in read.entries:
        if isinstance(stored.entry, Intent):
            intents.add(stored.entry.sequence)
        elif isinstance(stored.entry, Outcome) and stored.entry.sequence not in intents:
            yield f"run {run_id}: entry {stored.number} is an outcome without an intent"


def _all(connection: sqlite3.Connection) -> Iterator[str]:
    try:
        for (line,) in connection.execute(f"PRAGMA integrity_check({MAX_FINDINGS})"):
            if line != "ok":
                yield line
        yield from _loose(connection)
        for key, run_id, state in connection.execute("SELECT key, run_id, state FROM runs ORDER BY key"):
            yield from _of_run(connection, key, run_id, state)
        yield from _of_values(connection)
    except sqlite3.DatabaseError as error:
        yield f"the file cannot be read on: {error}"


def _of_run(connection: sqlite3.Connection, key: int, run_id: str, state: str) -> Iterator[str]:
    try:
        yield from run_findings(record(connection, key), state)
    except Unavailable as error:
        yield f"run {run_id}: {error.message}"


def _loose(connection: sqlite3.Connection) -> Iterator[str]:
    for table in ("entries", "headers", "blob_uses"):
        (count,) = connection.execute(
            f"SELECT count(DISTINCT run) FROM {table} WHERE run > 0 AND run NOT IN (SELECT key FROM runs)").fetchone()
        if count:
            yield f"{table} of {count} runs that do not exist"
    (count,) = connection.execute("SELECT count(*) FROM runs WHERE key NOT IN (SELECT run FROM headers)").fetchone()
    if count:
        yield f"{count} runs without a header"


def _of_values(connection: sqlite3.Connection) -> Iterator[str]:
    for digest, size, data in connection.execute("SELECT digest, size, data FROM blobs"):
        if len(data) != size or hashlib.sha256(data).digest() != digest:
            yield f"value {digest.hex()}: its content does not fit its name"
