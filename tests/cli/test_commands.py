"""The commands as a person types them, against a server that a separate process runs."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from inhabit.cli import COMMANDS, main
from inhabit.contracts.principal import Principal
from inhabit.contracts.run import RunHeader
from inhabit.kernel.grants import Grant
from inhabit.store.store import Store
from inhabit.store.tenants.stores import Stores
from tests.connectors.mcp_support import python_server
from tests.store.store_samples import header

ROOT = Path(__file__).parents[2]


class Demo:
    """A running `inhabit demo`: its home, URL and token."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.process = subprocess.Popen(
            [sys.executable, "-m", "inhabit", "demo", "--home", str(home), "--port", "0"],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.lines: list[str] = []
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            if line.startswith("serving until"):
                break
        words = dict(line.split()[:2] for line in self.lines if len(line.split()) >= 2)
        self.url, self.token = words.get("shop", ""), words.get("token", "")

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=30)
        return self.process.returncode


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compiled engine images for every home of these tests: making them takes seconds."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def home(tmp_path: Path, cache: Path) -> Path:
    made = tmp_path / "home"
    made.mkdir()
    (made / "cache").symlink_to(cache)
    return made


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[Demo]:
    folder = tmp_path_factory.mktemp("demo")
    (folder / "cache").symlink_to(cache)
    started = Demo(folder)
    assert started.url, started.process.communicate()[1]
    yield started
    assert started.stop() == 0
    assert not (started.home / "server.json").exists()


def inhabit(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    capsys.readouterr()
    try:
        code = main(args)
    except SystemExit as stopped:
        code = int(stopped.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


def as_json(capsys: pytest.CaptureFixture[str], *args: str) -> Any:
    code, out, err = inhabit(capsys, *args, "--json")
    assert code == 0, err
    return json.loads(out)


def test_demo_runs_its_three_programs_and_says_where_to_look(demo: Demo):
    text = "\n".join(demo.lines)
    assert text.count(": completed, ") == 3 and "(python)" in text and "(typescript)" in text
    assert demo.token.startswith("inh_") and f"{demo.url}/mcp" in text
    assert "still_failing" in text and "organic_share" in text


def test_runs_list_show_tail(demo: Demo, capsys: pytest.CaptureFixture[str]):
    runs = as_json(capsys, "runs", "list", "--home", str(demo.home), "--state", "completed")["runs"]
    assert len(runs) >= 3
    shown = as_json(capsys, "runs", "show", runs[-1]["run"], "--home", str(demo.home))
    assert shown["state"] == "completed" and shown["entries"][-1]["type"] == "terminal"
    code, out, _ = inhabit(capsys, "runs", "tail", runs[-1]["run"], "--home", str(demo.home))
    assert code == 0 and "shop.invoices.list(" in out and out.splitlines()[-1].lstrip()[0].isdigit()
    code, out, _ = inhabit(capsys, "runs", "show", runs[-1]["run"], "--home", str(demo.home))
    assert code == 0 and "// Retry the card charge" in out
    code, out, _ = inhabit(capsys, "runs", "list", "--home", str(demo.home), "-n", "2")
    assert code == 0 and out.splitlines()[0].startswith("RUN") and "--before" in out


def test_commands_that_look_carry_nothing_on(capsys: pytest.CaptureFixture[str], home: Path):
    left = asyncio.run(_left_behind(home))
    here = ("--home", str(home), "--as", "ada")
    for _ in range(2):
        assert [run["state"] for run in as_json(capsys, "runs", "list", *here)["runs"]] == ["running"]
    assert as_json(capsys, "runs", "show", left, *here)["entries"] == []
    code, out, err = inhabit(capsys, "runs", "tail", left, *here)
    assert (code, out) == (0, "") and f"run {left} is running and nobody carries it on: `inhabit serve` takes it up" in err
    for command in (("search", "orders"), ("token", "list"), ("effects", "review")):
        assert inhabit(capsys, *command, *here)[0] == 0
    assert as_json(capsys, "runs", "show", left, *here)["state"] == "running"
    assert as_json(capsys, "runs", "cancel", left, *here)["state"] == "failed"
    assert as_json(capsys, "runs", "show", left, *here)["entries"][-1]["value"]["code"] == "cancelled"


async def _left_behind(home: Path) -> str:
    """A run that a process which is gone began."""
    store = Store.open(home / "tenants" / "default" / "journal.db", key=home / "audit.key")
    run = RunHeader("run0", Principal("ada"), "typescript", "hash", "return 1", "return 1", b"null", "an engine", 1, 1,
                    grant=Grant.of("**").as_value())
    await store.journal.begin(run).durable()
    await store.close()
    return run.run_id


def test_run_prints_the_result_on_stdout_and_the_rest_on_stderr(demo: Demo, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    program = tmp_path / "p.ts"
    program.write_text("console.log('hi'); return (await shop.orders.list({limit: 2})).length + input")
    code, out, err = inhabit(capsys, "run", str(program), "--home", str(demo.home), "--input", "40", "--limit", "calls=5")
    assert (code, json.loads(out)) == (0, 42)
    assert err.splitlines()[0] == "hi" and "completed, 1 call\n" in err


def test_A27_what_a_program_prints_is_inert_in_the_terminal(demo: Demo, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    program = tmp_path / "p.ts"
    program.write_text(r"console.log('\x1b]0;owned\x07'); return {k: '\x1b[2J\x9b1m'}")
    code, out, err = inhabit(capsys, "run", str(program), "--home", str(demo.home))
    assert code == 0 and json.loads(out) == {"k": "\x1b[2J\x9b1m"}
    assert "\x1b" not in out + err and "\x9b" not in out + err and "\\x1b]0;owned\\x07" in err


@pytest.mark.parametrize(("source", "code", "says"), [
    ("return await shop.orders.lst({})", 2, "shop.orders.list"), ("return (", 2, "1"), ("throw new Error('boom')", 1, "boom"),
    ("const a = null;\nreturn a.b", 1, "program.ts:2:8"),
    ("while (true) {}", 1, "cpu_ms")])
def test_a_program_that_fails_has_an_exit_code_and_a_reason(demo: Demo, capsys: pytest.CaptureFixture[str], tmp_path: Path,
                                                           source: str, code: int, says: str):
    program = tmp_path / "p.ts"
    program.write_text(source)
    got, out, err = inhabit(capsys, "run", str(program), "--home", str(demo.home), "--limit", "cpu_ms=200")
    assert (got, out) == (code, "") and says in err and "Traceback" not in err


def test_search_and_describe(demo: Demo, capsys: pytest.CaptureFixture[str]):
    code, out, _ = inhabit(capsys, "search", "retry a failed invoice", "--home", str(demo.home))
    assert code == 0 and "function retry(" in out
    code, out, _ = inhabit(capsys, "describe", "shop.orders.cancel", "--language", "python", "--home", str(demo.home))
    assert code == 0 and "order_id: str" in out and "shop.invoices" not in out
    assert inhabit(capsys, "describe", "shop.orders", "--home", str(demo.home))[0] == 0
    code, out, err = inhabit(capsys, "describe", "shop.orders.cancle", "--home", str(demo.home))
    assert code == 3 and "function" in out and "shop.orders.cancle" in err and len(err.splitlines()) == 1


def test_tokens_are_made_listed_and_revoked(demo: Demo, capsys: pytest.CaptureFixture[str]):
    made = as_json(capsys, "token", "create", "--home", str(demo.home), "--for", "bob", "--grant", "shop.catalog.*", "--days", "1")
    assert made["principal"] == "default/bob" and made["token"].startswith("inh_")
    listed = as_json(capsys, "token", "list", "--home", str(demo.home))
    assert made["id"] in {t["id"] for t in listed} and made["token"] not in json.dumps(listed)
    assert inhabit(capsys, "token", "revoke", made["id"], "--home", str(demo.home))[0] == 0
    assert inhabit(capsys, "token", "revoke", "nope", "--home", str(demo.home))[0] == 3


def test_a_bound_token_sees_only_what_it_was_granted(demo: Demo, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
                                                   tmp_path: Path):
    made = as_json(capsys, "token", "create", "--home", str(demo.home), "--for", "ada", "--grant", "shop.catalog.*")
    monkeypatch.setenv("INHABIT_URL", demo.url)
    monkeypatch.setenv("INHABIT_TOKEN", made["token"])
    program = tmp_path / "p.ts"
    program.write_text("return await shop.orders.list({})")
    code, _, err = inhabit(capsys, "run", str(program))
    assert code == 2 and "shop.orders.list" in err
    program.write_text("return (await shop.catalog.categories({})).length")
    assert inhabit(capsys, "run", str(program))[1].strip() == "8"
    monkeypatch.setenv("INHABIT_TOKEN", "inh_wrong")
    assert inhabit(capsys, "runs", "list")[0] == 4


def test_nobody_is_taken_for_another_than_as_names(demo: Demo, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
                                                   tmp_path: Path):
    program = tmp_path / "p.ts"
    program.write_text("return 1")
    home = ("--home", str(demo.home))
    assert inhabit(capsys, "run", str(program), *home, "--as", "default/ada")[0] == 0
    for words in (("run", str(program)), ("runs", "list"), ("approvals",), ("mcp",)):
        code, out, err = inhabit(capsys, *words, *home, "--as", "acme/bob")
        assert (code, out) == (4, "") and "as default/ada" in err and "token create --for acme/bob" in err
    monkeypatch.setenv("INHABIT_URL", demo.url)
    monkeypatch.setenv("INHABIT_TOKEN", demo.token)
    assert inhabit(capsys, "runs", "list", "--as", "ada")[0] == 4 and inhabit(capsys, "runs", "list")[0] == 0


def test_a_token_alone_is_for_the_server_of_the_home(demo: Demo, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
                                                    tmp_path: Path):
    made = as_json(capsys, "token", "create", "--home", str(demo.home), "--for", "bob", "--grant", "shop.catalog.*")
    monkeypatch.setenv("INHABIT_TOKEN", made["token"])
    assert as_json(capsys, "runs", "list", "--home", str(demo.home))["runs"] == []
    code, _, err = inhabit(capsys, "runs", "list", "--home", str(tmp_path))
    assert code == 5 and "INHABIT_TOKEN is set" in err


def test_an_address_that_is_no_inhabit_is_said_to_be_none(demo: Demo, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(404)
            self.end_headers()
            self.wfile.write(b'{"detail": "Not Found"}')

        def log_message(self, format: str, *args: Any) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Other) as server:
        threading.Thread(target=server.handle_request).start()
        monkeypatch.setenv("INHABIT_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("INHABIT_TOKEN", demo.token)
        code, _, err = inhabit(capsys, "runs", "list")
    assert code == 5 and "not as Inhabit does" in err and "mounted" in err and len(err.splitlines()) == 1


def test_wrong_words_are_one_line_with_the_command_that_helps(capsys: pytest.CaptureFixture[str]):
    for words in (("runs", "list", "--state", "done"), ("apply", "RUN"), ("policy",), ("runs", "list", "--nope")):
        with pytest.raises(SystemExit) as ended:
            main(words)
        err = capsys.readouterr().err
        assert ended.value.code == 2 and len(err.splitlines()) == 1 and "--help)" in err


def test_an_unknown_run_is_exit_code_3(demo: Demo, capsys: pytest.CaptureFixture[str]):
    for action in ("show", "tail", "cancel"):
        code, _, err = inhabit(capsys, "runs", action, "0" * 26, "--home", str(demo.home))
        assert code == 3 and len(err.strip().splitlines()) == 1


def test_a_taken_port_is_one_line_with_the_fix(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, _, err = inhabit(capsys, "demo", "--home", str(tmp_path), "--port", str(taken.getsockname()[1]))
    assert code == 5 and len(err.strip().splitlines()) == 1 and "in use" in err and "--port" in err


def test_a_home_that_is_in_use_is_one_line_with_the_fix(demo: Demo, capsys: pytest.CaptureFixture[str]):
    code, _, err = inhabit(capsys, "demo", "--home", str(demo.home), "--once")
    assert code == 5 and f"pid {demo.process.pid}" in err and len(err.strip().splitlines()) == 1


def test_a_second_server_on_a_home_is_told_of_the_first(demo: Demo, capsys: pytest.CaptureFixture[str]):
    code, _, err = inhabit(capsys, "serve", "--home", str(demo.home), "--port", demo.url.rpartition(":")[2])
    assert code == 5 and f"on this home already, at {demo.url}" in err and len(err.strip().splitlines()) == 1


def test_an_unwritable_home_is_one_line_with_the_fix(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    (tmp_path / "file").write_text("")
    code, _, err = inhabit(capsys, "demo", "--home", str(tmp_path / "file" / "home"), "--once")
    assert code == 5 and len(err.strip().splitlines()) == 1
    (tmp_path / "inhabit.toml").write_text("")
    code, _, err = inhabit(capsys, "search", "x", "--config", str(tmp_path / "inhabit.toml"), "--home", str(tmp_path / "file"))
    assert code == 5 and len(err.strip().splitlines()) == 1 and "not a folder" in err


@pytest.mark.parametrize(("options", "command", "says"), [
    ("size=8k", "dd if=/dev/zero of=disk/fill bs=4k count=1 2>/dev/null; {inhabit} serve --port 0 --home disk/home", "make room"),
    ("size=8k", "dd if=/dev/zero of=disk/fill bs=4k count=2 2>/dev/null; {inhabit} init --output disk/inhabit.toml", "make room"),
    ("size=420k", "{inhabit} run p.ts --home disk/home", "the disk is full (free space"),
    ("ro", "{inhabit} serve --port 0 --home disk/home", "cannot be written: Read-only file system"),
    ("ro", "{inhabit} connect shop --home disk/home", "Read-only file system"),
    ("ro", "{inhabit} init --output disk/inhabit.toml", "Read-only file system"),
])
def test_a_full_or_unwritable_disk_is_one_line_with_the_fix(tmp_path: Path, options: str, command: str, says: str):
    if subprocess.run(["unshare", "-rm", "true"], check=False, capture_output=True).returncode:
        pytest.skip("no disk of its own can be made here: user namespaces are denied")
    (tmp_path / "disk").mkdir()
    (tmp_path / "inhabit.toml").write_text("")
    (tmp_path / "p.ts").write_text("return 1")
    script = f"mount -t tmpfs -o {options} none disk && {command.format(inhabit=f'{sys.executable} -m inhabit')}"
    done = subprocess.run(["unshare", "-rm", "sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})
    logged = ("starting ...", "the journal cannot be written: the disk is full", "pruning was put off: database or disk is full")
    lines = [line for line in done.stderr.splitlines() if line not in logged]
    assert done.returncode == 5 and len(lines) == 1 and says in lines[0] and lines[0].endswith(")"), done.stderr


def test_a_taken_port_of_the_configuration_is_one_line_too(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        (tmp_path / "inhabit.toml").write_text(f"[server]\nport = {taken.getsockname()[1]}\n")
        code, _, err = inhabit(capsys, "serve", "--config", str(tmp_path / "inhabit.toml"))
    assert code == 5 and len(err.strip().splitlines()) == 1 and "in use" in err and "--port" in err


def test_a_missing_configuration_says_how_to_make_one(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    for command in (["serve"], ["runs", "list"], ["search", "x"], ["mcp"], ["token", "list"]):
        code, _, err = inhabit(capsys, *command)
        assert code == 2 and "inhabit init" in err


def test_help_lists_every_command_and_an_unknown_one_is_named(capsys: pytest.CaptureFixture[str]):
    code, out, _ = inhabit(capsys, "--help")
    assert code == 0 and all(f"\n  {name} " in out for name in COMMANDS)
    code, _, err = inhabit(capsys, "sevre")
    assert code == 2 and "serve" in err


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]):
    code, out, _ = inhabit(capsys, command, "--help")
    assert code == 0 and len(out) > 100


def test_init_writes_a_file_that_can_be_read_and_not_over_one(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
                                                            tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    assert inhabit(capsys, "init")[0] == 0 and (tmp_path / "inhabit.toml").exists()
    code, _, err = inhabit(capsys, "init")
    assert code == 2 and "--force" in err
    assert inhabit(capsys, "init", "--force")[0] == 0


def test_search_of_a_file_needs_no_configuration(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.jsonl").write_text('{"name": "cancel_order", "description": "Cancel an order"}\n'
                                      '{"name": "list_pets", "description": "All pets in the store"}\n')
    (tmp_path / "q.jsonl").write_text('{"query": "stop my order", "gold": ["cancel_order"]}\n')
    code, out, _ = inhabit(capsys, "search", "--catalog", "c.jsonl", "--queries", "q.jsonl", "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and lines[0]["ranked"][0] == "cancel_order" and lines[-1]["summary"]["recall5"] == 1.0
    assert inhabit(capsys, "search", "--catalog", "c.jsonl")[0] == 2


def test_backup_and_restore(capsys: pytest.CaptureFixture[str], tmp_path: Path, home: Path):
    assert inhabit(capsys, "demo", "--home", str(home), "--once")[0] == 0
    before = as_json(capsys, "runs", "list", "--home", str(home), "--as", "ada")["runs"]
    assert len(before) == 3
    assert inhabit(capsys, "backup", str(tmp_path / "copy"), "--home", str(home))[0] == 0
    assert inhabit(capsys, "backup", str(tmp_path / "copy.db"), "--tenant", "default", "--home", str(home))[0] == 0
    for path in [*home.rglob("journal.db*"), *home.glob("server.db*")]:
        path.unlink()
    assert inhabit(capsys, "restore", str(tmp_path / "copy"), "--home", str(home))[0] == 0
    assert as_json(capsys, "runs", "list", "--home", str(home), "--as", "ada")["runs"] == before
    assert inhabit(capsys, "audit", "erase", "--tenant", "default", "--yes", "--home", str(home))[0] == 0
    assert as_json(capsys, "runs", "list", "--home", str(home), "--as", "ada")["runs"] == []
    assert inhabit(capsys, "restore", str(tmp_path / "copy.db"), "--home", str(home))[0] == 2
    assert inhabit(capsys, "restore", str(tmp_path / "copy.db"), "--tenant", "default", "--home", str(home))[0] == 0
    assert as_json(capsys, "runs", "list", "--home", str(home), "--as", "ada")["runs"] == before


def test_a_backup_is_made_while_the_server_goes_on(demo: Demo, capsys: pytest.CaptureFixture[str], tmp_path: Path, home: Path):
    assert inhabit(capsys, "backup", str(tmp_path / "copy.db"), "--home", str(demo.home))[0] == 0
    assert inhabit(capsys, "backup", str(tmp_path / "copy.db"), "--home", str(demo.home))[0] == 2
    assert inhabit(capsys, "restore", str(tmp_path / "copy.db"), "--home", str(home))[0] == 0
    assert len(as_json(capsys, "runs", "list", "--home", str(home), "--as", "ada")["runs"]) >= 3


def test_doctor_names_every_layer_and_engine(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, home: Path):
    monkeypatch.chdir(home)
    code, out, _ = inhabit(capsys, "doctor", "--home", str(home))
    assert code == 0
    for word in ("landlock", "seccomp", "user_namespace", "typescript", "python", "home", "compiled ones"):
        assert word in out


def test_F16_doctor_counts_the_unfinished_runs_of_engines_that_are_not_here(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, home: Path):
    monkeypatch.chdir(home)

    async def interrupted() -> None:
        stores = Stores.open(home, lambda: 1)
        await stores.journal.ready("default")
        for number, (engine, rung) in enumerate((("quickjs-ng 0 image old", "isolate"), ("quickjs-ng 0 image old", "isolate"), ("steps", "rollback"))):
            await stores.journal.begin(replace(header(number), engine=engine, rung=rung)).durable()
        await stores.close()

    asyncio.run(interrupted())
    code, out, _ = inhabit(capsys, "doctor", "--home", str(home))
    assert code == 0 and "2 unfinished runs began under quickjs-ng 0 image old, which is not here" in out and "steps" not in out


def test_every_source_is_named_by_doctor_and_by_serve_also_one_that_cannot_be_reached(capsys: pytest.CaptureFixture[str], home: Path):
    config = home / "inhabit.toml"
    config.write_text(f"[server]\nport = 0\n[mcp.polite]\ncommand = {json.dumps(python_server('polite'))}\n[mcp.gone]\ncommand = ['no-such-server']\n"
                      "[mcp.keyless]\ncommand = ['x']\nenv = {KEY = {secret = 'NOT_SET_ANYWHERE'}}\n")
    _, out, _ = inhabit(capsys, "doctor", "--home", str(home), "--config", str(config))
    told = {line.split()[1].rstrip(":"): line for line in out.partition("sources")[2].splitlines() if line.startswith("  ")}
    assert told["polite"].startswith("  ok ") and "3 operations" in told["polite"]
    assert told["gone"].startswith("  missing") and "install no-such-server" in told["gone"]
    assert told["keyless"].startswith("  missing") and "environment variable NOT_SET_ANYWHERE" in told["keyless"]
    with subprocess.Popen([sys.executable, "-m", "inhabit", "serve", "--home", str(home), "--config", str(config)], cwd=ROOT,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while not process.stdout.readline().startswith("token"):
            assert process.poll() is None
        code, out, _ = inhabit(capsys, "doctor", "--home", str(home), "--config", str(config))
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
    told = {line.split()[1].rstrip(":"): line for line in out.partition("sources")[2].splitlines() if line.startswith("  ")}
    assert code == 0 and told["polite"].startswith("  ok ") and "3 operations" in told["polite"]
    assert told["gone"].startswith("  missing") and "the running server has no operations" in told["gone"]
    assert "gone has no operations now" in err and "keyless has no operations now" in err and "polite" not in err


def test_doctor_looks_at_the_home_of_a_configuration_that_cannot_be_read(capsys: pytest.CaptureFixture[str], home: Path):
    broken = home / "inhabit.toml"
    broken.write_text("[servr]\nport = 1\n")
    code, out, _ = inhabit(capsys, "doctor", "--config", str(broken))
    assert code == 1 and "unknown key servr" in out and f"{home / '.inhabit'}: no stores yet" in out


def test_output_into_a_closed_pipe_is_no_fault(demo: Demo):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([sys.executable, "-m", "inhabit", "runs", "list", "--home", str(demo.home)], cwd=ROOT,
                          stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert done.returncode == 0 and done.stderr == b""
