"""One store: one file, and all that lives in it. A home has one for each tenant (`tenants`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from inhabit.store.approvals import Approvals
from inhabit.store.backup import Restored, backup, copy_running, restore
from inhabit.store.blobs import SqliteBlobs
from inhabit.store.checking import findings
from inhabit.store.conversations import Conversations
from inhabit.store.database import Database
from inhabit.store.journal import SqliteJournal
from inhabit.store.ledger import Ledger
from inhabit.store.passkeys import Passkeys
from inhabit.store.retention import Pruned, Retention, prune
from inhabit.store.tokens import TokenStore

__all__ = ["Store"]


@dataclass(frozen=True, slots=True)
class Store:
    """Close it once, after everything that appends has stopped."""

    database: Database
    journal: SqliteJournal
    blobs: SqliteBlobs
    tokens: TokenStore
    conversations: Conversations

    @classmethod
    def open(cls, path: Path, *, key: Path | None = None, known_sound: bool = False) -> Store:
        """Open or create the file; as `Database`. Raises `Unavailable`, saying the fix."""
        database = Database(path, key=key, known_sound=known_sound)
        return cls(database, SqliteJournal(database), SqliteBlobs(database), TokenStore(database), Conversations(database))

    @staticmethod
    def restore(backup: Path, path: Path, *, now_ms: int) -> Restored:
        """Put a backup in the place of the closed store at `path`. Raises `InvalidInput`, `Unavailable`."""
        return restore(backup, path, now_ms=now_ms)

    @staticmethod
    def copy(path: Path, target: Path) -> Path:
        """A backup of the store at `path`, whether a process has it open or not. Blocks; raises as `backup`."""
        return copy_running(path, target)

    @property
    def approvals(self) -> Approvals:
        """What waits for people."""
        return Approvals(self.database)

    @property
    def passkeys(self) -> Passkeys:
        """What approvers answer with."""
        return Passkeys(self.database)

    def ledger(self, now_ms: int) -> Ledger:
        """Usage of the policy's limits, as it was left. To be opened once."""
        return Ledger(self.database, now_ms)

    async def backup(self, target: Path) -> Path:
        """Copy everything to a new file while all goes on. Raises `InvalidInput`, `Unavailable`."""
        return await backup(self.database, target)

    async def prune(self, now_ms: int, retention: Retention | None = None) -> Pruned:
        """Forget finished runs beyond `retention` (default 30 days, 10 GiB), and conversations as old. Raises `Unavailable`."""
        kept = retention or Retention()
        await self.conversations.prune(kept.before_ms(now_ms))
        return await prune(self.database, now_ms, kept)

    async def check(self) -> tuple[str, ...]:
        """Read the whole file; what is wrong with it, one line each, () when all is well."""
        await self.database.writer.flush()
        return await self.database.read(findings)

    async def close(self) -> None:
        await self.database.close()

    def close_now(self) -> None:
        """The same in the calling thread."""
        self.database.close_now()
