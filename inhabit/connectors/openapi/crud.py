"""Operations over one kind of thing, seen by their paths: `/things` and `/things/{id}`.

What is derived is what a plan may lay over later reads, so only the plain shape is taken: no other placeholder in the path,
a placeholder that names an id, things that have an `id`, lists that are arrays or have one array in them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from inhabit.contracts.json import is_object
from inhabit.contracts.operation import Resource

__all__ = ["resource_of"]

_PLAIN = re.compile(r"(?P<things>(/[^/{}]+)+)(/\{(?P<id>[^/{}]+)\})?/?\Z")
_ID = re.compile(r"(.*_)?id\Z|.*(Id|ID)\Z")
_KEY = "id"
_VERSIONS = ("version", "revision", "etag", "updated_at", "updatedAt", "modified_at", "modifiedAt")
_ITEM: Mapping[str, Literal["read", "replace", "update", "delete"]] = {"get": "read", "put": "replace", "patch": "update", "delete": "delete"}


def resource_of(connector: str, record: Mapping[str, Any], definitions: Mapping[str, Any]) -> Resource | None:
    """None for an operation that is not of this shape. `record`: as the compiler makes it."""
    found = _PLAIN.match(record["path"])
    if found is None:
        return None
    kind, method, answer = f"{connector} {found['things']}", record["method"], _schema(record["output"], definitions)
    if found["id"] is not None:
        argument = next((p["arg"] for p in record["plan"]["params"] if p["in"] == "path" and p["name"] == found["id"]), "")
        role = _ITEM.get(method)
        fits = role is not None and argument and _ID.match(found["id"]) and (role != "read" or _KEY in _properties(answer))
        return Resource(kind, role, _KEY, argument, version=_version(answer)) if role is not None and fits else None
    if method == "post" and _KEY in _properties(answer):
        return Resource(kind, "create", _KEY, version=_version(answer))
    return _list(kind, answer, definitions) if method == "get" else None


def _list(kind: str, answer: Mapping[str, Any], definitions: Mapping[str, Any]) -> Resource | None:
    arrays = {name: _schema(part, definitions) for name, part in _properties(answer).items()}
    held = [name for name, part in arrays.items() if part.get("type") == "array"]
    if answer.get("type") == "array":
        items, things = "", answer
    elif len(held) == 1:
        items, things = held[0], arrays[held[0]]
    else:
        return None
    thing = _schema(things.get("items"), definitions)
    return Resource(kind, "list", _KEY, items=items, version=_version(thing)) if _KEY in _properties(thing) else None


def _schema(schema: Any, definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    for _ in range(10):
        if not is_object(schema) or not isinstance(schema.get("$ref"), str):
            break
        schema = definitions.get(schema["$ref"].removeprefix("#/$defs/"))
    return schema if is_object(schema) else {}


def _properties(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    properties = schema.get("properties")
    return properties if is_object(properties) else {}


def _version(schema: Mapping[str, Any]) -> str:
    return next((name for name in _VERSIONS if name in _properties(schema)), "")
