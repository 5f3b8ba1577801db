"""`inhabit mcp` as an agent starts it: alone on its home, and beside a server that runs on it."""

from __future__ import annotations

import asyncio
import base64
import os
import sys
from pathlib import Path
from typing import Any

import mcp_types as types
import orjson
import pytest
from mcp import Client, StdioServerParameters

ROOT = Path(__file__).parents[2]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "inhabit.toml").write_text('[python.shop]\nmodule = "examples.shop.app:capabilities"\n')
    return tmp_path


def agent(home: Path) -> Client:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SHOP_DB": str(home / "shop.db")}
    return Client(StdioServerParameters(command=sys.executable, env=environment, cwd=home, args=[
        "-m", "inhabit", "mcp", "--config", str(home / "inhabit.toml"), "--as", "ada"]))


async def ran(client: Client, program: str) -> Any:
    result = await client.call_tool("execute", {"program": program})
    return result.structured_content


async def test_two_agents_share_a_home_that_a_server_holds(home: Path):
    serving = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "inhabit", "serve", "--port", "0", "--as", "ada", cwd=home, stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT), "SHOP_DB": str(home / "shop.db")})
    assert serving.stdout is not None
    while b"token" not in await asyncio.wait_for(serving.stdout.readline(), 60):
        pass
    try:
        async with agent(home) as one, agent(home) as two:
            assert one.instructions is not None and one.instructions.endswith("Available: shop.")
            first = await ran(one, "return (await shop.orders.list({limit: 2})).length")
            assert first["state"] == "completed" and first["result"] == 2
            seen = await two.call_tool("execute", {"run": first["run"]})
            assert seen.structured_content["result"] == 2
            wrong = await ran(two, "return await shop.orders.lst()")
            assert wrong["error"]["code"] == "program_invalid" and "shop.orders.list" in str(wrong)
            assert "function cancel(" in str(await two.call_tool("search", {"query": "cancel an order"}))
    finally:
        serving.terminate()
        assert await asyncio.wait_for(serving.wait(), 30) == 0


async def test_an_image_reaches_the_agent_through_a_running_server(tmp_path: Path):
    (tmp_path / "pictures.py").write_text(
        "from inhabit import Capability\nfrom inhabit.contracts.connector import Call\nart = Capability('art')\n"
        "@art.operation\nasync def draw(call: Call) -> dict:\n    return await call.blobs.put(b'not really a png', mime='image/png', tenant=call.principal.tenant)\nall = [art]\n")
    (tmp_path / "inhabit.toml").write_text('[python.art]\nmodule = "pictures:all"\n')
    serving = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "inhabit", "serve", "--port", "0", "--as", "ada", cwd=tmp_path, stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert serving.stdout is not None
    while b"token" not in await asyncio.wait_for(serving.stdout.readline(), 60):
        pass
    try:
        async with agent(tmp_path) as client:
            answer = await client.call_tool("execute", {"program": "return { picture: await art.draw({}) }"})
            (image,) = [block for block in answer.content if isinstance(block, types.ImageContent)]
            assert (image.mime_type, base64.b64decode(image.data)) == ("image/png", b"not really a png")
            assert answer.structured_content is not None
            named = await client.call_tool("execute", {"program": f"return {orjson.dumps(answer.structured_content['result']).decode()}"})
            assert [block.type for block in named.content] == ["text"]   # a reference that a program merely names opens nothing
    finally:
        serving.terminate()
        assert await asyncio.wait_for(serving.wait(), 30) == 0


async def test_alone_it_opens_its_home_itself(home: Path):
    async with agent(home) as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == ["search", "execute"]
        answer = await ran(client, "return (await shop.catalog.categories({})).length")
        assert answer["result"] == 8
    assert (home / ".inhabit" / "server.db").exists()
