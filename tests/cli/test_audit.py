"""`inhabit audit`: sound says so, changed says where, and a user's data goes for good."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from pathlib import Path

import pytest

from inhabit.catalog.observe import OBSERVED, Observations
from inhabit.cli import main
from inhabit.contracts.clock import now_ms
from inhabit.store.ownership import Mark, Ownership
from inhabit.store.tenants.stores import Stores
from tests.store.audit.audit_kit import sample


@pytest.fixture
def home(tmp_path: Path) -> Path:
    asyncio.run(sample(tmp_path))
    (tmp_path / "older.db").unlink()
    Stores.open(tmp_path, now_ms).close_now()       # which moves it over
    return tmp_path


def test_F10_what_was_changed_is_named(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    at = ["--home", str(home)]
    assert main(["audit", "key", *at]) == 0
    key = capsys.readouterr().out.strip()
    assert main(["audit", "checkpoint", *at]) == 0
    (home / "kept.txt").write_text(capsys.readouterr().out)
    assert main(["audit", "verify", *at, "--key", key, "--checkpoint", str(home / "kept.txt")]) == 0
    assert capsys.readouterr().out.startswith("sound: ")
    connection = sqlite3.connect(home / "tenants" / "default" / "journal.db", isolation_level=None)
    connection.execute("UPDATE entries SET kind = 4 WHERE run = 3 AND number = 1")
    connection.close()
    assert main(["audit", "verify", *at]) == 1
    assert "entry 1" in (said := capsys.readouterr().out) and "NOT SOUND" in said


def test_F10_a_token_of_the_command_line_is_in_the_audit_log(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inhabit.toml").write_text('name = "lab"\n')
    assert main(["token", "create", "--for", "bob", "--grant", "lab.*", "--as", "ada"]) == 0
    secret = capsys.readouterr().out.strip()
    assert main(["audit", "tokens"]) == 0
    said = capsys.readouterr().out
    assert "default/bob" in said and "default/ada (operator)" in said and "lab.*" in said and secret not in said
    assert main(["audit", "verify"]) == 0


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
    assert "erased of default/ada: 12 runs" in capsys.readouterr().out
    assert main(["audit", "verify", *at]) == 0
    capsys.readouterr()
    assert main(["audit", "erase", "--user", "adam", "--yes", *at]) == 0
    assert capsys.readouterr().out.startswith("there is nothing of default/adam to erase\n")


@pytest.mark.parametrize("whom", [("--user", "ada"), ("--tenant", "default")])
def test_F15_what_was_learnt_from_results_goes_with_whom_they_were_of(home: Path, whom: tuple[str, str]) -> None:
    """A field of a result may be named after somebody."""
    observed = Observations(home / "cache" / OBSERVED)
    for tenant in ("default", "other"):
        observed.observe("shop.totals", tenant, {"eve_mallory": {"orders": 3}})
    assert main(["audit", "erase", *whom, "--yes", "--home", str(home)]) == 0
    assert observed.shape("shop.totals", "other") is not None and Observations(home / "cache" / OBSERVED).shape("shop.totals", "default") is None
    assert len([path for path in home.rglob("*") if path.is_file() and b"eve_mallory" in path.read_bytes()]) == 1


def test_F15_a_tenant_is_erased_with_its_folder_and_the_log_that_is_left_verifies(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    at = ["--home", str(home)]
    assert main(["audit", "checkpoint", *at]) == 0
    (home / "kept.txt").write_text(capsys.readouterr().out)
    assert main(["audit", "erase", "--tenant", "default", *at]) == 2
    assert main(["audit", "erase", "--tenant", "default", "--yes", *at]) == 0
    said = capsys.readouterr().out
    assert "12 runs" in said and not (home / "tenants" / "default").exists()
    command = said[said.index("inhabit audit verify"):].splitlines()[0].split()[1:]
    assert main([*command, *at, "--checkpoint", str(home / "kept.txt")]) == 0
    assert "0 runs, 12 erased runs" in capsys.readouterr().out
    assert main(["audit", "erase", "--tenant", "default", "--yes", *at]) == 3


def test_a_tenant_without_a_journal_is_named_and_hides_no_other(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "tenants" / "acme").mkdir()     # as `inhabit connect --as acme/ada` leaves it
    assert main(["audit", "verify", "--home", str(home)]) == 0
    said = capsys.readouterr()
    assert "tenant acme has a folder and no journal" in said.err and said.out.startswith("sound: ") and "server.db: sound" in said.out
    assert main(["audit", "verify", "--tenant", "acme", "--home", str(home)]) == 3


def test_F10_a_journal_that_was_taken_away_is_found(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    journal = home / "tenants" / "default" / "journal.db"
    owner = Ownership(journal)
    owner.write(Mark(1, 1, 1, 1))       # as its writer does with each commit
    owner.release()
    journal.unlink()
    assert main(["audit", "verify", "--home", str(home)]) == 1
    said = capsys.readouterr().out
    assert "journal.db: it was there, and is gone" in said and "NOT SOUND" in said and "server.db: sound" in said


def test_where_a_home_has_several_tenants_the_command_asks_whose(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    at = ["--home", str(home)]
    (home / "tenants" / "acme").mkdir()
    shutil.copy(home / "tenants" / "default" / "journal.db", home / "tenants" / "acme" / "journal.db")
    capsys.readouterr()
    assert main(["audit", "export", *at]) == 2
    assert "--tenant acme|default" in capsys.readouterr().err
    assert main(["audit", "export", "--tenant", "default", *at]) == 0
    capsys.readouterr()
    assert main(["audit", "verify", *at]) == 1      # the one is a copy of the other
    said = capsys.readouterr().out
    assert "tenant acme: NOT SOUND" in said and "should be the journal of acme" in said and "tenant default: sound" in said
    assert main(["audit", "verify", "--tenant", "default", *at]) == 0
