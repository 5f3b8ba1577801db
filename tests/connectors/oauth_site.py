"""A real upstream on loopback: an MCP server over streamable HTTP behind a real authorization server.

The authorization server keeps the rules (PKCE, exact redirect, single-use codes, rotating refresh tokens, resource
indicators) and can be told to break one of them in its answers.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlencode

import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send


@dataclass
class Site:
    """`tokens`: access token → user. `broken`: which rule the answers break. `asked`: requests by path."""

    base: str
    tokens: dict[str, str] = field(default_factory=dict)
    refreshes: dict[str, str] = field(default_factory=dict)
    clients: dict[str, dict[str, Any]] = field(default_factory=dict)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    revoked: list[str] = field(default_factory=list)
    broken: str = ""
    user: str = "ada"
    expires_in: int = 3600
    guarded: bool = True
    method: str = "none"
    seen_authorization: list[str] = field(default_factory=list)

    @property
    def mcp(self) -> str:
        return f"{self.base}/mcp"

    def issue(self, user: str) -> dict[str, Any]:
        access, refresh = f"at-{secrets.token_hex(8)}", f"rt-{secrets.token_hex(8)}"
        self.tokens[access] = user
        self.refreshes[refresh] = user
        return {"access_token": access, "token_type": "Bearer", "expires_in": self.expires_in, "refresh_token": refresh, "scope": "notes"}


@asynccontextmanager
async def running_site(port: int = 0, **options: Any) -> AsyncIterator[Site]:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    site = Site(f"http://127.0.0.1:{listener.getsockname()[1]}", **options)
    server = uvicorn.Server(uvicorn.Config(_app(site), log_level="critical", lifespan="on", timeout_graceful_shutdown=1))
    task = asyncio.create_task(server.serve([listener]))
    try:
        async with asyncio.timeout(10):
            while not server.started:
                await asyncio.sleep(0.01)
        yield site
    finally:
        server.should_exit = True
        await task


def _app(site: Site) -> Starlette:
    upstream = MCPServer("notes")

    @upstream.tool()
    async def whoami(ctx: Context) -> str:
        return site.tokens.get(site.seen_authorization[-1].removeprefix("Bearer "), "nobody")

    @upstream.tool()
    async def slow(seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "done"

    inner = upstream.streamable_http_app(streamable_http_path="/mcp")
    routes = [
        Route("/.well-known/oauth-protected-resource/mcp", _resource),
        Route("/.well-known/oauth-authorization-server", _metadata),
        Route("/register", _register, methods=["POST"]), Route("/authorize", _authorize),
        Route("/token", _token, methods=["POST"]), Route("/revoke", _revoke, methods=["POST"]),
        Mount("/", inner),
    ]
    app = Starlette(routes=routes, middleware=[Middleware(_Guard, site=site)], lifespan=lambda _app: inner.router.lifespan_context(inner))
    app.state.site = site
    return app


class _Guard:
    """Pure ASGI, so that streams stay streams."""

    def __init__(self, app: ASGIApp, site: Site) -> None:
        self.app = app
        self.site = site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self.site.asked.append(scope["path"])
            if scope["path"] == "/mcp":
                sent = dict(scope["headers"]).get(b"authorization", b"").decode()
                self.site.seen_authorization.append(sent)
                if self.site.guarded and sent.removeprefix("Bearer ") not in self.site.tokens:
                    challenge = f'Bearer resource_metadata="{self.site.base}/.well-known/oauth-protected-resource/mcp", scope="notes"'
                    await Response(status_code=401, headers={"www-authenticate": challenge})(scope, receive, send)
                    return
        await self.app(scope, receive, send)


async def _resource(request: Request) -> Response:
    site: Site = request.app.state.site
    resource = "https://elsewhere.example/mcp" if site.broken == "resource" else site.mcp
    server = "http://169.254.169.254" if site.broken == "metadata-address" else site.base
    return JSONResponse({"resource": resource, "authorization_servers": [server], "scopes_supported": ["notes"]})


async def _metadata(request: Request) -> Response:
    site: Site = request.app.state.site
    body = {
        "issuer": "https://mallory.example" if site.broken == "issuer" else site.base,
        "authorization_endpoint": f"{site.base}/authorize", "token_endpoint": f"{site.base}/token",
        "registration_endpoint": f"{site.base}/register", "revocation_endpoint": f"{site.base}/revoke",
        "code_challenge_methods_supported": ["S256"], "token_endpoint_auth_methods_supported": [site.method],
        "authorization_response_iss_parameter_supported": True,
    }
    if site.broken == "nonsense":
        body["token_endpoint"] = "http://[::1"
    if site.broken == "pkce":
        del body["code_challenge_methods_supported"]
    if site.broken == "plain-http":
        body["token_endpoint"] = "http://as.example/token"
    if site.broken == "registration":
        del body["registration_endpoint"]
    return JSONResponse(body)


async def _register(request: Request) -> Response:
    site: Site = request.app.state.site
    body = await request.json()
    client_id = f"client-{secrets.token_hex(4)}"
    secret = {} if site.method == "none" else {"client_secret": f"cs-{secrets.token_hex(8)}:%"}
    site.clients[client_id] = {**body, **secret}
    return JSONResponse({**body, **secret, "client_id": client_id}, status_code=201)


async def _authorize(request: Request) -> Response:
    """The person agrees at once."""
    site: Site = request.app.state.site
    asked = dict(request.query_params)
    client = site.clients.get(asked.get("client_id", ""))
    if client is None or asked["redirect_uri"] not in client["redirect_uris"] or asked["code_challenge_method"] != "S256":
        return Response("refused", status_code=400)
    code = secrets.token_hex(8)
    site.codes[code] = asked
    answer = {"state": asked["state"], "code": code, "iss": "https://mallory.example" if site.broken == "mix-up" else site.base}
    if site.broken == "declined":
        answer = {"state": asked["state"], "error": "access_denied", "iss": site.base}
    return RedirectResponse(f"{asked['redirect_uri']}?{urlencode(answer)}", status_code=302)


async def _token(request: Request) -> Response:
    site: Site = request.app.state.site
    form = dict(await request.form())
    if not _client_is_genuine(site, request, form):
        return JSONResponse({"error": "invalid_client"}, status_code=401)
    if form.get("resource") != site.mcp:
        return JSONResponse({"error": "invalid_target"}, status_code=400)
    if form["grant_type"] == "refresh_token":
        if site.broken == "down":
            return Response("busy", status_code=503)
        user = site.refreshes.pop(str(form["refresh_token"]), None)
        return JSONResponse(site.issue(user)) if user else JSONResponse({"error": "invalid_grant"}, status_code=400)
    asked = site.codes.pop(str(form["code"]), None)
    digest = hashlib.sha256(str(form.get("code_verifier", "")).encode()).digest()
    if asked is None or base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != asked["code_challenge"] \
            or form["redirect_uri"] != asked["redirect_uri"]:
        return JSONResponse({"error": "invalid_grant"}, status_code=400)
    return JSONResponse(site.issue(site.user), headers={"cache-control": "no-store"})


def _client_is_genuine(site: Site, request: Request, form: dict[str, Any]) -> bool:
    if site.method == "client_secret_basic":
        pair = base64.b64decode(request.headers["authorization"].removeprefix("Basic ")).decode()
        client_id, _, secret = (unquote(part) for part in pair.partition(":"))
        return "client_secret" not in form and site.clients.get(client_id, {}).get("client_secret") == secret
    client = site.clients.get(str(form.get("client_id")))
    return client is not None and client.get("client_secret") == form.get("client_secret")


async def _revoke(request: Request) -> Response:
    site: Site = request.app.state.site
    token = str((await request.form())["token"])
    site.revoked.append(token)
    site.tokens.pop(token, None)
    site.refreshes.pop(token, None)
    return Response()
