"""Where a tenant's files lie: a folder whose name is made from the tenant's, one to one.

    tenants/acme            lower-case letters, digits and _ - @ + . stand for themselves
    tenants/=41cme          anything else as = and two hexadecimal digits of its UTF-8, a dot at an end too
    tenants/=xqcm…          base 32 of the whole, where that would be too long for a file system

Invariants: two tenants never share a folder, also where names differ only in case or in how an accent is composed; no name
leads out of its folder; a folder that no tenant's name makes is nobody's.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from pathlib import Path

from inhabit.errors import InvalidInput, NotFound, Unavailable

__all__ = ["AUDIT_KEY", "ERASED", "JOURNAL", "SERVER", "TENANTS", "existing_journal", "folder_name", "journal_of", "tenant_folder", "tenant_of", "tenants_in"]

TENANTS = "tenants"
JOURNAL = "journal.db"
SERVER = "server.db"
ERASED = "erased"
AUDIT_KEY = "audit.key"
"""In the home: signs the audit logs of all its stores."""
_MAX_NAME_BYTES = 128
_LONGEST = 200
_PLAIN = re.compile(r"[a-z0-9_@+.-]")
_ESCAPED = re.compile(r"=([0-9a-f]{2})")


def folder_name(tenant: str) -> str:
    """Raises `InvalidInput` for a name that is none."""
    raw = tenant.encode("utf-8", "surrogatepass")
    if not 0 < len(raw) <= _MAX_NAME_BYTES:
        raise InvalidInput(f"{tenant[:40]!r} is no name of a tenant", fix=f"1 to {_MAX_NAME_BYTES} characters")
    readable = "".join(_letter(byte, 0 < at < len(raw) - 1) for at, byte in enumerate(raw))
    return readable if len(readable) <= _LONGEST else "=x" + base64.b32encode(raw).decode().lower().rstrip("=")


def tenant_of(folder: str) -> str | None:
    """The tenant whose folder this is; None where it is nobody's."""
    try:
        raw = _unpacked(folder[2:]) if folder.startswith("=x") else _unescaped(folder)
        tenant = raw.decode("utf-8", "surrogatepass")
        return tenant if folder_name(tenant) == folder else None
    except (ValueError, InvalidInput):
        return None


def tenant_folder(home: Path, tenant: str) -> Path:
    return home / TENANTS / folder_name(tenant)


def journal_of(home: Path, tenant: str) -> Path:
    return tenant_folder(home, tenant) / JOURNAL


def tenants_in(home: Path) -> Iterator[str]:
    """Everyone who has a folder, in the order of their folders."""
    if (home / TENANTS).is_dir():
        for path in sorted((home / TENANTS).iterdir()):
            tenant = tenant_of(path.name)
            if tenant is not None and path.is_dir():
                yield tenant


def existing_journal(home: Path, tenant: str) -> Path:
    """Raises `NotFound` where the tenant has none, `Unavailable` for a home of an older version."""
    if (home / JOURNAL).exists():
        raise Unavailable(f"{home} has one journal for all tenants, as older versions made it", code="journal_not_moved",
                          fix=f"`inhabit doctor --home {home}` moves it over, as every start does")
    path = journal_of(home, tenant)
    if not path.exists():
        raise NotFound(f"there is no journal of tenant {tenant} in {home}", fix="name the home with --home, and whose with --as or --tenant")
    return path


def _letter(byte: int, inside: bool) -> str:
    letter = chr(byte)
    return letter if _PLAIN.match(letter) and (inside or letter != ".") else f"={byte:02x}"


def _unescaped(folder: str) -> bytes:
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), folder).encode("latin-1")


def _unpacked(text: str) -> bytes:
    try:
        return base64.b32decode(text.upper() + "=" * (-len(text) % 8))
    except binascii.Error as error:
        raise ValueError(str(error)) from None
