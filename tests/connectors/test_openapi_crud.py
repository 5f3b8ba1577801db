"""Which operations of a document are over one kind of thing, told by paths and types."""

from __future__ import annotations

from typing import Any

import pytest

from inhabit.connectors.openapi.crud import resource_of
from inhabit.contracts.operation import Resource

THING = {"type": "object", "properties": {"id": {"type": "string"}, "updated_at": {"type": "string"}}}
REF = {"$ref": "#/$defs/Thing"}
PAGE = {"type": "object", "properties": {"items": {"type": "array", "items": REF}, "total": {"type": "integer"}}}


def made(method: str, path: str, output: Any, *arguments: str) -> Resource | None:
    params = [{"arg": name, "name": name, "in": "path"} for name in arguments]
    return resource_of("api", {"method": method, "path": path, "output": output, "plan": {"params": params}}, {"Thing": THING})


@pytest.mark.parametrize(("method", "role"), [("get", "read"), ("put", "replace"), ("patch", "update"), ("delete", "delete")])
def test_one_thing_is_named_by_the_id_in_the_path(method: str, role: Any) -> None:
    version = "" if method == "delete" else "updated_at"
    assert made(method, "/v1/things/{thing_id}", None if method == "delete" else REF, "thing_id") == Resource(
        "api /v1/things", role, "id", "thing_id", version=version)


def test_things_are_made_and_listed_at_the_collection() -> None:
    assert made("post", "/v1/things", REF) == Resource("api /v1/things", "create", "id", version="updated_at")
    assert made("get", "/v1/things", {"type": "array", "items": REF}) == Resource("api /v1/things", "list", "id", version="updated_at")
    assert made("get", "/v1/things", PAGE) == Resource("api /v1/things", "list", "id", items="items", version="updated_at")


@pytest.mark.parametrize(("method", "path", "output", "arguments"), [
    ("get", "/users/{user}/things/{id}", REF, ("user", "id")),      # another placeholder
    ("get", "/repos/{name}", REF, ("name",)),                       # no id
    ("post", "/things/{id}/archive", REF, ("id",)),                 # something done to one
    ("get", "/things/{id}", {"type": "string"}, ("id",)),           # no thing
    ("post", "/search", PAGE, ()), ("get", "/things", None, ()),
])
def test_other_shapes_are_left_alone(method: str, path: str, output: Any, arguments: tuple[str, ...]) -> None:
    assert made(method, path, output, *arguments) is None
