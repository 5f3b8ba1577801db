"""`inhabit.toml`: read, checked, and turned into one frozen value. Nothing is connected here.

A name that is not known is refused with the nearest one that is, since a misspelt key would silently mean the
default. Paths are relative to the file. Secrets are named here, never written: a value comes from the
place that `[secrets]` names (else the environment: `INHABIT_SECRET_NAME`, else `NAME`) when it is needed.

    name = "home"
    [server]    host, port, allowed_hosts, tenants, accept_missing_layers, ...
    [limits]    names and units as in `inhabit.limits`
    [grants]    default = ["**"], and more by user
    [policy]    file = "policy.toml"
    [approvals] self, webhook
    [retention] max_age_days, max_bytes
    [mcp.NAME] [openapi.NAME] [sql.NAME] [http.NAME] [python.NAME]    one table a source
"""

from __future__ import annotations

import difflib
import json
import re
import shlex
import tomllib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from inhabit.errors import ConfigError, InhabitError
from inhabit.kernel.grants import Grant
from inhabit.limits import Limits
from inhabit.server.guard import GuardOptions
from inhabit.server.http import ServerOptions
from inhabit.server.toolset import ToolOptions
from inhabit.store.retention import MAX_AGE_DAYS, MAX_BYTES, Retention

__all__ = [
    "Allow", "ApprovalsConfig", "Config", "HeaderSecret", "HttpSource", "McpSource", "OpenApiSource", "PolicyConfig", "PythonSource", "RetentionConfig", "SecretName",
    "SecretsConfig", "ServerConfig", "SqlSource", "load_config", "parse_config",
]

_T = TypeVar("_T")
MAX_CONFIG_BYTES = 1024 * 1024
_CREDENTIAL = re.compile(r"auth|cookie|key|token|secret|password", re.IGNORECASE)
_OURS = frozenset({"host", "content-length", "content-type", "accept", "connection", "transfer-encoding", "last-event-id"})
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}\Z")


def _source_name(name: str) -> str:
    if not _NAME.match(name):
        raise ValueError("a source's name is what programs write: a-z, 0-9 and _, a letter first, at most 40 characters")
    return name


def _header_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}", name) or name.lower() in _OURS or name.lower().startswith("mcp-"):
        raise ValueError(f"{name!r} is no header that can be set here")
    return name


SourceName = Annotated[str, AfterValidator(_source_name)]
EnvName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=200)]
HeaderName = Annotated[str, AfterValidator(_header_name)]
HeaderText = Annotated[str, Field(pattern=r"^[\x20-\x7e]*$", max_length=4_000)]
HttpUrl = Annotated[str, Field(pattern=r"^https?://[^\s/?#@]+", max_length=2_000)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class SecretName(_Table):
    """`{secret = "NAME"}`: a credential by the name under which the operator keeps it."""

    secret: EnvName


class HeaderSecret(SecretName):
    """`{secret = "NAME", prefix = "Bearer "}`: a credential in a header."""

    prefix: str = Field("", max_length=100, pattern=r"^[\x20-\x7e]*$")


def _as_secret(value: Any) -> Any:
    return {"secret": value} if isinstance(value, str) else value


Secret = Annotated[SecretName, BeforeValidator(_as_secret)]


class ServerConfig(_Table):
    """`tenants = "several"` makes a missing jail layer an error unless `accept_missing_layers` names it."""

    host: str = Field("127.0.0.1", min_length=1, max_length=255)
    port: int = Field(8642, ge=0, le=65_535)
    allowed_hosts: tuple[str, ...] = Field(("127.0.0.1", "localhost", "[::1]"), strict=False)
    tenants: Literal["single", "several"] = "single"
    accept_missing_layers: tuple[str, ...] = Field((), strict=False)
    mcp_wait_s: float = Field(45.0, gt=0, le=600, description="how long `execute` waits before it answers with a running run")
    mcp_cancel_with_client: bool = Field(True, description="a client that cancels its call ends the run")
    public_url: HttpUrl | None = Field(None, description="the address that browsers use, where it is not host and port")

    def options(self, name: str) -> ServerOptions:
        """What the HTTP server takes of it. A host that is a name of this machine is answered for, too."""
        own = () if self.host in ("0.0.0.0", "::") else (f"[{self.host}]" if ":" in self.host else self.host,)
        return ServerOptions(
            name, GuardOptions(tuple(dict.fromkeys((*self.allowed_hosts, *own)))),
            ToolOptions(wait_s=self.mcp_wait_s, cancel_with_client=self.mcp_cancel_with_client), self.public_url)


class McpSource(_Table):
    """An MCP server: a command to start, or the URL of one that runs."""

    command: tuple[str, ...] | None = Field(None, min_length=1, strict=False)
    env: dict[str, str | SecretName] = Field(default_factory=dict[str, str | SecretName])
    cwd: Path | None = Field(None, strict=False)
    url: HttpUrl | None = None
    headers: dict[HeaderName, HeaderText | HeaderSecret] = Field(
        default_factory=dict[str, HeaderText | HeaderSecret], max_length=20, description="sent with every request")
    auth: Literal["oauth"] | SecretName | None = None
    client_id: str | None = Field(None, min_length=1, max_length=2_000, description="of an OAuth client that you registered by hand")
    client_secret: Secret | None = Field(None, description="the name of that client's secret, where it has one")
    concurrency: int | None = Field(None, ge=1, le=1_000, description="calls that may write, at once")
    trust_annotations: bool = Field(False, description="believe the server when it says that a tool only reads")

    @model_validator(mode="after")
    def _one_way(self) -> McpSource:
        if (self.command is None) == (self.url is None):
            raise ValueError("give either command or url")
        if self.command is None and (self.env or self.cwd):
            raise ValueError("env and cwd belong to a command, not to a url")
        if self.command is not None and (self.auth or self.headers):
            raise ValueError("auth and headers belong to a url; give a command its credentials in env")
        if (self.client_id and self.auth not in (None, "oauth")) or (self.client_secret and not self.client_id) or (self.client_id and not self.url):
            raise ValueError('client_id and client_secret belong to a url with auth = "oauth"')
        bare = next((key for key, value in self.headers.items() if isinstance(value, str) and _CREDENTIAL.search(key)), None)
        if bare is not None:
            raise ValueError(f'the header {bare} carries a credential: write {{secret = "NAME"}} and keep the value in the environment')
        return self


class OpenApiSource(_Table):
    """`include` and `exclude` are patterns over operation names, tags or paths; empty `include` means all."""

    source: str = Field(min_length=1, max_length=2_000, description="path or URL of the document")
    base_url: HttpUrl | None = None
    secret: Secret | dict[str, SecretName] | None = Field(None, description="one credential, or a table scheme → credential")
    auth: Literal["bearer", "basic"] | dict[str, str] | None = Field(
        None, description="how a credential is sent, whatever the document says")
    include: tuple[str, ...] = Field((), strict=False)
    exclude: tuple[str, ...] = Field((), strict=False)


class SqlSource(_Table):
    """Only the tables and columns that are named can be read; `writable` allows changes to them."""

    path: Path = Field(strict=False)
    tables: dict[str, Annotated[tuple[str, ...], Field(strict=False)] | Literal["*"]] = Field(min_length=1)
    writable: bool = False
    max_rows: int = Field(1_000, ge=1, le=100_000)


class Allow(_Table):
    """Requests to one origin, by method and by the start of the path."""

    origin: str = Field(pattern=r"^https?://[^\s/?#@]+$", max_length=300)
    methods: tuple[Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"], ...] = Field(("GET",), strict=False)
    path: str = Field("/", pattern=r"^/[^\s?#]*$", max_length=1_000)
    secret: Secret | None = None


class HttpSource(_Table):
    allow: tuple[Allow, ...] = Field(min_length=1, strict=False)


class PythonSource(_Table):
    """`module:attribute`, a list of capabilities or a function that returns one."""

    module: str = Field(max_length=300)

    @model_validator(mode="after")
    def _is_a_reference(self) -> PythonSource:
        if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", self.module):
            raise ValueError(f"module = {self.module!r} is not of the form module:attribute")
        return self


class PolicyConfig(_Table):
    """The product's rules over all calls, in a file of their own: see `inhabit policy check`."""

    file: Path = Field(Path("policy.toml"), strict=False)


class ApprovalsConfig(_Table):
    """`self`: people may approve what their own programs ask for; left out: with one tenant they may, with several not.
    `webhook`: is sent each new question, without its arguments. `passkeys`: whose answers count only with a passkey.
    """

    self: bool | None = None
    webhook: HttpUrl | None = None
    passkeys: Literal["enrolled", "required", "optional"] = "enrolled"


class RetentionConfig(_Table):
    """How long finished runs and conversations are kept, and how much of them each tenant keeps."""

    max_age_days: float = Field(Retention().max_age_days, gt=0, le=MAX_AGE_DAYS)
    max_bytes: int = Field(Retention().max_bytes, gt=0, le=MAX_BYTES)


class SecretsConfig(_Table):
    """Where the credentials lie that `{secret = "NAME"}` names. `file` and `key_file`: for `backend = "file"`, beside the journal
    unless named; `command`: run once for each, `{name}` in it replaced, for `backend = "command"`.
    """

    backend: Literal["env", "file", "keyring", "command"] = "env"
    file: Path | None = Field(None, strict=False)
    key_file: Path | None = Field(None, strict=False)
    command: tuple[str, ...] = Field((), strict=False, max_length=50)
    timeout_s: float = Field(5.0, gt=0, le=60, description="for an answer of the command or the keyring")

    @model_validator(mode="after")
    def _fits(self) -> SecretsConfig:
        if bool(self.command) != (self.backend == "command"):
            raise ValueError('command and backend = "command" belong together')
        if self.command and not any("{name}" in word for word in self.command[1:]):
            raise ValueError('command does not say where the name goes, e.g. ["pass", "show", "inhabit/{name}"]')
        if (self.file or self.key_file) and self.backend != "file":
            raise ValueError('file and key_file belong to backend = "file"')
        return self


class Config(_Table):
    """The whole file. `base` is the folder that paths are relative to."""

    name: str = Field("inhabit", min_length=1, max_length=60)
    server: ServerConfig = Field(default_factory=lambda: ServerConfig.model_validate({}))
    limits: Limits = Limits()
    grants: dict[str, Grant] | None = Field(None, description="left out: all for one tenant, nothing for several")
    policy: PolicyConfig | None = None
    approvals: ApprovalsConfig = Field(default_factory=lambda: ApprovalsConfig.model_validate({}))
    retention: RetentionConfig = Field(default_factory=lambda: RetentionConfig.model_validate({}))
    secrets: SecretsConfig = Field(default_factory=lambda: SecretsConfig.model_validate({}))
    mcp: dict[SourceName, McpSource] = Field(default_factory=dict[str, McpSource])
    openapi: dict[SourceName, OpenApiSource] = Field(default_factory=dict[str, OpenApiSource])
    sql: dict[SourceName, SqlSource] = Field(default_factory=dict[str, SqlSource])
    http: dict[SourceName, HttpSource] = Field(default_factory=dict[str, HttpSource])
    python: dict[SourceName, PythonSource] = Field(default_factory=dict[str, PythonSource])
    base: Path = Path()

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, arbitrary_types_allowed=True)

    def resolve(self, path: Path) -> Path:
        return path if path.is_absolute() else self.base / path

    @model_validator(mode="after")
    def _names_once(self) -> Config:
        seen: dict[str, str] = {}
        for kind in ("mcp", "openapi", "sql", "http", "python"):
            for name in getattr(self, kind):
                if name in seen:
                    raise ValueError(f"the name {name!r} is used by [{seen[name]}.{name}] and [{kind}.{name}]")
                seen[name] = kind
        return self


def load_config(path: Path) -> Config:
    """Read a file. Raises `ConfigError` that names the file, the line where it can be told, and the fix."""
    try:
        size = path.stat().st_size
        if size > MAX_CONFIG_BYTES:
            raise ConfigError(f"{path} has {size} bytes; at most {MAX_CONFIG_BYTES} are read")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", fix="inhabit init makes one") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text") from None
    return parse_config(text, path)


def parse_config(text: str, path: Path) -> Config:
    """The configuration in `text`; `path` is for messages, and its folder for relative paths."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}") from None
    try:
        values = {**data, **_read_limits(data), **_read_grants(data)}
        return Config.model_validate({**values, "base": path.resolve().parent})
    except ValidationError as error:
        raise _explained(error, data, text, path) from None
    except _Misplaced as error:
        raise ConfigError(f"{path}{_where(text, error.place)}: {error.message}", fix=error.fix) from None


class _Misplaced(ConfigError):
    """An error of what stands at `place`."""

    def __init__(self, place: list[str], message: str, *, fix: str | None = None) -> None:
        super().__init__(message, fix=fix)
        self.place = place


def _read_limits(data: Mapping[str, Any]) -> dict[str, Any]:
    if "base" in data:
        raise _Misplaced(["base"], "unknown key base", fix="paths are relative to the file")
    given = data.get("limits")
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise _Misplaced(["limits"], "[limits] must be a table")
    limits = cast(dict[str, Any], given)
    known = [field.name for field in fields(Limits)]
    for name in limits:
        if name not in known:
            raise _Misplaced(["limits", name], f"unknown key limits.{name}", fix=_nearest(name, known))
    for name, value in limits.items():
        _read_one(["limits", name], lambda name=name, value=value: Limits.of({name: value}))
    return {"limits": Limits.of(limits)}


def _read_one(place: list[str], read: Callable[[], _T]) -> _T:
    try:
        return read()
    except InhabitError as error:
        raise _Misplaced(place, f"{'.'.join(place)}: {error.message}", fix=error.fix) from None


def _read_grants(data: Mapping[str, Any]) -> dict[str, Any]:
    given = data.get("grants")
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise _Misplaced(["grants"], "[grants] must be a table of lists of patterns")
    by_user = cast(dict[str, Any], given)
    return {"grants": {user: _read_one(["grants", user], lambda clauses=clauses: Grant.from_value(clauses)) for user, clauses in by_user.items()}}


def _explained(error: ValidationError, data: Mapping[str, Any], text: str, path: Path) -> ConfigError:
    """The first problem in the words of the file. A misspelt key explains a missing one, and a deeper one a shallower."""
    found = error.errors(include_url=False, include_input=False)
    first = min(found, key=lambda item: (item["type"] != "extra_forbidden", -len(_written(data, item["loc"]))))
    place = _written(data, first["loc"])
    where = f"{path}{_where(text, place)}"
    if first["type"] == "extra_forbidden":
        return ConfigError(f"{where}: unknown key {'.'.join(place)}", fix=(_FOREIGN.get((place[0], place[-1])) if len(place) == 3 else None) or _nearest(place[-1], _known(first["loc"])))
    if first["type"] == "missing":
        return ConfigError(f"{where}: {'.'.join(place)} needs {first['loc'][-1]}")
    words = _in_words(first["type"], first.get("ctx", {}).get("pattern"), place, _value_at(data, place))
    if words:
        return ConfigError(f"{where}: {'.'.join(place)}: {words[0]}", fix=words[1])
    message = first["msg"].removeprefix("Value error, ")
    for theirs, ours in (("valid tuple", "list"), ("valid dictionary", "table"), ("valid string", "text"), ("Input should", "it should")):
        message = message.replace(theirs, ours)
    message = message.partition(" or instance of ")[0]   # names a class of ours, which the file knows nothing of
    return ConfigError(f"{where}: {'.'.join(place) or 'the file'}: {message}")


_FOREIGN = {
    ("mcp", "args"): 'command is the whole list: command = ["npx", "-y", "the-server"]',
    ("mcp", "type"): "leave it out: command means stdio, url means streamable HTTP",
}
"""Keys that an .mcp.json has and this file says otherwise: the nearest name would mislead."""
_FORMS = {
    r"^https?://[^\s/?#@]+$": ("it is no origin: scheme and host, and nothing after them", 'e.g. "https://api.example.com"'),
    r"^https?://[^\s/?#@]+": ("it is no http or https address", 'e.g. "https://mcp.example.com/mcp"'),
    r"^/[^\s?#]*$": ("it is no path", 'it begins with /, e.g. "/v1/"'),
    r"^[A-Za-z_][A-Za-z0-9_]*$": ("it is no name of an environment variable", 'e.g. "GITHUB_TOKEN": the name, never the value'),
}
"""What a pattern of these models asks for, in words."""


def _in_words(kind: str, pattern: str | None, place: list[str], value: Any) -> tuple[str, str] | None:
    """What is wrong, and an example of how it is right; None where the message of the model says enough."""
    if kind == "string_pattern_mismatch":
        return _FORMS.get(pattern or "")
    if kind in ("tuple_type", "list_type") and isinstance(value, str) and place:
        with suppress(ValueError):   # an unclosed quote: no words can be told
            items = shlex.split(value) if place[-1] == "command" else [value]
            return "it is a list, not text", f"{place[-1]} = {json.dumps(items, ensure_ascii=False)}"
    return None


def _value_at(data: Any, place: list[str]) -> Any:
    node: Any = data
    for part in place:
        node = cast(list[Any], node)[int(part)] if isinstance(node, list) else cast(dict[str, Any], node)[part]
    return node


def _written(data: Mapping[str, Any], location: tuple[int | str, ...]) -> list[str]:
    """The part of a location that stands in the file; between are names of models and validators."""
    place: list[str] = []
    node: Any = data
    for part in location:
        if isinstance(node, dict) and part in node:
            node = cast(dict[Any, Any], node)[part]
        elif isinstance(node, list) and isinstance(part, int):
            node = cast(list[Any], node)[part]
        else:
            continue
        place.append(str(part))
    return place


def _known(location: tuple[int | str, ...]) -> list[str]:
    """The keys that may stand in the table of the last key."""
    sources: dict[str, type[BaseModel]] = {
        "mcp": McpSource, "openapi": OpenApiSource, "sql": SqlSource, "http": HttpSource, "python": PythonSource, "server": ServerConfig,
        "secrets": SecretsConfig, "policy": PolicyConfig, "approvals": ApprovalsConfig, "retention": RetentionConfig}
    model: type[BaseModel] = Config
    inner = {"allow": Allow, "SecretName": SecretName, "HeaderSecret": HeaderSecret, "dict[str,SecretName]": SecretName,
             "client_secret": SecretName}
    if len(location) > 1:
        model = next((inner[str(part)] for part in reversed(location[:-1]) if str(part) in inner), sources.get(str(location[0]), Config))
    return [name for name in model.model_fields if name != "base"]


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, 1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(known)}"


def _where(text: str, place: list[str]) -> str:
    """`:LINE` of the last key, searched after its table's header; empty when it cannot be told."""
    place = [part for part in place if not part.isdigit()]   # an element stands where its list does
    if not place:
        return ""
    lines = text.splitlines()
    start = 0
    header = re.compile(r"\s*\[+\s*" + r"\s*\.\s*".join(re.escape(part) for part in place[:2]) + r"\b")
    for number, line in enumerate(lines):
        if header.match(line):
            start = number
            break
    key = re.compile(rf"\s*(?:\[.*\b)?[\"']?{re.escape(place[-1])}[\"']?\s*(?:[=.\]])")
    inline = re.compile(rf"\b{re.escape(place[-1])}\s*=")
    for pattern in (key.match, inline.search):
        for number in range(start, len(lines)):
            if pattern(lines[number]):
                return f":{number + 1}"
    return ""
