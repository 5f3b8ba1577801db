"""Serve MCP on stdin and stdout, for an agent that starts this command.

Where a server runs on the same home already, its runtime is used; several agents can so share one home. Client
configuration: {"command": "inhabit", "args": ["mcp", "--config", "/path/inhabit.toml"]}.
"""

from __future__ import annotations

import argparse

from inhabit.cli.client import Api, remote_api, running_server
from inhabit.cli.hosting import warn_of_problems
from inhabit.cli.loop import run_async
from inhabit.cli.opening import caller_from, open_app
from inhabit.cli.options import add_app_options, add_principal_option, home_of, principal_from
from inhabit.cli.remote import RemoteRuntime
from inhabit.contracts.run import Blobs
from inhabit.kernel.grants import Grant
from inhabit.runtime.service import Caller, Runtime
from inhabit.server.mcp import create_mcp_server, serve_stdio
from inhabit.server.toolset import ToolOptions, Toolset


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_app_options(parser)
    add_principal_option(parser)


def run(args: argparse.Namespace) -> int:
    return run_async(_run(args))


async def _run(args: argparse.Namespace) -> int:
    note = running_server(home_of(args))
    if note is not None:
        async with remote_api(note) as api:
            await _remote(args, api)
        return 0
    app = open_app(args)
    await app.start()
    try:
        warn_of_problems(app)
        caller = caller_from(args, app, door="mcp")
        options = app.server.options(app.name).tools
        await _serve(app.runtime, caller, app.name, options, app.home.blobs)
    finally:
        await app.stop()
    return 0


async def _remote(args: argparse.Namespace, api: Api) -> None:
    """The grant is the server's to judge, by the operator's token; here it only says that nothing is hidden."""
    runtime = RemoteRuntime(api)
    await runtime.start()
    await _serve(runtime, Caller(principal_from(args), Grant.of("**"), "mcp"), "inhabit", ToolOptions(), runtime.blobs)


async def _serve(runtime: Runtime, caller: Caller, name: str, options: ToolOptions, blobs: Blobs | None) -> None:
    server = create_mcp_server(Toolset(runtime, options), runtime, name=name, blobs=blobs, caller=caller)
    await serve_stdio(server)
