"""A policy that changes under a running server: the last good one holds until the next good one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from inhabit.errors import ConfigError
from inhabit.kernel.policy import Scope
from inhabit.policy.check import checked
from inhabit.policy.loader import SETTLE_S, Loader
from tests.policy.policy_kit import OPERATIONS, rule


def long_ago() -> float:
    """A clock that was set back: what the files say of their time is of no use."""
    return 0.0


class Clock:
    def __init__(self) -> None:
        self.s = 0.0

    def __call__(self) -> float:
        return self.s


@pytest.fixture
def put(tmp_path: Path) -> Callable[[str | bytes], Path]:
    """Puts a new file in the place of the old one, as an editor or a deployment does."""
    path = tmp_path / "policy.toml"

    def replace(text: str | bytes) -> Path:
        beside = tmp_path / "new"
        beside.write_bytes(text.encode() if isinstance(text, str) else text)
        os.utime(beside, (1, 1))      # written some time ago
        os.replace(beside, path)
        return path
    return replace


def names(loader: Loader) -> list[str]:
    return [rule.name for rule in loader.policy.rules]


def test_change_holds_at_the_next_look(put: Callable[[str], Path]) -> None:
    loader = Loader(put(rule(name="one")))
    before = loader.policy
    assert loader.look() == (before, (), False) and names(loader) == ["one"]
    put(rule(name="two"))
    assert loader.policy is before
    loaded = loader.look()
    assert loaded.changed and loaded.policy is loader.policy and names(loader) == ["two"]
    assert not loader.look().changed
    put(rule(name="two") + "# a remark")
    assert not loader.look().changed


@pytest.mark.parametrize("broken", ["[[rule]\n", rule(then="dney"), rule("args.amout > 5"), rule(on="shop.refund.*"), b"\xff\xfe", None, "x" * 5_000_000])
def test_E21_broken_file_keeps_the_last_good_policy_and_says_why(put: Callable[[str | bytes], Path], broken: str | bytes | None) -> None:
    path = put(rule(name="one"))
    loader = Loader(path, check=lambda document: checked(document, OPERATIONS))
    good = loader.policy
    put(broken) if broken is not None else path.unlink()
    for _ in range(2):
        loaded = loader.look()
        assert loaded.policy is good and not loaded.changed and loaded.problems[0].severity == "error"
    put(rule(name="two"))
    assert loader.look().changed and names(loader) == ["two"] and loader.look().problems == ()


def test_half_a_file_is_no_policy(put: Callable[[str], Path]) -> None:
    """Written in place, the first half of a policy is a policy too, and a laxer one."""
    clock = Clock()
    path = put(rule(name="one") + rule(name="two", on="mail.send"))
    loader = Loader(path, clock=clock, wall=long_ago)
    for part in ("", rule(name="one"), rule(name="one") + rule(name="two", on="mail.send") + rule(name="three", on="http.fetch")):
        path.write_text(part)
        assert not loader.look().changed and names(loader) == ["one", "two"]
        clock.s += SETTLE_S / 2
        assert not loader.look().changed
    clock.s += SETTLE_S
    assert loader.look().changed and names(loader) == ["one", "two", "three"]


def test_E21_what_was_written_a_while_ago_holds_for_the_first_call_after_it(put: Callable[[str], Path]) -> None:
    """Nobody has looked since: a stricter policy must not wait for its second call."""
    path = put(rule(name="one"))
    loader = Loader(path, wall=lambda: path.stat().st_ctime + SETTLE_S)
    path.write_text(rule(name="one") + rule(name="two", on="mail.send"))
    assert loader.look().changed and names(loader) == ["one", "two"]


@pytest.mark.parametrize("missed", [False, True])
def test_E21_half_a_new_file_under_the_name_is_no_policy(put: Callable[[str], Path], missed: bool) -> None:
    """As a checkout does it: the old file is removed, and another one is written where it was. `missed`: it was looked for in between."""
    clock = Clock()
    path = put(rule(name="one") + rule(name="two", on="mail.send"))
    kept = path.with_name("kept")
    os.link(path, kept)     # so that the new file is not given the old one's number
    loader = Loader(path, clock=clock, wall=long_ago)
    path.unlink()
    if missed:
        assert not loader.look().changed
    with path.open("w") as file:
        for part, name in ((rule(name="one"), "half"), (rule(name="three", on="mail.send"), "whole")):
            file.write(part)
            file.flush()
            assert not loader.look().changed and names(loader) == ["one", "two"], name
            clock.s += SETTLE_S / 2
    clock.s += SETTLE_S
    assert loader.look().changed and names(loader) == ["one", "three"]


def test_there_is_no_start_without_a_policy(tmp_path: Path, put: Callable[[str], Path]) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        Loader(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match=r"policy\.toml:4:8: error: r: `then`"):
        Loader(put(rule(then="dney")))


def test_file_of_a_user_speaks_for_that_user(put: Callable[[str], Path]) -> None:
    assert Loader(put(rule()), scope=Scope("acme", "ada")).policy.rules[0].scope == Scope("acme", "ada")
