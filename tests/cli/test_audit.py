"""`inhabit audit`: sound says so, changed says where, and a user's data goes for good."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from inhabit.cli import main
from tests.store.audit.audit_kit import sample


@pytest.fixture
def home(tmp_path: Path) -> Path:
    asyncio.run(sample(tmp_path))
    return tmp_path


def test_F10_what_was_changed_is_named(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    at = ["--home", str(home)]
    assert main(["audit", "key", *at]) == 0
    key = capsys.readouterr().out.strip()
    assert main(["audit", "checkpoint", *at]) == 0
    (home / "kept.txt").write_text(capsys.readouterr().out)
    assert main(["audit", "verify", *at, "--key", key, "--checkpoint", str(home / "kept.txt")]) == 0
    assert capsys.readouterr().out.startswith("sound: ")
    connection = sqlite3.connect(home / "journal.db", isolation_level=None)
    connection.execute("UPDATE entries SET kind = 4 WHERE run = 3 AND number = 1")
    connection.close()
    assert main(["audit", "verify", *at]) == 1
    assert "entry 1" in (said := capsys.readouterr().out) and "NOT SOUND" in said


def test_export_writes_a_line_a_record(home: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["audit", "export", "--home", str(home)]) == 0
    assert capsysbinary.readouterr().out.count(b"\n") == 12 * 7


def test_traces_hold_values_only_where_they_are_asked_for(home: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    at = ["audit", "export", "--home", str(home), "--format", "otlp"]
    assert main(at) == 0
    plain = capsysbinary.readouterr().out
    assert main([*at, "--values"]) == 0
    assert plain.count(b"\n") == 12 and b"call.arguments" not in plain and b"call.arguments" in capsysbinary.readouterr().out


def test_F15_erase_needs_a_yes_and_leaves_a_log_that_verifies(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    at = ["--home", str(home)]
    assert main(["audit", "erase", "--user", "ada", *at]) == 2
    assert main(["audit", "erase", "--user", "ada", "--yes", *at]) == 0
    assert "12 runs" in capsys.readouterr().out
    assert main(["audit", "verify", *at]) == 0
