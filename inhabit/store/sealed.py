"""A file of sealed secrets: each value encrypted and authenticated (ChaCha20-Poly1305) under a key in a file of its own.

Stored: JSON `{"version": 1, "secrets": {NAME: base64(nonce ‖ ciphertext)}}`, the name bound to its value, so that no value can be
put under another's name. The file is written anew beside itself and renamed, so a reader sees the old or the new
one; it is read again when it changed, so a rotated value counts from the next request on. Both files are their owner's alone.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import os
import re
import secrets
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from inhabit.contracts.connector import Secret
from inhabit.errors import ConfigError, InvalidInput, Unavailable
from inhabit.store.folders import made, synced

__all__ = ["MAX_SECRET_BYTES", "SealedSecrets"]

MAX_SECRET_BYTES = 64 * 1024
_MAX_FILE_BYTES = 16 * 1024 * 1024
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}\Z")
_NONCE_BYTES = 12
_KEY_BYTES = 32


class SealedSecrets:
    """Both files are made with the first secret."""

    def __init__(self, path: Path, key_path: Path) -> None:
        self._path = path
        self._key_path = key_path
        self._seen: tuple[int, int, int] | None = None
        self._sealed: dict[str, str] = {}

    def get(self, name: str) -> Secret | None:
        """None when it is not kept here. Raises `Unavailable` or `ConfigError` when the files cannot be used."""
        sealed = self._read().get(name)
        return None if sealed is None else Secret(self._opened(name, sealed))

    async def resolve(self, name: str) -> Secret | None:
        """The same: a small local file that is read when it changed."""
        return self.get(name)

    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._read()))

    def put(self, name: str, value: Secret) -> None:
        """Raises `InvalidInput` for a name or value that cannot be kept."""
        raw = value.reveal().encode()
        if not _NAME.match(name):
            raise InvalidInput(f"{name[:100]!r} is no name of a secret", fix="letters, digits and _, e.g. GITHUB_TOKEN")
        if not raw or len(raw) > MAX_SECRET_BYTES:
            raise InvalidInput(f"the value of {name} has {len(raw)} bytes", fix=f"1 to {MAX_SECRET_BYTES}")
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = nonce + ChaCha20Poly1305(self._key(make=True)).encrypt(nonce, raw, name.encode())
        self._change(lambda kept: kept.update({name: base64.b64encode(sealed).decode()}))

    def remove(self, name: str) -> bool:
        """Whether it was there."""
        held = name in self._read()
        self._change(lambda kept: kept.pop(name, None))
        return held

    def _opened(self, name: str, sealed: str) -> str:
        try:
            raw = base64.b64decode(sealed, validate=True)
            return ChaCha20Poly1305(self._key(make=False)).decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], name.encode()).decode()
        except (InvalidTag, binascii.Error, ValueError):
            raise Unavailable(f"the secret {name} in {self._path} cannot be opened: another key, or it was changed",
                              fix=f"set it again: inhabit secrets set {name}") from None

    def _read(self) -> dict[str, str]:
        try:
            found = self._path.stat()
            seen = (found.st_mtime_ns, found.st_ino, found.st_size)
            if seen != self._seen:
                self._sealed = _parsed(self._path)
                self._seen = seen
        except FileNotFoundError:
            self._seen, self._sealed = None, {}
        except OSError as error:
            raise Unavailable(f"{self._path} cannot be read: {error.strerror}", fix="make it readable for this user") from error
        return self._sealed

    def _change(self, change: Callable[[dict[str, str]], object]) -> None:
        """One change at a time, of all processes; on disk when this returns."""
        made(self._path.parent)
        with _locked(self._path.with_name(self._path.name + ".lock")):
            kept = dict(self._read())
            change(kept)
            _write(self._path, orjson.dumps({"version": 1, "secrets": kept}))

    def _key(self, *, make: bool) -> bytes:
        try:
            if make and not self._key_path.exists():
                made(self._key_path.parent)
                with _locked(self._key_path.with_name(self._key_path.name + ".lock")):
                    if not self._key_path.exists():
                        _write(self._key_path, base64.b64encode(secrets.token_bytes(_KEY_BYTES)) + b"\n")
            if self._key_path.stat().st_mode & 0o077:
                raise ConfigError(f"the key file {self._key_path} is open to others", fix=f"chmod 600 {self._key_path}")
            key = base64.b64decode(self._key_path.read_bytes().strip(), validate=True)
        except OSError as error:
            raise Unavailable(f"the key file {self._key_path} cannot be used: {error.strerror}", fix="put it back; without it the secrets are lost") from None
        except binascii.Error:
            key = b""
        if len(key) != _KEY_BYTES:
            raise ConfigError(f"{self._key_path} is no key of sealed secrets", fix="put it back from a copy")
        return key


def _parsed(path: Path) -> dict[str, str]:
    if path.stat().st_size > _MAX_FILE_BYTES:
        raise Unavailable(f"{path} has more than {_MAX_FILE_BYTES} bytes", fix="it is not a file of sealed secrets")
    try:
        found: Any = orjson.loads(path.read_bytes())
        if found["version"] != 1 or not all(isinstance(value, str) for value in found["secrets"].values()):
            raise ValueError("another version")
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Unavailable(f"{path} is no file of sealed secrets", fix="restore it, or remove it and set the secrets again") from None
    return cast(dict[str, str], found["secrets"])


def _write(path: Path, data: bytes) -> None:
    """All or nothing, and on disk. Raises `Unavailable`."""
    try:
        _replaced(path, data)
    except OSError as error:
        raise Unavailable(f"{path} cannot be written: {error.strerror}", fix="make room on its disk, or make it writable, and do it again; what was there is as it was") from error


def _replaced(path: Path, data: bytes) -> None:
    part = path.with_name(f"{path.name}.{secrets.token_hex(8)}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        synced(path.parent)     # else the old file, or no key, may be there after a power cut
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _locked(path: Path) -> Generator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
