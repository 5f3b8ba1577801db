"""Write an inhabit.toml: an empty one with every table explained, or one from the servers that another client has.

--from takes .mcp.json (Claude Code), claude_desktop_config.json, .cursor/mcp.json, .vscode/mcp.json, .gemini/settings.json
and .codex/config.toml. Values that look like credentials are not copied: they become names of secrets, and the
command says which variables to set. A server that cannot be taken over is named, with the reason.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from inhabit.cli.loading import load
from inhabit.cli.options import CONFIG_NAME


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--from", dest="source", type=Path, metavar="FILE", help="take the servers of this .mcp.json or the like over")
    parser.add_argument("--output", type=Path, default=Path(CONFIG_NAME), metavar="FILE")
    parser.add_argument("--force", action="store_true", help="write over an existing file")


def run(args: argparse.Namespace) -> int:
    return int(load("beginning").main(args))
