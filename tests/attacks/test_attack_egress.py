"""Class C on `http.fetch`: what is left of it beside the broker's own tests (`tests/egress`). The table is in docs/egress.md."""

from __future__ import annotations

import asyncio
import base64
import html
import json
import logging
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import httpcore2
import httpx2
import orjson
import pytest

from inhabit.app.notifying import Notices
from inhabit.connectors.http import HostGrant, HttpConnector
from inhabit.connectors.mcp import McpConnector
from inhabit.connectors.redaction import RedactedStream, Redactor
from inhabit.contracts.connector import Call
from inhabit.contracts.principal import Principal
from inhabit.contracts.run import Asked
from inhabit.egress import Broker
from inhabit.egress.dialling import CheckedDialler
from inhabit.errors import ConfigError, Denied, InhabitError, InvalidInput, UpstreamError
from inhabit.kernel.decide import Facts, RunFacts, decide
from inhabit.kernel.grants import Grant
from inhabit.policy.document import read_policy
from tests.connectors.mcp_support import Host
from tests.connectors.openapi_kit import ADA, MemoryBlobs, Upstream, context
from tests.egress.egress_kit import ScriptedResolver

SECRET = "sk-live/4f+1c0a==Zq"


async def fetch(folder: Path, grants: list[HostGrant], arguments: dict[str, Any], *, outbound: Broker | None = None) -> Any:
    connector = HttpConnector(hosts=grants)
    await connector.open(context(folder, secrets={"TOKEN": SECRET}, outbound=outbound))
    operation = connector.operation("http.fetch")
    assert operation is not None
    try:
        return await connector.call(Call(operation=operation, arguments=arguments, principal=ADA, run_id="r", sequence=1, idempotency_key="r:1",
                                         deadline_s=asyncio.get_running_loop().time() + 10, blobs=MemoryBlobs()))
    finally:
        await connector.close()


@pytest.mark.parametrize("form", [
    SECRET, base64.b64encode(SECRET.encode()).decode(), base64.urlsafe_b64encode(SECRET.encode()).decode(), base64.b64encode(f"Bearer {SECRET}".encode()).decode(),
    base64.b64encode(f"x{SECRET}yz".encode()).decode(), SECRET.encode().hex(), SECRET.encode().hex().upper(), quote(SECRET, safe=""),
    "".join(f"%{byte:02x}" for byte in SECRET.encode())])
async def test_C18_an_encoded_reflection_is_scrubbed_in_the_four_forms(form: str, tmp_path: Path) -> None:
    async with Upstream() as upstream:
        upstream.reply["/"] = (200, "text/plain", b"you sent " + form.encode() + b" to me", {"X-Echo": form})
        found = str(await fetch(tmp_path, [HostGrant(upstream.url, secret="TOKEN")], {"url": upstream.url + "/"}))
    middle = form[6:-6]     # at the edges a base64 digit belongs to what stands beside the secret too
    assert middle not in found and "[redacted]" in found


@pytest.mark.parametrize("form", [SECRET[::-1], " ".join(SECRET)])
async def test_C18_what_is_left_over_of_it_is_known(form: str, tmp_path: Path) -> None:
    """Turned round or spelt out, it comes through: docs/limitations.md says so. A change here is good news to be written down."""
    async with Upstream() as upstream:
        upstream.reply["/"] = (200, "text/plain", form.encode())
        assert form in (await fetch(tmp_path, [HostGrant(upstream.url, secret="TOKEN")], {"url": upstream.url + "/"}))["body"]


@pytest.mark.parametrize("text", ["{{TOKEN}}", "${TOKEN}", "$TOKEN", "{secret:TOKEN}", "inhabit-secret-TOKEN", "%TOKEN%"])
@pytest.mark.parametrize("place", ["User-Agent", "Referer", "X-Request-Id", "Idempotency-Key", "Prefer", "body", "query", "path"])
async def test_C16_C17_C19_C20_nothing_that_a_program_writes_is_ever_exchanged_for_a_secret(text: str, place: str, tmp_path: Path) -> None:
    async with Upstream() as upstream:
        grants = [HostGrant(upstream.url, ["GET", "POST"], secret="TOKEN")]
        url = upstream.url + ("/" + quote(text) if place == "path" else "/?q=" + quote(text) if place == "query" else "/")
        more: dict[str, Any] = {"method": "POST", "body": {"note": text}} if place == "body" else {"headers": {place: text}} if place[0].isupper() else {}
        await fetch(tmp_path, grants, {"url": url, **more})
        seen = upstream.seen[-1]
        elsewhere = {name: value for name, value in seen.headers.items() if name != "authorization"}
        assert seen.headers["authorization"] == f"Bearer {SECRET}"
        assert SECRET not in str((elsewhere, seen.body, seen.target))


async def test_C10_an_open_redirector_of_the_same_host_gets_the_secret_only_where_it_was_granted(tmp_path: Path) -> None:
    async with Upstream() as upstream:
        upstream.reply |= {"/v1/go": (302, "text/plain", b"", {"Location": "/public/log"}), "/public/log": (200, "text/plain", b"ok")}
        grants = [HostGrant(upstream.url, path="/v1", secret="TOKEN"), HostGrant(upstream.url, path="/public")]
        await fetch(tmp_path, grants, {"url": upstream.url + "/v1/go"})
        assert [("authorization" in seen.headers, seen.target) for seen in upstream.seen] == [(True, "/v1/go"), (False, "/public/log")]
        with pytest.raises(Denied):
            await fetch(tmp_path, grants[:1], {"url": upstream.url + "/v1/go"})


async def test_C21_C24_a_refused_place_answers_alike_whether_it_exists_or_not(tmp_path: Path) -> None:
    async with Upstream() as upstream, Upstream() as other:
        said: set[str] = set()
        for url in (other.url, "http://127.0.0.1:9", "http://no-such-host.test"):
            with pytest.raises(Denied) as caught:
                await fetch(tmp_path, [HostGrant(upstream.url)], {"url": url + "/"})
            said.add(f"{caught.value.specific_code} {caught.value.message.rpartition('/ ')[2]}")
        assert len(said) == 1 and upstream.seen == other.seen == []


async def test_C30_the_runtimes_own_port_is_a_place_like_any_other(tmp_path: Path) -> None:
    """Nothing on loopback is reachable that the operator did not write down, our own API included."""
    async with Upstream() as own:
        for host in ("127.0.0.1", "localhost", "[::1]", "0.0.0.0"):
            with pytest.raises(Denied):
                await fetch(tmp_path, [HostGrant("https://api.example.com")], {"url": f"http://{host}:{own.url.rpartition(':')[2]}/v1/runs"})
        assert own.seen == []


RULES = """
[[rule]]
name = "only the ledger, in small pieces, by its clerk"
on = "http.fetch"
when = '''!(below(args.url, "https://api.example.com/v1") && args.method == "POST" && size(args.body) < 3 && principal.user == "clerk")'''
then = "deny"
"""


@pytest.mark.parametrize(("arguments", "user", "verdict"), [
    ({}, "clerk", "allow"), ({}, "ada", "deny"), ({"url": "https://api.example.com/v2"}, "clerk", "deny"), ({"method": "PUT"}, "clerk", "deny"),
    ({"url": "https://api.example.com.evil.test/v1"}, "clerk", "deny"), ({"url": "https://api.example.com/v1/../v2"}, "clerk", "deny"),
    ({"body": [1, 2, 3]}, "clerk", "deny"), ({"body": None}, "clerk", "deny")])
def test_C22_a_rule_sees_host_method_path_body_and_principal(arguments: dict[str, Any], user: str, verdict: str) -> None:
    operation = HttpConnector(hosts=[HostGrant("https://api.example.com", ["POST", "PUT"])]).operation("http.fetch")
    assert operation is not None
    call = {"url": "https://api.example.com/v1/book", "method": "POST", "body": [1]} | arguments
    assert decide(Facts(operation, call, 0, run=RunFacts("r", Principal(user))), Grant.of("**"), read_policy(RULES).policy()).verdict == verdict


@pytest.mark.parametrize("url", ["http://s3cr3t.evil.test/", "http://s3cr3t.api.example.test/", "http://api.example.test.s3cr3t.evil.test/", "http://s3cr3t@evil.test/"])
async def test_C23_no_name_is_looked_up_that_is_not_granted(url: str, tmp_path: Path) -> None:
    """A look-up is a message to whoever runs the name's zone: of the program's own URLs and of redirects."""
    resolver = ScriptedResolver({"api.example.test": [["127.0.0.1"]]})
    async with Upstream() as upstream:
        origin = f"http://api.example.test:{upstream.port}"
        upstream.reply["/go"] = (302, "text/plain", b"", {"Location": url})
        for asked in (url, f"{origin}/go"):
            with pytest.raises((Denied, InvalidInput, UpstreamError)):
                await fetch(tmp_path, [HostGrant(origin, private_addresses=True)], {"url": asked}, outbound=Broker(resolver=resolver))
        assert len(upstream.seen) == 1 and set(resolver.asked) == {"api.example.test"}


@pytest.mark.parametrize("url", ["unix:///var/run/docker.sock", "http+unix://%2Fvar%2Frun%2Fdocker.sock/info", "http://%2Fvar%2Frun%2Fdocker.sock/info",
                                 "http://unix:/var/run/docker.sock:/info", "file:///var/run/docker.sock"])
async def test_C31_no_url_leads_to_a_unix_socket(url: str, tmp_path: Path) -> None:
    """An isolate sees no file system (A20) and may make no socket (A21); the broker dials none either."""
    with pytest.raises((Denied, InvalidInput)):
        await fetch(tmp_path, [HostGrant("http://api.example.test")], {"url": url})
    with pytest.raises(ConfigError):
        HttpConnector(hosts=[HostGrant(url)])
    with pytest.raises(httpcore2.ConnectError):
        await CheckedDialler(ScriptedResolver({}), private=True).connect_unix_socket("/var/run/docker.sock")


@pytest.mark.parametrize("hosts", ["granted", "elsewhere"])
async def test_C15_a_redirect_that_carries_the_credential_tells_it_nobody(hosts: str, tmp_path: Path) -> None:
    """Neither in where the answer came from, nor to the next place, nor in the words of a refusal."""
    async with Upstream() as upstream, Upstream() as other:
        upstream.reply["/v1/go"] = (302, "text/plain", b"", {"Location": f"{other.url}/log/{SECRET}?key={quote(SECRET, safe='')}"})
        grants = [HostGrant(upstream.url, secret="TOKEN"), *([HostGrant(other.url)] if hosts == "granted" else ())]
        try:
            found = str(await fetch(tmp_path, grants, {"url": upstream.url + "/v1/go"}))
        except Denied as denied:
            found = str(denied.as_value())
        assert upstream.seen and SECRET not in found and quote(SECRET, safe="") not in found
        assert all("4f+1c0a" not in seen.target and "4f%2B1c0a" not in seen.target for seen in other.seen)


@pytest.mark.parametrize("escaped", ["+=", "/", "+/", "&<>+'", "sk"])
async def test_C18_json_that_escapes_is_scrubbed_like_json_that_does_not(escaped: str, tmp_path: Path) -> None:
    """Encoders differ in what they write as an escape: a program is given the text without."""
    echoed = "".join(f"\\u{ord(letter):04X}" if letter in escaped else letter for letter in SECRET)
    async with Upstream() as upstream:
        upstream.reply["/"] = (200, "application/json", f'{{"you sent": ["Bearer {echoed}"], "{echoed}": 1}}'.encode())
        found = str(await fetch(tmp_path, [HostGrant(upstream.url, secret="TOKEN")], {"url": upstream.url + "/"}))
    assert SECRET not in found and "[redacted]" in found


async def test_C15_neither_a_key_in_a_query_nor_the_address_of_a_webhook_is_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where the product around it logs at DEBUG."""
    caplog.set_level(logging.DEBUG)
    async with Upstream() as upstream:
        await fetch(tmp_path, [HostGrant(upstream.url, secret="TOKEN", auth={"query": "key"})], {"url": upstream.url + "/"})
        assert quote(SECRET, safe="") in upstream.seen[-1].target
        upstream.reply["/services/T0"] = (302, "text/plain", b"", {"Location": "http://127.0.0.1:1/"})
        notices = Notices(f"{upstream.url}/services/T0?key={SECRET}", Broker())
        notices.tell(ADA, Asked("ap-1", 1, "bank.pay", "d", "r", "x", 1, 2))
        async with asyncio.timeout(10):
            while "was not told of ap-1: HTTP status 302" not in caplog.text:
                await asyncio.sleep(0.01)
    assert SECRET not in unquote(caplog.text) and "/services" not in caplog.text


@pytest.mark.parametrize("encoded", [
    re.sub(r"%..", lambda found: found[0].lower(), quote(SECRET, safe="")), quote(SECRET), quote(SECRET, safe="+="), quote(quote(SECRET, safe=""), safe=""),
    SECRET.replace("+", "%2b")], ids=["lower", "slash", "path", "twice", "one"])
async def test_C18_percent_encoders_differ_and_each_is_scrubbed(encoded: str, tmp_path: Path) -> None:
    """Which characters they encode, and in which case they write it: a program undoes all of them alike."""
    assert encoded != SECRET
    async with Upstream() as upstream:
        upstream.reply["/"] = (200, "text/plain", f"GET /?key={encoded} 100%".encode(), {"X-Echo": encoded})
        found = str(await fetch(tmp_path, [HostGrant(upstream.url, secret="TOKEN")], {"url": upstream.url + "/"}))
    assert SECRET not in unquote(unquote(found)) and "[redacted]" in found


@pytest.mark.parametrize(("secret", "echoed"), [
    ("Müller-geheim", json.dumps("Müller-geheim")), ("müller-geheim", quote("müller-geheim").lower()), ("geheim-😀-1", quote("geheim-😀-1").lower()),
    (SECRET, SECRET.replace("+", "&#43;")), (SECRET, SECRET.replace("/", "&#x2F;")), ("a&b<c>'\"d", html.escape("a&b<c>'\"d")),
    ('say "friend"', json.dumps('say "friend"').replace('\\"', "\\u0022"))])
def test_C18_what_json_urls_and_pages_escape_is_scrubbed(secret: str, echoed: str) -> None:
    found = Redactor([secret]).clean(f"<p>{echoed}</p>".encode()).decode()
    assert found in ("<p>[redacted]</p>", '<p>"[redacted]"</p>')


@pytest.mark.parametrize("encoded", [SECRET, SECRET.replace("+", "\\u002B"), SECRET.replace("+", "&#43;"), quote(SECRET, safe="")])
async def test_C18_a_secret_in_two_pieces_of_a_stream_is_scrubbed_wherever_it_is_cut(encoded: str) -> None:
    whole = f'data: {{"said": "{encoded}"}}\n\n'.encode()

    class Pieces(httpx2.AsyncByteStream):
        def __init__(self, *pieces: bytes) -> None:
            self.pieces = pieces

        async def __aiter__(self) -> AsyncIterator[bytes]:
            for piece in self.pieces:
                yield piece

    for cut in range(1, len(whole)):
        found = [piece async for piece in RedactedStream(Pieces(whole[:cut], whole[cut:]), Redactor([SECRET]))]
        assert b"".join(found) == b'data: {"said": "[redacted]"}\n\n', cut
    held = RedactedStream(Pieces(b'data: "100 %"\n\n', b"data: 2"), Redactor([SECRET]))
    assert await anext(aiter(held)) == b'data: "100 %"\n\n', "an event that has ended waits for nothing"


class EchoingMcp(Upstream):
    """A remote MCP server that says whatever it was sent as Authorization, in every way that it can."""

    how = "json"

    def answer(self, target: str, headers: dict[str, str]) -> tuple[Any, ...]:
        message = orjson.loads(self.seen[-1].body or b"{}")
        given = headers.get("authorization", "")
        match message.get("method"):
            case "initialize":
                result: Any = {"protocolVersion": message["params"]["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": {"name": "echo", "version": "1"}}
            case "tools/list":
                result = {"tools": [{"name": "whoami", "description": f"for {given}", "inputSchema": {"type": "object"}}]}
            case "tools/call" if self.how == "challenge":
                return 401, "application/json", b"{}", {"WWW-Authenticate": f'Bearer error="{given}"'}
            case "tools/call":
                result = {"content": [{"type": "text", "text": f"you are {given}"}], "isError": self.how == "error"}
            case _:
                return 202, "", b""
        body = orjson.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result})
        if message["method"] == "tools/call" and self.how == "events":
            return 200, "text/event-stream", b"event: message\ndata: " + body + b"\n\n"
        return 200, "application/json", body


@pytest.mark.parametrize("how", ["json", "events", "error", "challenge"])
async def test_C15_an_mcp_server_that_echoes_its_credential_is_scrubbed_of_it(how: str, tmp_path: Path) -> None:
    async with EchoingMcp() as upstream:
        upstream.how = how
        host = Host(tmp_path, secrets={"TOKEN": SECRET}, outbound=Broker())
        connector = McpConnector("echo", url=upstream.url + "/mcp", auth="secret", secret="TOKEN", private_addresses=True)
        await connector.open(host.context)
        try:
            found = str(await host.call(connector, "whoami"))
        except InhabitError as error:
            found = str(error.as_value())
        described = str(list(connector.operations()))
        await connector.close()
    assert any(seen.headers.get("authorization") == f"Bearer {SECRET}" for seen in upstream.seen)
    assert SECRET not in found and SECRET not in described and "[redacted]" in described
    assert how == "challenge" or "[redacted]" in found, found
