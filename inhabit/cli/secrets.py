"""The operator's credentials that `secret = "NAME"` in the configuration names.

set NAME      asks for the value without echo, or reads it from stdin; where `[secrets]` keeps them in a file or the keyring
list          the names, and which of them resolve; never a value
remove NAME   forget one

A server that runs uses what was set from its next request on. Exit code 1 of `list`: one of them does not resolve.
"""

from __future__ import annotations

import argparse

from inhabit.cli.loading import load
from inhabit.cli.options import add_app_options

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="set|list|remove")
    setting = actions.add_parser("set", help="keep a value under a name")
    listing = actions.add_parser("list", help="names, and which of them resolve")
    removing = actions.add_parser("remove", help="forget one")
    for action in (setting, listing, removing):
        add_app_options(action)
    for action in (setting, removing):
        action.add_argument("name", metavar="NAME")
    listing.add_argument("--json", action="store_true")


def run(args: argparse.Namespace) -> int:
    return int(load("keeping").main(args))
