"""The keys that attenuable tokens are signed with: one that signs, and older public ones that still verify.

Stored: a JSON file, readable by its owner alone, `{"version": 1, "keys": [{"public", "private", "made_ms", "until_ms"}]}`, the
one that signs last. It is made with the first token. A key that was rotated out keeps no private half, and is forgotten
once the last token that it signed has expired.
Invariant: there is at most one private key, and a public key that is not in the file verifies nothing.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson
from biscuit_auth import KeyPair, PrivateKey, PublicKey

from inhabit.contracts.json import is_object
from inhabit.errors import ConfigError, InhabitError, Unavailable
from inhabit.tokens.chain import key_bytes, private_key, public_key

__all__ = ["Signing", "TokenKeys"]

_FIX = "put it back from a copy; without it every attenuable token is void, and removing the file makes a new key"


@dataclass(frozen=True, slots=True)
class Signing:
    private: PrivateKey
    public: bytes


@dataclass(frozen=True, slots=True)
class _Key:
    """In hex, as it is kept. `until_ms`: when the last token that it signed expires; None while it signs."""

    public: str
    private: str | None
    made_ms: int
    until_ms: int | None = None


class TokenKeys:
    """One process uses the file at a time: the one that holds the home. Raises `Unavailable`, `ConfigError`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held: tuple[_Key, ...] | None = None

    def signing(self, now_ms: int) -> Signing:
        """The key for a new token, made when there is none."""
        if not self._keys or self._keys[-1].private is None:
            self._keep((*self._keys, _made(now_ms)))
        key = self._keys[-1]
        assert key.private is not None, "the last key signs"
        return Signing(private_key(bytes.fromhex(key.private)), bytes.fromhex(key.public))

    def known(self, public: bytes, now_ms: int) -> PublicKey | None:
        """The key, if tokens that it signed are taken."""
        for key in self._keys:
            if bytes.fromhex(key.public) == public and (key.until_ms is None or now_ms < key.until_ms):
                return public_key(public)
        return None

    def rotate(self, now_ms: int, until_ms: int | None) -> str:
        """Sign with a new key from now on; the public half, in hex. Older keys verify until `until_ms`, None: not any more.
        On disk when this returns.
        """
        kept: list[_Key] = []
        if until_ms is not None:
            kept = [_Key(key.public, None, key.made_ms, until_ms if key.until_ms is None else key.until_ms)
                    for key in self._keys if key.until_ms is None or key.until_ms > now_ms]
        fresh = _made(now_ms)
        self._keep((*kept, fresh))
        return fresh.public

    @property
    def _keys(self) -> tuple[_Key, ...]:
        if self._held is None:
            self._held = _read(self._path)
        return self._held

    def _keep(self, keys: tuple[_Key, ...]) -> None:
        body = orjson.dumps({"version": 1, "keys": [asdict(key) for key in keys]}, option=orjson.OPT_INDENT_2)
        part = self._path.with_name(f"{self._path.name}.{secrets.token_hex(8)}.part")
        try:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
            part.replace(self._path)
            _settle(self._path.parent)
        except OSError as error:
            raise Unavailable(f"{self._path} cannot be written: {error.strerror}", fix="make its folder writable for this user") from error
        finally:
            part.unlink(missing_ok=True)
        self._held = keys


def _made(now_ms: int) -> _Key:
    pair = KeyPair()
    return _Key(key_bytes(pair.public_key).hex(), key_bytes(pair.private_key).hex(), now_ms)


def _settle(folder: Path) -> None:
    """The new name is on disk too: a key that was thrown out does not come back with the power."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(path: Path) -> tuple[_Key, ...]:
    try:
        if path.stat().st_mode & 0o077:
            raise ConfigError(f"the key file {path} is open to others", fix=f"chmod 600 {path}, then `inhabit token rotate-key --void`")
        found: Any = orjson.loads(path.read_bytes())
        if found["version"] != 1:
            raise ValueError("another version")
        return tuple(_key(kept) for kept in found["keys"])
    except FileNotFoundError:
        return ()
    except InhabitError:
        raise
    except OSError as error:
        raise Unavailable(f"{path} cannot be read: {error.strerror}", fix="make it readable for this user") from error
    except (ValueError, KeyError, TypeError):
        raise Unavailable(f"{path} is no file of token keys", code="token_keys_damaged", fix=_FIX) from None


def _key(kept: Any) -> _Key:
    if not is_object(kept):
        raise TypeError("a key is an object")
    key = _Key(**kept)
    for half in (key.public, *((key.private,) if key.private is not None else ())):
        if len(bytes.fromhex(half)) != 32:
            raise ValueError("a key has 32 bytes")
    return key
