"""A SQLite database as operations: what is granted can be read and changed, and nothing else can be learnt."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from inhabit.connectors.sql import SqlConnector
from inhabit.connectors.sql import database as host_end
from inhabit.contracts.connector import Call, ConnectorContext
from inhabit.contracts.principal import Principal
from inhabit.errors import CallError, CallTimeout, ConfigError, Denied, InhabitError, InvalidInput, NotFound

pytestmark = pytest.mark.asyncio(loop_scope="module")

CANARY = "CANARY_b1946ac9"
GRANTS: Mapping[str, list[str] | None] = {"orders": None, "customers": ["id", "name"], "totals": None}

SCHEMA = f"""
CREATE TABLE customers(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, password TEXT);
CREATE TABLE orders(id INTEGER PRIMARY KEY, customer INTEGER REFERENCES customers(id), total REAL CHECK (total >= 0), note TEXT, scan BLOB);
CREATE TABLE secrets(k TEXT, v TEXT);
CREATE INDEX by_password ON customers(password);
CREATE VIEW totals AS SELECT customer, sum(total) AS total FROM orders GROUP BY customer;
CREATE VIEW leaks AS SELECT v FROM secrets;
INSERT INTO customers VALUES (1, 'Ada', '{CANARY}'), (2, 'Grace', 'x');
INSERT INTO orders VALUES (1, 1, 9.5, 'first', x'00ff'), (2, 1, 1, NULL, NULL), (3, 2, 2, 'é', NULL);
INSERT INTO secrets VALUES ('key', '{CANARY}');
"""


class MemoryBlobs:
    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}

    async def put(self, data: bytes, *, tenant: str, mime: str) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        self.held[f"{tenant}/{digest}"] = data
        return {"$binary": digest, "type": mime, "size": len(data)}

    async def get(self, reference: Mapping[str, Any], *, tenant: str) -> bytes:
        try:
            return self.held[f"{tenant}/{reference['$binary']}"]
        except KeyError:
            raise NotFound("no such bytes") from None


class Desk:
    """A connector over a fresh database, and calls of it."""

    def __init__(self, connector: SqlConnector, path: Path) -> None:
        self.connector = connector
        self.path = path
        self.blobs = MemoryBlobs()

    async def call(self, function: str, *, seconds: float = 30, **arguments: Any) -> Any:
        operation = self.connector.operation(f"crm.{function}")
        assert operation is not None
        return await self.connector.call(Call(
            operation, arguments, Principal("ada"), "r1", 1, "k", asyncio.get_running_loop().time() + seconds, self.blobs))

    async def rows(self, sql: str, parameters: Any = None, **more: Any) -> list[dict[str, Any]]:
        return (await self.call("query", sql=sql, parameters=parameters, **more))["rows"]

    def direct(self, sql: str) -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(self.path)
        try:
            with connection:
                return connection.execute(sql).fetchall()
        finally:
            connection.close()


def context(tmp_path: Path) -> ConnectorContext:
    async def changed(_: Any) -> None: ...
    async def secret(_: str) -> None: ...
    return ConnectorContext(outbound=None, connections=None, cache=tmp_path, changed=changed, secret=secret)   # type: ignore[arg-type]


def database(tmp_path: Path, schema: str = SCHEMA) -> Path:
    path = tmp_path / "crm data?#.db"
    connection = sqlite3.connect(path)
    connection.executescript(schema)
    connection.close()
    return path


async def desk_of(tmp_path: Path, **options: Any) -> Desk:
    path = database(tmp_path)
    connector = SqlConnector("crm", path, **{"tables": GRANTS, **options})
    await connector.open(context(tmp_path))
    return Desk(connector, path)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Desk]:
    """Read by many tests, changed by none."""
    held = await desk_of(tmp_path_factory.mktemp("desk"))
    yield held
    await held.connector.close()


@pytest_asyncio.fixture(loop_scope="module")
async def fresh(tmp_path: Path) -> AsyncIterator[Desk]:
    held = await desk_of(tmp_path)
    yield held
    await held.connector.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def unchanged(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Desk]:
    """May be written to, and nobody succeeds."""
    held = await desk_of(tmp_path_factory.mktemp("unchanged"), writable=True, max_rows=10)
    yield held
    await held.connector.close()


@pytest_asyncio.fixture(loop_scope="module")
async def writer(tmp_path: Path) -> AsyncIterator[Desk]:
    held = await desk_of(tmp_path, writable=True, max_rows=10)
    yield held
    await held.connector.close()


# -- reading --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sql", "parameters", "rows"), [
    ("SELECT id, name FROM customers ORDER BY id", None, [{"id": 1, "name": "Ada"}, {"id": 2, "name": "Grace"}]),
    ("SELECT total FROM orders WHERE customer = :c AND total > :t", {"c": 1, "t": 5}, [{"total": 9.5}]),
    ("SELECT note FROM orders WHERE id = ?", [3], [{"note": "é"}]),
    ("SELECT ? AS a, ? AS b, ? AS c", [True, None, 2**62], [{"a": 1, "b": None, "c": 2**62}]),
    ("SELECT count(*) AS n FROM orders;", None, [{"n": 3}]),
    ("-- how many\nselect /* all; of them */ max(id) m from ORDERS", None, [{"m": 3}]),
    ("SELECT c.name, sum(o.total) AS sum FROM customers c JOIN orders o ON o.customer = c.id GROUP BY c.id ORDER BY 1", None,
     [{"name": "Ada", "sum": 10.5}, {"name": "Grace", "sum": 2.0}]),
    ("WITH big AS (SELECT * FROM orders WHERE total > 1) SELECT count(*) n FROM big", None, [{"n": 2}]),
    ("SELECT * FROM totals ORDER BY customer", None, [{"customer": 1, "total": 10.5}, {"customer": 2, "total": 2.0}]),
    ("SELECT id, id FROM orders LIMIT 1", None, [{"id": 1, "id_2": 1}]),
    ("VALUES (1)", None, [{"column1": 1}]),
    ("SELECT value FROM json_each('[1,2]')", None, [{"value": 1}, {"value": 2}]),
    ("SELECT row_number() OVER (ORDER BY id DESC) AS r, strftime('%Y', '2024-01-01') AS y FROM orders LIMIT 1", None, [{"r": 1, "y": "2024"}]),
    ("SELECT 9e999 AS big", None, [{"big": None}]),
    ("SELECT ';using natural' AS \"natural;\"", None, [{"natural;": ";using natural"}]),
    ("SELECT id FROM orders WHERE rowid = 2", None, [{"id": 2}]),
])
async def test_queries(desk: Desk, sql: str, parameters: Any, rows: list[dict[str, Any]]) -> None:
    assert await desk.rows(sql, parameters) == rows


async def test_rows_beyond_the_limit_are_said_to_be_cut(desk: Desk) -> None:
    cut = await desk.call("query", sql="SELECT id FROM orders ORDER BY id", limit=2)
    assert cut == {"rows": [{"id": 1}, {"id": 2}], "columns": ["id"], "truncated": True}
    assert (await desk.call("query", sql="SELECT id FROM orders", limit=3))["truncated"] is False
    many = await desk.call("query", sql="SELECT a.id FROM orders a, orders b, orders c, orders d, orders e, orders f, orders g")
    assert (len(many["rows"]), many["truncated"]) == (1_000, True)


async def test_bytes_beyond_the_limit_are_cut(desk: Desk) -> None:
    cut = await desk.call("query", sql="SELECT printf('%.*c', 3000000, 'x') AS x FROM orders a, orders b")
    assert cut["truncated"] and 1 <= len(cut["rows"]) <= 3


async def test_blobs_travel_as_references(desk: Desk) -> None:
    (row,) = await desk.rows("SELECT scan FROM orders WHERE id = 1")
    assert row["scan"]["$binary"] == hashlib.sha256(b"\x00\xff").hexdigest() and row["scan"]["size"] == 2
    assert await desk.rows("SELECT id FROM orders WHERE scan = ?", [row["scan"]]) == [{"id": 1}]
    with pytest.raises(NotFound):
        await desk.rows("SELECT ?", [{"$binary": "00" * 32}])


async def test_tables_shows_what_is_granted(desk: Desk) -> None:
    found = {table["name"]: table for table in await desk.call("tables")}
    assert set(found) == {"orders", "customers", "totals"}
    assert found["totals"]["kind"] == "view"
    assert found["customers"]["columns"] == [
        {"name": "id", "type": "INTEGER", "nullable": True, "primary_key": True},
        {"name": "name", "type": "TEXT", "nullable": False, "primary_key": False}]


async def test_a_change_of_the_schema_is_noticed(fresh: Desk) -> None:
    await fresh.rows("SELECT id FROM orders")
    fresh.direct("CREATE TABLE early(x)")
    fresh.direct("VACUUM")
    assert await fresh.rows("SELECT count(*) AS n FROM orders") == [{"n": 3}]
    fresh.direct("DROP VIEW totals")
    with pytest.raises(CallError, match="totals"):
        await fresh.rows("SELECT id FROM orders")


async def test_reads_run_beside_each_other(desk: Desk) -> None:
    found = await asyncio.gather(*[desk.rows("SELECT count(*) AS n FROM orders WHERE id <= ?", [n % 4]) for n in range(40)])
    assert [rows[0]["n"] for rows in found] == [n % 4 for n in range(40)]


# -- what must not be possible (E03 and its kin) --------------------------------------------------------------

ATTACKS = {
    "other table": "SELECT * FROM secrets", "hidden column": "SELECT password FROM customers", "star": "SELECT * FROM customers",
    "order by hidden": "SELECT id FROM customers ORDER BY password", "where hidden": "SELECT id FROM customers WHERE password = 'x'",
    "having": "SELECT 1 FROM customers GROUP BY 1 HAVING max(password) > 'a'", "natural join": "SELECT count(*) FROM customers NATURAL JOIN (SELECT 'x' AS password)",
    "natural on hidden table": "SELECT 1 FROM secrets NATURAL JOIN (SELECT 'key' AS k)", "natural commented": "SELECT 1 FROM secrets NATURAL/**/JOIN (SELECT 'key' AS k)",
    "using": "SELECT id FROM customers JOIN (SELECT 'x' AS password) USING (password)", "using cased": "SELECT 1 FROM customers a join customers b uSiNg(password)",
    "cte named as view": "WITH totals AS (SELECT v FROM secrets) SELECT * FROM totals", "cte shadow": "WITH orders AS (SELECT * FROM secrets) SELECT * FROM orders",
    "exists": "SELECT EXISTS(SELECT 1 FROM secrets)", "count": "SELECT count(*) FROM secrets", "in table": "SELECT 1 WHERE 'key' IN secrets",
    "hidden view": "SELECT * FROM leaks", "schema": "SELECT sql FROM sqlite_schema", "master": "SELECT * FROM main.sqlite_master",
    "temp": "SELECT * FROM temp.sqlite_master", "pragma function": "SELECT * FROM pragma_table_info('secrets')", "dbstat": "SELECT * FROM dbstat",
    "quoted name": 'SELECT * FROM "secrets"', "string name": "SELECT * FROM 'secrets'", "bracket name": "SELECT * FROM [secrets]",
    "main dot": "SELECT * FROM main.secrets", "union": "SELECT id FROM orders UNION SELECT v FROM secrets", "correlated": "SELECT (SELECT v FROM secrets) FROM orders",
    "row value": "SELECT id FROM customers WHERE (id, password) IN (VALUES (1, 'x'))", "indexed by": "SELECT id FROM customers INDEXED BY by_password WHERE password = 'x'",
    "window": "SELECT max(id) FILTER (WHERE password = 'x') OVER () FROM customers", "join on": "SELECT 1 FROM orders JOIN secrets ON v = note",
    "recursive": "WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r) SELECT count(*) FROM r",
    "load_extension": "SELECT load_extension('/tmp/x.so')", "readfile": "SELECT readfile('/etc/passwd')", "writefile": "SELECT writefile('/tmp/x', 'x')",
    "edit": "SELECT edit('x', 'sh')", "fts3_tokenizer": "SELECT fts3_tokenizer('x')", "randomblob": "SELECT randomblob(1000000000)",
    "zeroblob": "SELECT zeroblob(1000000000)", "insert": "INSERT INTO orders(id) VALUES (9)", "update": "UPDATE orders SET total = 0", "delete": "DELETE FROM orders",
    "with insert": "WITH x AS (SELECT 1) INSERT INTO orders(id) SELECT 9", "replace": "REPLACE INTO orders(id) VALUES (1)", "drop": "DROP TABLE orders",
    "attach": "ATTACH '/tmp/other.db' AS o", "pragma": "PRAGMA query_only=OFF", "vacuum": "VACUUM INTO '/tmp/copy.db'", "begin": "BEGIN",
    "create": "CREATE TEMP TABLE x(y)", "explain": "EXPLAIN SELECT 1", "explain plan": "EXPLAIN QUERY PLAN SELECT * FROM secrets", "analyze": "ANALYZE",
    "two statements": "SELECT 1; DELETE FROM orders", "two selects": "SELECT 1; SELECT 2", "hidden second": "SELECT 1;/* */;-- \nDROP TABLE orders",
    "empty": "", "only comment": "-- SELECT 1", "semicolon": ";", "nul": "SELECT 1\0; DROP TABLE orders", "surrogate": "SELECT '\ud800'",
    "syntax": "SELECT FROM WHERE", "unknown table": "SELECT * FROM nothing", "unknown column": "SELECT nothing FROM orders", "unclosed": "SELECT 'x",
    "deep": "SELECT " + "(" * 5_000 + "1" + ")" * 5_000, "long": "SELECT " + "1+" * 60_000 + "1",
    "many joins": "SELECT 1 FROM " + ",".join(["orders"] * 80), "compound": " UNION ALL ".join(["SELECT 1"] * 200),
    "returning": "SELECT 1 RETURNING password", "lateral": "SELECT * FROM orders o, (SELECT password FROM customers)",
    "rowid of a part": "SELECT rowid FROM customers, secrets", "alias": "SELECT x.password FROM customers AS x", "qualified star": "SELECT c.* FROM customers c",
    "generate_series": "SELECT * FROM generate_series(1, 9)", "match": "SELECT id FROM orders WHERE orders MATCH 'x'", "collate": "SELECT id FROM customers GROUP BY password COLLATE NOCASE",
}


@pytest.mark.parametrize("name", ATTACKS)
async def test_E03_sql_reaches_only_what_is_granted(desk: Desk, name: str) -> None:
    before = desk.path.read_bytes()
    with pytest.raises((Denied, InvalidInput)) as caught:
        await desk.rows(ATTACKS[name])
    told = str(caught.value.as_value())
    assert CANARY not in told and "password TEXT" not in told and str(desk.path) not in told
    assert len(told) < 2_500
    assert desk.path.read_bytes() == before
    assert await desk.rows("SELECT count(*) AS n FROM orders") == [{"n": 3}]


async def test_E03_what_is_hidden_reads_like_what_is_not_there(desk: Desk) -> None:
    async def told(sql: str) -> str:
        with pytest.raises(InhabitError) as caught:
            await desk.rows(sql)
        return str(caught.value)
    assert (await told("SELECT * FROM secrets")).replace("secrets", "X").startswith("there is no table X")
    assert "no such table" in await told("SELECT * FROM missing")


async def test_E03_errors_name_what_is_granted(desk: Desk) -> None:
    for sql in ("SELECT password FROM customers", "SELECT * FROM secrets", "SELECT x FROM orders"):
        with pytest.raises((Denied, InvalidInput)) as caught:
            await desk.rows(sql)
        assert "granted: " in (caught.value.fix or "") and "name" in (caught.value.fix or "")


@pytest.mark.parametrize("parameters", [
    [2**64], [[1]], [{"a": 1}], "x", 5, [1, 2, 3], {"wrong": 1}, [float],
])
async def test_parameters_of_another_shape_are_refused(desk: Desk, parameters: Any) -> None:
    with pytest.raises(InvalidInput):
        await desk.rows("SELECT :a", parameters)


async def test_an_empty_grant_grants_nothing(tmp_path: Path) -> None:
    desk = await desk_of(tmp_path, tables={})
    assert await desk.call("tables") == []
    with pytest.raises(Denied):
        await desk.rows("SELECT count(*) FROM orders")
    assert await desk.rows("SELECT 1 AS one") == [{"one": 1}]
    await desk.connector.close()


# -- bounds ---------------------------------------------------------------------------------------------------

_ENDLESS = "SELECT count(*) FROM " + ", ".join(f"orders o{n}" for n in range(20))


async def test_a_query_without_end_is_stopped(tmp_path: Path) -> None:
    desk = await desk_of(tmp_path, timeout_s=0.2)
    with pytest.raises(CallTimeout) as caught:
        await desk.rows(_ENDLESS)
    assert caught.value.effect == "none"
    assert await desk.rows("SELECT 1 AS one") == [{"one": 1}]
    await desk.connector.close()


async def test_the_calls_own_deadline_counts(desk: Desk) -> None:
    with pytest.raises(CallTimeout):
        await desk.rows(_ENDLESS, seconds=0.4)


async def test_a_cancelled_call_ends_its_query(desk: Desk) -> None:
    task = asyncio.create_task(desk.rows(_ENDLESS))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await desk.rows("SELECT 1 AS one") == [{"one": 1}]


@pytest.mark.parametrize("sql", [
    "SELECT printf('%.*c', 8000000, 'x') || a.id AS x FROM orders a, orders b, orders c, orders d, orders e, orders f, orders g ORDER BY 1",
    "SELECT group_concat(printf('%.*c', 1000000, 'x')) FROM orders a, orders b, orders c, orders d, orders e",
    "WITH " + ", ".join(["a0 AS (SELECT 'xxxxxxxx' AS s)", *(f"a{n} AS (SELECT s || s AS s FROM a{n - 1})" for n in range(1, 40))]) + " SELECT length(s) FROM a39",
    "WITH " + ", ".join(["a0 AS (SELECT 1 AS x)", *(f"a{n} AS (SELECT p.x FROM a{n - 1} p, a{n - 1} q, a{n - 1} r)" for n in range(1, 30))]) + " SELECT * FROM a29",
])
async def test_queries_that_would_take_all_memory_or_never_compile(desk: Desk, sql: str) -> None:
    before = _fresh_peak()
    with pytest.raises((InvalidInput, CallError)):
        await desk.rows(sql, seconds=1.5)
    assert _resident() - before < 32 * 1024 * 1024
    assert await desk.rows("SELECT 1 AS one") == [{"one": 1}]


_WIDE = ", ".join(f"printf('%.*c', 3000000, char(1)) AS c{n}" for n in range(12))
_DEEP = "replace(printf('%.*c', 60000, 'a'), 'a', printf('%.*c', 500, char(1)))"


@pytest.mark.parametrize("sql", [
    f"SELECT {_WIDE}", f"SELECT {_DEEP} AS a, {_DEEP} || 'b' AS b", "SELECT group_concat(note) OVER () AS x FROM (SELECT printf('%.*c', 9000000, 'x') AS note)",
], ids=["wide", "long_values", "one_cell"])
async def test_B14_B18_one_row_beyond_the_bound_is_an_error_and_costs_the_host_nothing(desk: Desk, sql: str) -> None:
    """Twelve columns of control characters were 36 MB in the reader and 470 MB in the host: JSON writes six bytes for each."""
    before = _fresh_peak()
    with pytest.raises(InvalidInput, match=r"bytes; at most|too much memory|too big"):
        await desk.rows(sql, seconds=8)
    assert _resident() - before < 32 * 1024 * 1024
    assert await desk.rows("SELECT 1 AS one") == [{"one": 1}]


async def test_B14_a_reader_that_was_taken_over_cannot_fill_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_end, "_MAIN", (
        "import sys, struct; read = sys.stdin.buffer.read\n"
        "for answer in (b'{\"ok\": {\"version\": 1, \"tables\": []}}', b' ' * (65 << 20)):\n"
        "    read(struct.unpack('>I', read(4))[0]); sys.stdout.buffer.write(struct.pack('>I', len(answer)) + answer); sys.stdout.buffer.flush()"))
    fresh = host_end.Database(database(tmp_path), {})
    await fresh.open()
    before = _fresh_peak()
    with pytest.raises(CallError, match="at most 67108864"):
        await fresh.query("SELECT 1", (), max_rows=1, max_bytes=1, seconds=5)
    assert _resident() - before < 32 * 1024 * 1024
    await fresh.close()


async def test_B23_a_reader_that_leaves_a_child_with_its_pipe_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_end, "_MAIN", (
        "import os, sys, struct, time; read = sys.stdin.buffer.read; read(struct.unpack('>I', read(4))[0])\n"
        "answer = b'{\"ok\": {\"version\": 1, \"tables\": []}}'\n"
        "child = os.fork()\n"
        "if child == 0: time.sleep(100); os._exit(0)\n"
        f"open({str(tmp_path / 'child')!r}, 'w').write(str(child))\n"
        "sys.stdout.buffer.write(struct.pack('>I', len(answer)) + answer); sys.stdout.buffer.flush(); time.sleep(100)"))
    fresh = host_end.Database(database(tmp_path), {})
    await fresh.open()
    try:
        await asyncio.wait_for(fresh.close(), 20)
    finally:
        os.kill(int((tmp_path / "child").read_text()), signal.SIGKILL)


def _fresh_peak() -> int:
    """From here on the peak is a new one: an earlier test's would hide what this one does."""
    Path("/proc/self/clear_refs").write_text("5")
    return _resident()


def _resident() -> int:
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(peak.split()[1]) * 1024


async def test_a_reader_that_dies_is_replaced(tmp_path: Path) -> None:
    others = _children()
    fresh = await desk_of(tmp_path)
    (reader,) = _children() - others
    os.kill(reader, signal.SIGKILL)
    with pytest.raises(CallError):
        await fresh.rows("SELECT 1 AS one")
    assert await fresh.rows("SELECT 1 AS one") == [{"one": 1}]
    await fresh.connector.close()


async def test_nothing_is_left_after_closing(tmp_path: Path) -> None:
    others = _children()
    desk = await desk_of(tmp_path)
    await asyncio.gather(*[desk.rows("SELECT 1 AS one") for _ in range(8)])
    assert 1 <= len(_children() - others) <= 4
    await desk.connector.close()
    assert _children() == others
    with pytest.raises(CallError, match="closed"):
        await desk.rows("SELECT 1")


def _children() -> set[int]:
    found: set[int] = set()
    for thread in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError):   # the thread has ended meanwhile
            found.update(map(int, (thread / "children").read_text().split()))
    return found


# -- changing -------------------------------------------------------------------------------------------------


async def test_without_leave_nothing_can_be_changed(desk: Desk) -> None:
    assert sorted(operation.function for operation in desk.connector.operations()) == ["query", "tables"]
    assert all(not operation.effects.may_write for operation in desk.connector.operations())


async def test_typed_changes(writer: Desk) -> None:
    assert await writer.call("insert", table="orders", values={"customer": 2, "total": 4, "note": "new"}) == {"inserted": 1, "last_id": 4}
    assert await writer.call("insert", table="orders", values=[{"customer": 1, "total": n} for n in (5, 6)]) == {"inserted": 2, "last_id": 6}
    assert await writer.call("update", table="orders", values={"total": 7}, where={"id": [5, 6], "customer": 1}) == {"changed": 2}
    assert await writer.call("update", table="orders", values={"note": None}, where={"note": "nobody"}) == {"changed": 0}
    assert await writer.call("delete", table="orders", where={"note": [None, "new"], "id": [4, 5]}) == {"changed": 2}
    assert await writer.rows("SELECT id, total FROM orders WHERE id > 3") == [{"id": 6, "total": 7.0}]
    reference = await writer.blobs.put(b"abc", tenant="default", mime="x/y")
    await writer.call("update", table="orders", values={"scan": reference}, where={"id": 1})
    assert writer.direct("SELECT scan FROM orders WHERE id = 1") == [(b"abc",)]


async def test_the_effects_of_changes(writer: Desk) -> None:
    effects = {operation.function: operation.effects for operation in writer.connector.operations()}
    assert {name for name, each in effects.items() if each.writes == "internal" and each.irreversible} == {"insert", "update", "delete"}
    assert (effects["query"].reads, effects["query"].trust, effects["query"].idempotent) == ("private", "untrusted", True)
    assert not effects["insert"].idempotent


@pytest.mark.parametrize(("function", "arguments"), [
    ("insert", {"table": "secrets", "values": {"k": "x"}}), ("insert", {"table": "totals", "values": {"customer": 1}}),
    ("insert", {"table": "customers", "values": {"id": 3, "name": "x", "password": "y"}}),
    ("insert", {"table": "orders; DROP TABLE orders", "values": {"id": 9}}), ("insert", {"table": "orders", "values": {"id) VALUES (9); --": 1}}),
    ("insert", {"table": "orders", "values": {}}), ("insert", {"table": "orders", "values": []}), ("insert", {"table": "orders", "values": [{"id": 8}, {"note": "x"}]}),
    ("insert", {"table": "orders", "values": [{"note": "x"}] * 11}), ("insert", {"table": "orders", "values": {"id": [1]}}),
    ("update", {"table": "orders", "values": {"total": 1}, "where": {}}), ("update", {"table": "orders", "values": {"total": 1}}),
    ("update", {"table": "customers", "values": {"name": "x"}, "where": {"password": "y"}}),
    ("update", {"table": "customers", "values": {"password": "x"}, "where": {"id": 1}}),
    ("update", {"table": "orders", "values": {"total": {"raw": "1"}}, "where": {"id": 1}}),
    ("delete", {"table": "orders", "where": {}}), ("delete", {"table": "orders", "where": {"1=1 OR id": 1}}), ("delete", {"table": "secrets", "where": {"k": "key"}}),
    ("delete", {"table": "sqlite_schema", "where": {"name": "orders"}}), ("delete", {"table": "orders", "where": "id = 1"}),
])
async def test_E03_changes_reach_only_what_is_granted(unchanged: Desk, function: str, arguments: dict[str, Any]) -> None:
    before = unchanged.direct("SELECT * FROM orders, customers, secrets")
    with pytest.raises((Denied, InvalidInput)):
        await unchanged.call(function, **arguments)
    assert unchanged.direct("SELECT * FROM orders, customers, secrets") == before


async def test_constraints_are_named_without_what_is_hidden(writer: Desk) -> None:
    for values in ({"id": 1, "name": "x"}, {"id": 5, "name": "Ada"}, {"id": 6, "name": None}):
        with pytest.raises(CallError) as caught:
            await writer.call("insert", table="customers", values=values)
        assert caught.value.specific_code == "constraint" and "password" not in str(caught.value)
    with pytest.raises(CallError, match="FOREIGN KEY"):
        await writer.call("delete", table="customers", where={"id": 1})


async def test_a_change_of_too_many_rows_is_none(writer: Desk) -> None:
    writer.direct("WITH RECURSIVE n(i) AS (SELECT 10 UNION ALL SELECT i + 1 FROM n WHERE i < 40) INSERT INTO orders(id, customer, total) SELECT i, 2, 0 FROM n")
    with pytest.raises(Denied, match="at most 10"):
        await writer.call("update", table="orders", values={"total": 5}, where={"customer": 2})
    assert writer.direct("SELECT count(*) FROM orders WHERE total = 5") == [(0,)]


async def test_half_of_an_insert_is_none_of_it(writer: Desk) -> None:
    with pytest.raises(CallError):
        await writer.call("insert", table="orders", values=[{"id": 50, "total": 1}, {"id": 1, "total": 1}])
    assert writer.direct("SELECT count(*) FROM orders") == [(3,)]


async def test_a_busy_database_is_said_to_be(writer: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inhabit.connectors.sql.connection._BUSY_S", 0.05)
    holder = sqlite3.connect(writer.path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(CallError) as caught:
        await writer.call("update", table="orders", values={"total": 1}, where={"id": 1})
    assert caught.value.specific_code == "busy"
    holder.close()
    assert await writer.call("update", table="orders", values={"total": 1}, where={"id": 1}) == {"changed": 1}


# -- opening --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("tables", "said"), [
    ({"order": None}, "did you mean orders"), ({"customers": ["nam"]}, "did you mean name"), ({"docs": None}, "virtual table"),
    ({"orders": None, "ORDERS": None}, "granted twice"),
])
async def test_grants_that_do_not_fit_are_refused_when_opening(tmp_path: Path, tables: dict[str, Any], said: str) -> None:
    path = database(tmp_path, SCHEMA + "CREATE VIRTUAL TABLE docs USING fts5(body);")
    with pytest.raises(ConfigError, match=said):
        await SqlConnector("crm", path, tables=tables).open(context(tmp_path))


async def test_what_is_no_database_is_refused_when_opening(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no database, but long enough to be looked at" * 50)
    for path in (tmp_path / "missing.db", tmp_path, tmp_path / "text.db"):
        with pytest.raises(ConfigError):
            await SqlConnector("crm", path, tables={}).open(context(tmp_path))


@pytest.mark.parametrize("options", [{"max_rows": 0}, {"max_rows": 10**9}, {"timeout_s": 0}, {"timeout_s": float("nan")}, {"timeout_s": float("inf")}])
async def test_limits_that_are_none_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        SqlConnector("crm", tmp_path / "x.db", tables={}, **options)


async def test_operations_say_what_is_granted_and_change_with_it(tmp_path: Path) -> None:
    path = database(tmp_path)
    one, other = (SqlConnector("crm", path, tables=tables, writable=True) for tables in ({"orders": ["id"]}, {"orders": ["id", "total"]}))
    for connector in (one, other):
        await connector.open(context(tmp_path))
    assert one.fingerprint() != other.fingerprint()
    query = one.operation("crm.query")
    assert query is not None and "orders(id)" in query.description
    insert = one.operation("crm.insert")
    assert insert is not None and insert.input_schema["properties"]["table"] == {"type": "string", "enum": ["orders"]}
    for connector in (one, other):
        await connector.close()
