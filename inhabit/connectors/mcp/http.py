"""The way to a remote server: every request of the SDK's HTTP transport passes one sender.

The sender adds the credential of one principal, scrubs the answer of it, renews it once when the server answers 401,
and turns every failure into an answer under the request's own id. (The SDK lets an exception of one request end the whole
session, and with it the calls of others.) What really happened is kept aside and found again by `fault_of`.
"""

from __future__ import annotations

import re
import secrets
from collections import OrderedDict
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, Protocol, cast

import httpx2
from mcp import types
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from inhabit.connectors.mcp.text import one_line
from inhabit.connectors.redaction import RedactedStream, Redactor
from inhabit.contracts.connector import Secret
from inhabit.errors import InhabitError, MissingConnection, UpstreamError

__all__ = ["SESSION_GONE", "Credential", "Sender", "serve_http"]

MAX_EVENT_BYTES = 32 * 1024 * 1024
MAX_FAULTS = 256
SESSION_GONE = "session_gone"
"""The code of the fault when the server refused the session, and so did not look at the request."""
_SESSION_ERROR = re.compile(rb'"message"\s*:\s*"[^"]{0,200}session', re.IGNORECASE)
_UNREACHABLE = -32099



class Headers(NamedTuple):
    """What a request carries to say who asks, and the credentials in it, of which the answer is scrubbed."""

    values: Mapping[str, Secret]
    credentials: tuple[Secret, ...] = ()


class Credential(Protocol):
    """Where a sender gets its headers. `again`: the last ones were refused; None when there are no better ones."""

    async def headers(self, *, again: bool) -> Headers | None: ...

    def refused(self, challenge: str) -> InhabitError:
        """The error for a server that does not accept what we have."""
        ...


class Sender:
    """Stands where the SDK expects an HTTP client; it uses `build_request`, `send` and `max_redirects` of one."""

    def __init__(self, client: httpx2.AsyncClient, credential: Credential) -> None:
        self.client = client
        self._credential = credential
        self._faults: OrderedDict[str, InhabitError] = OrderedDict()
        self.max_redirects = client.max_redirects       # followed within the origin only
        self.build_request = client.build_request

    async def send(self, request: httpx2.Request, *, stream: bool = False, follow_redirects: Any = False) -> httpx2.Response:
        try:
            return await self._sent(request)
        except InhabitError as error:
            return self._answer(request, error)
        except (httpx2.TransportError, httpx2.StreamError, httpx2.InvalidURL) as error:
            reason = one_line(str(error)) or type(error).__name__
            return self._answer(request, UpstreamError(f"{request.url.host} cannot be reached: {reason}",
                                                       effect="unknown", details={"unreachable": True}))

    def fault_of(self, error: MCPError) -> InhabitError | None:
        """What lies behind an error that this sender made."""
        data = error.error.data
        key = cast("Mapping[str, Any]", data).get("fault") if isinstance(data, Mapping) else None
        return self._faults.get(key) if isinstance(key, str) else None

    async def _sent(self, request: httpx2.Request) -> httpx2.Response:
        response = await self._attempt(request, await self._credential.headers(again=False) or Headers({}))
        if response.status_code == 401:
            better = await self._credential.headers(again=True)
            if better is not None:
                response = await self._attempt(request, better)
        challenge = response.headers.get("www-authenticate", "")
        if response.status_code == 401 or (response.status_code == 403 and "insufficient_scope" in challenge):
            raise self._credential.refused(challenge)
        if _forgotten(request, response):
            raise UpstreamError("the server no longer knows this session", code=SESSION_GONE)
        if request.method == "POST" and response.status_code >= 400 and response.status_code != 404 and not _is_json(response):
            raise UpstreamError(f"{request.url.host} answered with HTTP status {response.status_code}", effect="unknown",
                                details={"status": response.status_code})
        return response

    async def _attempt(self, request: httpx2.Request, headers: Headers) -> httpx2.Response:
        for name, value in headers.values.items():
            request.headers[name] = value.reveal()
        response = await self.client.send(request, stream=True, follow_redirects=False)
        redactor = Redactor(credential.reveal() for credential in headers.credentials)
        response.headers = redactor.headers(response.headers)
        assert isinstance(response.stream, httpx2.AsyncByteStream), "the async client makes async streams"
        response.stream = RedactedStream(response.stream, redactor)
        if not response.headers.get("content-type", "").lower().startswith("text/event-stream"):
            await response.aread()      # a body that breaks off is this request's failure alone
        return response

    def _answer(self, request: httpx2.Request, error: InhabitError) -> httpx2.Response:
        key = secrets.token_hex(8)
        self._faults[key] = error
        while len(self._faults) > MAX_FAULTS:
            self._faults.popitem(last=False)
        body = types.JSONRPCError(jsonrpc="2.0", id=None, error=types.ErrorData(
            code=_UNREACHABLE, message=error.message, data={"fault": key}))
        status = 401 if isinstance(error, MissingConnection) else 502
        return httpx2.Response(status, request=request, headers={"content-type": "application/json"},
                               content=body.model_dump_json(by_alias=True).encode())


def _forgotten(request: httpx2.Request, response: httpx2.Response) -> bool:
    """404 by the specification; some servers say 400 and speak of the session in their error."""
    if request.method != "POST" or "mcp-session-id" not in request.headers:
        return False
    return response.status_code == 404 or (response.status_code == 400 and _SESSION_ERROR.search(response.content) is not None)


def _is_json(response: httpx2.Response) -> bool:
    return response.headers.get("content-type", "").lower().startswith("application/json")


@asynccontextmanager
async def serve_http(url: str, sender: Sender) -> AsyncGenerator[tuple[Any, Any]]:
    """The message streams of one session at `url`."""
    async with sender.client, streamable_http_client(
            url, http_client=cast("httpx2.AsyncClient", sender), max_sse_event_size=MAX_EVENT_BYTES) as streams:
        yield streams
