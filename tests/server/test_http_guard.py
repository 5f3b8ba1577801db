"""What is refused before a route sees it, and the shape of every refusal."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import pytest

from inhabit.server.guard import GuardOptions
from inhabit.server.http import ServerOptions

EVERY_ROUTE = [
    ("POST", "/v1/runs"), ("GET", "/v1/runs"), ("GET", "/v1/runs/{id}"), ("GET", "/v1/runs/{id}/result"),
    ("GET", "/v1/runs/{id}/entries"), ("GET", "/v1/runs/{id}/entries/1"), ("GET", "/v1/runs/{id}/events"),
    ("POST", "/v1/runs/{id}/cancel"), ("POST", "/v1/search"), ("GET", "/v1/capabilities"), ("GET", "/v1/metrics"),
    ("POST", "/v1/tokens"), ("GET", "/v1/tokens"), ("DELETE", "/v1/tokens/id0"), ("POST", "/v1/backup"), ("POST", "/mcp"), ("GET", "/mcp"), ("DELETE", "/mcp"),
]
RUN_ROUTES = [route for route in EVERY_ROUTE if "{id}" in route[1]]


@pytest.fixture
def options() -> ServerOptions:
    return ServerOptions(guard=GuardOptions(("localhost", "app.example:8443"), max_body_bytes=50_000))


@pytest.mark.parametrize("host", ["evil.test", "localhost.evil.test", "evil.test:8642", "127.0.0.2", "", "app.example",
                                  "localhost:8642@evil.test", "localhost:", "xlocalhost", "app.example:84430"])
async def test_G08_dns_rebind_a_foreign_host_is_refused(ada: httpx2.AsyncClient, host: str):
    answer = await ada.get("/v1/health", headers={"host": host})
    assert (answer.status_code, answer.json()["code"]) == (421, "host_not_allowed")


@pytest.mark.parametrize("host", ["localhost", "localhost:1", "LOCALHOST:8642", "app.example:8443"])
async def test_G08_an_allowed_host_is_answered(ada: httpx2.AsyncClient, host: str):
    assert (await ada.get("/v1/health", headers={"host": host})).status_code == 200


@pytest.mark.parametrize("origin", ["null", "http://evil.test", "https://localhost.evil.test", "file://", "http://", "x"])
async def test_G09_cors_probe_gets_no_answer_it_could_read(ada: httpx2.AsyncClient, origin: str):
    for method in ("GET", "POST", "OPTIONS"):
        answer = await ada.request(method, "/v1/runs", headers={"origin": origin, "access-control-request-method": "POST"})
        assert answer.status_code == 403
        assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_G09_even_the_own_origin_gets_no_cors_header(ada: httpx2.AsyncClient):
    answer = await ada.get("/v1/runs", headers={"origin": "http://localhost:8642"})
    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(("method", "path"), EVERY_ROUTE)
@pytest.mark.parametrize("header", [None, "Bearer wrong", "Bearer", "Basic YWRhOmFkYQ==", "bearer  ", "ada-token",
                                    "Bearer " + "x" * 1000])
async def test_G16_auth_matrix_no_valid_token_is_401(nobody: httpx2.AsyncClient, method: str, path: str, header: str | None):
    headers = {"authorization": header} if header else {}
    answer = await nobody.request(method, path.format(id="run00000"), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_G17_a_token_in_the_url_is_not_taken(nobody: httpx2.AsyncClient):
    for name in ("token", "access_token", "authorization"):
        assert (await nobody.get("/v1/runs", params={name: "ada-token"})).status_code == 401


@pytest.mark.parametrize(("method", "path"), RUN_ROUTES)
async def test_E18_cross_tenant_idor_another_ones_run_is_answered_like_none(
        ada: httpx2.AsyncClient, bob: httpx2.AsyncClient, eve: httpx2.AsyncClient, runtime: Any, method: str, path: str):
    await ada.post("/v1/runs", json={"program": "wait", "wait_s": 0})
    for client in (bob, eve):
        theirs = await client.request(method, path.format(id="run00000"))
        none = await client.request(method, path.format(id="run99999"))
        assert theirs.status_code == none.status_code == 404
        assert theirs.text.replace("run00000", "ID") == none.text.replace("run99999", "ID")
    assert runtime.cancelled == []


async def test_G14_huge_payload_is_413_whether_declared_or_not(ada: httpx2.AsyncClient):
    async def endless() -> Any:
        for _ in range(10_000):
            yield b"x" * 10_000
            await asyncio.sleep(0)

    declared = await ada.post("/v1/runs", content=b"x" * 60_000, headers={"content-type": "application/json"})
    streamed = await ada.post("/v1/runs", content=endless(), headers={"content-type": "application/json"})
    mcp = await ada.post("/mcp", content=endless(), headers={"content-type": "application/json"})
    assert [a.status_code for a in (declared, streamed, mcp)] == [413, 413, 413]
    assert declared.json()["code"] == streamed.json()["code"] == "body_too_large"


async def test_G14_many_or_long_headers_are_431(ada: httpx2.AsyncClient):
    many = await ada.get("/v1/health", headers={f"x-{n}": "1" for n in range(200)})
    long = await ada.get("/v1/health", headers={"x": "1" * 40_000})
    assert many.status_code == long.status_code == 431


async def test_G14_deep_json_is_refused(ada: httpx2.AsyncClient):
    body = b'{"program":"value","input":' + b"[" * 20_000 + b"]" * 20_000 + b"}"
    answer = await ada.post("/v1/runs", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422


@pytest.mark.parametrize(("body", "says"), [
    (b"{", "not JSON"), (b"[]", "dictionary"), (b'{"programm": "x"}', "did you mean 'program'?"), (b"{}", "/program"),
    (b'{"program": 1}', "/program"), (b'{"program": "value", "wait_s": "9"}', "/wait_s"),
    (b'{"program": "value", "wait_s": 1e9}', "/wait_s"), (b'{"program": "value", "wait_s": NaN}', "not JSON"),
    (b'{"program": "value", "language": "ruby"}', "/language"), (b'{"program": "\xff"}', "not JSON"),
])
async def test_a_wrong_body_is_422_and_says_where(ada: httpx2.AsyncClient, journal: Any, body: bytes, says: str):
    answer = await ada.post("/v1/runs", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422 and says in answer.text
    assert journal.headers == {}


async def test_another_content_type_is_refused_so_that_no_form_can_post(ada: httpx2.AsyncClient):
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
        answer = await ada.post("/v1/runs", content=b'{"program":"value"}', headers={"content-type": kind})
        assert (answer.status_code, answer.json()["code"]) == (415, "not_json") and "application/json" in answer.text


@pytest.mark.parametrize(("path", "says"), [
    ("/v1/runs?limit=0", "/limit"), ("/v1/runs?limit=1000", "/limit"), ("/v1/runs?limt=1", "did you mean 'limit'?"),
    ("/v1/runs?state=done", "/state"), ("/v1/runs?limit=1&limit=2", "twice"), ("/v1/runs/x?wait_s=-1", "/wait_s"),
])
async def test_a_wrong_query_is_422_and_says_where(ada: httpx2.AsyncClient, path: str, says: str):
    answer = await ada.get(path)
    assert answer.status_code == 422 and says in answer.text


async def test_unknown_paths_and_methods_have_the_same_shape(ada: httpx2.AsyncClient):
    missing = await ada.get("/v1/nothing")
    method = await ada.put("/v1/runs")
    assert (missing.status_code, missing.json()["code"]) == (404, "no_such_path")
    assert (method.status_code, method.json()["code"]) == (405, "method_not_allowed")
    assert missing.headers["content-type"] == method.headers["content-type"] == "application/problem+json"


async def test_every_answer_carries_the_security_headers(ada: httpx2.AsyncClient, nobody: httpx2.AsyncClient):
    for answer in (await ada.get("/v1/health"), await nobody.get("/v1/runs"), await ada.get("/v1/health", headers={"host": "x"})):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
