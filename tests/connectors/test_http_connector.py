"""`http.fetch`: granted places only, each hop decided, no credential but the operator's."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from inhabit.connectors.http import HostGrant, HttpConnector
from inhabit.contracts.connector import Call
from inhabit.errors import ConfigError, Denied, InvalidInput, MissingConnection, UpstreamError
from tests.connectors.openapi_kit import ADA, MemoryBlobs, Upstream, context


async def fetch(tmp_path: Path, grants: list[HostGrant], arguments: dict[str, Any], *, function: str = "fetch", blobs: MemoryBlobs | None = None,
                secrets: dict[str, str] | None = None) -> Any:
    connector = HttpConnector(hosts=grants)
    await connector.open(context(tmp_path, secrets=secrets))
    operation = connector.operation(f"http.{function}")
    assert operation is not None and jsonschema_rs.Draft202012Validator(dict(operation.input_schema)).is_valid(arguments)
    try:
        value = await connector.call(Call(operation=operation, arguments=arguments, principal=ADA, run_id="r", sequence=1, idempotency_key="r:1",
                                          deadline_s=asyncio.get_running_loop().time() + 10, blobs=blobs or MemoryBlobs()))
        assert operation.output_schema is not None and jsonschema_rs.Draft202012Validator(dict(operation.output_schema)).is_valid(value)
        return value
    finally:
        await connector.close()


async def test_json_text_and_binary(tmp_path: Path) -> None:
    async with Upstream() as upstream:
        upstream.reply |= {"/j": (404, "application/json", b'{"a":1}'), "/t": (200, "text/plain", b"hi"), "/b": (200, "image/png", b"\x89P"), "/n": (204, "", b"")}
        blobs, grants = MemoryBlobs(), [HostGrant(upstream.url)]
        found = [await fetch(tmp_path, grants, {"url": upstream.url + path}, blobs=blobs) for path in ("/j", "/t", "/b", "/n")]
        assert (found[0]["status"], found[0]["json"]) == (404, {"a": 1}) and found[1]["body"] == "hi" and found[3]["status"] == 204
        assert await blobs.get(found[2]["binary"], tenant="default") == b"\x89P"


@pytest.mark.parametrize(("body", "sent", "media"), [({"a": [1]}, b'{"a":[1]}', "application/json"), ("text", b"text", "text/plain; charset=utf-8"), (None, b"", None)])
async def test_bodies(tmp_path: Path, body: Any, sent: bytes, media: str | None) -> None:
    async with Upstream() as upstream:
        await fetch(tmp_path, [HostGrant(upstream.url, ["POST"])], {"url": upstream.url, "method": "POST", "body": body})
        assert upstream.seen[-1].body == sent and upstream.seen[-1].headers.get("content-type") == media


async def test_a_reference_as_body(tmp_path: Path) -> None:
    async with Upstream() as upstream:
        blobs = MemoryBlobs()
        reference = await blobs.put(b"\0\1", tenant="default", mime="image/gif")
        await fetch(tmp_path, [HostGrant(upstream.url, ["PUT"])], {"url": upstream.url, "method": "PUT", "body": reference}, blobs=blobs)
        assert upstream.seen[-1].body == b"\0\1" and upstream.seen[-1].headers["content-type"] == "image/gif"


async def test_C02_no_grants_reach_nothing(tmp_path: Path) -> None:
    async with Upstream() as upstream:
        with pytest.raises(Denied):
            await fetch(tmp_path, [], {"url": upstream.url})
        assert upstream.seen == []


@pytest.mark.parametrize(("grant", "method", "path"), [
    ({"path": "/v1"}, "GET", "/v2"), ({"path": "/v1"}, "GET", "/v10"), ({"path": "/v1/"}, "GET", "/v1"), ({"methods": ["GET"]}, "HEAD", "/"),
    ({"path": "/v1"}, "GET", "/v1/../admin"), ({"path": "/v1"}, "GET", "/v1/%2e%2e/admin"), ({"path": "/v1"}, "GET", "/v1/..%2fadmin"),
    ({"path": "/v1"}, "GET", "/v1/%252e%252e/admin"), ({"path": "/v1"}, "GET", "/v1/..;/admin"), ({"path": "/v1"}, "GET", "//v1/x"),
    ({"path": "/v1"}, "GET", "/v1/a%5c..%5cadmin"), ({"path": "/v1"}, "GET", "/V1/x"),
])
async def test_E03_method_and_path_are_part_of_a_grant(tmp_path: Path, grant: dict[str, Any], method: str, path: str) -> None:
    async with Upstream() as upstream:
        grants = [HostGrant(upstream.url, **grant), HostGrant("https://other.test", ["GET", "HEAD"])]
        try:
            found = await fetch(tmp_path, grants, {"url": upstream.url + path, "method": method})
        except Denied as denied:
            assert "granted" in (denied.fix or "")
            return
        assert found["status"] == 200 and upstream.seen[-1].target == "/admin" and path == "/v1/../admin", "only the URL parser's own form may differ"
        raise AssertionError("left its prefix")


@pytest.mark.parametrize("path", ["/v1", "/v1/", "/v1/a/b?q=../..", "/v1/a%20b"])
async def test_inside_a_prefix(tmp_path: Path, path: str) -> None:
    async with Upstream() as upstream:
        await fetch(tmp_path, [HostGrant(upstream.url, path="/v1")], {"url": upstream.url + path})
        assert upstream.seen[-1].target == path


@pytest.mark.parametrize("url", ["http://u:p@127.0.0.1/", "/relative", "file:///etc/passwd", "http://", "javascript:1", "http://[::1", "x" * 10])
async def test_C04_only_plain_absolute_urls(tmp_path: Path, url: str) -> None:
    with pytest.raises((InvalidInput, Denied)):
        await fetch(tmp_path, [HostGrant("http://127.0.0.1:9")], {"url": url})


async def test_C22_a_programs_own_credentials_are_dropped(tmp_path: Path) -> None:
    async with Upstream() as upstream:
        headers = {"Authorization": "Bearer GUEST", "cookie": "s=GUEST", "Host": "evil.test", "X-Key": "GUEST", "X-Ok": "1", "Content-Length": "5", "Transfer-Encoding": "chunked"}
        await fetch(tmp_path, [HostGrant(upstream.url, secret="T", auth={"header": "X-Key"})], {"url": upstream.url, "headers": headers}, secrets={"T": "OPERATOR"})
        seen = upstream.seen[-1].headers
        assert seen["x-key"] == "OPERATOR" and seen["x-ok"] == "1" and "GUEST" not in str(seen) and "evil" not in seen["host"]
        await fetch(tmp_path, [HostGrant(upstream.url)], {"url": upstream.url, "headers": {"Authorization": "Bearer GUEST"}})
        assert "authorization" not in upstream.seen[-1].headers


async def test_C15_what_echoes_the_credential_is_scrubbed(tmp_path: Path) -> None:
    async with Upstream() as upstream:
        upstream.reply["/"] = (200, "text/plain", b"you sent Bearer CANARYSECRET", {"X-Echo": "CANARYSECRET"})
        found = await fetch(tmp_path, [HostGrant(upstream.url, secret="T")], {"url": upstream.url + "/"}, secrets={"T": "CANARYSECRET"})
        assert upstream.seen[-1].headers["authorization"] == "Bearer CANARYSECRET" and "CANARY" not in str(found)


async def test_a_missing_secret_is_named_and_nothing_is_sent(tmp_path: Path) -> None:
    async with Upstream() as upstream:
        with pytest.raises(MissingConnection, match="TOKEN"):
            await fetch(tmp_path, [HostGrant(upstream.url, secret="TOKEN")], {"url": upstream.url})
        assert upstream.seen == []


async def test_C09_each_hop_is_decided_and_credentials_stay(tmp_path: Path) -> None:
    async with Upstream() as upstream, Upstream() as other:
        upstream.reply |= {"/a": (302, "", b"", {"Location": f"{other.url}/b"}), "/out": (302, "", b"", {"Location": "/admin"}), "/loop": (302, "", b"", {"Location": "/loop"})}
        grants = [HostGrant(upstream.url, path="/a", secret="T"), HostGrant(upstream.url, path="/out"), HostGrant(upstream.url, path="/loop")]
        with pytest.raises(Denied):
            await fetch(tmp_path, grants, {"url": f"{upstream.url}/a"}, secrets={"T": "CANARY"})
        assert other.seen == []
        found = await fetch(tmp_path, [*grants, HostGrant(other.url)], {"url": f"{upstream.url}/a"}, secrets={"T": "CANARY"})
        assert found["url"] == f"{other.url}/b" and "CANARY" not in str(other.seen[-1].headers)
        with pytest.raises(Denied, match="redirect"):
            await fetch(tmp_path, grants, {"url": f"{upstream.url}/out"})
        with pytest.raises(UpstreamError):
            await fetch(tmp_path, grants, {"url": f"{upstream.url}/loop"})


async def test_a_post_becomes_a_get_where_that_is_granted(tmp_path: Path) -> None:
    async with Upstream() as upstream:
        upstream.reply["/a"] = (303, "", b"", {"Location": "/b"})
        await fetch(tmp_path, [HostGrant(upstream.url, ["POST", "GET"])], {"url": f"{upstream.url}/a", "method": "POST", "body": {"x": 1}})
        assert (upstream.seen[-1].method, upstream.seen[-1].body, upstream.seen[-1].headers.get("content-type")) == ("GET", b"", None)
        with pytest.raises(Denied):
            await fetch(tmp_path, [HostGrant(upstream.url, ["POST"])], {"url": f"{upstream.url}/a", "method": "POST"})


@pytest.mark.parametrize("headers", [{"X-A": "1\r\nX-B: 2"}, {"X\nA": "1"}, {"": "1"}, {"X-A": "\0"}, {"X A": "1"}, {"X-A": "ü"}])
async def test_C14_headers_that_split(tmp_path: Path, headers: dict[str, str]) -> None:
    async with Upstream() as upstream:
        with pytest.raises(InvalidInput):
            await fetch(tmp_path, [HostGrant(upstream.url)], {"url": upstream.url, "headers": headers})
        assert upstream.seen == []


async def test_C01_private_needs_the_operators_word(tmp_path: Path) -> None:
    async with Upstream() as upstream:
        with pytest.raises(Denied):
            await fetch(tmp_path, [HostGrant(upstream.url, private_addresses=False)], {"url": upstream.url})
        assert upstream.seen == []


def test_effects_and_operations_follow_the_grants() -> None:
    reading = HttpConnector(hosts=[HostGrant("https://a.test")])
    (one,) = reading.operations()
    assert one.name == "http.fetch" and not one.effects.may_write
    writing = HttpConnector("net", [HostGrant("https://a.test", ["GET", "POST"])])
    effects = {operation.name: operation.effects for operation in writing.operations()}
    assert effects["net.fetch"].may_write and not effects["net.get"].may_write and effects["net.get"].trust == "untrusted"
    assert reading.fingerprint() != writing.fingerprint()


@pytest.mark.parametrize("grant", [{"origin": "https://a.test/path"}, {"origin": "a.test"}, {"origin": "ftp://a.test"}, {"origin": "https://a.test", "methods": ["TRACE"]}, {"origin": "https://a.test", "methods": []},
                                   {"origin": "https://a.test", "path": "v1"}, {"origin": "https://a.test", "path": "/a/../b"}, {"origin": "https://a.test", "auth": "magic"}])
def test_a_grant_that_cannot_be_read_is_refused(grant: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        HttpConnector(hosts=[HostGrant(**grant)])
