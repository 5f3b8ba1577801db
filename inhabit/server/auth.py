"""Who is asking: the one place where a bearer token becomes a `Caller`, for the HTTP API and MCP alike.

A token is read from the Authorization header and nowhere else, so that it is in no URL, log or Referer. The
store keeps only its hash; what comes back is the principal and the grant that the token was made with.

Invariant: past this layer every request on a protected route has `scope["inhabit.identity"]`, made of the token
alone; nothing a client sends can name a principal or widen a grant.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Protocol

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from inhabit.contracts.principal import Principal
from inhabit.kernel.grants import Grant
from inhabit.runtime.service import Caller
from inhabit.server.problems import problem
from inhabit.store.audit.events import Actor

__all__ = ["MAX_TOKEN_CHARS", "Authenticate", "Identity", "TokenCheck", "caller_of", "identify", "identity_of"]

_SCOPE_IDENTITY = "inhabit.identity"
MAX_TOKEN_CHARS = 8_192
"""An attenuable token grows with each step that narrows it."""
_SESSION_CHARS = 200


@dataclass(frozen=True, slots=True)
class Identity:
    """What a valid token stands for. `token_id` is public: it names the token in lists and bounds. `operator`: the person
    whose machine the server runs on, who may make tokens for others. `attended`: somebody answers what is asked.
    `approve`: the token was made for answering questions; `vouch`: for starting programs whose author may be said to be `closed`. `attenuable`: its holders narrow it by themselves; `chain` are
    the ids of what they added. All of them count as the one that was issued, in bounds and for what was read.
    """

    token_id: str
    principal: Principal
    grant: Grant
    operator: bool = False
    attended: bool = False
    approve: bool = False
    vouch: bool = False
    attenuable: bool = False
    chain: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What a revocation names: the ids from the issued token down to this one."""
        return ".".join((self.token_id, *self.chain))

    @property
    def actor(self) -> Actor:
        """Who did what this identity asked for, as the audit log tells it."""
        return Actor(self.principal, "operator" if self.operator else f"token {self.name}")


class TokenCheck(Protocol):
    def __call__(self, token: str, /) -> Awaitable[Identity | None]:
        """The identity, or None for a token that is unknown, expired or revoked: the three look the same."""
        ...


class Authenticate:
    """ASGI middleware. Paths that one of `public` matches as a whole are passed on without a token."""

    def __init__(self, app: ASGIApp, check: TokenCheck, public: tuple[re.Pattern[str], ...]) -> None:
        self._app = app
        self._check = check
        self._public = public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or any(pattern.match(_path(scope)) for pattern in self._public):
            await self._app(scope, receive, send)
            return
        identity = await identify(scope, self._check)
        if isinstance(identity, Response):
            await identity(scope, receive, send)
            return
        await self._app(_known(scope, identity), receive, send)


async def identify(scope: Scope, check: TokenCheck) -> Identity | Response:
    """Whom the request's own bearer token stands for, else the answer that refuses it."""
    values = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(values) != 1:
        return _challenge("no bearer token was sent")
    scheme, _, token = values[0].decode("latin-1").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not 0 < len(token) <= MAX_TOKEN_CHARS:
        return _challenge("the Authorization header must be `Bearer TOKEN`")
    return await check(token) or _challenge("the token is unknown, expired or revoked", error="invalid_token")


def identity_of(request: Request) -> Identity:
    """Whose token came with this request."""
    identity: Identity = request.scope[_SCOPE_IDENTITY]
    return identity


def caller_of(request: Request, door: str = "http", conversation: str = "") -> Caller:
    """The caller of an authenticated request. Over MCP a model speaks: its conversation is the session, else the token."""
    identity = identity_of(request)
    if door == "mcp":
        session = request.headers.get("mcp-session-id")
        conversation = f"session:{session[:_SESSION_CHARS]}" if session else f"token:{identity.token_id}"
    return Caller(identity.principal, identity.grant, door, identity.attended, conversation,
                  "" if identity.operator else identity.name)


def _path(scope: Scope) -> str:
    """The path within this app, also when it is mounted under a prefix."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", "")) or "/"


def _known(scope: Scope, identity: Identity) -> Scope:
    """The scope with the caller, and with the user that the MCP SDK binds its sessions to."""
    access = AccessToken(token="", client_id=identity.name, scopes=[], subject=str(identity.principal))
    return {
        **scope,
        _SCOPE_IDENTITY: identity,
        "user": AuthenticatedUser(access),
    }


def _challenge(message: str, *, error: str | None = None) -> Response:
    challenge = 'Bearer realm="inhabit"' + (f', error="{error}"' if error else "")
    return problem(401, "unauthenticated", message, headers={"www-authenticate": challenge},
                   fix="send `Authorization: Bearer TOKEN`; `inhabit token create` makes one")
