"""Sockets: what is bound, what is refused, and clients that dribble."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from inhabit.errors import ConfigError, Unavailable
from inhabit.server import hosting
from inhabit.server.guard import Guard, GuardOptions
from inhabit.server.hosting import bind, serve, url_of


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[str]:
    """The server as the command runs it; the handler of SIGTERM is what stops it."""
    ready = asyncio.Event()
    with bind("127.0.0.1", 0) as opened:
        task = asyncio.create_task(serve(app, opened, ready.set))
        await ready.wait()
        try:
            yield url_of(opened)
        finally:
            signal_self()
            await asyncio.wait_for(task, 10)


def signal_self() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_taken_port_and_a_foreign_address_are_named():
    with bind("127.0.0.1", 0) as opened, pytest.raises(Unavailable) as taken:
        bind("127.0.0.1", opened.getsockname()[1])
    assert taken.value.specific_code == "port_in_use" and "--port" in (taken.value.fix or "")
    for host in ("203.0.113.7", "no.such.host.invalid"):
        with pytest.raises(ConfigError):
            bind(host, 0)
    for port in (65_536, 99_999, -1):
        with pytest.raises(ConfigError, match=f"{port} is no port"):
            bind("127.0.0.1", port)


async def test_a_signal_ends_the_server_and_its_caller_goes_on(app: Any):
    async with serving(app) as url, httpx2.AsyncClient() as client:
        answer = await client.get(f"{url}/v1/health")
        assert answer.status_code == 200 and "server" not in answer.headers


async def test_G13_slowloris_a_head_that_dribbles_is_closed_and_others_are_served(app: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hosting, "_HEAD_S", 0.2)
    async with serving(app) as url, httpx2.AsyncClient() as client:
        address = httpx2.URL(url)
        slow = [await asyncio.open_connection(address.host, address.port) for _ in range(50)]
        for _, writer in slow:
            writer.write(b"GET /v1/health HTTP/1.1\r\nHost: local")
        assert (await client.get(f"{url}/v1/health")).status_code == 200
        ended = await asyncio.wait_for(asyncio.gather(*(reader.read() for reader, _ in slow)), 5)
        assert all(b"200" not in answer for answer in ended)
        # A connection that is kept open between requests is not one that dribbles.
        assert (await client.get(f"{url}/v1/health")).status_code == 200
        for _, writer in slow:
            writer.close()


async def test_G13_a_body_that_dribbles_is_ended(app: Any, ada: httpx2.AsyncClient):
    quick = Guard(app._app, GuardOptions(body_s=0.1))

    async def dribble() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(30)

    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=quick), base_url="http://localhost", headers=ada.headers) as client:
        answer = await client.post("/v1/runs", content=dribble(), headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (408, "body_too_slow")


def test_urls_are_ones_a_person_can_open():
    with bind("0.0.0.0", 0) as opened:
        assert url_of(opened).startswith("http://127.0.0.1:")
    if socket.has_dualstack_ipv6():
        with bind("::1", 0) as opened:
            assert url_of(opened).startswith("http://[::1]:")


async def test_a_stop_ends_a_stream_that_would_never_end_at_once_and_cleanly(app: Any, ada: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture):
    run = (await ada.post("/v1/runs", json={"program": "wait", "wait_s": 0})).json()["run"]
    async with serving(app) as url, httpx2.AsyncClient(headers={"authorization": "Bearer ada-token"}) as client:
        async with client.stream("GET", f"{url}/v1/runs/{run}/events") as response:
            lines = response.aiter_lines()
            async for line in lines:
                if line.startswith("data: "):
                    break
            signal_self()
            async with asyncio.timeout(1):
                rest = [line async for line in lines]     # to a proper end of the answer, no broken chunk
        assert not any(line.startswith("event: terminal") for line in rest)
    assert [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")] == []
