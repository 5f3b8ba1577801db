"""Credentials of a call: which scheme is satisfied, with what, and where it is put.

A credential is attached on the host, to the request for the document's own origin, and nowhere else. Which one
is the operator's word: `secret` names the operator's own, for everybody; without it each principal has a
connection. A document that asks for none gets none, unless the operator says `auth`.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from inhabit.contracts.connector import Call, ConnectorContext, Secret
from inhabit.errors import ConfigError, MissingConnection

__all__ = ["Authenticator", "Credentials", "scheme_of"]

_ALWAYS = "*"
_BEARER: Mapping[str, Any] = {"type": "http", "scheme": "bearer"}


@dataclass(slots=True)
class Credentials:
    """What is added to one request. `secrets`: every value to scrub from the answer."""

    headers: dict[str, str] = field(default_factory=dict[str, str], repr=False)
    query: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]], repr=False)
    cookies: dict[str, str] = field(default_factory=dict[str, str], repr=False)
    secrets: list[str] = field(default_factory=list[str], repr=False)


def scheme_of(auth: str | Mapping[str, str]) -> Mapping[str, Any]:
    """`"bearer"`, `"basic"`, `{"header": NAME, "prefix"?: TEXT}`, `{"query": NAME}` or `{"cookie": NAME}`.

    Raises `ConfigError` for anything else.
    """
    if auth in ("bearer", "basic"):
        return {"type": "http", "scheme": auth}
    if not isinstance(auth, str):
        for where in ("header", "query", "cookie"):
            if isinstance(auth.get(where), str):
                return {"type": "apiKey", "in": where, "name": auth[where], "prefix": auth.get("prefix", "")}
    raise ConfigError(f"auth {auth!r} is not understood", fix='"bearer", "basic", {header = NAME}, {query = NAME} or {cookie = NAME}')


class Authenticator:
    def __init__(self, name: str, schemes: Mapping[str, Mapping[str, Any]], secret: str | Mapping[str, str] | None,
                 auth: str | Mapping[str, str] | None) -> None:
        self._name = name
        self._secret = secret
        self._schemes: Mapping[str, Mapping[str, Any]] = {_ALWAYS: scheme_of(auth)} if auth is not None else {**schemes, _ALWAYS: _BEARER}
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
            value = context.secret(name)
            if value is None:
                raise MissingConnection(f"{self._name} needs the secret {name}, which is not set", fix=f"set {name} where the server runs")
            values[scheme] = value
        return values

    def _fill(self, names: Sequence[str], values: Mapping[str, Secret]) -> Credentials | None:
        result = Credentials()
        for name in names:
            scheme = self._schemes.get(name)
            value = self._value(name, scheme, values)
            if scheme is None or value is None or not _attach(result, scheme, value):
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


def _attach(result: Credentials, scheme: Mapping[str, Any], value: str) -> bool:
    """False for a scheme that cannot be satisfied with one value."""
    result.secrets.append(value)
    match scheme.get("type"), str(scheme.get("scheme", "")).lower():
        case ("http", "basic"):
            value = value if ":" in value else f"{value}:"      # a key alone stands for the user, as many APIs have it
            text = base64.b64encode(value.encode()).decode()
            result.secrets += [text, *value.split(":", 1)[1:]]
            result.headers["Authorization"] = f"Basic {text}"
        case ("http", "bearer" | "") | ("oauth2" | "openIdConnect", _):
            result.headers["Authorization"] = f"Bearer {value}"
        case ("apiKey", _):
            return _attach_key(result, str(scheme.get("in")), str(scheme.get("name")), f"{scheme.get('prefix', '')}{value}")
        case _:
            return False
    return True


def _attach_key(result: Credentials, where: str, name: str, value: str) -> bool:
    match where:
        case "header":
            result.headers[name] = value
        case "query":
            result.query.append((name, value))
        case "cookie":
            result.cookies[name] = value
        case _:
            return False
    return True
