"""Python programs as models write them: what they may say, what it means, what they get back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from python_support import CLOCK_MS, NAMES, Fails, Host

from inhabit.contracts.program import Boot, Delivery, IssuedCall
from inhabit.isolates.python.engine import PythonEngine
from inhabit.limits import Limits


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    engine = PythonEngine.load(tmp_path_factory.mktemp("cache"))
    engine.attach()
    yield Host(engine)
    engine.close()


@pytest.mark.parametrize(("source", "value"), [
    ("return 5", 5),
    ("1 + 1", 2),
    ("x = 3\nx * 2", 6),
    ("```python\nreturn 1\n```", 1),
    ("```py\n1 + 1\n```\n", 2),
    ("~~~\nreturn [1]\n~~~", [1]),
    ("    x = 1\n    return x", 1),
    ("async def main():\n    return 7", 7),
    ("def main():\n    return 8", 8),
    ("async def main(input):\n    return input", None),
    ("import asyncio\nasync def main():\n    return 9\nasyncio.run(main())", 9),
    ("result = {'a': 1}", {"a": 1}),
    ("total = 0\nfor i in range(3):\n    total += i\nresult = total", 3),
    ("print('only output')", None),
    ("return json.dumps({'a': 1})", '{"a": 1}'),
    ("x = {'a': 1}\nreturn f'{x['a']}'", "1"),
    ("match [1, 2]:\n    case [a, b]:\n        r = a + b\nreturn r", 3),
    ("d = {'a': 1, 'b': 2}\ndel d['a']\nreturn d", {"b": 2}),
    ("xs = [1, 2, 3]\ndel xs[1:]\nreturn xs", [1]),
    ("from typing import Any, NotRequired, TypedDict\nclass R(TypedDict, total=False):\n    \"\"\"Doc.\"\"\"\n    n: int\n"
     "r: R = {'n': 1}\nx: NotRequired[Any] = R(n=2)\nreturn [r, x]", [{"n": 1}, {"n": 2}]),
    ("import statistics\nreturn [statistics.mean([1, 2, 3]), statistics.median([1, 9, 3])]", [2, 3]),
    ("from urllib.parse import quote, urlencode\nreturn quote('a b') + urlencode({'q': 'é'})", "a%20bq=%C3%A9"),
    ("import textwrap, html, string\nreturn [textwrap.dedent('  a'), html.escape('<'), string.digits]", ["a", "&lt;", "0123456789"]),
    ("import statistics\ntry:\n    statistics.mean([])\nexcept ValueError:\n    return 'empty'", "empty"),
    ("class P:\n    def __init__(self, x):\n        self.x = x\nreturn P(3)", {"x": 3}),
    ("from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\nreturn [P(1), P(2)]", [{"x": 1}, {"x": 2}]),
])
def test_forms_of_a_program(host: Host, source: str, value: object) -> None:
    assert host.run(source).value == value


@pytest.mark.parametrize(("expression", "value"), [
    ("(1, 2)", [1, 2]), ("{3, 1, 2}", [1, 2, 3]), ("{'b', 'a'}", ["a", "b"]), ("frozenset([1])", [1]),
    ("{1: 'a', None: 'b', 1.5: 'c', False: 'd'}", {"1": "a", "null": "b", "1.5": "c", "false": "d"}),
    ("datetime.date(2024, 1, 2)", "2024-01-02"),
    ("datetime.datetime(2024, 1, 2, 3, 4, tzinfo=datetime.timezone.utc)", "2024-01-02T03:04:00+00:00"),
    ("datetime.timedelta(minutes=2)", 120.0), ("decimal.Decimal('1.10')", "1.10"),
    ("2**53 + 1", 2**53 + 1), ("-2**63", -(2**63)), ("2**64 - 1", 2**64 - 1), ("1.5", 1.5), ("''", ""), ("'é😀'", "é😀"),
    ("ValueError('x')", {"name": "ValueError", "message": "x"}),
])
def test_values_become_json(host: Host, expression: str, value: object) -> None:
    assert host.run(f"return {expression}").value == value


@pytest.mark.parametrize(("expression", "said"), [
    ("float('nan')", "nan is not JSON"), ("[float('inf')]", "inf is not JSON"), ("2**64", "beyond 64 bits"),
    ("b'x'", "base64"), ("print", "the function print"), ("{(1, 2): 3}", "no key"), ("shop", "operations"),
    ("shop.orders.list", "operations"), ("int", "the type int"),
])
def test_values_that_are_not_json_say_what_to_do(host: Host, expression: str, said: str) -> None:
    error = host.run(f"x = {expression}\nreturn x").error
    assert error["name"] == "TypeError"
    assert said in error["message"]


@pytest.mark.parametrize("source", [
    "return await shop.orders.list(customer='ada')",
    "return await shop.orders.list({'customer': 'ada'})",
    "return await shop.orders.list(**{'customer': 'ada'})",
    "orders = shop.orders\nreturn await orders.list(customer='ada')",
    "f = shop.orders.list\nreturn await f(customer='ada')",
    "fs = {'list': shop.orders.list}\nreturn await fs['list'](customer='ada')",
    "return await getattr(shop.orders, 'list')(customer='ada')",
    "return await (shop\n  .orders\n  .list(customer='ada'))",
    "import functools\nf = functools.partial(shop.orders.list, customer='ada')\nreturn await f()",
    "import shop\nreturn await shop.orders.list(customer='ada')",
    "def later():\n    return shop.orders.list(customer='ada')\nreturn await later()",
    "return shop.orders.list(customer='ada')",
    "async def one(f):\n    return await f(customer='ada')\nreturn await one(shop.orders.list)",
])
def test_ways_to_call(host: Host, source: str) -> None:
    ran = host.run(source, {"shop.orders.list": [1]})
    assert ran.calls == [("shop.orders.list", {"customer": "ada"})]
    assert ran.value == [1]


def test_a_name_of_the_programs_own_is_its_own(host: Host) -> None:
    ran = host.run("class S:\n    def list(self):\n        return 4\nshop = S()\nreturn shop.list()")
    assert ran.value == 4
    assert ran.calls == []


@pytest.mark.parametrize(("source", "value"), [
    ("n = 0\nfor o in shop.orders.list():\n    n += o\nreturn n", 6),
    ("return shop.orders.list()[1]", 2),
    ("return len(shop.orders.list())", 3),
    ("return [o + 1 for o in shop.orders.list()]", [2, 3, 4]),
    ("shop.orders.list()\nreturn 1", 1),
])
def test_a_forgotten_await_is_put_in(host: Host, source: str, value: object) -> None:
    ran = host.run(source, {"shop.orders.list": [1, 2, 3]})
    assert ran.value == value
    assert len(ran.calls) == 1


@pytest.mark.parametrize("source", [
    "a = shop.a.b()\nreturn [await shop.a.c(), await a]", "return [await shop.a.b(n=i) for i in range(2)]",
    "if await shop.a.b():\n    x = await shop.a.c()\nreturn [1, x]", "try:\n    await shop.a.fail()\nexcept OperationError as e:\n    return [await shop.a.b(), e.code]",
    "x = f'{await shop.a.b()}{await shop.a.c()}'\nreturn x", "return (await shop.a.b())['sequence'] + (await (shop.a.c()))['sequence']",
    "x = y = await shop . a . b()\nawait    shop.a.c()\nreturn x", "class A:\n    pass\nfor i in range(await shop.a.n()):\n    await shop.a.b(i=i)\nreturn i",
])
def test_calls_outside_of_functions_hold_the_program(host: Host, source: str) -> None:
    """The same calls with the same results as the same program inside a function."""
    answers = {"shop.a.fail": Fails("x", "y"), "shop.a.n": 2}
    inside = "async def main():\n" + "\n".join(f"    {line}" for line in source.split("\n"))
    held, waited = host.run(source, answers), host.run(inside, answers)
    assert (held.calls, held.value) == (waited.calls, waited.value)
    assert [turn.issued_before for turn in held.turns] == [turn.issued_before for turn in waited.turns]


def test_a_forgotten_await_elsewhere_is_said(host: Host) -> None:
    assert "await" in host.run("orders = shop.orders.list()\nreturn orders[0]").error["message"]
    assert "await" in host.run("orders = [shop.orders.list()]\nreturn orders").error["message"]


def test_positional_arguments_are_refused_in_the_program(host: Host) -> None:
    ran = host.run("try:\n    await shop.orders.list('ada', 3)\nexcept TypeError as e:\n    return str(e)")
    assert "takes keyword arguments" in ran.value
    assert ran.calls == []


def test_gather_issues_all_calls_in_one_turn_and_keeps_its_order(host: Host) -> None:
    source = """
import asyncio
async def one(i):
    a = await shop.orders.get(id=i)
    b = await shop.orders.get(id=a["sequence"] * 10)
    return [a["sequence"], b["sequence"]]
return await asyncio.gather(*[one(i) for i in range(3)])
"""
    forward, backward = host.run(source), host.run(source, last_first=True)
    assert [len(turn.calls) for turn in forward.turns][:2] == [3, 1]
    assert forward.value == [[1, 4], [2, 5], [3, 6]]
    assert backward.value == [[1, 6], [2, 5], [3, 4]]
    assert [turn.issued_before for turn in forward.turns[1:4]] == [(3,), (4,), (5,)]


def test_one_batch_settles_as_its_deliveries_one_by_one(host: Host) -> None:
    code = host.prepare(
        "import asyncio\nout = []\nasync def one(i):\n    r = await shop.a.b(i=i)\n    out.append(r)\n    await shop.c.d(r=r)\n"
        "await asyncio.gather(*[one(i) for i in range(3)])\nreturn out")
    deliveries = [Delivery("result", number, str(number).encode(), CLOCK_MS + number) for number in (3, 1, 2)]

    def issued(*batches: list[Delivery]) -> list[tuple[int, bytes]]:
        guest = host.engine.create(Boot(code, NAMES, clock_ms=CLOCK_MS))
        guest.start()
        turns = [guest.deliver(batch) for batch in batches]
        guest.close()
        assert [before for turn in turns for before in turn.issued_before] == [3, 4, 5]
        return [(call.sequence, call.arguments) for turn in turns for call in turn.calls]

    assert issued(deliveries) == issued(*[[each] for each in deliveries])
    assert issued(deliveries) == [(4, b'{"r":3}'), (5, b'{"r":1}'), (6, b'{"r":2}')]


def test_gather_with_return_exceptions(host: Host) -> None:
    ran = host.run(
        "import asyncio\nrs = await asyncio.gather(shop.a.b(), shop.a.c(), return_exceptions=True)\n"
        "return [str(r) if isinstance(r, Exception) else r for r in rs]",
        {"shop.a.b": 1, "shop.a.c": Fails("not_found", "no c")})
    assert ran.value == [1, "not_found: no c"]


def test_tasks_are_awaited_where_they_are_used(host: Host) -> None:
    ran = host.run("import asyncio\nts = [asyncio.create_task(shop.a.b(i=i)) for i in range(2)]\nreturn [await t for t in ts]")
    assert [len(turn.calls) for turn in ran.turns] == [2, 0, 0]
    assert ran.value == [{"sequence": 1}, {"sequence": 2}]


def test_operation_errors_are_caught_and_read(host: Host) -> None:
    ran = host.run(
        "try:\n    await shop.a.b(x=1)\nexcept OperationError as e:\n"
        "    return [e.code, e.message, e.operation, e.details, e.retryable, str(e)]",
        {"shop.a.b": Fails("not_found", "no order 1", details={"id": 1}, retryable=False)})
    assert ran.value == ["not_found", "no order 1", "shop.a.b", {"id": 1}, False, "not_found: no order 1"]


@pytest.mark.parametrize("caught", ["Exception", "RuntimeError", "(ValueError, OperationError)"])
def test_operation_errors_are_ordinary_exceptions(host: Host, caught: str) -> None:
    ran = host.run(f"try:\n    await shop.a.b()\nexcept {caught} as e:\n    return e.code", {"shop.a.b": Fails("x", "y")})
    assert ran.value == "x"


def test_fields_of_other_errors_are_not_made_up(host: Host) -> None:
    assert host.run("try:\n    1 / 0\nexcept Exception as e:\n    return e.code").error["name"] == "AttributeError"


def test_an_uncaught_operation_error_ends_the_run_with_its_code(host: Host) -> None:
    error = host.run("x = 1\nawait shop.a.b()", {"shop.a.b": Fails("not_found", "no b")}).error
    assert error | {"stack": ""} == {
        "name": "OperationError", "code": "not_found", "message": "no b", "operation": "shop.a.b",
        "line": 2, "column": 1, "stack": ""}


def test_an_uncaught_error_has_the_programs_own_lines(host: Host) -> None:
    error = host.run("```python\ndef f(x):\n    return 1 / x\n\nf(0)\n```").error
    assert (error["name"], error["message"], error["line"]) == ("ZeroDivisionError", "ZeroDivisionError: division by zero", 3)
    assert error["stack"] == "line 5 in <module>\nline 3 in f"


def test_time_stands_still_within_a_turn_and_comes_from_deliveries(host: Host) -> None:
    ran = host.run("""
import time
from datetime import datetime, date, timezone
def now():
    return [time.time(), time.monotonic(), time.perf_counter(), datetime.now(timezone.utc).timestamp(), time.time_ns() / 1e9]
first = now()
for i in range(1000):
    pass
second = now()
await shop.a.b()
return [first == second, now(), str(date.today())]
""", tick_ms=2_000)
    assert ran.value == [True, [CLOCK_MS / 1000 + 2] * 5, "2023-11-14"]


def test_sleep_is_a_timer(host: Host) -> None:
    ran = host.run("import asyncio, time\nt = time.time()\nawait asyncio.sleep(1.5)\ntime.sleep(2)\nreturn time.time() - t")
    assert [turn.timer.due_ms - CLOCK_MS if turn.timer else None for turn in ran.turns] == [1_500, 3_500, None]
    assert ran.value == 3.5


def test_gathered_sleeps_fire_by_their_time(host: Host) -> None:
    ran = host.run("""
import asyncio
order = []
async def nap(s):
    await asyncio.sleep(s)
    order.append(s)
await asyncio.gather(nap(3), nap(1), nap(2), asyncio.sleep(0))
return order
""")
    assert ran.value == [1, 2, 3]


def test_results_that_arrive_during_a_blocking_sleep_wait(host: Host) -> None:
    code = host.prepare("import time\na = shop.a.b()\nb = shop.a.c()\ntime.sleep(1)\nreturn [await a, await b]")
    guest = host.engine.create(Boot(code, NAMES, clock_ms=CLOCK_MS))
    assert len(guest.start().calls) == 2
    turn = guest.deliver([Delivery("result", 2, b'"c"', CLOCK_MS), Delivery("timer", 1, b"null", CLOCK_MS + 1_000)])
    assert turn.finished is None
    turn = guest.deliver([Delivery("result", 1, b'"b"', CLOCK_MS + 1_001)])
    assert turn.finished is not None and orjson.loads(turn.finished.value) == ["b", "c"]


def test_random_is_the_seeds(host: Host) -> None:
    source = ("import random, uuid, secrets, os\nreturn [random.random(), random.Random().random(), random.sample(range(99), 5), "
              "str(uuid.uuid4()), secrets.token_hex(8), list(os.urandom(4))]")
    first, again, other = host.run(source).value, host.run(source).value, host.run(source, seed=8).value
    assert first == again
    assert all(one != another for one, another in zip(first, other, strict=True))
    assert first[3][14] == "4" and first[3][19] in "89ab"


def test_output_becomes_log_lines(host: Host) -> None:
    ran = host.run("import sys\nprint('a', 1)\nprint('b', end='')\nprint('c', file=sys.stderr)\nawait shop.a.b()\nprint('d\\ne')")
    assert [[(line.level, line.text) for line in turn.logs] for turn in ran.turns] == [
        [("log", "a 1"), ("log", "b"), ("error", "c")], [("log", "d"), ("log", "e")]]


def test_input_is_a_value(host: Host) -> None:
    assert host.run("return input['a'] + [2**60]", input={"a": [1, None, 2.5, True]}).value == [1, None, 2.5, True, 2**60]


def test_calls_and_results_after_the_end_are_not_lost(host: Host) -> None:
    code = host.prepare("a = shop.a.b()\nreturn await shop.a.c()")
    guest = host.engine.create(Boot(code, NAMES))
    assert len(guest.start().calls) == 2
    turn = guest.deliver([Delivery("result", 2, b"1", 0), Delivery("result", 1, b"2", 0)])
    assert turn.finished and turn.finished.value == b"1"
    assert turn.issued_before == (2, 2)


def test_deliveries_that_nobody_waits_for_change_nothing(host: Host) -> None:
    guest = host.engine.create(Boot(host.prepare("return await shop.a.b()"), NAMES))
    guest.start()
    turn = guest.deliver([Delivery("result", 9, b"1", 0), Delivery("timer", 3, b"null", 0)])
    assert turn.finished is None and turn.issued_before == (1, 1)
    assert guest.deliver([Delivery("result", 1, b"5", 0)]).finished == (True, b"5")
    guest.close()


def test_a_program_that_waits_for_nothing_is_a_turn_without_anything(host: Host) -> None:
    turn = host.run("return 1").turns[-1]
    assert (turn.timer, turn.calls) == (None, ())


def test_code_that_was_not_prepared_runs_too(host: Host) -> None:
    assert host.run("return await shop.orders.list(x=1)", {"shop.orders.list": 3}, prepared=False).value == 3


def test_the_interpreters_fingerprint_is_kept(tmp_path: Path) -> None:
    first = PythonEngine.load(tmp_path)
    kept = [path.read_text() for path in tmp_path.iterdir()]
    assert len(kept) == 1 and kept[0] in first.version
    assert PythonEngine.load(tmp_path).version == first.version


def test_usage_counts_nothing_between_turns(host: Host) -> None:
    """A worker spends it on looking for the host."""
    def slow(_call: IssuedCall, _arguments: dict[str, Any]) -> int:
        until = time.process_time() + 0.3
        while time.process_time() < until:
            pass
        return 1
    ran = host.run("for _ in range(4):\n    await shop.read()\nreturn 1", slow)
    assert ran.turns[-1].usage.cpu_ms < 300


def test_usage_counts_computing_only(host: Host) -> None:
    ran = host.run("import asyncio\nawait asyncio.sleep(3600)\nreturn sum(range(100000))", limits=Limits().as_value())
    assert 0 < ran.turns[-1].usage.cpu_ms < 2_000


@pytest.mark.parametrize(("source", "message"), [
    ("return {}['total']", "KeyError: 'total'"), ("return [][3]", "IndexError: list index out of range"), ("raise Exception('no')", "no"),
])
def test_the_message_of_an_uncaught_error_names_its_kind_where_that_says_more(host: Host, source: str, message: str) -> None:
    assert host.run(source).error["message"] == message


def test_an_uncaught_operation_error_keeps_why_it_failed(host: Host) -> None:
    error = host.run("await shop.a.b()", {"shop.a.b": Fails("http_404", "404: Not Found", details={"body": {"error": "no such order"}}, fix="look again")}).error
    assert (error["message"], error["details"], error["fix"]) == ("404: Not Found", {"body": {"error": "no such order"}}, "look again")
