"""Serve MCP on stdin and stdout, for an agent that starts this command.

Where a server runs on the same home already, its runtime is used; several agents can so share one home. Client
configuration: {"command": "inhabit", "args": ["mcp", "--config", "/path/inhabit.toml"]}.
"""

from __future__ import annotations

import argparse

from inhabit.cli.client import keep_to, remote_api, running_server
from inhabit.cli.loading import load
from inhabit.cli.loop import run_async
from inhabit.cli.options import add_app_options, add_principal_option, home_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_app_options(parser)
    add_principal_option(parser)


def run(args: argparse.Namespace) -> int:
    return run_async(_run(args))


async def _run(args: argparse.Namespace) -> int:
    note = running_server(home_of(args))
    if note is None:
        await load("mcp_local").serve(args)
        return 0
    keep_to(args, note)
    async with remote_api(note) as api:
        await load("mcp_remote").serve(args, api)
    return 0
