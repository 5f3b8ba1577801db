"""Credentials of a call: which scheme is satisfied, with what, and where it is put.

A credential is attached on the host, to the request for the document's own origin, and nowhere else. Which one
is the operator's word: `secret` names the operator's own, for everybody; without it each principal has a
connection. A document that asks for none gets none, unless the operator says `auth`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from inhabit.connectors.credentials import BEARER, Credentials, attach, scheme_of
from inhabit.contracts.connector import Call, ConnectorContext, Secret
from inhabit.errors import MissingConnection

__all__ = ["Authenticator"]

_ALWAYS = "*"


class Authenticator:
    def __init__(self, name: str, schemes: Mapping[str, Mapping[str, Any]], secret: str | Mapping[str, str] | None,
                 auth: str | Mapping[str, str] | None) -> None:
        self._name = name
        self._secret = secret
        self._schemes: Mapping[str, Mapping[str, Any]] = {_ALWAYS: scheme_of(auth)} if auth is not None else {**schemes, _ALWAYS: BEARER}
        self._forced = auth is not None

    async def credentials(self, security: Sequence[Sequence[str]] | None, call: Call, context: ConnectorContext) -> Credentials:
        """Raises `MissingConnection`, naming what is missing and where to set it."""
        alternatives = self._alternatives(security)
        if not alternatives:
            return Credentials()
        optional = any(not names for names in alternatives)
        try:
            values = await self._values(call, context)
        except MissingConnection:
            if optional:
                return Credentials()
            raise
        for names in alternatives:
            result = self._fill(names, values)
            if result is not None and names:
                return result
        if optional:
            return Credentials()
        wanted = " or ".join(" + ".join(names) for names in alternatives)
        raise MissingConnection(f"{self._name}: the credential given does not fit the security scheme {wanted}",
                                fix="name the secret of each scheme, or say `auth`")

    def _alternatives(self, security: Sequence[Sequence[str]] | None) -> Sequence[Sequence[str]]:
        if self._forced:
            return [[_ALWAYS]]
        if security:
            return security
        if security is None and self._secret is not None and len(self._schemes) == 1:
            return [[_ALWAYS]]     # the document describes no security, the operator has a credential: a bearer token
        if security is None and self._secret is not None:
            return [[name] for name in self._schemes if name != _ALWAYS]
        return []

    async def _values(self, call: Call, context: ConnectorContext) -> Mapping[str, Secret]:
        if self._secret is None:
            return await context.connections.credential(self._name, call.principal)
        named = {"": self._secret} if isinstance(self._secret, str) else self._secret
        values: dict[str, Secret] = {}
        for scheme, name in named.items():
            value = await context.secret(name)
            if value is None:
                raise MissingConnection(f"{self._name} needs the secret {name}, which is not set", fix=f"set {name} where the server runs")
            values[scheme] = value
        return values

    def _fill(self, names: Sequence[str], values: Mapping[str, Secret]) -> Credentials | None:
        result = Credentials()
        for name in names:
            scheme = self._schemes.get(name)
            value = self._value(name, scheme, values)
            if scheme is None or value is None or not attach(result, scheme, value):
                return None
        return result

    def _value(self, name: str, scheme: Mapping[str, Any] | None, values: Mapping[str, Secret]) -> str | None:
        if scheme is not None and scheme.get("scheme", "").lower() == "basic" and "username" in values:
            password = values["password"].reveal() if "password" in values else ""
            return f"{values['username'].reveal()}:{password}"
        for key in (name, "", "token", "access_token", "api_key", "key"):
            if key in values:
                return values[key].reveal()
        return None
