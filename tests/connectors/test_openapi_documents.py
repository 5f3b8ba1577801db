"""Documents as they come: references, old versions, mistakes of every kind, and the compiled form on disk."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inhabit.connectors.openapi import OpenApiConnector, loading
from inhabit.connectors.openapi.compiler import Compiled, compile_document
from inhabit.connectors.openapi.document import Documents
from inhabit.connectors.openapi.naming import Nameable, names
from inhabit.connectors.openapi.source import parse
from inhabit.errors import ConfigError
from tests.connectors.openapi_kit import Upstream, call, context

VALID: dict[str, Any] = {
    "openapi": "3.1.0", "info": {"title": "Shop", "version": "1"}, "servers": [{"url": "https://shop.test/v1"}],
    "paths": {"/orders/{id}": {
        "parameters": [{"$ref": "#/components/parameters/Id"}],
        "get": {"operationId": "getOrder", "tags": ["orders"], "responses": {"200": {"description": "ok", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Order"}}}}}},
        "put": {"operationId": "putOrder", "tags": ["orders"], "requestBody": {"required": True, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Order"}}}},
                "responses": {"default": {"$ref": "#/components/responses/Any"}}}}},
    "components": {
        "parameters": {"Id": {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}}},
        "responses": {"Any": {"description": "any"}},
        "schemas": {"Order": {"type": "object", "required": ["lines"], "properties": {
            "lines": {"type": "array", "items": {"$ref": "#/components/schemas/Line"}}, "parent": {"$ref": "#/components/schemas/Order"}}},
            "Line": {"type": "object", "properties": {"sku": {"type": ["string", "null"]}}}},
        "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    "security": [{"token": []}],
}


def compiled(document: Any, **others: Any) -> Compiled:
    return compile_document(Documents("/doc.json", {"/doc.json": document, **{f"/{name}": other for name, other in others.items()}}))


def with_schema(schema: Any, version: str = "3.0.3", **schemas: Any) -> Any:
    """The converted schema of a response, and the definitions it can reach."""
    content = {"description": "", "content": {"application/json": {"schema": schema}}}
    result = compiled({"openapi": version, "paths": {"/x": {"get": {"responses": {"200": content}}}}, "components": {"schemas": schemas}})
    output = result.operations[0]["output"]
    jsonschema_rs.Draft202012Validator({**(output or {}), "$defs": dict(result.definitions)})
    return output, result


# -- schemas ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("given", "expected"), [
    ({"type": "string", "nullable": True}, {"type": ["string", "null"]}),
    ({"type": "string", "enum": ["a"], "nullable": True}, {"type": ["string", "null"], "enum": ["a", None]}),
    ({"type": "number", "minimum": 1, "exclusiveMinimum": True, "maximum": 9, "exclusiveMaximum": False}, {"type": "number", "exclusiveMinimum": 1, "maximum": 9}),
    ({"properties": {"a": {"type": "integer"}}}, {"type": "object", "properties": {"a": {"type": "integer"}}}),
    ({"items": {}}, {"type": "array", "items": {}}),
    ({"type": "string", "example": "x", "xml": {"name": "y"}, "x-thing": 1, "externalDocs": {"url": "z"}, "discriminator": {"propertyName": "a"}}, {"type": "string"}),
    ({"type": "object", "required": ["a", "b"], "properties": {"a": {"type": "string", "readOnly": True}, "b": {}}},
     {"type": "object", "required": ["b"], "properties": {"a": {"type": "string", "readOnly": True}, "b": {}}}),
    ({"type": "boolean", "enum": ["true", "false"]}, {"enum": ["true", "false"]}),
    ({"type": "string", "pattern": "(?<name"}, {"type": "string"}), ({"type": "string", "pattern": "^a+$"}, {"type": "string", "pattern": "^a+$"}),
    ({"type": "strange"}, None), ({"type": "array", "items": [{"type": "string"}]}, {"type": "array", "prefixItems": [{"type": "string"}]}),
    ({"minimum": "0", "maxLength": -1, "required": "yes", "enum": [], "properties": [], "allOf": {}}, None),
    ({"type": "string", "description": "  text "}, {"type": "string", "description": "text"}), ({"additionalProperties": False}, {"additionalProperties": False}),
])
def test_schemas_become_2020_12(given: Any, expected: Any) -> None:
    assert with_schema(given)[0] == expected


def test_references_become_definitions_and_only_those_in_use() -> None:
    output, result = with_schema({"$ref": "#/components/schemas/A.b"}, **{"A.b": {"type": "object", "properties": {"next": {"$ref": "#/components/schemas/A.b"}}}, "Unused": {}})
    assert output == {"$ref": "#/$defs/A_b"} and list(result.definitions) == ["A_b"]
    assert result.definitions["A_b"]["properties"]["next"] == {"$ref": "#/$defs/A_b"}


def test_nullable_references() -> None:
    output, _ = with_schema({"type": "object", "properties": {"a": {"$ref": "#/components/schemas/A", "nullable": True}, "b": {"allOf": [{"$ref": "#/components/schemas/A"}], "nullable": True}}},
                            A={"type": "string"})
    assert output["properties"] == {"a": {"anyOf": [{"$ref": "#/$defs/A"}, {"type": "null"}]}, "b": {"anyOf": [{"allOf": [{"$ref": "#/$defs/A"}]}, {"type": "null"}]}}


@pytest.mark.parametrize("schemas", [
    {"A": {"$ref": "#/components/schemas/A"}}, {"A": {"$ref": "#/components/schemas/B"}, "B": {"$ref": "#/components/schemas/A"}},
    {"A": {"allOf": [{"$ref": "#/components/schemas/B"}]}, "B": {"oneOf": [{"$ref": "#/components/schemas/A"}, {"type": "string"}]}},
])
def test_schemas_that_are_only_themselves_are_opened(schemas: Any) -> None:
    output, result = with_schema({"$ref": "#/components/schemas/A"}, **schemas)
    assert result.problem_count >= 1
    assert jsonschema_rs.Draft202012Validator({**(output or {}), "$defs": dict(result.definitions)}).is_valid({"any": 1})


def test_references_to_any_place_of_the_document() -> None:
    document = copy.deepcopy(VALID)
    document["paths"]["/copy"] = {"get": {"responses": {"200": {"description": "", "content": {"application/json": {
        "schema": {"$ref": "#/paths/~1orders~1%7Bid%7D/get/responses/200/content/application~1json/schema"}}}}}}}
    result = compiled(document)
    assert result.problem_count == 0 and len(result.operations) == 3
    name = result.operations[2]["output"]["$ref"][8:]
    assert result.definitions[name] == {"$ref": "#/$defs/Order"}


def test_depth_is_bounded() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(300):
        schema = {"type": "object", "properties": {"a": schema}}
    _, result = with_schema(schema)
    assert any("too deep" in reason for _, _, reason in result.problems)


def test_a_yaml_bomb_is_bounded() -> None:
    lines = ["a0: &a0 {type: string}"] + [f"a{n}: &a{n} {{type: object, properties: {{{', '.join(f'p{i}: *a{n - 1}' for i in range(9))}}}}}" for n in range(1, 30)]
    text = "openapi: 3.0.0\n" + "\n".join(f"x-{line}" for line in lines) + (
        "\npaths: {/x: {get: {responses: {'200': {description: '', content: {application/json: {schema: *a7}}}}}}}\n")
    result = compile_document(Documents("/d.yaml", {"/d.yaml": parse(text.encode(), "/d.yaml")}))
    assert len(result.operations) == 1


# -- names --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path", "identity", "tags", "name"), [
    ("get", "/repos/{o}/{r}/issues", "issues/list-for-repo", ["issues"], "issues.list_for_repo"),
    ("get", "/v1/customers", "GetCustomers", [], "customers.get_customers"),
    ("get", "/v1/customers/{customer}", "GetCustomersCustomer", [], "customers.get_customer"),
    ("get", "/api/v1/namespaces/{n}/pods", "listCoreV1NamespacedPod", ["core_v1"], "core_v1.list_namespaced_pod"),
    ("post", "/chat.postMessage", "chat_postMessage", ["chat"], "chat.post_message"),
    ("delete", "/repos/{o}/{r}", "repos/delete", ["repos"], "repos.delete_repo"),
    ("get", "/v2/droplets", "droplets_list", ["Droplets"], "droplets.list"),
    ("get", "/users/{id}/messages", "users.ListMessages", ["users.message"], "users_message.list_messages"),
    ("get", "/pets/{petId}", "", [], "pets.get_by_pet_id"), ("get", "/", "", [], "api.get_root"), ("post", "/api/v2/import", "import", [], "import_.import_"),
    ("get", "/2fa/codes", "", ["Sentences that nobody would want to read as a name of anything"], "n2_fa.get_2_fa_codes"),
])
def test_operation_names(method: str, path: str, identity: str, tags: list[str], name: str) -> None:
    (given,) = names([Nameable(method, path, identity, tags)])
    assert given == name


def test_names_that_would_meet_stay_apart() -> None:
    given = names([Nameable("get", "/a", "a_list", ["a"]), Nameable("get", "/b", "list", ["a"]), Nameable("get", "/c", "list", ["a"])])
    assert given == ["a.a_list", "a.list", "a.list_2"]
    assert names([Nameable("get", "/a", "a_list", ["a"])]) == ["a.list"]


# -- versions and mistakes ----------------------------------------------------------------------------------------


async def test_swagger_2(tmp_path: Path) -> None:
    async with Upstream() as upstream:
        document = {
            "swagger": "2.0", "info": {"title": "Old"}, "host": f"127.0.0.1:{upstream.port}", "basePath": "/v1", "schemes": ["http"], "consumes": ["application/json"],
            "securityDefinitions": {"b": {"type": "basic"}}, "parameters": {"Page": {"name": "page", "in": "query", "type": "integer", "minimum": 1}},
            "definitions": {"Pet": {"type": "object", "properties": {"name": {"type": "string", "x-nullable": True}}}},
            "responses": {"Pets": {"description": "all", "schema": {"type": "array", "items": {"$ref": "#/definitions/Pet"}}}},
            "paths": {"/pets": {"get": {"operationId": "listPets", "parameters": [{"$ref": "#/parameters/Page"}, {
                "name": "tags", "in": "query", "type": "array", "items": {"type": "string"}, "collectionFormat": "pipes"}, {
                    "name": "ids", "in": "query", "type": "array", "items": {"type": "string"}}], "responses": {"200": {"$ref": "#/responses/Pets"}}},
                "post": {"operationId": "addPet", "security": [{"b": []}], "parameters": [{"name": "pet", "in": "body", "required": True, "schema": {"$ref": "#/definitions/Pet"}}], "responses": {}}},
                "/pets/{id}/photo": {"post": {"operationId": "addPhoto", "consumes": ["multipart/form-data"], "parameters": [
                    {"name": "id", "in": "path", "type": "string", "required": True}, {"name": "file", "in": "formData", "type": "file"}, {"name": "note", "in": "formData", "type": "string"}],
                    "responses": {"200": {"description": "", "schema": {"type": "file"}}}}}}}
        path = tmp_path / "old.json"
        path.write_text(json.dumps(document))
        connector = OpenApiConnector("old", path, private_addresses=True, secret="S")
        await connector.open(context(tmp_path / "c", secrets={"S": "u:pw"}))
        listing, adding, photo = connector.operations()
        assert connector.problems() == ()
        assert listing.output_schema == {"type": "array", "items": {"$ref": "#/$defs/Pet"}}
        assert listing.definitions["Pet"]["properties"]["name"] == {"type": ["string", "null"]}
        await call(connector, listing.name, {"page": 2, "tags": ["a", "b"], "ids": ["1", "2"]})
        assert upstream.seen[-1].target == "/v1/pets?page=2&tags=a|b&ids=1,2"
        await call(connector, adding.name, {"name": "Rex"})
        assert upstream.seen[-1].json == {"name": "Rex"} and upstream.seen[-1].headers["authorization"].startswith("Basic ")
        await call(connector, photo.name, {"id": "7", "file": "bytes", "note": "n"})
        assert upstream.seen[-1].target == "/v1/pets/7/photo" and b'name="file"' in upstream.seen[-1].body
        assert photo.output_schema == {"$ref": "#/$defs/BinaryReference"}
        await connector.close()


@pytest.mark.parametrize(("text", "where"), [
    ('{"openapi": "3.0.0", "paths": {,}}', "line 1"), ("openapi: 3.0.0\npaths:\n  - a\n b: [", "line"), ("", "neither"), ("[]", "neither"), ("null", "neither"), ('"openapi"', "neither"),
    ('{"openapi": "4.0"}', "4.0"), ('{"swagger": 1.2}', "1.2"), ('{"info": {}}', "neither"), ("\0\1\2", ""), ("%PDF-1.4", ""), ("{" * 5_000, ""), ("a: &a [*a]", ""),
])
@pytest.mark.parametrize("suffix", ["json", "yaml"])
async def test_what_is_no_document_is_named(tmp_path: Path, text: str, where: str, suffix: str) -> None:
    path = tmp_path / f"doc.{suffix}"
    path.write_text(text)
    with pytest.raises(ConfigError) as refused:
        await OpenApiConnector("api", path).open(context(tmp_path / "cache"))
    assert str(path) in refused.value.message and refused.value.fix


async def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(ConfigError, match=str(path)):
            await OpenApiConnector("api", path).open(context(tmp_path / "cache"))


async def test_yaml_keeps_what_was_meant(tmp_path: Path) -> None:
    path = tmp_path / "doc.yaml"
    path.write_text("openapi: 3.0.0\npaths:\n  /x:\n    get:\n      operationId: on\n      parameters:\n      - {name: country, in: query, schema: {type: string, enum: [no, on, yes, 2020-01-01, 012, 1:30]}}\n"
                    "      responses:\n        200: {description: fine}\n        404: {description: gone}\n")
    connector = OpenApiConnector("api", path)
    await connector.open(context(tmp_path / "cache"))
    (operation,) = connector.operations()
    assert operation.input_schema["properties"]["country"]["enum"] == ["no", "on", "yes", "2020-01-01", "012", "1:30"]
    assert [error.code for error in operation.errors] == ["http_404"]
    await connector.close()


async def test_a_broken_part_leaves_the_rest(tmp_path: Path) -> None:
    document = copy.deepcopy(VALID)
    document["paths"] |= {"/bad": {"get": "no"}, "no-slash": {}, "/ref": {"$ref": "#/nowhere"}, "/worse": 3, "/param": {"get": {"parameters": [{"$ref": "#/gone"}, 7, {"in": "query"}], "responses": 5}}}
    path = tmp_path / "doc.json"
    path.write_text(json.dumps(document))
    connector = OpenApiConnector("api", path)
    await connector.open(context(tmp_path / "cache"))
    assert [operation.origin for operation in connector.operations()] == ["GET /orders/{id}", "PUT /orders/{id}", "GET /param"]
    pointers = {problem.pointer for problem in connector.problems()}
    assert {"/paths/~1bad/get", "/paths/no-slash", "/paths/~1ref", "/paths/~1param/get/parameters/0", "/paths/~1param/get/parameters/1"} <= pointers
    assert all(problem.reason and problem.connector == "api" for problem in connector.problems())
    await connector.close()


_JUNK = st.recursive(st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=False) | st.text(max_size=5) | st.sampled_from(["#/components/schemas/Order", "object", "#", "../x", "get"]),
                     lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["$ref", "type", "properties", "allOf", "items", "required", "name", "in", "schema", "content", "get"]) | st.text(max_size=3), inner, max_size=3), max_leaves=8)


def _spots(node: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        found.append((node, key))
        found += _spots(value)
    return found


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(0, 10_000), _JUNK), min_size=1, max_size=4), st.booleans())
def test_any_mistake_is_a_problem_and_never_a_traceback(changes: list[tuple[int, Any]], old: bool) -> None:
    document = copy.deepcopy(VALID)
    if old:
        document["swagger"] = "2.0"
        document["definitions"] = document["components"]["schemas"]
    for index, junk in changes:
        spots = _spots(document)
        holder, key = spots[index % len(spots)]
        holder[key] = junk
    try:
        result = compiled(document)
    except ConfigError:
        return
    for record in result.operations:
        for schema in (record["input"], record["output"]):
            if schema is not None:
                jsonschema_rs.Draft202012Validator({**schema, "$defs": dict(result.definitions)})
    json.dumps(result.operations)


# -- several documents --------------------------------------------------------------------------------------------


async def test_relative_files_and_what_lies_outside(tmp_path: Path) -> None:
    folder = tmp_path / "api"
    (folder / "parts").mkdir(parents=True)
    (tmp_path / "secret.yaml").write_text("Secret: {type: string, description: CANARY}")
    (folder / "parts" / "pet.yaml").write_text("Pet: {type: object, properties: {owner: {$ref: 'owner.yaml#/Owner'}, self: {$ref: '#/Pet'}}}")
    (folder / "parts" / "owner.yaml").write_text("Owner: {type: object, properties: {pet: {$ref: './pet.yaml#/Pet'}}}")
    (folder / "parts" / "path.yaml").write_text("get: {operationId: getPet, responses: {'200': {description: '', content: {application/json: {schema: {$ref: 'pet.yaml#/Pet'}}}}}}")
    document = {"openapi": "3.1.0", "paths": {"/pet": {"$ref": "parts/path.yaml"}, "/evil": {"get": {"responses": {"200": {"description": "", "content": {
        "application/json": {"schema": {"$ref": "../secret.yaml#/Secret"}}}}}}}, "/far": {"get": {"responses": {"200": {"description": "", "content": {
            "application/json": {"schema": {"$ref": "http://127.0.0.1:9/x.json#/A"}}}}}}}}}
    path = folder / "doc.json"
    path.write_text(json.dumps(document))
    connector = OpenApiConnector("api", path)
    await connector.open(context(tmp_path / "cache"))
    pet = connector.operation("api.pet.get_pet")
    assert pet is not None and set(pet.reachable()) == {"Pet", "Owner"}
    reasons = " ".join(problem.reason for problem in connector.problems())
    assert "outside the folder" in reasons and "CANARY" not in json.dumps([operation.reachable() for operation in connector.operations()])
    first = connector.fingerprint()
    await connector.close()
    (folder / "parts" / "owner.yaml").write_text("Owner: {type: object, properties: {name: {type: string}}}")
    again = OpenApiConnector("api", path)
    await again.open(context(tmp_path / "cache"))
    assert again.fingerprint() != first, "a change of a part is a change"
    await again.close()


async def test_a_document_behind_a_url(tmp_path: Path) -> None:
    async with Upstream() as upstream:
        document = {**VALID, "servers": [{"url": "/v9"}], "security": []}
        document["paths"] = {"/x": {"get": {"operationId": "getX", "responses": {"200": {"description": "", "content": {"application/json": {"schema": {"$ref": "parts.json#/X"}}}}}}}}
        upstream.reply |= {"/spec/doc.json": (200, "application/json", json.dumps(document).encode()), "/spec/parts.json": (200, "application/json", b'{"X": {"type": "integer"}}')}
        connector = OpenApiConnector("api", f"{upstream.url}/spec/doc.json")
        await connector.open(context(tmp_path / "cache"))
        (operation,) = connector.operations()
        assert operation.reachable() == {"X": {"type": "integer"}}
        await connector.close()
        upstream.reply["/spec/doc.json"] = (404, "text/plain", b"gone")
        with pytest.raises(ConfigError, match="404"):
            await OpenApiConnector("api", f"{upstream.url}/spec/doc.json").open(context(tmp_path / "other"))
    offline = OpenApiConnector("api", f"{upstream.url}/spec/doc.json")
    await offline.open(context(tmp_path / "cache"))
    assert len(list(offline.operations())) == 1 and "is used" in offline.problems()[0].reason
    await offline.close()


async def test_an_unchanged_url_is_not_sent_twice(tmp_path: Path) -> None:
    async with Upstream() as upstream:
        url = f"{upstream.url}/doc.json"
        for status, body in ((200, json.dumps(VALID).encode()), (304, b"")):
            upstream.reply["/doc.json"] = (status, "application/json", body, {"ETag": '"v1"'})
            connector = OpenApiConnector("api", url)
            await connector.open(context(tmp_path / "cache"))
            assert len(list(connector.operations())) == 2
            await connector.close()
        assert upstream.seen[-1].headers["if-none-match"] == '"v1"'
        for file in (tmp_path / "cache" / "openapi").glob("*.sqlite"):
            file.unlink()
        upstream.reply["/doc.json"] = (200, "application/json", json.dumps(VALID).encode(), {"ETag": '"v2"'})
        again = OpenApiConnector("api", url)
        await again.open(context(tmp_path / "cache"))
        assert len(list(again.operations())) == 2
        await again.close()


# -- the cache ----------------------------------------------------------------------------------------------------


async def test_a_second_start_parses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "doc.json"
    path.write_text(json.dumps(VALID))
    os.utime(path, (1_700_000_000, 1_700_000_000))
    first = OpenApiConnector("api", path)
    await first.open(context(tmp_path / "cache"))
    before = [(operation.name, operation.schema_hash()) for operation in first.operations()]

    def refuse(*_: object) -> None:
        raise AssertionError("parsed or read again")

    monkeypatch.setattr(loading, "parse", refuse)
    monkeypatch.setattr(loading, "read_file", refuse)
    second = OpenApiConnector("api", path)
    await second.open(context(tmp_path / "cache"))
    assert second.fingerprint() == first.fingerprint()
    assert [(operation.name, operation.schema_hash()) for operation in second.operations()] == before
    one = second.operation("api.orders.get_order")
    assert one is not None and second.operation("api.orders.get_order") is one and second.operation("api.nothing") is None and second.operation("other.x.y") is None
    for connector in (first, second):
        await connector.close()


async def test_new_bytes_are_compiled_and_old_ones_found_again(tmp_path: Path) -> None:
    path = tmp_path / "doc.json"
    fingerprints: list[str] = []
    for name in ("one", "two", "one"):
        path.write_text(json.dumps({**VALID, "paths": {f"/{name}": {"get": {"responses": {}}}}}))
        connector = OpenApiConnector("api", path)
        await connector.open(context(tmp_path / "cache"))
        assert [operation.name for operation in connector.operations()] == [f"api.{name}.get_{name}"]
        fingerprints.append(connector.fingerprint())
        await connector.close()
    assert fingerprints[0] == fingerprints[2] != fingerprints[1]


async def test_a_damaged_cache_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "doc.json"
    path.write_text(json.dumps(VALID))
    for damage in (b"", b"not a database", None):
        connector = OpenApiConnector("api", path)
        await connector.open(context(tmp_path / "cache"))
        assert len(list(connector.operations())) == 2
        await connector.close()
        for file in (tmp_path / "cache" / "openapi").rglob("*.*"):
            if file.is_file() and damage is not None:
                file.write_bytes(damage)


async def test_the_fingerprint_tells_settings_apart(tmp_path: Path) -> None:
    path = tmp_path / "doc.json"
    path.write_text(json.dumps(VALID))
    found: set[str] = set()
    for options in ({}, {"include": ["*get*"]}, {"effects": {"*": {"writes": "none"}}}, {"name": "other"}):
        connector = OpenApiConnector(options.pop("name", "api"), path, **options)  # type: ignore[arg-type]
        await connector.open(context(tmp_path / "cache"))
        found.add(connector.fingerprint())
        await connector.close()
    assert len(found) == 4
