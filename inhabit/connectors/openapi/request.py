"""Arguments of a call and the operation's plan to an HTTP request, without credentials and without sending."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

import orjson

from inhabit.connectors.openapi.styles import encode_query, header_value, path_value, query_pairs, scalar
from inhabit.contracts.connector import Call
from inhabit.contracts.json import is_array, is_object
from inhabit.errors import InvalidInput

__all__ = ["Prepared", "prepare"]

_PLACEHOLDER = re.compile(r"\{([^}]*)\}")
_File = tuple[str | None, bytes, str] | tuple[str | None, bytes]


@dataclass(slots=True)
class Prepared:
    """`path` and `query` are encoded. Exactly one of `content` and `files` is set when there is a body."""

    path: str
    query: str = ""
    headers: dict[str, str] = field(default_factory=dict[str, str])
    cookies: dict[str, str] = field(default_factory=dict[str, str])
    content: bytes | None = None
    files: list[tuple[str, _File]] | None = None


async def prepare(plan: Mapping[str, Any], call: Call) -> Prepared:
    """Raises `InvalidInput` for a value that cannot be carried where it belongs, `NotFound` for a lost reference."""
    arguments = call.arguments
    request = Prepared("")
    pairs: list[tuple[str, str, bool, bool]] = []
    segments: dict[str, str] = {}
    for entry in plan["params"]:
        if entry["arg"] not in arguments:
            continue
        value = arguments[entry["arg"]]
        if entry.get("json"):
            value = orjson.dumps(value).decode()
        _place(entry, value, request, pairs, segments)
    request.path = _path(plan["path"], segments)
    request.query = encode_query(pairs)
    if plan.get("accept"):
        request.headers["Accept"] = ", ".join([*plan["accept"], "*/*;q=0.1"])
    if plan.get("idempotency"):
        request.headers[plan["idempotency"]] = call.idempotency_key
    await _body(plan.get("body"), call, request, frozenset(entry["arg"] for entry in plan["params"]))
    return request


def _place(entry: Mapping[str, Any], value: Any, request: Prepared, pairs: list[tuple[str, str, bool, bool]], segments: dict[str, str]) -> None:
    name, style, explode = entry["name"], entry["style"], entry["explode"]
    match entry["in"]:
        case "path":
            segments[name] = path_value(name, value, style, explode, reserved=entry.get("reserved", False))
        case "query" if value is not None:
            ready = not explode and (is_array(value) or is_object(value)) and style != "deepObject"
            pairs += [(key, text, ready, entry.get("reserved", False)) for key, text in query_pairs(name, value, style, explode)]
        case "header" if value is not None:
            request.headers[name] = header_value(value, explode)
        case "cookie" if value is not None:
            request.cookies[name] = quote(header_value(value, explode), safe="")
        case _:
            pass


def _path(template: str, segments: Mapping[str, str]) -> str:
    def fill(found: re.Match[str]) -> str:
        name = found.group(1)
        reserved = name.startswith("+")
        text = segments.get(name.strip("+*?&/#.;"), segments.get(name))
        if text is None:
            raise InvalidInput(f"{name} is missing: it is part of the path", code="arguments_invalid")
        return text.replace("%2F", "/") if reserved and ".." not in text else text

    path, _, query = template.partition("?")
    filled = _PLACEHOLDER.sub(fill, path)
    return quote(filled, safe="/%:@!$&'()*+,;=-._~") + (f"?{query}" if query and "{" not in query else "")


# -- bodies ---------------------------------------------------------------------------------------------------


async def _body(body: Mapping[str, Any] | None, call: Call, request: Prepared, beside: frozenset[str]) -> None:
    if body is None:
        return
    given, value = _body_value(body, call.arguments, beside)
    if not given:
        if not body["required"] or body["kind"] not in {"json", "form"}:
            return
        value = {}
    match body["kind"]:
        case "json":
            request.content = orjson.dumps(value)
            request.headers["Content-Type"] = body["media"]
        case "form":
            request.content = _form(body, value).encode()
            request.headers["Content-Type"] = "application/x-www-form-urlencoded"
        case "multipart":
            request.files = await _parts(body, value, call)
        case _:
            request.content, media = await _bytes(value, call)
            request.headers["Content-Type"] = media or body["media"]


def _body_value(body: Mapping[str, Any], arguments: Mapping[str, Any], beside: frozenset[str]) -> tuple[bool, Any]:
    """Whether there is a body, and its value. `beside`: arguments that are parameters."""
    if "arg" in body:
        return body["arg"] in arguments, arguments.get(body["arg"])
    value = {wire: arguments[arg] for arg, wire in body["props"].items() if arg in arguments}
    if body.get("open"):
        more = {name: item for name, item in arguments.items() if name not in body["props"] and name not in beside}
        for arg, wire in body["props"].items():
            if wire in more:    # a declared property has one name: under the other it would pass by what a grant bounds
                raise InvalidInput(f"unknown argument {wire!r}", fix=f"write {arg}", code="arguments_invalid")
        value.update(more)
    return bool(value), value


def _form(body: Mapping[str, Any], value: Any) -> str:
    """Objects become `name[key]` unless an encoding says otherwise; lists are repeated."""
    if not is_object(value):
        return scalar(value)
    pairs: list[tuple[str, str]] = []
    for name, item in value.items():
        nested = is_object(item) or (is_array(item) and any(is_object(part) or is_array(part) for part in item))
        style, explode = body.get("styles", {}).get(name, ["deepObject" if nested else "form", True])
        pairs += query_pairs(name, item, style, explode)
    return urlencode(pairs)


async def _parts(body: Mapping[str, Any], value: Any, call: Call) -> list[tuple[str, _File]]:
    parts: list[tuple[str, _File]] = []
    for name, item in (value.items() if is_object(value) else ()):
        for one in item if is_array(item) and all(_is_reference(part) for part in item) else [item]:
            parts.append((name, await _part(name, one, body.get("types", {}).get(name), call)))
    return parts


async def _part(name: str, value: Any, media: str | None, call: Call) -> _File:
    if _is_reference(value):
        data, kind = await _bytes(value, call)
        return (str(value.get("name") or name), data, kind or media or "application/octet-stream")
    if is_object(value) or is_array(value):
        return (None, orjson.dumps(value), media or "application/json")
    text = scalar(value).encode()
    return (None, text, media) if media else (None, text)


async def _bytes(value: Any, call: Call) -> tuple[bytes, str | None]:
    """Content of a reference with its type, or a text as UTF-8."""
    if _is_reference(value):
        kind = value.get("type")
        return await call.blobs.get(value, tenant=call.principal.tenant), kind if isinstance(kind, str) else None
    return scalar(value).encode(), None


def _is_reference(value: Any) -> bool:
    return is_object(value) and isinstance(value.get("$binary"), str)
