"""A plan from the command line, where no server runs: shown, applied by its hash, once; another is dropped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from inhabit.cli import main

SHOP = """
import pathlib
from inhabit import Capability

shop = Capability("shop", "A shop")
capabilities = [shop]

@shop.operation(writes="internal")
def note(text: str) -> str:
    with pathlib.Path("notes.txt").open("a") as notes:
        notes.write(text)
    return text
"""


def test_E20_a_plan_is_shown_applied_by_its_hash_and_only_once(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "plan_shop.py").write_text(SHOP)
    (tmp_path / "inhabit.toml").write_text('[python.shop]\nmodule = "plan_shop:capabilities"\n')
    (tmp_path / "note.ts").write_text('await shop.note({ text: "hello" }); return "done";')
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    def told(*words: str) -> tuple[int, str]:
        code = main([*words])
        return code, capsys.readouterr().out

    runs = [json.loads(told("run", "note.ts", "--plan", "--json", "--as", "ada")[1])["run"] for _ in range(2)]
    code, shown = told("plan", "show", runs[0], "--as", "ada")
    assert code == 0 and '1. shop.note(text="hello")' in shown and "cannot be undone" in shown and "nobody else is asked" in shown
    digest = shown.split("--hash ")[1].strip()
    assert told("apply", runs[0], "--hash", "0" * 64, "--as", "ada")[0] == 2 and not (tmp_path / "notes.txt").exists()
    assert told("plan", "drop", runs[1], "--as", "ada")[0] == 0
    code, done = told("apply", runs[0], "--hash", digest, "--as", "ada")
    assert code == 0 and '"done"' in done and (tmp_path / "notes.txt").read_text() == "hello"
    assert told("apply", runs[0], "--hash", digest, "--as", "ada")[0] == 1
    kinds = [line.split()[1] for line in told("runs", "list", "--as", "ada")[1].splitlines()[1:]]
    assert kinds[-2:] == ["plan", "plan"] and set(kinds) == {"plan", "apply", "recheck"}
    listed = json.loads(told("runs", "list", "--kind", "plan", "--json", "--as", "ada")[1])["runs"]
    assert {one["run"] for one in listed} == set(runs) and {one["kind"] for one in listed} == {"plan"}
    assert "used by run" in told("plan", "show", runs[0], "--as", "ada")[1]
