"""Options that many commands share, and opening the app that they name."""

from __future__ import annotations

import argparse
import getpass
import os
import re
from pathlib import Path

from inhabit.app import Inhabit
from inhabit.config import CONFIG_NAME, Config, find_config, load_config, parse_config
from inhabit.contracts.principal import Principal
from inhabit.errors import ConfigError
from inhabit.runtime.service import Caller

__all__ = ["add_app_options", "add_principal_option", "caller_from", "config_from", "home_of", "open_app", "principal_from"]

HOME_NAME = ".inhabit"


def add_app_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE", help="default: inhabit.toml here or in a folder above")
    parser.add_argument("--home", type=Path, metavar="DIR", help="where the journal is kept; default: .inhabit beside the file")


def add_principal_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--as", dest="principal", metavar="USER", help="for whom: user or tenant/user; default: your login name")


def config_from(args: argparse.Namespace) -> Config:
    """The configuration that `--config` names, else the nearest file, else an empty one for a home that is there.
    Raises `ConfigError` when there is none.
    """
    path: Path | None = args.config or find_config(Path.cwd())
    if path is None and args.home is not None and args.home.is_dir():
        return parse_config("", args.home / CONFIG_NAME)
    if path is None:
        raise ConfigError("there is no inhabit.toml here or in a folder above", fix="inhabit init makes one")
    return load_config(path)


def home_of(args: argparse.Namespace) -> Path:
    """Without reading a configuration where `--home` says it already."""
    return args.home or config_from(args).base / HOME_NAME


def open_app(args: argparse.Namespace) -> Inhabit:
    """The app of the configuration; not started."""
    config = config_from(args)
    return Inhabit.from_config(config, home=args.home or config.base / HOME_NAME)


def principal_from(args: argparse.Namespace) -> Principal:
    return Principal.parse(args.principal or os.environ.get("INHABIT_USER") or _login())


def caller_from(args: argparse.Namespace, app: Inhabit, door: str = "cli") -> Caller:
    """The person at this terminal, with the grant that the configuration gives them."""
    return app.caller(principal_from(args), door=door)


def _login() -> str:
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = "me"
    return re.sub(r"[^A-Za-z0-9_.@+-]", "_", name)[:128] or "me"
