"""Options that many commands share, and what can be said of them without reading a configuration.

A command that only talks to a server that runs loads this and not the app: reading a configuration loads every room.
"""

from __future__ import annotations

import argparse
import getpass
import os
import re
from collections.abc import Callable
from pathlib import Path

from inhabit.contracts.principal import Principal
from inhabit.errors import ConfigError

__all__ = ["CONFIG_NAME", "HOME_NAME", "add_app_options", "add_principal_option", "find_config", "home_of", "number_within", "principal_from"]

CONFIG_NAME = "inhabit.toml"
HOME_NAME = ".inhabit"


def add_app_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE", help="default: inhabit.toml here or in a folder above")
    parser.add_argument("--home", type=Path, metavar="DIR", help="where the journal is kept; default: .inhabit beside the file")


def add_principal_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--as", dest="principal", metavar="USER", help="for whom: user or tenant/user; default: your login name")


def number_within(least: int, most: int, *, whole: bool = True) -> Callable[[str], float]:
    """The type of an option that is a number: no other is quietly taken for the nearest one."""
    def read(text: str) -> float:
        try:
            value = int(text) if whole else float(text)
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is no {'whole ' if whole else ''}number from {least} to {most}")
        return value
    return read


def find_config(start: Path) -> Path | None:
    """The nearest `inhabit.toml` in `start` or a folder above it."""
    for folder in (start, *start.parents):
        if (folder / CONFIG_NAME).is_file():
            return folder / CONFIG_NAME
    return None


def home_of(args: argparse.Namespace) -> Path:
    """Raises `ConfigError` when neither a home nor a configuration is there to say it."""
    if args.home is not None:
        return args.home
    path: Path | None = args.config or find_config(Path.cwd())
    if path is None:
        raise ConfigError("there is no inhabit.toml here or in a folder above", fix="inhabit init makes one")
    return path.resolve().parent / HOME_NAME


def principal_from(args: argparse.Namespace) -> Principal:
    return Principal.parse(args.principal or os.environ.get("INHABIT_USER") or _login())


def _login() -> str:
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = "me"
    return re.sub(r"[^A-Za-z0-9_.@+-]", "_", name)[:128] or "me"
