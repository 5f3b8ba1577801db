"""A connector of given operations, and a small shop of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from inhabit.contracts.connector import ConnectorProblem
from inhabit.contracts.effects import Effects
from inhabit.contracts.operation import ErrorDoc, Operation

READS = Effects(reads="private", trust="trusted", writes="none", irreversible=False, idempotent=True)


class GivenConnector:
    """Counts how often its operations are listed, since a valid cache must not need that."""

    def __init__(self, name: str, operations: Sequence[Operation], fingerprint: str = "1", trouble: str = "") -> None:
        self.name = name
        self.trouble = trouble
        self.given = list(operations)
        self.print = fingerprint
        self.listed = 0

    async def open(self, context: Any) -> None: ...

    def fingerprint(self) -> str:
        return self.print

    def operations(self) -> Iterable[Operation]:
        self.listed += 1
        return list(self.given)

    def operation(self, name: str) -> Operation | None:
        return next((one for one in self.given if one.name == name), None)

    def problems(self) -> tuple[ConnectorProblem, ...]:
        return (ConnectorProblem(self.name, "", self.trouble),) if self.trouble else ()

    async def call(self, call: Any) -> Any:
        raise NotImplementedError

    async def close(self) -> None: ...


SHOP_TYPES: dict[str, Any] = {
    "Order": {
        "type": "object", "description": "What a customer bought.", "required": ["id", "status"],
        "properties": {
            "id": {"type": "string", "format": "uuid"},
            "status": {"enum": ["open", "paid", "cancelled"]},
            "items": {"type": "array", "items": {"$ref": "#/$defs/Item"}},
            "parent": {"anyOf": [{"$ref": "#/$defs/Order"}, {"type": "null"}]},
        },
    },
    "Item": {"type": "object", "properties": {"sku": {"type": "string"}, "price-cents": {"type": "integer", "minimum": 0}}},
    "Secret": {"type": "object", "properties": {"code": {"type": "string"}}},
}


def shop() -> GivenConnector:
    return GivenConnector("shop", [
        Operation(
            "shop.orders.cancel",
            {"type": "object", "required": ["order_id"], "additionalProperties": False, "properties": {
                "order_id": {"type": "string", "description": "The order."},
                "reason": {"enum": ["late", "other"], "default": "other"}}},
            {"$ref": "#/$defs/Order"}, "Cancel one order.", definitions=SHOP_TYPES, connector="shop",
            errors=(ErrorDoc("not_found"), ErrorDoc("already_shipped"))),
        Operation(
            "shop.orders.list",
            {"type": "object", "properties": {"since": {"type": "string", "format": "date"}}},
            {"type": "array", "items": {"$ref": "#/$defs/Order"}}, "List a customer's orders.", definitions=SHOP_TYPES,
            connector="shop", effects=READS),
        Operation("shop.report", {"type": "object", "properties": {}, "additionalProperties": False}, None,
                  "Figures of the day.", connector="shop", effects=READS),
        Operation("shop.admin.codes", {"type": "object", "properties": {}}, {"$ref": "#/$defs/Secret"},
                  "Door codes.", definitions=SHOP_TYPES, connector="shop", effects=READS),
    ])


def tool(name: str, description: str = "", properties: dict[str, Any] | None = None, required: Sequence[str] = (),
         origin: str = "") -> Operation:
    return Operation(name, {"type": "object", "properties": properties or {}, "required": list(required)}, None,
                     description, connector=name.split(".")[0], origin=origin)
