"""Connect a source for one user: sign in at a remote MCP server, or store a key. It is sealed and never shown again.

An MCP server with a url signs you in: open the address that is printed. For every other source, and with --key, the
value is asked for without echo, or read from stdin; one that no call would send is refused. --list shows what is connected, --revoke forgets it, here and
at the source. A server that runs on this home takes it up at once.
"""

from __future__ import annotations

import argparse

from inhabit.cli.loading import load
from inhabit.cli.loop import run_async
from inhabit.cli.options import add_app_options, add_principal_option


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_app_options(parser)
    add_principal_option(parser)
    parser.add_argument("name", nargs="?", metavar="SOURCE", help="the source's name in inhabit.toml")
    parser.add_argument("--key", action="store_true", help="store a key, also where one could sign in")
    parser.add_argument("--field", default="token", help="which value of the connection; default: token")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--revoke", action="store_true")


def run(args: argparse.Namespace) -> int:
    return run_async(load("connecting").main(args))
