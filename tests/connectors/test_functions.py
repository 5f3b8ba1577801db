"""Python functions as operations: schemas, docs, injection, conversion, errors."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import threading
from datetime import date
from typing import Any, Literal

import pytest
from pydantic import BaseModel
from typing_extensions import TypedDict

from inhabit.connectors.functions import Capability, FunctionConnector
from inhabit.contracts.connector import Call
from inhabit.contracts.operation import Operation
from inhabit.contracts.principal import Principal
from inhabit.errors import CallError, ConfigError, InvalidInput


class Colour(enum.Enum):
    RED = "red"


class Item(TypedDict, total=False):
    sku: str


@dataclasses.dataclass
class Money:
    amount: float
    currency: str = "EUR"


class Order(BaseModel):
    id: str
    placed: date
    items: list[Item] = []
    parent: Order | None = None


def shop() -> Capability:
    orders = Capability("shop.orders", "A customer's orders")

    @orders.operation(writes="internal", irreversible=False)
    async def reinstate(order_id: str) -> None: ...

    @orders.operation(reads="private")
    async def list(customer: Principal, since: date | None = None, status: Literal["open", "done"] = "open") -> list[Order]:
        """Orders of the customer, newest first.

        Only the customer's own are shown.

        Args:
            since: only orders placed on or after this day
            status (str): which ones
        """
        assert since is None or isinstance(since, date)
        return [Order(id=f"{customer.user}-{status}", placed=since or date(2026, 1, 1))]

    @orders.operation(writes="internal", revert=reinstate, errors={"too_late": "The order was shipped"})
    def cancel(order: Order, refund: Money, colour: Colour = Colour.RED) -> str:
        return f"{type(order).__name__} {type(refund).__name__} {colour.name} {threading.current_thread() is threading.main_thread()}"

    @orders.operation
    async def key(call: Call) -> str:
        return call.idempotency_key

    @orders.operation
    async def fail(kind: str) -> None:
        class Late(ValueError):
            code = "too_late"
        raise {"late": Late("shipped"), "lookup": KeyError("o1"), "permission": PermissionError("not yours"), "value": ValueError()}[kind]

    return orders


@pytest.fixture
def connector() -> FunctionConnector:
    return shop().connector()


def named(connector: FunctionConnector, function: str) -> Operation:
    operation = connector.operation(f"shop.orders.{function}")
    assert operation is not None
    return operation


async def call(connector: FunctionConnector, function: str, **arguments: Any) -> Any:
    return await connector.call(Call(named(connector, function), arguments, Principal("ada"), "run", 1, "run:1", 1e9, None))  # type: ignore[arg-type]


def test_types_become_schemas_and_docstrings_docs(connector: FunctionConnector) -> None:
    operation = named(connector, "list")
    assert operation.summary == "Orders of the customer, newest first."
    assert operation.description == "Only the customer's own are shown."
    assert set(operation.input_schema["properties"]) == {"since", "status"}
    assert operation.input_schema["properties"]["since"]["description"] == "only orders placed on or after this day"
    assert operation.input_schema["properties"]["status"] == {
        "enum": ["open", "done"], "type": "string", "default": "open", "description": "which ones"}
    assert operation.input_schema["additionalProperties"] is False
    assert operation.output_schema == {"type": "array", "items": {"$ref": "#/$defs/Order"}}
    assert set(operation.reachable()) == {"Order", "Item"}
    assert operation.effects.reads == "private" and not operation.effects.may_write and operation.effects.idempotent


def test_effects_and_references_of_a_write(connector: FunctionConnector) -> None:
    operation = named(connector, "cancel")
    assert operation.effects.writes == "internal" and not operation.effects.irreversible and not operation.effects.idempotent
    assert operation.revert == "shop.orders.reinstate"
    assert operation.errors[0].code == "too_late"
    assert operation.input_schema["required"] == ["order", "refund"]
    assert operation.input_schema["properties"]["colour"]["default"] == "red"


async def test_arguments_arrive_as_the_annotated_types_and_results_as_data(connector: FunctionConnector) -> None:
    assert await call(connector, "list", since="2026-02-03") == [{"id": "ada-open", "placed": "2026-02-03", "items": [], "parent": None}]
    assert await call(connector, "cancel", order={"id": "1", "placed": "2026-01-01"}, refund={"amount": 3}) == "Order Money RED False"
    assert await call(connector, "key") == "run:1"


async def test_what_a_schema_cannot_see_is_still_checked(connector: FunctionConnector) -> None:
    with pytest.raises(InvalidInput, match=r"/since: .*date"):
        await call(connector, "list", since="2026-02-31")


@pytest.mark.parametrize(("kind", "code"), [("late", "too_late"), ("lookup", "not_found"), ("permission", "forbidden"), ("value", "rejected")])
async def test_errors_a_product_raises_on_purpose_reach_the_program(connector: FunctionConnector, kind: str, code: str) -> None:
    with pytest.raises(CallError) as caught:
        await call(connector, "fail", kind=kind)
    assert caught.value.specific_code == code and caught.value.message


@pytest.mark.parametrize(("writes", "own", "effect"), [
    ("none", None, "none"), ("internal", None, "unknown"), ("external", None, "unknown"), ("internal", "none", "none"),
    ("internal", "happened", "happened"), ("internal", "nonsense", "unknown")])
async def test_what_a_write_raises_does_not_say_that_nothing_was_written(writes: Any, own: str | None, effect: str) -> None:
    cap = Capability("shop.orders")

    class Own(LookupError):
        if own is not None:
            effect = own

    @cap.operation(writes=writes)
    async def pay() -> str:
        raise Own("oops")

    with pytest.raises(CallError) as caught:
        await call(cap.connector(), "pay")
    assert caught.value.effect == effect


@pytest.mark.parametrize("role", ["revert", "preview"])
def test_a_reference_names_an_operation_of_its_capability(role: str) -> None:
    async def reinstate_all() -> None: ...

    for named in ("reinstat", "shop.carts.reinstate", reinstate_all):
        cap = Capability("shop.orders")
        cap.operation(lambda: None, name="reinstate")
        cap.operation(lambda: None, name="cancel", writes="internal", **{role: named})  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match=rf"shop\.orders\.cancel: {role}=.* is no operation of shop\.orders") as caught:
            cap.connector()
        assert "'shop.orders.reinstate'" in (caught.value.fix or "")


def test_a_reference_may_be_a_name_or_a_function_under_its_declared_name() -> None:
    cap = Capability("shop.orders")

    @cap.operation(name="reinstate")
    async def some_function() -> None: ...

    for number, named in enumerate((some_function, "reinstate", "shop.orders.reinstate")):
        cap.operation(lambda: None, name=f"cancel{number}", writes="internal", revert=named)
    reverts = {operation.revert for operation in cap.connector().operations() if operation.name != "shop.orders.reinstate"}
    assert reverts == {"shop.orders.reinstate"}


def test_fingerprint_follows_schema_and_docs(connector: FunctionConnector) -> None:
    assert connector.fingerprint() == shop().connector().fingerprint()
    other = shop()

    @other.operation
    async def more() -> int:
        return 1

    assert other.connector().fingerprint() != connector.fingerprint()
    assert connector.operation("shop.orders.more") is None and connector.operation("shop.list") is None
    assert connector.operation("shop.orders.deep.list") is None


def test_declarations_that_cannot_work_are_refused_when_made() -> None:
    with pytest.raises(ConfigError, match="name"):
        Capability("shop orders")
    capability = Capability("a")
    with pytest.raises(ConfigError, match="plain named"):
        @capability.operation
        async def many(*things: str) -> None: ...
    with pytest.raises(ConfigError, match="no JSON form"):
        @capability.operation
        async def strange(thing: threading.Lock) -> None: ...

    @capability.operation(name="twice")
    async def first() -> None: ...
    with pytest.raises(ConfigError, match="declared twice"):
        @capability.operation(name="twice")
        async def second() -> None: ...


def test_E03_no_parameter_lets_a_program_say_for_whom_it_runs() -> None:
    capability = Capability("shop.me")

    async def optional(customer: Principal | None = None) -> str:
        return str(customer)

    async def several(customers: list[Principal]) -> str:
        return str(customers)

    async def nested(call: dict[str, Call | None]) -> str:
        return str(call)

    for function in (optional, several, nested):
        with pytest.raises(ConfigError, match="for whom it runs"):
            capability.operation(function)


async def test_synchronous_functions_that_hang_hold_up_nobody_else() -> None:
    capability, go_on = Capability("shop.orders"), threading.Event()

    @capability.operation
    def hang() -> bool:
        return go_on.wait(60)

    connector = capability.connector()
    hanging = [asyncio.create_task(call(connector, "hang")) for _ in range(80)]    # more than any pool of the loop has threads
    try:
        await asyncio.sleep(0)
        assert await asyncio.wait_for(asyncio.to_thread(lambda: "free"), 20) == "free"
    finally:
        go_on.set()
    assert all(await asyncio.gather(*hanging))
    await connector.close()


@pytest.mark.parametrize(("words", "said"), [
    ({"writes": "externl"}, "did you mean 'external'"), ({"reads": "secret"}, "one of none, public, private"),
    ({"trust": "Trusted"}, "did you mean 'trusted'"), ({"irreversible": "no"}, "one of True, False"),
])
def test_a_misspelt_effect_is_refused_where_it_is_declared(words: dict[str, Any], said: str) -> None:
    shop = Capability("shop")
    with pytest.raises(ConfigError) as caught:
        shop.operation(**words)(_paid)
    assert "shop._paid" in caught.value.message and next(iter(words)) in caught.value.message
    assert said in (caught.value.fix or "")


def test_a_method_is_refused_since_a_program_cannot_give_self() -> None:
    class Shop:
        def paid(self, order_id: str) -> bool:
            return bool(order_id)

    with pytest.raises(ConfigError, match=r"shop\.paid: parameter self") as caught:
        Capability("shop").operation(Shop.paid)
    assert "bound method" in (caught.value.fix or "")
    assert Capability("shop").operation(Shop().paid)


def test_a_type_without_a_json_form_is_named_with_its_parameter() -> None:
    def phase(at: list[complex]) -> float:
        return abs(at[0])

    def power(at: float) -> complex:
        return complex(at)

    def span(over: range) -> int:
        return len(over)

    for function, said in ((phase, r"parameter at: list\[complex\]"), (power, "its result: complex"), (span, "parameter over: .*range")):
        with pytest.raises(ConfigError, match=rf"shop\.\w+: {said}"):
            Capability("shop").operation(function)


def _paid(order_id: str) -> bool:
    return bool(order_id)
