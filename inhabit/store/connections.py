"""Upstream credentials at rest.

Model: one row per connector and principal, and small notes (client registrations, sign-ins under way), in a SQLite
file of their own. What is secret is sealed with AES-256-GCM under a key that lies in a file beside it, readable by
its owner alone; the row's own identity is bound into the seal, so a row moved to another principal does not open.
Stored in the clear: connector, principal, kind, scopes and times, which is what a list shows.
Invariants: no secret value reaches the database, its WAL or a log in the clear; listing never opens a seal; a key
file that others can read or replace is refused.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar, cast

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from inhabit.contracts.connections import ConnectionInfo, ConnectionKind, StoredConnection
from inhabit.contracts.connector import Secret
from inhabit.contracts.principal import Principal
from inhabit.errors import ConfigError, InvalidInput, LimitExceeded, Unavailable
from inhabit.store.folders import synced

__all__ = ["MAX_CONNECTIONS_PER_TENANT", "MAX_NOTES", "MAX_SECRET_BYTES", "ConnectionStore"]

MAX_CONNECTIONS_PER_TENANT = 100_000
MAX_SECRET_BYTES = 64 * 1024        # all values of one connection; tokens are a few KB at most
MAX_NOTES = 10_000                  # beyond it the oldest go: a flood of sign-ins must not fill the disk
_PREFIX = b"inhabit-key-1:"
_NONCE_BYTES = 12
_BUSY_MS = 5_000
_SCHEMA = """
CREATE TABLE IF NOT EXISTS connections (
    connector TEXT NOT NULL, tenant TEXT NOT NULL, user TEXT NOT NULL, agent TEXT NOT NULL,
    kind TEXT NOT NULL, scopes TEXT NOT NULL, expires_ms INTEGER, created_ms INTEGER NOT NULL, updated_ms INTEGER NOT NULL,
    sealed BLOB NOT NULL, PRIMARY KEY (tenant, user, agent, connector)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS notes (
    kind TEXT NOT NULL, key TEXT NOT NULL, expires_ms INTEGER, created_ms INTEGER NOT NULL, sealed BLOB NOT NULL,
    PRIMARY KEY (kind, key)) STRICT, WITHOUT ROWID;
"""
_SHOWN = "connector, tenant, user, agent, kind, scopes, expires_ms, created_ms, updated_ms"

_T = TypeVar("_T")


class ConnectionStore:
    """Implements `inhabit.contracts.connections.ConnectionVault`. Several processes may share the files.

    Raises `ConfigError` for a key file that is damaged or open to others, `Unavailable` for a folder or database
    that cannot be used, and later for a row that does not open with this key.
    """

    def __init__(self, path: Path, key_path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self._seal = AESGCM(_load_key(key_path))
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = _opened(path)

    async def get(self, connector: str, principal: Principal) -> StoredConnection | None:
        row = await self._do(lambda c: c.execute(
            f"SELECT {_SHOWN}, sealed FROM connections WHERE tenant = ? AND user = ? AND agent = ? AND connector = ?",
            (*_who(principal), connector)).fetchone())
        if row is None:
            return None
        info = _info(row)
        body = self._open(row[-1], _bound(info), f"the connection of {principal} to {connector}")
        values = {str(name): Secret(str(value)) for name, value in body["values"].items()}
        return StoredConnection(info, values, {str(name): str(value) for name, value in body["details"].items()})

    async def put(self, connection: StoredConnection) -> None:
        """Raises `InvalidInput` for values that are too large, `LimitExceeded` for too many connections."""
        info = connection.info
        body = {"values": {name: value.reveal() for name, value in connection.values.items()}, "details": dict(connection.details)}
        sealed = self._close(body, _bound(info))
        await self._do(lambda c: _insert(c, info, sealed, self._now_ms()))

    async def remove(self, connector: str, principal: Principal) -> bool:
        gone = await self._do(lambda c: c.execute(
            "DELETE FROM connections WHERE tenant = ? AND user = ? AND agent = ? AND connector = ?",
            (*_who(principal), connector)).rowcount)
        return gone > 0

    async def list(self, *, tenant: str, user: str | None = None, connector: str | None = None) -> Sequence[ConnectionInfo]:
        """By connector and user, without values."""
        rows = await self._do(lambda c: c.execute(
            f"SELECT {_SHOWN} FROM connections WHERE tenant = ?1 AND (?2 IS NULL OR user = ?2) AND (?3 IS NULL OR connector = ?3) "
            "ORDER BY connector, user, agent", (tenant, user, connector)).fetchall())
        return [_info(row) for row in rows]

    async def holder(self, connector: str) -> Principal | None:
        """Who connected it last, of all tenants: for whom a source can be listed when nobody is asking yet."""
        newest = await self.newest(connector)
        return newest.principal if newest is not None else None

    async def newest(self, connector: str) -> ConnectionInfo | None:
        """The connection to it that was made or changed last."""
        row = await self._do(lambda c: c.execute(
            f"SELECT {_SHOWN} FROM connections WHERE connector = ? ORDER BY updated_ms DESC LIMIT 1", (connector,)).fetchone())
        return _info(row) if row is not None else None

    async def keep_note(self, kind: str, key: str, value: Mapping[str, Any], *, expires_ms: int | None = None) -> None:
        sealed = self._close(value, f"note\0{kind}\0{key}".encode())
        await self._do(lambda c: _keep_note(c, (kind, key, expires_ms, self._now_ms(), sealed)))

    async def note(self, kind: str, key: str) -> Mapping[str, Any] | None:
        return self._read_note(kind, key, await self._do(lambda c: c.execute(
            "SELECT expires_ms, sealed FROM notes WHERE kind = ? AND key = ?", (kind, key)).fetchone()))

    async def take_note(self, kind: str, key: str) -> Mapping[str, Any] | None:
        return self._read_note(kind, key, await self._do(lambda c: c.execute(
            "DELETE FROM notes WHERE kind = ? AND key = ? RETURNING expires_ms, sealed", (kind, key)).fetchone()))

    async def forget_notes(self, kind: str) -> None:
        """All of that kind, without a trace in the file."""
        await asyncio.to_thread(self.scrub, "DELETE FROM notes WHERE kind = ?", kind)

    def scrub(self, sql: str, *values: str) -> None:
        """Delete, and build the file anew, so that nothing of it stays in free pages or the write-ahead log."""
        self._locked(lambda c: c.execute(sql, values))
        self._locked(lambda c: (c.commit(), c.execute("VACUUM"), c.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()))

    def close(self) -> None:
        """Idempotent."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    async def _do(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        return await asyncio.to_thread(self._locked, work)

    def _locked(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        with self._lock:
            if self._connection is None:
                raise Unavailable("the store of connections is closed")
            try:
                with self._connection:
                    return work(self._connection)
            except sqlite3.Error as error:
                raise Unavailable(f"{self._path} cannot be used: {error}", fix=_full(error) or "check the disk and the file's owner") from error

    def _close(self, body: Mapping[str, Any], bound: bytes) -> bytes:
        plain = orjson.dumps(body)
        if len(plain) > MAX_SECRET_BYTES:
            raise InvalidInput(f"the values of a connection have {len(plain)} bytes; at most {MAX_SECRET_BYTES} are kept")
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._seal.encrypt(nonce, plain, bound)

    def _open(self, sealed: bytes, bound: bytes, what: str) -> dict[str, Any]:
        try:
            return cast("dict[str, Any]", orjson.loads(self._seal.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], bound)))
        except (InvalidTag, ValueError):
            raise Unavailable(f"{what} does not open with the key that is there",
                              fix="restore the key file that belongs to this database, or connect again") from None

    def _read_note(self, kind: str, key: str, row: Any) -> Mapping[str, Any] | None:
        if row is None or (row[0] is not None and row[0] <= self._now_ms()):
            return None
        return self._open(row[1], f"note\0{kind}\0{key}".encode(), "a note")

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)


def _insert(c: sqlite3.Connection, info: ConnectionInfo, sealed: bytes, now_ms: int) -> None:
    (held,) = c.execute("SELECT count(*) FROM connections WHERE tenant = ?1 AND NOT (user = ?2 AND agent = ?3 AND connector = ?4)",
                        (*_who(info.principal), info.connector)).fetchone()     # one that is there may always be renewed
    if held >= MAX_CONNECTIONS_PER_TENANT:
        raise LimitExceeded.of("connections", MAX_CONNECTIONS_PER_TENANT, "connections", what=f"the tenant {info.principal.tenant}")
    c.execute(
        "INSERT INTO connections (connector, tenant, user, agent, kind, scopes, expires_ms, created_ms, updated_ms, sealed) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET kind = excluded.kind, scopes = excluded.scopes, "
        "expires_ms = excluded.expires_ms, updated_ms = excluded.updated_ms, sealed = excluded.sealed",
        (info.connector, *_who(info.principal), info.kind, " ".join(info.scopes), info.expires_ms, now_ms, now_ms, sealed))


def _keep_note(c: sqlite3.Connection, row: tuple[str, str, int | None, int, bytes]) -> None:
    c.execute("DELETE FROM notes WHERE expires_ms <= ?", (row[3],))
    c.execute("DELETE FROM notes WHERE (kind, key) IN (SELECT kind, key FROM notes ORDER BY created_ms DESC LIMIT -1 OFFSET ?)",
              (MAX_NOTES - 1,))
    c.execute("INSERT OR REPLACE INTO notes (kind, key, expires_ms, created_ms, sealed) VALUES (?, ?, ?, ?, ?)", row)


def _who(principal: Principal) -> tuple[str, str, str]:
    return principal.tenant, principal.user, principal.agent or ""


def _bound(info: ConnectionInfo) -> bytes:
    return "\0".join(("connection", info.connector, *_who(info.principal))).encode()


def _info(row: Sequence[Any]) -> ConnectionInfo:
    connector, tenant, user, agent, kind, scopes, expires_ms, created_ms, updated_ms = row[:9]
    return ConnectionInfo(connector, Principal(user, tenant, agent or None), cast("ConnectionKind", kind), tuple(scopes.split()),
                          expires_ms, created_ms, updated_ms)


def _opened(path: Path) -> sqlite3.Connection:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))     # SQLite gives its WAL the same mode
        connection = sqlite3.connect(path, check_same_thread=False, timeout=_BUSY_MS / 1000)
    except (OSError, sqlite3.Error) as error:
        raise Unavailable(f"{path} cannot be opened: {error}", fix="make its folder writable for this user") from error
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")
        connection.executescript(_SCHEMA)
    except sqlite3.Error as error:
        connection.close()
        if full := _full(error):
            raise Unavailable(f"{path} cannot be written: {error}", fix=full) from error
        raise Unavailable(f"{path} is not a database of connections: {error}", fix="restore it, or remove it and connect again") from error
    return connection


def _full(error: sqlite3.Error) -> str | None:
    return "make room on the disk" if error.sqlite_errorcode == sqlite3.SQLITE_FULL else None


def _load_key(path: Path) -> bytes:
    """The key, made on first use. Of two processes that start at once, both use the one that was linked first."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            _make_key(path)
        _private(path)
        raw = path.read_bytes().strip()
    except OSError as error:
        raise Unavailable(f"the key file {path} cannot be used: {error.strerror}", fix="make its folder writable for this user") from error
    try:
        key = base64.b64decode(raw.removeprefix(_PREFIX), validate=True) if raw.startswith(_PREFIX) else b""
    except binascii.Error:
        key = b""
    if len(key) != 32:
        raise ConfigError(f"{path} is not a key of Inhabit", fix="restore it from your backup; without it stored connections are lost")
    return key


def _make_key(path: Path) -> None:
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with closing(os.fdopen(descriptor, "wb")) as file:
        file.write(_PREFIX + base64.b64encode(AESGCM.generate_key(256)) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)        # never over a key that is there
    except FileExistsError:
        pass
    finally:
        draft.unlink(missing_ok=True)
    synced(path.parent)


def _private(path: Path) -> None:
    """A key that others could read or replace is no key."""
    found = path.stat()
    if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise ConfigError(f"the key file {path} is open to others", fix=f"chmod 600 {path}, owned by the user that runs Inhabit")
    folder = path.parent.stat()
    if stat.S_IMODE(folder.st_mode) & 0o022 and not folder.st_mode & stat.S_ISVTX:
        raise ConfigError(f"the folder {path.parent} of the key file can be written by others", fix=f"chmod 700 {path.parent}")
