"""Narrowing and showing attenuable tokens: what a holder does without any server. The token is read from the argument, the
environment or the standard input.
"""

from __future__ import annotations

import argparse
import os
import sys
from datetime import UTC, datetime
from typing import Any

import orjson

from inhabit.cli.terminal import complain, say, show_json
from inhabit.contracts.clock import now_ms
from inhabit.errors import InvalidInput
from inhabit.tokens import Token, attenuate, shown

__all__ = ["main", "wanted"]


def main(args: argparse.Namespace) -> int:
    token = _given(args)
    if args.action == "attenuate":
        expires_ms = None if args.days is None else now_ms() + round(args.days * 86_400_000)
        token = attenuate(token, grant=wanted(args.grant), expires_ms=expires_ms)
    said = shown(token)
    if args.json:
        show_json({**({"token": token} if args.action == "attenuate" else {}), **_as_value(said)})
    elif args.action == "attenuate":
        say(token)
        complain(f"for {said.principal}, id {said.name}, until {_day(said.expires_ms)}")
    else:
        say(f"for {said.principal}, id {said.name}, until {_day(said.expires_ms)}; each line narrows the ones above")
        for layer in said.grant.layers:
            say("  " + (" or ".join(orjson.dumps(clause.as_value()).decode() if clause.caveats else clause.pattern for clause in layer) or "nothing"))
    return 0


def wanted(grants: list[str] | None) -> list[Any] | None:
    """Clauses as they stand on a command line: patterns, and JSON for those with caveats. Raises `InvalidInput`."""
    try:
        return None if grants is None else [orjson.loads(grant) if grant.lstrip().startswith("{") else grant for grant in grants]
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"--grant is neither a pattern nor JSON: {error}", fix="""e.g. --grant '{"pattern": "shop.**", "caveats": [{"calls": 5}]}'""") from None


def _given(args: argparse.Namespace) -> str:
    text = args.token if args.token not in (None, "-") else os.environ.get("INHABIT_TOKEN") if args.token is None else None
    return (text if text is not None else sys.stdin.readline()).strip()


def _as_value(said: Token) -> dict[str, Any]:
    return {"id": said.name, "principal": str(said.principal), "expires_ms": said.expires_ms, "grant": said.grant.as_value()}


def _day(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")
