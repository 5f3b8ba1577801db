"""Which operations of a document are over one kind of thing, told by paths and types. The documents are of the shapes of well-known ones."""

from __future__ import annotations

from typing import Any

import pytest

from inhabit.connectors.openapi.compiler import compile_document
from inhabit.connectors.openapi.crud import resource_of_record
from inhabit.connectors.openapi.document import Documents
from inhabit.contracts.operation import Resource

TEXT, NUMBER = {"type": "string"}, {"type": "integer"}
THING = {"type": "object", "properties": {"id": TEXT, "title": TEXT, "open": {"type": "boolean"}, "etag": TEXT}}
REF = {"$ref": "#/components/schemas/Thing"}


def answers(schema: Any) -> dict[str, Any]:
    return {"responses": {"200": {"description": "", "content": {"application/json": {"schema": schema}}}}}


def takes(**properties: Any) -> dict[str, Any]:
    return {"requestBody": {"content": {"application/json": {"schema": {"type": "object", "properties": properties}}}}}


def derived(paths: dict[str, Any], **schemas: Any) -> dict[str, Resource | None]:
    """By method and path."""
    document = {"openapi": "3.0.3", "info": {"title": "t", "version": "1"}, "paths": paths, "components": {"schemas": {"Thing": THING, **schemas}}}
    compiled = compile_document(Documents("doc", {"doc": document}))
    return {f"{record['method']} {record['path']}": resource_of_record("api", record["resource"]) for record in compiled.operations}


DONE = {"responses": {"204": {"description": "done"}}}


def test_a_plain_collection() -> None:
    found = derived({
        "/v1/things": {"get": answers({"type": "array", "items": REF}), "post": answers(REF) | takes(title=TEXT)},
        "/v1/things/{thing_id}": {"get": answers(REF), "put": answers(REF) | takes(title=TEXT, open={"type": "boolean"}),
                                  "patch": answers(REF) | takes(title=TEXT), "delete": DONE}})
    kind, title = "api /v1/things", (("title", "title"),)
    assert found == {
        "get /v1/things": Resource(kind, "list"),
        "post /v1/things": Resource(kind, "create", version="etag", members=title),
        "get /v1/things/{thing_id}": Resource(kind, "read", argument="thing_id", version="etag"),
        "put /v1/things/{thing_id}": Resource(kind, "replace", argument="thing_id", version="etag", members=(*title, ("open", "open"))),
        "patch /v1/things/{thing_id}": Resource(kind, "update", argument="thing_id", version="etag", members=title),
        "delete /v1/things/{thing_id}": Resource(kind, "delete", argument="thing_id")}


def test_issues_lie_in_a_repository_and_are_named_by_their_number() -> None:
    issue = {"type": "object", "properties": {
        "id": NUMBER, "number": NUMBER, "title": TEXT, "body": {"type": "string", "nullable": True}, "state": TEXT,
        "labels": {"type": "array", "items": {"type": "object", "properties": {"name": TEXT}}}}}
    ref, issues, one = {"$ref": "#/components/schemas/Issue"}, "/repos/{owner}/{repo}/issues", "/repos/{owner}/{repo}/issues/{issue_number}"
    given = takes(title=TEXT, body=TEXT, state={"type": "string", "enum": ["open", "closed"]}, labels={"type": "array", "items": TEXT})
    found = derived({issues: {"get": answers({"type": "array", "items": ref}), "post": answers(ref) | given},
                     one: {"get": answers(ref), "patch": answers(ref) | given}}, Issue=issue)
    made, changed = found[f"post {issues}"], found[f"patch {one}"]
    assert made is not None and (made.role, made.key, made.within) == ("create", "number", ("owner", "repo"))
    assert changed is not None and (changed.role, changed.key, changed.argument, changed.within) == (
        "update", "number", "issue_number", ("owner", "repo"))
    # labels are given as words and answered as objects: what a read would show of them is not known
    assert changed.members == (("title", "title"), ("body", "body"), ("state", "state"))
    assert found[f"get {issues}"] == Resource("api /repos/{}/{}/issues", "list", "number", within=("owner", "repo"))


def test_a_repository_is_named_by_what_its_owner_calls_it_not_by_its_number() -> None:
    repo = {"type": "object", "properties": {"id": NUMBER, "name": TEXT, "full_name": TEXT, "private": {"type": "boolean"}}}
    ref, one = {"$ref": "#/components/schemas/Repo"}, "/repos/{owner}/{repo}"
    parameters = [{"name": name, "in": "path", "required": True, "schema": TEXT} for name in ("owner", "repo")]
    found = derived({one: {"parameters": parameters, "get": answers(ref), "delete": DONE,
                           "patch": answers(ref) | takes(name=TEXT, private={"type": "boolean"})}}, Repo=repo)
    changed = found[f"patch {one}"]
    # a new name is another place: what is read there afterwards is not known
    assert changed == Resource("api /repos/{}", "update", "name", "repo", within=("owner",), members=(("private", "private"),))


def test_customers_are_changed_by_post_and_their_sources_lie_in_them() -> None:
    customer = {"type": "object", "required": ["id"], "properties": {
        "id": {"type": "string", "description": "Unique identifier for the object."}, "name": TEXT, "email": {"type": "string", "nullable": True}}}
    source = {"type": "object", "properties": {"id": TEXT, "customer": TEXT, "usage": TEXT}}
    gone = {"type": "object", "properties": {"id": TEXT, "deleted": {"type": "boolean", "enum": [True]}}}
    ref, held = {"$ref": "#/components/schemas/Customer"}, {"$ref": "#/components/schemas/Source"}

    def listed(items: Any) -> Any:
        return {"type": "object", "properties": {"data": {"type": "array", "items": items}, "has_more": {"type": "boolean"}}}

    form = {"requestBody": {"content": {"application/x-www-form-urlencoded": {"schema": {"type": "object", "properties": {
        "name": TEXT, "email": TEXT, "metadata": {"anyOf": [{"type": "object"}, {"type": "string", "enum": [""]}]}}}}}}}
    one = "/v1/customers/{customer}"
    found = derived({
        "/v1/customers": {"get": answers(listed(ref)), "post": answers(ref) | form},
        one: {"get": answers({"anyOf": [ref, {"$ref": "#/components/schemas/Gone"}]}), "post": answers(ref) | form,
              "delete": answers({"$ref": "#/components/schemas/Gone"})},
        f"{one}/sources": {"get": answers(listed(held)), "post": answers(held)},
        f"{one}/sources/{{id}}": {"get": answers(held), "delete": answers(held)}}, Customer=customer, Source=source, Gone=gone)
    members = (("name", "name"), ("email", "email"))
    assert found[f"post {one}"] == Resource("api /v1/customers", "update", "id", "customer", members=members)
    assert found["post /v1/customers"] == Resource("api /v1/customers", "create", members=members)
    assert found["get /v1/customers"] == Resource("api /v1/customers", "list", items="data")
    assert found[f"get {one}/sources/{{id}}"] == Resource("api /v1/customers/{}/sources", "read", argument="id", within=("customer",))
    assert found[f"post {one}/sources"] == Resource("api /v1/customers/{}/sources", "create", within=("customer",), members=())


@pytest.mark.parametrize("word", ["data", "droplet"])
@pytest.mark.parametrize("items", ["items", "results", "droplets"])
def test_a_thing_in_an_envelope(word: str, items: str) -> None:
    thing = {"type": "object", "properties": {"id": NUMBER, "name": TEXT}}
    wrapped = answers({"type": "object", "properties": {word: thing, "links": {"type": "object", "properties": {"self": TEXT}}}})
    listed = answers({"type": "object", "properties": {items: {"type": "array", "items": thing}, "errors": {"type": "array", "items": TEXT}}})
    found = derived({"/droplets": {"get": listed, "post": wrapped | takes(name=TEXT)},
                     "/droplets/{droplet_id}": {"get": wrapped, "patch": wrapped | takes(name=TEXT)}})
    kind, members = "api /droplets", (("name", "name"),)
    assert found == {
        "get /droplets": Resource(kind, "list", items=items), "post /droplets": Resource(kind, "create", wrapped=word, members=members),
        "get /droplets/{droplet_id}": Resource(kind, "read", argument="droplet_id", wrapped=word),
        "patch /droplets/{droplet_id}": Resource(kind, "update", argument="droplet_id", wrapped=word, members=members)}


def test_a_body_that_repeats_a_parameter_is_looked_into() -> None:
    found = derived({"/things/{id}": {"get": answers(REF), "put": answers(REF) | takes(id=TEXT, title=TEXT)}})
    put = found["put /things/{id}"]
    assert put is not None and put.members == (("body.title", "title"),)


def test_a_body_of_several_forms_is_read_but_not_for_the_key() -> None:
    """An issue is made an item of a board: `id` is the issue's."""
    forms = {"schema": {"type": "object", "properties": {"id": TEXT, "title": TEXT}, "oneOf": [{"required": ["id"]}, {"required": ["title"]}]}}
    found = derived({"/things": {"get": answers({"type": "array", "items": REF}),
                                 "post": answers(REF) | {"requestBody": {"content": {"application/json": forms}}}},
                     "/things/{id}": {"get": answers(REF)}})
    post = found["post /things"]
    assert post is not None and post.members == (("body.title", "title"),)


def test_what_only_tells_people_something_makes_no_other_type() -> None:
    told = {"allOf": [{"$ref": "#/components/schemas/Size"}], "description": "how large it is"}
    thing = {"type": "object", "properties": {"id": TEXT, "size": told}}
    size = {"type": "object", "properties": {"width": NUMBER}}
    found = derived({"/boxes": {"post": answers(thing) | takes(size={"$ref": "#/components/schemas/Size"})},
                     "/boxes/{id}": {"get": answers(thing), "delete": DONE}}, Size=size)
    post = found["post /boxes"]
    assert post is not None and post.members == (("size", "size"),)


PLAIN = {"get": answers(REF), "delete": DONE}


@pytest.mark.parametrize(("paths", "left"), [
    ({"/things": {"get": answers({"type": "array", "items": REF})}, "/things/{id}": {"get": answers(REF)}}, "get /things"),    # nothing writes
    ({"/things/{id}": {"delete": DONE}}, "delete /things/{id}"),                                             # nothing reads
    ({"/things/{id}": PLAIN, "/things/{id}/archive": {"post": answers(REF)}}, "post /things/{id}/archive"),  # something done to one
    ({"/things/{id}": PLAIN, "/things": {"post": answers({"type": "object", "properties": {"id": TEXT, "job": TEXT, "eta": TEXT, "queue": TEXT}})}},
     "post /things"),                                                                                        # a job, not the thing
    ({"/things/{id}": PLAIN, "/things": {"get": answers({"type": "array", "items": {"type": "object", "properties": {"id": TEXT, "title": NUMBER}}})}},
     "get /things"),                                                                                         # one member, two kinds
    ({"/things/{id}": {**PLAIN, "patch": answers(REF) | takes(colour=TEXT)}}, "patch /things/{id}"),         # no member of the thing
    ({"/things/{id}": PLAIN, "/things": {"post": answers(REF)}, "/things/": {"post": answers(REF)}}, "post /things"),  # two in one place
    ({"/things/{id}:run": {"post": answers(REF)}, "/things/{id}": PLAIN}, "post /things/{id}:run"),
    ({"/v1/{name}": {"get": answers(REF), "delete": DONE}}, "get /v1/{name}"),                               # anything at all
    ({"/things/{id}": {"get": answers(TEXT), "delete": DONE}}, "get /things/{id}"),                          # no thing
    ({"/search": {"post": answers({"type": "object", "properties": {"items": {"type": "array", "items": REF}}})}}, "post /search"),
])
def test_what_is_not_clear_is_left_alone(paths: dict[str, Any], left: str) -> None:
    assert derived(paths)[left] is None


@pytest.mark.parametrize(("placeholder", "members"), [
    ("user", {"id": NUMBER, "login": TEXT, "name": TEXT}),       # two words it could be
    ("username", {"id": NUMBER, "name": TEXT}),                  # a name is not a user name
    ("account_id", {"id": TEXT, "name": TEXT}),                  # another thing's id
    ("ref", {"id": TEXT}),
])
def test_a_key_that_is_not_clear_leaves_lists_and_makings_alone(placeholder: str, members: dict[str, Any]) -> None:
    user, one = {"type": "object", "properties": {**members, "bio": TEXT}}, f"/users/{{{placeholder}}}"
    parameters = [{"name": placeholder, "in": "path", "required": True, "schema": TEXT}]
    found = derived({"/users": {"get": answers({"type": "array", "items": user}), "post": answers(user) | takes(bio=TEXT)},
                     one: {"parameters": parameters, "get": answers(user), "patch": answers(user) | takes(bio=TEXT, name=TEXT, login=TEXT)}})
    assert found["get /users"] is None and found["post /users"] is None
    assert found[f"patch {one}"] == Resource("api /users", "update", "", placeholder, members=(("bio", "bio"),))
