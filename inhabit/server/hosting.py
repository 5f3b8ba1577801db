"""Running the ASGI app on a socket of this machine: bind first, so that a taken port is known before anything starts.

A connection has `_HEAD_S` seconds for a request's head, however it dribbles; bodies have a deadline in `guard`.
What is not HTTP, and a connection too many, are answered here, in the one shape of errors. Whoever was answered before
all of the request was read has `_LINGER_S` to stop sending; a connection that is cut at once loses its answer.
"""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import ModuleType

import h11
import uvicorn
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from inhabit.errors import ConfigError, Unavailable
from inhabit.server.endpoints import STOPPING
from inhabit.server.problems import problem

try:
    import resource as _resource
except ImportError:  # Windows
    resource: ModuleType | None = None
else:
    resource = _resource

__all__ = ["bind", "serve", "url_of"]

_MAX_HEAD_BYTES = 64 * 1024
_MAX_CONNECTIONS = 10_000
_MAX_FILES = 65_536
_HEAD_S = 10.0
_LINGER_S = 2.0
_IDLE_S = 15
_STOP_S = 3
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises `Unavailable` for a taken port, `ConfigError` for a host that is not this machine's and a port that is none."""
    if not 0 <= port <= 65_535:    # the resolver would wrap it around, and another port be listened on
        raise ConfigError(f"{port} is no port", fix="one from 1 to 65535, or 0 for a free one")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        opened = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigError(f"cannot listen on {host!r}: {error.strerror}", fix="set host under [server], or --host") from None
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(512)
        opened.setblocking(False)
    except OSError as error:
        opened.close()
        if error.errno == errno.EADDRINUSE:
            raise Unavailable(f"port {port} of {host} is in use", code="port_in_use",
                              fix="stop the program that uses it, or take another port with --port") from None
        raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror}", fix="set host and port under [server]") from None
    return opened


def url_of(opened: socket.socket) -> str:
    """The URL for people on this machine."""
    host, port = opened.getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}"


async def serve(app: ASGIApp, opened: socket.socket, on_ready: Callable[[], None] = lambda: None) -> None:
    """Serve until SIGINT or SIGTERM; then end open requests within a few seconds."""
    _allow_many_files()
    stopping = asyncio.Event()

    async def told(scope: Scope, receive: Receive, send: Send) -> None:
        scope[STOPPING] = stopping
        await app(scope, receive, send)

    server = _Announcing(_config(told), on_ready, stopping)
    await server.serve([opened])


class _Announcing(uvicorn.Server):
    """Says when connections are accepted, and lets its caller finish after a signal (uvicorn raises it anew)."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None], stopping: asyncio.Event) -> None:
        super().__init__(config)
        self._on_ready = on_ready
        self._stopping = stopping

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        for number in _STOP_SIGNALS:
            loop.add_signal_handler(number, self._stop)
        try:
            yield
        finally:
            for number in _STOP_SIGNALS:
                loop.remove_signal_handler(number)

    def _stop(self) -> None:
        """The first signal lets open requests end, a second does not. (`handle_exit` is patched by a library that
        then ends every stream of the process for good.)"""
        self.force_exit, self.should_exit = self.should_exit, True
        self._stopping.set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_ready()


class _TimedHead(H11Protocol):
    """Closes a connection that takes too long over a request's head, or goes on with a body that nobody reads."""

    _head_timer: asyncio.TimerHandle | None = None
    _linger_timer: asyncio.TimerHandle | None = None
    _over = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > _MAX_CONNECTIONS:
            self._end(problem(503, "too_many_connections", "the server has as many connections as it takes", retryable=True,
                              headers={"retry-after": "1"}))
            return
        self._head_timer = self.loop.call_later(_HEAD_S, self._too_slow)

    def data_received(self, data: bytes) -> None:
        if self._over:
            return
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._cancel_timer()
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(_HEAD_S, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_timer()
        if self._linger_timer is not None:
            self._linger_timer.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        unread = self.conn.their_state is h11.SEND_BODY
        super().on_response_complete()
        if unread:
            self._linger()

    def send_400_response(self, msg: str) -> None:
        """For bytes that are no request. (It is called while the parser's error is being handled.)"""
        error = sys.exception()
        if isinstance(error, h11.RemoteProtocolError) and error.error_status_hint == 431:
            self._end(problem(431, "headers_too_large", f"the head of the request is longer than {_MAX_HEAD_BYTES} bytes"))
        else:
            self._end(problem(400, "not_http", "these bytes are not an HTTP request"))

    def _end(self, response: Response) -> None:
        """Answer, where an answer can still begin, and close."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            headers = [*response.raw_headers, (b"connection", b"close"), (b"x-content-type-options", b"nosniff")]
            for event in (h11.Response(status_code=response.status_code, headers=headers), h11.Data(data=bytes(response.body)), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self._linger()

    def _linger(self) -> None:
        """No more of this connection is read as HTTP; it is closed when the other side had time to read the answer."""
        self._over = True
        self._cancel_timer()
        if not self.transport.is_closing():
            self.transport.write_eof()
            self._linger_timer = self.loop.call_later(_LINGER_S, self.transport.close)

    def _cancel_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_slow(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()


def _allow_many_files() -> None:
    """A connection is a file, and the usual limit of 1,024 is reached by a thousand idle clients."""
    if resource is None:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, _MAX_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, proxy_headers=False, lifespan="on", ws="none",
        http=_TimedHead,
        h11_max_incomplete_event_size=_MAX_HEAD_BYTES, timeout_keep_alive=_IDLE_S, timeout_graceful_shutdown=_STOP_S)
