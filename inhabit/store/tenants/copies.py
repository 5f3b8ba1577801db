"""Backups of a home: all of it in one folder, or one tenant in one file; and putting them back while no server runs.

    FOLDER/server.db, FOLDER/tenants/NAME/journal.db

Each store is one consistent state; between stores there is no order, as there is none between tenants. Credentials and keys are
in no backup. Restoring the whole puts the folder `tenants` in place in one rename; what was there is set aside and named.
A backup that an older version made of a home with one journal goes back as such a home, which the next start moves over.
"""

from __future__ import annotations

import secrets
import shutil
import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path

from inhabit.errors import InvalidInput, Unavailable
from inhabit.store.backup import Restored, copy_pages, copy_running, replace, restore
from inhabit.store.folders import synced
from inhabit.store.ownership import Ownership
from inhabit.store.tenants.connections import CONNECTIONS
from inhabit.store.tenants.moving import LAST_OF_ONE_FILE, RESTORING
from inhabit.store.tenants.naming import (
    JOURNAL,
    SERVER,
    TENANTS,
    folder_name,
    journal_of,
    tenant_of,
    tenants_in,
)

__all__ = ["copy_home", "restore_home", "restore_tenant"]


def copy_home(home: Path, target: Path) -> Path:
    """Copy all stores to the new folder `target`, whether a server has them open or not. Blocks. Raises `InvalidInput` if it
    exists, `Unavailable`."""
    if target.exists():
        raise InvalidInput(f"{target} exists already", fix="name a new folder for the backup")
    part = target.with_name(f"{target.name}.{secrets.token_hex(8)}.part")
    try:
        (part / TENANTS).mkdir(mode=0o700, parents=True)
        copy_running(home / SERVER, part / SERVER)
        for tenant in tenants_in(home):
            if journal_of(home, tenant).exists():
                folder = part / TENANTS / folder_name(tenant)
                folder.mkdir(mode=0o700)
                copy_running(journal_of(home, tenant), folder / JOURNAL)
        synced(part / TENANTS)
        part.rename(target)
        synced(target.parent)
    except OSError as error:
        raise Unavailable(f"cannot write the copy {target}: {error.strerror}", fix="name a writable place") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return target


def restore_tenant(source: Path, home: Path, tenant: str, *, now_ms: int) -> Restored:
    """Put one tenant's journal back, from a file or out of the backup of a whole home. Raises as `restore`."""
    found = source / TENANTS / folder_name(tenant) / JOURNAL if source.is_dir() else source
    if not found.is_file():
        raise InvalidInput(f"there is no tenant {tenant} in {source}", fix="name another backup")
    others = _tenants_of(found) - {tenant}
    if others:
        raise InvalidInput(f"{found} holds runs of {', '.join(sorted(others)[:5])}", fix=f"it is not a backup of tenant {tenant}")
    with _taken(home):
        return restore(found, journal_of(home, tenant), now_ms=now_ms)


def restore_home(source: Path, home: Path, *, now_ms: int) -> Restored:
    """Put a whole home back. Raises `InvalidInput` for what is no such backup, `Unavailable` while a server runs on the home."""
    with _taken(home) as ownership:
        if source.is_dir():
            return _restored(source, home, ownership, now_ms)
        if _version(source) > LAST_OF_ONE_FILE:
            raise InvalidInput(f"{source} is the backup of one tenant", fix=f"add --tenant {next(iter(_tenants_of(source)), 'NAME')}")
        old = Ownership(home / JOURNAL)
        try:
            done = replace(source, home / JOURNAL, old, now_ms=now_ms, since=[home / SERVER, *(journal_of(home, tenant) for tenant in sorted(_tenants_of(source)))])
        finally:
            old.release()
        return Restored(done.closed, _set_aside(home, now_ms) or done.kept, done.revocations, done.acted_on)


def _restored(source: Path, home: Path, ownership: Ownership, now_ms: int) -> Restored:
    if not (source / SERVER).is_file() or not (source / TENANTS).is_dir():
        raise InvalidInput(f"{source} is not the backup of a home", fix="name the folder that `inhabit backup` made")
    part = home / f"{RESTORING}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(mode=0o700)
    restored: list[Restored] = []
    for path in sorted((source / TENANTS).iterdir()):
        tenant = tenant_of(path.name)
        if tenant is not None and (path / JOURNAL).is_file():
            restored.append(restore(path / JOURNAL, part / path.name / JOURNAL, now_ms=now_ms, since=[home / TENANTS / path.name / JOURNAL]))
            _keep_connections(home / TENANTS / path.name, part / path.name)
            synced(part / path.name)
    for tenant in tenants_in(home):     # who only connected has no journal, and is in no backup
        kept, own = (tenants / folder_name(tenant) for tenants in (home / TENANTS, part))
        if not own.exists() and (kept / CONNECTIONS).is_file():
            own.mkdir(mode=0o700)
            _keep_connections(kept, own)
            synced(own)
    synced(part)
    done = replace(source / SERVER, home / SERVER, ownership, now_ms=now_ms)
    part.rename(home / RESTORING)
    kept = _set_aside(home, now_ms)
    (home / RESTORING).rename(home / TENANTS)
    synced(home)
    restored.append(done)
    return Restored(tuple(run for one in restored for run in one.closed), kept or done.kept, all(one.revocations for one in restored),
                    tuple(run for one in restored for run in one.acted_on))


def _keep_connections(now: Path, then: Path) -> None:
    """Credentials are in no backup: who is connected stays connected."""
    if (now / CONNECTIONS).is_file():
        copy_pages(now / CONNECTIONS, then / CONNECTIONS)
        (then / CONNECTIONS).chmod(0o600)


def _set_aside(home: Path, now_ms: int) -> Path | None:
    if not (home / TENANTS).exists():
        return None
    aside = home / f"{TENANTS}.replaced-{now_ms}"
    (home / TENANTS).rename(aside)
    synced(home)
    return aside


@contextmanager
def _taken(home: Path) -> Generator[Ownership]:
    """No server runs on the home, nor starts."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    ownership = Ownership(home / SERVER)
    try:
        yield ownership
    finally:
        ownership.release()


def _tenants_of(path: Path) -> set[str]:
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            return {tenant for (tenant,) in connection.execute("SELECT DISTINCT tenant FROM runs")}
    except sqlite3.DatabaseError as error:
        raise InvalidInput(f"{path} is not a database of Inhabit: {error}", fix="name another one") from error


def _version(path: Path) -> int:
    if not path.is_file():
        raise InvalidInput(f"{path} is not a file", fix="name a backup")
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            return connection.execute("PRAGMA user_version").fetchone()[0]
    except sqlite3.DatabaseError as error:
        raise InvalidInput(f"{path} is not a database of Inhabit: {error}", fix="name another one") from error
