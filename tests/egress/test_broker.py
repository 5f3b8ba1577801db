"""Attacks on the way out, against real servers on loopback; names resolve to what a test wrote."""

import asyncio
import gzip
import logging
import ssl
import zlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpcore2
import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from inhabit.contracts.outbound import Reach
from inhabit.egress import Broker
from inhabit.errors import CallTimeout, ConfigError, Denied, UpstreamError
from tests.egress.egress_kit import ScriptedResolver, Server, answer, redirect

Serve = Callable[..., Awaitable[Server]]


def reach(*origins: str, private: bool = True, **more: Any) -> Reach:
    return Reach(tuple(origins), private_addresses=private, **more)


def resolver(**answers: Sequence[Sequence[str]]) -> ScriptedResolver:
    return ScriptedResolver({name.replace("__", ".").replace("_", "-"): list(given) for name, given in answers.items()})


async def test_a_plain_request_arrives_and_is_answered(serve: Serve) -> None:
    server = await serve(answer(b"hello"))
    async with Broker().client(reach(server.origin)) as client:
        response = await client.get(f"{server.origin}/a?b=c", headers={"X-One": "1"})
    assert (response.status_code, response.text) == (200, "hello")
    assert server.heads[0].startswith(b"GET /a?b=c HTTP/1.1\r\nHost: 127.0.0.1:")


async def test_C02_empty_reach_reaches_nothing(serve: Serve) -> None:
    server = await serve(answer())
    asked = ScriptedResolver({})
    async with Broker(resolver=asked).client(reach()) as client:
        for url in (server.origin, "http://allowed.test/", "https://1.1.1.1/"):
            with pytest.raises(Denied) as refused:
                await client.get(url)
            assert refused.value.specific_code == "egress_denied"
    assert server.connections == 0 and asked.asked == []


async def test_C01_loopback_and_private_are_refused_without_the_operators_word(serve: Serve) -> None:
    server = await serve(answer())
    async with Broker().client(reach(server.origin, private=False)) as client:
        with pytest.raises(Denied):
            await client.get(server.origin)
    assert server.connections == 0


@pytest.mark.parametrize("host", [
    "evil.test%00.allowed.test", "evil.test\0.allowed.test", "allowed.test%2eevil.test", "allowed.test%0d%0a", "allowed.test\r\nX: y",
    "allowed.test\\@evil.test", "allowed.test\t", "allowed.test#.evil.test@evil.test", "a" * 64 + ".test", "allowed..test", ".test", "*.test",
    "allowed.test evil.test", "-", "[allowed.test]",
])
async def test_C03_C04_spellings_of_a_host_are_refused_or_canonical(host: str) -> None:
    asked = resolver(allowed__test=[[]])
    async with Broker(resolver=asked).client(reach("http://allowed.test", timeout_s=0.2)) as client:
        with pytest.raises((Denied, UpstreamError)) as refused:
            await client.get(f"http://{host}/")
    assert "evil.test" not in asked.asked
    if asked.asked:     # only ever the granted name itself
        assert set(asked.asked) == {"allowed.test"} and not isinstance(refused.value, Denied)


@pytest.mark.parametrize("url", ["http://Allowed.TEST:{port}/", "http://allowed.test.:{port}/", "HTTP://allowed.test:{port}"])
async def test_C04_one_canonical_form_is_decided_and_dialled(serve: Serve, url: str) -> None:
    server = await serve(answer())
    asked = resolver(allowed__test=[["127.0.0.1"]])
    async with Broker(resolver=asked).client(reach(f"http://allowed.test:{server.port}")) as client:
        await client.get(url.format(port=server.port))
    assert asked.asked == ["allowed.test"]
    assert f"Host: allowed.test:{server.port}\r\n".encode() in server.heads[0]


@pytest.mark.parametrize("url", [
    "http://user:pw@allowed.test/", "http://allowed.test:443@evil.test/", "http://xn--llowed-9ua.test/", "http://аllowed.test/", "ftp://allowed.test/",
    "http://allowed.test:0/", "http://allowed.test:-1/", "http://allowed.test:65536/", "http://allowed.test/" + "a" * 20_000,
])
async def test_C04_credentials_homographs_schemes_and_lengths(url: str) -> None:
    asked = ScriptedResolver({})
    async with Broker(resolver=asked).client(reach("http://allowed.test")) as client:
        with pytest.raises(Denied):
            await client.get(url)
    assert asked.asked == []


@pytest.mark.parametrize("url", ["http://notallowed.test/", "http://allowed.test.evil.test/", "http://sub.allowed.test/", "https://allowed.test/",
                                 "http://allowed.test:81/", "http://test/", "http://allowed.tes/"])
async def test_C05_only_the_exact_origin_matches(url: str) -> None:
    asked = ScriptedResolver({})
    async with Broker(resolver=asked).client(reach("http://allowed.test")) as client:
        with pytest.raises(Denied):
            await client.get(url)
    assert asked.asked == []


@pytest.mark.parametrize("host", ["127.1", "0177.0.0.1", "2130706433", "0x7f000001", "0x7f.1", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]",
                                  "[fe80::1%25eth0]", "0.0.0.0", "[::]", "127.0.0.1.", "①27.0.0.1"])
async def test_C06_spellings_of_loopback_never_arrive(serve: Serve, host: str) -> None:
    server = await serve(answer())
    granted = ["http://allowed.test"]
    try:
        Broker().client(reach(f"http://{host}:{server.port}"))
    except ConfigError:
        pass
    else:
        granted.append(f"http://{host}:{server.port}")
    async with Broker().client(reach(*granted, private=False)) as client:
        with pytest.raises(Denied):
            await client.get(f"http://{host}:{server.port}/")
    assert server.connections == 0


@pytest.mark.parametrize("address", ["169.254.169.254", "fd00:ec2::254", "100.100.100.200", "168.63.129.16", "::ffff:169.254.169.254"])
async def test_C07_metadata_is_refused_behind_an_allowed_name_too(address: str) -> None:
    async with Broker(resolver=resolver(metadata__google__internal=[[address]])).client(
            reach("http://metadata.google.internal")) as client:
        with pytest.raises(Denied) as refused:
            await client.get("http://metadata.google.internal/latest")
    assert address not in str(refused.value.as_value())


async def test_C08_rebinding_the_second_answer_deceives_nobody(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    dialled: list[str] = []

    async def dial(_self: object, host: str, *_: object, **__: object) -> None:
        dialled.append(host)
        raise httpcore2.ConnectError("not in a test")

    monkeypatch.setattr(httpcore2.AnyIOBackend, "connect_tcp", dial)
    trap = await serve(answer(b"internal"))
    asked = resolver(rebind__test=[["1.1.1.1"], ["127.0.0.1"]])
    origin = f"http://rebind.test:{trap.port}"
    async with Broker(resolver=asked).client(reach(origin, private=False)) as client:
        with pytest.raises(UpstreamError):
            await client.get(origin)
        with pytest.raises(Denied):
            await client.get(origin)
    assert dialled == ["1.1.1.1"] and asked.asked == ["rebind.test"] * 2, "each request resolves once and dials that answer"


async def test_C08_the_checked_address_is_the_one_dialled(serve: Serve) -> None:
    server = await serve(answer(b"first"))
    asked = resolver(host__test=[["127.0.0.1"], ["127.0.0.2"]])
    origin = f"http://host.test:{server.port}"
    async with Broker(resolver=asked).client(reach(origin)) as client:
        assert (await client.get(origin)).text == "first"
    assert asked.asked == ["host.test"], "one request resolves once"


@pytest.mark.parametrize("addresses", [["1.1.1.1", "127.0.0.1"], ["127.0.0.1", "1.1.1.1"], ["2606:4700::1111", "::1"], ["::1"], ["1.1.1.1", "not an address"]])
async def test_C08_one_bad_address_rejects_all(addresses: list[str], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    async with Broker(resolver=resolver(mixed__test=[addresses])).client(reach("http://mixed.test", private=False)) as client:
        with pytest.raises(Denied):
            await client.get("http://mixed.test/")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_C09_a_redirect_elsewhere_is_decided_anew(serve: Serve, status: int) -> None:
    trap = await serve(answer(b"internal"))
    server = await serve(redirect(f"{trap.origin}/x", status))
    async with Broker().client(reach(server.origin)) as client:
        with pytest.raises(Denied):
            await client.get(server.origin, headers={"Authorization": "Bearer CANARY", "X-Api-Key": "CANARY"})
    assert trap.connections == 0


@pytest.mark.parametrize("location", ["//evil.test/", "http://evil.test", "/\\evil.test", "http://169.254.169.254/", "file:///etc/passwd",
                                      "javascript:1", "http://127.0.0.1:1@evil.test/", "gopher://x/", "http://[::1"])
async def test_C09_locations_that_lead_away(serve: Serve, location: str) -> None:
    server = await serve(lambda _r, w, head: _once_redirect(w, head, location))
    async with Broker().client(reach(server.origin)) as client:
        try:
            response = await client.get(f"{server.origin}/start")
        except (Denied, UpstreamError):
            return
        assert str(response.url).startswith(server.origin), "it stayed where it was granted"


async def _once_redirect(writer: asyncio.StreamWriter, head: bytes, location: str) -> None:
    where = f"302 Found\r\nLocation: {location}" if head.startswith(b"GET /start ") else "200 OK"
    writer.write(f"HTTP/1.1 {where}\r\nContent-Length: 0\r\n\r\n".encode())


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_C09_no_credential_travels_to_another_origin(serve: Serve, status: int) -> None:
    other = await serve(answer(b"there"))
    server = await serve(redirect(f"{other.origin}/x", status))
    async with Broker().client(reach(server.origin, other.origin)) as client:
        response = await client.get(server.origin, headers={
            "Authorization": "Bearer CANARY", "X-Api-Key": "CANARY", "Cookie": "s=CANARY", "Proxy-Authorization": "CANARY", "Accept": "text/plain"})
    assert response.text == "there"
    assert b"CANARY" not in other.heads[0] and b"CANARY" in server.heads[0]
    assert b"Accept: text/plain" in other.heads[0]


async def test_C09_the_same_origin_keeps_its_credential_and_the_method_changes_as_it_must(serve: Serve) -> None:
    async def respond(_reader: Any, writer: asyncio.StreamWriter, head: bytes) -> None:
        if b"POST" in head:
            await _reader.readexactly(4)
            writer.write(b"HTTP/1.1 303 See\r\nLocation: /done\r\nContent-Length: 0\r\n\r\n")
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    server = await serve(respond)
    async with Broker().client(reach(server.origin)) as client:
        await client.post(server.origin, content=b"body", headers={"Authorization": "Bearer K", "Content-Type": "text/plain"})
    assert server.heads[1].startswith(b"GET /done") and b"Authorization: Bearer K" in server.heads[1]
    assert b"Content-" not in server.heads[1]


async def test_C09_a_chain_of_redirects_ends(serve: Serve) -> None:
    server = await serve(redirect("/again"))
    async with Broker().client(reach(server.origin, max_redirects=5)) as client:
        with pytest.raises(UpstreamError) as refused:
            await client.get(server.origin)
    assert "redirects" in refused.value.message and len(server.heads) == 6


async def test_C09_https_never_becomes_http(serve: Serve, tmp_path: Path) -> None:
    plain = await serve(answer())
    context, trust = _certificate(tmp_path, "host.test")
    server = await serve(redirect(f"http://host.test:{plain.port}/"), ssl=context)
    asked = resolver(host__test=[["127.0.0.1"]])
    async with Broker(resolver=asked, tls=trust).client(reach(f"https://host.test:{server.port}", f"http://host.test:{plain.port}")) as client:
        with pytest.raises(Denied):
            await client.get(f"https://host.test:{server.port}/")
    assert plain.connections == 0


async def test_C11_host_header_and_server_name_are_ours(serve: Serve, tmp_path: Path) -> None:
    context, trust = _certificate(tmp_path, "host.test")
    names: list[str | None] = []
    context.sni_callback = lambda _s, name, _c: names.append(name)
    server = await serve(answer(), ssl=context)
    origin = f"https://host.test:{server.port}"
    async with Broker(resolver=resolver(host__test=[["127.0.0.1"]]), tls=trust).client(reach(origin)) as client:
        await client.get(origin, headers={"Host": "evil.test"}, extensions={"sni_hostname": "evil.test"})
    assert names == ["host.test"]
    assert b"evil.test" not in server.heads[0]


async def test_C13_a_kept_connection_decides_each_request_afresh(serve: Serve) -> None:
    server = await serve(answer())
    async with Broker().client(reach(server.origin)) as client:
        await client.get(server.origin)
        with pytest.raises(Denied):
            await client.get(f"http://evil.test:{server.port}/", headers={"Host": f"127.0.0.1:{server.port}"})
        await client.get(server.origin, headers={"Host": "evil.test"})
    assert server.connections == 1 and all(b"evil" not in head for head in server.heads)


async def test_C13_no_upgrade_leaves_and_none_is_taken(serve: Serve) -> None:
    server = await serve(answer(b"", "101 Switching Protocols", "Upgrade: websocket\r\nConnection: Upgrade\r\n"))
    async with Broker().client(reach(server.origin)) as client:
        with pytest.raises(UpstreamError):
            await client.get(server.origin, headers={"Upgrade": "h2c", "Connection": "Upgrade, HTTP2-Settings", "HTTP2-Settings": "x"})
    assert b"pgrade" not in server.heads[0] and b"HTTP2" not in server.heads[0]


@pytest.mark.parametrize("method", ["CONNECT", "TRACE", "PRI", "get\r\nX: y", ""])
async def test_C12_C15_methods_that_tunnel_or_echo_are_not_sent(serve: Serve, method: str) -> None:
    server = await serve(answer())
    async with Broker().client(reach(server.origin)) as client:
        with pytest.raises(Denied):
            await client.request(method, server.origin)
    assert server.connections == 0


@pytest.mark.parametrize("headers", [
    {"X-A": "1\r\nX-B: 2"}, {"X-A": "1\nX-B: 2"}, {"X-A": "\0"}, {"X-A\r\nX-B": "1"}, {"X A": "1"}, {"Transfer-Encoding": "chunked", "Content-Length": "5"},
])
async def test_C14_a_request_cannot_be_split(serve: Serve, headers: dict[str, str]) -> None:
    server = await serve(answer())
    async with Broker().client(reach(server.origin)) as client:
        with pytest.raises((UpstreamError, Denied)) as refused:
            await client.request("GET", server.origin, headers=headers)
    assert refused.value.effect == "none"
    assert all(b"X-B" not in head for head in server.heads)


@pytest.mark.parametrize("raw", [
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 9\r\n\r\nok", b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\nok", b"HTTP/1.1 200 OK\r\nX\0Y: 1\r\nContent-Length: 0\r\n\r\n",
    b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip, gzip, gzip\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 2\r\n\r\nok", b"HTTP/1.1 200 OK\r\n" + b"X-H: 1\r\n" * 300 + b"Content-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX-H: " + b"a" * 70_000 + b"\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 200 OK\r\nX-H: " + b"a" * 300_000,
])
async def test_C14_a_response_with_two_readings_is_refused(serve: Serve, raw: bytes) -> None:
    async def respond(_reader: Any, writer: asyncio.StreamWriter, _head: bytes) -> None:
        writer.write(raw)
        writer.write_eof()

    server = await serve(respond)
    async with Broker().client(reach(server.origin, timeout_s=5)) as client:
        with pytest.raises(UpstreamError) as refused:
            await client.get(server.origin)
    assert refused.value.specific_code in {"protocol_error", "response_refused"}


@pytest.mark.parametrize("coding", ["gzip", "deflate", "gzip, gzip"])
async def test_B15_a_bomb_is_cut_at_the_decoded_limit(serve: Serve, coding: str) -> None:
    plain = b"\0" * (64 * 1024 * 1024)
    packed = zlib.compress(plain) if coding == "deflate" else gzip.compress(plain)
    if coding == "gzip, gzip":
        packed = gzip.compress(packed)
    server = await serve(answer(packed, headers=f"Content-Encoding: {coding}\r\n"))
    received = 0
    async with Broker().client(reach(server.origin, max_response_bytes=1_000_000)) as client:
        with pytest.raises(UpstreamError) as refused:
            async with client.stream("GET", server.origin) as response:
                async for chunk in response.aiter_bytes():
                    received += len(chunk)
    assert refused.value.specific_code == "response_too_large" and received <= 1_000_000


@pytest.mark.parametrize("coding", ["gzip", "deflate", "raw", "gzip, gzip"])
async def test_codings_are_undone(serve: Serve, coding: str) -> None:
    text = b"text " * 50_000
    packed = {"gzip": gzip.compress(text), "deflate": zlib.compress(text), "raw": zlib.compress(text)[2:-4], "gzip, gzip": gzip.compress(gzip.compress(text))}[coding]
    server = await serve(answer(packed, headers=f"Content-Encoding: {'deflate' if coding == 'raw' else coding}\r\n"))
    async with Broker().client(reach(server.origin)) as client:
        response = await client.get(server.origin)
    assert response.content == text


async def test_B15_broken_coding_is_named(serve: Serve) -> None:
    server = await serve(answer(b"not gzip at all", headers="Content-Encoding: gzip\r\n"))
    async with Broker().client(reach(server.origin)) as client:
        with pytest.raises(UpstreamError):
            await client.get(server.origin)


async def test_B16_a_body_without_end_is_cut_at_its_size(serve: Serve) -> None:
    async def endless(_reader: Any, writer: asyncio.StreamWriter, _head: bytes) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"x" * 65_536)
            await writer.drain()

    server = await serve(endless)
    async with Broker().client(reach(server.origin, max_response_bytes=300_000)) as client:
        with pytest.raises(UpstreamError) as refused:
            await client.get(server.origin)
    assert refused.value.specific_code == "response_too_large"


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_B16_a_slow_body_is_cut_at_the_total_deadline(serve: Serve, method: str) -> None:
    async def slow(_reader: Any, writer: asyncio.StreamWriter, _head: bytes) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)

    server = await serve(slow)
    loop = asyncio.get_running_loop()
    started = loop.time()
    async with Broker().client(reach(server.origin, timeout_s=0.5)) as client:
        with pytest.raises(CallTimeout) as late:
            await client.request(method, server.origin)
    assert loop.time() - started > 0.4
    assert late.value.effect == ("none" if method == "GET" else "happened")


async def test_B16_a_server_that_never_answers(serve: Serve) -> None:
    async def silent(reader: asyncio.StreamReader, _writer: Any, _head: bytes) -> None:
        await reader.read()

    server = await serve(silent)
    async with Broker().client(reach(server.origin, timeout_s=0.3)) as client:
        with pytest.raises(CallTimeout) as late:
            await client.post(server.origin, content=b"x")
    assert late.value.effect == "unknown"


async def test_C28_failures_tell_no_internals(serve: Serve) -> None:
    closed = await serve(answer())
    asked = resolver(secret_internal__test=[["127.0.0.1"]], gone__test=[["127.0.0.1"]])
    async with Broker(resolver=asked).client(reach("http://secret-internal.test", "http://nowhere.test", "http://gone.test:9", private=True)) as client:
        for url in ("http://nowhere.test/", "http://gone.test:9/"):
            with pytest.raises(UpstreamError) as failed:
                await client.get(url, headers={"Authorization": "CANARY"})
            shown = str(failed.value.as_value())
            assert "127.0.0.1" not in shown and "CANARY" not in shown and "Errno" not in shown and "Traceback" not in shown
            assert failed.value.__cause__ is None
    assert closed.connections == 0


@pytest.mark.parametrize("case", ["self-signed", "wrong name"])
async def test_C29_a_certificate_that_does_not_fit_is_refused(serve: Serve, tmp_path: Path, case: str) -> None:
    context, trust = _certificate(tmp_path, "host.test" if case == "self-signed" else "other.test")
    server = await serve(answer(), ssl=context)
    origin = f"https://host.test:{server.port}"
    broker = Broker(resolver=resolver(host__test=[["127.0.0.1"]]), tls=None if case == "self-signed" else trust)
    async with broker.client(reach(origin)) as client:
        with pytest.raises(UpstreamError) as refused:
            await client.get(origin)
    assert refused.value.specific_code == "tls_refused" and server.heads == []


async def test_environment_proxies_and_cookies_are_not_used(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    trap = await serve(answer(b"proxied"))
    server = await serve(answer(b"direct", headers="Set-Cookie: s=1; Path=/\r\n"))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, trap.origin)
    async with Broker().client(reach(server.origin)) as client:
        assert (await client.get(server.origin)).text == "direct"
        assert (await client.get(server.origin)).headers["set-cookie"] == "s=1; Path=/"
    assert trap.connections == 0 and b"ookie" not in server.heads[1]


@pytest.mark.parametrize("origin", ["https://a.test/path", "a.test", "*.test", "https://*.test", "http://u:p@a.test", "ftp://a.test", "http://a.test?x", ""])
def test_an_origin_that_is_none_is_a_mistake_of_the_configuration(origin: str) -> None:
    with pytest.raises(ConfigError):
        Broker().client(Reach((origin,)))


async def test_a_response_larger_than_the_limit_is_refused_before_it_is_read(serve: Serve) -> None:
    server = await serve(answer(b"x" * 5_000))
    async with Broker().client(reach(server.origin, max_response_bytes=1_000)) as client:
        with pytest.raises(UpstreamError):
            await client.get(server.origin)
        head = await client.head(server.origin)
    assert head.headers["content-length"] == "5000"


def _certificate(folder: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A self-made certificate for `name`: the server's context, and a client's that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
                   .serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
                   .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
                   .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(key, hashes.SHA256()))
    pem = folder / "server.pem"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    client = ssl.create_default_context(cadata=certificate.public_bytes(serialization.Encoding.PEM).decode())
    return server, client


def test_the_type_is_an_httpx_client() -> None:
    assert isinstance(Broker().client(Reach(())), httpx2.AsyncClient)
