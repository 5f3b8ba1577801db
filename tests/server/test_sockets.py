"""The server on a socket of its own, and clients that are no good: every refusal has the one shape, and ends."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import orjson
import pytest

from inhabit.server import hosting
from tests.server.test_hosting import serving

HEAD = b"Host: localhost\r\nAuthorization: Bearer ada-token\r\n"
JSON = HEAD + b"Content-Type: application/json\r\n"


async def connect(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = url.removeprefix("http://").rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def answer_to(url: str, sent: bytes) -> tuple[int, dict[str, str], bytes]:
    """What comes back until the server closes, or is done with an answer that says its length."""
    reader, writer = await connect(url)
    writer.write(sent)
    try:
        return await read_answer(reader)
    finally:
        writer.close()


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:] if line)}
    body = await asyncio.wait_for(reader.readexactly(int(headers.get("content-length", "0"))), 10)
    return int(lines[0].split()[1]), headers, body


@pytest.mark.parametrize(("sent", "status", "code"), [
    (b"GET /v1/nothing HTTP/1.1\r\n" + HEAD + b"\r\n", 404, "no_such_path"),
    (b"PUT /v1/runs HTTP/1.1\r\n" + HEAD + b"\r\n", 405, "method_not_allowed"),
    (b"OPTIONS * HTTP/1.1\r\n" + HEAD + b"\r\n", 404, "no_such_path"),
    (b"TRACE /v1/runs HTTP/1.1\r\n" + HEAD + b"\r\n", 405, "method_not_allowed"),
    (b"CONNECT evil.test:443 HTTP/1.1\r\n" + HEAD + b"\r\n", 404, "no_such_path"),
    (b"GET /v1/../v1/runs HTTP/1.1\r\n" + HEAD + b"\r\n", 404, "no_such_path"),
    (b"GET //v1/runs HTTP/1.1\r\n" + HEAD + b"\r\n", 404, "no_such_path"),
    (b"GET /v1/runs/%2e%2e/tokens HTTP/1.1\r\n" + HEAD + b"\r\n", 404, "no_such_path"),
    (b"GET http://evil.test/v1/runs HTTP/1.1\r\n" + HEAD + b"\r\n", 404, "no_such_path"),
    (b"GET /v1/runs HTTP/1.1\r\nHost: localhost\r\n\r\n", 401, "unauthenticated"),
    (b"GET /v1/runs HTTP/1.1\r\nHost: evil.test\r\n\r\n", 421, "host_not_allowed"),
    (b"GET /v1/health HTTP/1.0\r\n\r\n", 421, "host_not_allowed"),
    (b"GET /v1/health HTTP/1.1\r\n\r\n", 400, "not_http"),
    (b"POST /v1/runs HTTP/1.1\r\n" + JSON + b"Content-Length: 1\r\n\r\n{", 422, "invalid_input"),
    (b"POST /v1/runs HTTP/1.1\r\n" + HEAD + b"Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}", 415, "not_json"),
    (b"POST /v1/runs HTTP/1.1\r\n" + JSON + b"Content-Length: 99999999999\r\n\r\n", 413, "body_too_large"),
    (b"GET /v1/health HTTP/1.1\r\n" + HEAD + b"X-Long: " + b"x" * 40_000 + b"\r\n\r\n", 431, "headers_too_large"),
    (b"GET /v1/health HTTP/1.1\r\n" + HEAD + b"X-Long: " + b"x" * 200_000, 431, "headers_too_large"),
    (b"GET /v1/health HTTP/1.1\r\n" + HEAD + b"X: 1\r\n" * 20_000 + b"\r\n", 431, "headers_too_large"),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 9 + b"\r\n\r\n", 400, "not_http"),
    (b"GET /v1/health\r\n\r\n", 400, "not_http"),
    (b"GET /v1/health HTTP/1.1\r\nHost : localhost\r\n\r\n", 400, "not_http"),
    (b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\nX: a\x00b\r\n\r\n", 400, "not_http"),
])
async def test_G14_every_refusal_has_the_one_shape_on_the_wire(app: Any, sent: bytes, status: int, code: str):
    async with serving(app) as url:
        got, headers, body = await answer_to(url, sent)
    problem = orjson.loads(body)
    assert (got, problem["code"], problem["status"]) == (status, code, status)
    assert headers["content-type"] == "application/problem+json" and problem["type"] == f"urn:inhabit:error:{code}"
    assert headers["x-content-type-options"] == "nosniff" and {"title", "detail"} <= set(problem)


@pytest.mark.parametrize("framing", [
    b"Content-Length: 40\r\nTransfer-Encoding: chunked\r\n", b"Transfer-Encoding: chunked\r\nContent-Length: 40\r\n", b"Content-Length: 2\r\nContent-Length: 40\r\n",
    b"Content-Length: 2\r\nContent-Length: 2\r\n", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", b"Content-Length: +2\r\n", b"Content-Length: 2,2\r\n",
    b"Transfer-Encoding: xchunked\r\n", b"Transfer-Encoding: chunked, identity\r\n", b"Transfer-Encoding : chunked\r\n"])
async def test_C14_request_smuggling_a_body_with_two_ends_is_refused_and_what_follows_is_not_read(app: Any, runtime: Any, framing: bytes):
    async with serving(app) as url:
        reader, writer = await connect(url)
        writer.write(b"POST /v1/runs HTTP/1.1\r\n" + JSON + framing + b"\r\n0\r\n\r\nPOST /v1/runs HTTP/1.1\r\n" + JSON
                     + b'Content-Length: 19\r\n\r\n{"program":"value"}')
        everything = await asyncio.wait_for(reader.read(), 10)
        writer.close()
    statuses = re.findall(rb"HTTP/1\.1 (\d+)", everything)
    assert statuses and all(int(status) >= 400 for status in statuses) and runtime.callers == []
    assert everything.count(b"application/problem+json") == len(statuses)


@pytest.mark.parametrize("head", [b"Host: localhost\r\n", HEAD + b"Content-Type: text/plain\r\n", HEAD.replace(b"localhost", b"evil.test")])
async def test_G13_who_was_refused_cannot_go_on_feeding_a_body(app: Any, head: bytes, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hosting, "_LINGER_S", 0.1)
    async with serving(app) as url:
        reader, writer = await connect(url)
        writer.write(b"POST /v1/runs HTTP/1.1\r\n" + head + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
        status, _, _ = await read_answer(reader)
        assert status in (401, 415, 421)
        with pytest.raises(ConnectionError):
            async with asyncio.timeout(5):
                while True:
                    writer.write(b"1\r\nx\r\n")
                    await writer.drain()
                    await asyncio.sleep(0.01)
        writer.close()


async def test_an_answer_to_a_body_too_large_reaches_a_client_that_is_still_sending(app: Any):
    async with serving(app) as url:
        reader, writer = await connect(url)
        writer.write(b"POST /v1/runs HTTP/1.1\r\n" + JSON + b"Content-Length: 60000000\r\n\r\n" + b"x" * 3_000_000)
        status, _, body = await read_answer(reader)
        assert (status, orjson.loads(body)["code"]) == (413, "body_too_large")
        writer.close()


async def test_G13_a_connection_too_many_is_told_so(app: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hosting, "_MAX_CONNECTIONS", 3)
    async with serving(app) as url:
        held = [await connect(url) for _ in range(3)]
        status, headers, body = await answer_to(url, b"")
        assert (status, orjson.loads(body)["code"], headers["retry-after"]) == (503, "too_many_connections", "1")
        for _, writer in held:
            writer.close()
        for _ in range(100):
            status, _, _ = await answer_to(url, b"GET /v1/health HTTP/1.1\r\n" + HEAD + b"\r\n")
            if status == 200:
                break
        assert status == 200


@pytest.mark.parametrize(("choice", "state", "says"), [("finish", "running", None), ("cancel", "failed", "cancelled by its client going away")])
async def test_a_client_that_disconnects_leaves_the_run_or_ends_it_and_the_run_says_which(
        app: Any, runtime: Any, journal: Any, choice: str, state: str, says: str | None):
    body = orjson.dumps({"program": "wait", "on_disconnect": choice})
    async with serving(app) as url:
        _, writer = await connect(url)
        writer.write(b"POST /v1/runs HTTP/1.1\r\n" + JSON + b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        await asyncio.wait_for(runtime.started.wait(), 5)
        writer.close()
        await writer.wait_closed()
        for _ in range(200):
            if choice == "cancel" and runtime.cancelled:
                break
            status, _, shown = await answer_to(url, b"GET /v1/runs/run00000 HTTP/1.1\r\n" + HEAD + b"\r\n")
        status, _, shown = await answer_to(url, b"GET /v1/runs/run00000 HTTP/1.1\r\n" + HEAD + b"\r\n")
        run = orjson.loads(shown)
        assert status == 200 and run["state"] == state == journal.state("run00000")
        assert says is None or says in run["error"]["message"]
        runtime.gates["run00000"].set()
