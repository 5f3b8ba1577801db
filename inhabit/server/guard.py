"""The outermost layer of the HTTP server: which requests are looked at at all, and what every answer carries.

Checked before anything else, in this order: amount of headers (431), Host (421), Origin (403), size of the body
(413, while it streams in, so that memory stays flat) and the time it takes (408). A body whose end is told in two ways
is not read at all (400). No CORS header is ever sent: a page of another origin cannot read an answer. A page that
rebinds its name to this server fails at Host.

Invariant: nothing behind this layer sees a Host outside the allow-list; an empty list allows nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from inhabit.server.problems import problem

__all__ = ["LOOPBACK_HOSTS", "Guard", "GuardOptions"]

LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "[::1]")
MAX_HEADERS = 100
MAX_HEADER_BYTES = 32 * 1024
MAX_BODY_BYTES = 20 * 1024 * 1024
"""A program (256 KiB) and its input (16 MiB) with room for JSON escapes."""

_RESPONSE_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)


@dataclass(frozen=True, slots=True)
class GuardOptions:
    """`allowed_hosts`: names or addresses, with any port, or `name:port` for exactly that one."""

    allowed_hosts: tuple[str, ...] = LOOPBACK_HOSTS
    max_body_bytes: int = MAX_BODY_BYTES
    body_s: float = 60.0


class Guard:
    def __init__(self, app: ASGIApp, options: GuardOptions) -> None:
        self._app = app
        self._options = options
        self._hosts = frozenset(host.lower() for host in options.allowed_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        send = _with_headers(send)
        refusal = self._refusal(scope["headers"])
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        await self._bounded(scope, receive, send)

    def _refusal(self, headers: Iterable[tuple[bytes, bytes]]) -> Response | None:
        headers = list(headers)
        if len(headers) > MAX_HEADERS or sum(len(k) + len(v) for k, v in headers) > MAX_HEADER_BYTES:
            return problem(431, "headers_too_large", f"more than {MAX_HEADERS} headers or {MAX_HEADER_BYTES} bytes of them")
        hosts = [value.decode("latin-1").lower() for name, value in headers if name == b"host"]
        if len(hosts) != 1 or not self._allowed(hosts[0]):
            shown = hosts[0][:100] if hosts else "none"
            return problem(421, "host_not_allowed", f"this server does not answer for Host {shown!r}",
                           fix="add the name to allowed_hosts under [server] in inhabit.toml")
        origin = next((value.decode("latin-1") for name, value in headers if name == b"origin"), None)
        if origin is not None and not self._allowed(_origin_host(origin)):
            return problem(403, "origin_not_allowed", "requests from pages of other origins are not answered")
        lengths = [value for name, value in headers if name == b"content-length"]
        if len(lengths) + sum(name == b"transfer-encoding" for name, _ in headers) > 1:
            return problem(400, "ambiguous_body", "the end of the body is told in more than one way",
                           headers={"connection": "close"})   # what follows may be somebody else's idea of a request
        declared = lengths[0] if lengths else b"0"
        if not declared.isdigit() or int(declared[:20]) > self._options.max_body_bytes:
            return self._too_large()
        return None

    def _allowed(self, host: str) -> bool:
        name, colon, port = host.rpartition(":")
        return host in self._hosts or (bool(colon) and port.isdigit() and name in self._hosts)

    def _too_large(self) -> Response:
        return problem(413, "body_too_large", f"the body is larger than {self._options.max_body_bytes} bytes")

    async def _bounded(self, scope: Scope, receive: Receive, send: Send) -> None:
        seen, whole = 0, False
        deadline_s = asyncio.get_running_loop().time() + self._options.body_s

        async def counted() -> Message:
            nonlocal seen, whole
            try:
                async with asyncio.timeout_at(None if whole else deadline_s):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408) from None
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                whole = not message.get("more_body", False)
                if seen > self._options.max_body_bytes:
                    raise HTTPException(413)  # answered by the app's own handler, wherever the body was being read
            return message

        await self._app(scope, counted, send)


def _origin_host(origin: str) -> str:
    try:
        parts = urlsplit(origin)
        return parts.netloc.lower() if parts.scheme in ("http", "https") else ""
    except ValueError:
        return ""


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            present = {name for name, _ in message["headers"]}
            message["headers"] = [*message["headers"], *(h for h in _RESPONSE_HEADERS if h[0] not in present)]
        await send(message)

    return sending
