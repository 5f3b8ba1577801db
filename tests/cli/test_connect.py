"""`inhabit connect` and `inhabit effects review` as a person types them, alone and beside a server that runs."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from inhabit.cli import main
from inhabit.cli.client import write_note
from inhabit.contracts.principal import Principal
from tests.connectors.mcp_support import python_server
from tests.connectors.oauth_site import Site, running_site


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compiled engine images for every home of these tests: making them takes seconds."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
async def site() -> AsyncGenerator[Site]:
    async with running_site() as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path, cache: Path, site: Site) -> Path:
    (tmp_path / ".inhabit").mkdir()
    (tmp_path / ".inhabit" / "cache").symlink_to(cache)
    (tmp_path / "inhabit.toml").write_text(
        f'[server]\nport = 0\n[mcp.notes]\nurl = "{site.mcp}"\n[mcp.polite]\ncommand = {json.dumps(python_server("polite"))}\n')
    return tmp_path


async def started(folder: Path, *words: str, stdin: bytes | None = None) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "inhabit", *words, cwd=folder, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE, env={**os.environ, "INHABIT_USER": "ada", "PYTHONPATH": str(Path(__file__).parents[2])})
    if stdin is not None:
        assert process.stdin is not None
        process.stdin.write(stdin)
        process.stdin.close()
    return process


async def inhabit(folder: Path, *words: str, stdin: bytes = b"") -> tuple[int, str, str]:
    process = await started(folder, *words, stdin=stdin)
    out, err = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode or 0, out.decode(), err.decode()


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[None]:
    process = await started(folder, "serve")
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            while not (line := await process.stdout.readline()).startswith(b"token"):
                assert line, (await process.communicate())[1].decode()
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.communicate(), 30)


async def sign_in(folder: Path, *words: str) -> tuple[int, str]:
    """Run the command, and do in the browser's place what it says."""
    process = await started(folder, "connect", "notes", *words)
    assert process.stderr is not None
    async with asyncio.timeout(30):
        line = (await process.stderr.readline()).decode()
    address = line.split()[-1]
    assert address.startswith("http://127.0.0.1:") and "code_challenge=" in address, line
    async with httpx2.AsyncClient() as browser:
        agreed = await browser.get(address)
        page = await browser.get(agreed.headers["location"])
    _, err = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode or 0, page.text + err.decode()


async def whoami(folder: Path, user: str) -> tuple[int, str, str]:
    program = folder / "whoami.ts"
    program.write_text("return (await notes.whoami({})).result")
    return await inhabit(folder, "run", "whoami.ts", "--as", user)


async def test_signing_in_from_the_terminal_listing_and_revoking(folder: Path, site: Site) -> None:
    site.user = "ada-upstream"
    assert await sign_in(folder) == (0, "<!doctype html><meta charset=utf-8><title>Inhabit</title><p>Connected. You can close this window.</p>"
                                        "default/ada is connected to notes\n")
    site.user = "bob-upstream"
    assert (await sign_in(folder, "--as", "bob"))[0] == 0
    code, out, _ = await inhabit(folder, "connect", "--list")
    assert code == 0 and out.count("oauth") == 2 and "default/bob" in out and "at-" not in out
    assert "ada-upstream" in (await whoami(folder, "ada"))[1] and "bob-upstream" in (await whoami(folder, "bob"))[1]
    code, _, err = await inhabit(folder, "connect", "notes", "--revoke", "--as", "bob")
    assert code == 0 and "revoked there" in err and len(site.revoked) == 2
    code, _, err = await whoami(folder, "bob")
    assert code == 1 and "notes" in err and "inhabit connect notes" in err
    assert (await inhabit(folder, "connect", "notes", "--revoke", "--as", "bob"))[0] == 3


async def test_a_running_server_takes_a_new_connection_up_at_once(folder: Path, site: Site) -> None:
    async with serving(folder):
        assert "function whoami(" not in (await inhabit(folder, "search", "notes.whoami"))[1]
        assert (await sign_in(folder))[0] == 0
        assert "function whoami(" in (await inhabit(folder, "search", "notes.whoami"))[1]
        assert '"ada"' in (await whoami(folder, "ada"))[1]


async def test_a_person_who_declines_is_told_so(folder: Path, site: Site) -> None:
    site.broken = "declined"
    code, said = await sign_in(folder)
    assert code == 4 and "Not connected" in said and "access_denied" in said and "Traceback" not in said


async def test_a_key_where_one_could_sign_in(folder: Path, site: Site) -> None:
    site.tokens["CANARY-key"] = "by-key"
    code, out, err = await inhabit(folder, "connect", "notes", "--key", stdin=b"CANARY-key\n")
    assert code == 0 and "CANARY" not in out + err
    assert "by-key" in (await whoami(folder, "ada"))[1]


DOCUMENT = """{"openapi": "3.0.3", "info": {"title": "k", "version": "1"}, "servers": [{"url": "https://api.example.com"}],
"components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
"paths": {"/one": {"get": {"operationId": "one", %s "responses": {"200": {"description": "ok"}}}}}}"""


@pytest.mark.parametrize(("settings", "security", "code"), [
    ('source = "api.json"', "", 2), ('source = "api.json"', '"security": [{}],', 2), ('source = "api.json"', '"security": [{"key": []}],', 0),
    ('source = "api.json"\nauth = {header = "X-Key"}', "", 0), ('source = "api.json"\nsecret = "SHARED"', '"security": [{"key": []}],', 2),
    ('source = "gone.json"', "", 0)])
def test_a_key_that_no_call_would_send_is_refused_with_the_fix(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], settings: str, security: str, code: int) -> None:
    (tmp_path / "inhabit.toml").write_text(f"[openapi.api]\n{settings}\n")
    (tmp_path / "api.json").write_text(DOCUMENT % security)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO("CANARY-key\n"))
    assert main(["connect", "api", "--key", "--as", "ada"]) == code
    said = capsys.readouterr()
    assert "CANARY" not in said.out + said.err and ("is connected to api" in said.err) == (code == 0)
    assert code == 0 or ('auth = "bearer" under [openapi.api]' in said.err and main(["connect", "api", "--revoke", "--as", "ada"]) == 3)
    assert "gone" not in settings or "whether api takes a key is not known" in said.err


def test_a_source_of_the_operators_credential_takes_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "inhabit.toml").write_text('[http.web]\nallow = [{origin = "https://example.com"}]\n[mcp.local]\ncommand = ["true"]\n')
    monkeypatch.chdir(tmp_path)
    for name in ("web", "local"):
        assert main(["connect", name, "--key"]) == 2
        assert f"{name} would not send the key" in capsys.readouterr().err


def test_a_key_is_kept_for_nobody_else_than_was_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "inhabit.toml").write_text('[openapi.api]\nsource = "api.json"\n')
    (tmp_path / "api.json").write_text(DOCUMENT % '"security": [{"key": []}],')
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("INHABIT_USER", raising=False)
    monkeypatch.setenv("INHABIT_TOKEN", "inh_of_somebody")
    assert main(["connect", "api", "--key"]) == 2       # a token is not read: whose key it is has to be said
    assert "--as" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin", io.StringIO("CANARY-key\n"))
    assert main(["connect", "api", "--key", "--as", "ada"]) == 0
    assert "default/ada is connected" in capsys.readouterr().err
    monkeypatch.delenv("INHABIT_TOKEN")
    with socket.create_server(("127.0.0.1", 0)) as server:      # beside a server it is for whom that speaks for
        write_note(tmp_path / ".inhabit", f"http://127.0.0.1:{server.getsockname()[1]}", "inh_x", Principal.parse("acme/bob"))
        assert main(["connect", "--list"]) == 0
        assert "ada" not in capsys.readouterr().out
        assert main(["connect", "api", "--revoke"]) == 3
    assert "acme/bob has no connection" in capsys.readouterr().err


@pytest.mark.parametrize("beside", [False, True])
async def test_effects_are_reviewed_with_and_without_a_running_server(folder: Path, site: Site, beside: bool) -> None:
    """What is confirmed holds at once: a program under a grant of reads may call the tool that was confirmed to read."""
    (folder / "sum.ts").write_text("return (await polite.add({a: 20, b: 22})).result")
    config = (folder / "inhabit.toml").read_text()
    (folder / "inhabit.toml").write_text(config + '[grants]\nada = [{pattern = "**", caveats = [{effects = {writes = "none"}}]}]\n')

    async def reviewed() -> None:
        code, _, err = await inhabit(folder, "run", "sum.ts")
        assert code in (1, 4), err
        code, out, err = await inhabit(folder, "effects", "review", "polite")
        assert code == 0 and "polite.add" in out and "new" in out and "nothing confirmed" in err
        code, out, _ = await inhabit(folder, "effects", "review", "polite", "--yes")
        assert code == 0 and "confirmed 3 tools" in out
        assert json.loads((await inhabit(folder, "effects", "review", "--json"))[1])["polite"][0]["state"] == "confirmed"
        assert (await inhabit(folder, "run", "sum.ts"))[1].strip() == "42"
        assert (await inhabit(folder, "effects", "review", "nothere"))[0] == 3

    if beside:
        async with serving(folder):
            await reviewed()
    else:
        await reviewed()
