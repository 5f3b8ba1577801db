"""Every example in the docs is executed, and every table that lists something lists all of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from pydantic import BaseModel

from bench.conformance import SCENARIOS as SERVER_SCENARIOS
from bench.conformance_client import SCENARIOS as CLIENT_SCENARIOS
from bench.conformance_suite import SUITE
from examples.shop.app import build
from inhabit import Inhabit
from inhabit import config as config_module
from inhabit.cli import COMMANDS
from inhabit.config import parse_config
from inhabit.errors import ProgramError
from inhabit.limits import DEFAULT_LIMITS, Limits
from inhabit.server.connect import ConnectRoutes
from inhabit.server.http import endpoints_of
from inhabit.server.metrics import Metrics

ROOT = Path(__file__).parents[1]
PYTHONPATH = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
PAGES = ["README.md", "docs/getting-started.md", "docs/programs.md", "docs/configuration.md", "docs/http-api.md", "docs/mcp.md",
         "docs/approvals.md", "docs/plan.md", "docs/tokens.md"]
_FENCE = re.compile(r"^```(\w+)(?: ([^\n]+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    page: str
    line: int
    language: str
    tag: str
    text: str

    @property
    def where(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: str) -> list[Block]:
    text = (ROOT / page).read_text()
    return [Block(page, text.count("\n", 0, found.start()) + 1, found[1], found[2] or "", found[3])
            for found in _FENCE.finditer(text)]


def each(*pages: str, language: str, tag: str | None = None) -> list[Any]:
    return [pytest.param(block, id=block.where) for page in pages for block in blocks(page)
            if block.language == language and tag in (None, block.tag)]


def programs() -> list[Any]:
    """Each program of programs.md with the answer that follows it."""
    page = blocks("docs/programs.md")
    return [pytest.param(block, page[at + 1], id=block.where) for at, block in enumerate(page)
            if block.language in ("typescript", "python")]




@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compiled engine images for every home of these tests: making them takes seconds."""
    return tmp_path_factory.mktemp("cache")


def new_home(path: Path, cache: Path) -> Path:
    path.mkdir(parents=True)
    (path / "cache").symlink_to(cache)
    return path


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> AsyncGenerator[Inhabit]:
    """The shop as seeded today; the programs of the page change nothing in it."""
    async with build(new_home(tmp_path_factory.mktemp("shop") / "home", cache), date.today()) as app:
        yield app


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("block", "answer"), programs())
async def test_a_program_gives_the_answer_that_the_page_shows(block: Block, answer: Block, shop: Inhabit):
    expected = json.loads(answer.text)
    try:
        run = await shop.execute(block.text, principal="ada", language=block.language)
    except ProgramError as error:
        assert block.tag == "refused", error.as_value()
        assert error.specific_code == expected["code"] and expected["nearest"] in json.dumps(error.as_value())
        return
    assert block.tag == "" and run.state == "completed", run.error
    assert run.value == expected


@pytest.mark.parametrize("block", each(*PAGES, language="toml"))
def test_a_configuration_can_be_read(block: Block):
    parse_config(block.text, Path("inhabit.toml"))


@pytest.mark.parametrize("block", each("README.md", "docs/getting-started.md", "docs/plan.md", language="python", tag=""))
def test_a_python_example_runs(block: Block, tmp_path: Path, cache: Path):
    new_home(tmp_path / ".inhabit", cache)
    (tmp_path / "example.py").write_text(block.text)
    done = subprocess.run([sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
                          env={**os.environ, "PYTHONPATH": PYTHONPATH})
    assert done.returncode == 0, done.stderr
    if "print(" in block.text:
        assert done.stdout.strip()
    if "run.state" in block.text:
        assert "completed 2000 1" in done.stdout


@contextmanager
def server(*command: str, folder: Path, ready: str, ends: signal.Signals = signal.SIGTERM,
           python_path: str = PYTHONPATH) -> Iterator[dict[str, str]]:
    """A command that serves, with the words it prints before it is ready."""
    process = subprocess.Popen([sys.executable, "-m", "inhabit", *command], cwd=folder, stdout=subprocess.PIPE, text=True,
                               env={**os.environ, "PYTHONPATH": python_path})
    words: dict[str, str] = {}
    try:
        assert process.stdout is not None
        for line in process.stdout:
            parts = line.split()
            words.update({parts[0]: parts[-1] if parts[0] == "notes" else parts[1]} if len(parts) > 1 else {})
            if line.startswith(ready):
                break
        yield words
    finally:
        process.send_signal(ends)
        process.communicate(timeout=30)


def shell(script: str, folder: Path, **more: str) -> str:
    """What a block of shell prints; every command of it must succeed."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=folder, capture_output=True, text=True, timeout=60, check=False,
                          env={**os.environ, "PYTHONPATH": PYTHONPATH, "PATH": path, **more})
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def tagged(page: str, tag: str) -> list[str]:
    found = [block.text for block in blocks(page) if block.tag == tag]
    assert found, f"{page} has no block {tag}"
    return found


def test_the_commands_after_the_demo_work_while_it_serves(tmp_path: Path, cache: Path):
    new_home(tmp_path / ".inhabit" / "demo", cache)
    with server("demo", "--port", "0", "--home", ".inhabit/demo", folder=tmp_path, ready="serving"):
        printed = shell(tagged("docs/getting-started.md", "demo")[0], tmp_path)
    assert printed.count("completed") >= 3 and "function retry(" in printed and '"o01018"' in printed


def test_the_own_sources_of_getting_started_work_as_written(tmp_path: Path, cache: Path):
    new_home(tmp_path / ".inhabit", cache)
    for name in ("inhabit.toml", "notes.py"):
        (tmp_path / name).write_text(tagged("docs/getting-started.md", name)[0].replace("8650", "0"))
    with server(*tagged("docs/getting-started.md", "serve")[0].split()[1:], folder=tmp_path, ready="token") as words:
        assert words["token"].startswith("inh_") and words["MCP"].endswith("/mcp")
        printed = shell(tagged("docs/getting-started.md", "client")[0], tmp_path)
    assert "function put(" in printed and '[\n  "a"\n]' in printed and "inh_" in printed and "completed" in printed


def test_the_examples_of_the_http_api_work_as_written(tmp_path: Path, cache: Path):
    new_home(tmp_path / "demo", cache)
    with server("demo", "--port", "0", "--home", "demo", folder=tmp_path, ready="serving") as words:
        made, ran, followed = [shell(script, tmp_path, URL=words["shop"], TOKEN=words["token"])
                               for script in tagged("docs/http-api.md", "http")]
    assert json.loads(made)["token"].startswith("inh_")
    assert json.loads(ran)["state"] == "completed" and len(json.loads(ran)["result"]) == 2
    assert followed.startswith("retry: ") and "event: intent" in followed and "event: terminal" in followed


def test_the_tokens_page_works_as_written(tmp_path: Path, cache: Path):
    new_home(tmp_path / ".inhabit", cache)
    (tmp_path / "inhabit.toml").write_text(tagged("docs/approvals.md", "inhabit.toml")[0].partition("[policy]")[0])
    printed = shell(tagged("docs/tokens.md", "tokens")[0], tmp_path)
    assert "shop.catalog.* or {" in printed and "goes on" in printed
    assert (tmp_path / "part.token").read_text().startswith("inhat_")


@pytest.mark.parametrize("program", ["cancel.ts", "cancel.py"])
def test_F02_the_approvals_page_works_as_written_over_a_killed_server(program: str, tmp_path: Path, cache: Path):
    page = "docs/approvals.md"
    new_home(tmp_path / ".inhabit", cache)
    (tmp_path / "inhabit.toml").write_text(tagged(page, "inhabit.toml")[0].replace("8651", "0"))
    (tmp_path / "policy.toml").write_text((ROOT / "examples/shop/policy.toml").read_text())
    (tmp_path / program).write_text(tagged(page, program)[0])
    serve = tagged(page, "serve")[0].split()[1:]
    with server(*serve, folder=tmp_path, ready="token", ends=signal.SIGKILL):
        listed = shell(tagged(page, "ask")[0], tmp_path, PROGRAM=program)
    asked = json.loads((tmp_path / "asked.json").read_text())
    assert asked["state"] == "suspended" and len(asked["approvals"]) == 2 and "2 waiting" in listed
    with server(*serve, folder=tmp_path, ready="token") as words:
        answered = shell(tagged(page, "answer")[0], tmp_path, URL=words["MCP"].removesuffix("/mcp"))
        after = shell(tagged(page, "after")[0], tmp_path)
    assert "approve: " in answered and "by default/boss (token)" in answered and "reject: " in answered
    assert "completed" in after and "on the truck already" in after and after.count('"cancelled"') >= 2
    with sqlite3.connect(tmp_path / "shop.db") as shop:
        assert _orders(shop)["placed"] == 1
    assert "the same again" in shell(tagged(page, "replay")[0], tmp_path)
    with server(*serve, folder=tmp_path, ready="token"):
        undone = shell(tagged(page, "rollback")[0], tmp_path)
    assert undone.count("undone: call") == 2 and "stands" not in undone
    with sqlite3.connect(tmp_path / "shop.db") as shop:
        assert _orders(shop)["placed"] == 3


def _orders(shop: sqlite3.Connection) -> dict[str, int]:
    return dict(shop.execute("SELECT status, count(*) FROM orders WHERE customer = 'ada' AND status IN ('placed', 'cancelled') "
                             "AND placed_on > date('now', '-30 days') GROUP BY status"))


@pytest.mark.parametrize(("program", "changed", "old", "new"), [
    ("cancel.ts", "isolates/javascript/boot/90_bridge.js", "// ", "// another image: "),
    ("cancel.py", "isolates/python/engine.py", "_REWRITE = ", "_REWRITE = 100 + "),
])
def test_F16_a_run_that_waits_over_an_upgrade_of_its_engine_is_parked_and_goes_on_in_the_version_that_began_it(
        program: str, changed: str, old: str, new: str, tmp_path: Path, cache: Path):
    page = "docs/approvals.md"
    upgraded = tmp_path / "upgraded"
    shutil.copytree(ROOT / "inhabit", upgraded / "inhabit", ignore=shutil.ignore_patterns("__pycache__"))
    file = upgraded / "inhabit" / changed
    file.write_text(file.read_text().replace(old, new, 1))
    new_home(tmp_path / ".inhabit", cache)
    (tmp_path / "inhabit.toml").write_text(tagged(page, "inhabit.toml")[0].replace("8651", "0"))
    (tmp_path / "policy.toml").write_text((ROOT / "examples/shop/policy.toml").read_text())
    (tmp_path / program).write_text(tagged(page, program)[0])
    serve = tagged(page, "serve")[0].split()[1:]
    with server(*serve, folder=tmp_path, ready="token", ends=signal.SIGKILL):
        shell(tagged(page, "ask")[0], tmp_path, PROGRAM=program)
    with server(*serve, folder=tmp_path, ready="token", python_path=f"{upgraded}{os.pathsep}{PYTHONPATH}", ends=signal.SIGKILL) as words:
        shell(tagged(page, "answer")[0], tmp_path, URL=words["MCP"].removesuffix("/mcp"))
        parked = shell(tagged(page, "parked")[0], tmp_path)
        assert parked.count("parked") >= 3 and "its engine" in parked and "written before: 2 shop.orders.cancel" in parked
        with sqlite3.connect(tmp_path / "shop.db") as shop:
            assert _orders(shop)["cancelled"] == 1, "nothing was done for the answers"
    with server(*serve, folder=tmp_path, ready="token"):
        after = shell(tagged(page, "after")[0], tmp_path)
    assert "completed" in after and "on the truck already" in after and after.count('"cancelled"') >= 2


@pytest.mark.parametrize("program", ["tidy.ts", "tidy.py"])
def test_E20_the_plan_page_works_as_written_from_plan_to_rollback(program: str, tmp_path: Path, cache: Path):
    page = "docs/plan.md"
    new_home(tmp_path / ".inhabit", cache)
    (tmp_path / "inhabit.toml").write_text(tagged(page, "inhabit.toml")[0])
    (tmp_path / program).write_text(tagged(page, program)[0])
    shown = shell(tagged(page, "plan")[0], tmp_path, PROGRAM=program)
    planned = json.loads((tmp_path / "plan.json").read_text())["result"]
    assert planned["left"] == [planned["order"]] and planned["order"].startswith("planned_")
    assert shown.count("undone by shop.orders.reinstate") == 3 and "undone by shop.orders.withdraw" in shown and shown.count("(preview)") == 4
    with sqlite3.connect(tmp_path / "shop.db") as shop:
        assert _orders(shop)["placed"] == 3 and shop.execute("SELECT count(*) FROM orders WHERE call IS NOT NULL").fetchone() == (0,)
    shell(tagged(page, "apply")[0], tmp_path)
    done = json.loads((tmp_path / "done.json").read_text())["result"]
    assert done["left"] == [done["order"]] and done["total_cents"] == planned["total_cents"] and not done["order"].startswith("planned_")
    with sqlite3.connect(tmp_path / "shop.db") as shop:
        assert _orders(shop)["placed"] == 1
        assert shop.execute("SELECT id FROM orders WHERE call IS NOT NULL").fetchall() == [(done["order"],)]
    undone = shell(tagged(page, "rollback")[0], tmp_path)
    assert undone.count("undone: call") == 4 and "stands" not in undone
    with sqlite3.connect(tmp_path / "shop.db") as shop:
        assert _orders(shop)["placed"] == 3 and shop.execute("SELECT count(*) FROM orders WHERE call IS NOT NULL").fetchone() == (0,)


def test_every_route_is_in_the_http_page_and_no_other():
    class Nothing:
        revoke = unmatched = None

    nothing: Any = Nothing()
    served = {f"{e.method} {e.path.replace(':int', '')}" for e in endpoints_of(
        nothing, nothing, Metrics(), "x", nothing, nothing, ConnectRoutes(nothing, nothing), nothing, desk=nothing, labels=nothing, attenuable=nothing,
        plans=nothing, passkeys=nothing, ceremonies=nothing)}
    assert set(re.findall(r"^\| `([A-Z]+ /[^`]+)` \|", (ROOT / "docs/http-api.md").read_text(), re.MULTILINE)) == served


def test_every_setting_is_in_the_configuration_page():
    page = (ROOT / "docs/configuration.md").read_text()
    models = list(settings().values())
    names = {name for model in models for name in model.model_fields} - {"base"} | {field.name for field in fields(Limits)}
    missing = {name for name in names if f"`{name}`" not in page and f"[{name}" not in page and f"\n{name} = " not in page}
    assert len(models) > 6 and not missing


def test_every_setting_is_set_in_an_example_of_the_page_that_is_read():
    seen: dict[str, set[str]] = {}

    def walk(value: Any) -> None:
        if isinstance(value, BaseModel):
            seen.setdefault(type(value).__name__, set()).update(value.model_fields_set)
            walk([getattr(value, name) for name in type(value).model_fields])
        elif isinstance(value, dict | list | tuple):
            for item in value.values() if isinstance(value, dict) else value:
                walk(item)

    for block in blocks("docs/configuration.md"):
        if block.language == "toml":
            walk(parse_config(block.text, Path("inhabit.toml")))
    assert {name: set(model.model_fields) - seen.get(name, set()) for name, model in settings().items()} == {name: set() for name in settings()}


def settings() -> dict[str, type[BaseModel]]:
    return {name: value for name, value in vars(config_module).items() if isinstance(value, type) and issubclass(value, BaseModel)
            and value.__module__ == "inhabit.config" and not name.startswith("_")}


def test_every_default_limit_in_the_page_is_the_real_one():
    page = (ROOT / "docs/configuration.md").read_text()
    shown = {name: int(value.replace(",", "")) for name, value in re.findall(r"^\| `(\w+)` \| ([\d,]+) \|", page, re.MULTILINE)}
    assert {name: shown.get(name) for name in DEFAULT_LIMITS.as_value()} == DEFAULT_LIMITS.as_value()


def test_every_conformance_scenario_that_is_run_is_in_the_mcp_page():
    page = (ROOT / "docs/mcp.md").read_text()
    sides = {"server": SERVER_SCENARIOS, "client": CLIENT_SCENARIOS}
    for side, scenarios in sides.items():
        table = page.partition(f"| {side} scenario |")[2].partition("\n\n")[0]
        assert re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE) == list(scenarios)
    assert SUITE.replace("@0", "` 0") in page


def test_every_command_is_in_the_getting_started_page():
    page = (ROOT / "docs/getting-started.md").read_text()
    assert not [name for name in COMMANDS if f"inhabit {name}" not in page]


@pytest.mark.parametrize("page", PAGES)
def test_links_between_pages_lead_somewhere(page: str):
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", (ROOT / page).read_text()):
        assert ((ROOT / page).parent / target).exists(), f"{page} links to {target}"


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150
