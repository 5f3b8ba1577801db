"""A software authenticator for tests: it makes passkeys and signs as a security key would, out of `cryptography`.

It is no browser: it signs whatever origin, challenge and flags the test says, which is what an attacker would do.
"""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import orjson
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from fido2 import cbor
from fido2.cose import ES256
from fido2.webauthn import AttestedCredentialData, AuthenticatorData

FLAG = AuthenticatorData.FLAG


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


@dataclass
class Authenticator:
    """One passkey. `counter`: what it says the next time is one more."""

    origin: str = "http://localhost"
    party: str = "localhost"
    counter: int = 0
    flags: Any = FLAG.UP | FLAG.UV
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    credential: bytes = field(default_factory=lambda: secrets.token_bytes(16))

    def create(self, options: dict[str, Any], **said: Any) -> dict[str, Any]:
        data = AttestedCredentialData.create(bytes(16), self.credential, ES256.from_cryptography_key(self.key.public_key()))
        auth = AuthenticatorData.create(sha256(self.party.encode()).digest(), self.flags | FLAG.AT, self.counter, data)
        attestation = cbor.encode({"fmt": "none", "attStmt": {}, "authData": bytes(auth)})
        client = self._client("webauthn.create", options, said)
        return self._answer({"clientDataJSON": b64(client), "attestationObject": b64(attestation)})

    def get(self, options: dict[str, Any], *, step: int = 1, **said: Any) -> dict[str, Any]:
        self.counter += step
        auth = bytes(AuthenticatorData.create(sha256(self.party.encode()).digest(), self.flags, self.counter))
        client = self._client("webauthn.get", options, said)
        signature = self.key.sign(auth + sha256(client).digest(), ec.ECDSA(hashes.SHA256()))
        return self._answer({"clientDataJSON": b64(client), "authenticatorData": b64(auth), "signature": b64(signature), "userHandle": None})

    def _client(self, kind: str, options: dict[str, Any], said: dict[str, Any]) -> bytes:
        return orjson.dumps({"type": kind, "challenge": options["challenge"], "origin": self.origin, "crossOrigin": False, **said})

    def _answer(self, response: dict[str, Any]) -> dict[str, Any]:
        return {"id": b64(self.credential), "rawId": b64(self.credential), "type": "public-key", "response": response,
                "clientExtensionResults": {}, "authenticatorAttachment": "cross-platform"}
