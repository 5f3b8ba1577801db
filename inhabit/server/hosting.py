"""Running the ASGI app on a socket of this machine: bind first, so that a taken port is known before anything starts."""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from inhabit.errors import ConfigError, Unavailable

__all__ = ["bind", "serve", "url_of"]

_MAX_HEAD_BYTES = 64 * 1024
_MAX_CONNECTIONS = 2_000
_IDLE_S = 15
_STOP_S = 5
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises `Unavailable` for a taken port, `ConfigError` for a host that is not this machine's."""
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
    server = _Announcing(_config(app), on_ready)
    await server.serve([opened])


class _Announcing(uvicorn.Server):
    """Says when connections are accepted, and lets its caller finish after a signal (uvicorn raises it anew)."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        for number in _STOP_SIGNALS:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in _STOP_SIGNALS:
                loop.remove_signal_handler(number)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_ready()


def _config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, proxy_headers=False, lifespan="on", ws="none",
        h11_max_incomplete_event_size=_MAX_HEAD_BYTES, limit_concurrency=_MAX_CONNECTIONS,
        timeout_keep_alive=_IDLE_S, timeout_graceful_shutdown=_STOP_S)
