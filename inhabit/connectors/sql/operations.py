"""The operations of a database, from what of it is granted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from inhabit.connectors.sql.schema import Granted, Table
from inhabit.contracts.effects import Effects, Trust
from inhabit.contracts.operation import ErrorDoc, Operation, Schema

__all__ = ["operations_of"]

_VALUE: Schema = {"anyOf": [{"type": ["string", "number", "boolean", "null"]}, {"$ref": "#/$defs/Binary"}]}
_BINARY: Schema = {
    "type": "object", "description": "a reference to bytes", "required": ["$binary"],
    "properties": {"$binary": {"type": "string"}, "type": {"type": "string"}, "size": {"type": "integer"}}}
_DEFINITIONS = {"Binary": _BINARY}
_ERRORS = (
    ErrorDoc("denied", "a table, column or function that is not granted"),
    ErrorDoc("invalid_input", "the SQL or a name is wrong; the message lists what is granted"),
    ErrorDoc("call_timeout", "stopped; nothing was changed"),
)
_WRITE_ERRORS = (*_ERRORS, ErrorDoc("constraint", "a constraint of the database refuses it"), ErrorDoc("busy", "try again"))


def operations_of(name: str, granted: Granted, *, writable: bool, max_rows: int, trust: Trust, timeout_ms: int) -> tuple[Operation, ...]:
    return tuple(_all(name, granted, writable, max_rows, trust, timeout_ms))


def _all(name: str, granted: Granted, writable: bool, max_rows: int, trust: Trust, timeout_ms: int) -> Iterator[Operation]:
    def operation(function: str, summary: str, description: str, effects: Effects, properties: dict[str, Any], required: list[str],
                  output: Schema, errors: tuple[ErrorDoc, ...]) -> Operation:
        return Operation(
            name=f"{name}.{function}", connector=name, summary=summary, description=description, effects=effects, errors=errors,
            input_schema={"type": "object", "properties": properties, "required": required, "additionalProperties": False},
            output_schema=output, definitions=_DEFINITIONS, origin=f"SQLite {function}", timeout_ms=timeout_ms)

    yield operation(
        "query", "Read with one SQL SELECT (SQLite dialect)",
        f"Granted: {granted.listing()}. Pass values as parameters (:name or ?), not inside the SQL.",
        Effects("private", trust, "none", irreversible=False, idempotent=True),
        {"sql": {"type": "string", "minLength": 1, "description": "one SELECT or WITH … SELECT; no NATURAL or USING joins"},
         "parameters": {"description": "an object for :name, an array for ?", "anyOf": [
             {"type": "object", "additionalProperties": _VALUE}, {"type": "array", "items": _VALUE}]},
         "limit": {"type": "integer", "minimum": 1, "maximum": max_rows, "default": max_rows, "description": "most rows to return"}},
        ["sql"], _ROWS, _ERRORS)
    yield operation(
        "tables", "The tables and columns that may be read", "", Effects("none", "trusted", "none", irreversible=False, idempotent=True),
        {}, [], _TABLES, ())
    changeable = [table for table in granted.tables.values() if table.kind == "table"]
    if not writable or not changeable:
        return
    table = {"type": "string", "enum": [each.name for each in changeable]}
    columns = _columns(changeable)
    values = {"type": "object", "minProperties": 1, "additionalProperties": _VALUE, "description": f"column → value; {columns}"}
    where = {
        "type": "object", "minProperties": 1, "description": "column → value, null, or an array of values; all must hold",
        "additionalProperties": {"anyOf": [_VALUE, {"type": "array", "items": _VALUE}]}}
    changes = Effects("private", trust, "internal", irreversible=True, idempotent=True)
    yield operation(
        "insert", "Add rows to a table", "All or none.", Effects("none", "trusted", "internal", irreversible=True, idempotent=False),
        {"table": table, "values": {"anyOf": [values, {"type": "array", "items": values, "minItems": 1, "maxItems": max_rows}]}},
        ["table", "values"], _INSERTED, _WRITE_ERRORS)
    yield operation(
        "update", "Change rows of a table", f"At most {max_rows} rows at once, all or none.", changes,
        {"table": table, "values": values, "where": where}, ["table", "values", "where"], _CHANGED, _WRITE_ERRORS)
    yield operation(
        "delete", "Delete rows of a table", f"At most {max_rows} rows at once, all or none.", changes,
        {"table": table, "where": where}, ["table", "where"], _CHANGED, _WRITE_ERRORS)


def _columns(tables: list[Table]) -> str:
    text = "; ".join(f"{table.name}: {', '.join(column.name for column in table.columns)}" for table in tables)
    return text if len(text) <= 800 else f"{text[:800]}…"


_ROWS: Schema = {
    "type": "object", "required": ["rows", "columns", "truncated"], "properties": {
        "rows": {"type": "array", "items": {"type": "object", "additionalProperties": True}},
        "columns": {"type": "array", "items": {"type": "string"}},
        "truncated": {"type": "boolean", "description": "true when there are more rows than were returned"}}}
_TABLES: Schema = {"type": "array", "items": {
    "type": "object", "required": ["name", "kind", "columns"], "properties": {
        "name": {"type": "string"}, "kind": {"enum": ["table", "view"]},
        "columns": {"type": "array", "items": {
            "type": "object", "required": ["name", "type", "nullable", "primary_key"], "properties": {
                "name": {"type": "string"}, "type": {"type": "string"}, "nullable": {"type": "boolean"},
                "primary_key": {"type": "boolean"}}}}}}}
_INSERTED: Schema = {
    "type": "object", "required": ["inserted", "last_id"],
    "properties": {"inserted": {"type": "integer"}, "last_id": {"type": ["integer", "null"], "description": "row id of the last one"}}}
_CHANGED: Schema = {"type": "object", "required": ["changed"], "properties": {"changed": {"type": "integer"}}}
