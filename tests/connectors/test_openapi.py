"""OpenAPI documents: what is read from them, and what goes over the wire when an operation is called."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from inhabit.connectors.openapi import OpenApiConnector
from inhabit.contracts.operation import Operation
from inhabit.contracts.principal import Principal
from inhabit.errors import CallTimeout, ConfigError, Denied, InvalidInput, MissingConnection, UpstreamError
from tests.connectors.openapi_kit import MemoryBlobs, Upstream, call, context


def document(paths: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"openapi": "3.0.3", "info": {"title": "t", "version": "1"}, "paths": paths, **more}


def operation(parameters: list[Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"operationId": "things/act", "parameters": parameters or [], "responses": {"200": {"description": "ok"}}, **more}


async def opened(tmp_path: Path, content: Any, *, kit: dict[str, Any] | None = None, suffix: str = "json", **options: Any) -> OpenApiConnector:
    path = tmp_path / f"doc.{suffix}"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    connector = OpenApiConnector("api", path, **options)
    await connector.open(context(tmp_path / "cache", **(kit or {})))
    return connector


async def sent(tmp_path: Path, parameters: list[Any], arguments: dict[str, Any], path: str = "/x", **more: Any) -> Any:
    """What the upstream saw of one GET."""
    async with Upstream() as upstream:
        connector = await opened(tmp_path, document({path: {"get": operation(parameters, **more)}}), base_url=upstream.url)
        await call(connector, next(iter(connector.operations())).name, arguments)
        await connector.close()
        return upstream.seen[-1]


# -- parameters ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("style", "explode", "value", "query"), [
    (None, None, "a b&c", "p=a%20b%26c"), (None, None, [1, 2], "p=1&p=2"), (None, None, {"a": 1, "b": "x"}, "a=1&b=x"),
    ("form", False, ["a,b", "c"], "p=a%2Cb,c"), ("form", False, {"a": 1}, "p=a,1"), ("spaceDelimited", False, [1, 2], "p=1%202"),
    ("pipeDelimited", False, [1, 2], "p=1|2"), ("deepObject", True, {"a": 1, "b": {"c": [2, 3]}}, "p%5Ba%5D=1&p%5Bb%5D%5Bc%5D%5B%5D=2&p%5Bb%5D%5Bc%5D%5B%5D=3"),
    (None, None, True, "p=true"), (None, None, 1.5, "p=1.5"), (None, None, 3.0, "p=3"), (None, None, "ü/?", "p=%C3%BC%2F%3F"),
])
async def test_query_styles(tmp_path: Path, style: str | None, explode: bool | None, value: Any, query: str) -> None:
    parameter: dict[str, Any] = {"name": "p", "in": "query", "schema": {}}
    if style:
        parameter |= {"style": style, "explode": explode}
    seen = await sent(tmp_path, [parameter], {"p": value})
    assert seen.target == f"/x?{query}"


@pytest.mark.parametrize(("style", "explode", "value", "path"), [
    ("simple", False, "a/b", "/x/a%2Fb"), ("simple", False, [1, 2], "/x/1,2"), ("simple", False, {"a": 1}, "/x/a,1"), ("simple", True, {"a": 1}, "/x/a=1"),
    ("label", False, [1, 2], "/x/.1,2"), ("label", True, [1, 2], "/x/.1.2"), ("matrix", False, [1, 2], "/x/;p=1,2"), ("matrix", True, [1, 2], "/x/;p=1;p=2"),
    ("matrix", True, {"a": 1}, "/x/;a=1"), ("simple", False, "ünï", "/x/%C3%BCn%C3%AF"), ("simple", False, "a?b#c", "/x/a%3Fb%23c"),
])
async def test_path_styles(tmp_path: Path, style: str, explode: bool, value: Any, path: str) -> None:
    seen = await sent(tmp_path, [{"name": "p", "in": "path", "required": True, "style": style, "explode": explode, "schema": {}}], {"p": value}, "/x/{p}")
    assert seen.target == path


@pytest.mark.parametrize("value", ["..", ".", "../admin", "a/../b", "..\\x", "", "a/.."])
async def test_E03_a_path_parameter_never_leads_up(tmp_path: Path, value: str) -> None:
    with pytest.raises(InvalidInput):
        await sent(tmp_path, [{"name": "p", "in": "path", "required": True, "schema": {"type": "string"}}], {"p": value}, "/x/{p}")


async def test_headers_and_cookies(tmp_path: Path) -> None:
    seen = await sent(tmp_path, [{"name": "X-Filter", "in": "header", "schema": {}}, {"name": "lang", "in": "cookie", "schema": {}},
                                 {"name": "Authorization", "in": "header", "schema": {}}, {"name": "Accept", "in": "header", "schema": {}}],
                      {"X_Filter": ["a", "b"], "lang": "d e"})
    assert seen.headers["x-filter"] == "a,b" and seen.headers["cookie"] == "lang=d%20e" and "authorization" not in seen.headers


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "\0", "a\x7f"])
async def test_E03_C14_a_header_value_carries_no_line_break(tmp_path: Path, value: str) -> None:
    with pytest.raises(InvalidInput):
        await sent(tmp_path, [{"name": "X-Filter", "in": "header", "schema": {}}], {"X_Filter": value})


async def test_json_parameter_reserved_characters_and_forgotten_placeholders(tmp_path: Path) -> None:
    seen = await sent(tmp_path, [{"name": "q", "in": "query", "content": {"application/json": {"schema": {"type": "object"}}}},
                                 {"name": "r", "in": "query", "allowReserved": True, "schema": {}}],
                      {"q": {"a": [1]}, "r": "a/b:c&d", "who": "ada"}, "/x/{who}")
    assert seen.target == "/x/ada?q=%7B%22a%22%3A%5B1%5D%7D&r=a/b:c%26d"


async def test_names_on_the_wire_come_back(tmp_path: Path) -> None:
    seen = await sent(tmp_path, [{"name": "$top", "in": "query", "schema": {}}, {"name": "filter[name]", "in": "query", "schema": {}},
                                 {"name": "class", "in": "query", "schema": {}}, {"name": "filter_name", "in": "query", "schema": {}}],
                      {"top": 1, "filter_name": 2, "class_": 3, "filter_name_2": 4})
    assert sorted(seen.target.partition("?")[2].split("&")) == ["%24top=1", "class=3", "filter%5Bname%5D=2", "filter_name=4"]


async def test_shared_parameters_are_overridden_by_the_operation(tmp_path: Path) -> None:
    connector = await opened(tmp_path, document({"/x": {
        "parameters": [{"name": "a", "in": "query", "schema": {"type": "string"}}, {"name": "b", "in": "query", "schema": {"type": "string"}}],
        "get": operation([{"name": "a", "in": "query", "required": True, "schema": {"type": "integer"}}])}}))
    schema = only(connector).input_schema
    assert schema["properties"]["a"] == {"type": "integer"} and schema["required"] == ["a"] and "b" in schema["properties"]
    assert schema["additionalProperties"] is False


def only(connector: OpenApiConnector) -> Operation:
    (operation,) = connector.operations()
    return operation


# -- bodies -------------------------------------------------------------------------------------------------------


def body_of(content: dict[str, Any], required: bool = True) -> dict[str, Any]:
    return {"requestBody": {"required": required, "content": content}}


async def posted(tmp_path: Path, body: dict[str, Any], arguments: dict[str, Any], parameters: list[Any] | None = None,
                 blobs: MemoryBlobs | None = None, **top: Any) -> tuple[Any, Operation]:
    async with Upstream() as upstream:
        connector = await opened(tmp_path, document({"/x": {"post": operation(parameters, **body)}}, **top), base_url=upstream.url)
        one = only(connector)
        one.reachable()
        await call(connector, one.name, arguments, blobs=blobs)
        await connector.close()
        return upstream.seen[-1], one


async def test_json_body_is_flattened_beside_parameters(tmp_path: Path) -> None:
    schema = {"type": "object", "required": ["title", "id"], "properties": {
        "title": {"type": "string"}, "id": {"type": "integer", "readOnly": True}, "x-tag": {"type": "string"}}}
    seen, one = await posted(tmp_path, body_of({"application/json": {"schema": schema}}), {"title": "t", "x_tag": "u", "q": 1},
                             [{"name": "q", "in": "query", "schema": {}}])
    assert seen.json == {"title": "t", "x-tag": "u"} and seen.target == "/x?q=1"
    assert one.input_schema["required"] == ["title"] and "id" not in one.input_schema["properties"]


async def test_a_clash_puts_the_body_under_body(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"id": {"type": "string"}}}
    seen, one = await posted(tmp_path, body_of({"application/json": {"schema": schema}}), {"id": "q", "body": {"id": "b"}},
                             [{"name": "id", "in": "query", "schema": {}}])
    assert seen.json == {"id": "b"} and seen.target == "/x?id=q" and one.input_schema["required"] == ["body"]


async def test_all_of_is_flattened_through_references(tmp_path: Path) -> None:
    schemas = {"Base": {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
               "Thing": {"allOf": [{"$ref": "#/components/schemas/Base"}, {"properties": {"b": {"$ref": "#/components/schemas/Base"}}}]}}
    seen, one = await posted(tmp_path, body_of({"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}}),
                             {"a": "1", "b": {"a": "2"}}, components={"schemas": schemas})
    assert seen.json == {"a": "1", "b": {"a": "2"}} and one.input_schema["properties"]["b"]["$ref"] == "#/$defs/Base"
    assert one.definitions["Base"]["properties"] == {"a": {"type": "string"}}


@pytest.mark.parametrize(("schema", "value"), [
    ({"type": "array", "items": {"type": "integer"}}, [1, 2]), ({"oneOf": [{"type": "object"}, {"type": "string"}]}, "x"),
    ({"type": "object", "additionalProperties": {"type": "integer"}}, {"k": 1}), ({}, {"any": ["thing"]}),
])
async def test_other_json_bodies_stand_under_body(tmp_path: Path, schema: dict[str, Any], value: Any) -> None:
    seen, _ = await posted(tmp_path, body_of({"application/json": {"schema": schema}}), {"body": value})
    assert seen.json == value


async def test_open_objects_take_more_properties(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"a": {}}, "additionalProperties": {"type": "integer"}}
    seen, one = await posted(tmp_path, body_of({"application/json": {"schema": schema}}), {"a": "x", "more": 3})
    assert seen.json == {"a": "x", "more": 3} and one.input_schema["additionalProperties"] == {"type": "integer"}


async def test_an_optional_body_is_left_out_and_a_required_one_is_empty(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"a": {}}, "required": ["a"]}
    seen, one = await posted(tmp_path, body_of({"application/json": {"schema": schema}}, required=False), {})
    assert seen.body == b"" and "required" not in one.input_schema
    seen, _ = await posted(tmp_path, body_of({"application/json": {"schema": {"type": "object", "properties": {"a": {}}}}}), {})
    assert seen.json == {}


async def test_form_body(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"email": {}, "address": {"type": "object"}, "tags": {"type": "array"}}}
    seen, _ = await posted(tmp_path, body_of({"application/x-www-form-urlencoded": {"schema": schema}}),
                           {"email": "a@b", "address": {"city": "x y", "geo": {"lat": 1}}, "tags": ["p", "q"]})
    assert seen.headers["content-type"] == "application/x-www-form-urlencoded"
    assert seen.body.decode() == "email=a%40b&address%5Bcity%5D=x+y&address%5Bgeo%5D%5Blat%5D=1&tags=p&tags=q"


async def test_multipart_body_takes_references(tmp_path: Path) -> None:
    blobs = MemoryBlobs()
    reference = await blobs.put(b"\x89PNG\0", tenant="default", mime="image/png")
    schema = {"type": "object", "required": ["file"], "properties": {"file": {"type": "string", "format": "binary"}, "note": {"type": "string"},
                                                                    "meta": {"type": "object"}}}
    seen, one = await posted(tmp_path, body_of({"multipart/form-data": {"schema": schema}}), {"file": reference, "note": "hi", "meta": {"a": 1}}, blobs=blobs)
    assert seen.headers["content-type"].startswith("multipart/form-data; boundary=")
    for part in (b'name="file"', b"Content-Type: image/png\r\n\r\n\x89PNG\0", b'name="note"\r\n\r\nhi', b'name="meta"\r\nContent-Type: application/json\r\n\r\n{"a":1}'):
        assert part in seen.body
    validator = jsonschema_rs.Draft202012Validator({**one.input_schema, "$defs": one.reachable()})
    assert validator.is_valid({"file": reference}) and not validator.is_valid({"file": 3})


@pytest.mark.parametrize(("media", "value", "body"), [("text/plain", "hello", b"hello"), ("application/xml", "<a/>", b"<a/>"), ("application/octet-stream", "raw", b"raw")])
async def test_text_and_binary_bodies(tmp_path: Path, media: str, value: str, body: bytes) -> None:
    seen, _ = await posted(tmp_path, body_of({media: {"schema": {"type": "string"}}}), {"body": value})
    assert seen.body == body and seen.headers["content-type"] == media


async def test_a_reference_is_sent_as_its_bytes(tmp_path: Path) -> None:
    blobs = MemoryBlobs()
    reference = await blobs.put(b"\0\1\2", tenant="default", mime="image/gif")
    seen, _ = await posted(tmp_path, body_of({"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}), {"body": reference}, blobs=blobs)
    assert seen.body == b"\0\1\2" and seen.headers["content-type"] == "image/gif"


async def test_idempotency_key_where_the_document_declares_it(tmp_path: Path) -> None:
    seen, one = await posted(tmp_path, {}, {}, [{"name": "Idempotency-Key", "in": "header", "required": True, "schema": {}}])
    assert seen.headers["idempotency-key"] == "r1:1" and one.effects.idempotent and one.input_schema["properties"] == {}
    seen, one = await posted(tmp_path, {}, {})
    assert "idempotency-key" not in seen.headers and not one.effects.idempotent


# -- answers ------------------------------------------------------------------------------------------------------


async def answered(tmp_path: Path, reply: tuple[Any, ...], responses: dict[str, Any] | None = None, method: str = "get", **options: Any) -> Any:
    async with Upstream() as upstream:
        upstream.reply["/x"] = reply
        connector = await opened(tmp_path, document({"/x": {method: operation(responses=responses or {"200": {"description": "ok"}})}}),
                                 base_url=upstream.url, **options)
        blobs = MemoryBlobs()
        try:
            return await call(connector, only(connector).name, blobs=blobs), blobs
        finally:
            await connector.close()


@pytest.mark.parametrize(("reply", "value"), [
    ((200, "application/json", b'{"a":[1,null]}'), {"a": [1, None]}), ((200, "application/problem+json; charset=utf-8", b"[]"), []), ((204, "", b""), None),
    ((200, "text/plain; charset=latin-1", b"\xfc"), "ü"), ((200, "text/csv", b"a,b"), "a,b"), ((200, "", b'{"a":1}'), {"a": 1}), ((200, "", b"plain"), "plain"),
])
async def test_answers_by_type(tmp_path: Path, reply: tuple[Any, ...], value: Any) -> None:
    assert (await answered(tmp_path, reply))[0] == value


async def test_binary_answers_are_references(tmp_path: Path) -> None:
    value, blobs = await answered(tmp_path, (200, "image/png", b"\x89PNG"))
    assert value["type"] == "image/png" and value["size"] == 4
    assert await blobs.get(value, tenant="default") == b"\x89PNG"
    declared = {"200": {"description": "", "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}}
    value, _ = await answered(tmp_path / "b", (200, "application/json", b"{}"), declared) if (tmp_path / "b").mkdir() is None else (None, None)
    assert value["size"] == 2, "declared as a file, whatever the server calls it"


async def test_head_gives_status_and_headers(tmp_path: Path) -> None:
    value, _ = await answered(tmp_path, (200, "text/plain", b"abc", {"X-Total": "3"}), method="head")
    assert value["status"] == 200 and value["headers"]["x-total"] == "3"


async def test_declared_json_that_is_none_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UpstreamError) as failed:
        await answered(tmp_path, (200, "application/json", b"<html>"))
    assert failed.value.specific_code == "response_invalid"


@pytest.mark.parametrize(("status", "effect"), [(400, "none"), (404, "none"), (429, "none"), (500, "unknown"), (503, "unknown")])
async def test_errors_carry_status_body_and_what_is_known(tmp_path: Path, status: int, effect: str) -> None:
    with pytest.raises(UpstreamError) as failed:
        await answered(tmp_path, (status, "application/json", b'{"message":"no"}', {"Retry-After": "7"}),
                       {"200": {"description": "ok"}, "404": {"description": "no such thing"}}, method="post")
    value = failed.value.as_value()
    assert value["code"] == f"http_{status}" and value["effect"] == effect
    assert value["details"] == {"status": status, "body": {"message": "no"}, "retry_after": "7"}
    assert "no such thing" in value["message"] or status != 404


async def test_error_bodies_are_bounded(tmp_path: Path) -> None:
    with pytest.raises(UpstreamError) as failed:
        await answered(tmp_path, (500, "text/html", b"<p>" * 100_000))
    assert len(json.dumps(failed.value.as_value())) < 4_000


async def test_documented_errors_and_output_schema(tmp_path: Path) -> None:
    responses = {"200": {"description": "", "content": {"application/json": {"schema": {"type": "integer"}}}}, "204": {"description": "nothing"},
                 "404": {"description": "gone"}, "4XX": {"description": "other"}, "default": {"description": "error"}}
    connector = await opened(tmp_path, document({"/x": {"get": operation(responses=responses)}}))
    one = only(connector)
    assert one.output_schema == {"anyOf": [{"type": "integer"}, {"type": "null"}]}
    assert [(doc.code, doc.description) for doc in one.errors] == [("http_404", "gone"), ("http_4xx", "other")]


# -- credentials --------------------------------------------------------------------------------------------------

SCHEMES = {"key": {"type": "apiKey", "in": "header", "name": "X-Key"}, "query": {"type": "apiKey", "in": "query", "name": "api_key"},
           "cookie": {"type": "apiKey", "in": "cookie", "name": "sid"}, "basic": {"type": "http", "scheme": "basic"},
           "bearer": {"type": "http", "scheme": "bearer"}, "oauth": {"type": "oauth2", "flows": {}}, "oidc": {"type": "openIdConnect", "openIdConnectUrl": "x"},
           "mtls": {"type": "mutualTLS"}}


async def authenticated(tmp_path: Path, security: Any, kit: dict[str, Any], principal: str = "ada", schemes: Any = SCHEMES, **options: Any) -> Any:
    async with Upstream() as upstream:
        more = {} if security is None else {"security": security}
        connector = await opened(tmp_path, document({"/x": {"get": operation(**more)}}, components={"securitySchemes": schemes}),
                                 base_url=upstream.url, kit=kit, **options)
        await call(connector, only(connector).name, principal=Principal.parse(principal))
        await connector.close()
        return upstream.seen[-1]


@pytest.mark.parametrize(("scheme", "where", "value"), [
    ("key", "x-key", "CANARY"), ("cookie", "cookie", "sid=CANARY"), ("bearer", "authorization", "Bearer CANARY"), ("oauth", "authorization", "Bearer CANARY"),
    ("oidc", "authorization", "Bearer CANARY"), ("basic", "authorization", "Basic " + base64.b64encode(b"CANARY:").decode()),
])
async def test_each_scheme_has_its_place(tmp_path: Path, scheme: str, where: str, value: str) -> None:
    seen = await authenticated(tmp_path, [{scheme: []}], {"secrets": {"TOKEN": "CANARY"}}, secret="TOKEN")
    assert seen.headers[where] == value


async def test_a_key_in_the_query(tmp_path: Path) -> None:
    seen = await authenticated(tmp_path, [{"query": []}], {"secrets": {"TOKEN": "CANARY&"}}, secret="TOKEN")
    assert seen.target == "/x?api_key=CANARY%26"


async def test_a_missing_secret_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingConnection, match="TOKEN"):
        await authenticated(tmp_path, [{"key": []}], {}, secret="TOKEN")


async def test_each_principal_uses_its_own_connection(tmp_path: Path) -> None:
    kit = {"connections": {"default/ada": {"token": "ADA"}, "default/bob": {"username": "bob", "password": "BOB"}}}
    seen = await authenticated(tmp_path, [{"bearer": []}], kit)
    assert seen.headers["authorization"] == "Bearer ADA"
    seen = await authenticated(tmp_path, [{"basic": []}], kit, "bob")
    assert seen.headers["authorization"] == "Basic " + base64.b64encode(b"bob:BOB").decode()
    with pytest.raises(MissingConnection):
        await authenticated(tmp_path, [{"bearer": []}], kit, "eve")


async def test_optional_and_absent_security_need_no_connection(tmp_path: Path) -> None:
    for security in ([{}, {"bearer": []}], [], None):
        seen = await authenticated(tmp_path, security, {})
        assert "authorization" not in seen.headers


async def test_alternatives_and_scheme_names(tmp_path: Path) -> None:
    kit = {"secrets": {"A": "ONE", "B": "TWO"}}
    seen = await authenticated(tmp_path, [{"mtls": []}, {"key": [], "query": []}], kit, secret={"key": "A", "query": "B"})
    assert seen.headers["x-key"] == "ONE" and seen.target == "/x?api_key=TWO"
    with pytest.raises(MissingConnection, match="mtls"):
        await authenticated(tmp_path, [{"mtls": []}], kit, secret="A")


async def test_an_override_and_a_document_without_schemes(tmp_path: Path) -> None:
    kit = {"secrets": {"A": "ONE"}}
    seen = await authenticated(tmp_path, None, kit, secret="A", auth={"header": "X-Token", "prefix": "t "}, schemes={})
    assert seen.headers["x-token"] == "t ONE"
    seen = await authenticated(tmp_path, None, kit, secret="A", schemes={})
    assert seen.headers["authorization"] == "Bearer ONE"
    with pytest.raises(ConfigError):
        await authenticated(tmp_path, None, kit, auth="magic")


async def test_a_credential_is_never_a_parameter(tmp_path: Path) -> None:
    connector = await opened(tmp_path, document({"/x": {"get": operation([
        {"name": "x-key", "in": "header", "schema": {}}, {"name": "api_key", "in": "query", "schema": {}}, {"name": "q", "in": "query", "schema": {}}])}},
        components={"securitySchemes": SCHEMES}))
    assert list(only(connector).input_schema["properties"]) == ["q"]


async def test_C22_no_credential_for_another_origin(tmp_path: Path) -> None:
    async with Upstream() as base, Upstream() as other:
        content = document({"/x": {"get": operation(security=[{"bearer": []}], servers=[{"url": other.url}])}}, components={"securitySchemes": SCHEMES},
                           servers=[{"url": base.url}])
        connector = await opened(tmp_path, content, secret="T", private_addresses=True, kit={"secrets": {"T": "CANARY"}})
        await call(connector, only(connector).name)
        assert "authorization" not in other.seen[-1].headers
        trusting = OpenApiConnector("api", tmp_path / "doc.json", secret="T", private_addresses=True, origins=[other.url])
        await trusting.open(context(tmp_path / "cache", secrets={"T": "CANARY"}))
        await call(trusting, only(connector).name)
        assert other.seen[-1].headers["authorization"] == "Bearer CANARY"
        await connector.close()
        await trusting.close()


@pytest.mark.parametrize("form", ["raw", "base64", "hex", "percent", "json"])
async def test_C15_an_echoed_credential_is_scrubbed(tmp_path: Path, form: str) -> None:
    secret = "s3cr3t/CANARY+value"
    echoed = {"raw": secret, "base64": base64.b64encode(b"xy" + secret.encode()).decode(), "hex": secret.encode().hex(),
              "percent": "s3cr3t%2FCANARY%2Bvalue", "json": secret.replace("/", "\\/")}[form]
    for status in (200, 401):
        async with Upstream() as upstream:
            upstream.reply["/x"] = (status, "application/json", b'{"headers":"' + echoed.encode() + b'"}')
            connector = await opened(tmp_path, document({"/x": {"get": operation(security=[{"bearer": []}])}}, components={"securitySchemes": SCHEMES}),
                                     base_url=upstream.url, secret="T", kit={"secrets": {"T": secret}})
            try:
                shown = json.dumps(await call(connector, only(connector).name))
            except UpstreamError as error:
                shown = json.dumps(error.as_value())
            await connector.close()
            assert "CANARY" not in shown and echoed[3:-3] not in shown and "redacted" in shown


@pytest.mark.parametrize(("method", "status"), [("get", 401), ("get", 429), ("head", 200)])
async def test_C15_a_credential_echoed_in_a_header_is_scrubbed(tmp_path: Path, method: str, status: int) -> None:
    async with Upstream() as upstream:
        upstream.reply["/x"] = (status, "application/json", b"{}", {"Location": "/login?was=s3cr3tCANARY", "Retry-After": "s3cr3tCANARY", "X-Echo": "s3cr3tCANARY"})
        connector = await opened(tmp_path, document({"/x": {method: operation(security=[{"bearer": []}])}}, components={"securitySchemes": SCHEMES}),
                                 base_url=upstream.url, secret="T", kit={"secrets": {"T": "s3cr3tCANARY"}})
        try:
            shown = json.dumps(await call(connector, only(connector).name))
        except UpstreamError as error:
            shown = json.dumps(error.as_value())
        await connector.close()
        assert "CANARY" not in shown and "redacted" in shown


async def test_redirects_stay_where_they_are_granted(tmp_path: Path) -> None:
    async with Upstream() as upstream, Upstream() as evil:
        upstream.reply["/x"] = (302, "", b"", {"Location": f"{evil.url}/y"})
        connector = await opened(tmp_path, document({"/x": {"get": operation()}}), base_url=upstream.url)
        with pytest.raises(Denied):
            await call(connector, only(connector).name)
        assert evil.seen == []
        await connector.close()


# -- where to -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("servers", "target"), [
    ([{"url": "{url}/v1/"}], "/v1/x"), ([{"url": "{url}/{v}", "variables": {"v": {"default": "v2"}}}], "/v2/x"), ([{"url": "/relative"}, {"url": "{url}/b"}], "/b/x"),
])
async def test_servers(tmp_path: Path, servers: list[dict[str, Any]], target: str) -> None:
    async with Upstream() as upstream:
        filled = [{**server, "url": server["url"].replace("{url}", upstream.url)} for server in servers]
        connector = await opened(tmp_path, document({"/x": {"get": operation()}}, servers=filled), private_addresses=True)
        await call(connector, only(connector).name)
        assert upstream.seen[-1].target == target
        await connector.close()


async def test_a_document_that_names_a_private_server_is_not_the_operators_word(tmp_path: Path) -> None:
    async with Upstream() as upstream:
        connector = await opened(tmp_path, document({"/x": {"get": operation()}}, servers=[{"url": upstream.url}]))
        with pytest.raises(Denied):
            await call(connector, only(connector).name)
        assert upstream.seen == []
        await connector.close()


async def test_no_server_is_a_problem_and_an_error_of_the_call(tmp_path: Path) -> None:
    connector = await opened(tmp_path, document({"/x": {"get": operation()}}, servers=[{"url": "/only/relative"}]))
    assert [problem.pointer for problem in connector.problems()] == ["/servers"]
    with pytest.raises(InvalidInput) as refused:
        await call(connector, only(connector).name)
    assert refused.value.fix == "set base_url of api"
    await connector.close()


async def test_a_slow_upstream_is_cut(tmp_path: Path) -> None:
    async with Upstream() as upstream:
        upstream.reply["/x"] = (200, "text/plain", b"x")
        connector = await opened(tmp_path, document({"/x": {"post": operation()}}), base_url=upstream.url.replace(str(upstream.port), "9"), timeout_s=0.5)
        with pytest.raises((CallTimeout, UpstreamError)) as failed:
            await call(connector, only(connector).name)
        assert failed.value.effect == "none", "no connection, no effect"
        await connector.close()


# -- effects, names, choice ---------------------------------------------------------------------------------------


async def test_effects_follow_the_method_and_the_operator(tmp_path: Path) -> None:
    path = {method: {"operationId": method + "Thing", "responses": {}} for method in ("get", "head", "options", "put", "post", "patch", "delete")}
    connector = await opened(tmp_path, document({"/x": path}), effects={"api.x.post_*": {"writes": "none", "irreversible": False}})
    effects = {operation.origin.split()[0]: operation.effects for operation in connector.operations()}
    for method in ("GET", "HEAD", "OPTIONS"):
        assert (effects[method].writes, effects[method].idempotent, effects[method].reads, effects[method].trust) == ("none", True, "private", "untrusted")
    assert effects["PUT"].writes == effects["DELETE"].writes == effects["PATCH"].writes == "external"
    assert effects["PUT"].idempotent and effects["DELETE"].idempotent and not effects["PATCH"].idempotent
    assert effects["DELETE"].irreversible and not effects["POST"].may_write


async def test_include_and_exclude(tmp_path: Path) -> None:
    paths = {"/a": {"get": {"operationId": "getA", "tags": ["one"]}, "delete": {"operationId": "dropA", "tags": ["one"]}}, "/b": {"get": {"operationId": "getB", "tags": ["two"]}}}
    for include, exclude, names in ((("one",), (), ["api.one.get_a", "api.one.drop_a"]), (("GET *",), (), ["api.one.get_a", "api.two.get_b"]),
                                    ((), ("DELETE *",), ["api.one.get_a", "api.two.get_b"]), (("api.two.*", "/a"), ("*drop*",), ["api.one.get_a", "api.two.get_b"])):
        connector = await opened(tmp_path, document(paths), include=include, exclude=exclude)
        assert [operation.name for operation in connector.operations()] == names
        hidden = {"api.one.get_a", "api.one.drop_a", "api.two.get_b"} - set(names)
        assert all(connector.operation(name) is None for name in hidden)
        await connector.close()


async def test_the_origin_of_the_source_is_the_operators_word_and_no_other(tmp_path: Path) -> None:
    async with Upstream() as upstream, Upstream() as other:
        for number, (server, may) in enumerate(((upstream.url, True), ("/", True), (other.url, False), (upstream.url.replace("127.0.0.1", "localhost"), False))):
            upstream.seen.clear()
            described = json.dumps(document({"/x": {"get": operation()}}, servers=[{"url": server}])).encode()
            upstream.reply["/openapi.json"] = (200, "application/json", described)
            connector = OpenApiConnector("api", f"{upstream.url}/openapi.json")
            await connector.open(context(tmp_path / str(number)))
            try:
                if may:
                    await call(connector, only(connector).name)
                    assert upstream.seen[-1].target == "/x"
                else:
                    with pytest.raises(Denied) as caught:
                        await call(connector, only(connector).name)
                    assert "base_url" in (caught.value.fix or "") and other.seen == []
            finally:
                await connector.close()
