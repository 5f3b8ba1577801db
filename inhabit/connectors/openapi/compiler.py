"""A document to compiled operations: plain data that a cache can keep, and nothing of the document after that.

Model: `compile_document` reads each path and method into one record (names, schemas, effects' method, call
plan). A part that cannot be used becomes a problem with its pointer and is left out; the rest loads. Only a
document that is no OpenAPI document at all raises.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from inhabit.connectors.openapi.crud import resources_of
from inhabit.connectors.openapi.document import Broken, Documents, Place, Problems, array, obj, text
from inhabit.connectors.openapi.inputs import InputCompiler
from inhabit.connectors.openapi.naming import Nameable, names
from inhabit.connectors.openapi.outputs import OutputCompiler
from inhabit.connectors.openapi.schemas import SchemaCompiler
from inhabit.connectors.openapi.swagger2 import METHODS, upgraded
from inhabit.contracts.json import is_array, is_object
from inhabit.errors import ConfigError

__all__ = ["COMPILER_VERSION", "Compiled", "compile_document"]

COMPILER_VERSION = "3"
"""Part of the cache's key: raise it whenever the compiled form of any document changes."""
_SUMMARY_CHARS = 300
_DESCRIPTION_CHARS = 4_000
_MAX_OPERATIONS = 100_000


@dataclass(slots=True)
class Compiled:
    """`operations`: records with `name` without the connector's own; `meta`: title, servers, security schemes."""

    operations: list[dict[str, Any]]
    definitions: Mapping[str, dict[str, Any]]
    meta: dict[str, Any]
    problems: list[tuple[str, str, str]] = field(default_factory=list[tuple[str, str, str]])
    problem_count: int = 0


def compile_document(documents: Documents) -> Compiled:
    """Raises `ConfigError` when the root is not an OpenAPI or Swagger document."""
    problems = Problems()
    _check_version(documents)
    if "swagger" in obj(documents.top().value):
        documents.replace(documents.root, upgraded(documents, problems))
    root = documents.top()
    schemes = _schemes(documents, root, problems)
    schemas = SchemaCompiler(documents, problems)
    compiler = _Operations(documents, schemas, schemes, problems)
    records = compiler.all(root)
    schemas.finish()
    for record, name in zip(records, names([_nameable(record) for record in records]), strict=True):
        record["name"] = name
    for record, resource in zip(records, resources_of(records, schemas.definitions), strict=True):
        record["resource"] = resource
    meta = {"title": text(obj(root.value).get("info") and obj(obj(root.value)["info"]).get("title"), 200),
            "servers": _servers(root), "schemes": schemes}
    return Compiled(records, schemas.definitions, meta, list(problems.found), problems.count)


def _check_version(documents: Documents) -> None:
    top = documents.top().value
    version = obj(top).get("openapi", obj(top).get("swagger"))
    if isinstance(version, int | float):
        version = str(version)
    if not isinstance(version, str) or not version.startswith(("3.", "2.")):
        found = f"has version {version!r}" if version is not None else "has neither `openapi` nor `swagger` at its top"
        raise ConfigError(f"{documents.root} {found}: not an OpenAPI document", fix="OpenAPI 3.0, 3.1 or Swagger 2.0, JSON or YAML")


def _schemes(documents: Documents, root: Place, problems: Problems) -> dict[str, dict[str, Any]]:
    """Security schemes by name, only the fields that a call needs."""
    found: dict[str, dict[str, Any]] = {}
    place = root / "components" / "securitySchemes"
    for name in obj(place.value):
        try:
            scheme = obj(documents.resolved(place / name).value)
        except Broken as error:
            problems.broken(error)
            continue
        found[str(name)] = {key: scheme[key] for key in ("type", "in", "name", "scheme") if isinstance(scheme.get(key), str)}
    return found


def _servers(place: Place) -> list[dict[str, Any]]:
    """`{url, variables: {name: default}}` of the servers listed at a place."""
    found: list[dict[str, Any]] = []
    for item in array((place / "servers").value):
        url = obj(item).get("url")
        if isinstance(url, str):
            variables = {str(name): str(obj(variable).get("default", "")) for name, variable in obj(obj(item).get("variables")).items()}
            found.append({"url": url, "variables": variables})
    return found


def _nameable(record: Mapping[str, Any]) -> Nameable:
    return Nameable(record["method"], record["path"], record["id"], record["tags"])


class _Operations:
    def __init__(self, documents: Documents, schemas: SchemaCompiler, schemes: Mapping[str, Mapping[str, Any]],
                 problems: Problems) -> None:
        credentials = frozenset(
            (scheme.get("in", ""), scheme.get("name", "").lower() if scheme.get("in") == "header" else scheme.get("name", ""))
            for scheme in schemes.values() if scheme.get("type") == "apiKey")
        self._documents = documents
        self._problems = problems
        self._inputs = InputCompiler(documents, schemas, credentials)
        self._outputs = OutputCompiler(documents, schemas)

    def all(self, root: Place) -> list[dict[str, Any]]:
        records: list[dict[str, Any]] = []
        default = self._security(root.value)
        paths = root / "paths"
        if "paths" not in obj(root.value) and "webhooks" not in obj(root.value):
            self._problems.add(root.location, "/paths", "the document has no paths")
        for path in obj(paths.value):
            if not str(path).startswith("/"):
                if not str(path).startswith("x-"):
                    self._problems.add(root.location, (paths / path).pointer, "a path must start with /")
                continue
            for record in self._path_item(path, paths / path, default):
                if len(records) >= _MAX_OPERATIONS:
                    self._problems.add(root.location, "/paths", f"more than {_MAX_OPERATIONS} operations; the rest is left out")
                    return records
                records.append(record)
        return records

    def _path_item(self, path: str, place: Place, default: list[list[str]] | None) -> list[dict[str, Any]]:
        try:
            item = self._documents.resolved(place)
        except Broken as error:
            self._problems.broken(error)
            return []
        records: list[dict[str, Any]] = []
        for method in METHODS:
            operation = item / method
            if operation.value is None or method == "trace":
                continue
            try:
                records.append(self._operation(path, method, item, self._documents.resolved(operation), default))
            except Broken as error:
                self._problems.broken(error)
        return records

    def _operation(self, path: str, method: str, item: Place, place: Place, default: list[list[str]] | None) -> dict[str, Any]:
        if not is_object(place.value):
            raise Broken(place, "an operation must be an object")
        value = obj(place.value)
        inputs, plan = self._inputs.compile(item / "parameters", place / "parameters", place / "requestBody", path)
        output, errors = self._outputs.compile(place / "responses", method, plan)
        plan["path"] = path.split("#")[0]
        security = self._security(value)
        plan["security"] = default if security is None else security
        servers = _servers(place) or _servers(item)
        if servers:
            plan["server"] = servers[0]
        summary = text(value.get("summary"), _SUMMARY_CHARS) or text(obj(item.value).get("summary"), _SUMMARY_CHARS)
        return {
            "name": "", "id": text(value.get("operationId"), 300), "method": method, "path": path,
            "tags": [tag for tag in array(value.get("tags")) if isinstance(tag, str)][:8],
            "summary": summary, "description": text(value.get("description"), _DESCRIPTION_CHARS),
            "input": inputs, "output": output, "errors": errors, "deprecated": value.get("deprecated") is True, "plan": plan,
        }

    def _security(self, value: Any) -> list[list[str]] | None:
        """Alternatives, each the names of the schemes it needs; an empty one means that none is needed."""
        requirements = obj(value).get("security")
        if not is_array(requirements):
            return None
        return [[str(name) for name in obj(requirement)] for requirement in requirements]
