"""Upstream MCP servers seen by programs and by the client that runs them: what they may ask, say, and fail with."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from inhabit import Inhabit, mcp
from inhabit.server.mcp import create_mcp_server
from inhabit.server.toolset import ToolOptions, Toolset
from tests.connectors.mcp_support import npm_server, python_server


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compiled engine images for every home of these tests: making them takes seconds."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
async def app(tmp_path: Path, cache: Path) -> AsyncGenerator[Inhabit]:
    home = tmp_path / "home"
    home.mkdir()
    (home / "cache").symlink_to(cache)
    # Their annotations are believed: unknown effects are the dangerous ones, and such calls may not follow on one another unasked.
    sources = [mcp(python_server("rogue", "--log", str(tmp_path / "rogue.log")), name="rogue", trust_annotations=True),
               mcp(python_server("polite"), name="polite"),
               mcp(npm_server("everything"), name="everything", trust_annotations=True)]
    async with Inhabit(sources, home=home) as running:
        assert running.problems == {}
        yield running


def door(app: Inhabit, **options: Any) -> Any:
    return create_mcp_server(Toolset(app.runtime, ToolOptions(**options)), app.runtime, caller=app.caller("ada", door="mcp"))


async def test_progress_of_a_call_upstream_reaches_the_client_of_the_run(app: Inhabit) -> None:
    heard: list[str] = []

    async def told(_progress: float, _total: float | None, message: str | None) -> None:
        heard.append(message or "")

    program = "return await everything.trigger_long_running_operation({duration: 2, steps: 4})"
    async with Client(door(app, progress_s=0.1)) as client:
        result = await client.call_tool("execute", {"program": program}, progress_callback=told)
    assert result.structured_content["state"] == "completed"
    assert any(words.endswith(("; 1/4", "; 2/4", "; 3/4")) for words in heard), heard


async def test_what_a_server_asks_of_its_client_is_refused_by_name(app: Inhabit) -> None:
    program = """
        const said = [];
        for (const ask of [() => polite.elicit({}), () => rogue.ask({})])
          try { await ask(); } catch (error) { said.push(error.message); }
        return said"""
    result = await app.execute(program, principal="ada")
    assert "elicitation/create is refused" in result.value[0] and "sampling/createMessage is refused" in result.value[1]


async def test_a_client_that_cancels_cancels_the_call_upstream(app: Inhabit, tmp_path: Path) -> None:
    async def upstream_has_seen(words: str) -> None:
        async with asyncio.timeout(20):
            while words not in (tmp_path / "rogue.log").read_text():
                await asyncio.sleep(0.02)

    async with Client(door(app), mode="legacy") as client:
        hanging = asyncio.create_task(client.call_tool("execute", {"program": "return await rogue.hang({})"}))
        await upstream_has_seen('"name": "hang"')
        hanging.cancel()
        await asyncio.gather(hanging, return_exceptions=True)
        await upstream_has_seen("notifications/cancelled")


@pytest.mark.parametrize("language", ["typescript", "python"])
async def test_a_server_that_dies_and_lies_is_an_error_with_a_name_and_the_rest_goes_on(app: Inhabit, language: str) -> None:
    programs = {
        "typescript": """
            const names = [];
            for (const call of [() => rogue.die({}), () => rogue.lie({}), () => rogue.text_lie({}), () => rogue.flood({})])
              try { await call(); names.push("none"); } catch (error) { names.push(error.code); }
            return [names, await everything.echo({ message: "here" }), await rogue.echo({ x: 1 })]""",
        "python": """
names = []
for bad in ["die", "lie", "text_lie", "flood"]:
    try:
        if bad == "die":
            await rogue.die()
        elif bad == "lie":
            await rogue.lie()
        elif bad == "text_lie":
            await rogue.text_lie()
        else:
            await rogue.flood()
        names.append("none")
    except OperationError as error:
        names.append(error.code)
[names, await everything.echo(message="here"), await rogue.echo(x=1)]"""}
    result = await app.execute(programs[language], principal="ada", language=language)
    assert result.state == "completed", result.error
    codes, echoed, after = result.value
    assert codes == ["upstream_died", "result_invalid", "result_invalid", "upstream_died"]
    assert echoed == "Echo: here" and json.loads(after) == {"x": 1}


async def test_a_server_that_does_not_come_back_is_named_with_the_time_of_the_next_attempt(tmp_path: Path, cache: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "cache").symlink_to(cache)
    script = tmp_path / "server.py"
    script.write_text(Path(python_server("polite")[1]).read_text())
    async with Inhabit([mcp([python_server("polite")[0], str(script)], name="flaky")], home=home) as app:
        assert (await app.execute("return (await flaky.add({a: 1, b: 2})).result", principal="ada")).value == 3
    script.write_text("import sys; sys.stderr.write('no database'); sys.exit(4)")
    async with Inhabit([mcp([python_server("polite")[0], str(script)], name="flaky")], home=home) as app:
        program = "try { await flaky.add({a: 1, b: 2}) } catch (error) { return error.message }"
        said = [(await app.execute(program, principal="ada")).value for _ in range(5)]
    assert all("flaky" in words and "no database" in words and "exit code 4" in words for words in said), said
    assert "tried again in" in said[-1]
