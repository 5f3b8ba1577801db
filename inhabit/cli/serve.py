"""Serve HTTP and MCP until interrupted. The configuration is inhabit.toml; options win over it."""

from __future__ import annotations

import argparse

from inhabit.cli.hosting import first_token, host, warn_of_problems
from inhabit.cli.loop import run_async
from inhabit.cli.opening import open_app
from inhabit.cli.options import add_app_options, add_principal_option, principal_from
from inhabit.cli.terminal import progress, say
from inhabit.server.hosting import bind


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_app_options(parser)
    add_principal_option(parser)
    parser.add_argument("--host", help="address to listen on; default: [server] host, else 127.0.0.1")
    parser.add_argument("--port", type=int, help="default: [server] port, else 8642; 0 takes a free one")


def run(args: argparse.Namespace) -> int:
    return run_async(_run(args))


async def _run(args: argparse.Namespace) -> int:
    app = open_app(args)
    port = app.server.port if args.port is None else args.port
    with bind(args.host or app.server.host, port) as opened:
        async with progress("starting"):
            await app.start()
        try:
            warn_of_problems(app)
            principal = principal_from(args)
            token = await first_token(app, principal)

            def announce(url: str) -> None:
                say(f"{app.name} at {url}")
                say(f"MCP      {url}/mcp")
                say(f"token    {token}  (for {principal}; shown this once)" if token else
                    "token    made before; `inhabit token create` makes another")

            await host(app, opened, principal, announce)
        finally:
            await app.stop()
    return 0
