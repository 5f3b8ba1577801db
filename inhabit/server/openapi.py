"""The OpenAPI document of the HTTP API, made from the same table that makes the routes."""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel

from inhabit.server.endpoints import Endpoint

__all__ = ["document"]

_REASONS = {
    400: "The request cannot be read", 401: "No valid token", 403: "Not allowed", 404: "There is none, or it is not yours",
    408: "The body came too slowly", 409: "It is decided already", 413: "Larger than a limit", 415: "The body is not application/json",
    421: "Host not on the allow-list", 431: "Too many or too long headers", 422: "A wrong argument, or a program that does not fit; nothing ran",
    424: "A connection upstream is missing", 429: "Too many at once", 500: "The server failed", 502: "A system upstream failed", 503: "A needed part is not there now",
}
_ERROR: dict[str, Any] = {
    "type": "object", "required": ["code", "message", "retryable", "effect"],
    "properties": {
        "code": {"type": "string"}, "message": {"type": "string"}, "retryable": {"type": "boolean"},
        "effect": {"enum": ["none", "happened", "unknown"], "description": "whether an effect reached the outside"},
        "fix": {"type": "string"}, "details": {"type": "object"},
    },
}
_PROBLEM: dict[str, Any] = {
    "type": "object", "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string"}, "title": {"type": "string"}, "status": {"type": "integer"}, "detail": {"type": "string"},
        "code": {"type": "string", "description": "match on this"}, "fix": {"type": "string"},
        "retryable": {"type": "boolean"}, "effect": {"enum": ["none", "happened", "unknown"]}, "details": {"type": "object"},
    },
}


def document(title: str, version: str, endpoints: tuple[Endpoint, ...]) -> dict[str, Any]:
    """OpenAPI 3.1. Every endpoint is in it; `/mcp` is not, since MCP describes itself."""
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        path = re.sub(r":int\}", "}", endpoint.path)
        paths.setdefault(path, {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version, "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}},
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Problem": _PROBLEM, "Error": _ERROR},
        },
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": _operation_id(endpoint), "summary": endpoint.summary,
        "parameters": [*_path_parameters(endpoint.path), *_query_parameters(endpoint.query)],
        "responses": {
            **{str(status): _answer(endpoint, status, text) for status, text in endpoint.answers.items()},
            **{str(status): _problem(status) for status in _error_statuses(endpoint)},
        },
    }
    if endpoint.public:
        operation["security"] = []
    if endpoint.body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": endpoint.body.model_json_schema()}}}
    return operation


def _operation_id(endpoint: Endpoint) -> str:
    words = re.findall(r"[a-z]+", endpoint.path.replace("{run_id}", "run").replace("{number:int}", "number"))
    return "_".join([endpoint.method.lower(), *(w for w in words if w != "v")])


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "integer" if kind else "string"}}
            for name, kind in re.findall(r"\{(\w+)(:int)?\}", path)]


def _query_parameters(model: type[BaseModel]) -> list[dict[str, Any]]:
    schema = model.model_json_schema()
    return [{"name": name, "in": "query", "required": name in schema.get("required", ()), "schema": field,
             **({"description": field["description"]} if "description" in field else {})}
            for name, field in schema.get("properties", {}).items()]


def _answer(endpoint: Endpoint, status: int, text: str) -> dict[str, Any]:
    if status == 204:
        return {"description": text}
    return {"description": text, "content": {endpoint.content: {"schema": endpoint.answer_schema}}}


def _problem(status: int) -> dict[str, Any]:
    return {"description": _REASONS[status],
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}}


def _error_statuses(endpoint: Endpoint) -> list[int]:
    """What the handler answers, and what the layers around it do."""
    body = (408, 413, 415, 422) if endpoint.body is not None else ()
    return sorted({*endpoint.errors, *body, 403, 421, 431, 500, *(() if endpoint.public else (401,))})
