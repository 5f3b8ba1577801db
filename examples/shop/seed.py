"""A deterministic shop: the same day gives the same rows, a few thousand of them.

Dates are relative to `today`. The demo customer `ada` is written by hand, so that every demo has something to
find: three orders that can still be cancelled, each with organic and other items, and four invoices of last month, three
of them failed (one for a card that has expired, which a retry does not help).
"""

from __future__ import annotations

import random
from datetime import date, timedelta
from typing import Any

from examples.shop.database import Database

DEMO_CUSTOMER = "ada"
_GOODS: dict[str, tuple[tuple[str, ...], tuple[int, int]]] = {
    "bakery": (("Rye bread", "Sourdough", "Croissant", "Bagels", "Pretzel", "Spelt rolls"), (120, 590)),
    "dairy": (("Whole milk", "Yoghurt", "Butter", "Gouda", "Feta", "Cream"), (110, 690)),
    "drinks": (("Apple juice", "Coffee beans", "Green tea", "Oat drink", "Mineral water", "Cider"), (90, 1490)),
    "fruit": (("Apples", "Bananas", "Oranges", "Pears", "Blueberries", "Lemons"), (149, 599)),
    "household": (("Dish soap", "Sponges", "Candles", "Paper towels", "Laundry powder", "Bin bags"), (199, 1290)),
    "meat": (("Chicken breast", "Minced beef", "Salami", "Ham", "Bratwurst", "Turkey"), (349, 1990)),
    "pantry": (("Spaghetti", "Rice", "Olive oil", "Lentils", "Tomato passata", "Honey"), (99, 1390)),
    "vegetables": (("Carrots", "Potatoes", "Tomatoes", "Spinach", "Leek", "Peppers"), (99, 499)),
}
_SIZES = ("small", "regular", "large", "family")
_FIRST = ("Grace", "Alan", "Edsger", "Barbara", "Donald", "Frances", "Ken", "Margaret", "Dennis", "Radia")
_LAST = ("Berg", "Costa", "Dietz", "Evers", "Fontaine", "Grau", "Haas", "Ito", "Jansen", "Kovacs", "Lind", "Moreau")
_SUBJECTS = ("A bottle arrived broken", "Where is my order?", "Wrong item delivered", "Invoice address", "Voucher")
_FAILURES = ("insufficient_funds", "card_expired", "bank_unreachable")


def seed(database: Database, today: date) -> None:
    """Fill a new database. One transaction: a half-seeded shop does not exist."""
    rng = random.Random(20)
    with database.transaction():
        products = _products(rng)
        database.write_many("INSERT INTO products VALUES (?,?,?,?,?,?)", products)
        customers = _customers(rng)
        database.write_many("INSERT INTO customers VALUES (?,?,?,?)", customers)
        prices = {row[0]: row[4] for row in products}
        _write_orders(database, _random_orders(rng, customers, list(prices), today) + _demo_orders(products, today), prices)
        _write_tickets(database, rng, customers, today)


def first_of_last_month(today: date) -> date:
    return (today.replace(day=1) - timedelta(days=1)).replace(day=1)


def _products(rng: random.Random) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    for category, (names, (low, high)) in _GOODS.items():
        for name in names:
            for size, text in enumerate(_SIZES):
                organic = category != "household" and (len(rows) + size) % 3 == 0
                title = f"{'Organic ' if organic else ''}{name}, {text}"
                rows.append((f"p{len(rows) + 1:05d}", title, category, int(organic),
                             rng.randrange(low, high) + size * 100, rng.randrange(20, 400)))
    return rows


def _customers(rng: random.Random) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = [(DEMO_CUSTOMER, "Ada Lind", "ada@shop.example", "valid")]
    for first in _FIRST:
        for last in _LAST:
            user = f"{first}.{last}".lower()
            rows.append((user, f"{first} {last}", f"{user}@shop.example", rng.choice(("valid", "valid", "expired"))))
    return rows


class _Draft:
    """An order on its way into the tables."""

    def __init__(self, customer: str, placed_on: date, status: str, items: dict[str, int],
                 invoice: str, failure: str | None = None) -> None:
        self.customer, self.placed_on, self.status, self.items = customer, placed_on, status, items
        self.invoice, self.failure = invoice, failure


def _random_orders(rng: random.Random, customers: list[tuple[Any, ...]], products: list[str], today: date) -> list[_Draft]:
    drafts: list[_Draft] = []
    for _ in range(1_000):
        age = rng.randrange(1, 540)
        status = "delivered" if age > 5 else rng.choice(("placed", "shipped"))
        items = {product: rng.randrange(1, 4) for product in rng.sample(products, rng.randrange(1, 6))}
        outcome = rng.choices(("paid", "failed", "open"), (88, 8, 4))[0]
        failure = rng.choice(_FAILURES) if outcome == "failed" else None
        drafts.append(_Draft(rng.choice(customers[1:])[0], today - timedelta(days=age), status, items, outcome, failure))
    return drafts


def _demo_orders(products: list[tuple[Any, ...]], today: date) -> list[_Draft]:
    organic = [row[0] for row in products if row[3]]
    plain = [row[0] for row in products if not row[3]]
    month = first_of_last_month(today)

    def order(number: int, day: date, status: str, invoice: str, failure: str | None = None) -> _Draft:
        items = {organic[number * 3 % len(organic)]: 2, plain[number * 5 % len(plain)]: 1,
                 organic[(number * 7 + 1) % len(organic)]: 1, plain[(number * 11 + 2) % len(plain)]: 3}
        return _Draft(DEMO_CUSTOMER, day, status, items, invoice, failure)

    earlier = [order(n, month - timedelta(days=25 * n), "delivered", "paid") for n in range(10, 0, -1)]
    last_month = [
        order(11, month + timedelta(days=2), "delivered", "failed", "insufficient_funds"),
        order(12, month + timedelta(days=9), "delivered", "paid"),
        order(13, month + timedelta(days=16), "delivered", "failed", "card_expired"),
        order(14, month + timedelta(days=24), "delivered", "failed", "bank_unreachable"),
    ]
    return earlier + last_month + [order(15 + n, today, "placed", "open") for n in range(3)]


def _write_orders(database: Database, drafts: list[_Draft], prices: dict[str, int]) -> None:
    orders: list[tuple[Any, ...]] = []
    items: list[tuple[Any, ...]] = []
    invoices: list[tuple[Any, ...]] = []
    for number, draft in enumerate(sorted(drafts, key=lambda d: d.placed_on), start=1):
        order_id = f"o{number:05d}"
        day = draft.placed_on.isoformat()
        orders.append((order_id, draft.customer, day, draft.status))
        items.extend((order_id, product, quantity, prices[product]) for product, quantity in draft.items.items())
        amount = sum(prices[product] * quantity for product, quantity in draft.items.items())
        invoices.append((f"i{number:05d}", order_id, draft.customer, day, draft.invoice, amount,
                         0 if draft.invoice == "open" else 1, draft.failure))
    database.write_many("INSERT INTO orders VALUES (?,?,?,?,NULL)", orders)
    database.write_many("INSERT INTO order_items VALUES (?,?,?,?)", items)
    database.write_many("INSERT INTO invoices VALUES (?,?,?,?,?,?,?,?)", invoices)


def _write_tickets(database: Database, rng: random.Random, customers: list[tuple[Any, ...]], today: date) -> None:
    for number in range(1, 201):
        customer = DEMO_CUSTOMER if number % 50 == 0 else rng.choice(customers)[0]
        subject = rng.choice(_SUBJECTS)
        opened = today - timedelta(days=rng.randrange(0, 300))
        ticket_id = f"t{number:05d}"
        database.write("INSERT INTO tickets VALUES (?,?,?,?,?)", ticket_id, customer, subject,
                       rng.choice(("open", "closed")), opened.isoformat())
        database.write("INSERT INTO messages VALUES (?,?,?,?)", ticket_id, 1, "customer", f"{subject}. Please help.")
