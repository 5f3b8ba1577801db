"""MCP on stdin and stdout over the runtime of a server that runs."""

from __future__ import annotations

import argparse

from inhabit.cli.client import Api
from inhabit.cli.options import principal_from
from inhabit.cli.remote import RemoteRuntime
from inhabit.kernel.grants import Grant
from inhabit.runtime.service import Caller
from inhabit.server.mcp import create_mcp_server, serve_stdio
from inhabit.server.toolset import ToolOptions, Toolset

__all__ = ["serve"]


async def serve(args: argparse.Namespace, api: Api) -> None:
    """The grant is the server's to judge, by the operator's token; here it only says that nothing is hidden."""
    runtime = RemoteRuntime(api)
    await runtime.start()
    caller = Caller(principal_from(args), Grant.of("**"), "mcp")
    await serve_stdio(create_mcp_server(Toolset(runtime, ToolOptions()), runtime, name="inhabit", blobs=runtime.blobs, caller=caller))
