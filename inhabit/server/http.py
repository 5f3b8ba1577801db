"""The HTTP server as one ASGI app: the API, its OpenAPI document, and MCP at `/mcp`.

Layers from outside in: Guard (host, origin, sizes, headers) → Meter → Authenticate → routes. The app keeps no
state of runs: everything is asked of the runtime and the journal.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, compile_path
from starlette.types import ASGIApp

from inhabit.contracts.clock import now_ms
from inhabit.contracts.run import Blobs, Journal
from inhabit.contracts.version import VERSION
from inhabit.errors import Unavailable
from inhabit.runtime.approvals import Desk
from inhabit.runtime.plans import Plans
from inhabit.runtime.service import Runtime
from inhabit.server.approvals import ApprovalRoutes
from inhabit.server.attenuable import Attenuable
from inhabit.server.auth import Authenticate, TokenCheck
from inhabit.server.backups import Backup, backup_endpoint
from inhabit.server.ceremonies import Ceremonies
from inhabit.server.connect import Connecting, ConnectRoutes
from inhabit.server.effects import EffectsDesk, effects_endpoints
from inhabit.server.endpoints import Endpoint, json_response, routes
from inhabit.server.events import EventRoutes
from inhabit.server.guard import Guard, GuardOptions
from inhabit.server.labels import LabelsDesk, labels_endpoints
from inhabit.server.mcp import McpEndpoint, create_mcp_server
from inhabit.server.metrics import Meter, Metrics
from inhabit.server.openapi import document
from inhabit.server.passkeys import PasskeyRoutes
from inhabit.server.plans import PlanRoutes
from inhabit.server.problems import problem, unexpected
from inhabit.server.requests import NoQuery, read_query
from inhabit.server.runs import RunRoutes
from inhabit.server.tokens import TokenRoutes, Tokens
from inhabit.server.toolset import ToolOptions, Toolset
from inhabit.store.passkeys import Passkeys

__all__ = ["ServerOptions", "create_app", "endpoints_of"]

Lifespan = Callable[[], AbstractAsyncContextManager[Any]]


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """`name` is what MCP clients see; `guard` says which Host names are answered."""

    name: str = "inhabit"
    guard: GuardOptions = field(default_factory=GuardOptions)
    tools: ToolOptions = field(default_factory=ToolOptions)
    public_url: str | None = None


def create_app(runtime: Runtime, *, journal: Journal, check_token: TokenCheck, blobs: Blobs | None = None,
               tokens: Tokens | None = None, backup: Backup | None = None, connecting: Connecting | None = None,
               effects: EffectsDesk | None = None, options: ServerOptions | None = None, lifespan: Lifespan | None = None,
               desk: Desk | None = None, labels: LabelsDesk | None = None, attenuable: Attenuable | None = None,
               plans: Plans | None = None, passkeys: Passkeys | None = None, ceremonies: Ceremonies | None = None) -> ASGIApp:
    """The ASGI app. `lifespan` is entered around serving (start and stop of the runtime, when nobody else does);
    without `tokens`, `backup`, `connecting`, `effects`, `desk`, `labels`, `attenuable`, `plans` or `passkeys` there are no routes over them.
    """
    options = options or ServerOptions()
    metrics = Metrics()
    connect = ConnectRoutes(connecting, check_token, options.public_url) if connecting is not None else None
    endpoints = endpoints_of(runtime, journal, metrics, options.name, tokens, backup, connect, effects, blobs, desk, labels, attenuable, plans,
                             passkeys, ceremonies, options.public_url)
    toolset = Toolset(runtime, options.tools, metrics)
    mcp = McpEndpoint(create_mcp_server(toolset, runtime, name=options.name, blobs=blobs, desk=desk), options.guard.max_body_bytes)

    @asynccontextmanager
    async def alive(_: Starlette) -> AsyncGenerator[None]:
        async with AsyncExitStack() as stack:
            if lifespan is not None:
                await stack.enter_async_context(lifespan())
            stack.push_async_callback(mcp.aclose)
            yield

    public = tuple(compile_path(endpoint.path)[0] for endpoint in endpoints if endpoint.public)
    app = Starlette(
        routes=[*routes(endpoints), Route("/mcp", mcp, methods=["GET", "POST", "DELETE"])],
        middleware=[Middleware(Meter, metrics), Middleware(Authenticate, check_token, public)],
        exception_handlers={HTTPException: _http_error, Exception: unexpected},
        lifespan=alive,
    )
    return Guard(app, options.guard)


def endpoints_of(runtime: Runtime, journal: Journal, metrics: Metrics, name: str,
                 tokens: Tokens | None = None, backup: Backup | None = None, connect: ConnectRoutes | None = None,
                 effects: EffectsDesk | None = None, blobs: Blobs | None = None, desk: Desk | None = None,
                 labels: LabelsDesk | None = None, attenuable: Attenuable | None = None, plans: Plans | None = None,
                 passkeys: Passkeys | None = None, ceremonies: Ceremonies | None = None, public_url: str | None = None) -> tuple[Endpoint, ...]:
    """The whole API as a table."""

    async def health(request: Request) -> Response:
        """For whoever watches; no detail to those without a token. 503 while nothing can be recorded."""
        read_query(request, NoQuery)
        found = runtime.health()
        if found["status"] != "ok":
            raise Unavailable("the server is up but cannot record runs", fix="its log says why: often a full disk")
        stale = {"policy": "the file has errors; the last good one is in force"} if found.get("policy") else {}
        return json_response({"status": "ok", "version": VERSION, **stale})

    async def show_metrics(request: Request) -> Response:
        read_query(request, NoQuery)
        return PlainTextResponse(metrics.text(runtime.tally, runtime.gauges()), media_type="text/plain; version=0.0.4")

    async def openapi(_: Request) -> Response:
        return json_response(described)

    endpoints = (
        *RunRoutes(runtime, journal, metrics, blobs).endpoints(),
        *EventRoutes(runtime, journal, metrics).endpoints(),
        *(TokenRoutes(tokens, now_ms, runtime.revoke, attenuable, runtime.unmatched).endpoints() if tokens is not None else ()),
        *((backup_endpoint(backup),) if backup is not None else ()),
        *(connect.endpoints() if connect is not None else ()),
        *(effects_endpoints(effects) if effects is not None else ()),
        *(labels_endpoints(labels, now_ms) if labels is not None else ()),
        *(PlanRoutes(plans).endpoints() if plans is not None else ()),
        *(ApprovalRoutes(desk, runtime, ceremonies, public_url).endpoints() if desk is not None else ()),
        *(PasskeyRoutes(passkeys, ceremonies, public_url).endpoints() if passkeys is not None and ceremonies is not None else ()),
        Endpoint("GET", "/v1/health", health, "Whether the server is up", {200: "it is, and runs can be recorded"}, public=True, errors=(422, 503)),
        Endpoint("GET", "/v1/metrics", show_metrics, "Counters in the Prometheus text format", {200: "metrics"},
                 content="text/plain", answer_schema={"type": "string"}, errors=(422,)),
        Endpoint("GET", "/openapi.json", openapi, "This document", {200: "OpenAPI 3.1"}, public=True),
    )
    described = document(name, VERSION, endpoints)
    return endpoints


async def _http_error(_: Request, error: Exception) -> Response:
    """The router's own answers (no such path, wrong method) and the body limit, in the one shape."""
    assert isinstance(error, HTTPException)
    codes = {404: "no_such_path", 405: "method_not_allowed", 408: "body_too_slow", 413: "body_too_large", 415: "not_json"}
    return problem(error.status_code, codes.get(error.status_code, "http_error"), error.detail, headers=dict(error.headers or {}))
