"""The tables of the journal's database, and how an older file becomes a newer one.

`runs` is what lists show; `headers` and `entries` hold records in the layout of `packing`; `blobs` holds values by
tenant and SHA-256; `blob_uses` says which run needs which blob, for retention; `tokens` are bearer tokens of the
server; `meta` has one row. Migrations go forward only: a file of a newer version is refused, not guessed at.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from inhabit.errors import Unavailable

__all__ = ["APPLICATION_ID", "SCHEMA_VERSION", "migrate", "refuse_foreign"]

APPLICATION_ID = 0x494E4842
_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE meta (one INTEGER PRIMARY KEY CHECK (one = 1), epoch INTEGER NOT NULL)""",
        """INSERT INTO meta VALUES (1, 0)""",
        """CREATE TABLE runs (
            key INTEGER PRIMARY KEY, run_id TEXT NOT NULL UNIQUE, tenant TEXT NOT NULL, user TEXT NOT NULL,
            agent TEXT, language TEXT NOT NULL, program_hash TEXT NOT NULL, origin TEXT NOT NULL, parent TEXT,
            state TEXT NOT NULL, created_ms INTEGER NOT NULL, ended_ms INTEGER, calls INTEGER NOT NULL DEFAULT 0,
            bytes INTEGER NOT NULL DEFAULT 0) STRICT""",
        """CREATE INDEX runs_by_tenant ON runs (tenant, run_id)""",
        """CREATE INDEX runs_by_parent ON runs (parent) WHERE parent IS NOT NULL""",
        """CREATE INDEX runs_unfinished ON runs (key) WHERE ended_ms IS NULL""",
        """CREATE INDEX runs_by_end ON runs (ended_ms) WHERE ended_ms IS NOT NULL""",
        """CREATE TABLE headers (run INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT""",
        """CREATE TABLE entries (run INTEGER NOT NULL, number INTEGER NOT NULL, kind INTEGER NOT NULL,
            body BLOB NOT NULL, PRIMARY KEY (run, number)) STRICT, WITHOUT ROWID""",
        """CREATE TABLE blobs (key INTEGER PRIMARY KEY, tenant TEXT NOT NULL, digest BLOB NOT NULL,
            size INTEGER NOT NULL, touched_ms INTEGER NOT NULL, data BLOB NOT NULL, UNIQUE (tenant, digest)) STRICT""",
        """CREATE TABLE blob_uses (run INTEGER NOT NULL, blob INTEGER NOT NULL, PRIMARY KEY (run, blob))
            STRICT, WITHOUT ROWID""",
        """CREATE INDEX blob_uses_by_blob ON blob_uses (blob)""",
        """CREATE TABLE tokens (
            id TEXT PRIMARY KEY, digest BLOB NOT NULL UNIQUE, tenant TEXT NOT NULL, user TEXT NOT NULL, agent TEXT,
            authority BLOB NOT NULL, label TEXT NOT NULL, parent TEXT, created_ms INTEGER NOT NULL,
            expires_ms INTEGER, revoked_ms INTEGER) STRICT""",
        """CREATE INDEX tokens_by_tenant ON tokens (tenant, id)""",
    ),
    (
        # What a run printed is shown without reading its calls; 4 is `codec.LOGGED`.
        """CREATE INDEX entries_logged ON entries (run, number) WHERE kind = 4""",
    ),
    (
        """CREATE TABLE approvals (
            id TEXT PRIMARY KEY, run INTEGER NOT NULL, sequence INTEGER NOT NULL, operation TEXT NOT NULL, digest TEXT NOT NULL,
            rule TEXT NOT NULL, reason TEXT NOT NULL, asked_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL,
            decided_ms INTEGER, verdict TEXT) STRICT""",
        """CREATE INDEX approvals_pending ON approvals (expires_ms) WHERE decided_ms IS NULL""",
        """CREATE INDEX approvals_by_run ON approvals (run)""",
    ),
    (
        # Usage of the policy's limits. `run` is set where the window is the run; `at_ms` is the ledger's time.
        """CREATE TABLE charges (
            tenant TEXT NOT NULL, key TEXT NOT NULL, window_ms INTEGER NOT NULL, part INTEGER NOT NULL, amount REAL NOT NULL,
            run TEXT NOT NULL, at_ms INTEGER NOT NULL, PRIMARY KEY (tenant, key, window_ms, part)) STRICT, WITHOUT ROWID""",
        """CREATE INDEX charges_by_run ON charges (run) WHERE run != ''""",
    ),
    (
        # What conversations have read (see `conversations`), and what people took off again.
        """CREATE TABLE conversations (
            tenant TEXT NOT NULL, user TEXT NOT NULL, scope TEXT NOT NULL, label TEXT NOT NULL, operation TEXT NOT NULL,
            run TEXT NOT NULL, at_ms INTEGER NOT NULL, PRIMARY KEY (tenant, user, scope, label)) STRICT, WITHOUT ROWID""",
        """CREATE TABLE conversations_cleared (
            tenant TEXT NOT NULL, user TEXT NOT NULL, scope TEXT NOT NULL, labels TEXT NOT NULL, actor TEXT NOT NULL,
            reason TEXT NOT NULL, at_ms INTEGER NOT NULL) STRICT""",
    ),
    (
        # The audit log: its leaves lie in `entries` under run 0 (see `audit.log`).
        """ALTER TABLE headers ADD COLUMN salt BLOB""",
        """CREATE TABLE audit_notes (position INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT""",
        """CREATE TABLE audit_checkpoints (size INTEGER PRIMARY KEY, note TEXT NOT NULL, peaks BLOB NOT NULL) STRICT""",
    ),
    (
        # Tokens that holders made offline and that were revoked: `path` is ids from the issued token down (see `tokens`).
        """CREATE TABLE token_revocations (
            tenant TEXT NOT NULL, root TEXT NOT NULL, path TEXT NOT NULL, at_ms INTEGER NOT NULL,
            PRIMARY KEY (tenant, root, path)) STRICT, WITHOUT ROWID""",
    ),
    (
        """CREATE TABLE passkeys (
            number INTEGER PRIMARY KEY AUTOINCREMENT, tenant TEXT NOT NULL, user TEXT NOT NULL, credential BLOB NOT NULL UNIQUE, data BLOB NOT NULL,
            sign_count INTEGER NOT NULL, label TEXT NOT NULL, created_ms INTEGER NOT NULL, revoked_ms INTEGER) STRICT""",
    ),
    (
        # When a conversation was last taken up: it is forgotten a retention after that. A clearing has a note in the audit log.
        """ALTER TABLE conversations ADD COLUMN used_ms INTEGER NOT NULL DEFAULT 0""",
        """UPDATE conversations SET used_ms = at_ms""",
        """CREATE INDEX conversations_by_use ON conversations (used_ms)""",
        """ALTER TABLE conversations_cleared ADD COLUMN position INTEGER""",
        """ALTER TABLE conversations_cleared ADD COLUMN salt BLOB""",
    ),
    (
        # Who made and revoked which token; each row has a note in the audit log (see `audit.events`).
        """CREATE TABLE token_events (
            position INTEGER PRIMARY KEY, salt BLOB NOT NULL, event TEXT NOT NULL, token TEXT NOT NULL, tenant TEXT NOT NULL, user TEXT NOT NULL,
            by_tenant TEXT NOT NULL, by_user TEXT NOT NULL, body BLOB NOT NULL) STRICT""",
    ),
)
SCHEMA_VERSION = len(_MIGRATIONS)


def refuse_foreign(connection: sqlite3.Connection, path: Path) -> None:
    """Raises `Unavailable` for another program's database or one written by a newer version."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application != APPLICATION_ID and (tables or version or application):
        raise Unavailable(f"{path} is a database of another program", code="journal_foreign",
                          fix="name another file for the journal")
    if version > SCHEMA_VERSION:
        raise Unavailable(f"{path} has schema version {version}; this Inhabit knows up to {SCHEMA_VERSION}",
                          code="journal_newer", fix="start the newer Inhabit, or restore a backup made by this one")


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the schema to `SCHEMA_VERSION`, one transaction a version."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    for number, statements in enumerate(_MIGRATIONS[version:], version + 1):
        connection.execute("BEGIN IMMEDIATE")
        for statement in statements:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")
