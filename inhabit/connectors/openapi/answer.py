"""An HTTP response to plain data, or to an error that a program can match on."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import httpx2
import orjson

from inhabit.connectors.openapi.media import kind_of, media_of
from inhabit.contracts.connector import Call
from inhabit.contracts.operation import Operation
from inhabit.errors import Effect, UpstreamError

__all__ = ["failure", "value_of"]

_EXCERPT_CHARS = 2_000


async def value_of(response: httpx2.Response, body: bytes, call: Call, declared: str | None) -> Any:
    """JSON to data, text to a string, the rest to a reference. Raises `UpstreamError` for JSON that is none."""
    content_type = response.headers.get("content-type", "")
    if call.operation.origin.startswith("HEAD "):
        return {"status": response.status_code, "headers": dict(response.headers)}
    if not body:
        return "" if declared == "text" else None
    kind = declared or (kind_of(content_type) if content_type else "json")
    match kind:
        case "json":
            return _json(body, call.operation, required=bool(content_type))
        case "binary" | "multipart":
            return await call.blobs.put(body, tenant=call.principal.tenant, mime=media_of(content_type) or "application/octet-stream")
        case _:
            return _text(body, response)


def failure(response: httpx2.Response, body: bytes, operation: Operation) -> UpstreamError:
    """The error of a response that is not 2xx. A 4xx says that nothing happened; a 5xx leaves it open."""
    status = response.status_code
    effect: Effect = "unknown" if status >= 500 and operation.effects.may_write else "none"
    meaning = next((doc.description for doc in operation.errors if doc.code == f"http_{status}"), "") or _phrase(status)
    details: dict[str, Any] = {"status": status}
    excerpt = _excerpt(body, response)
    if excerpt not in (None, ""):
        details["body"] = excerpt
    for name in ("retry-after", "location"):
        if name in response.headers:
            details[name.replace("-", "_")] = response.headers[name][:300]
    return UpstreamError(f"{operation.name} answered {status}: {meaning}", code=f"http_{status}", effect=effect,
                         details=details, fix=_fix(status))


def _fix(status: int) -> str | None:
    match status:
        case 401 | 403:
            return "the upstream refused the credential of this connection, or its scopes"
        case 429:
            return "wait, then try again; see details.retry_after"
        case _:
            return None


def _json(body: bytes, operation: Operation, *, required: bool) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        if not required:
            return body.decode("utf-8", "replace")
        raise UpstreamError(f"{operation.name} answered with something that is not JSON, though it says so",
                            code="response_invalid", effect="happened" if operation.effects.may_write else "none",
                            details={"body": body[:_EXCERPT_CHARS].decode("utf-8", "replace")}) from None


def _text(body: bytes, response: httpx2.Response) -> str:
    try:
        return body.decode(response.charset_encoding or "utf-8", "replace")
    except LookupError:
        return body.decode("utf-8", "replace")


def _excerpt(body: bytes, response: httpx2.Response) -> Any:
    """Small JSON as data, else the beginning of the text; nothing of binary content."""
    kind = kind_of(response.headers.get("content-type", "application/json"))
    if kind == "json" and len(body) <= _EXCERPT_CHARS:
        try:
            found: Any = orjson.loads(body)
        except orjson.JSONDecodeError:
            return _text(body, response)
        return found
    return _text(body[:_EXCERPT_CHARS], response) if kind in {"json", "text"} else None


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "an error"
