"""The MCP server seen by the SDK's own client, in process and over HTTP."""

from __future__ import annotations

import asyncio
import base64
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import mcp_types as types
import orjson
import pytest
import uvicorn
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from inhabit.contracts.principal import Principal
from inhabit.kernel.grants import Grant
from inhabit.runtime.service import Caller
from inhabit.server.mcp import create_mcp_server
from inhabit.server.toolset import ToolOptions, Toolset

CALLER = Caller(Principal("ada", "acme"), Grant.of("**"), "mcp")


class Blobs:
    async def put(self, data: bytes, *, tenant: str, mime: str) -> dict[str, Any]:
        raise NotImplementedError

    async def get(self, reference: Any, *, tenant: str) -> bytes:
        return b"picture of " + tenant.encode()


def server(runtime: Any, **options: Any) -> Any:
    return create_mcp_server(Toolset(runtime, ToolOptions(**options)), runtime, name="shop", blobs=Blobs(), caller=CALLER)


async def called(client: Client, **arguments: Any) -> types.CallToolResult:
    return await client.call_tool("execute", arguments)


def text(result: types.CallToolResult) -> str:
    assert isinstance(result.content[0], types.TextContent)
    return result.content[0].text


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_there_are_exactly_two_tools_and_their_definition_is_small(runtime: Any, mode: Any):
    async with Client(server(runtime), mode=mode) as client:
        tools = (await client.list_tools()).tools
        assert [tool.name for tool in tools] == ["search", "execute"]
        size = len(orjson.dumps([tool.model_dump(by_alias=True, exclude_none=True, mode="json") for tool in tools]))
        # English prose and JSON have more than 3 bytes to an o200k token; the exact count is bench.footprint's.
        assert size < 3 * 700
        assert client.instructions == ("Use `search` to find operations, then `execute` a program that calls them. "
                                       "Available: github, shop.")


async def test_search_returns_declarations_as_text(runtime: Any):
    async with Client(server(runtime)) as client:
        result = await client.call_tool("search", {"query": "orders", "language": "python"})
        assert text(result) == "declare namespace shop {} // orders"
        assert runtime.searches == [("orders", "python", 1_500)]


async def test_a_run_is_answered_as_data_and_as_the_same_text(runtime: Any):
    async with Client(server(runtime)) as client:
        result = await called(client, program="value", input={"a": 1})
        assert result.structured_content == {"run": "run00000", "state": "completed", "result": {"given": {"a": 1}},
                                             "logs": ["hello"], "calls": 1}
        assert orjson.loads(text(result)) == result.structured_content and not result.is_error


@pytest.mark.parametrize(("arguments", "code", "says"), [
    ({"program": "bad"}, "program_invalid", "1:3"),
    ({}, "invalid_input", "either `program` or `run`"),
    ({"program": "value", "run": "run00000"}, "invalid_input", "either `program` or `run`"),
    ({"run": "run99999"}, "not_found", "run99999"),
    ({"programme": "value"}, "invalid_input", "did you mean 'program'?"),
    ({"program": "value", "wait_s": 1e9}, "invalid_input", "/wait_s"),
    ({"program": "value", "language": "ruby"}, "invalid_input", "/language"),
    ({"program": 7}, "invalid_input", "/program"),
])
async def test_a_wrong_call_is_an_answer_that_a_model_can_act_on(runtime: Any, arguments: Any, code: str, says: str):
    async with Client(server(runtime)) as client:
        result = await called(client, **arguments)
        assert result.is_error and result.structured_content["error"]["code"] == code
        assert says in text(result)


async def test_a_failed_run_is_marked_as_an_error_and_has_its_value(runtime: Any):
    async with Client(server(runtime)) as client:
        result = await called(client, program="fail")
        assert result.is_error and result.structured_content["error"]["code"] == "program_error"


async def test_execute_answers_before_the_run_ends_and_goes_on_with_run(runtime: Any):
    async with Client(server(runtime, wait_s=0.05, progress_s=0.01)) as client:
        first = await called(client, program="wait")
        assert first.structured_content["state"] == "running" and first.structured_content["next"]
        assert not first.is_error
        run = first.structured_content["run"]
        assert (await called(client, run=run, wait_s=0)).structured_content["state"] == "running"
        waiting = asyncio.create_task(called(client, run=run, wait_s=30))
        await asyncio.sleep(0.02)
        runtime.end(run)
        assert (await waiting).structured_content["state"] == "completed"


async def test_a_client_that_asks_for_progress_gets_it(runtime: Any):
    seen: list[tuple[float, str | None]] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        seen.append((progress, message))
        if len(seen) == 2:
            runtime.end("run00000")

    async with Client(server(runtime, progress_s=0.06)) as client:
        result = await client.call_tool("execute", {"program": "wait"}, progress_callback=note)
    assert result.structured_content["state"] == "completed"
    assert [m for _, m in seen[:2]] == ["run run00000 is running, 1 calls so far"] * 2
    assert seen[0][0] < seen[1][0]


@pytest.mark.parametrize("cancel", [True, False])
async def test_a_client_that_cancels_ends_the_run_unless_the_options_let_it_go_on(runtime: Any, journal: Any, cancel: bool):
    async with Client(server(runtime, cancel_with_client=cancel, progress_s=0.01), mode="legacy") as client:
        task = asyncio.create_task(called(client, program="wait"))
        await runtime.started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        if cancel:
            await asyncio.wait_for(runtime.gates["run00000"].wait(), 5)
        await client.list_tools()
    assert journal.state("run00000") == ("failed" if cancel else "running")


async def test_images_in_a_result_are_shown_as_images(runtime: Any):
    async with Client(server(runtime)) as client:
        result = await called(client, program="image")
        picture = result.content[1]
        assert isinstance(picture, types.ImageContent) and picture.mime_type == "image/png"
        assert base64.b64decode(picture.data) == b"picture of acme"
        assert result.structured_content["result"]["picture"]["type"] == "image/png"


@asynccontextmanager
async def served(app: Any) -> AsyncGenerator[str]:
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    host = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="on"))
    task = asyncio.create_task(host.serve([listening]))
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        host.should_exit = True
        await task


@asynccontextmanager
async def over_http(url: str, token: str, mode: Any) -> AsyncGenerator[Client]:
    async with (httpx2.AsyncClient(headers={"authorization": f"Bearer {token}"}, timeout=10) as http,
                Client(streamable_http_client(f"{url}/mcp", http_client=http), mode=mode) as client):
        yield client


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_over_http_the_caller_is_the_token(app: Any, runtime: Any, mode: Any):
    async with served(app) as url:
        async with over_http(url, "bob-token", mode) as client:
            assert (await called(client, program="value")).structured_content["state"] == "completed"
            assert client.instructions is not None and client.instructions.endswith("Available: shop.")
        async with over_http(url, "ada-token", mode) as client:
            theirs = await called(client, run="run00000")
            assert theirs.is_error and theirs.structured_content["error"]["code"] == "not_found"
    assert [str(caller.principal) for caller in runtime.callers] == ["acme/bob"]
    assert runtime.callers[0].door == "mcp" and not runtime.callers[0].grant.shows("github.x")


async def test_E19_session_id_hijack_a_session_belongs_to_the_token_that_opened_it(app: Any):
    hello = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}}
    headers = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
    async with served(app) as url, httpx2.AsyncClient() as client:
        opened = await client.post(f"{url}/mcp", json=hello, headers={**headers, "authorization": "Bearer ada-token"})
        session = opened.headers["mcp-session-id"]
        ask = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
        own = await client.post(f"{url}/mcp", json=ask, headers={
            **headers, "authorization": "Bearer ada-token", "mcp-session-id": session, "mcp-protocol-version": "2025-06-18"})
        taken = await client.post(f"{url}/mcp", json=ask, headers={
            **headers, "authorization": "Bearer bob-token", "mcp-session-id": session, "mcp-protocol-version": "2025-06-18"})
    assert (own.status_code, taken.status_code) == (200, 404)


async def test_G18_one_tenants_sessions_leave_room_for_the_others(app: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("inhabit.server.mcp.MAX_SESSIONS", 8)
    hello = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}}
    headers = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
    async with served(app) as url, httpx2.AsyncClient() as client:
        async def opens(token: str) -> int:
            return (await client.post(f"{url}/mcp", json=hello, headers={**headers, "authorization": f"Bearer {token}"})).status_code

        assert [await opens("ada-token") for _ in range(7)] == [200] * 6 + [503]
        assert (await opens("bob-token"), await opens("eve-token")) == (503, 200)     # bob is of ada's tenant


async def test_the_endpoint_works_when_nobody_runs_its_lifespan(app: Any):
    """As under a host app that mounts it: frameworks do not start what they mount."""
    hello = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}}
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answer = await client.post("/mcp", json=hello, headers={
            "accept": "application/json, text/event-stream", "authorization": "Bearer ada-token"})
    assert answer.status_code == 200 and '"serverInfo"' in answer.text
