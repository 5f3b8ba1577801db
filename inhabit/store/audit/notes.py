"""Checkpoints: how large the log was and what its root was, signed. In the form of C2SP tlog-checkpoint.

    inhabit-audit                      the origin
    1234                               leaves
    base64                             root
    at 1790000000000                   extension lines: when, and the SHA-256 of the checkpoint before
    previous 64 hex digits
    (empty line)
    — inhabit-audit base64             signature: key id ‖ Ed25519 over all up to the empty line

The private key lies in a file of its own, readable by its owner alone, never in the database. A public key is
written `inhabit-audit+KEYID+BASE64`, as other verifiers of signed notes take it.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from inhabit.errors import InvalidInput, Unavailable
from inhabit.store.folders import synced

__all__ = ["Checkpoint", "PublicKey", "Signer", "public_key", "read_checkpoint"]

_ORIGIN = "inhabit-audit"
_ED25519 = b"\1"
_MAX_NOTE_CHARS = 4_096


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """`text` is the whole signed note."""

    size: int
    root: bytes
    at_ms: int
    previous: str
    text: str

    @property
    def digest(self) -> str:
        return sha256(self.text.encode()).hexdigest()


class PublicKey:
    """Raises `InvalidInput` for a text that is no public key."""

    def __init__(self, text: str) -> None:
        try:
            name, _, key = text.strip().partition("+")
            key_id, _, encoded = key.partition("+")
            raw = base64.b64decode(encoded, validate=True)
            if name != _ORIGIN or raw[:1] != _ED25519 or key_id != _key_id(raw).hex():
                raise ValueError("another kind of key")
            self._key = Ed25519PublicKey.from_public_bytes(raw[1:])
        except ValueError:    # the text is not told: a file that was taken for the key may hold a secret
            raise InvalidInput("what was given is no public key of an audit log, which begins with " + _ORIGIN + "+",
                               fix="`inhabit audit key` prints it") from None
        self.text = text.strip()
        self._id = _key_id(raw)

    def signed(self, note: str) -> bool:
        """Whether this key signed the note."""
        body, _, signature = note.rpartition("\n\n")
        for line in signature.splitlines():
            mark, _, encoded = line.rpartition(" ")
            if mark == f"— {_ORIGIN}" and self._fits(body + "\n", encoded):
                return True
        return False

    def _fits(self, body: str, encoded: str) -> bool:
        try:
            raw = base64.b64decode(encoded, validate=True)
            self._key.verify(raw[4:], body.encode())
        except (binascii.Error, InvalidSignature, ValueError):
            return False
        return raw[:4] == self._id


class Signer:
    """The private key in the file `path`, made when there is none. Raises `Unavailable`."""

    def __init__(self, path: Path) -> None:
        self._key = _loaded(path)
        raw = _ED25519 + self._key.public_key().public_bytes_raw()
        self._id = _key_id(raw)
        self.public = f"{_ORIGIN}+{self._id.hex()}+{base64.b64encode(raw).decode()}"

    def checkpoint(self, size: int, root: bytes, at_ms: int, previous: str) -> Checkpoint:
        body = f"{_ORIGIN}\n{size}\n{base64.b64encode(root).decode()}\nat {at_ms}\nprevious {previous}\n"
        signature = base64.b64encode(self._id + self._key.sign(body.encode())).decode()
        return Checkpoint(size, root, at_ms, previous, f"{body}\n— {_ORIGIN} {signature}\n")


def public_key(path: Path) -> str:
    """The public half of the key in the file `path`. Raises `InvalidInput` when there is none, `Unavailable`."""
    if not path.is_file():
        raise InvalidInput(f"there is no key {path}", fix="start the server once, or name the public key with --key")
    return Signer(path).public


def read_checkpoint(text: str, keys: Sequence[PublicKey]) -> Checkpoint:
    """Raises `InvalidInput` for what is no checkpoint or is signed by none of `keys`."""
    try:
        if len(text) > _MAX_NOTE_CHARS:
            raise ValueError("too long")
        origin, size, root, at, previous = text.partition("\n\n")[0].split("\n")
        if origin != _ORIGIN or not at.startswith("at ") or not previous.startswith("previous "):
            raise ValueError("not of an audit log")
        found = Checkpoint(int(size), base64.b64decode(root, validate=True), int(at[3:]), previous[9:], text)
    except ValueError as error:
        raise InvalidInput(f"this is no checkpoint: {error}", fix="`inhabit audit checkpoint` prints one") from None
    if not any(key.signed(text) for key in keys):
        raise InvalidInput(f"the checkpoint of {found.size} leaves has no valid signature",
                           fix="name the public key of the server that made it; if it is the right one, this was forged")
    return found


def _key_id(raw: bytes) -> bytes:
    return sha256(_ORIGIN.encode() + b"\n" + raw).digest()[:4]


def _loaded(path: Path) -> Ed25519PrivateKey:
    try:
        if not path.exists():
            _make(path)
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except OSError as error:
        raise Unavailable(f"the audit log's key {path} cannot be read or made: {error.strerror}",
                          fix="make it readable for this user") from error
    except ValueError as error:
        raise Unavailable(f"{path} is no key of an audit log", code="audit_key_damaged",
                          fix="put it back from a copy; without it, remove the file and keep the old public key to verify what is signed") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise Unavailable(f"{path} is not an Ed25519 key", code="audit_key_damaged", fix="put the right one back")
    return key


def _make(path: Path) -> None:
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, pem)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    part.replace(path)      # never half a key under the name
    synced(path.parent)     # what is signed with it is not durable before it is
