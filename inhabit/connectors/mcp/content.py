"""What a tool or a resource answered, as plain JSON data for a program.

Structured content wins. Else a single text is the string itself, several parts are a list. Bytes never travel
inline: they become journaled references (`{"$binary": …}`) of the caller's tenant.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

import orjson
from mcp import types

from inhabit.connectors.mcp.text import one_line
from inhabit.contracts.connector import Call
from inhabit.errors import ResultInvalid, UpstreamError

__all__ = ["error_text", "resource_value", "sequence_value", "tool_value"]

MAX_ERROR_CHARS = 2_000


async def tool_value(call: Call, result: types.CallToolResult, *, declares_output: bool) -> Any:
    """The value of a successful result. Raises `ResultInvalid` where the server promised structure and gave none."""
    if result.structured_content is not None:
        return result.structured_content
    if declares_output:
        return _promised(call, result)
    parts = [await _part(call, block) for block in result.content]
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else parts


async def resource_value(call: Call, result: types.ReadResourceResult) -> list[dict[str, Any]]:
    return [await _resource(call, item) for item in result.contents]


def error_text(result: types.CallToolResult) -> str:
    """What the server says went wrong, on one bounded line."""
    texts = [block.text for block in result.content if isinstance(block, types.TextContent)]
    return one_line("\n".join(texts), MAX_ERROR_CHARS) or "the tool reported an error without a text"


def _promised(call: Call, result: types.CallToolResult) -> Any:
    """Older servers declare an output schema and send the JSON as text: read it; anything else is a broken promise."""
    texts = [block.text for block in result.content if isinstance(block, types.TextContent)]
    if len(texts) == 1:
        try:
            return orjson.loads(texts[0])
        except orjson.JSONDecodeError:
            pass
    raise ResultInvalid(
        f"{call.operation.name} declares an output schema, but the server sent no structured content",
        effect="unknown" if call.operation.effects.may_write else "none", details={"pointer": "", "expected": "structured content"})


async def _part(call: Call, block: types.ContentBlock) -> Any:
    match block:
        case types.TextContent():
            return block.text
        case types.ImageContent() | types.AudioContent():
            return await _binary(call, block.data, block.mime_type)
        case types.EmbeddedResource():
            return await _resource(call, block.resource)
        case types.ResourceLink():
            link = {"uri": str(block.uri), "name": block.name, "title": block.title,
                    "description": block.description, "mime_type": block.mime_type, "size": block.size}
            return {key: value for key, value in link.items() if value is not None}


async def _resource(call: Call, item: types.TextResourceContents | types.BlobResourceContents) -> dict[str, Any]:
    value: dict[str, Any] = {"uri": str(item.uri)}
    if item.mime_type:
        value["mime_type"] = item.mime_type
    if isinstance(item, types.TextResourceContents):
        value["text"] = item.text
    else:
        value["data"] = await _binary(call, item.blob, item.mime_type or "application/octet-stream")
    return value


async def _binary(call: Call, data: str, mime: str) -> dict[str, Any]:
    try:
        raw = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise UpstreamError(f"{call.operation.name} sent binary content that is not base64",
                            effect="unknown" if call.operation.effects.may_write else "none") from None
    return await call.blobs.put(raw, tenant=call.principal.tenant, mime=one_line(mime, 120) or "application/octet-stream")


def sequence_value(items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Listed things with the absent fields left out."""
    return [{key: value for key, value in item.items() if value is not None} for item in items]
