"""Opening the app that the options name."""

from __future__ import annotations

import argparse
from pathlib import Path

from inhabit.app import Inhabit
from inhabit.cli.options import CONFIG_NAME, HOME_NAME, find_config, principal_from
from inhabit.config import Config, load_config, parse_config
from inhabit.contracts.principal import Principal
from inhabit.errors import ConfigError
from inhabit.runtime.service import Caller

__all__ = ["caller_from", "config_from", "open_app"]


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


def open_app(args: argparse.Namespace) -> Inhabit:
    """The app of the configuration; not started."""
    config = config_from(args)
    return Inhabit.from_config(config, home=args.home or config.base / HOME_NAME)


async def caller_from(args: argparse.Namespace, app: Inhabit, door: str = "cli") -> Caller:
    """The person at this terminal, with the grant that the configuration gives them. `app` is started."""
    principal = principal_from(args)
    return app.caller(principal, door=door, attended=await app.attended_for(Principal.parse(principal)))
