"""MCP on stdin and stdout over an app of this process."""

from __future__ import annotations

import argparse

from inhabit.cli.hosting import warn_of_problems
from inhabit.cli.opening import caller_from, open_app
from inhabit.server.mcp import create_mcp_server, serve_stdio
from inhabit.server.toolset import Toolset

__all__ = ["serve"]


async def serve(args: argparse.Namespace) -> None:
    app = open_app(args)
    await app.start()
    try:
        warn_of_problems(app)
        caller = await caller_from(args, app, door="mcp")
        tools = Toolset(app.runtime, app.server.options(app.name).tools)
        await serve_stdio(create_mcp_server(tools, app.runtime, name=app.name, blobs=app.home.blobs, caller=caller, desk=app.desk))
    finally:
        await app.stop()
