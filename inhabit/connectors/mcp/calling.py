"""One call on one session: what is sent, and what each way of failing is called.

`Stage` says whether anything was sent, so that an error can tell whether an effect may have happened.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from mcp import ClientSession, types
from mcp.shared.exceptions import MCPError
from pydantic import BaseModel, TypeAdapter, ValidationError

from inhabit.connectors.mcp.content import error_text, resource_value, sequence_value, tool_value
from inhabit.connectors.mcp.http import SESSION_GONE
from inhabit.connectors.mcp.link import Link, Unsent
from inhabit.connectors.mcp.text import one_line
from inhabit.connectors.mcp.tools import Tool
from inhabit.contracts.connector import Call
from inhabit.errors import CallTimeout, Effect, InhabitError, ResultInvalid, UpstreamError

__all__ = ["SessionGone", "Stage", "list_resources", "list_templates", "read_resource", "run_tool", "upstream"]

MAX_LISTED = 2_000
MAX_PAGES = 50
MAX_MESSAGE_CHARS = 2_000
_REQUEST_TIMEOUT = -32001

_TOOL: TypeAdapter[types.CallToolResult | types.InputRequiredResult] = TypeAdapter(types.CallToolResult | types.InputRequiredResult)
_READ: TypeAdapter[types.ReadResourceResult | types.InputRequiredResult] = TypeAdapter(
    types.ReadResourceResult | types.InputRequiredResult)
_R = TypeVar("_R", bound=BaseModel)


class SessionGone(Exception):
    """The session is over and the request may be sent again on a new one: the server had not looked at it, or it
    only reads. The cause is what to say when the new session fares no better."""

    def __init__(self, error: InhabitError) -> None:
        super().__init__(error.message)
        self.error = error


@dataclass(slots=True)
class Stage:
    """How far a call came."""

    may_write: bool
    sent: bool = False
    waiting: bool = False

    @property
    def effect(self) -> Effect:
        return "unknown" if self.sent and self.may_write else "none"


async def run_tool(link: Link, tool: Tool, call: Call, stage: Stage) -> Any:
    session = await link.session()
    request = types.CallToolRequest(params=types.CallToolRequestParams(name=tool.remote, arguments=tool.arguments(call.arguments)))
    asked_before = link.refused.count
    result = await _request(link, call, stage, session, request, _TOOL, _progress(call))
    if isinstance(result, types.InputRequiredResult):
        raise _input_refused(call, stage, result)
    if result.is_error:
        raise UpstreamError(error_text(result) + _refusals(link, asked_before), effect=stage.effect, details={"tool": one_line(tool.remote, 120)})
    return await tool_value(call, result, declares_output=tool.declares_output)


async def read_resource(link: Link, call: Call, stage: Stage) -> Any:
    session = await link.session()
    request = types.ReadResourceRequest(params=types.ReadResourceRequestParams(uri=str(call.arguments.get("uri", ""))))
    result = await _request(link, call, stage, session, request, _READ, _progress(call))
    if isinstance(result, types.InputRequiredResult):
        raise _input_refused(call, stage, result)
    return await resource_value(call, result)


async def list_resources(link: Link, call: Call, stage: Stage) -> Any:
    def request(cursor: str | None) -> Any:
        return types.ListResourcesRequest(params=types.PaginatedRequestParams(cursor=cursor))

    def rows(page: types.ListResourcesResult) -> list[dict[str, Any]]:
        return [{"uri": str(item.uri), "name": item.name, "title": item.title, "description": item.description,
                 "mime_type": item.mime_type, "size": item.size} for item in page.resources]

    return await _listed(link, call, stage, request, types.ListResourcesResult, rows)


async def list_templates(link: Link, call: Call, stage: Stage) -> Any:
    def request(cursor: str | None) -> Any:
        return types.ListResourceTemplatesRequest(params=types.PaginatedRequestParams(cursor=cursor))

    def rows(page: types.ListResourceTemplatesResult) -> list[dict[str, Any]]:
        return [{"uri_template": item.uri_template, "name": item.name, "title": item.title,
                 "description": item.description, "mime_type": item.mime_type} for item in page.resource_templates]

    return await _listed(link, call, stage, request, types.ListResourceTemplatesResult, rows)


async def _listed(link: Link, call: Call, stage: Stage, request: Callable[[str | None], Any], kind: Any,
                  rows: Callable[[Any], list[dict[str, Any]]]) -> Any:
    """All pages of a list, up to the bounds."""
    session = await link.session()
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    for _page in range(MAX_PAGES):
        page = await _request(link, call, stage, session, request(cursor), TypeAdapter(kind))
        found += rows(page)
        cursor = page.next_cursor
        if not cursor or len(found) >= MAX_LISTED:
            break
    return sequence_value(found[:MAX_LISTED])


def upstream(error: MCPError, link: Link, name: str, effect: Effect) -> InhabitError:
    """The error of a call for an error of the protocol."""
    behind = link.sender.fault_of(error) if link.sender is not None else None
    if behind is not None:
        return behind
    text = one_line(error.error.message, MAX_MESSAGE_CHARS)
    if error.error.code == types.CONNECTION_CLOSED:
        return UpstreamError(f"the server of {name} ended while the call was under way{link.last_words()}", effect=effect,
                             fix="it is started again at the next call", code="upstream_died")
    if error.error.code == _REQUEST_TIMEOUT:
        return CallTimeout(f"{name}: {text}", effect=effect)
    if error.error.code == types.METHOD_NOT_FOUND:
        effect = "none"
    return UpstreamError(text or f"the server of {name} answered with error {error.error.code}", effect=effect,
                         details={"jsonrpc_code": error.error.code})


async def _request(link: Link, call: Call, stage: Stage, session: ClientSession, request: types.Request[Any, Any],
                   shape: TypeAdapter[_R], progress: Callable[..., Any] | None = None) -> _R:
    stage.sent = True
    try:
        return await session.send_request(request, shape, progress_callback=progress)
    except MCPError as error:
        failure = upstream(error, link, call.operation.connector, stage.effect)
        unseen = isinstance(error, Unsent) or failure.specific_code == SESSION_GONE
        if unseen or (failure.specific_code == "upstream_died" and not stage.may_write):
            raise SessionGone(failure) from error
        raise failure from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ResultInvalid(
            f"{call.operation.name}: the server's answer is not a {request.method} result: "
            f"{one_line('/'.join(map(str, first['loc'])), 100)}: {one_line(first['msg'], 200)}",
            effect=stage.effect, details={"pointer": "/" + "/".join(map(str, first["loc"]))}) from error


def _input_refused(call: Call, stage: Stage, result: types.InputRequiredResult) -> UpstreamError:
    wanted = sorted({one_line(request.method, 60) for request in (result.input_requests or {}).values()})
    what = ", ".join(wanted) or "more input"
    return UpstreamError(f"{call.operation.name}: the server asks for {what}, which is refused: this client offers no "
                         "elicitation, sampling or roots", effect=stage.effect, code="input_refused", details={"asked": wanted})


def _refusals(link: Link, before: int) -> str:
    if link.refused.count == before:
        return ""
    return f" (while the call was under way the server asked for {link.refused.what}, which is refused)"


def _progress(call: Call) -> Callable[..., Any]:
    async def told(progress: float, total: float | None, message: str | None) -> None:
        share = f"{progress:g}/{total:g}" if total else f"{progress:g}"
        words = one_line(message, 200)
        call.progress(f"{share} {words}".strip())
    return told
