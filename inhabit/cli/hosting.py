"""Serving an app over HTTP from the command line: the note for later commands, the operator's own token, the words printed."""

from __future__ import annotations

import hmac
import secrets
import socket
from collections.abc import Callable

from inhabit.app import Inhabit
from inhabit.cli.client import write_note
from inhabit.cli.terminal import complain
from inhabit.contracts.clock import now_ms
from inhabit.contracts.principal import Principal
from inhabit.server.auth import Identity, TokenCheck
from inhabit.server.hosting import serve, url_of

__all__ = ["first_token", "host", "warn_of_problems"]


async def host(app: Inhabit, opened: socket.socket, principal: Principal, announce: Callable[[str], None]) -> None:
    """Serve a started app until a signal. `announce` is called with the URL once connections are accepted."""
    operator_token = secrets.token_hex(32)
    url = url_of(opened)
    app.home.url = app.home.url or url
    note = write_note(app.home.path, url, operator_token, principal)
    try:
        await serve(app.http_app(_or_operator(app, operator_token, principal)), opened, lambda: announce(url))
    finally:
        note.unlink(missing_ok=True)


async def first_token(app: Inhabit, principal: Principal) -> str | None:
    """A token for an agent, when this principal has none that is alive; else None: tokens are shown once."""
    now = now_ms()
    for record in await app.home.tokens.list(tenant=principal.tenant):
        if record.principal == principal and record.revoked_ms is None and (record.expires_ms or now + 1) > now:
            return None
    token, _ = await app.create_token(principal, label="first start")
    return token


def warn_of_problems(app: Inhabit) -> None:
    for name, error in app.problems.items():
        complain(f"{name} is left out: {error.message}" + (f" ({error.fix})" if error.fix else ""))
    for name, (operations, problems) in app.sources().items():
        if problems and not operations:
            complain(f"{name} has no operations now: {problems[0].reason}")
        elif problems:
            complain(f"{name}: {len(problems)} parts could not be used, the first: {problems[0].pointer}: {problems[0].reason}")


def _or_operator(app: Inhabit, operator_token: str, principal: Principal) -> TokenCheck:
    async def check(token: str) -> Identity | None:
        if hmac.compare_digest(token.encode(), operator_token.encode()):
            return Identity("operator", principal, app.grant_of(principal), operator=True, attended=await app.attended_for(principal))
        return await app.check_token(token)

    return check
