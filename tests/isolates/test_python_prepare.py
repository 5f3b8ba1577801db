"""What is known of a Python program before it runs: its calls, what it lacks, its types."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from python_support import NAMES, Host

from inhabit.isolates.python import PythonEngine
from inhabit.isolates.python.prepare import prepare
from inhabit.isolates.python.source import unfence

STUBS = '''
from builtins import list as _list
from typing import Any, Literal, Required, TypedDict
class Order(TypedDict, total=False):
    id: str
    amount: float
    note: str | None
    lines: _list[Line]
class Line(TypedDict, total=False):
    sku: str
    n: int
class Body(TypedDict, total=False):
    a: Required[str]
    b: int
class _shop__orders:
    async def list(self, *, customer: str, status: Literal["open", "failed"] = ..., limit: int = ..., body: Body = ...) -> _list[Order]: ...
    async def get(self, *, id: str) -> Order: ...
    def __getattr__(self, name: str) -> Any: ...
class _shop:
    orders: _shop__orders
    async def raw(self, **arguments: Any) -> Any: ...
    def __getattr__(self, name: str) -> Any: ...
shop: _shop
'''


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PythonEngine]:
    engine = PythonEngine.load(tmp_path_factory.mktemp("cache"), watched=False)
    engine.attach()
    yield engine
    engine.close()


def literal(value: object) -> dict[str, Any]:
    return {"kind": "literal", "value": value}


def given(**properties: Any) -> dict[str, Any]:
    return {"kind": "object", "properties": properties, "open": False}


UNKNOWN = {"kind": "unknown"}


@pytest.mark.parametrize(("source", "sites"), [
    ("await shop.orders.list()", [("shop.orders.list", 1, 7, None)]),
    ("\n  \nx = await shop.a.b(c='d', e=-1.5, f=None, g=x)", [
        ("shop.a.b", 3, 11, given(c=literal("d"), e=literal(-1.5), f=literal(None), g=UNKNOWN))]),
    ("```python\nawait shop.a.b(x=[1, *y], z={'k': True, **w})\n```", [("shop.a.b", 2, 7, given(
        x={"kind": "array", "items": [literal(1)], "open": True},
        z={"kind": "object", "properties": {"k": literal(True)}, "open": True}))]),
    ("await shop.a.b({'c': 1})", [("shop.a.b", 1, 7, given(c=literal(1)))]),
    ("await shop.a.b(body)", [("shop.a.b", 1, 7, UNKNOWN)]),
    ("await shop.a.b(**body)", [("shop.a.b", 1, 7, {"kind": "object", "properties": {}, "open": True})]),
    ("await shop.a.b(x=f'{y}', z=a > b, l=[i for i in y], n=not y, b=b'x', big=2**70)", [("shop.a.b", 1, 7, given(
        x={"kind": "string"}, z={"kind": "boolean"}, l={"kind": "array", "items": [], "open": True}, n={"kind": "boolean"},
        b=UNKNOWN, big=UNKNOWN))]),
    ("await shop.a.b(n=99999999999999999999999, f=1e999, s='" + "x" * 2000 + "')", [("shop.a.b", 1, 7, given(
        n={"kind": "number"}, f={"kind": "number"}, s={"kind": "string"}))]),
    ("o = shop.orders\nf = o.list\nawait f(x=1)\nawait o.get(id='é')", [
        ("shop.orders.list", 3, 7, given(x=literal(1))), ("shop.orders.get", 4, 7, given(id=literal("é")))]),
    ("é = 1; await shop.a.b()", [("shop.a.b", 1, 14, None)]),
    ("import shop\nawait shop.a.b()", [("shop.a.b", 2, 7, None)]),
    ("shop = 1\nshop.a.b()", []),
    ("def f(shop):\n    return shop.a.b()\nf(1)", []),
    ("[shop.a() for shop in x]", []),
    ("o = shop.orders\no = 3\no.list()", []),
    ("shop.a.b", []), ("shop()", []), ("other.a.b()", [("other.a.b", 1, 1, None)]), ("x().shop.a()", []),
])
def test_call_sites(engine: PythonEngine, source: str, sites: list[tuple[Any, ...]]) -> None:
    prepared = engine.prepare(source, NAMES)
    assert [(site.path, site.line, site.column, site.arguments) for site in prepared.calls] == sites


@pytest.mark.parametrize(("source", "line", "said"), [
    ("x = 1\ndef g():\n    yield 1", 3, "collect the values in a list"),
    ("class A(B):\n    pass", 1, "inheritance"),
    ("class E(Exception):\n    pass", 1, "raise ValueError"),
    ("from enum import Enum\nclass C(Enum):\n    A = 1", 1, "plain constants"),
    ("class C(TypedDict):\n    def f(self):\n        pass", 1, "plain dicts"), ("class M(BaseModel):\n    a: int", 1, "plain dicts"),
    ("class C:\n    @property\n    def x(self):\n        return 1", 1, "plain method"),
    ("async with asyncio.TaskGroup() as g:\n    pass", 1, "asyncio.gather"),
    ("async for x in y:\n    pass", 1, "loop over it with for"),
    ("[x async for x in y]", 1, "loop over it with for"),
    ("try:\n    pass\nexcept* ValueError:\n    pass", 1, "use except"),
    ("x = [1, 2]\ndel x, y", 2, "pop"), ("x = 1\ndel x", 2, "pop"),
    ("import requests", 1, "operation"), ("import numpy as np", 1, "lists"), ("from http.client import HTTPConnection", 1, "network"), ("import urllib.request", 1, "network"),
    ("import nonsense", 1, "available are"),
    ("from shop import orders", 1, "leave the import out"),
    ("import asyncio\nawait asyncio.wait_for(x, 3)", 2, "time limit"), ("from asyncio import Semaphore", 1, "bounded for you"),
    ("import asyncio\nasyncio.create_task(f())", 2, "asyncio.gather"),
    ("x = input('name?')", 1, "not a function"),
    ("type X = int\nreturn 1", 1, "type aliases"),
    ("x = {**a}\nlambda: (yield)", 2, "collect the values"),
])
def test_what_is_missing_is_said_with_a_way_out(engine: PythonEngine, source: str, line: int, said: str) -> None:
    problems = engine.prepare(source, NAMES).problems
    assert any(problem.line == line and said in problem.message for problem in problems), problems
    assert all("\n" not in problem.message and len(problem.message) < 320 for problem in problems)
    assert {problem.code for problem in problems} == {"unsupported"}


@pytest.mark.parametrize("source", [
    "try:\n    import numpy\nexcept ImportError:\n    numpy = None\nreturn 1",
    "from __future__ import annotations\nfrom typing import Any, List\nx: List[Any] = []\nreturn x",
    "class A:\n    def f(self):\n        return 1\nreturn A().f()", "from dataclasses import dataclass, field\nreturn 1",
    "import os.path\nreturn 1", "import uuid, secrets\nreturn 1", "x = [1]\nwith_ = 2\nreturn x",
])
def test_ordinary_programs_have_no_problem(engine: PythonEngine, source: str) -> None:
    assert engine.prepare(source, NAMES).problems == ()


@pytest.mark.parametrize(("source", "line", "column"), [
    ("x = 1 +", 1, 8), ("def f(:\n    pass", 1, 7), ("x = 1\nif x\n    y", 2, 5), ("return 'abc", 1, 8), ("a b", 1, 1), ("  x = 1\n y = 2", 2, 2),
])
def test_syntax_errors_have_a_place(engine: PythonEngine, source: str, line: int, column: int) -> None:
    (problem,) = engine.prepare(source, NAMES).problems
    assert (problem.code, problem.line) == ("syntax", line)
    assert abs(problem.column - column) <= 2
    assert problem.message.startswith("syntax: ")


@pytest.mark.parametrize("source", ["", "   \n\n", "# nothing\n", "```python\n```"])
def test_an_empty_program_is_said_to_be_one(engine: PythonEngine, source: str) -> None:
    assert [problem.message for problem in engine.prepare(source, NAMES).problems] == ["the program is empty"]


def test_lines_stay_those_of_the_source(engine: PythonEngine) -> None:
    source = "```python\n\ntry:\n    await shop.a.b(x=1)\nexcept OperationError as e:\n    print(e.code,\n        e.message)\n1 / 0\n```"
    host = Host(engine)
    assert host.run(source, {"shop.a.b": 1}).error["line"] == 8


# -- types ----------------------------------------------------------------------------------------------------

WELL_TYPED = [
    "rs = await shop.orders.list(customer='a', status='open', limit=3)\nreturn rs[0]['amount'] + 1",
    "o = await shop.orders.get(id='1')\nawait shop.orders.list(customer=o['id'], limit=len(o))",
    "o = await shop.orders.get(id='1')\nc = o.get('id')\nawait shop.orders.list(customer=c)",
    "body = {'a': 'x', 'b': 2}\nawait shop.orders.list(customer='x', body=body)",
    "s = input['status']\nawait shop.orders.list(customer='x', status=s)\nargs = {'customer': 'x', 'limit': 3}\nawait shop.orders.list(**args)",
    "import asyncio\na, b = await asyncio.gather(shop.orders.list(customer='x'), shop.orders.get(id='2'))\n"
    "rs = await asyncio.gather(*[shop.orders.get(id=o['id']) for o in a], return_exceptions=True)\n"
    "return [r['amount'] for r in rs if not isinstance(r, Exception)] + [b['amount']]",
    "total = 0\nfor o in await shop.orders.list(customer='x'):\n    total += o['amount']\n    for i in o.get('lines', []):\n        total += i['n']\n"
    "by = {}\nfor o in await shop.orders.list(customer='x'):\n    by.setdefault(o['id'], []).append(o)\nreturn {'t': total, 'by': by}",
    "try:\n    x = await shop.raw()\n    y = x['any'].foo[0]\nexcept OperationError as e:\n    print(e.code, e.details['x'])\n    raise",
    "orders = shop.orders\nr = None\nfor i in range(3):\n    r = await orders.list(customer='x', limit=i)\nreturn sorted(r, key=lambda o: o['id'])",
    "async def main():\n    rs = await shop.orders.list({'customer': 'ada'})\n    return rs[0]['note'].upper()",
    "o = await shop.orders.get(id='1')\no['amount'] = 3\no['new'] = 5\no.update({'z': 1})\nreturn json.dumps(o)",
    "for o in shop.orders.list(customer='x'):\n    print(o['id'])\nreturn len(shop.orders.list(customer='x'))",
    "return await shop.other.thing(x=1)", "```python\nreturn await shop.orders.get(id='1')\n```",
    "limit = (await shop.orders.get(id='1'))['amount']\nawait shop.orders.list(customer='x', limit=limit)",
    "import shop\nasync def f(customer):\n    return await shop.orders.list(customer=customer)\nreturn await f('x')",
    "x = {'a': 1}\nreturn f\"{x['a']}\"",
]


@pytest.mark.parametrize("source", WELL_TYPED)
def test_types_of_ordinary_programs_pass(engine: PythonEngine, source: str) -> None:
    assert engine.typecheck(source, STUBS) == ()


@pytest.mark.parametrize(("source", "line", "said"), [
    ("await shop.orders.list(custmer='x')", 1, "`custmer` does not match any known parameter of shop.orders.list"),
    ("await shop.orders.list()", 1, "required parameter `customer` of shop.orders.list"),
    ("x = 1\nawait shop.orders.list(customer=1)", 2, "Expected `str`, found `Literal[1]`"),
    ("await shop.orders.list(customer=None)", 1, "found `None`"), ("await shop.orders.list(customer=['x'])", 1, "found `list[str]`"),
    ("await shop.orders.list(customer='x', status='opne')", 1, "`Literal[\"open\", \"failed\"]`"),
    ("await shop.orders.list(customer='x', body={'a': 1})", 1, "key \"a\""),
    ("o = shop.orders\nawait o.list(cust=1)", 2, "`cust`"),
    ("r = await shop.orders.get(id='1')\nreturn r['amuont']", 2, 'did you mean "amount"'),
    ("r = await shop.orders.get(id='1')\nreturn r.amount", 2, 'write ["amount"]'),
    ("r = await shop.orders.list(customer='x')\nreturn r['id']", 2, "loop over it"),
    ("r = shop.orders.list(customer='x')\nreturn r[0]", 2, "write `await`"),
    ("```python\nprint(undefined_thing)\n```", 2, "undefined_thing is not defined"),
])
def test_types_find_what_is_certain(engine: PythonEngine, source: str, line: int, said: str) -> None:
    problems = engine.typecheck(source, STUBS)
    assert any(problem.line == line and said in problem.message for problem in problems), problems
    assert {problem.code for problem in problems} == {"type"}


def test_the_check_runs_nothing(engine: PythonEngine) -> None:
    assert engine.typecheck("while True:\n    pass", STUBS) == ()
    assert engine.typecheck("return 1", "this is ( no stub") is not None
    assert Host(engine).run("return 1").value == 1


@pytest.mark.parametrize(("source", "paths"), [
    ("await biling.x()", ["biling.x"]), ("def f():\n    return biling.a.b()\nf()", ["biling.a.b"]), ("print(f'{biling.x()}')", ["biling.x"]),
    ("biling = {}\nbiling.x()", []), ("def f(biling):\n    biling.x()", []), ("import biling\nbiling.x()", []), ("from x import *\nbiling.x()", []),
    ("[biling.x() for biling in []]", []), ("lambda *biling: biling.x()", []), ("with a as biling:\n    biling.x()", []),
    ("try:\n    pass\nexcept E as biling:\n    biling.x()", []), ("match 1:\n    case [*biling]:\n        biling.x()", []), ("(biling := 1).real\nbiling.x()", []),
    ("str.upper('a')\njson.loads('1')\ndatetime.date.today()\nos.getcwd()\ninput.get('a')\nstatistics.mean([1])", []),
])
def test_a_name_that_nobody_binds_is_told_as_a_call(engine: PythonEngine, source: str, paths: list[str]) -> None:
    assert [call.path for call in prepare(source, NAMES)[0].calls] == paths


@pytest.mark.parametrize(("source", "code"), [
    ("I count first.\n\n```python\nreturn 7\n```\nDone: that's it.", "\n\n\nreturn 7"), ("x = \"\"\"\n```py\nreturn 7\n```\n\"\"\"\nreturn x", None),
])
def test_the_only_fence_is_taken_out_of_the_prose_around_it(source: str, code: str | None) -> None:
    assert unfence(source).rstrip() == (source if code is None else code)


def test_open_comes_back_as_advice(engine: PythonEngine) -> None:
    (problem,) = engine.prepare("x = open('a.txt').read()\nreturn x", NAMES).problems
    assert problem.code == "unsupported" and "a program has no files" in problem.message
    assert not engine.prepare("def open(name):\n    return name\nreturn open('a')", NAMES).problems
