"""Swagger 2.0 in the words of OpenAPI 3: bodies, form data, servers and security. Schemas stay where they are.

The result keeps the old sections beside the new ones, so that `#/definitions/X` still points at something.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from inhabit.connectors.openapi.document import Broken, Documents, Place, Problems, array, obj

__all__ = ["METHODS", "upgraded"]

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_SCHEMA_KEYS = ("type", "format", "items", "default", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum",
                "maxLength", "minLength", "pattern", "maxItems", "minItems", "uniqueItems", "enum", "multipleOf", "x-nullable")
_STYLES: Mapping[str, Mapping[str, Any]] = {
    "csv": {"explode": False}, "ssv": {"style": "spaceDelimited", "explode": False}, "tsv": {"style": "tabDelimited", "explode": False},
    "pipes": {"style": "pipeDelimited", "explode": False}, "multi": {"style": "form", "explode": True},
}
_FLOWS = {"implicit": "implicit", "password": "password", "application": "clientCredentials", "accessCode": "authorizationCode"}


def upgraded(documents: Documents, problems: Problems) -> dict[str, Any]:
    """The root document as OpenAPI 3.0."""
    root = documents.top()
    top = obj(root.value)
    schemes = {name: _security(obj(scheme)) for name, scheme in obj(top.get("securityDefinitions")).items()}
    paths: dict[str, Any] = {}
    for path, item in obj(top.get("paths")).items():
        paths[path] = _path_item(documents, problems, root / "paths" / path, obj(item), top)
    return {**top, "openapi": "3.0.0", "paths": paths, "servers": _servers(top),
            "components": {"securitySchemes": schemes, "schemas": obj(top.get("definitions"))}}


def _servers(top: Mapping[str, Any]) -> list[dict[str, Any]]:
    host, base = top.get("host"), top.get("basePath")
    path = base if isinstance(base, str) else ""
    if not isinstance(host, str) or not host:
        return [{"url": path}] if path else []
    schemes = [scheme for scheme in array(top.get("schemes")) if scheme in ("https", "http")]
    return [{"url": f"{scheme}://{host}{path}"} for scheme in sorted(schemes, reverse=True) or ["https"]]


def _security(scheme: Mapping[str, Any]) -> dict[str, Any]:
    match scheme.get("type"):
        case "basic":
            return {"type": "http", "scheme": "basic"}
        case "oauth2":
            flow = _FLOWS.get(str(scheme.get("flow")), "implicit")
            return {"type": "oauth2", "flows": {flow: {key: scheme[key] for key in ("authorizationUrl", "tokenUrl", "scopes") if key in scheme}}}
        case _:
            return dict(scheme)


def _path_item(documents: Documents, problems: Problems, place: Place, item: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {key: value for key, value in item.items() if key not in METHODS and key != "parameters"}
    shared = _parameters(documents, problems, place / "parameters")
    for method in METHODS:
        operation = item.get(method)
        if isinstance(operation, Mapping):
            result[method] = _operation(documents, problems, place / method, shared, top)
    return result


def _parameters(documents: Documents, problems: Problems, place: Place) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    for index in range(len(array(place.value))):
        try:
            found.append(obj(documents.resolved(place / index).value))
        except Broken as error:
            problems.broken(error)
    return found


def _operation(documents: Documents, problems: Problems, place: Place, shared: Sequence[Mapping[str, Any]],
               top: Mapping[str, Any]) -> dict[str, Any]:
    operation = obj(place.value)
    given = {(str(p.get("name")), str(p.get("in"))): p for p in [*shared, *_parameters(documents, problems, place / "parameters")]}
    result = {key: value for key, value in operation.items() if key not in {"parameters", "responses", "consumes", "produces", "schemes"}}
    result["parameters"] = [_parameter(p) for p in given.values() if p.get("in") not in ("body", "formData")]
    consumes = _media(operation.get("consumes", top.get("consumes")))
    body = _body([p for p in given.values() if p.get("in") == "body"], [p for p in given.values() if p.get("in") == "formData"], consumes)
    if body is not None:
        result["requestBody"] = body
    produces = _media(operation.get("produces", top.get("produces"))) or ["application/json"]
    result["responses"] = {}
    for status in obj(operation.get("responses")):
        try:
            response = obj(documents.resolved(place / "responses" / status).value)
            result["responses"][str(status)] = _response(response, produces)
        except Broken as error:
            problems.broken(error)
    return result


def _media(value: Any) -> list[str]:
    return [item for item in array(value) if isinstance(item, str)]


def _parameter(parameter: Mapping[str, Any]) -> dict[str, Any]:
    result = {key: parameter[key] for key in ("name", "in", "description", "required", "deprecated") if key in parameter}
    result["schema"] = parameter["schema"] if isinstance(parameter.get("schema"), Mapping) else _schema(parameter)
    if parameter.get("type") == "array":
        style = dict(_STYLES.get(str(parameter.get("collectionFormat", "csv")), _STYLES["csv"]))
        if parameter.get("in") in ("path", "header"):
            style.pop("style", None)
        result.update(style)
    return result


def _schema(parameter: Mapping[str, Any]) -> dict[str, Any]:
    return {key: parameter[key] for key in _SCHEMA_KEYS if key in parameter}


def _body(bodies: Sequence[Mapping[str, Any]], form: Sequence[Mapping[str, Any]], consumes: Sequence[str]) -> dict[str, Any] | None:
    if bodies:
        body = bodies[0]
        media = list(consumes) or ["application/json"]
        return {"required": body.get("required") is True, "description": body.get("description"),
                "content": {kind: {"schema": body.get("schema", {})} for kind in media}}
    if not form:
        return None
    files = any(p.get("type") == "file" for p in form)
    kinds = [kind for kind in consumes if kind.startswith("multipart/") or kind == "application/x-www-form-urlencoded"]
    if files or not kinds:
        kinds = ["multipart/form-data"] if files else ["application/x-www-form-urlencoded"]
    schema = {"type": "object", "properties": {str(p.get("name")): {**_schema(p), "description": p.get("description")} for p in form},
              "required": [str(p.get("name")) for p in form if p.get("required") is True]}
    return {"required": any(p.get("required") is True for p in form), "content": {kinds[0]: {"schema": schema}}}


def _response(response: Mapping[str, Any], produces: Sequence[str]) -> dict[str, Any]:
    result: dict[str, Any] = {"description": response.get("description", "")}
    schema = response.get("schema")
    if isinstance(schema, Mapping):
        result["content"] = {kind: {"schema": schema} for kind in produces}
    return result
