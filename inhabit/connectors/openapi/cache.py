"""The compiled form of a document on disk: one SQLite file, read an operation at a time.

Stored: `operation(position, name, path, tags, body)`, `definition(name, body)`, `meta(key, value)`; bodies are
JSON. A file is written whole beside its place and then renamed, so a reader sees all of it or none. It is
opened read-only and holds nothing of the operator's configuration, so connectors with different filters share it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from inhabit.connectors.openapi.compiler import Compiled
from inhabit.contracts.operation import Schema

__all__ = ["CompiledFile", "Definitions", "write"]

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE operation (position INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, path TEXT NOT NULL, tags TEXT NOT NULL, body BLOB NOT NULL);
CREATE TABLE definition (name TEXT PRIMARY KEY, body BLOB NOT NULL);
"""
_MAX_HELD = 20_000
_JSON = orjson.OPT_NON_STR_KEYS


def write(path: Path, compiled: Compiled) -> None:
    """Raises `OSError` or `sqlite3.Error` when the cache cannot be written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        with contextlib.closing(sqlite3.connect(temporary)) as database:
            database.executescript("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;" + _SCHEMA)
            database.executemany("INSERT INTO operation VALUES (?, ?, ?, ?, ?)", (
                (position, record["name"], f"{record['method'].upper()} {record['path']}", "\n".join(record["tags"]), orjson.dumps(record, option=_JSON))
                for position, record in enumerate(compiled.operations)))
            database.executemany("INSERT INTO definition VALUES (?, ?)", (
                (name, orjson.dumps(schema, option=_JSON)) for name, schema in compiled.definitions.items()))
            meta = {**compiled.meta, "problems": compiled.problems, "problem_count": compiled.problem_count}
            database.executemany("INSERT INTO meta VALUES (?, ?)", ((key, orjson.dumps(value, option=_JSON)) for key, value in meta.items()))
            database.commit()
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


class CompiledFile:
    """Raises `sqlite3.Error` at opening when the file is not a whole cache; then it is compiled anew."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True, check_same_thread=False)
        self.meta: dict[str, Any] = {key: orjson.loads(value) for key, value in self._database.execute("SELECT key, value FROM meta")}
        if "problems" not in self.meta:
            raise sqlite3.DatabaseError("incomplete")
        self.definitions = Definitions(self._database)

    def close(self) -> None:
        self._database.close()

    def record(self, name: str) -> dict[str, Any] | None:
        row = self._database.execute("SELECT body FROM operation WHERE name = ?", (name,)).fetchone()
        return orjson.loads(row[0]) if row else None

    def records(self) -> Iterator[dict[str, Any]]:
        for (body,) in self._database.execute("SELECT body FROM operation ORDER BY position"):
            yield orjson.loads(body)

    def labels(self) -> Iterator[tuple[str, str, list[str]]]:
        """Name, `METHOD /path` and tags of each operation: what filters look at."""
        for name, path, tags in self._database.execute("SELECT name, path, tags FROM operation ORDER BY position"):
            yield name, path, tags.split("\n") if tags else []


class Definitions(Mapping[str, Schema]):
    """Named types, read when looked at; the ones in use stay in memory. After closing there are only those."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._held: OrderedDict[str, Schema] = OrderedDict()

    def __getitem__(self, name: str) -> Schema:
        held = self._held.get(name)
        if held is None:
            rows = self._rows("SELECT body FROM definition WHERE name = ?", name)
            if not rows:
                raise KeyError(name)
            held = self._held[name] = orjson.loads(rows[0][0])
            if len(self._held) > _MAX_HELD:
                self._held.popitem(last=False)
        return held

    def __contains__(self, name: object) -> bool:
        return name in self._held or bool(self._rows("SELECT 1 FROM definition WHERE name = ?", name))

    def __iter__(self) -> Iterator[str]:
        return iter([name for (name,) in self._rows("SELECT name FROM definition ORDER BY name")])

    def __len__(self) -> int:
        rows = self._rows("SELECT count(*) FROM definition")
        return int(rows[0][0]) if rows else 0

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        try:
            return self._database.execute(query, values).fetchall()
        except sqlite3.ProgrammingError:    # closed: an operation outlived its connector
            return []
