"""The servers of an `.mcp.json` (or another client's file of the same form) as tables of an `inhabit.toml`.

No credential is copied: a value whose name or form says that it is one becomes the name of a secret, which the
operator sets in the environment.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import orjson

from inhabit.connectors.names import identifier, unique
from inhabit.errors import InvalidInput

__all__ = ["Imported", "import_servers"]

_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|AUTH|PAT$|DSN|_URI$|CONNECTION", re.IGNORECASE)
_VARIABLE = re.compile(r"\$\{(?:env:)?([A-Za-z_][A-Za-z0-9_]*)(?::-[^}]*)?\}\Z")
MAX_FILE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Imported:
    """`toml`: one `[mcp.NAME]` table a server. `secrets`: the variables to set. `skipped`: server → why."""

    toml: str
    secrets: tuple[str, ...]
    skipped: Mapping[str, str]


def import_servers(path: Path) -> Imported:
    """Raises `InvalidInput` when the file is not one of servers."""
    servers = _servers(path)
    names = unique([identifier(name)[:40].rstrip("_") for name in servers])
    tables: list[str] = []
    secrets: list[str] = []
    skipped: dict[str, str] = {}
    for name, (given, server) in zip(names, servers.items(), strict=True):
        try:
            tables.append("\n".join([f"[mcp.{name}]", *_lines(name, _object(server), secrets)]))
        except InvalidInput as error:
            skipped[given] = error.message
    return Imported("\n\n".join(tables) + "\n", tuple(dict.fromkeys(secrets)), skipped)


def _servers(path: Path) -> dict[str, Any]:
    try:
        body = path.read_bytes()
        value = orjson.loads(body) if len(body) <= MAX_FILE_BYTES else None
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise InvalidInput(f"{path} is not JSON: {error}") from None
    whole = cast(dict[str, Any], value) if isinstance(value, dict) else {}
    for key in ("mcpServers", "servers"):
        if isinstance(whole.get(key), dict):
            return whole[key]
    raise InvalidInput(f"{path} has no table mcpServers", fix='{"mcpServers": {"name": {"command": "...", "args": []}}}')


def _lines(name: str, server: dict[str, Any], secrets: list[str]) -> Iterator[str]:
    if server.get("disabled") is True:
        raise InvalidInput("it is disabled")
    if isinstance(server.get("command"), str):
        yield f"command = {_toml([server['command'], *_texts(server.get('args', []))])}"
        yield from _environment(_object(server.get("env", {})), secrets)
        if isinstance(server.get("cwd"), str):
            yield f"cwd = {_toml(server['cwd'])}"
        return
    if not isinstance(server.get("url"), str):
        raise InvalidInput("it has neither a command nor a url")
    if server.get("type") == "sse":
        raise InvalidInput("it speaks the old SSE transport; ask its maker for streamable HTTP")
    yield f"url = {_toml(server['url'])}"
    yield from _headers(name, _object(server.get("headers", {})), secrets)


def _environment(env: dict[str, Any], secrets: list[str]) -> Iterator[str]:
    items: list[str] = []
    for key, value in env.items():
        variable = _VARIABLE.match(str(value))
        if variable or _SECRET_NAME.search(key):
            secret = variable.group(1) if variable else key
            secrets.append(secret)
            items.append(f"{_toml(key)} = {{secret = {_toml(secret)}}}")
        else:
            items.append(f"{_toml(key)} = {_toml(str(value))}")
    if items:
        yield f"env = {{{', '.join(items)}}}"


def _headers(name: str, headers: dict[str, Any], secrets: list[str]) -> Iterator[str]:
    """One header can carry a credential; its value stays where it was."""
    if not headers:
        return
    if len(headers) > 1:
        raise InvalidInput(f"it has {len(headers)} headers, one can be sent")
    header, value = next(iter(headers.items()))
    variable = re.search(r"\$\{(?:env:)?([A-Za-z_][A-Za-z0-9_]*)\}", str(value))
    secret = variable.group(1) if variable else f"{name.upper()}_TOKEN"
    secrets.append(secret)
    yield f"auth = {{secret = {_toml(secret)}}}" if header.lower() == "authorization" else \
        f"headers = {{{_toml(header)} = {{secret = {_toml(secret)}}}}}"


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidInput("it is not an object")
    return cast(dict[str, Any], value)


def _texts(value: Any) -> list[str]:
    return [str(item) for item in cast(list[Any], value)] if isinstance(value, list) else []


def _toml(value: str | list[str]) -> str:
    """A JSON string is a TOML basic string, save for DEL."""
    if isinstance(value, list):
        return f"[{', '.join(_toml(item) for item in value)}]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
