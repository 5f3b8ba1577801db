"""The example shop: its seed, and its operations as a program would call them."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from examples.shop.capabilities import shop
from examples.shop.database import Database
from examples.shop.seed import first_of_last_month, seed
from inhabit.contracts.connector import Call
from inhabit.contracts.operation import Operation
from inhabit.contracts.principal import Principal
from inhabit.errors import CallError, InvalidInput

TODAY = date.today()


class Shop:
    """All operations by name; `user` is for whom they are called."""

    def __init__(self, database: Database) -> None:
        self.connectors = [capability.connector() for capability in shop(database)]
        self.calls = 0

    async def __call__(self, name: str, user: str = "ada", **arguments: Any) -> Any:
        for connector in self.connectors:
            operation = connector.operation(name)
            if operation is not None:
                self.calls += 1
                call = Call(operation, arguments, Principal(user), "run", self.calls, f"run:{self.calls}", 0.0, blobs=None)  # type: ignore[arg-type]
                return await connector.call(call)
        raise AssertionError(f"no operation {name}")

    def operation(self, name: str) -> Operation:
        return next(found for connector in self.connectors if (found := connector.operation(name)) is not None)


@pytest.fixture
def database():
    opened = Database(":memory:")
    seed(opened, TODAY)
    yield opened
    opened.close()


@pytest.fixture
def call(database: Database) -> Shop:
    return Shop(database)


def rows(database: Database) -> list[Any]:
    return [database.all(f"SELECT * FROM {table} ORDER BY 1, 2") for table in ("products", "orders", "order_items", "invoices", "tickets")]


def test_the_seed_is_the_same_for_the_same_day_and_a_few_thousand_rows(database: Database):
    again = Database(":memory:")
    seed(again, TODAY)
    assert rows(again) == rows(database)
    assert 3_000 < sum(map(len, rows(again))) < 10_000
    again.close()


@pytest.mark.parametrize("today", [date(2026, 1, 1), date(2026, 3, 31), date(2024, 2, 29), date(2026, 12, 31)])
def test_last_month_has_three_failed_invoices_on_any_day(today: date):
    opened = Database(":memory:")
    seed(opened, today)
    month = first_of_last_month(today)
    failed = opened.all("SELECT * FROM invoices WHERE customer = 'ada' AND status = 'failed'")
    assert len(failed) == 3
    assert all(month.isoformat() <= row["issued_on"] < today.replace(day=1).isoformat() for row in failed)
    opened.close()


async def test_a_failed_invoice_is_paid_by_a_retry_unless_the_card_has_expired(call: Shop):
    failed = await call("shop.invoices.list", status="failed")
    after = {i["failure"]: await call("shop.invoices.retry", invoice_id=i["id"]) for i in failed}
    assert after["insufficient_funds"]["status"] == after["bank_unreachable"]["status"] == "paid"
    assert after["card_expired"]["status"] == "failed" and after["card_expired"]["attempts"] == 2
    paid = after["insufficient_funds"]
    assert await call("shop.invoices.retry", invoice_id=paid["id"]) == paid


async def test_cancel_and_reinstate_undo_each_other(call: Shop):
    before = (await call("shop.orders.list", status="placed"))[0]
    cancelled = await call("shop.orders.cancel", order_id=before["id"])
    assert cancelled["status"] == "cancelled"
    assert await call("shop.orders.reinstate", order_id=before["id"]) == before
    with pytest.raises(CallError) as caught:
        await call("shop.orders.reinstate", order_id=before["id"])
    assert caught.value.specific_code == "order_not_cancelled"


async def test_a_delivered_order_cannot_be_cancelled(call: Shop):
    order = (await call("shop.orders.list", status="delivered"))[0]
    with pytest.raises(CallError) as caught:
        await call("shop.orders.cancel", order_id=order["id"])
    assert caught.value.specific_code == "order_not_cancellable"


async def test_placing_takes_stock_issues_an_invoice_and_changes_nothing_when_it_fails(call: Shop, database: Database):
    product = (await call("shop.catalog.search", query="rye", limit=1))[0]
    order = await call("shop.orders.place", items=[{"product_id": product["id"], "quantity": 2}])
    assert order["total_cents"] == 2 * product["price_cents"]
    assert (await call("shop.catalog.get", product_id=product["id"]))["stock"] == product["stock"] - 2
    assert (await call("shop.invoices.list", limit=1))[0]["order_id"] == order["id"]
    before = rows(database)
    for items, code in (([{"product_id": product["id"]}, {"product_id": "nope"}], "product_not_found"),):
        with pytest.raises(CallError) as caught:
            await call("shop.orders.place", items=items)
        assert caught.value.specific_code == code
    assert rows(database) == before


async def test_nobody_sees_or_moves_another_customers_things(call: Shop):
    order = (await call("shop.orders.list"))[0]
    invoice = (await call("shop.invoices.list"))[0]
    ticket = (await call("shop.support.tickets"))[0]
    for name, arguments in (
        ("shop.orders.get", {"order_id": order["id"]}), ("shop.orders.cancel", {"order_id": order["id"]}),
        ("shop.invoices.retry", {"invoice_id": invoice["id"]}), ("shop.support.reply", {"ticket_id": ticket["id"], "text": "x"}),
    ):
        with pytest.raises(CallError) as caught:
            await call(name, user="grace.berg", **arguments)
        assert caught.value.specific_code.endswith("_not_found")


async def test_the_search_takes_words_literally(call: Shop):
    assert await call("shop.catalog.search", query="%") == []
    assert await call("shop.catalog.search", query="_____") == []
    assert await call("shop.catalog.search", query="' OR 1=1 --") == []
    organic = await call("shop.catalog.search", category="fruit", organic=True, limit=200)
    assert organic and all(p["organic"] and p["category"] == "fruit" for p in organic)


async def test_the_cart_is_set_shown_and_cleared(call: Shop):
    cart = await call("shop.cart.put", product_id="p00001", quantity=3)
    assert cart["lines"][0]["quantity"] == 3 and cart == await call("shop.cart.show")
    assert (await call("shop.cart.put", product_id="p00001", quantity=0))["lines"] == []
    with pytest.raises(InvalidInput):
        await call("shop.cart.put", product_id="p00001", quantity=100)


async def test_returns_follow_the_policy(call: Shop):
    policy = await call("shop.returns.policy")
    orders = await call("shop.orders.list", status="delivered", limit=200)
    old = next(o for o in orders if date.fromisoformat(o["placed_on"]) < TODAY - timedelta(days=policy["days"]))
    with pytest.raises(CallError) as caught:
        await call("shop.returns.request", order_id=old["id"], product_id=old["items"][0]["product_id"])
    assert caught.value.specific_code == "return_refused"


async def test_a_ticket_is_opened_answered_and_closed(call: Shop):
    ticket = await call("shop.support.open", subject="Hello", text="First")
    ticket = await call("shop.support.reply", ticket_id=ticket["id"], text="Second")
    assert [m["text"] for m in ticket["messages"]] == ["First", "Second"]
    assert (await call("shop.support.close", ticket_id=ticket["id"]))["status"] == "closed"


async def test_F02_an_order_says_which_call_placed_it(call: Shop):
    product = (await call("shop.catalog.search", query="rye", limit=1))[0]
    order = await call("shop.orders.place", items=[{"product_id": product["id"], "quantity": 1}])
    key = f"run:{call.calls}"
    assert await call("shop.orders.was_placed", idempotency_key=key) == {"state": "done", "value": order}
    assert (await call("shop.orders.was_placed", user="ben", idempotency_key=key))["state"] == "not_done"
    assert (await call("shop.orders.was_placed", idempotency_key="run:999"))["state"] == "not_done"


WRITES = [
    ("shop.cart.put", {"product_id": "p00001", "quantity": 3}), ("shop.cart.clear", {}),
    ("shop.orders.cancel", {"order_id": "PLACED"}), ("shop.orders.cancel", {"order_id": "SHIPPED"}),
    ("shop.orders.reinstate", {"order_id": "PLACED"}), ("shop.orders.reinstate", {"order_id": "CANCELLED"}),
    ("shop.orders.place", {"items": [{"product_id": "p00002", "quantity": 1}, {"product_id": "p00001", "quantity": 2}]}),
    ("shop.orders.place", {"items": [{"product_id": "p00001", "quantity": 99}, {"product_id": "p00001", "quantity": 99}]}),
    ("shop.invoices.retry", {"invoice_id": "insufficient_funds"}), ("shop.invoices.retry", {"invoice_id": "card_expired"}),
    ("shop.returns.request", {"order_id": "PLACED", "product_id": "p00001"}),
    ("shop.returns.request", {"order_id": "DELIVERED", "product_id": "OF IT"}),
    ("shop.support.open", {"subject": "late", "text": "where is it?"}), ("shop.support.reply", {"ticket_id": "TICKET", "text": "well?"}),
    ("shop.support.close", {"ticket_id": "TICKET"}), ("shop.support.close", {"ticket_id": "t99999"}),
]


async def meant(call: Shop, arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments with real ids in place of the words."""
    words: dict[Any, Any] = {}
    for status in ("PLACED", "SHIPPED", "CANCELLED", "DELIVERED"):
        found = await call("shop.orders.list", status=status.lower(), limit=1)
        words[status] = found[0]["id"] if found else "o99999"
        if status == "DELIVERED":
            words["OF IT"] = found[0]["items"][0]["product_id"]
    words |= {one["failure"]: one["id"] for one in await call("shop.invoices.list", status="failed")}
    words["TICKET"] = (await call("shop.support.tickets"))[0]["id"]
    return {name: words.get(value, value) if isinstance(value, str) else value for name, value in arguments.items()}


@pytest.mark.parametrize(("name", "arguments"), WRITES)
async def test_a_preview_says_what_its_write_then_answers_and_writes_nothing(call: Shop, database: Database, name: str, arguments: dict[str, Any]):
    if "CANCELLED" in arguments.values():
        await call("shop.orders.cancel", order_id=(await call("shop.orders.list", status="placed", limit=1))[0]["id"])
    given = await meant(call, arguments)
    operation = call.operation(name)
    assert operation.preview is not None
    asked = call.operation(operation.preview).input_schema["properties"]
    before = rows(database)

    async def told(called: str) -> Any:
        try:
            return await call(called, **{key: value for key, value in given.items() if key in asked})
        except CallError as error:
            return error.specific_code

    said = await told(operation.preview)
    assert rows(database) == before
    done = await told(name)
    made = {"id": done["id"]} if isinstance(done, dict) and "id" in done and "id" not in said else {}
    assert done == ({**said, **made} if isinstance(said, dict) else said)


async def test_what_was_placed_or_sent_back_is_as_if_it_had_never_been_when_it_is_withdrawn(call: Shop, database: Database):
    before = rows(database), database.all("SELECT * FROM returns")
    placed = await call("shop.orders.place", items=[{"product_id": "p00001", "quantity": 2}])
    await call("shop.orders.withdraw", id=placed["id"])
    order = next(one for one in await call("shop.orders.list", status="delivered") if (TODAY - date.fromisoformat(one["placed_on"])).days < 30)
    back = await call("shop.returns.request", order_id=order["id"], product_id=order["items"][0]["product_id"])
    await call("shop.returns.withdraw", id=back["id"])
    assert (rows(database), database.all("SELECT * FROM returns")) == before
    for name, id in (("shop.orders.withdraw", order["id"]), ("shop.returns.withdraw", back["id"])):
        with pytest.raises(CallError):
            await call(name, id=id)
