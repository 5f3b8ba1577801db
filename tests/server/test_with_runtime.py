"""The server over the real runtime: isolates, journal and tokens as in use."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx2
import mcp_types as types
import orjson
import pytest
import pytest_asyncio
from fastapi import FastAPI
from mcp import Client

from inhabit import Call, Capability, Inhabit, Principal
from inhabit.server.http import create_app
from inhabit.server.mcp import create_mcp_server
from inhabit.server.toolset import ToolOptions, Toolset

pytestmark = pytest.mark.asyncio(loop_scope="module")
PICTURE = b"\x89PNG\r\n\x1a\n" + b"0" * 64


class World:
    """An app with a few operations whose doing can be watched and held up."""

    def __init__(self, home: Path) -> None:
        self.entered = asyncio.Event()
        self.gate = asyncio.Event()
        capability = Capability("lab", "A laboratory")

        @capability.operation()
        async def who(caller: Principal) -> str:
            """For whom this runs."""
            return str(caller)

        @capability.operation(reads="public")
        async def wait() -> str:
            """Wait until the test lets go."""
            self.entered.set()
            await self.gate.wait()
            return "done"

        @capability.operation(writes="external")
        async def send() -> str:
            """Send something, slowly."""
            self.entered.set()
            await self.gate.wait()
            return "sent"

        @capability.operation(reads="public")
        async def picture(call: Call) -> dict[str, Any]:
            """A picture."""
            return await call.blobs.put(PICTURE, tenant=call.principal.tenant, mime="image/png")

        self.app = Inhabit(capabilities=[capability], home=home, grants={"default": ["lab.**"], "acme/bob": ["lab.who"]})

    def reset(self) -> None:
        self.entered, self.gate = asyncio.Event(), asyncio.Event()

    @property
    def server(self) -> Any:
        app = self.app
        return create_app(app.runtime, journal=app.home.journal, check_token=app.check_token, blobs=app.home.blobs,
                          tokens=app.home.tokens)

    async def client(self, principal: str, **token: Any) -> httpx2.AsyncClient:
        made, _ = await self.app.create_token(principal, **token)
        return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=self.server), base_url="http://localhost",
                                  headers={"authorization": f"Bearer {made}"})

    def mcp(self, principal: str, **options: Any) -> Any:
        app = self.app
        return create_mcp_server(Toolset(app.runtime, ToolOptions(**options)), app.runtime, blobs=app.home.blobs,
                                 caller=app.caller(principal, door="mcp"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world_of_module(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[World]:
    made = World(tmp_path_factory.mktemp("home"))
    async with made.app:
        yield made


@pytest.fixture
def world(world_of_module: World) -> World:
    world_of_module.reset()
    return world_of_module


@pytest.mark.parametrize(("language", "program"), [("typescript", "return await lab.who()"), ("python", "return await lab.who()")])
async def test_a_program_runs_as_the_tokens_principal_and_is_journaled(world: World, language: str, program: str):
    async with await world.client("acme/ada") as client:
        answer = (await client.post("/v1/runs", json={"program": program, "language": language})).json()
        assert answer["state"] == "completed" and answer["result"] == "acme/ada"
        page = (await client.get(f"/v1/runs/{answer['run']}/entries")).json()
        assert [entry["type"] for entry in page["entries"]] == ["intent", "outcome", "delivered", "terminal"]
        assert page["header"]["principal"] == "acme/ada" and page["header"]["origin"] == "http"
        assert (await client.get(f"/v1/runs/{answer['run']}/result")).json()["result"] == "acme/ada"


async def test_metrics_have_what_an_operator_alerts_on(world: World):
    async with await world.client("acme/bob") as client:
        before = figures((await client.get("/v1/metrics")).text)
        refused = "try { await lab['se' + 'nd']({}) } catch {}"
        await client.post("/v1/runs", json={"program": f"await lab.who(); {refused} return 1"})
        await client.post("/v1/runs", json={"program": "throw new Error('x')"})
        after = figures((await client.get("/v1/metrics")).text)
    grown = {name: value - before.get(name, 0) for name, value in after.items() if value != before.get(name, 0)}
    assert grown['inhabit_runs_ended_total{state="completed"}'] == grown['inhabit_runs_ended_total{state="failed"}'] == 1
    assert grown['inhabit_calls_total{verdict="allow"}'] == grown['inhabit_calls_total{verdict="deny"}'] == 1
    assert grown["inhabit_call_failures_total"] == 1 and grown["inhabit_call_seconds_count"] == 2
    assert grown['inhabit_http_request_seconds_count{route="/v1/runs"}'] == 2 and grown["inhabit_journal_commits"] >= 2
    assert {"inhabit_live_runs", "inhabit_live_runs_limit", "inhabit_journal_pending_bytes", "inhabit_journal_failed"} <= set(after)
    page = (Path(__file__).parents[2] / "docs/http-api.md").read_text()
    names = {re.sub(r"_(bucket|sum|count)$", "", name.partition("{")[0]) for name in after}
    assert not [name for name in names if f"`{name}" not in page]


def figures(text: str) -> dict[str, float]:
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))}


async def test_E18_runs_of_another_tenant_or_user_are_not_there(world: World):
    async with await world.client("acme/ada") as ada, await world.client("acme/eve") as eve, await world.client("other/ada") as other:
        run = (await ada.post("/v1/runs", json={"program": "return 1"})).json()["run"]
        for client in (eve, other):
            for path in ("", "/result", "/entries", "/entries/1", "/events"):
                assert (await client.get(f"/v1/runs/{run}{path}")).status_code == 404
            assert (await client.post(f"/v1/runs/{run}/cancel")).status_code == 404
            assert run not in (await client.get("/v1/runs")).text


async def test_a_tokens_grant_bounds_what_is_seen_and_called(world: World):
    async with await world.client("acme/ada", grant=["lab.who"]) as client:
        assert "lab.send" not in (await client.post("/v1/search", json={"query": "send something"})).text
        refused = await client.post("/v1/runs", json={"program": "return await lab.send()"})
        assert refused.status_code == 422 and refused.json()["code"] == "program_invalid"
        hidden = await client.post("/v1/runs", json={"program": "const f = 'send'; return await lab[f]()"})
        assert hidden.json()["state"] == "failed"
    async with await world.client("acme/bob") as client:
        assert (await client.get("/v1/capabilities")).json()["capabilities"][0]["operations"] == 1


async def test_a_token_that_is_revoked_is_refused_at_once(world: World):
    token, record = await world.app.create_token("acme/ada")
    transport = httpx2.ASGITransport(app=world.server)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost", headers={"authorization": f"Bearer {token}"}) as client:
        child = (await client.post("/v1/tokens", json={"grant": ["lab.who"]})).json()["token"]
        assert (await client.get("/v1/runs")).status_code == 200
        assert (await client.delete(f"/v1/tokens/{record.id}")).status_code == 204
        assert (await client.get("/v1/runs")).status_code == 401
        assert (await client.get("/v1/runs", headers={"authorization": f"Bearer {child}"})).status_code == 401


async def test_a_run_that_goes_on_is_streamed_and_waited_for(world: World):
    async with await world.client("acme/ada") as client:
        started = await client.post("/v1/runs", json={"program": "return await lab.wait()", "wait_s": 0})
        assert started.status_code == 202
        events = asyncio.create_task(client.get(started.headers["location"] + "/events"))
        await world.entered.wait()
        waiting = asyncio.create_task(client.get(started.headers["location"], params={"wait_s": 30}))
        await asyncio.sleep(0)
        world.gate.set()
        assert (await waiting).json()["result"] == "done"
        assert [line for line in (await events).text.splitlines() if line.startswith("event: ")] == [
            "event: intent", "event: outcome", "event: delivered", "event: terminal"]


@pytest.mark.parametrize(("program", "state"), [("return await lab.wait()", "failed"), ("return await lab.send()", "unknown")])
async def test_a_cancelled_run_says_whether_something_may_have_happened(world: World, program: str, state: str):
    async with await world.client("acme/ada") as client:
        started = await client.post("/v1/runs", json={"program": program, "wait_s": 0})
        await world.entered.wait()
        stopped = (await client.post(started.headers["location"] + "/cancel")).json()
        assert stopped["state"] == state, stopped
        assert (await client.get(started.headers["location"])).json()["state"] == state


async def test_over_mcp_a_cancelled_call_ends_its_run(world: World):
    async with Client(world.mcp("acme/ada", progress_s=0.05), mode="legacy") as client:
        call = asyncio.create_task(client.call_tool("execute", {"program": "return await lab.wait()"}))
        await world.entered.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        run = (await world.app.home.journal.list(tenant="acme", user="ada", limit=1))[0].run_id
        ended = await asyncio.wait_for(client.call_tool("execute", {"run": run, "wait_s": 10}), 20)
        assert ended.structured_content["state"] == "failed"
        assert ended.structured_content["error"]["code"] == "cancelled"


async def test_over_mcp_a_long_run_is_gone_on_with_and_a_picture_is_seen(world: World):
    async with Client(world.mcp("acme/ada", wait_s=0.1)) as client:
        first = await client.call_tool("execute", {"program": "await lab.wait(); return await lab.picture()"})
        assert first.structured_content["state"] == "running"
        world.gate.set()
        last = await client.call_tool("execute", {"run": first.structured_content["run"], "wait_s": 30})
        assert last.structured_content["state"] == "completed", last.structured_content
        assert isinstance(last.content[1], types.ImageContent) and last.content[1].mime_type == "image/png"


async def test_E01_over_mcp_a_picture_that_a_program_merely_names_is_not_shown(world: World):
    async with Client(world.mcp("acme/ada")) as client:
        mine = await client.call_tool("execute", {"program": "return await lab.picture()"})
        assert len(mine.content) == 2
        reference = mine.structured_content["result"]
        named = await client.call_tool("execute", {"program": f"return {orjson.dumps(reference).decode()}"})
        assert named.structured_content["result"] == reference and len(named.content) == 1


async def test_mounted_in_fastapi_it_serves_under_its_prefix(world: World):
    api = FastAPI()
    api.mount("/inhabit", world.app.asgi())
    token, _ = await world.app.create_token("acme/ada")
    transport = httpx2.ASGITransport(app=api)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost", headers={"authorization": f"Bearer {token}"}) as client:
        answer = await client.post("/inhabit/v1/runs", json={"program": "return await lab.who()"})
        assert answer.json()["result"] == "acme/ada" and answer.headers["location"].startswith("/inhabit/v1/runs/")
        assert (await client.get("/inhabit/v1/health", headers={"authorization": ""})).status_code == 200
        assert (await client.get("/inhabit/v1/runs", headers={"authorization": ""})).status_code == 401
