"""The live stream of a run. The app is driven directly, since a stream has to be seen while it is open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx2
import orjson
import pytest
from starlette.requests import Request
from starlette.responses import StreamingResponse

from inhabit.contracts.principal import Principal
from inhabit.kernel.grants import Grant
from inhabit.server.auth import Identity
from inhabit.server.events import MAX_STREAMS_PER_TOKEN, EventRoutes
from inhabit.server.metrics import Metrics


class Stream:
    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.chunks: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.gone = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {k.decode(): v.decode() for k, v in message["headers"]}
        else:
            if message.get("body"):
                self.chunks.put_nowait(message["body"])
            if not message.get("more_body"):
                self.chunks.put_nowait(None)

    async def next(self) -> bytes | None:
        return await asyncio.wait_for(self.chunks.get(), 5)

    async def event(self) -> tuple[int, str, dict[str, Any]] | None:
        """The next event, heartbeats and the retry hint left out; None at the end."""
        while (chunk := await self.next()) is not None:
            fields = dict(line.split(": ", 1) for line in chunk.decode().strip().splitlines() if not line.startswith(":"))
            if "data" in fields:
                return int(fields["id"]), fields["event"], orjson.loads(fields["data"])
        return None


@asynccontextmanager
async def stream(app: Any, run: str, query: str = "", last_event_id: str | None = None) -> AsyncIterator[Stream]:
    headers = [(b"host", b"localhost"), (b"authorization", b"Bearer ada-token")]
    if last_event_id is not None:
        headers.append((b"last-event-id", last_event_id.encode()))
    path = f"/v1/runs/{run}/events"
    opened = Stream()
    task = asyncio.create_task(app(
        {"type": "http", "http_version": "1.1", "method": "GET", "path": path, "raw_path": path.encode(), "root_path": "",
         "query_string": query.encode(), "headers": headers, "scheme": "http"}, opened.receive, opened.send))
    try:
        yield opened
    finally:
        opened.gone.set()
        await asyncio.wait_for(task, 5)


async def test_entries_come_as_they_are_written_and_the_stream_ends_with_the_run(app: Any, ada: httpx2.AsyncClient, runtime: Any):
    await ada.post("/v1/runs", json={"program": "wait", "wait_s": 0})
    async with stream(app, "run00000") as opened:
        seen = [await opened.event() for _ in range(4)]
        assert [event and event[:2] for event in seen] == [(1, "intent"), (2, "outcome"), (3, "delivered"), (4, "logged")]
        assert opened.status == 200 and opened.headers["content-type"].startswith("text/event-stream")
        runtime.end("run00000")
        last = await opened.event()
        assert last is not None and last[:2] == (5, "terminal") and last[2]["value"] == {"given": None}
        assert await opened.event() is None


async def test_a_client_that_reconnects_goes_on_after_its_last_event(app: Any, ada: httpx2.AsyncClient):
    await ada.post("/v1/runs", json={"program": "wait", "wait_s": 0})
    async with stream(app, "run00000", last_event_id="3") as opened:
        event = await opened.event()
        assert event is not None and event[0] == 4
    async with stream(app, "run00000", query="after=2") as opened:
        event = await opened.event()
        assert event is not None and event[0] == 3


async def test_after_the_end_a_reconnect_is_told_to_stop(ada: httpx2.AsyncClient):
    await ada.post("/v1/runs", json={"program": "value"})
    whole = await ada.get("/v1/runs/run00000/events")
    assert whole.status_code == 200 and whole.text.count("\nevent: ") + whole.text.startswith("event: ") == 5
    assert (await ada.get("/v1/runs/run00000/events", headers={"last-event-id": "5"})).status_code == 204


@pytest.mark.parametrize("given", ["-1", "x", "1e3", "9" * 30, "٣"])
async def test_a_wrong_last_event_id_is_422(ada: httpx2.AsyncClient, given: str):
    await ada.post("/v1/runs", json={"program": "value"})
    answer = await ada.get("/v1/runs/run00000/events", headers={b"last-event-id": given.encode()})
    assert answer.status_code == 422


async def test_a_quiet_run_sends_heartbeats(runtime: Any, journal: Any, ada: httpx2.AsyncClient):
    await ada.post("/v1/runs", json={"program": "wait", "wait_s": 0})
    quick = EventRoutes(runtime, journal, Metrics(), heartbeat_s=0.01)
    request = Request({"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": [],
                       "path_params": {"run_id": "run00000"}, "inhabit.identity": Identity("t-ada", Principal("ada", "acme"), Grant.of("**"))})
    answer = await quick.events(request)
    assert isinstance(answer, StreamingResponse)
    body = aiter(answer.body_iterator)
    chunks = [await anext(body) for _ in range(6)]
    assert chunks[0] == b"retry: 1000\n\n" and chunks[5] == b": still here\n\n"
    await body.aclose()  # type: ignore[attr-defined]


async def test_G18_sse_resource_hold_streams_are_bounded_and_reaped(app: Any, ada: httpx2.AsyncClient, bob: httpx2.AsyncClient):
    await ada.post("/v1/runs", json={"program": "wait", "wait_s": 0})
    async with AsyncExitStack() as stack:
        for _ in range(MAX_STREAMS_PER_TOKEN):
            opened = await stack.enter_async_context(stream(app, "run00000"))
            await opened.next()
        refused = await ada.get("/v1/runs/run00000/events")
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_streams")
        await bob.post("/v1/runs", json={"program": "value"})
        assert (await bob.get("/v1/runs/run00001/events")).status_code == 200
        assert f"inhabit_event_streams {MAX_STREAMS_PER_TOKEN}" in (await ada.get("/v1/metrics")).text
    assert "inhabit_event_streams 0" in (await ada.get("/v1/metrics")).text
    async with stream(app, "run00000") as opened:
        assert await opened.event() is not None


async def test_G18_one_tenants_streams_leave_room_for_the_others(runtime: Any, journal: Any, ada: httpx2.AsyncClient, eve: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch):
    """However many tokens it has."""
    monkeypatch.setattr("inhabit.server.events.MAX_STREAMS", 8)
    await ada.post("/v1/runs", json={"program": "wait", "wait_s": 0})
    await eve.post("/v1/runs", json={"program": "wait", "wait_s": 0})
    routes, bodies = EventRoutes(runtime, journal, Metrics()), list[Any]()

    async def opens(run: str, token: str, who: Principal) -> int:
        answer = await routes.events(Request({
            "type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": [], "path_params": {"run_id": run},
            "inhabit.identity": Identity(token, who, Grant.of("**"))}))
        if isinstance(answer, StreamingResponse):
            bodies.append(aiter(answer.body_iterator))
            await anext(bodies[-1])
        return answer.status_code

    assert [await opens("run00000", f"t-{n}", Principal("ada", "acme")) for n in range(7)] == [200] * 6 + [429]
    assert await opens("run00001", "t-eve", Principal("ada", "other")) == 200
    for body in bodies:
        await body.aclose()
    assert await opens("run00000", "t-0", Principal("ada", "acme")) == 200
    await bodies[-1].aclose()
