"""From what a person names to connectors: `openapi(...)`, `mcp(...)`, `sql(...)`, `http(...)` and `inhabit.toml`."""

from __future__ import annotations

import importlib
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from inhabit.config import (
    Config,
    HeaderSecret,
    HttpSource,
    McpSource,
    OpenApiSource,
    PythonSource,
    SecretName,
    SecretsConfig,
    SqlSource,
)
from inhabit.connectors.functions import Capability
from inhabit.connectors.http import HostGrant, HttpConnector
from inhabit.connectors.mcp import EffectsReview, McpConnector
from inhabit.connectors.mcp import SecretName as FromHost
from inhabit.connectors.names import identifier
from inhabit.connectors.oauth import OAuthTarget
from inhabit.connectors.openapi import OpenApiConnector
from inhabit.connectors.sql import SqlConnector
from inhabit.contracts.connector import Connector
from inhabit.contracts.json import is_array
from inhabit.errors import ConfigError
from inhabit.store.sealed import SealedSecrets
from inhabit.store.secrets import CommandSecrets, EnvironmentSecrets, KeyringSecrets, Secrets

__all__ = ["Source", "connectors_of", "http", "is_local", "mcp", "oauth_target", "openapi", "secrets_of", "sql"]

Source = Capability | Connector
"""What `Inhabit(capabilities=[...])` takes."""


def openapi(source: str | Path, *, name: str | None = None, base_url: str | None = None,
            secret: str | Mapping[str, str] | None = None, auth: str | Mapping[str, str] | None = None,
            include: Sequence[str] = (), exclude: Sequence[str] = ()) -> Connector:
    """An OpenAPI 3.x (or Swagger 2.0) document, by path or URL. `secret` names a credential of the operator; `auth` says how a
    credential is sent where the document does not: `"bearer"`, `{"header": "X-Key"}`.
    """
    return OpenApiConnector(name or _name_of(str(source)), str(source), base_url=base_url, secret=secret, auth=auth,
                            include=tuple(include), exclude=tuple(exclude))


def mcp(server: str | Sequence[str], *, name: str | None = None, env: Mapping[str, str] | None = None,
        secret: str | None = None, concurrency: int | None = None, trust_annotations: bool = False) -> Connector:
    """An MCP server: its URL (`secret` names the operator's bearer token), or the command line that starts it.
    `concurrency`: how many calls that may write are sent to it at once; by default one to a server that is started here.
    """
    if isinstance(server, str) and server.startswith(("http://", "https://")):
        return McpConnector(name or _name_of(server), url=server, secret=secret, private_addresses=is_local(server), concurrency=concurrency,
                            trust_annotations=trust_annotations)
    command = shlex.split(server) if isinstance(server, str) else list(server)
    if not command:
        raise ConfigError("an MCP server needs a command or a URL")
    words = [word for word in command if not word.startswith("-") and word not in {"npx", "uvx", "node", "python", "python3"}]
    return McpConnector(name or _name_of((words or command)[0]), command=command, env=env or {}, concurrency=concurrency,
                        trust_annotations=trust_annotations)


def sql(path: str | Path, *, tables: Mapping[str, Sequence[str] | None], name: str | None = None, writable: bool = False,
        max_rows: int = 1_000) -> Connector:
    """A SQLite database; `tables` names what may be read: table → columns, or None for all of them."""
    return SqlConnector(name or _name_of(str(path)), Path(path), tables=tables, writable=writable, max_rows=max_rows)


def http(*allow: HostGrant, name: str = "http") -> Connector:
    """`http.fetch` for the requests that `allow` names, and no others."""
    return HttpConnector(name, allow)


def connectors_of(config: Config, review: EffectsReview) -> list[Source]:
    """Every source of an `inhabit.toml`, not yet opened. `review`: the effects that the operator confirmed."""
    return [
        *(_mcp_source(name, source, config, review) for name, source in config.mcp.items()),
        *(_openapi_source(name, source, config) for name, source in config.openapi.items()),
        *(_sql_source(name, source, config) for name, source in config.sql.items()),
        *(_http_source(name, source) for name, source in config.http.items()),
        *(capability for name, source in config.python.items() for capability in _python_source(name, source, config)),
    ]


def source_of(name: str, config: Config, review: EffectsReview) -> Connector | None:
    """One source that is reached with a credential, by its name, not yet opened."""
    if name in config.mcp:
        return _mcp_source(name, config.mcp[name], config, review)
    if name in config.openapi:
        return _openapi_source(name, config.openapi[name], config)
    return _http_source(name, config.http[name]) if name in config.http else None


def _mcp_source(name: str, source: McpSource, config: Config, review: EffectsReview) -> Connector:
    if source.url is None:
        env = {key: FromHost(value.secret) if isinstance(value, SecretName) else value for key, value in source.env.items()}
        return McpConnector(name, command=source.command, env=env, cwd=config.resolve(source.cwd or Path()), concurrency=source.concurrency,
                            trust_annotations=source.trust_annotations, review=review)
    headers = {key: FromHost(value.secret, value.prefix) if isinstance(value, HeaderSecret) else value for key, value in source.headers.items()}
    return McpConnector(name, url=source.url, auth="connection" if source.auth == "oauth" else "auto", headers=headers,
                        secret=source.auth.secret if isinstance(source.auth, SecretName) else None, concurrency=source.concurrency,
                        client=(source.client_id, source.client_secret.secret if source.client_secret else None) if source.client_id else None,
                        private_addresses=is_local(source.url), trust_annotations=source.trust_annotations, review=review)


def _openapi_source(name: str, source: OpenApiSource, config: Config) -> Connector:
    where = source.source if source.source.startswith(("http://", "https://")) else str(config.resolve(Path(source.source)))
    secret: str | dict[str, str] | None
    if isinstance(source.secret, dict):
        secret = {scheme: value.secret for scheme, value in source.secret.items()}
    else:
        secret = source.secret.secret if isinstance(source.secret, SecretName) else None
    return OpenApiConnector(name, where, base_url=source.base_url, secret=secret, auth=source.auth,
                            include=source.include, exclude=source.exclude)


def _sql_source(name: str, source: SqlSource, config: Config) -> Connector:
    tables = {table: None if columns == "*" else columns for table, columns in source.tables.items()}
    return SqlConnector(name, config.resolve(source.path), tables=tables, writable=source.writable, max_rows=source.max_rows)


def _http_source(name: str, source: HttpSource) -> Connector:
    return HttpConnector(name, [
        HostGrant(allow.origin, allow.methods, allow.path, allow.secret.secret if allow.secret else None) for allow in source.allow])


def _python_source(name: str, source: PythonSource, config: Config) -> Iterable[Source]:
    """The operator's own code, found beside the configuration file or installed."""
    module_name, _, attribute = source.module.partition(":")
    base = str(config.base.resolve())
    if base not in sys.path:
        sys.path.insert(0, base)
    try:
        found: Any = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"[python.{name}] {source.module} cannot be loaded: {error}", fix="module:attribute, beside inhabit.toml or installed") from error
    capabilities: Any = found() if callable(found) else found
    if not is_array(capabilities) or not all(isinstance(c, Capability) for c in capabilities):
        raise ConfigError(f"[python.{name}] {source.module} is not a list of capabilities, nor a function that returns one")
    return list(capabilities)


def _name_of(source: str) -> str:
    """`./specs/github.json` → `github`, `@scope/server-memory` → `memory`, `https://mcp.example.com/x` → `mcp_example_com`."""
    if "://" in source:
        host = source.split("://", 1)[1].split("/", 1)[0].split(":", 1)[0]
        last = source.rstrip("/").rpartition("/")[2]
        return identifier(last.partition(".")[0] if last.endswith((".json", ".yaml", ".yml")) else host)
    stem = source.replace("\\", "/").rpartition("/")[2].partition(".")[0].partition("@")[0]
    return identifier(stem.removeprefix("server-").removeprefix("mcp-server-").removesuffix("-mcp"))


def secrets_of(config: SecretsConfig, home: Path, base: Path) -> Secrets:
    """Where the operator keeps credentials; relative paths begin at `base`. Raises `ConfigError` when the place cannot be had."""
    match config.backend:
        case "file":
            return SealedSecrets(base / config.file if config.file else home / "secrets.sealed",
                                 base / config.key_file if config.key_file else home / "secrets.key")
        case "keyring":
            return KeyringSecrets(timeout_s=config.timeout_s)
        case "command":
            return CommandSecrets(config.command, timeout_s=config.timeout_s)
        case "env":
            return EnvironmentSecrets()


def oauth_target(name: str, source: McpSource, secrets: Secrets) -> OAuthTarget | None:
    """What one signs in at; None for a source that is called without, or with the operator's credential.
    Raises `ConfigError` for a client secret that is not set."""
    if source.url is None or source.auth not in (None, "oauth"):
        return None
    secret = secrets.get(source.client_secret.secret) if source.client_secret else None
    if source.client_secret and secret is None:
        raise ConfigError(f"[mcp.{name}] the secret {source.client_secret.secret} is not set",
                          fix="inhabit secrets list shows where it is looked for")
    return OAuthTarget(name, source.url, is_local(source.url), client_id=source.client_id, client_secret=secret)


def is_local(url: str) -> bool:
    """The operator wrote an address of this machine or its network, so this one origin may be there."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_private
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
