"""Errors over HTTP: one JSON shape, RFC 9457 `application/problem+json` with our `code`, `fix` and `effect`."""

from __future__ import annotations

import http
import logging
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from inhabit.errors import InhabitError

__all__ = ["error_response", "problem", "unexpected"]

_log = logging.getLogger(__name__)
_RETRY_AFTER_S = {429: 5, 503: 1}


def problem(status: int, code: str, message: str, *, fix: str | None = None, headers: dict[str, str] | None = None,
            **more: Any) -> Response:
    """A problem response. `code` is what a client matches on; `fix` is what its person does."""
    body: dict[str, Any] = {
        "type": f"urn:inhabit:error:{code}", "title": http.HTTPStatus(status).phrase, "status": status,
        "detail": message, "code": code, **more,
    }
    if fix:
        body["fix"] = fix
    return Response(orjson.dumps(body), status, headers, "application/problem+json")


def error_response(error: InhabitError) -> Response:
    value = error.as_value()
    headers = {"retry-after": str(_RETRY_AFTER_S[error.status])} if error.status in _RETRY_AFTER_S else None
    more = {key: value[key] for key in ("retryable", "effect", "details") if key in value}
    return problem(error.status, value["code"], value["message"], fix=value.get("fix"), headers=headers, **more)


async def unexpected(request: Request, error: Exception) -> Response:
    """For what nobody raised on purpose: the log has the traceback, the client gets none of it."""
    _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return problem(500, "internal", "the server failed; its log says why", retryable=False, effect="unknown")
