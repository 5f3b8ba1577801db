"""Servers of an .mcp.json become tables, and no credential is copied."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from inhabit.cli import main
from inhabit.cli.mcp_json import import_servers
from inhabit.config import load_config
from inhabit.errors import InvalidInput

CANARY = "CANARY_SECRET_4711"
SERVERS: dict[str, Any] = {
    "File System": {"command": "npx", "args": ["-y", "@modelcontextprotocol/server-filesystem", "/da\"ta"], "env": {"MODE": "ro"}},
    "github": {"command": "docker", "args": ["run"], "env": {"GITHUB_PERSONAL_ACCESS_TOKEN": CANARY, "HOST": "${GH_HOST}"}},
    "remote": {"type": "http", "url": "https://mcp.example.com/mcp", "headers": {"Authorization": f"Bearer {CANARY}"}},
    "keyed": {"url": "https://mcp.example.com/mcp", "headers": {"X-Api-Key": "${API_KEY}"}},
    "file-system": {"command": "other"},
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
    assert set(config.mcp) == {"file_system", "github", "remote", "keyed", "file_system_2"}
    assert config.mcp["file_system"].command == ("npx", "-y", "@modelcontextprotocol/server-filesystem", '/da"ta')
    assert config.mcp["github"].env["GITHUB_PERSONAL_ACCESS_TOKEN"].secret == "GITHUB_PERSONAL_ACCESS_TOKEN"  # type: ignore[union-attr]
    assert config.mcp["github"].env["HOST"].secret == "GH_HOST"  # type: ignore[union-attr]
    assert config.mcp["remote"].auth.secret == "REMOTE_TOKEN"  # type: ignore[union-attr]
    assert config.mcp["keyed"].headers["X-Api-Key"].secret == "API_KEY"
    assert all(word in err for word in ("left out old", "left out off", "left out odd", "REMOTE_TOKEN"))


@pytest.mark.parametrize("content", ["{", "[]", '{"mcpServers": []}', '{"x": {}}'])
def test_a_file_that_is_none_of_servers_is_refused(tmp_path: Path, content: str):
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(InvalidInput):
        import_servers(path)
    with pytest.raises(InvalidInput):
        import_servers(tmp_path / "missing.json")
