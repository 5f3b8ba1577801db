"""Approvals and replay from the command line where no server runs, and what doctor says of protection."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from examples.shop.app import POLICY, build
from inhabit.cli import main
from inhabit.policy.check import checked
from inhabit.policy.document import read_policy
from inhabit.policy.examples import tried

CANCEL_TWO = """
const open = await shop.orders.list({ status: "placed" });
const tried = await Promise.allSettled(open.slice(0, 2).map(order => shop.orders.cancel({ order_id: order.id })));
return tried.map(one => one.status === "fulfilled" ? one.value.status : one.reason.code);
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def home(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / ".inhabit").mkdir()
    (tmp_path / ".inhabit" / "cache").symlink_to(cache)
    (tmp_path / "inhabit.toml").write_text(
        f'[policy]\nfile = "{POLICY}"\n[python.shop]\nmodule = "examples.shop.app:capabilities"\n[approvals]\n')
    (tmp_path / "cancel.ts").write_text(CANCEL_TWO)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert main([*words, "--as", "ada"] if words[0] != "doctor" else list(words)) == code, capsys.readouterr()
    return capsys.readouterr().out


def asked(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(told(capsys, "run", "cancel.ts", "--json"))


@pytest.mark.parametrize(("answer", "result"), [
    (["approve"], ["cancelled", "cancelled"]), (["reject", "--reason", "no"], ["cancelled", "rejected"]),
    (["approve", "--edit", '{"order_id": "o1"}'], ["cancelled", "order_not_found"]),
])
def test_an_answer_without_a_server_carries_the_run_on(capsys: pytest.CaptureFixture[str], home: Path, answer: list[str], result: list[str]) -> None:
    run = asked(capsys)
    assert run["state"] == "suspended" and len(run["approvals"]) == 1
    told(capsys, "replay", run["run"], code=2)
    listed = told(capsys, "approvals")
    assert "for default/ada: " in listed and "more lines" not in listed
    assert "shop.orders.cancel: 1 waiting" in listed and run["approvals"][0]["id"] in listed and '"order_id"' in listed
    assert main([answer[0], run["approvals"][0]["id"], *answer[1:], "--as", "ada"]) == 0
    out, err = capsys.readouterr()
    assert "unprotected" in out and err.strip() == f"run {run['run']}: completed"
    shown = json.loads(told(capsys, "runs", "show", run["run"], "--json"))
    assert shown["state"] == "completed" and sorted(shown["result"]) == sorted(result)
    assert told(capsys, "approvals").strip() == "nothing waits for approval"


def test_F09_replay_reaches_nothing_and_is_the_same(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    (home / "read.ts").write_text("const all = await shop.orders.list({ limit: 2 }); console.log(Math.random()); return [all.length, Date.now()]")
    assert told(capsys, "run", "read.ts")
    runs = json.loads(told(capsys, "runs", "list", "--json"))["runs"]
    (home / "shop.db").unlink()
    found = json.loads(told(capsys, "replay", runs[0]["run"], "--json"))
    assert found["equal"] and found["calls"] == 1 and not (home / "shop.db").exists()
    told(capsys, "replay", "no-such-run", code=3)


@pytest.mark.parametrize(("own", "said"), [("true", "people may approve what their own programs ask for"), ("false", "only another person's")])
def test_doctor_says_whether_answers_are_protected(capsys: pytest.CaptureFixture[str], home: Path, own: str, said: str) -> None:
    config = home / "inhabit.toml"
    config.write_text(config.read_text() + f"self = {own}\n")
    out = told(capsys, "doctor").partition("approvals\n")[2]
    assert said in out and str(POLICY) in out
    assert "missing  protection" in out


def test_doctor_calls_no_home_protected_that_this_user_is_about_to_make(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    config = home / "inhabit.toml"
    config.write_text(config.read_text() + "self = false\n")
    assert "missing  protection" in told(capsys, "doctor", "--home", str(home / "not yet"))


def test_a_long_call_is_cut_in_the_list_and_whole_where_it_is_shown(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    (home / "all.toml").write_text('[[rule]]\nname = "look"\non = "shop.orders.place"\nthen = "ask"\n')
    config = home / "inhabit.toml"
    config.write_text(config.read_text().replace(str(POLICY), "all.toml"))
    (home / "place.ts").write_text(
        "return await shop.orders.place({ items: Array.from({ length: 30 }, (_, n) => ({ product_id: `p${n}`, quantity: 1 })) })")
    approval = json.loads(told(capsys, "run", "place.ts", "--json"))["approvals"][0]["id"]
    listed, shown = told(capsys, "approvals"), told(capsys, "approvals", "show", approval)
    assert '"p29"' in shown and '"p29"' not in listed and f"more lines: inhabit approvals show {approval}" in listed


def test_the_shops_policy_is_sound_and_its_examples_hold(tmp_path: Path) -> None:
    app = build(tmp_path)
    read = read_policy(POLICY.read_text())
    assert [problem.text("p") for problem in checked(read, app.operations())] == []
    assert {one.problem for one in tried(read.policy(), read.examples, {o.name: o for o in app.operations()})} == {""}


DYING = """
import os, pathlib, signal
from inhabit import Capability

bank = Capability("bank")
capabilities = [bank]
tried = pathlib.Path("tried")

@bank.operation(writes="internal")
def pay(cents: int) -> int:
    if not tried.exists():
        tried.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return cents
"""


def test_a_call_that_nobody_knows_the_end_of_says_that_it_is_settled(
        capsys: pytest.CaptureFixture[str], home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "dying_bank.py").write_text(DYING)
    (home / "inhabit.toml").write_text('[python.bank]\nmodule = "dying_bank:capabilities"\n')
    (home / "pay.ts").write_text("return await bank.pay({ cents: 5 })")
    (home / "none.ts").write_text("return 1")
    monkeypatch.syspath_prepend(home)
    assert subprocess.run([sys.executable, "-m", "inhabit", "run", "pay.ts", "--as", "ada"], capture_output=True).returncode == -signal.SIGKILL
    told(capsys, "run", "none.ts")      # takes up what the killed process left
    run = next(r["run"] for r in json.loads(told(capsys, "runs", "list", "--json"))["runs"] if r["state"] == "suspended")
    approval = json.loads(told(capsys, "approvals", "--json"))["groups"][0]["approvals"][0]["id"]
    shown = told(capsys, "runs", "show", run)
    assert "bank.pay waits for a person's word (inhabit settle)" in shown and shown.count(approval) == 1
    assert "not_done" in told(capsys, "settle", approval, "--not-done")
    assert json.loads(told(capsys, "runs", "show", run, "--json"))["result"] == 5
