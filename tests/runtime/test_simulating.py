"""What a held write is answered with, made up from its schema alone."""

from __future__ import annotations

from typing import Any

import pytest

from inhabit.contracts.operation import Operation
from inhabit.runtime.simulating import Symbols, simulated

ORDER = {"type": "object", "properties": {"id": {"type": "string"}, "count": {"type": "integer"}}, "required": ["count"]}


def made(schema: Any, **definitions: Any) -> Any:
    operation = Operation("shop.make", {"type": "object"}, output_schema=schema, definitions=definitions)
    return simulated(operation, {}, Symbols("run", 1), 0)


@pytest.mark.parametrize("schema", [
    {"$ref": "#/$defs/Order"}, {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/Order"}]},
    {"allOf": [{"$ref": "#/$defs/Order"}, {"required": ["id"]}]}, {"$ref": "#/$defs/Order", "description": "what was made"},
], ids=["named", "or-null", "joined", "described"])
def test_a_composed_schema_is_answered_like_what_it_is_composed_of(schema: Any) -> None:
    found = made(schema, Order=ORDER)
    assert found["count"] == 0 and found["id"].startswith("planned_")


def test_a_type_that_is_made_of_itself_is_no_endless_reading() -> None:
    itself = {"allOf": [{"$ref": "#/$defs/Order"}, {"properties": {"count": {"type": "integer"}}}], "required": ["count"]}
    assert made({"$ref": "#/$defs/Order"}, Order=itself) == {"count": 0}
