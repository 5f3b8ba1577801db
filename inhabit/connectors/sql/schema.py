"""What of a database is granted: tables and views with their columns, as the database has them now."""

from __future__ import annotations

import difflib
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from inhabit.errors import ConfigError

__all__ = ["Column", "Granted", "Table", "quoted", "read_granted"]


@dataclass(frozen=True, slots=True)
class Column:
    """`type` is the declared one, as the database says it; SQLite does not enforce it."""

    name: str
    type: str
    nullable: bool
    primary_key: bool


@dataclass(frozen=True, slots=True)
class Table:
    """`columns` are the granted ones; `whole` when that is all of them. `pages`: root pages of it and its indexes."""

    name: str
    kind: str   # "table" or "view"
    columns: tuple[Column, ...]
    whole: bool
    pages: frozenset[int]

    def column(self, name: str) -> Column | None:
        return next((column for column in self.columns if column.name.lower() == name.lower()), None)


@dataclass(frozen=True, slots=True)
class Granted:
    """By lower-case name: SQLite's names ignore ASCII case. `version` is the database's schema version."""

    tables: Mapping[str, Table]
    version: int

    def table(self, name: str) -> Table | None:
        return self.tables.get(name.lower())

    @property
    def pages(self) -> frozenset[int]:
        return frozenset(page for table in self.tables.values() for page in table.pages)

    def as_value(self) -> dict[str, Any]:
        """As JSON, for another process."""
        return {"version": self.version, "tables": [
            {**asdict(table), "pages": sorted(table.pages)} for table in self.tables.values()]}

    @classmethod
    def from_value(cls, value: dict[str, Any]) -> Granted:
        tables = [
            Table(each["name"], each["kind"], tuple(Column(**column) for column in each["columns"]), each["whole"], frozenset(each["pages"]))
            for each in value["tables"]]
        return cls({table.name.lower(): table for table in tables}, value["version"])

    def listing(self, most: int = 1_500) -> str:
        """`orders(id, total), items(sku)`; cut at `most` characters."""
        text = ", ".join(f"{table.name}({', '.join(column.name for column in table.columns)})" for table in self.tables.values())
        return text if len(text) <= most else f"{text[:most]}…"


def quoted(name: str) -> str:
    """An identifier for SQL that we write."""
    return '"' + name.replace('"', '""') + '"'


def read_granted(connection: sqlite3.Connection, tables: Mapping[str, Sequence[str] | None]) -> Granted:
    """Raises `ConfigError` for a granted table or column that is not there, naming the nearest."""
    version = int(connection.execute("PRAGMA schema_version").fetchone()[0])
    objects: dict[str, tuple[str, str, str]] = {}
    pages: dict[str, set[int]] = {}
    for kind, name, owner, page, sql in connection.execute("SELECT type, name, tbl_name, rootpage, sql FROM sqlite_schema"):
        if kind in {"table", "view"}:
            objects[name.lower()] = (name, kind, sql or "")
        if page:
            pages.setdefault(owner.lower(), set()).add(page)
    found = {name.lower(): _table(connection, name, columns, objects, pages) for name, columns in tables.items()}
    return Granted(found, version)


def _table(connection: sqlite3.Connection, asked: str, columns: Sequence[str] | None, objects: Mapping[str, tuple[str, str, str]],
           pages: Mapping[str, set[int]]) -> Table:
    if asked.lower() not in objects:
        raise ConfigError(f"the database has no table {asked!r}{_nearest(asked, [name for name, _, _ in objects.values()])}")
    name, kind, sql = objects[asked.lower()]
    if sql.lower().lstrip().startswith("create virtual"):
        raise ConfigError(f"table {name} is a virtual table, which cannot be granted", fix="grant a view or table with the same data")
    present = [
        Column(column, str(declared or ""), not required, bool(key))
        for _, column, declared, required, _, key, hidden in connection.execute(f"PRAGMA table_xinfo({quoted(name)})") if hidden != 1]
    if columns is None:
        return Table(name, kind, tuple(present), True, frozenset(pages.get(name.lower(), ())))
    by_name = {column.name.lower(): column for column in present}
    for column in columns:
        if column.lower() not in by_name:
            raise ConfigError(f"table {name} has no column {column!r}{_nearest(column, [each.name for each in present])}")
    kept = tuple(by_name[column.lower()] for column in dict.fromkeys(columns))
    return Table(name, kind, kept, len(kept) == len(present), frozenset(pages.get(name.lower(), ())))


def _nearest(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), 2)
    return f"; did you mean {' or '.join(near)}?" if near else ""
