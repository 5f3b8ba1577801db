"""Serve HTTP and MCP until interrupted. The configuration is inhabit.toml; options win over it."""

from __future__ import annotations

import argparse

from inhabit.cli.loading import load
from inhabit.cli.loop import run_async
from inhabit.cli.options import add_app_options, add_principal_option


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_app_options(parser)
    add_principal_option(parser)
    parser.add_argument("--host", help="address to listen on; default: [server] host, else 127.0.0.1")
    parser.add_argument("--port", type=int, help="default: [server] port, else 8642; 0 takes a free one")


def run(args: argparse.Namespace) -> int:
    return run_async(load("serving").main(args))
