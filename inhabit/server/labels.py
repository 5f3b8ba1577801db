"""The routes over the labels of conversations: which carry some, and the operator's word that one is harmless again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Protocol

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from inhabit.contracts.principal import Principal
from inhabit.errors import Denied
from inhabit.server.auth import identity_of
from inhabit.server.endpoints import Endpoint, json_response
from inhabit.server.requests import NoQuery, StrictBody, read_body, read_query
from inhabit.store.conversations import Cleared, ConversationLabels

__all__ = ["ClearBody", "LabelsDesk", "labels_endpoints"]


class LabelsDesk(Protocol):
    async def list(self, *, tenant: str) -> Sequence[ConversationLabels]: ...

    async def cleared(self, *, tenant: str) -> Sequence[Cleared]: ...

    async def clear(self, principal: Principal, scope: str, *, by: str, reason: str, now_ms: int) -> Cleared: ...


class ClearBody(StrictBody):
    user: str = Field(max_length=128)
    conversation: str = Field(max_length=300, description="as it is listed")
    reason: str = Field(max_length=500)


def labels_endpoints(desk: LabelsDesk, now_ms: Callable[[], int]) -> tuple[Endpoint, ...]:
    def operator(request: Request) -> Principal:
        identity = identity_of(request)
        if not identity.operator:   # a program's author must not take off what it has read
            raise Denied("only the operator sees and clears labels", fix="run `inhabit labels` on the server")
        return identity.principal

    async def show(request: Request) -> Response:
        read_query(request, NoQuery)
        tenant = operator(request).tenant
        return json_response({"conversations": [asdict(one) for one in await desk.list(tenant=tenant)],
                              "cleared": [asdict(one) for one in await desk.cleared(tenant=tenant)]})

    async def clear(request: Request) -> Response:
        who, asked = operator(request), await read_body(request, ClearBody)
        done = await desk.clear(Principal(asked.user, who.tenant), asked.conversation, by=str(who), reason=asked.reason, now_ms=now_ms())
        return json_response(asdict(done))

    return (
        Endpoint("GET", "/v1/labels", show, "What conversations have read (operator)", {200: "labels, and what was cleared"}, errors=(403, 422)),
        Endpoint("POST", "/v1/labels/clear", clear, "Take the labels off a conversation (operator)", {200: "what was cleared"},
                 body=ClearBody, errors=(403, 404, 413, 422)),
    )
