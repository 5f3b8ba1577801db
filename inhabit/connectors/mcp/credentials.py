"""Whose credential a session with a server uses, and where it is put.

- `none`: nobody's. `secret`: one of the operator's, for everyone. `connection`: the calling principal's own.
- `auto`: the principal's own if there is one, else nobody's; a server that then answers 401 wants a connection.

Sessions with personal credentials are never shared: the session's key is the principal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from inhabit.connectors.mcp.http import Headers
from inhabit.connectors.mcp.text import one_line
from inhabit.contracts.connector import ConnectorContext, Secret
from inhabit.contracts.principal import Principal
from inhabit.errors import InhabitError, MissingConnection

__all__ = ["ANONYMOUS", "Access", "AuthMode", "ConnectionValue", "EnvironmentValue", "HeaderValue", "Renewing", "SecretName", "environment"]

AuthMode = Literal["auto", "none", "secret", "connection"]
ANONYMOUS = ""
"""The key of a session that carries no personal credential."""


@dataclass(frozen=True, slots=True)
class SecretName:
    """An operator's secret, by the name under which the host keeps it; `prefix` is put before its value."""

    name: str
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class ConnectionValue:
    """A named value of the calling principal's connection (`token`, `api_key`): the server then runs per principal."""

    name: str = "token"


EnvironmentValue = str | SecretName | ConnectionValue
HeaderValue = str | SecretName


@runtime_checkable
class Renewing(Protocol):
    """Connections that can replace a credential which the upstream refused although it had not expired, and that
    know where a person connects."""

    async def renew(self, connector: str, principal: Principal) -> Mapping[str, Secret] | None: ...

    def missing(self, connector: str, message: str, details: Mapping[str, Any] | None = None) -> MissingConnection: ...


@dataclass(frozen=True, slots=True)
class Access:
    """How one connector's HTTP sessions are authenticated. `headers` are the operator's, and go with every request."""

    connector: str
    mode: AuthMode
    context: ConnectorContext
    secret: str | None = None
    fixed: Mapping[str, HeaderValue] = field(default_factory=dict[str, HeaderValue])

    async def key(self, principal: Principal) -> str:
        """The key of the session that serves this principal. Raises `MissingConnection` in `connection` mode."""
        if self.mode in ("none", "secret"):
            return ANONYMOUS
        try:
            await self.context.connections.credential(self.connector, principal)
        except MissingConnection:
            if self.mode == "auto":
                return ANONYMOUS
            raise
        return str(principal)

    def of(self, key: str) -> _Credential:
        return _Credential(self, Principal.parse(key) if key != ANONYMOUS else None)


class _Credential:
    def __init__(self, access: Access, principal: Principal | None) -> None:
        self._access = access
        self._principal = principal

    async def headers(self, *, again: bool) -> Headers | None:
        access = self._access
        values = await self._values(again)
        if values is None:
            return None
        fixed = {name: await _header(value, access.context, access.connector) for name, value in access.fixed.items()}
        chosen = values.get("token") or values.get("api_key")
        sent = {name: Secret(text) for name, (text, _) in fixed.items()} | (
            {"Authorization": Secret(f"Bearer {chosen.reveal()}")} if chosen is not None else {})
        return Headers(sent, tuple(secret for secret in (chosen, *(secret for _, secret in fixed.values())) if secret is not None))

    async def _values(self, again: bool) -> Mapping[str, Secret] | None:
        access = self._access
        if self._principal is None:
            if again:
                return None
            return {"token": await operator_secret(access.context, access.connector, access.secret)} if access.secret else {}
        connections = access.context.connections
        if not again:
            return await connections.credential(access.connector, self._principal)
        return await connections.renew(access.connector, self._principal) if isinstance(connections, Renewing) else None

    def refused(self, challenge: str) -> InhabitError:
        name = self._access.connector
        if self._access.mode == "secret":
            secrets = " and ".join(filter(None, [self._access.secret, *(v.name for v in self._access.fixed.values() if isinstance(v, SecretName))]))
            return MissingConnection(f"the server of {name} refused the secret {secrets}",
                                     fix=f"set {secrets} to a credential that {name} accepts", details={"connector": name})
        who = "the connection of this principal" if self._principal is not None else "a call without a credential"
        details = {"challenge": one_line(challenge, 300)} if challenge else {}
        return _missing(self._access.context, name, f"the server of {name} refused {who}", details)


async def operator_secret(context: ConnectorContext, connector: str, name: str) -> Secret:
    """Raises `MissingConnection`, naming what to set."""
    value = await context.secret(name)
    if value is None:
        raise MissingConnection(f"{connector} needs the secret {name}, which is not set",
                                fix=f"set the environment variable {name} where Inhabit runs", details={"connector": connector, "secret": name})
    return value


async def environment(values: Mapping[str, EnvironmentValue], context: ConnectorContext, connector: str,
                      principal: Principal | None) -> tuple[dict[str, str], list[str]]:
    """The environment with its secrets in place, and the secret values alone. Raises `MissingConnection`."""
    made: dict[str, str] = {}
    hidden: list[str] = []
    for name, value in values.items():
        if isinstance(value, str):
            made[name] = value
            continue
        if isinstance(value, SecretName):
            secret = await operator_secret(context, connector, value.name)
        else:
            secret = await _connected(value, context, connector, principal)
        made[name] = (value.prefix if isinstance(value, SecretName) else "") + secret.reveal()
        hidden.append(secret.reveal())
    return made, hidden


async def _connected(value: ConnectionValue, context: ConnectorContext, connector: str, principal: Principal | None) -> Secret:
    if principal is None:
        raise _missing(context, connector, f"{connector} runs per principal and has none to run for")
    values = await context.connections.credential(connector, principal)
    if value.name not in values:
        raise _missing(context, connector, f"the connection to {connector} has no value {value.name!r}")
    return values[value.name]


def _missing(context: ConnectorContext, connector: str, message: str, details: Mapping[str, Any] | None = None) -> MissingConnection:
    if isinstance(context.connections, Renewing):
        return context.connections.missing(connector, message, details)
    return MissingConnection(message, fix=f"connect it: inhabit connect {connector}", details={"connector": connector, **(details or {})})


async def _header(value: HeaderValue, context: ConnectorContext, connector: str) -> tuple[str, Secret | None]:
    """A header of the operator's, and the secret in it."""
    if isinstance(value, str):
        return value, None
    secret = await operator_secret(context, connector, value.name)
    return value.prefix + secret.reveal(), secret
