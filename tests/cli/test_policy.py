"""`inhabit policy`: as a person types it, over a journal with real runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from inhabit.cli import main
from tests.policy.test_policy_page import PAGE

PROGRAMS = Path(__file__).parents[2] / "examples" / "shop" / "programs"
POLICY = PAGE.split("```toml\n")[1].split("```")[0]
Type = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def typed(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Type:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SHOP_DB", str(tmp_path / "shop.db"))
    (tmp_path / ".inhabit").mkdir()
    (tmp_path / ".inhabit" / "cache").symlink_to(cache)
    (tmp_path / "inhabit.toml").write_text('[python.shop]\nmodule = "examples.shop.app:capabilities"\n')
    (tmp_path / "policy.toml").write_text(POLICY)

    def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(list(words))
        return code, *capsys.readouterr()
    return run


def test_check_names_every_mistake_and_its_line(typed: Type, tmp_path: Path) -> None:
    assert typed("policy", "check")[:2] == (0, "7 rules, limits and results; 0 errors, 0 warnings\n")
    other = tmp_path / "other.toml"
    other.write_text(POLICY.replace("args.items.exists", "args.itms.exists").replace('"hold"', '"hodl"'))
    code, said, _ = typed("policy", "check", "--policy", str(other))
    assert code == 1 and "other.toml:10:8: error: no large orders: shop.orders.place has no args.itms (did you mean 'items'?)" in said
    assert "`then` is 'hodl' (did you mean 'hold'?)" in said and "2 errors, 0 warnings" in said
    code, said, _ = typed("policy", "check", "--policy", str(other), "--json")
    assert code == 1 and {problem["line"] for problem in json.loads(said)} == {10, 18}
    (tmp_path / "inhabit.toml").write_text('[python.shop]\nmodule = "examples.shop.app:capabilities"\n[policy]\nfile = "other.toml"\n')
    assert typed("policy", "check")[0] == 1


def test_test_tries_the_examples(typed: Type, tmp_path: Path) -> None:
    assert typed("policy", "test")[:2] == (0, "3 of 3 examples hold\n")
    (tmp_path / "policy.toml").write_text(POLICY.replace("quantity = 2 }] }\nexpect", "quantity = 51 }] }\nexpect"))
    code, said, _ = typed("policy", "test")
    assert code == 1 and "a small order passes: expected allow, got deny by 'no large orders'" in said and "2 of 3 examples hold" in said
    assert typed("policy", "test", "--json")[0] == 1


def test_explain_shows_why(typed: Type) -> None:
    code, said, _ = typed("policy", "explain", "shop.invoices.retry", "--args", '{"invoice_id": "i1"}', "--label", "untrusted", "--as", "ada")
    assert code == 1 and said.startswith("hold, by nothing outward after a stranger's words:") and "[labels.untrusted = True]" in said
    code, said, _ = typed("policy", "explain", "shop.returns.request", "--args", '{"product_id": "p1"}', "--used", "pieces per product and day=9", "--json")
    assert code == 0 and "9 used, 1 more, at most 10" in said
    for words, wrong in ((("shop.order.place",), 3), (("shop.orders.place", "--args", "[1]"), 2), (("shop.orders.place", "--args", "x"), 2),
                         (("shop.orders.place", "--used", "x"), 2),
                         (("shop.returns.request", "--args", '{"product": "p1"}'), 2),
                         (("shop.orders.place", "--used", "peces per product and day=9"), 2)):
        assert typed("policy", "explain", *words)[0] == wrong


@pytest.mark.parametrize("words", [("policy", "backtest", "--runs", "0"), ("policy", "suggest", "--runs", "many"), ("run", "x.ts", "--wait", "-1"),
                                   ("run", "x.ts", "--wait", "601"), ("run", "x.ts", "--wait", "nan")])
def test_a_number_that_cannot_be_meant_is_refused(words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(list(words))
    complaint = capsys.readouterr().err
    assert f"{words[-1]!r} is no " in complaint and "number from" in complaint and complaint.count("\n") == 1


def test_backtest_and_suggest_look_at_recorded_runs(typed: Type, tmp_path: Path) -> None:
    for program in sorted(PROGRAMS.iterdir()):
        if program.suffix in (".ts", ".py"):
            assert typed("run", str(program), "--as", "ada")[0] == 0
    code, said, _ = typed("policy", "backtest", "--as", "ada")
    assert code == 1 and "it moves money" in said and "of 3 runs would have been stopped" in said
    code, said, _ = typed("policy", "backtest", "--as", "ada", "--json")
    assert code == 1 and json.loads(said)["runs"] == 3
    assert "nothing to suggest" in typed("policy", "suggest", "--as", "other/bob")[1]
    assert typed("policy", "backtest", "--as", "other/bob")[1].startswith("0 of 0 runs")
    code, said, _ = typed("policy", "suggest", "--as", "ada")
    assert code == 0
    (tmp_path / "suggested.toml").write_text(said)
    assert typed("policy", "check", "--policy", "suggested.toml")[0] == 0
    assert typed("policy", "backtest", "--policy", "suggested.toml", "--as", "ada")[0] == 0
    assert json.loads(typed("policy", "suggest", "--as", "ada", "--json")[1])["runs"] == 3


def test_file_that_is_not_there_or_no_text(typed: Type, tmp_path: Path) -> None:
    code, _, said = typed("policy", "check", "--policy", "none.toml")
    assert code == 2 and "none.toml cannot be read" in said
    (tmp_path / "bad.toml").write_bytes(b"\xff")
    assert typed("policy", "test", "--policy", "bad.toml")[0] == 2
