"""SQLite databases behind `contracts.Connector`.

    SqlConnector("crm", Path("crm.db"), tables={"customers": ["id", "name"], "orders": None})

gives `crm.query` and `crm.tables`, and with `writable=True` also `crm.insert`, `crm.update` and `crm.delete`, whose
SQL is written here. What a query may do is decided in `guard`. Only the tables named are granted, and of each only
the columns named (None: all of them); an empty mapping grants nothing.
Bytes travel as references, both ways.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard, cast

import orjson

from inhabit.connectors.sql.database import Database, Rows
from inhabit.connectors.sql.guard import check_words
from inhabit.connectors.sql.operations import operations_of
from inhabit.connectors.sql.schema import Granted, Table, quoted
from inhabit.contracts.connector import Call, ConnectorContext, ConnectorProblem
from inhabit.contracts.effects import Trust
from inhabit.contracts.operation import Operation
from inhabit.errors import ConfigError, Denied, InvalidInput

__all__ = ["SqlConnector"]

_MAX_ROWS_CEILING = 100_000
_MAX_BYTES = 8 * 1024 * 1024
_MAX_BLOBS = 200
_LEAVE_S = 0.2
"""Before the call's own deadline, so that the program hears that it was the database."""


class SqlConnector:
    """Implements `contracts.connector.Connector`. `trust`: who could have written what the database holds."""

    def __init__(self, name: str, path: str | Path, *, tables: Mapping[str, Sequence[str] | None], writable: bool = False,
                 max_rows: int = 1_000, timeout_s: float = 10.0, trust: Trust = "untrusted") -> None:
        if not 1 <= max_rows <= _MAX_ROWS_CEILING:
            raise ConfigError(f"{name}: max_rows must be 1 to {_MAX_ROWS_CEILING}")
        if not (math.isfinite(timeout_s) and 0 < timeout_s <= 3_600):
            raise ConfigError(f"{name}: timeout_s must be above 0 and at most 3600")
        folded = [table.lower() for table in tables]
        if len(set(folded)) < len(folded):
            raise ConfigError(f"{name}: a table is granted twice (names ignore case)")
        self.name = name
        self._path = Path(path)
        self._tables = {table: None if columns is None else tuple(columns) for table, columns in tables.items()}
        self._writable = writable
        self._max_rows = max_rows
        self._timeout_s = timeout_s
        self._trust: Trust = trust
        self._database = Database(self._path, self._tables)
        self._granted = Granted({}, 0)
        self._operations: dict[str, Operation] = {}

    async def open(self, context: ConnectorContext) -> None:
        """Raises `ConfigError` when there is no such database, or when a grant names what it does not have."""
        del context
        self._granted = await self._database.open()
        self._operations = {operation.name: operation for operation in operations_of(
            self.name, self._granted, writable=self._writable, max_rows=self._max_rows, trust=self._trust,
            timeout_ms=int(self._timeout_s * 1000) + 1_000)}

    def fingerprint(self) -> str:
        body = [operation.schema_hash() + operation.description for operation in self._operations.values()]
        return hashlib.sha256(orjson.dumps([self.name, str(self._path), body])).hexdigest()

    def operations(self) -> Iterable[Operation]:
        return self._operations.values()

    def operation(self, name: str) -> Operation | None:
        return self._operations.get(name)

    def problems(self) -> tuple[ConnectorProblem, ...]:
        return ()

    async def call(self, call: Call) -> Any:
        """Raises `Denied`, `InvalidInput`, `CallTimeout` or `CallError`; none of them has changed anything."""
        arguments = call.arguments
        match call.operation.function:
            case "query":
                return await self._query(call, arguments)
            case "tables":
                return [_described(table) for table in self._granted.tables.values()]
            case "insert":
                return await self._insert(call, arguments)
            case "update":
                return await self._update(call, arguments)
            case "delete":
                return await self._delete(call, arguments)
            case other:
                raise InvalidInput(f"{self.name} has no operation {other}")

    async def close(self) -> None:
        await self._database.close()

    # -- reading --------------------------------------------------------------------------------------------

    async def _query(self, call: Call, arguments: Mapping[str, Any]) -> dict[str, Any]:
        sql = str(arguments.get("sql", ""))
        check_words(sql)
        parameters = await self._parameters(call, arguments.get("parameters"))
        limit = min(int(arguments.get("limit") or self._max_rows), self._max_rows)
        rows = await self._database.query(sql, parameters, max_rows=limit, max_bytes=_MAX_BYTES, seconds=self._seconds(call))
        return await self._answer(call, rows)

    async def _answer(self, call: Call, rows: Rows) -> dict[str, Any]:
        names = _unique(rows.columns)
        blobs = sum(isinstance(value, bytes) for row in rows.values for value in row)
        if blobs > _MAX_BLOBS:
            raise InvalidInput(f"the result holds {blobs} binary values; at most {_MAX_BLOBS}", fix="leave the column out, or use limit")
        values = [{name: await self._out(call, value) for name, value in zip(names, row, strict=True)} for row in rows.values]
        return {"rows": values, "columns": names, "truncated": rows.truncated}

    async def _out(self, call: Call, value: Any) -> Any:
        if isinstance(value, bytes):
            return await call.blobs.put(value, tenant=call.principal.tenant, mime="application/octet-stream")
        if isinstance(value, float) and not math.isfinite(value):
            return None   # SQLite stores infinities; JSON has none
        return value

    async def _parameters(self, call: Call, given: Any) -> Any:
        if given is None:
            return ()
        if _is_object(given):
            return {name: await self._in(call, f"parameter {name}", value) for name, value in given.items()}
        if isinstance(given, list):
            return tuple([await self._in(call, f"parameter {number}", value) for number, value in enumerate(cast("list[Any]", given), 1)])
        raise InvalidInput("parameters must be an object (for :name) or an array (for ?)")

    async def _in(self, call: Call, what: str, value: Any) -> Any:
        if _is_object(value) and "$binary" in value:
            return await call.blobs.get(value, tenant=call.principal.tenant)
        if isinstance(value, bool):
            return int(value)
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise InvalidInput(f"{what}: an integer beyond 64 bits", fix="pass it as text")
        if value is None or isinstance(value, str | int | float):
            return value
        raise InvalidInput(f"{what} must be text, a number, true, false, null or a binary reference")

    # -- changing -------------------------------------------------------------------------------------------

    async def _insert(self, call: Call, arguments: Mapping[str, Any]) -> dict[str, Any]:
        table = self._changeable(arguments)
        given = arguments.get("values")
        rows: list[Any] = cast("list[Any]", given) if isinstance(given, list) else [given]
        if not rows or len(rows) > self._max_rows or not all(_is_object(row) and row for row in rows):
            raise InvalidInput(f"values must be an object of columns, or 1 to {self._max_rows} of them")
        columns = list(rows[0])
        if any(set(row) != set(columns) for row in rows):
            raise InvalidInput("all rows must have the same columns", fix="give null where a row has no value")
        names = [self._column(table, column) for column in columns]
        sql = f"INSERT INTO {quoted(table.name)} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
        parameters = [[await self._in(call, column, row[column]) for column in columns] for row in rows]
        inserted, last = await self._database.change(sql, parameters, most=self._max_rows, seconds=self._seconds(call))
        return {"inserted": inserted, "last_id": last}

    async def _update(self, call: Call, arguments: Mapping[str, Any]) -> dict[str, Any]:
        table = self._changeable(arguments)
        values = arguments.get("values")
        if not _is_object(values) or not values:
            raise InvalidInput("values must be an object of columns")
        assigned = ", ".join(f"{self._column(table, column)} = ?" for column in values)
        new = [await self._in(call, column, value) for column, value in values.items()]
        condition, old = await self._where(call, table, arguments.get("where"))
        return await self._change(call, f"UPDATE {quoted(table.name)} SET {assigned} WHERE {condition}", new + old)

    async def _delete(self, call: Call, arguments: Mapping[str, Any]) -> dict[str, Any]:
        table = self._changeable(arguments)
        condition, parameters = await self._where(call, table, arguments.get("where"))
        return await self._change(call, f"DELETE FROM {quoted(table.name)} WHERE {condition}", parameters)

    async def _change(self, call: Call, sql: str, parameters: list[Any]) -> dict[str, Any]:
        changed, _ = await self._database.change(sql, [parameters], most=self._max_rows, seconds=self._seconds(call))
        return {"changed": changed}

    async def _where(self, call: Call, table: Table, given: Any) -> tuple[str, list[Any]]:
        if not _is_object(given) or not given:
            raise InvalidInput("where must name at least one column", fix="column → value, null, or an array of values")
        parts: list[str] = []
        parameters: list[Any] = []
        for column, value in given.items():
            name = self._column(table, column)
            choices: list[Any] = cast("list[Any]", value) if isinstance(value, list) else [value]
            if len(choices) > 500:
                raise InvalidInput(f"where {column} has {len(choices)} values; at most 500")
            present = [await self._in(call, column, choice) for choice in choices if choice is not None]
            either = [f"{name} IN ({', '.join('?' * len(present))})"] if present else []
            if None in choices:
                either.append(f"{name} IS NULL")
            parts.append(f"({' OR '.join(either)})" if either else "0")
            parameters += present
        return " AND ".join(parts), parameters

    def _changeable(self, arguments: Mapping[str, Any]) -> Table:
        name = str(arguments.get("table", ""))
        table = self._granted.table(name)
        if not self._writable or table is None or table.kind != "table":
            known = ", ".join(each.name for each in self._granted.tables.values() if each.kind == "table")
            raise Denied(f"there is no table {name[:80]} that may be changed", fix=f"granted: {known}")
        return table

    def _column(self, table: Table, name: str) -> str:
        column = table.column(name)
        if column is None:
            known = ", ".join(each.name for each in table.columns)
            raise Denied(f"table {table.name} has no column {name[:80]} that may be used", fix=f"granted: {known}")
        return quoted(column.name)

    def _seconds(self, call: Call) -> float:
        left = call.deadline_s - asyncio.get_running_loop().time() - _LEAVE_S
        return max(0.01, min(self._timeout_s, left))


def _described(table: Table) -> dict[str, Any]:
    return {"name": table.name, "kind": table.kind, "columns": [
        {"name": column.name, "type": column.type, "nullable": column.nullable, "primary_key": column.primary_key}
        for column in table.columns]}


def _unique(columns: Sequence[str]) -> list[str]:
    """`id, id` becomes `id, id_2`: a row is an object."""
    taken: set[str] = set()
    names: list[str] = []
    for column in columns:
        name, number = column, 2
        while name in taken:
            name, number = f"{column}_{number}", number + 1
        taken.add(name)
        names.append(name)
    return names


def _is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)
