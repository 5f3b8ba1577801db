"""Undoing a run from the command line, where no server runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from inhabit.cli import main

SHOP = """
import json, pathlib
from inhabit import Capability

shop = Capability("shop", "A shop")
capabilities = [shop]
state = pathlib.Path("state.json")

@shop.operation(writes="internal")
def reinstate(id: str) -> None:
    state.write_text(json.dumps([kept for kept in json.loads(state.read_text()) if kept != id]))

@shop.operation(writes="internal", revert=reinstate)
def cancel(id: str) -> dict[str, str]:
    state.write_text(json.dumps([*(json.loads(state.read_text()) if state.exists() else []), id]))
    return {"id": id}
"""


def told(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    code = main([*words])
    return code, capsys.readouterr().out


def test_a_run_is_undone_once_and_the_plan_says_it_beforehand(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rollback_shop.py").write_text(SHOP)
    (tmp_path / "inhabit.toml").write_text('[python.shop]\nmodule = "rollback_shop:capabilities"\n')
    (tmp_path / "two.ts").write_text('await shop.cancel({ id: "a" }); await shop.cancel({ id: "b" });')
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    run = json.loads(told(capsys, "run", "two.ts", "--json")[1])["run"]
    code, text = told(capsys, "rollback", run, "--plan")
    assert code == 0 and "would undo call 2 shop.cancel by shop.reinstate(id='b')" in text
    assert json.loads((tmp_path / "state.json").read_text()) == ["a", "b"]
    code, text = told(capsys, "rollback", run)
    assert code == 0 and text.index("undone: call 2") < text.index("undone: call 1")
    assert json.loads((tmp_path / "state.json").read_text()) == []
    assert told(capsys, "rollback", run)[0] == 2


def test_what_still_stands_is_an_exit_code_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "stands_shop.py").write_text(SHOP)
    (tmp_path / "inhabit.toml").write_text('[python.shop]\nmodule = "stands_shop:capabilities"\n')
    (tmp_path / "mail.ts").write_text('await shop.reinstate({ id: "a" }); return 1')
    (tmp_path / "state.json").write_text("[]")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    run = json.loads(told(capsys, "run", "mail.ts", "--json")[1])["run"]
    assert told(capsys, "rollback", run, "--plan")[0] == 0
    code, text = told(capsys, "rollback", run)
    assert code == 6 and "stands: call 1 shop.reinstate" in text and ": completed" in text
    assert told(capsys, "runs", "list", "--kind", "rollback", "--json")[1].count('"kind": "rollback"') == 1
    code, text = told(capsys, "runs", "list")
    assert [line.split()[1] for line in text.splitlines()] == ["KIND", "rollback", "program"]
    other = json.loads(told(capsys, "runs", "list", "--kind", "rollback", "--json")[1])["runs"][0]["run"]
    assert f"rollback {other} of run {run}: completed" in told(capsys, "runs", "show", other)[1]


def test_a_run_that_wrote_nothing_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "inhabit.toml").write_text("")
    (tmp_path / "none.ts").write_text("return 1")
    monkeypatch.chdir(tmp_path)
    run = json.loads(told(capsys, "run", "none.ts", "--json")[1])["run"]
    for words in (("rollback", run, "--plan"), ("rollback", run)):
        code, text = told(capsys, *words)
        assert code == 0 and f"run {run} wrote nothing, so there is nothing to undo" in text
