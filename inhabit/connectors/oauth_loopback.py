"""A sign-in from a terminal: the browser is sent back to a port of this machine that waits for it, once.

Only the one path answers, on loopback; whatever else comes gets 404, and after the answer the port is closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import parse_qsl, urlsplit

from inhabit.connectors.oauth import FLOW_LIFETIME_S, OAuthFlows
from inhabit.connectors.oauth_discovery import OAuthTarget
from inhabit.contracts.connections import ConnectionInfo
from inhabit.contracts.principal import Principal
from inhabit.errors import InhabitError, Unavailable

__all__ = ["sign_in"]

PATH = "/callback"
MAX_REQUEST_BYTES = 16 * 1024
READ_TIMEOUT_S = 10.0
_PAGE = "<!doctype html><meta charset=utf-8><title>Inhabit</title><p>{}</p>"


async def sign_in(flows: OAuthFlows, target: OAuthTarget, principal: Principal, show: Callable[[str], None], *,
                  wait_s: float = FLOW_LIFETIME_S) -> ConnectionInfo:
    """Give the address to `show`, wait for the browser to come back, and keep the tokens.

    Raises `Unavailable` when nobody signs in within `wait_s` seconds, and what `OAuthFlows` raises.
    """
    answered: asyncio.Future[dict[str, str]] = asyncio.get_running_loop().create_future()
    finished: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    replied = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                params = await _read(reader)
                if params is None or answered.done():
                    await _reply(writer, 404, "There is nothing here.")
                    return
                answered.set_result(params)
                await _reply(writer, 200, await asyncio.shield(finished))
                replied.set()
        except (TimeoutError, ConnectionError, ValueError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=MAX_REQUEST_BYTES)
    async with server:
        port = server.sockets[0].getsockname()[1]
        show(await flows.authorize_url(target, principal, redirect_uri=f"http://127.0.0.1:{port}{PATH}"))
        try:
            async with asyncio.timeout(wait_s):
                params = await answered
        except TimeoutError:
            raise Unavailable(f"nobody signed in to {target.connector} within {wait_s:g} s", fix="start again") from None
        try:
            info = await flows.callback(params, principal=principal)
            finished.set_result("Connected. You can close this window.")
            return info
        except InhabitError as error:
            finished.set_result(f"Not connected: {error.message}.")
            raise
        finally:
            with suppress(TimeoutError):
                await asyncio.wait_for(replied.wait(), 1.0)     # the person should see the page before the port closes


async def _read(reader: asyncio.StreamReader) -> dict[str, str] | None:
    """The query of a request for the one path; None for any other request."""
    line = (await reader.readline()).decode("latin-1").split(" ")
    while (await reader.readline()).strip():
        pass
    if len(line) != 3 or line[0] != "GET":
        return None
    target = urlsplit(line[1])
    return dict(parse_qsl(target.query, max_num_fields=20)) if target.path == PATH else None


async def _reply(writer: asyncio.StreamWriter, status: int, words: str) -> None:
    safe = words.replace("&", "&amp;").replace("<", "&lt;")
    body = _PAGE.format(safe).encode()
    writer.write(f"HTTP/1.1 {status} {'OK' if status == 200 else 'Not Found'}\r\nContent-Type: text/html; charset=utf-8\r\n"
                 f"Content-Length: {len(body)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n".encode() + body)
    await writer.drain()
