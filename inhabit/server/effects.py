"""The routes of the effects review: what tools are taken to do, and the operator's confirmation of what they say.

A confirmation repeats the hash of the tool as it was shown: one that has changed since is not confirmed by it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from inhabit.errors import Denied
from inhabit.server.auth import identity_of
from inhabit.server.endpoints import Endpoint, json_response
from inhabit.server.requests import NoQuery, StrictBody, read_body, read_query

__all__ = ["ConfirmBody", "EffectsDesk", "effects_endpoints"]

MAX_TOOLS = 10_000


class EffectsDesk(Protocol):
    def proposals(self) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """By source: `{name, proposed, current, schema_hash, state, reason}` of each tool."""
        ...

    async def confirm(self, source: str, tools: Mapping[str, str], *, by: str) -> Sequence[str]:
        """Confirm what the source says of the tools, given with their hashes; returns the names that were.
        Raises `NotFound`."""
        ...


class ConfirmBody(StrictBody):
    source: str = Field(max_length=200)
    tools: dict[str, str] = Field(min_length=1, max_length=MAX_TOOLS, description="operation → `schema_hash` as it was shown")


def effects_endpoints(desk: EffectsDesk) -> tuple[Endpoint, ...]:
    def only_the_operator(request: Request) -> str:
        identity = identity_of(request)
        if not identity.operator:
            raise Denied("only the operator reviews effects", fix="run `inhabit effects review` on the server")
        return str(identity.principal)

    async def show(request: Request) -> Response:
        read_query(request, NoQuery)
        only_the_operator(request)
        return json_response({"sources": desk.proposals()})

    async def confirm(request: Request) -> Response:
        asked = await read_body(request, ConfirmBody)
        done = await desk.confirm(asked.source, asked.tools, by=only_the_operator(request))
        return json_response({"source": asked.source, "confirmed": done, "changed": sorted(set(asked.tools) - set(done))})

    return (
        Endpoint("GET", "/v1/effects", show, "What the tools of MCP servers are taken to do (operator)", {200: "by source"}, errors=(403, 422)),
        Endpoint("POST", "/v1/effects", confirm, "Take the word of a server for some of its tools (operator)",
                 {200: "what was confirmed; it holds from now on"}, body=ConfirmBody, errors=(403, 404, 413, 422)),
    )
