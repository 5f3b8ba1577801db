"""What a schema says at its top: one reading for everybody who asks."""

from __future__ import annotations

from collections import UserDict
from typing import Any

import pytest

from inhabit.contracts.schema import MAX_VARIANTS, Schemas, types_of

TEXT, WHOLE, NULL = {"type": "string"}, {"type": "integer"}, {"type": "null"}
NAMED = {
    "Pet": {"type": "object", "properties": {"id": WHOLE, "name": TEXT}, "required": ["id"]},
    "Cat": {"allOf": [{"$ref": "#/$defs/Pet"}, {"properties": {"lives": WHOLE}, "required": ["lives"]}]},
    "Alias": {"$ref": "#/$defs/Cat"},
}


@pytest.mark.parametrize("schema, expected", [
    (TEXT, TEXT),
    ({"$ref": "#/$defs/Pet"}, NAMED["Pet"]),
    ({"$ref": "#/$defs/Pet", "description": "the cat's friend"}, {**NAMED["Pet"], "description": "the cat's friend"}),
    ({"$ref": "#/$defs/Gone"}, {}),
    ({"$ref": "#/$defs/Gone", "default": 1}, {"default": 1}),
    ({"anyOf": [NULL, TEXT]}, TEXT),
    ({"oneOf": [TEXT, WHOLE]}, TEXT),
    ({"anyOf": [NULL]}, NULL),
    ({"anyOf": []}, {}),
    ({"anyOf": [TEXT, NULL], "default": "x"}, {"type": "string", "default": "x"}),
    ({"type": "object", "properties": {"a": TEXT}, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
     {"type": "object", "properties": {"a": TEXT}, "required": ["a"]}),
    ({"allOf": [{"required": ["a"]}, {"anyOf": [NULL, {"type": "object"}]}]}, {"required": ["a"], "type": "object"}),
    (True, {}), (None, {}), ({"allOf": "no list"}, {}), ({"$ref": 3}, {}),
])
def test_the_first_variant(schema: Any, expected: Any) -> None:
    assert Schemas(NAMED).plain(schema) == expected


def test_parts_are_joined_and_the_outer_one_speaks_last() -> None:
    plain = Schemas(NAMED).plain({"$ref": "#/$defs/Alias", "properties": {"name": WHOLE}, "required": ["name", "id"]})
    assert plain["properties"] == {"id": WHOLE, "name": WHOLE, "lives": WHOLE}
    assert sorted(plain["required"]) == ["id", "lives", "name"]


def test_alternatives_stand_side_by_side() -> None:
    schemas = Schemas({"One": {"anyOf": [TEXT, WHOLE, NULL]}})
    assert list(schemas.variants({"$ref": "#/$defs/One"})) == [TEXT, WHOLE]
    both = schemas.variants({"anyOf": [{"title": "a"}, {"title": "b"}], "allOf": [{"$ref": "#/$defs/One"}]})
    assert [(one["type"], one["title"]) for one in both if "type" in one and one["type"] != "null"] == [
        ("string", "a"), ("string", "b"), ("integer", "a"), ("integer", "b")]


def test_members_and_items() -> None:
    schemas = Schemas(NAMED)
    assert schemas.members({"anyOf": [{"$ref": "#/$defs/Cat"}, NULL]}).keys() == {"id", "name", "lives"}
    assert schemas.members({"properties": ["no", "object"]}) == {} == schemas.members(TEXT)
    assert schemas.items({"type": ["array", "null"], "items": TEXT}) == TEXT
    assert schemas.items({"type": "array"}) == {}
    assert schemas.items(TEXT) is None


@pytest.mark.parametrize("schema, expected", [
    (TEXT, ("string",)), ({"type": ["string", "null"]}, ("string", "null")), ({"properties": {}}, ("object",)),
    ({"enum": ["a", "b"]}, ("string",)), ({"enum": ["a", 1]}, ()), ({"enum": []}, ()), ({}, ()),
])
def test_types(schema: Any, expected: tuple[str, ...]) -> None:
    assert types_of(schema) == expected


class Counting(UserDict[str, Any]):
    looked_up = 0

    def get(self, key: str, default: Any = None) -> Any:
        self.looked_up += 1
        return super().get(key, default)


def doubling(word: str, leaf: Any) -> dict[str, Any]:
    twice = {f"T{n}": {word: [{"$ref": f"#/$defs/T{n + 1}"}] * 2} for n in range(30)}
    return {**twice, "T30": leaf}


@pytest.mark.parametrize("definitions", [
    {"T0": {"$ref": "#/$defs/T0"}},
    {"T0": {"allOf": [{"$ref": "#/$defs/T0"}, {"$ref": "#/$defs/T0"}]}},
    {"T0": {"anyOf": [{"$ref": "#/$defs/T0"}, {"$ref": "#/$defs/T0"}]}},
    doubling("allOf", TEXT), doubling("anyOf", TEXT), doubling("oneOf", NULL),
    {"T0": {"allOf": [{"$ref": "#/$defs/T1"}] * 5_000}, "T1": {"anyOf": [TEXT, WHOLE]}},
    {"T0": {"anyOf": [{"$ref": "#/$defs/T1"}] * 5_000}, "T1": TEXT},
], ids=["itself", "itself-joined", "itself-either", "joined", "either", "either-null", "wide-joined", "wide-either"])
def test_a_strangers_schema_is_read_in_bounded_steps(definitions: dict[str, Any]) -> None:
    named = Counting(definitions)
    found = Schemas(named).variants({"$ref": "#/$defs/T0"})
    assert 1 <= len(found) <= MAX_VARIANTS + 1
    assert named.looked_up <= 2_000
    assert len(found) <= MAX_VARIANTS or found[-1] == {}   # what was not read is not said to be nothing
