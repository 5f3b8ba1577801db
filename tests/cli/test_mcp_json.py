"""Servers of an .mcp.json become tables, and no credential is copied."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from inhabit.cli import main
from inhabit.cli.mcp_json import import_servers
from inhabit.config import load_config, parse_config
from inhabit.errors import InvalidInput

CANARY = "CANARY_SECRET_4711"
SERVERS: dict[str, Any] = {
    "File System": {"command": "npx", "args": ["-y", "@modelcontextprotocol/server-filesystem", "/da\"ta"], "env": {"MODE": "ro"}},
    "github": {"command": "docker", "args": ["run"], "env": {"GITHUB_PERSONAL_ACCESS_TOKEN": CANARY, "HOST": "${GH_HOST}"}},
    "remote": {"type": "http", "url": "https://mcp.example.com/mcp", "headers": {"Authorization": f"Bearer {CANARY}"}},
    "keyed": {"url": "https://mcp.example.com/mcp", "headers": {"X-Api-Key": "${API_KEY}"}},
    "file-system": {"command": "other"},
    "headed": {"url": "https://mcp.example.com/mcp", "headers": {
        "Authorization": "Bearer ${HEADED_TOKEN}", "X-Org": "acme", "X-Api-Key": CANARY, "X-Custom": "Token ${CUSTOM_KEY}"}},
    "leaky": {"command": "npx", "args": ["-y", "leaky", "--api-key", CANARY]},
    "leaky2": {"command": "npx", "args": ["-y", "leaky", f"--token={CANARY}"]},
    "leaky3": {"url": f"https://mcp.example.com/mcp?api_key={CANARY}"},
    "old": {"type": "sse", "url": "https://x.example/sse"},
    "off": {"command": "x", "disabled": True},
    "odd": 7,
}


def write(folder: Path, value: Any) -> Path:
    path = folder / ".mcp.json"
    path.write_text(json.dumps(value))
    return path


def test_every_server_is_a_table_or_left_out_with_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                          capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    assert main(["init", "--from", str(write(tmp_path, {"mcpServers": SERVERS}))]) == 0
    out, err = capsys.readouterr()
    text = (tmp_path / "inhabit.toml").read_text()
    assert CANARY not in text + out + err
    config = load_config(tmp_path / "inhabit.toml")
    assert set(config.mcp) == {"file_system", "github", "remote", "keyed", "file_system_2", "headed"}
    assert config.mcp["file_system"].command == ("npx", "-y", "@modelcontextprotocol/server-filesystem", '/da"ta')
    assert config.mcp["github"].env["GITHUB_PERSONAL_ACCESS_TOKEN"].secret == "GITHUB_PERSONAL_ACCESS_TOKEN"  # type: ignore[union-attr]
    assert config.mcp["github"].env["HOST"].secret == "GH_HOST"  # type: ignore[union-attr]
    assert config.mcp["remote"].auth.secret == "REMOTE_TOKEN"  # type: ignore[union-attr]
    assert config.mcp["keyed"].headers["X-Api-Key"].secret == "API_KEY"  # type: ignore[union-attr]
    headed = config.mcp["headed"]
    assert headed.auth.secret == "HEADED_TOKEN" and headed.headers["X-Org"] == "acme"  # type: ignore[union-attr]
    assert headed.headers["X-Api-Key"].secret == "HEADED_X_API_KEY"  # type: ignore[union-attr]
    assert headed.headers["X-Custom"].model_dump() == {"secret": "CUSTOM_KEY", "prefix": "Token "}  # type: ignore[union-attr]
    assert all(word in err for word in ("left out old", "left out off", "left out odd", "left out leaky: ", "left out leaky2: ",
                                        "left out leaky3: ", "--api-key carries a credential", "REMOTE_TOKEN", "HEADED_X_API_KEY"))


CLIENTS: dict[str, tuple[str, str]] = {
    "claude code": (".mcp.json", """{"mcpServers": {
        "linear": {"type": "http", "url": "https://mcp.linear.app/mcp"},
        "api": {"type": "http", "url": "${API_BASE:-https://api.example.com}/mcp", "headers": {"Authorization": "Bearer ${API_KEY}"}},
        "db": {"type": "stdio", "command": "npx", "args": ["-y", "@bytebase/dbhub"], "env": {"DSN": "postgres://u:p@h/db", "LOG": "${LOG:-info}"}}}}"""),
    "cursor": (".cursor/mcp.json", """{"mcpServers": {
        "remote": {"command": "npx", "args": ["mcp-remote", "https://x.example/sse", "--header", "Authorization:${AUTH_HEADER}"],
                   "env": {"AUTH_HEADER": "Bearer CANARY_SECRET_4711"}},
        "local": {"command": "python", "args": ["${workspaceFolder}/tools/server.py"], "env": {"HOME_DIR": "${userHome}"}}}}"""),
    "vs code": (".vscode/mcp.json", """{
        // asked for at the first start
        "inputs": [{"type": "promptString", "id": "github-token", "description": "GitHub PAT", "password": true},],
        "servers": {
            "github": {"type": "http", "url": "https://api.githubcopilot.com/mcp/", "headers": {
                "Authorization": "Bearer ${input:github-token}", "X-MCP-Toolsets": "repos,issues"}},
            "playwright": {"command": "npx", "args": ["-y", "@microsoft/mcp-server-playwright"], "gallery": true},
            "asks": {"command": "npx", "args": ["-y", "server", "${input:folder}"]}, /* cannot be known */
            "envs": {"command": "uvx", "args": ["server"], "envFile": "${workspaceFolder}/.env"},
        }}"""),
    "codex": (".codex/config.toml", """model = "gpt-5"
        [mcp_servers.docs]
        command = "npx"
        args = ["-y", "docs-server"]
        env_vars = ["DOCS_TOKEN"]
        startup_timeout_sec = 20
        [mcp_servers.figma]
        url = "https://mcp.figma.com/mcp"
        bearer_token_env_var = "FIGMA_TOKEN"
        http_headers = {"X-Figma-Region" = "us-east-1"}
        env_http_headers = {"X-Session" = "FIGMA_SESSION_KEY"}
        [mcp_servers.off]
        command = "x"
        enabled = false"""),
    "gemini and windsurf": ("settings.json", """{"mcpServers": {"a": {"httpUrl": "https://a.example/mcp"}, "b": {"serverUrl": "https://b.example/mcp"}}}"""),
}
EXPECTED: dict[str, tuple[dict[str, Any], set[str], set[str]]] = {
    "claude code": ({"linear": {"url": "https://mcp.linear.app/mcp"}, "api": {"url": "https://api.example.com/mcp", "auth": {"secret": "API_KEY"}},
                     "db": {"command": ("npx", "-y", "@bytebase/dbhub"), "env": {"DSN": {"secret": "DSN"}, "LOG": "info"}}}, {"API_KEY", "DSN"}, set()),
    "cursor": ({"remote": {"command": ("npx", "mcp-remote", "https://x.example/sse", "--header", "Authorization:${AUTH_HEADER}"),
                           "env": {"AUTH_HEADER": {"secret": "AUTH_HEADER"}}},
                "local": {"command": ("python", "FOLDER/tools/server.py"), "env": {"HOME_DIR": "HOME"}}}, {"AUTH_HEADER"}, set()),
    "vs code": ({"github": {"url": "https://api.githubcopilot.com/mcp/", "auth": {"secret": "GITHUB_TOKEN"}, "headers": {"X-MCP-Toolsets": "repos,issues"}},
                 "playwright": {"command": ("npx", "-y", "@microsoft/mcp-server-playwright")}}, {"GITHUB_TOKEN"}, {"asks", "envs"}),
    "codex": ({"docs": {"command": ("npx", "-y", "docs-server"), "env": {"DOCS_TOKEN": {"secret": "DOCS_TOKEN"}}},
               "figma": {"url": "https://mcp.figma.com/mcp", "auth": {"secret": "FIGMA_TOKEN"}, "headers": {
                   "X-Figma-Region": "us-east-1", "X-Session": {"secret": "FIGMA_SESSION_KEY"}}}},
              {"DOCS_TOKEN", "FIGMA_TOKEN", "FIGMA_SESSION_KEY"}, {"off"}),
    "gemini and windsurf": ({"a": {"url": "https://a.example/mcp"}, "b": {"url": "https://b.example/mcp"}}, set(), set()),
}


@pytest.mark.parametrize("client", list(CLIENTS))
def test_the_files_of_other_clients_are_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, client: str):
    monkeypatch.delenv("LOG", raising=False)
    name, text = CLIENTS[client]
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    imported = import_servers(path)
    servers, secrets, skipped = EXPECTED[client]
    read = {key: source.model_dump(exclude_defaults=True, exclude_unset=False) for key, source in parse_config(imported.toml, path).mcp.items()}
    shown = json.loads(json.dumps(read).replace(str(tmp_path), "FOLDER").replace(str(Path.home()), "HOME"))
    assert shown == json.loads(json.dumps(servers))
    assert (set(imported.secrets), set(imported.skipped)) == (secrets, skipped)
    assert CANARY not in imported.toml and "u:p@h" not in imported.toml and all(imported.skipped.values())


@pytest.mark.parametrize("content", ["{", "[]", '{"mcpServers": []}', '{"x": {}}'])
def test_a_file_that_is_none_of_servers_is_refused(tmp_path: Path, content: str):
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(InvalidInput):
        import_servers(path)
    with pytest.raises(InvalidInput):
        import_servers(tmp_path / "missing.json")


@pytest.mark.parametrize("server", [
    {"command": "inhabit", "args": ["mcp", "--config", "/x/inhabit.toml"]}, {"command": "uvx", "args": ["inhabit@latest", "mcp"]},
    {"command": "/opt/venv/bin/inhabit", "args": ["mcp"]}, {"command": "python", "args": ["-m", "inhabit", "mcp"]},
    {"command": "uv", "args": ["run", "--with", "inhabit>=1", "inhabit", "mcp"]}, {"url": "http://127.0.0.1:8642/mcp"},
    {"url": "http://localhost:9000/mcp", "name": "Inhabit"},
])
def test_inhabit_itself_is_left_out_by_name(tmp_path: Path, server: dict[str, Any]) -> None:
    name = server.pop("name", "tools")
    imported = import_servers(write(tmp_path, {"mcpServers": {name: server, "files": {"command": "npx", "args": ["-y", "files", "/inhabit"]}}}))
    assert imported.skipped == {name: "it is Inhabit itself, which would call itself without end"}
    assert "[mcp.files]" in imported.toml and "[mcp.tools]" not in imported.toml
