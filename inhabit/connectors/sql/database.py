"""The host's end: reading processes that can be killed, and one connection that writes.

Model: a query goes to a process of `reader`, one at a time in each, and is answered within its time or the process is
killed and another started when it is needed. Changes are SQL of ours, run on a thread, bounded by the progress handler.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import sqlite3
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import orjson

from inhabit.connectors.pipes import close_pipes
from inhabit.connectors.sql.connection import bound, connect, explained
from inhabit.connectors.sql.reader import ANSWER_BYTES, LENGTH, from_wire, to_wire
from inhabit.connectors.sql.schema import Granted
from inhabit.errors import CallError, CallTimeout, ConfigError, Denied, InhabitError, InvalidInput

__all__ = ["Database", "Rows", "Tables"]

Tables = Mapping[str, Sequence[str] | None]
_Answer = TypeVar("_Answer")

_READERS = 4
_START_S = 20.0
_GRACE_S = 0.25
"""After the reader's own deadline: it stops what it can, and is killed for what it cannot."""
_ROOT = str(Path(__file__).resolve().parents[3])
_MAIN = "import sys; sys.path.insert(0, sys.argv[1]); from inhabit.connectors.sql.reader import main; main()"
_KINDS: Mapping[str, type[InhabitError]] = {
    kind.__name__: kind for kind in (Denied, InvalidInput, CallTimeout, CallError, ConfigError)}


@dataclass(frozen=True, slots=True)
class Rows:
    """`values` as SQLite gives them, bytes among them; `truncated` when there were more."""

    columns: tuple[str, ...]
    values: list[tuple[Any, ...]]
    truncated: bool


class _Process:
    """One reader. After an error of its pipes it is not used again."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.alive = True

    @classmethod
    async def start(cls, path: Path, tables: Tables) -> tuple[_Process, Granted]:
        """Raises `ConfigError` for what the reader finds wrong, `CallError` when it does not start."""
        made = cls(await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-c", _MAIN, _ROOT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL, env={}))
        try:
            return made, Granted.from_value(await made.ask({"path": str(path), "tables": tables}, _START_S))
        except BaseException:
            await made.kill()
            raise

    async def ask(self, request: Mapping[str, Any], seconds: float) -> Any:
        """Raises what the reader raised, `CallTimeout` or `CallError` when it had to be killed or died."""
        self.alive = False   # until it has answered
        try:
            async with asyncio.timeout(seconds):
                answer = await self._exchange(orjson.dumps(request))
        except TimeoutError:
            raise CallTimeout("the statement took too long and was stopped; nothing was changed",
                              fix="narrow it down with WHERE and LIMIT, or write it more simply") from None
        except (OSError, asyncio.IncompleteReadError):
            raise CallError("the query could not be carried out: it needs too much memory", code="database_error",
                            fix="narrow it down with WHERE and LIMIT") from None
        self.alive = True
        if "ok" in answer:
            return answer["ok"]
        error = answer["error"]
        raise _KINDS.get(answer["kind"], CallError)(error["message"], fix=error.get("fix"), code=error["code"])

    async def _exchange(self, body: bytes) -> dict[str, Any]:
        writer, reader = self._process.stdin, self._process.stdout
        assert writer is not None and reader is not None
        writer.write(LENGTH.pack(len(body)) + body)
        await writer.drain()
        (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
        if length > ANSWER_BYTES:
            raise CallError(f"the query's answer has {length} bytes; at most {ANSWER_BYTES} are taken", code="database_error",
                            fix="leave large columns out, or use limit")
        return orjson.loads(await reader.readexactly(length))

    async def kill(self) -> None:
        self.alive = False
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        close_pipes(self._process)
        await self._process.wait()


class Database:
    """All methods run on one event loop."""

    def __init__(self, path: Path, tables: Tables) -> None:
        self._path = path
        self._tables = tables
        self._idle: list[_Process] = []
        self._busy: set[_Process] = set()
        self._slots = asyncio.Semaphore(_READERS)
        self._writing = asyncio.Lock()
        self._writer: sqlite3.Connection | None = None
        self._closed = False

    async def open(self) -> Granted:
        """Raises `ConfigError` when the file is no database, or a grant does not fit it."""
        if not self._path.is_file():
            raise ConfigError(f"there is no database file {self._path}", fix="the path of an existing SQLite file")
        try:
            process, granted = await _Process.start(self._path, self._tables)
        except CallError as error:
            raise ConfigError(f"{self._path}: the reader did not start: {error.message}") from None
        self._closed = False
        self._idle.append(process)
        return granted

    async def query(self, sql: str, parameters: Any, *, max_rows: int, max_bytes: int, seconds: float) -> Rows:
        """Raises `Denied`, `InvalidInput`, `CallTimeout` or `CallError`."""
        given = {k: to_wire(v) for k, v in parameters.items()} if isinstance(parameters, dict) else [to_wire(v) for v in parameters]   # pyright: ignore
        until = time.monotonic() + seconds
        async with self._slots:
            process = await self._reader()
            self._busy.add(process)
            left = max(0.01, until - time.monotonic())
            try:
                answer = await process.ask(
                    {"sql": sql, "parameters": given, "max_rows": max_rows, "max_bytes": max_bytes, "seconds": left}, left + _GRACE_S)
            finally:
                self._busy.discard(process)
                if process.alive and not self._closed:
                    self._idle.append(process)
                else:
                    await process.kill()
        return Rows(tuple(answer["columns"]), [tuple(map(from_wire, row)) for row in answer["rows"]], answer["truncated"])

    async def change(self, sql: str, parameters: Sequence[Sequence[Any]], *, most: int, seconds: float) -> tuple[int, int | None]:
        """Rows changed and the last row id. All or nothing; more than `most` rows is nothing. SQL is ours."""
        async with self._writing:
            if self._writer is None:
                self._writer = await asyncio.to_thread(connect, self._path, "rw")
            work = functools.partial(_change, self._writer, sql, parameters, most, time.monotonic() + seconds)
            return await _interruptible(self._writer, work)

    async def close(self) -> None:
        self._closed = True
        for process in [*self._idle, *self._busy]:
            await process.kill()
        self._idle.clear()
        async with self._writing:
            if self._writer is not None:
                self._writer.close()
                self._writer = None

    async def _reader(self) -> _Process:
        if self._closed:
            raise CallError("the database is closed", code="closed")
        if self._idle:
            return self._idle.pop()
        try:
            return (await _Process.start(self._path, self._tables))[0]
        except ConfigError as error:
            raise CallError(f"the database has changed: {error.message}", code="schema_changed") from None


async def _interruptible(connection: sqlite3.Connection, work: Callable[[], _Answer]) -> _Answer:
    """The thread's answer; when this is cancelled the statement is ended, and it is waited for."""
    future = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        connection.interrupt()
        await asyncio.wait([future])
        future.exception()   # read, so that nobody warns of it
        raise


def _change(connection: sqlite3.Connection, sql: str, parameters: Sequence[Sequence[Any]], most: int, deadline: float) -> tuple[int, int | None]:
    bound(connection, deadline)
    try:
        connection.execute("BEGIN IMMEDIATE")
        changed, last = 0, None
        for each in parameters:
            cursor = connection.execute(sql, each)
            changed += max(cursor.rowcount, 0)
            last = cursor.lastrowid
        if changed > most:
            raise Denied(f"it would change {changed} rows; at most {most} at once", fix="narrow it down with `where`")
        connection.execute("COMMIT")
        return changed, last
    except sqlite3.Error as error:
        raise explained(error, deadline, None) from None
    finally:
        connection.set_progress_handler(None, 0)
        if connection.in_transaction:
            connection.execute("ROLLBACK")
