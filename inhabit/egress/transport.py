"""The choke point of egress: every request, and every redirect hop, passes `GuardedTransport.handle_async_request`.

Invariants
- A request is decided on one canonical origin; the same value is dialled, named in TLS and sent as Host.
- Nothing is resolved or dialled for an origin outside `Reach.origins`. An empty `Reach` reaches nothing.
- A redirect is a new request: decided again, never from https to http, and on another origin it carries no
  header but a few harmless ones, so no credential travels.
- A response ends within its bounds of bytes and time, whatever the other side does.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterable

import httpcore2
import httpx2

from inhabit.contracts.outbound import Reach
from inhabit.egress.bodies import BoundedBody, decoders
from inhabit.egress.dialling import CheckedDialler
from inhabit.egress.failures import Exchange
from inhabit.egress.origins import Origin, configured, of_url
from inhabit.egress.resolve import Resolver
from inhabit.errors import CallTimeout, Denied, UpstreamError

__all__ = ["GuardedTransport"]

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HOP_BY_HOP = frozenset({
    b"host", b"connection", b"keep-alive", b"proxy-authorization", b"proxy-authenticate", b"proxy-connection",
    b"te", b"trailer", b"upgrade", b"accept-encoding", b"http2-settings",
})
_ACROSS_ORIGINS = frozenset({b"accept", b"accept-language", b"content-type", b"content-length", b"transfer-encoding", b"user-agent"})
_OF_A_BODY = frozenset({b"content-type", b"content-length", b"transfer-encoding", b"content-encoding"})
_FRAMING = frozenset({b"content-encoding", b"content-length", b"transfer-encoding", b"connection", b"keep-alive", b"upgrade"})
_MAX_HEADER_BYTES = 64 * 1024
_MAX_HEADERS = 256
_CONNECT_S = 10.0
_MAX_CONNECTIONS = 64
_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "QUERY"})
"""No TRACE (it echoes credentials) and no CONNECT (it opens a tunnel that nobody reads)."""

_Headers = list[tuple[bytes, bytes]]


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Raises `Denied`, `UpstreamError` and `CallTimeout` only."""

    def __init__(self, reach: Reach, resolver: Resolver, tls: ssl.SSLContext) -> None:
        self._reach = reach
        self._origins = frozenset(configured(text) for text in reach.origins)
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=tls, max_connections=_MAX_CONNECTIONS, max_keepalive_connections=8, keepalive_expiry=30.0,
            http1=True, http2=False, network_backend=CheckedDialler(resolver, private=reach.private_addresses))

    async def aclose(self) -> None:
        await self._pool.aclose()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        deadline = asyncio.get_running_loop().time() + self._reach.timeout_s
        hop = _Hop(request.method.upper(), request.url, list(request.headers.raw), request.stream)
        for remaining in range(max(self._reach.max_redirects, 0), -1, -1):
            exchange = Exchange(self._decide(hop.url, hop.method), hop.method, deadline, self._reach.timeout_s)
            response = await self._exchange(hop, exchange)
            location = _location(response) if self._reach.max_redirects > 0 else None
            if location is None:
                return response
            await response.aclose()
            if not remaining:
                raise exchange.refused(f"more than {self._reach.max_redirects} redirects")
            hop = self._redirected(hop, response.status_code, location, exchange)
        raise AssertionError("unreachable: the last round returns or raises")

    def _decide(self, url: httpx2.URL, method: str) -> Origin:
        """The one decision. Returns what is dialled."""
        if method not in _METHODS:
            raise Denied(f"outbound request refused: method {method[:20]!r} is not sent", code="egress_denied",
                         details={"rule": "egress.method", "reason": "method"})
        origin = of_url(url)
        if origin not in self._origins:
            raise Denied(f"outbound request refused: {origin} is not granted", code="egress_denied",
                         details={"rule": "egress.origin", "reason": "not in the granted origins"})
        return origin

    async def _exchange(self, hop: _Hop, exchange: Exchange) -> httpx2.Response:
        origin, timeout = exchange.origin, self._reach.timeout_s
        request = httpcore2.Request(
            method=hop.method, headers=hop.headers_for(origin), content=hop.stream,
            url=httpcore2.URL(scheme=origin.scheme, host=origin.host, port=origin.port, target=hop.url.raw_path),
            extensions={"timeout": {"connect": min(_CONNECT_S, timeout), "read": timeout, "write": timeout, "pool": timeout}})
        try:
            async with asyncio.timeout_at(exchange.deadline):
                answer = await self._pool.handle_async_request(request)
        except httpcore2.ConnectTimeout:
            raise CallTimeout(f"{origin.host}: no connection within {min(_CONNECT_S, timeout):g} s", effect="none") from None
        except (TimeoutError, httpcore2.TimeoutException):
            raise exchange.timed_out() from None
        except (httpcore2.NetworkError, httpcore2.ProtocolError) as error:
            raise exchange.broke(error) from None
        exchange.answered = True
        try:
            return self._bounded(answer, exchange)
        except UpstreamError:
            await answer.aclose()
            raise

    def _bounded(self, answer: httpcore2.Response, exchange: Exchange) -> httpx2.Response:
        headers: _Headers = [(name.lower(), value) for name, value in answer.headers]
        if len(headers) > _MAX_HEADERS or sum(len(name) + len(value) for name, value in headers) > _MAX_HEADER_BYTES:
            raise exchange.refused("too many or too long headers")
        if answer.status == 101:
            raise exchange.refused("a change of protocol")
        lengths = {value for name, value in headers if name == b"content-length"}
        if lengths and any(name == b"transfer-encoding" for name, _ in headers):
            raise exchange.refused("two ways to tell where its body ends")
        codings = decoders(", ".join(value.decode("latin-1") for name, value in headers if name == b"content-encoding"))
        if codings is None:
            raise exchange.refused("a Content-Encoding that was not asked for")
        if not codings and exchange.method != "HEAD" and any(int(length) > self._reach.max_response_bytes for length in lengths):
            raise exchange.too_large(self._reach.max_response_bytes)
        body = BoundedBody(_stream(answer), codings, self._reach.max_response_bytes, exchange)
        dropped = _FRAMING - {b"content-length"} if exchange.method == "HEAD" else _FRAMING
        kept = [(name, value) for name, value in headers if name not in dropped]
        return httpx2.Response(answer.status, headers=kept, stream=body)

    def _redirected(self, hop: _Hop, status: int, location: str, exchange: Exchange) -> _Hop:
        try:
            url = hop.url.join(location).copy_with(fragment=None)
            origin = self._decide(url, hop.method)
        except (httpx2.InvalidURL, UnicodeError, ValueError):
            raise exchange.refused("a redirect to something that is not a URL") from None
        except Denied as denied:
            raise Denied(f"{exchange.origin.host} redirects to a place that is not granted", code="egress_denied",
                         effect=exchange.effect(), details={**denied.details, "redirect": True}) from None
        if exchange.origin.scheme == "https" and origin.scheme == "http":
            raise Denied(f"{exchange.origin.host} redirects from https to http", code="egress_denied",
                         effect=exchange.effect(), details={"rule": "egress.redirect", "reason": "downgrade"})
        return hop.follow(url, status, same_origin=origin == exchange.origin, exchange=exchange)


class _Hop:
    """What is asked of one origin: the first request, or what a redirect made of it."""

    def __init__(self, method: str, url: httpx2.URL, headers: _Headers, stream: object) -> None:
        assert isinstance(stream, httpx2.AsyncByteStream), "the async client makes async streams"
        self.method = method
        self.url = url
        self.stream = stream
        self._headers = headers

    def headers_for(self, origin: Origin) -> _Headers:
        """Host is ours, hop-by-hop headers are dropped, and a body has one length."""
        kept = [(name, value) for name, value in self._headers if name.lower() not in _HOP_BY_HOP]
        names = [name.lower() for name, _ in kept]
        if names.count(b"content-length") + names.count(b"transfer-encoding") > 1:
            raise Denied("outbound request refused: two ways to tell where its body ends", code="egress_denied",
                         details={"rule": "egress.framing", "reason": "Content-Length and Transfer-Encoding"})
        return [(b"Host", origin.authority.encode("ascii")), *kept, (b"Accept-Encoding", b"gzip, deflate")]

    def follow(self, url: httpx2.URL, status: int, *, same_origin: bool, exchange: Exchange) -> _Hop:
        headers = [pair for pair in self._headers if same_origin or pair[0].lower() in _ACROSS_ORIGINS]
        if status in {307, 308} or self.method in {"GET", "HEAD"} or (status in {301, 302} and self.method not in {"POST"}):
            if not isinstance(self.stream, httpx2.ByteStream):
                raise exchange.refused("a redirect of a body that cannot be sent twice")
            return _Hop(self.method, url, headers, self.stream)
        return _Hop("GET", url, [pair for pair in headers if pair[0].lower() not in _OF_A_BODY], httpx2.ByteStream(b""))


def _location(response: httpx2.Response) -> str | None:
    return response.headers.get("location") if response.status_code in _REDIRECTS else None


def _stream(answer: httpcore2.Response) -> AsyncIterable[bytes]:
    assert isinstance(answer.stream, AsyncIterable), "an async pool gives async streams"
    return answer.stream
