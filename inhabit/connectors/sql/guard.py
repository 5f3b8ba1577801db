"""What a query may do. The one choke point of SQL that a program wrote.

Invariant: a statement that passes reads granted columns of granted tables, and nothing else happens.

Three layers, since none of them sees everything:
1. Words. One statement that begins with SELECT, WITH or VALUES; and no NATURAL and no USING, because SQLite
   compares the columns that those join on without asking its authorizer (seen in 3.40: a hidden column can be
   guessed, a hidden table read).
2. The authorizer: each column read, each function. Everything it does not know is denied, pragmas, attached
   files and recursion among it. The name of the view or CTE that it reports is not looked at: a program chooses
   the names of its CTEs. So a view works only if what is below it is granted too.
3. The compiled statement: every page it opens belongs to a granted table.
The connection under all this is read-only twice over (`mode=ro`, `query_only`).
"""

from __future__ import annotations

import re
import sqlite3
from typing import Any

from inhabit.connectors.sql.schema import Granted, Table
from inhabit.errors import Denied, InvalidInput

__all__ = ["FUNCTIONS", "Guard", "check_words"]

_MAX_SQL_BYTES = 100_000
_WORD = re.compile(
    r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`(?:[^`]|``)*`|\[[^\]]*\]|--[^\n]*|/\*.*?(?:\*/|\Z)|[A-Za-z_\x80-\U0010ffff$][\w$\x80-\U0010ffff]*|.",
    re.S)
_STARTS = frozenset({"select", "with", "values"})
_UNGUARDED = frozenset({"natural", "using"})

FUNCTIONS = frozenset(["abs", "avg", "cast", "ceil", "ceiling", "changes", "char", "coalesce", "concat", "concat_ws", "count", "cume_dist", "date", "datetime", "degrees", "dense_rank", "exp", "first_value", "floor", "format", "glob", "group_concat", "hex", "ifnull", "iif", "if", "instr", "json", "json_array", "json_array_length", "json_each", "json_extract", "json_group_array", "json_group_object", "json_insert", "json_object", "json_patch", "json_pretty", "json_quote", "json_remove", "json_replace", "json_set", "json_tree", "json_type", "json_valid", "julianday", "lag", "last_value", "lead", "length", "like", "likelihood", "likely", "ln", "log", "log10", "log2", "lower", "ltrim", "max", "median", "min", "mod", "nth_value", "ntile", "nullif", "octet_length", "percent_rank", "percentile", "pi", "pow", "power", "printf", "quote", "radians", "random", "rank", "replace", "round", "row_number", "rtrim", "sign", "sin", "cos", "tan", "asin", "acos", "atan", "atan2", "sqrt", "strftime", "string_agg", "substr", "substring", "subtype", "sum", "time", "timediff", "total", "trim", "trunc", "typeof", "unhex", "unicode", "unixepoch", "unlikely", "upper", "->", "->>"])
"""What a query may call; `randomblob`, `zeroblob` and everything that reaches files is left out."""
_INTERNALS = ("pragma_", "sqlite_", "dbstat", "bytecode", "tables_used", "fts", "rtree", "completion", "generate_series")
_TABLE_FUNCTIONS = frozenset({"json_each", "json_tree"})


def check_words(sql: str) -> None:
    """Raises `InvalidInput` or `Denied` for what must not even be compiled."""
    if len(sql.encode("utf-8", "replace")) > _MAX_SQL_BYTES:
        raise InvalidInput(f"the SQL is longer than {_MAX_SQL_BYTES} bytes")
    if "\0" in sql or any("\ud800" <= character <= "\udfff" for character in sql):
        raise InvalidInput("the SQL contains a NUL character or half a surrogate pair")
    words = [word.lower() for word in _WORD.findall(sql) if not word.isspace() and not word.startswith(("--", "/*"))]
    if not words:
        raise InvalidInput("the SQL is empty", fix="write one SELECT")
    if words[0] not in _STARTS:
        raise Denied(f"only queries are allowed here, not {words[0][:30].upper()}", fix="write one SELECT (or WITH … SELECT)")
    for word in words:
        if word in _UNGUARDED:
            raise Denied(f"{word.upper()} joins are not allowed", fix="write JOIN … ON a.x = b.x")
    if ";" in words[:-1]:
        raise InvalidInput("more than one statement", fix="one SELECT a call")


class Guard:
    """The authorizer of one reading connection. `refusal` says why the last statement was denied."""

    def __init__(self, granted: Granted) -> None:
        self.granted = granted
        self.trusted = False
        """While our own statements run on the connection."""
        self.refusal: Denied | None = None

    def authorize(self, action: int, first: str | None, second: str | None, database: str | None, inner: str | None) -> int:
        """SQLite's callback. `inner` is chosen by the program and proves nothing."""
        if self.trusted or action == sqlite3.SQLITE_SELECT:
            return sqlite3.SQLITE_OK
        if action == sqlite3.SQLITE_READ:
            return self._read(first or "", second or "", database)
        if action == sqlite3.SQLITE_FUNCTION:
            return self._function(second or "")
        if action == sqlite3.SQLITE_RECURSIVE:
            return self._deny("recursive queries are not allowed", "loop in the program")
        return self._deny("only reading is allowed here")

    def check_pages(self, connection: sqlite3.Connection, sql: str, parameters: Any) -> None:
        """Raises `Denied` when the compiled statement opens anything that is not granted. The authorizer has seen it."""
        for _, opcode, _, page, database, *_ in connection.execute(f"EXPLAIN {sql}", parameters):
            if opcode == "VOpen" and _names_internals(sql):
                raise Denied("the query reads SQLite's own tables", fix=f"granted: {self.granted.listing()}")
            if opcode in {"OpenRead", "ReopenIdx", "OpenWrite"} and (database != 0 or page not in self.granted.pages):
                raise Denied("the query reads a table that is not granted", fix=f"granted: {self.granted.listing()}")

    def _read(self, table: str, column: str, database: str | None) -> int:
        if table.lower() in _TABLE_FUNCTIONS:
            return sqlite3.SQLITE_OK
        found = self.granted.table(table) if database in (None, "main") else None
        if found is None:
            return self._deny(f"there is no table {table[:80]} that may be read", f"granted: {self.granted.listing()}")
        if column and not _may_read(found, column):
            known = ", ".join(each.name for each in found.columns)
            return self._deny(f"table {found.name} has no column {column[:80]} that may be read", f"granted: {known}; name them in place of *")
        return sqlite3.SQLITE_OK

    def _function(self, name: str) -> int:
        if name.lower() in FUNCTIONS:
            return sqlite3.SQLITE_OK
        return self._deny(f"the function {name[:80]} is not allowed")

    def _deny(self, why: str, fix: str | None = None) -> int:
        self.refusal = self.refusal or Denied(why, fix=fix)
        return sqlite3.SQLITE_DENY


def _names_internals(sql: str) -> bool:
    """Whether some word, quoted in whatever way, names a virtual table of SQLite's own."""
    return any(word.strip("'\"`[]").lower().startswith(_INTERNALS) for word in _WORD.findall(sql))


def _may_read(table: Table, column: str) -> bool:
    return table.column(column) is not None or (table.whole and column.upper() == "ROWID")
