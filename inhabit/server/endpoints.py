"""One HTTP route: what serves it and what documents it, in one value, so that neither exists without the other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from inhabit.errors import InhabitError
from inhabit.server.problems import error_response
from inhabit.server.requests import NoQuery

__all__ = ["STOPPING", "Endpoint", "Handler", "json_response", "routes"]

STOPPING = "inhabit.stopping"
"""In a request's scope: an event that is set when the server begins to stop, for answers that would never end."""

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`answers`: status → what it means; `content`: media type of the good answers. `public`: no token asked."""

    method: str
    path: str
    handler: Handler
    summary: str
    answers: Mapping[int, str]
    query: type[BaseModel] = NoQuery
    body: type[BaseModel] | None = None
    content: str = "application/json"
    answer_schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "object"})
    errors: tuple[int, ...] = ()
    public: bool = False


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(orjson.dumps(value, default=dict), status, headers, "application/json")


def routes(endpoints: tuple[Endpoint, ...]) -> list[Route]:
    return [Route(endpoint.path, _served(endpoint), methods=[endpoint.method]) for endpoint in endpoints]


def _served(endpoint: Endpoint) -> Handler:
    async def serve(request: Request) -> Response:
        request.scope.get("inhabit.note", {})["route"] = endpoint.path
        try:
            return await endpoint.handler(request)
        except InhabitError as error:
            return error_response(error)

    return serve
