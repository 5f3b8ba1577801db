"""One credential value on one request: the schemes that APIs use, and where each puts it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from inhabit.errors import ConfigError

__all__ = ["BEARER", "Credentials", "attach", "scheme_of"]

BEARER: Mapping[str, Any] = {"type": "http", "scheme": "bearer"}


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


def attach(result: Credentials, scheme: Mapping[str, Any], value: str) -> bool:
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
