"""Upstream credentials as they are kept: one record per connector and principal, sealed by whoever keeps them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from inhabit.contracts.connector import Secret
from inhabit.contracts.principal import Principal

__all__ = ["ConnectionInfo", "ConnectionKind", "ConnectionVault", "StoredConnection"]

ConnectionKind = Literal["key", "oauth"]


@dataclass(frozen=True, slots=True)
class ConnectionInfo:
    """What may be shown of a connection. Times are Unix time in ms; `expires_ms` is the credential's, None unknown."""

    connector: str
    principal: Principal
    kind: ConnectionKind
    scopes: tuple[str, ...] = ()
    expires_ms: int | None = None
    created_ms: int = 0
    updated_ms: int = 0


@dataclass(frozen=True, slots=True)
class StoredConnection:
    """`values` are the secrets by name (`token`, `refresh_token`, `api_key`, `client_secret`); `details` is what
    belongs to them and is no secret (issuer, endpoints, client id), plain strings."""

    info: ConnectionInfo
    values: Mapping[str, Secret]
    details: Mapping[str, str] = field(default_factory=dict[str, str])


class ConnectionVault(Protocol):
    """Keeps connections. Nothing of `values` or of a note is ever written in the clear."""

    async def get(self, connector: str, principal: Principal) -> StoredConnection | None: ...

    async def put(self, connection: StoredConnection) -> None:
        """Keep it in place of an earlier one; durable on return. `created_ms` of an earlier one stays."""
        ...

    async def remove(self, connector: str, principal: Principal) -> bool: ...

    async def list(self, *, tenant: str, user: str | None = None, connector: str | None = None) -> Sequence[ConnectionInfo]: ...

    async def holder(self, connector: str) -> Principal | None:
        """Who connected it last, of all tenants."""
        ...

    async def keep_note(self, kind: str, key: str, value: Mapping[str, Any], *, expires_ms: int | None = None) -> None:
        """Keep small sealed JSON: a client registration, a sign-in under way."""
        ...

    async def note(self, kind: str, key: str) -> Mapping[str, Any] | None: ...

    async def take_note(self, kind: str, key: str) -> Mapping[str, Any] | None:
        """The note, which is gone with this: of two takers one gets it."""
        ...
