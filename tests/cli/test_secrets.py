"""`inhabit secrets`: what is set is used, named when it is missing, and never shown."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from inhabit.cli import main

VALUE = "sk-live-4f1c0a"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "inhabit.toml").write_text(
        '[secrets]\nbackend = "file"\n[http.web]\nallow = [{origin = "https://api.example.com", secret = "EXAMPLE_KEY"}]\n'
        '[mcp.one]\nurl = "https://mcp.example.com/mcp"\nauth = {secret = "MCP_KEY"}\n')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_is_set_is_listed_by_name_alone(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(VALUE + "\n"))
    assert main(["secrets", "set", "EXAMPLE_KEY"]) == 0
    assert main(["secrets", "list"]) == 1
    shown = capsys.readouterr()
    assert "EXAMPLE_KEY" in shown.out and "MCP_KEY" in shown.out
    assert VALUE not in shown.out + shown.err
    assert main(["secrets", "remove", "EXAMPLE_KEY"]) == 0
    assert main(["secrets", "remove", "EXAMPLE_KEY"]) == 3


def test_the_environment_is_only_read(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "inhabit.toml").write_text('[http.web]\nallow = [{origin = "https://api.example.com"}]\n')
    assert main(["secrets", "set", "KEY"]) == 2
    assert 'backend = "env"' in capsys.readouterr().err


@pytest.mark.parametrize(("table", "word"), [
    ('backend = "vault"', "backend"), ('backend = "command"', "command"), ('command = ["pass", "{name}"]', "command"),
    ('backend = "command"\ncommand = ["pass"]', "where the name goes"), ('file = "x"', "file"), ("bakend = 1", "backend")])
def test_a_wrong_table_is_named(table: str, word: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "inhabit.toml").write_text(f"[secrets]\n{table}\n")
    assert main(["secrets", "list"]) != 0
    assert word in capsys.readouterr().err
