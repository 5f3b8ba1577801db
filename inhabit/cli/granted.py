"""What befell tokens, as the home's audit log tells it: read from `server.db`, whether a server has it or not."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from inhabit.cli.terminal import show_json, table
from inhabit.server.tokens import authority_of
from inhabit.store.audit.events import TokenEvent, token_events
from inhabit.store.audit.verify import open_readonly
from inhabit.store.tenants.naming import SERVER

__all__ = ["main"]

_HEAD = ("WHEN", "WHAT", "TOKEN", "FOR", "BY", "MAY")
_KEY_CHARS = 16


def main(home: Path, tenant: str | None, *, as_json: bool) -> int:
    told = _told(home, tenant)
    if as_json:
        show_json(told)
    else:
        table(_HEAD, [_row(one) for one in told])
    return 0


def _told(home: Path, tenant: str | None) -> Sequence[dict[str, Any]]:
    """None in a home that an older version left."""
    if not (home / SERVER).is_file():
        return []
    with closing(open_readonly(home / SERVER)) as connection:
        return [_value(one) for one in token_events(connection, tenant)]


def _value(one: TokenEvent) -> dict[str, Any]:
    said = dict(one.said)
    if "authority" in said:
        authority = authority_of(said.pop("authority"))
        said |= {"grant": authority.grant.as_value(), "approve": authority.approve, "vouch": authority.vouch}
    return {"event": one.event, "token": one.token, **said, "at_ms": one.at_ms, "leaf": one.position}


def _row(event: dict[str, Any]) -> tuple[str, ...]:
    token = event["token"][:_KEY_CHARS] if event["event"] == "token_key_rotated" else event["token"]
    return (_at(event["at_ms"], "%Y-%m-%d %H:%M:%S"), event["event"].removeprefix("token_").replace("_", " "), token, event["principal"],
            f"{event['by']} ({event['credential']})".lstrip(), _may(event))


def _may(event: dict[str, Any]) -> str:
    """What a token that was made may do, in the words of its grant, layer by layer."""
    if "grant" not in event:
        return ""
    layers = " and ".join(" or ".join(orjson.dumps(clause).decode() if clause["caveats"] else clause["pattern"] for clause in layer) or "nothing"
                          for layer in event["grant"]["layers"])
    return ("approve; " if event["approve"] else "vouch; " if event["vouch"] else "") + layers + (f", until {_at(event['expires_ms'], '%Y-%m-%d %H:%M')}" if event["expires_ms"] else "")


def _at(at_ms: int, form: str) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime(form)
