"""The shop as capabilities: what a program may do for the customer it runs for.

A parameter of type `Principal` is filled by the runtime and never seen by a program: the customer is whoever
the program runs for, so no operation takes a customer's name. What a write would do is said beforehand by `what_…_does`, its
preview: from what is stored, and what the plan that asks has done to the thing so far (`call.planned`).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field

from examples.shop.database import Database, Row
from examples.shop.models import (
    Cart,
    CartLine,
    Category,
    CategoryCount,
    Invoice,
    InvoiceStatus,
    Message,
    NewLine,
    NewOrder,
    NewReturn,
    NewTicket,
    Order,
    OrderLine,
    OrderStatus,
    Product,
    Return,
    ReturnsPolicy,
    Ticket,
    TicketStatus,
)
from inhabit import Call, Capability, Principal, Reconciled
from inhabit.contracts.operation import Resource
from inhabit.errors import CallError

RETURN_DAYS = 30
PERISHABLE: tuple[Category, ...] = ("bakery", "dairy", "fruit", "meat", "vegetables")
Rows = Annotated[int, Field(ge=1, le=200, description="At most this many")]
Thing = TypeVar("Thing", Cart, Order, Invoice, Ticket)
Text = Annotated[str, Field(min_length=1, max_length=4_000)]
Pieces = Annotated[int, Field(ge=1, le=99)]
Subject = Annotated[str, Field(min_length=1, max_length=200)]
_NO_ORDER = "no order of yours has this id"
_NO_TICKET = {"ticket_not_found": "no ticket of yours has this id"}
_NO_INVOICE = {"invoice_not_found": "no invoice of yours has this id"}
_CANCEL_ERRORS = {"order_not_cancellable": "it was shipped already", "order_not_found": _NO_ORDER}
_REINSTATE_ERRORS = {"order_not_cancelled": "it was not cancelled", "order_not_found": _NO_ORDER}
_PLACE_ERRORS = {"product_not_found": "no product has this id", "out_of_stock": "fewer pieces are left"}
_RETURN_ERRORS = {"return_refused": "the message says why", "order_not_found": _NO_ORDER}


def catalog(database: Database) -> Capability:
    cap = Capability("shop.catalog", "Products on sale and their categories")

    @cap.operation(reads="public")
    async def search(query: str = "", category: Category | None = None, organic: bool | None = None,
                     max_price_cents: int | None = None, limit: Rows = 20) -> list[Product]:
        """Products whose name contains every word of `query`, cheapest first."""
        where, values = ["1"], list[Any]()
        for word in query.split()[:8]:
            where.append("name LIKE ? ESCAPE '\\'")
            values.append("%" + word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%")
        for clause, value in (("category = ?", category), ("organic = ?", organic), ("price_cents <= ?", max_price_cents)):
            if value is not None:
                where.append(clause)
                values.append(value)
        rows = database.all(f"SELECT * FROM products WHERE {' AND '.join(where)} ORDER BY price_cents, id LIMIT ?",
                            *values, limit)
        return [Product(**row) for row in rows]

    @cap.operation(reads="public", errors={"product_not_found": "no product has this id"})
    async def get(product_id: str) -> Product:
        """One product."""
        return Product(**_product(database, product_id))

    @cap.operation(reads="public")
    async def categories() -> list[CategoryCount]:
        """All categories with the number of products in them."""
        return [CategoryCount(**row) for row in database.all(
            "SELECT category, count(*) AS products, sum(organic) AS organic FROM products GROUP BY category ORDER BY category")]

    return cap


def cart(database: Database) -> Capability:
    cap = Capability("shop.cart", "The customer's shopping cart")

    def current(customer: Principal) -> Cart:
        rows = database.all("SELECT product_id, name, quantity, price_cents FROM carts JOIN products ON products.id = product_id "
                            "WHERE customer = ? ORDER BY product_id", customer.user)
        return _cart([CartLine(**row) for row in rows])

    def only(role: Literal["read", "update"]) -> Resource:
        return Resource("cart", role, key="")

    @cap.operation(resource=only("read"))
    async def show(customer: Principal) -> Cart:
        """What is in the cart now."""
        return current(customer)

    @cap.operation()
    async def what_put_does(customer: Principal, product_id: str, call: Call, quantity: int = 1) -> Cart:
        """What the cart would hold after `put`."""
        product = _product(database, product_id)
        lines = [line for line in _planned(Cart, lambda: current(customer), call).lines if line.product_id != product_id]
        line = CartLine(product_id=product_id, name=product["name"], quantity=quantity, price_cents=product["price_cents"])
        return _cart(sorted([*lines, line] if quantity else lines, key=lambda line: line.product_id))

    @cap.operation()
    async def what_clear_does() -> Cart:
        """An empty cart."""
        return _cart([])

    @cap.operation(writes="internal", irreversible=False, idempotent=True, preview=what_put_does, resource=only("update"))
    async def put(customer: Principal, product_id: str,
                  quantity: Annotated[int, Field(ge=0, le=99, description="0 takes the product out")] = 1) -> Cart:
        """Set how many pieces of a product are in the cart."""
        _customer(database, customer)
        _product(database, product_id)
        if quantity == 0:
            database.write("DELETE FROM carts WHERE customer = ? AND product_id = ?", customer.user, product_id)
        else:
            database.write("INSERT INTO carts VALUES (?,?,?) ON CONFLICT DO UPDATE SET quantity = excluded.quantity",
                           customer.user, product_id, quantity)
        return current(customer)

    @cap.operation(writes="internal", idempotent=True, preview=what_clear_does, resource=only("update"))
    async def clear(customer: Principal) -> Cart:
        """Take everything out."""
        database.write("DELETE FROM carts WHERE customer = ?", customer.user)
        return current(customer)

    return cap


def orders(database: Database) -> Capability:
    cap = Capability("shop.orders", "The customer's orders")

    def one(role: Literal["read", "update"]) -> Resource:
        return Resource("order", role, argument="order_id")

    def seen(customer: Principal, order_id: str, call: Call) -> Order:
        """The order as the plan that asks has left it so far."""
        return _planned(Order, lambda: _order(database, customer, order_id), call)

    @cap.operation(errors=_CANCEL_ERRORS)
    async def what_cancel_does(customer: Principal, order_id: str, call: Call) -> Order:
        """What an order would be after `cancel`."""
        return _moved(seen(customer, order_id, call), "placed", "cancelled", "order_not_cancellable")

    @cap.operation(errors=_REINSTATE_ERRORS)
    async def what_reinstate_does(customer: Principal, order_id: str, call: Call) -> Order:
        """What an order would be after `reinstate`."""
        return _moved(seen(customer, order_id, call), "cancelled", "placed", "order_not_cancelled")

    @cap.operation(writes="internal", irreversible=False, preview=what_reinstate_does, resource=one("update"), errors=_REINSTATE_ERRORS)
    async def reinstate(customer: Principal, order_id: str) -> Order:
        """Undo a cancellation."""
        return _move(database, customer, order_id, "cancelled", "placed", "order_not_cancelled")

    @cap.operation(writes="internal", revert=reinstate, preview=what_cancel_does, resource=one("update"), errors=_CANCEL_ERRORS)
    async def cancel(customer: Principal, order_id: str) -> Order:
        """Cancel an order that has not been shipped; its invoice becomes void."""
        return _move(database, customer, order_id, "placed", "cancelled", "order_not_cancellable")

    @cap.operation(writes="internal", irreversible=False, resource=Resource("order", "delete", argument="id"), errors=_CANCEL_ERRORS)
    async def withdraw(customer: Principal, id: str) -> None:
        """Undo the placing of an order: it and its invoice are gone, its items are in stock again."""
        with database.transaction():
            order = _moved(_order(database, customer, id), "placed", "cancelled", "order_not_cancellable")
            for item in order.items:
                database.write("UPDATE products SET stock = stock + ? WHERE id = ?", item.quantity, item.product_id)
            for table, column in (("invoices", "order_id"), ("order_items", "order_id"), ("orders", "id")):
                database.write(f"DELETE FROM {table} WHERE {column} = ?", id)

    @cap.operation(errors=_PLACE_ERRORS)
    async def what_place_does(customer: Principal, items: Annotated[list[NewLine], Field(min_length=1, max_length=100)]) -> NewOrder:
        """What an order of these products would be."""
        _customer(database, customer)
        lines = _lines(database, items)
        return NewOrder(placed_on=date.today(), status="placed", items=lines, total_cents=_total(lines))

    @cap.operation()
    async def was_placed(customer: Principal, idempotency_key: str) -> Reconciled:
        """Whether a call of `place` took effect: an order keeps the key of the call that placed it."""
        row = database.first("SELECT id FROM orders WHERE call = ? AND customer = ?", idempotency_key, customer.user)
        return Reconciled.not_done() if row is None else Reconciled.done(_order(database, customer, row["id"]))

    @cap.operation(writes="internal", revert=withdraw, preview=what_place_does, resource=Resource("order", "create"), reconcile=was_placed,
                   errors=_PLACE_ERRORS)
    async def place(customer: Principal, items: Annotated[list[NewLine], Field(min_length=1, max_length=100)], call: Call) -> Order:
        """Order these products; an open invoice is issued."""
        _customer(database, customer)
        with database.transaction():
            return _place(database, customer, items, call.idempotency_key)

    @cap.operation(resource=one("read"), errors={"order_not_found": "no order of yours has this id"})
    async def get(customer: Principal, order_id: str) -> Order:
        """One order with its items."""
        return _order(database, customer, order_id)

    @cap.operation(resource=Resource("order", "list"))
    async def list(customer: Principal, since: date | None = None, status: OrderStatus | None = None,
                   limit: Rows = 50) -> list[Order]:
        """Orders with their items, newest first."""
        rows = database.all(
            "SELECT id FROM orders WHERE customer = ? AND (? IS NULL OR placed_on >= ?) AND (? IS NULL OR status = ?) "
            "ORDER BY placed_on DESC, id DESC LIMIT ?",
            customer.user, since and since.isoformat(), since and since.isoformat(), status, status, limit)
        return [_order(database, customer, row["id"]) for row in rows]

    return cap


def invoices(database: Database) -> Capability:
    cap = Capability("shop.invoices", "Invoices of the customer's orders and the card charges for them")

    def read(customer: Principal, invoice_id: str) -> Row:
        row = database.first("SELECT id, order_id, issued_on, status, amount_cents, attempts, failure FROM invoices "
                             "WHERE id = ? AND customer = ?", invoice_id, customer.user)
        if row is None:
            raise CallError(f"there is no invoice {invoice_id!r}", code="invoice_not_found", fix="shop.invoices.list")
        return row

    def charged(invoice: Invoice) -> Invoice:
        """The shop's bank refuses expired cards and takes all others."""
        expired = invoice.failure == "card_expired"
        return invoice if invoice.status != "failed" else invoice.model_copy(update={
            "attempts": invoice.attempts + 1, "status": "failed" if expired else "paid", "failure": invoice.failure if expired else None})

    @cap.operation(errors=_NO_INVOICE)
    async def what_retry_does(customer: Principal, invoice_id: str, call: Call) -> Invoice:
        """What an invoice would be after `retry`."""
        return charged(_planned(Invoice, lambda: Invoice(**read(customer, invoice_id)), call))

    @cap.operation(writes="external", idempotent=True, preview=what_retry_does, errors=_NO_INVOICE,
                   resource=Resource("invoice", "update", argument="invoice_id"))
    async def retry(customer: Principal, invoice_id: str) -> Invoice:
        """Charge the card again for a failed invoice. A paid invoice comes back as it is; an expired card fails again."""
        with database.transaction():
            after = charged(Invoice(**read(customer, invoice_id)))
            database.write("UPDATE invoices SET attempts = ?, status = ?, failure = ? WHERE id = ?",
                           after.attempts, after.status, after.failure, invoice_id)
        return after

    @cap.operation(errors=_NO_INVOICE, resource=Resource("invoice", "read", argument="invoice_id"))
    async def get(customer: Principal, invoice_id: str) -> Invoice:
        """One invoice."""
        return Invoice(**read(customer, invoice_id))

    @cap.operation(resource=Resource("invoice", "list"))
    async def list(customer: Principal, since: date | None = None, until: date | None = None,
                   status: InvoiceStatus | None = None, limit: Rows = 50) -> list[Invoice]:
        """Invoices issued from `since` up to and including `until`, newest first."""
        first, last = since and since.isoformat(), until and until.isoformat()
        return [Invoice(**row) for row in database.all(
            "SELECT id, order_id, issued_on, status, amount_cents, attempts, failure FROM invoices WHERE customer = ? "
            "AND (? IS NULL OR issued_on >= ?) AND (? IS NULL OR issued_on <= ?) AND (? IS NULL OR status = ?) "
            "ORDER BY issued_on DESC, id DESC LIMIT ?", customer.user, first, first, last, last, status, status, limit)]

    return cap


def returns(database: Database) -> Capability:
    cap = Capability("shop.returns", "The returns policy, and returns of delivered items")

    @cap.operation(reads="public")
    async def policy() -> ReturnsPolicy:
        """What can be returned, and until when."""
        text = f"Delivered items can be returned within {RETURN_DAYS} days of the order; perishables are refunded, not sent back."
        return ReturnsPolicy(days=RETURN_DAYS, perishable_categories=[*PERISHABLE], text=text)

    @cap.operation(errors=_RETURN_ERRORS)
    async def what_request_does(customer: Principal, order_id: str, product_id: str, quantity: Pieces = 1) -> NewReturn:
        """What would be refunded, and whether it has to be sent back."""
        return _given_back(database, _order(database, customer, order_id), product_id, quantity)

    @cap.operation(writes="internal", irreversible=False, errors={"return_not_found": "no return of yours has this id"})
    async def withdraw(customer: Principal, id: str) -> None:
        """Take back a return; it is as if it had never been asked for."""
        if database.write("DELETE FROM returns WHERE id = ? AND order_id IN (SELECT id FROM orders WHERE customer = ?)", id, customer.user) == 0:
            raise CallError(f"there is no return {id!r}", code="return_not_found")

    @cap.operation(writes="internal", revert=withdraw, preview=what_request_does, errors=_RETURN_ERRORS)
    async def request(customer: Principal, order_id: str, product_id: str, quantity: Pieces = 1) -> Return:
        """Return items of a delivered order."""
        with database.transaction():
            asked = _given_back(database, _order(database, customer, order_id), product_id, quantity)
            made = Return(id=database.next_id("returns", "r"), **asked.model_dump())
            database.write("INSERT INTO returns VALUES (?,?,?,?,?,?)", *made.model_dump().values())
            return made

    return cap


def support(database: Database) -> Capability:
    cap = Capability("shop.support", "The customer's conversations with support")  # untrusted: what customers wrote

    def read(customer: Principal, ticket_id: str) -> Ticket:
        row = database.first("SELECT id, subject, status, opened_on FROM tickets WHERE id = ? AND customer = ?",
                             ticket_id, customer.user)
        if row is None:
            raise CallError(f"there is no ticket {ticket_id!r}", code="ticket_not_found", fix="shop.support.tickets")
        messages = database.all("SELECT author, text FROM messages WHERE ticket_id = ? ORDER BY number", ticket_id)
        return Ticket(**row, messages=[Message(**message) for message in messages])

    def say(ticket_id: str, text: str) -> None:
        database.write("INSERT INTO messages SELECT ?, count(*) + 1, 'customer', ? FROM messages WHERE ticket_id = ?",
                       ticket_id, text, ticket_id)

    def one(customer: Principal, ticket_id: str, call: Call) -> Ticket:
        return _planned(Ticket, lambda: read(customer, ticket_id), call)

    def ticket(role: Literal["update", "create", "list"]) -> Resource:
        return Resource("ticket", role, argument="ticket_id" if role == "update" else "")

    @cap.operation()
    async def what_open_does(customer: Principal, subject: Subject, text: Text) -> NewTicket:
        """What a ticket would be when it is opened."""
        _customer(database, customer)
        return NewTicket(subject=subject, status="open", opened_on=date.today(), messages=[Message(author="customer", text=text)])

    @cap.operation(trust="untrusted", writes="internal", preview=what_open_does, resource=ticket("create"))
    async def open(customer: Principal, subject: Subject, text: Text) -> Ticket:
        """Open a ticket with a first message."""
        _customer(database, customer)
        with database.transaction():
            ticket_id = database.next_id("tickets", "t")
            database.write("INSERT INTO tickets VALUES (?,?,?,'open',?)", ticket_id, customer.user, subject,
                           date.today().isoformat())
            say(ticket_id, text)
        return read(customer, ticket_id)

    @cap.operation(trust="untrusted", errors=_NO_TICKET)
    async def what_reply_does(customer: Principal, ticket_id: str, text: Text, call: Call) -> Ticket:
        """What a ticket would be after `reply`."""
        before = one(customer, ticket_id, call)
        return before.model_copy(update={"messages": [*before.messages, Message(author="customer", text=text)]})

    @cap.operation(trust="untrusted", writes="internal", preview=what_reply_does, resource=ticket("update"), errors=_NO_TICKET)
    async def reply(customer: Principal, ticket_id: str, text: Text) -> Ticket:
        """Add a message."""
        with database.transaction():
            read(customer, ticket_id)
            say(ticket_id, text)
        return read(customer, ticket_id)

    @cap.operation(trust="untrusted", errors=_NO_TICKET)
    async def what_close_does(customer: Principal, ticket_id: str, call: Call) -> Ticket:
        """What a ticket would be after `close`."""
        return one(customer, ticket_id, call).model_copy(update={"status": "closed"})

    @cap.operation(trust="untrusted", writes="internal", irreversible=False, idempotent=True, resource=ticket("update"), errors=_NO_TICKET)
    async def reopen(customer: Principal, ticket_id: str) -> Ticket:
        """Open a closed ticket again."""
        read(customer, ticket_id)
        database.write("UPDATE tickets SET status = 'open' WHERE id = ?", ticket_id)
        return read(customer, ticket_id)

    @cap.operation(trust="untrusted", writes="internal", idempotent=True, revert=reopen, preview=what_close_does, resource=ticket("update"),
                   errors=_NO_TICKET)
    async def close(customer: Principal, ticket_id: str) -> Ticket:
        """Close a ticket."""
        read(customer, ticket_id)
        database.write("UPDATE tickets SET status = 'closed' WHERE id = ?", ticket_id)
        return read(customer, ticket_id)

    @cap.operation(trust="untrusted", resource=ticket("list"))
    async def tickets(customer: Principal, status: TicketStatus | None = None, limit: Rows = 20) -> list[Ticket]:
        """Tickets with their messages, newest first."""
        rows = database.all("SELECT id FROM tickets WHERE customer = ? AND (? IS NULL OR status = ?) "
                            "ORDER BY opened_on DESC, id DESC LIMIT ?", customer.user, status, status, limit)
        return [read(customer, row["id"]) for row in rows]

    return cap


def shop(database: Database) -> list[Capability]:
    """All capabilities of the shop on one database."""
    return [make(database) for make in (catalog, cart, orders, invoices, returns, support)]


def _customer(database: Database, customer: Principal) -> None:
    if database.first("SELECT 1 FROM customers WHERE id = ?", customer.user) is None:
        raise CallError(f"{customer.user!r} is no customer of this shop", code="customer_not_found")


def _product(database: Database, product_id: str) -> Row:
    row = database.first("SELECT * FROM products WHERE id = ?", product_id)
    if row is None:
        raise CallError(f"there is no product {product_id!r}", code="product_not_found", fix="shop.catalog.search")
    return row


def _order(database: Database, customer: Principal, order_id: str) -> Order:
    row = database.first("SELECT id, placed_on, status FROM orders WHERE id = ? AND customer = ?", order_id, customer.user)
    if row is None:
        raise CallError(f"there is no order {order_id!r}", code="order_not_found", fix="shop.orders.list")
    items = [OrderLine(**item) for item in database.all(
        "SELECT product_id, name, category, organic, quantity, order_items.price_cents FROM order_items "
        "JOIN products ON products.id = product_id WHERE order_id = ? ORDER BY product_id", order_id)]
    return Order(**row, items=items, total_cents=sum(item.quantity * item.price_cents for item in items))


def _planned(kind: type[Thing], live: Callable[[], Thing], call: Call) -> Thing:
    """The thing as the plan that asks has left it so far; one that only the plan has is all there."""
    planned = call.planned or {}
    before = {} if kind.model_fields.keys() <= planned.keys() else live().model_dump(mode="json")
    return kind.model_validate({**before, **planned})


def _cart(lines: list[CartLine]) -> Cart:
    return Cart(lines=lines, total_cents=sum(line.quantity * line.price_cents for line in lines))


def _moved(order: Order, before: OrderStatus, after: OrderStatus, code: str) -> Order:
    if order.status != before:
        raise CallError(f"order {order.id} is {order.status}, not {before}", code=code)
    return order.model_copy(update={"status": after})


def _move(database: Database, customer: Principal, order_id: str, before: OrderStatus, after: OrderStatus, code: str) -> Order:
    """The order in its new status. Its invoice is void while the order is cancelled, open again when reinstated."""
    with database.transaction():
        order = _moved(_order(database, customer, order_id), before, after, code)
        database.write("UPDATE orders SET status = ? WHERE id = ?", after, order_id)
        database.write("UPDATE invoices SET status = ? WHERE order_id = ? AND status IN ('open', 'void')",
                       "void" if after == "cancelled" else "open", order_id)
        return order


def _lines(database: Database, items: list[NewLine]) -> list[OrderLine]:
    """One for each product, in the order of their ids. Raises `CallError` where there are too few pieces."""
    pieces: dict[str, int] = {}
    for item in items:
        pieces[item.product_id] = pieces.get(item.product_id, 0) + item.quantity
    lines: list[OrderLine] = []
    for product_id, quantity in sorted(pieces.items()):
        product = _product(database, product_id)
        if product["stock"] < quantity:
            raise CallError(f"only {product['stock']} of {product['name']} in stock", code="out_of_stock")
        lines.append(OrderLine(product_id=product_id, name=product["name"], category=product["category"], organic=product["organic"],
                               quantity=quantity, price_cents=product["price_cents"]))
    return lines


def _total(lines: list[OrderLine]) -> int:
    return sum(line.quantity * line.price_cents for line in lines)


def _place(database: Database, customer: Principal, items: list[NewLine], call: str) -> Order:
    lines = _lines(database, items)
    order_id, invoice_id = database.next_id("orders", "o"), database.next_id("invoices", "i")
    today = date.today().isoformat()
    database.write("INSERT INTO orders VALUES (?,?,?,'placed',?)", order_id, customer.user, today, call)
    for line in lines:
        database.write("UPDATE products SET stock = stock - ? WHERE id = ?", line.quantity, line.product_id)
        database.write("INSERT INTO order_items VALUES (?,?,?,?)", order_id, line.product_id, line.quantity, line.price_cents)
    database.write("INSERT INTO invoices VALUES (?,?,?,?,'open',?,0,NULL)", invoice_id, order_id, customer.user, today, _total(lines))
    return _order(database, customer, order_id)


def _given_back(database: Database, order: Order, product_id: str, quantity: int) -> NewReturn:
    """Raises `CallError` where it cannot be returned."""
    line = next((item for item in order.items if item.product_id == product_id), None)
    given = database.one("SELECT coalesce(sum(quantity), 0) AS n FROM returns WHERE order_id = ? AND product_id = ?",
                         order.id, product_id)["n"]
    reason = (
        f"order {order.id} is {order.status}, not delivered" if order.status != "delivered"
        else f"order {order.id} is older than {RETURN_DAYS} days" if date.today() - order.placed_on > timedelta(days=RETURN_DAYS)
        else f"order {order.id} has no product {product_id}" if line is None
        else f"only {line.quantity - given} left to return" if quantity > line.quantity - given
        else "")
    if reason or line is None:
        raise CallError(reason, code="return_refused", fix="shop.returns.policy")
    return NewReturn(order_id=order.id, product_id=product_id, quantity=quantity, refund_cents=quantity * line.price_cents,
                     send_back=line.category not in PERISHABLE)
