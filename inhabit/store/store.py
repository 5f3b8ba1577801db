"""The store as `app.py` opens it: one file, and all that lives in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from inhabit.store.blobs import SqliteBlobs
from inhabit.store.database import Database
from inhabit.store.journal import SqliteJournal

__all__ = ["Store"]


@dataclass(frozen=True, slots=True)
class Store:
    """Close it once, after everything that appends has stopped."""

    database: Database
    journal: SqliteJournal
    blobs: SqliteBlobs

    @classmethod
    def open(cls, path: Path) -> Store:
        """Open or create the file. Raises `Unavailable`, saying the fix."""
        database = Database(path)
        return cls(database, SqliteJournal(database), SqliteBlobs(database))

    async def close(self) -> None:
        await self.database.close()
