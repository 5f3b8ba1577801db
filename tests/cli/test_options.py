"""Which home a command means, and what it loads to find out."""

from __future__ import annotations

import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from inhabit.cli import COMMANDS, main
from inhabit.cli.options import find_config, home_of
from inhabit.config import load_config
from inhabit.errors import ConfigError

_HEAVY = ("inhabit.app", "inhabit.runtime", "inhabit.server", "inhabit.catalog", "inhabit.isolates", "numpy", "mcp", "mcp_types", "starlette")
_LIGHT = sorted(COMMANDS.keys() - {"demo", "init", "policy", "secrets"})
"""Commands that show their options, and ask a server that runs, without loading one."""


def test_the_nearest_file_above_is_found(tmp_path: Path):
    (tmp_path / "inhabit.toml").write_text("name = 'up'")
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    found = find_config(deep)
    assert found is not None and load_config(found).name == "up"
    assert find_config(Path("/proc")) is None



def test_a_home_is_named_by_the_option_or_lies_beside_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"no inhabit\.toml"):
        home_of(Namespace(home=None, config=None))
    (tmp_path / "inhabit.toml").write_text("not toml")      # a server that runs can be asked all the same
    assert home_of(Namespace(home=None, config=None)) == tmp_path / ".inhabit"
    assert home_of(Namespace(home=Path("x"), config=None)) == Path("x")


@pytest.mark.parametrize("command", _LIGHT)
def test_a_command_that_asks_a_server_does_not_load_one(command: str):
    code = f"import sys, inhabit.cli; from inhabit.cli.loading import load; load({COMMANDS[command][0]!r}); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert [name for name in done.stdout.split() if name.startswith(_HEAVY)] == []


@pytest.mark.parametrize("days", ["inf", "-inf", "nan", "0", "-1", "1e-9", "1e300"])
def test_days_that_are_no_time_are_one_line(days: str, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    assert main(["token", "create", f"--days={days}", "--home", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "is no time until a token expires" in line
    assert not list(tmp_path.iterdir())
