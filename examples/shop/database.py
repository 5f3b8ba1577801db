"""The shop's SQLite file: schema, connection, and the few queries that several capabilities share.

One connection, used by one thread at a time (the lock); every write is one transaction. A customer's rows are
always selected by the customer's id, so that no operation can name another customer's order.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SCHEMA = """
CREATE TABLE customers (id TEXT PRIMARY KEY, name TEXT NOT NULL, email TEXT NOT NULL, card TEXT NOT NULL);
CREATE TABLE products (id TEXT PRIMARY KEY, name TEXT NOT NULL, category TEXT NOT NULL, organic INTEGER NOT NULL,
                       price_cents INTEGER NOT NULL, stock INTEGER NOT NULL);
CREATE TABLE carts (customer TEXT NOT NULL REFERENCES customers, product_id TEXT NOT NULL REFERENCES products,
                    quantity INTEGER NOT NULL, PRIMARY KEY (customer, product_id));
CREATE TABLE orders (id TEXT PRIMARY KEY, customer TEXT NOT NULL REFERENCES customers, placed_on TEXT NOT NULL,
                     status TEXT NOT NULL, call TEXT UNIQUE);
CREATE TABLE order_items (order_id TEXT NOT NULL REFERENCES orders, product_id TEXT NOT NULL REFERENCES products,
                          quantity INTEGER NOT NULL, price_cents INTEGER NOT NULL,
                          PRIMARY KEY (order_id, product_id));
CREATE TABLE invoices (id TEXT PRIMARY KEY, order_id TEXT NOT NULL REFERENCES orders, customer TEXT NOT NULL,
                       issued_on TEXT NOT NULL, status TEXT NOT NULL, amount_cents INTEGER NOT NULL,
                       attempts INTEGER NOT NULL, failure TEXT);
CREATE TABLE returns (id TEXT PRIMARY KEY, order_id TEXT NOT NULL REFERENCES orders, product_id TEXT NOT NULL,
                      quantity INTEGER NOT NULL, refund_cents INTEGER NOT NULL, send_back INTEGER NOT NULL);
CREATE TABLE tickets (id TEXT PRIMARY KEY, customer TEXT NOT NULL, subject TEXT NOT NULL, status TEXT NOT NULL,
                      opened_on TEXT NOT NULL);
CREATE TABLE messages (ticket_id TEXT NOT NULL REFERENCES tickets, number INTEGER NOT NULL, author TEXT NOT NULL,
                       text TEXT NOT NULL, PRIMARY KEY (ticket_id, number));
CREATE INDEX orders_by_customer ON orders (customer, placed_on DESC, id DESC);
CREATE INDEX invoices_by_customer ON invoices (customer, issued_on DESC, id DESC);
CREATE INDEX tickets_by_customer ON tickets (customer);
"""

Row = dict[str, Any]


class Database:
    """Opens the file at `path`, making the tables when it is new (`is_new` says so)."""

    def __init__(self, path: Path | str) -> None:
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("PRAGMA foreign_keys = ON")
        self._connection.execute("PRAGMA journal_mode = WAL")
        self.is_new = self.one("SELECT count(*) AS n FROM sqlite_master")["n"] == 0
        if self.is_new:
            self._connection.executescript(SCHEMA)

    def close(self) -> None:
        self._connection.close()

    def all(self, sql: str, *values: Any) -> list[Row]:
        with self._lock:
            return [dict(row) for row in self._connection.execute(sql, values)]

    def first(self, sql: str, *values: Any) -> Row | None:
        rows = self.all(sql, *values)
        return rows[0] if rows else None

    def one(self, sql: str, *values: Any) -> Row:
        row = self.first(sql, *values)
        assert row is not None, "a query that always has a row had none"
        return row

    def write(self, sql: str, *values: Any) -> int:
        """Rows changed. Inside `transaction()`, or a transaction of its own."""
        with self._lock:
            return self._connection.execute(sql, values).rowcount

    def write_many(self, sql: str, rows: list[tuple[Any, ...]]) -> None:
        with self._lock:
            self._connection.executemany(sql, rows)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def next_id(self, table: str, prefix: str) -> str:
        """`prefix` and the next number; call it inside a transaction."""
        row = self.one(f"SELECT coalesce(max(cast(substr(id, {len(prefix) + 1}) AS INTEGER)), 0) AS n FROM {table}")
        return f"{prefix}{row['n'] + 1:05d}"
