"""How a connection is opened, bounded, and how its errors are told."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Literal

from inhabit.connectors.sql.schema import Granted
from inhabit.errors import CallError, CallTimeout, InhabitError, InvalidInput

__all__ = ["bound", "connect", "explained"]

_BUSY_S = 5.0
_STEPS = 1_000   # virtual-machine instructions between two looks at the clock
_LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: 32 * 1024 * 1024, sqlite3.SQLITE_LIMIT_SQL_LENGTH: 110_000,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 200, sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 50, sqlite3.SQLITE_LIMIT_VDBE_OP: 250_000,
    sqlite3.SQLITE_LIMIT_FUNCTION_ARG: 64, sqlite3.SQLITE_LIMIT_ATTACHED: 0, sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 1_000,
    sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER: 1_000, sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 50, sqlite3.SQLITE_LIMIT_WORKER_THREADS: 0,
}


def connect(path: Path, mode: Literal["ro", "rw"]) -> sqlite3.Connection:
    """Raises `sqlite3.Error`. The file must exist."""
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode={mode}", uri=True, timeout=_BUSY_S, isolation_level=None,
                                 check_same_thread=False, cached_statements=0)
    connection.text_factory = _text
    for limit, value in _LIMITS.items():
        connection.setlimit(limit, value)
    connection.execute("PRAGMA trusted_schema=OFF")
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA temp_store=MEMORY")
    return connection


def bound(connection: sqlite3.Connection, deadline: float) -> None:
    """Interrupt what still runs at the deadline (`time.monotonic`). Compiling a statement is not covered."""
    connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)


def explained(error: Exception, deadline: float, granted: Granted | None) -> InhabitError:
    """Our error for SQLite's, without more of the schema than was granted."""
    text = str(error)
    if "interrupted" in text and time.monotonic() > deadline:
        return CallTimeout("the statement took too long and was stopped; nothing was changed", fix="narrow it down with WHERE and LIMIT")
    if isinstance(error, sqlite3.IntegrityError):
        return CallError(f"the database refuses it: {text.partition(':')[0]}", code="constraint")
    if "locked" in text or "busy" in text:
        return CallError("the database is busy", code="busy", fix="try again")
    if granted is not None and text.startswith(("no such table", "no such column")):
        return InvalidInput(text, fix=f"granted: {granted.listing()}")
    if isinstance(error, sqlite3.ProgrammingError | sqlite3.OperationalError | sqlite3.DataError | sqlite3.Warning):
        return InvalidInput(f"SQL: {text}")
    return CallError(f"the database failed: {type(error).__name__}", code="database_error")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
