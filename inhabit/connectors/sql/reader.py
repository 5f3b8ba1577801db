"""The process that runs queries: one connection, one request at a time, over standard input and output.

A query that a program wrote runs in here, because SQLite can neither be interrupted while it compiles a statement
(a handful of CTEs can make that take for ever) nor given a memory limit of its own inside a larger process. The host kills
this process when it is late; it holds nothing that could be lost. It ends when its input does.

Bounds of one query, whatever it says: its time, then 0.25 s until the kill; 256 MiB of SQLite's own and 1 GiB of this
process; an answer of `max_bytes` (one row too: what is larger is an error, not a larger answer), which the host
does not take beyond `ANSWER_BYTES` even from a reader that a query took over.

Frames, both ways: four bytes of length (big-endian), then JSON. Bytes travel as `{"$b": base64}`.
"""

from __future__ import annotations

import base64
import ctypes
import resource
import signal
import sqlite3
import struct
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

import orjson

from inhabit.connectors.sql.connection import bound, connect, explained
from inhabit.connectors.sql.guard import Guard
from inhabit.connectors.sql.schema import Granted, read_granted
from inhabit.errors import CallError, ConfigError, InhabitError, InvalidInput

__all__ = ["ANSWER_BYTES", "LENGTH", "from_wire", "main", "to_wire"]

LENGTH = struct.Struct(">I")
ANSWER_BYTES = 64 * 1024 * 1024
"""One frame to the host: 8 MiB of values, where JSON needs six bytes for some characters, and names."""
_HEAP_BYTES = 256 * 1024 * 1024       # SQLite's own allocations; a statement that needs more fails
_PROCESS_BYTES = 1024 * 1024 * 1024
_PR_SET_PDEATHSIG = 1


def to_wire(value: Any) -> Any:
    """A SQLite value as JSON; infinities, which JSON lacks, become null."""
    return {"$b": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def from_wire(value: Any) -> Any:
    return base64.b64decode(cast("dict[str, Any]", value)["$b"]) if isinstance(value, dict) else value


class Reader:
    """A reading connection and its guard."""

    def __init__(self, path: Path, tables: Mapping[str, Any]) -> None:
        self._tables = tables
        self._connection = connect(path, "ro")
        self._connection.execute(f"PRAGMA hard_heap_limit={_HEAP_BYTES}")
        self._connection.execute("PRAGMA query_only=ON")
        self._connection.execute("SELECT * FROM json_each('[]'), json_tree('[]')").fetchall()   # made once, by us
        self._guard = Guard(read_granted(self._connection, tables))
        self._connection.set_authorizer(self._guard.authorize)

    @property
    def granted(self) -> Granted:
        return self._guard.granted

    def query(self, sql: str, parameters: Any, max_rows: int, max_bytes: int, seconds: float) -> dict[str, Any]:
        """`{columns, rows, truncated}`. Raises `InhabitError` kinds."""
        self._refresh()
        guard, deadline = self._guard, time.monotonic() + seconds
        guard.refusal = None
        bound(self._connection, deadline)
        try:
            guard.check_pages(self._connection, sql, parameters)
            return _fetch(self._connection.execute(sql, parameters), max_rows, max_bytes)
        except (sqlite3.Error, sqlite3.Warning) as error:   # a second statement is a Warning in Python 3.11
            raise guard.refusal or explained(error, deadline, guard.granted) from None
        except MemoryError:
            raise InvalidInput("the query needs too much memory", fix="narrow it down with WHERE and LIMIT") from None
        finally:
            self._connection.set_progress_handler(None, 0)

    def _refresh(self) -> None:
        """Look at the schema again when somebody changed it."""
        guard = self._guard
        guard.trusted = True
        try:
            version = int(self._connection.execute("PRAGMA schema_version").fetchone()[0])
            if version != guard.granted.version:
                guard.granted = read_granted(self._connection, self._tables)
        except (ConfigError, sqlite3.Error) as error:
            raise CallError(f"the database has changed: {error}", code="schema_changed") from None
        finally:
            guard.trusted = False


def _fetch(cursor: sqlite3.Cursor, max_rows: int, max_bytes: int) -> dict[str, Any]:
    columns = [str(each[0]) for each in cursor.description or ()]
    if not columns:
        raise InvalidInput("the SQL gives no rows", fix="write one SELECT")
    rows: list[list[Any]] = []
    names = sum(len(column) + 6 for column in columns)
    size, truncated = 0, False
    for row in cursor:
        width = names + sum(len(value) if isinstance(value, str | bytes) else 8 for value in row)
        size += width
        if width > max_bytes:
            raise InvalidInput(f"row {len(rows) + 1} of the result holds {width} bytes; at most {max_bytes} are returned",
                               fix="leave the large column out, or take a part of it with substr()")
        if len(rows) >= max_rows or size > max_bytes:
            truncated = True
            break
        rows.append([to_wire(value) for value in row])
    cursor.close()
    return {"columns": columns, "rows": rows, "truncated": truncated}


def _confine() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (_PROCESS_BYTES, _PROCESS_BYTES))
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)   # a stuck query must not outlive the host
    signal.signal(signal.SIGINT, signal.SIG_IGN)   # Ctrl-C reaches the whole group; the host decides


def _answer(reader: Reader, request: dict[str, Any]) -> dict[str, Any]:
    try:
        given = request["parameters"]
        parameters = {k: from_wire(v) for k, v in given.items()} if isinstance(given, dict) else tuple(map(from_wire, given))   # pyright: ignore
        return {"ok": reader.query(request["sql"], parameters, request["max_rows"], request["max_bytes"], request["seconds"])}
    except InhabitError as error:
        return {"error": error.as_value(), "kind": type(error).__name__}


def _send(out: BinaryIO, message: Mapping[str, Any]) -> None:
    body = orjson.dumps(message)
    out.write(LENGTH.pack(len(body)) + body)
    out.flush()


def _receive(source: BinaryIO) -> dict[str, Any] | None:
    head = source.read(LENGTH.size)
    return orjson.loads(source.read(LENGTH.unpack(head)[0])) if len(head) == LENGTH.size else None


def main() -> None:
    """The first request is `{path, tables}`; its answer is the granted schema."""
    _confine()
    source, out = sys.stdin.buffer, sys.stdout.buffer
    first = _receive(source)
    if first is None:
        return
    try:
        reader = Reader(Path(first["path"]), first["tables"])
    except ConfigError as error:
        return _send(out, {"error": error.as_value(), "kind": "ConfigError"})
    except sqlite3.Error as error:
        message = f"{first['path']} cannot be opened as a SQLite database: {error}"
        return _send(out, {"error": ConfigError(message).as_value(), "kind": "ConfigError"})
    _send(out, {"ok": reader.granted.as_value()})
    while (request := _receive(source)) is not None:
        _send(out, _answer(reader, request))
