"""The servers of an `.mcp.json`, or of another client's file of the like, as tables of an `inhabit.toml`.

Read are the forms of Claude Code and Claude Desktop, Cursor, Windsurf and Gemini CLI (`mcpServers`), VS Code (`servers` with `inputs`,
also in its settings), Zed (`context_servers`) and Codex (`[mcp_servers.NAME]` in TOML). JSON may have comments and trailing commas.

No credential is copied: a value whose name or form says that it is one becomes the name of a secret, which the operator sets in the
environment. An argument or address that carries one cannot be made safe that way, so that server is left out, with the reason.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import orjson

from inhabit.connectors.names import identifier, unique
from inhabit.errors import InvalidInput

__all__ = ["Imported", "import_servers"]

MAX_FILE_BYTES = 1024 * 1024
_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|AUTH|COOKIE|PAT$|DSN|_URI$|CONNECTION|DATABASE_URL", re.IGNORECASE)
_SECRET_VALUE = re.compile(r"\b(?:sk-|gh[opsu]_|github_pat_|glpat-|xox[abprs]-|eyJ[\w-]{10}|AKIA[0-9A-Z]{12}|Bearer\s|://[^/\s:@]+:[^/\s@]+@)")
_SECRET_FLAG = re.compile(r"-.*(?:key|token|secret|password|passwd|credentials?|[-_]pat)$", re.IGNORECASE)
_VARIABLE = re.compile(r"\$\{(?:(?P<kind>env|input):)?(?P<name>[A-Za-z_][\w.-]*)(?::-(?P<default>[^}]*))?\}")
_JSONC = re.compile(r'("(?:\\.|[^"\\])*")|//[^\n]*|/\*.*?\*/|,(?=\s*[}\]])', re.DOTALL)
_KNOWN = frozenset({"workspaceFolder", "workspaceRoot", "userHome", "pathSeparator"})
_TABLES = ("mcpServers", "servers", "mcp_servers", "context_servers")


@dataclass(frozen=True, slots=True)
class Imported:
    """`toml`: one `[mcp.NAME]` table a server. `secrets`: the variables to set. `skipped`: server → why."""

    toml: str
    secrets: tuple[str, ...]
    skipped: Mapping[str, str]


@dataclass(slots=True)
class _File:
    """What is read from one file. `folder`: what clients call the workspace."""

    folder: Path
    secrets: list[str] = field(default_factory=list[str])


def import_servers(path: Path) -> Imported:
    """Raises `InvalidInput` when the file is not one of servers."""
    servers = _servers(path)
    names = unique([identifier(name)[:40].rstrip("_") for name in servers])
    parent = path.resolve().parent
    file = _File(parent.parent if parent.name in (".vscode", ".cursor", ".gemini", ".codex") else parent)
    tables: list[str] = []
    skipped: dict[str, str] = {}
    for name, (given, server) in zip(names, servers.items(), strict=True):
        known = len(file.secrets)
        try:
            tables.append("\n".join([f"[mcp.{name}]", *_lines(name, given, _object(server), file)]))
        except InvalidInput as error:
            skipped[given] = error.message
            del file.secrets[known:]
    return Imported("\n\n".join(tables) + "\n", tuple(dict.fromkeys(file.secrets)), skipped)


# the file

def _servers(path: Path) -> dict[str, Any]:
    whole = _read(path)
    inner = whole.get("mcp")        # VS Code's settings keep the file's content under this key
    for table in (whole, cast(dict[str, Any], inner) if isinstance(inner, dict) else {}):
        for key in _TABLES:
            if isinstance(table.get(key), dict):
                return table[key]
    raise InvalidInput(f"{path} has no table of servers", fix='{"mcpServers": {"name": {"command": "...", "args": []}}}')


def _read(path: Path) -> dict[str, Any]:
    try:
        body = path.read_bytes()
        if len(body) > MAX_FILE_BYTES:
            raise InvalidInput(f"{path} has {len(body)} bytes; at most {MAX_FILE_BYTES} are read")
        if path.suffix == ".toml":
            return tomllib.loads(body.decode())
        value = orjson.loads(_JSONC.sub(lambda found: found[1] or "", body.decode()))
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise InvalidInput(f"{path} is not {'TOML' if path.suffix == '.toml' else 'JSON'}: {error}") from None
    return cast(dict[str, Any], value) if isinstance(value, dict) else {}


# one server

def _lines(name: str, given: str, server: dict[str, Any], file: _File) -> Iterator[str]:
    if server.get("disabled") is True or server.get("enabled") is False:
        raise InvalidInput("it is disabled")
    command = server.get("command")
    if _is_inhabit(given, server):
        raise InvalidInput("it is Inhabit itself, which would call itself without end")
    if isinstance(command, dict):       # Zed once wrote {"path", "args", "env"} here
        inner = cast(dict[str, Any], command)
        server = {**server, "command": inner.get("path"), "args": inner.get("args", []), "env": inner.get("env", {})}
        command = server["command"]
    if isinstance(command, str):
        yield from _local(command, server, file)
        return
    url = next((server[key] for key in ("url", "serverUrl", "httpUrl") if isinstance(server.get(key), str)), None)
    if url is None:
        raise InvalidInput("it has neither a command nor a url")
    if server.get("type") == "sse" or server.get("transport") == "sse":
        raise InvalidInput("it speaks the old SSE transport; ask its maker for streamable HTTP")
    yield f"url = {_toml(_plain(url, 'its url', file))}"
    yield from _headers(name, server, file)


def _is_inhabit(given: str, server: dict[str, Any]) -> bool:
    """`inhabit mcp` in any of the ways to start it, or the address of an `inhabit serve` on this machine."""
    command = server.get("command")
    if isinstance(command, str):
        words = [command, *_texts(server.get("args") or [])]
        own = [n for n, word in enumerate(words) if re.sub(r"\.exe$|[@=<>].*$", "", re.split(r"[/\\]", word)[-1]) == "inhabit"]
        return any("mcp" in words[n + 1:] for n in own)
    url = next((server[key] for key in ("url", "serverUrl", "httpUrl") if isinstance(server.get(key), str)), "")
    local = re.fullmatch(r"https?://(?:127\.0\.0\.1|localhost|\[::1\])(?::(?P<port>\d+))?(?:/.*)?/mcp/?", url)
    return local is not None and (local["port"] == "8642" or identifier(given) == "inhabit")


def _local(command: str, server: dict[str, Any], file: _File) -> Iterator[str]:
    if server.get("envFile"):
        raise InvalidInput(f"its variables are in {server['envFile']}, which is not read: name them under env")
    env = {**_object(server.get("env") or {}), **{name: f"${{{name}}}" for name in _texts(server.get("env_vars", []))}}
    words = [_plain(command, "its command", file), *_arguments(_texts(server.get("args", [])), file, env)]
    yield f"command = {_toml(words)}"
    items = [f"{_toml(key)} = {_environment_value(key, str(value), file)}" for key, value in env.items() if value is not None]
    if items:
        yield f"env = {{{', '.join(items)}}}"
    if isinstance(server.get("cwd"), str):
        yield f"cwd = {_toml(_plain(server['cwd'], 'its cwd', file))}"


def _arguments(words: list[str], file: _File, env: Mapping[str, Any]) -> Iterator[str]:
    """Arguments stand in the clear in the file, and in every list of processes. A variable of the server's own `env` is left
    to the server, which reads it there."""
    before = ""
    for word in words:
        flag, given, _ = word.partition("=")
        named = flag if given and flag.startswith("-") else "" if word.startswith("-") else before
        if _SECRET_FLAG.match(named):
            raise InvalidInput(f"its argument {named} carries a credential: let it read the value from env, and name it there")
        own = {found["name"] for found in _VARIABLE.finditer(word)}
        yield word if own and own <= set(env) else _plain(word, "an argument", file)
        before = word


def _headers(name: str, server: dict[str, Any], file: _File) -> Iterator[str]:
    """Fixed words stay, credentials become names of secrets; `Bearer ${TOKEN}` is the operator's token for all."""
    given = {**_object(server.get("headers") or {}), **_object(server.get("http_headers") or {})}
    given |= {key: f"${{{variable}}}" for key, variable in _object(server.get("env_http_headers") or {}).items()}
    if isinstance(server.get("bearer_token_env_var"), str):
        given["Authorization"] = f"Bearer ${{{server['bearer_token_env_var']}}}"
    items: list[str] = []
    for header, value in given.items():
        text = str(value)
        prefix, secret = _credential(name, header, text)
        if secret is None:
            items.append(f"{_toml(header)} = {_toml(_plain(text, f'its header {header}', file))}")
            continue
        file.secrets.append(secret)
        if header.lower() == "authorization" and prefix.lower() == "bearer ":
            yield f"auth = {{secret = {_toml(secret)}}}"
            continue
        before = f", prefix = {_toml(prefix)}" if prefix else ""
        items.append(f"{_toml(header)} = {{secret = {_toml(secret)}{before}}}")
    if items:
        yield f"headers = {{{', '.join(items)}}}"


def _credential(name: str, header: str, text: str) -> tuple[str, str | None]:
    """What stands before a credential, and the secret's name; no name when the header carries none."""
    found = _VARIABLE.search(text)
    if found and found.end() == len(text) and len(_VARIABLE.findall(text)) == 1 and (
            found["kind"] == "input" or _SECRET_NAME.search(header) or _SECRET_NAME.search(found["name"])):
        return text[:found.start()], _variable_name(found)
    if not _SECRET_NAME.search(header) and not _SECRET_VALUE.search(text):
        return "", None
    scheme = re.match(r"(?:Bearer|Basic|Token)\s+", text, re.IGNORECASE)
    own = f"{name.upper()}_TOKEN" if header.lower() == "authorization" else f"{name.upper()}_{identifier(header).upper()}"
    return scheme[0] if scheme else "", own


# values

def _environment_value(key: str, text: str, file: _File) -> str:
    found = _VARIABLE.fullmatch(text)
    if found and found["name"] not in _KNOWN and not (found["default"] and not _SECRET_NAME.search(key)):
        secret = _variable_name(found)
    elif _SECRET_NAME.search(key) or _SECRET_VALUE.search(text):
        secret = key
    else:
        return _toml(_plain(text, f"the variable {key}", file))
    file.secrets.append(secret)
    return f"{{secret = {_toml(secret)}}}"


def _plain(text: str, where: str, file: _File) -> str:
    """Text for the file itself: what the client would have filled in is filled in, as it is now.
    Raises `InvalidInput` for a credential, and for a variable whose value is not known."""
    def filled(found: re.Match[str]) -> str:
        name = found["name"]
        value = _known(name, file) or (None if found["kind"] == "input" or _SECRET_NAME.search(name) else os.environ.get(name))
        if value is None:
            value = found["default"]
        if value is None:
            raise InvalidInput(f"{where} needs {found[0]}, which only its client knows: write the value in by hand")
        return value

    result = _VARIABLE.sub(filled, text)
    if _SECRET_VALUE.search(result) or re.search(r"[?&][^=]*(?:key|token|secret)[^=]*=", result, re.IGNORECASE):
        raise InvalidInput(f"{where} carries a credential: give it in env, or in a header")
    return result


def _known(name: str, file: _File) -> str | None:
    match name:
        case "workspaceFolder" | "workspaceRoot":
            return str(file.folder)
        case "userHome":
            return str(Path.home())
        case "pathSeparator":
            return os.sep
        case _:
            return None


def _variable_name(found: re.Match[str]) -> str:
    """`${input:github-token}` → `GITHUB_TOKEN`; a variable of the environment keeps its name."""
    return identifier(found["name"]).upper() if found["kind"] == "input" else re.sub(r"\W", "_", found["name"])


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
