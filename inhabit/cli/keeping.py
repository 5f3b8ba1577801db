"""What `inhabit secrets` does once its options are read."""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Iterator
from typing import cast

from pydantic import BaseModel

from inhabit.app.sources import secrets_of
from inhabit.cli.opening import config_from
from inhabit.cli.options import home_of
from inhabit.cli.terminal import complain, show_json, table
from inhabit.config import Config, SecretName
from inhabit.contracts.connector import Secret
from inhabit.errors import InvalidInput, NotFound
from inhabit.store.sealed import SealedSecrets
from inhabit.store.secrets import KeyringSecrets, Secrets

__all__ = ["main"]


def main(args: argparse.Namespace) -> int:
    config = config_from(args)
    kept = secrets_of(config.secrets, home_of(args), config.base)
    if args.action == "list":
        return _list(args, config, kept)
    if not isinstance(kept, SealedSecrets | KeyringSecrets):
        raise InvalidInput(f'backend = "{config.secrets.backend}": secrets are kept where Inhabit only reads them',
                           fix='set it there, or take [secrets] backend = "file"')
    if args.action == "remove":
        if not kept.remove(args.name):
            raise NotFound(f"there is no secret {args.name}", fix="see `inhabit secrets list`")
        complain(f"{args.name} is forgotten")
        return 0
    kept.put(args.name, Secret((getpass.getpass(f"{args.name}: ") if sys.stdin.isatty() else sys.stdin.readline()).strip()))
    complain(f"{args.name} is kept")
    return 0


def _list(args: argparse.Namespace, config: Config, kept: Secrets) -> int:
    wanted = set(_named(config))
    names = sorted(wanted | set(kept.names() if isinstance(kept, SealedSecrets) else ()))
    found = [{"name": name, "resolves": kept.get(name) is not None, "used": name in wanted} for name in names]
    if args.json:
        show_json(found)
    else:
        table(["name", "resolves", "used"], [[one["name"], *("yes" if one[key] else "no" for key in ("resolves", "used"))] for one in found])
    return 0 if all(one["resolves"] for one in found) else 1


def _named(value: object) -> Iterator[str]:
    """The names that a configuration uses, wherever they stand in it."""
    if isinstance(value, SecretName):
        yield value.secret
    elif isinstance(value, BaseModel):
        for field in type(value).model_fields:
            yield from _named(getattr(value, field))
    elif isinstance(value, dict):
        for inner in cast(dict[object, object], value).values():
            yield from _named(inner)
    elif isinstance(value, tuple):
        for inner in cast(tuple[object, ...], value):
            yield from _named(inner)
