"""The MCP conformance suite against this server: `python -m bench.conformance [--json]`.

Runs every server scenario that needs no tool, resource or prompt of the suite's own fixture server. The suite sends
no bearer token, so a few lines in front of the server put one in. One figure a scenario: 1 when all its checks passed.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

import uvicorn

from bench.conformance_suite import Suite
from bench.report import Report, options
from examples.shop.app import build

SCENARIOS = ("server-initialize", "ping", "logging-set-level", "tools-list", "server-sse-multiple-streams", "dns-rebinding-protection")


async def main() -> int:
    given = options(__doc__ or "")
    report = Report(given.json)
    with tempfile.TemporaryDirectory() as folder:
        async with build(Path(folder)) as app:
            token, _ = await app.create_token("ada")
            with socket.create_server(("127.0.0.1", 0)) as opened:
                server = uvicorn.Server(uvicorn.Config(_with_token(app.asgi(), token), log_level="warning"))
                serving = asyncio.create_task(server.serve([opened]))
                url = f"http://127.0.0.1:{opened.getsockname()[1]}/mcp"
                suite = Suite("server", "--url", url)
                failed = [name for name in SCENARIOS if not await suite.passes(name, report)]
                server.should_exit = True
                await serving
    return 1 if failed else 0


def _with_token(app: Any, token: str) -> Any:
    async def sending(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            scope = {**scope, "headers": [*scope["headers"], (b"authorization", f"Bearer {token}".encode())]}
        await app(scope, receive, send)

    return sending


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
