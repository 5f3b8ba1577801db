"""What `inhabit serve` does once its options are read."""

from __future__ import annotations

import argparse
import socket

from inhabit.cli.client import running_server
from inhabit.cli.hosting import first_token, host, warn_of_problems
from inhabit.cli.opening import open_app
from inhabit.cli.options import home_of, principal_from
from inhabit.cli.terminal import progress, say
from inhabit.errors import Unavailable
from inhabit.server.hosting import bind


async def main(args: argparse.Namespace) -> int:
    app = open_app(args)
    port = app.server.port if args.port is None else args.port
    with _opened(args, args.host or app.server.host, port) as opened:
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


def _opened(args: argparse.Namespace, host: str, port: int) -> socket.socket:
    try:
        return bind(host, port)
    except Unavailable as error:
        note = running_server(home_of(args))
        if note is None:
            raise
        raise Unavailable(f"{error.message}: a server seems to run on this home already, at {note['url']}", code=error.specific_code,
                          fix="use that one, or stop it first") from None
