"""Inhabit as an MCP server: exactly two tools, over stdio and streamable HTTP.

The definitions are constants of `toolset`; what is mounted shows only in the `instructions`, as the bounded
list of top-level names that this caller's grant shows. A call answers within `wait_s`; while it waits, a client
that asked for progress gets it. A client that cancels the call ends the run too, unless `ToolOptions` lets it
go on (the run's state says which: `failed` with the code `cancelled`, or on to its end).
"""

from __future__ import annotations

import asyncio
import base64
from contextlib import suppress
from dataclasses import replace
from secrets import token_hex
from typing import Any

import mcp_types as types
from mcp.server.auth.middleware.bearer_auth import AuthorizationContext
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.server.streamable_http import StreamableHTTPServerTransport
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.types import Receive, Scope, Send

from inhabit.contracts.run import Blobs
from inhabit.contracts.version import VERSION
from inhabit.errors import InhabitError, Unavailable
from inhabit.runtime.approvals import Desk
from inhabit.runtime.bodies import references
from inhabit.runtime.service import Caller, Runtime
from inhabit.server.auth import caller_of
from inhabit.server.eliciting import ask_there
from inhabit.server.shares import has_room
from inhabit.server.toolset import ToolAnswer, Toolset

__all__ = ["McpEndpoint", "create_mcp_server", "serve_stdio"]

MAX_SESSIONS = 1_000
MAX_IMAGES = 4
MAX_IMAGE_BYTES = 1_500_000
"""Images of one answer; more of them, or larger ones, stay references."""
MAX_NAMED = 40
"""Top-level names told in the instructions."""

_Context = ServerRequestContext[Any, Any]


def create_mcp_server(toolset: Toolset, runtime: Runtime, *, name: str = "inhabit", blobs: Blobs | None = None,
                      caller: Caller | None = None, desk: Desk | None = None) -> Server[Any]:
    """A server for one transport. `caller` is fixed over stdio; over HTTP it is the request's own. With a `desk` where people
    may answer for themselves, the person at a client that can ask them is asked there.
    """
    if caller is not None and not caller.conversation:   # over stdio one process is one conversation
        caller = replace(caller, conversation=f"stdio:{token_hex(8)}")

    def who(ctx: _Context) -> Caller:
        if caller is not None:
            return caller
        request: Any = ctx.request  # the SDK hands over the HTTP request that carried the message
        return caller_of(request, "mcp")

    async def list_tools(_: _Context, __: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return types.ListToolsResult(tools=_tools(toolset))

    async def call_tool(ctx: _Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        async def progress(waited_s: float, text: str) -> None:
            await ctx.session.report_progress(round(waited_s, 3), None, text)

        asker = who(ctx)
        answer = await toolset.call(params.name, params.arguments, asker, progress)
        while desk is not None and desk.own and answer.approvals and await ask_there(ctx, desk, asker, answer.approvals):
            answer = await toolset.call("execute", {"run": (answer.value or {})["run"]}, asker, progress)
        content: list[types.ContentBlock] = [types.TextContent(text=answer.text)]
        if blobs is not None:
            content.extend(await _images(answer, blobs, asker.principal.tenant))
        return types.CallToolResult(content=content, structured_content=answer.value, is_error=answer.is_error)

    async def set_level(_: _Context, __: types.SetLevelRequestParams) -> types.EmptyResult:
        """Any level is kept: what programs print is in their result, no log message is ever sent."""
        return types.EmptyResult()

    server: Server[Any] = Server(name, version=VERSION, instructions=_instructions(()),
                                 on_list_tools=list_tools, on_call_tool=call_tool)

    async def name_what_is_there(ctx: _Context, call_next: CallNext) -> HandlerResult:
        """The instructions depend on who asks, so they are put in when the client says hello."""
        result = await call_next(ctx)
        if ctx.method in ("initialize", "server/discover") and isinstance(result, dict):
            result["instructions"] = _instructions([str(c["name"]) for c in runtime.capabilities(who(ctx))])
        return result

    server.add_request_handler("logging/setLevel", types.SetLevelRequestParams, set_level)
    server.middleware.append(name_what_is_there)
    return server


async def serve_stdio(server: Server[Any]) -> None:
    """Serve until the client closes stdin."""
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


class McpEndpoint:
    """The ASGI app for `/mcp`. Host, origin and token were checked outside; sessions belong to the token that
    opened them. It starts with its first request, so that it works under any host app, and ends with `aclose`.
    """

    def __init__(self, server: Server[Any], max_body_bytes: int) -> None:
        self._manager = _Sessions(server, max_sessions=MAX_SESSIONS, max_request_body_size=max_body_bytes)
        self._closing = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._ready: asyncio.Future[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.get("inhabit.note", {})["route"] = "/mcp"
        if self._ready is None:
            self._ready = asyncio.get_running_loop().create_future()
            self._running = asyncio.create_task(self._run(self._ready), name="mcp sessions")
        if self._closing.is_set():
            raise Unavailable("the server is stopping")
        await asyncio.shield(self._ready)
        await self._manager.handle_request(scope, receive, send)

    async def aclose(self) -> None:
        self._closing.set()
        if self._running is not None:
            await self._running

    async def _run(self, ready: asyncio.Future[None]) -> None:
        async with self._manager.run():
            ready.set_result(None)
            await self._closing.wait()


class _Sessions(StreamableHTTPSessionManager):
    """A tenant that opens session after session does not keep the others from theirs."""

    def _admit_session(self, requestor: AuthorizationContext | None) -> StreamableHTTPServerTransport | None:
        owners = [owner["subject"] or "" for owner in self._session_owners.values()]
        tenant = ((requestor or {}).get("subject") or "").partition("/")[0]
        held = sum(subject.partition("/")[0] == tenant for subject in owners)
        return super()._admit_session(requestor) if has_room(held, len(self._server_instances), MAX_SESSIONS) else None


def _tools(toolset: Toolset) -> list[types.Tool]:
    return [types.Tool(name=d.name, description=d.description, input_schema=dict(d.input_schema)) for d in toolset.definitions]


def _instructions(names: list[str] | tuple[str, ...]) -> str:
    start = "Use `search` to find operations, then `execute` a program that calls them."
    if not names:
        return start
    shown = [name[:60] for name in names[:MAX_NAMED]]
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return f"{start} Available: {', '.join(shown)}{more}."


async def _images(answer: ToolAnswer, blobs: Blobs, tenant: str) -> list[types.ContentBlock]:
    """The images that a result refers to, as content that a model can see: those that its run was given, and no others
    of its tenant that a program merely names.
    """
    found: list[types.ContentBlock] = []
    for reference in references((answer.value or {}).get("result")):
        if len(found) == MAX_IMAGES:
            break
        if reference["$binary"] not in answer.binaries:
            continue
        size, mime = reference.get("size"), str(reference.get("type"))
        if not mime.startswith("image/") or not isinstance(size, int) or size > MAX_IMAGE_BYTES:
            continue
        with suppress(InhabitError):  # an erased image stays the reference that the text shows
            data = await blobs.get(reference, tenant=tenant)
            if len(data) > MAX_IMAGE_BYTES:   # the size in the reference is the program's word
                continue
            found.append(types.ImageContent(data=base64.b64encode(data).decode(), mime_type=mime))
    return found
