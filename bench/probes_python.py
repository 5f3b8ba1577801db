"""What models expect of Python: one small program a feature, and the value it must return.

A probe that the interpreter cannot run counts as advised when the program is refused before the run (or fails in
it) with a line that says what to write instead.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from bench.report import Report, peers_folder
from inhabit.contracts.program import Boot, Delivery
from inhabit.errors import InhabitError
from inhabit.isolates.python import PythonEngine

__all__ = ["PROBES", "Outcome", "run", "try_all"]

_NAMES = ("shop",)
_CLOCK_MS = 1_700_000_000_000

PROBES: dict[str, tuple[str, Any]] = {
    # how a program may end and what it may call
    "return_at_top": ("return {'a': 1}", {"a": 1}),
    "last_expression": ("x = 20\nx + 1", 21),
    "main_function": ("async def main():\n    return (await shop.stock.count())['n']", 4),
    "asyncio_run": ("import asyncio\nasync def go():\n    return 'went'\nasyncio.run(go())", "went"),
    "markdown_fence": ("```python\nreturn 3\n```", 3),
    "keyword_call": ("return (await shop.stock.count(sku='a'))['n']", 4),
    "dict_call": ("return (await shop.stock.count({'sku': 'a'}))['n']", 4),
    "namespace_alias": ("stock = shop.stock\nreturn (await stock.count())['n']", 4),
    "function_alias": ("count = shop.stock.count\nreturn (await count(sku='b'))['n']", 4),
    "gather": ("import asyncio\nrs = await asyncio.gather(*[shop.stock.count(sku=s) for s in 'abc'])\nreturn sum(r['n'] for r in rs)", 12),
    "gather_return_exceptions": ("import asyncio\nrs = await asyncio.gather(shop.stock.count(), shop.stock.fail(), return_exceptions=True)\n"
                                 "return [isinstance(r, Exception) for r in rs]", [False, True]),
    "create_task": ("import asyncio\nt = asyncio.create_task(shop.stock.count())\nreturn (await t)['n']", 4),
    "catch_operation_error": ("try:\n    await shop.stock.fail()\nexcept OperationError as e:\n    return [e.code, str(e)]", ["gone", "gone: no stock"]),
    "async_comprehension": ("return [(await shop.stock.count(sku=s))['n'] for s in 'ab']", [4, 4]),
    "forgotten_await": ("return shop.stock.count()['n']", 4),
    # the language
    "class": ("class Box:\n    def __init__(self, v):\n        self.v = v\n    def twice(self):\n        return self.v * 2\nreturn Box(4).twice()", 8),
    "inheritance": ("class A:\n    def f(self):\n        return 1\nclass B(A):\n    pass\nreturn B().f()", 1),
    "dataclass": ("from dataclasses import dataclass\n@dataclass\nclass Line:\n    sku: str\n    n: int = 2\nreturn Line('a')", {"sku": "a", "n": 2}),
    "property": ("class Box:\n    @property\n    def v(self):\n        return 5\nreturn Box().v", 5),
    "static_method": ("class Box:\n    @staticmethod\n    def v():\n        return 5\nreturn Box.v()", 5),
    "operators": ("class V:\n    def __init__(self, x):\n        self.x = x\n    def __add__(self, o):\n        return V(self.x + o.x)\nreturn (V(1) + V(2)).x", 3),
    "exceptions": ("try:\n    [][3]\nexcept (KeyError, IndexError) as e:\n    r = type(e).__name__\nelse:\n    r = 'none'\nfinally:\n    done = True\nreturn [r, done]", ["IndexError", True]),
    "own_exception": ("class Stop(Exception):\n    pass\ntry:\n    raise Stop('x')\nexcept Stop as e:\n    return str(e)", "x"),
    "exception_groups": ("try:\n    raise ExceptionGroup('g', [ValueError('x')])\nexcept* ValueError:\n    r = 1\nreturn r", 1),
    "context_manager": ("class C:\n    def __enter__(self):\n        return 6\n    def __exit__(self, *a):\n        return False\nwith C() as c:\n    return c", 6),
    "generators": ("def count():\n    yield 1\n    yield 2\nreturn list(count())", [1, 2]),
    "generator_expression": ("return sum(n * n for n in range(5) if n % 2)", 10),
    "async_for": ("async def pages():\n    yield 1\nreturn [p async for p in pages()]", [1]),
    "match": ("match {'kind': 'sale', 'n': 3}:\n    case {'kind': 'sale', 'n': n} if n > 2:\n        return n\n    case _:\n        return 0", 3),
    "walrus": ("return [y for x in (1, 2, 3) if (y := x * 2) > 2]", [4, 6]),
    "f_strings": ("x = 1234.5\nreturn f'{x:,.2f} {x!r:>8} {7:03d}'", "1,234.50   1234.5 007"),
    "f_string_quotes": ("d = {'a': 1}\nreturn f'{d['a']}'", "1"),
    "format_and_percent": ("return '{:>4}|%s' .format(3) % 'x'", "   3|x"),
    "star_arguments": ("def f(a, *b, c=0, **d):\n    return [a, list(b), c, d]\nreturn f(1, 2, 3, c=4, e=5)", [1, [2, 3], 4, {"e": 5}]),
    "unpacking": ("a, *b = [1, 2, 3]\n(c, d), e = (4, 5), 6\nreturn [a, b, c, d, e, *[7], {**{'k': 1}}]", [1, [2, 3], 4, 5, 6, 7, {"k": 1}]),
    "decorators": ("def loud(f):\n    return lambda *a: f(*a).upper()\n@loud\ndef hi(n):\n    return 'hi ' + n\nreturn hi('ada')", "HI ADA"),
    "closures": ("def counter():\n    n = 0\n    def up():\n        nonlocal n\n        n += 1\n        return n\n    return up\nc = counter()\nc()\nreturn c()", 2),
    "globals": ("n = 1\ndef up():\n    global n\n    n = 5\nup()\nreturn n", 5),
    "del_item": ("d = {'a': 1, 'b': 2}\ndel d['a']\nxs = [1, 2]\ndel xs[0]\nreturn [d, xs]", [{"b": 2}, [2]]),
    "del_slice": ("xs = [1, 2, 3]\ndel xs[1:]\nreturn xs", [1]),
    "slices": ("xs = list(range(6))\nxs[1:3] = [9]\nreturn [xs[::-1], xs[-2:]]", [[5, 4, 3, 9, 0], [4, 5]]),
    "sets": ("return [sorted({1, 2} | {3}), {1, 2} & {2, 3}, len(frozenset('aab'))]", [[1, 2, 3], [2], 2]),
    "sorting": ("rows = [{'n': 2}, {'n': 1}]\nreturn [r['n'] for r in sorted(rows, key=lambda r: -r['n'])] + [max(rows, key=lambda r: r['n'])['n']]", [2, 1, 2]),
    "big_integers": ("return str(2 ** 100)", "1267650600228229401496703205376"),
    "for_else": ("for n in (2, 4):\n    if n % 2:\n        break\nelse:\n    return 'even'\nreturn 'odd'", "even"),
    "type_hints": ("from typing import Any, Optional\ndef f(x: list[int], y: Optional[str] = None) -> dict[str, Any]:\n    return {'x': x}\nreturn f([1])", {"x": [1]}),
    "typed_dict": ("from typing import TypedDict\nclass Row(TypedDict):\n    n: int\nr: Row = {'n': 1}\nreturn r", {"n": 1}),
    "enum": ("from enum import Enum\nclass S(Enum):\n    OPEN = 'open'\nreturn S.OPEN.value", "open"),
    "lambda_default": ("return (lambda a, b=2: a * b)(3)", 6),
    "chained_compare": ("x = 5\nreturn 1 < x <= 5 != 6", True),
    "string_methods": ("return [' a b '.split(), 'a-b'.replace('-', '_').title(), 'x'.rjust(3, '0'), 'abc'.partition('b')[2], 'ß'.casefold()]",
                       [["a", "b"], "A_B", "00x", "c", "ss"]),
    # the library
    "json": ("import json\nreturn json.loads(json.dumps({'a': [1, None]}, indent=2))", {"a": [1, None]}),
    "re": ("import re\nm = re.search(r'(?P<y>\\d{4})-(\\d+)', 'on 2024-05')\nreturn [m.group('y'), m.groups()[1], re.sub(r'\\s+', ' ', 'a  b')]", ["2024", "05", "a b"]),
    "re_sub_function": ("import re\nreturn re.sub(r'\\d', lambda m: str(int(m.group()) + 1), 'a1')", "a2"),
    "datetime": ("from datetime import datetime, timedelta, timezone\nd = datetime(2024, 2, 28, tzinfo=timezone.utc) + timedelta(days=2)\nreturn [d.isoformat(), d.strftime('%d %b'), datetime.fromisoformat('2024-01-01').weekday()]",
                 ["2024-03-01T00:00:00+00:00", "01 Mar", 0]),
    "clock": ("import time\nfrom datetime import date\nreturn [time.time(), str(date.today())]", [_CLOCK_MS / 1000, "2023-11-14"]),
    "sleep": ("import asyncio, time\nt = time.time()\nawait asyncio.sleep(30)\nreturn time.time() - t", 30.0),
    "collections": ("from collections import Counter, defaultdict, deque\nd = defaultdict(list)\nd['a'].append(1)\nq = deque([1, 2])\nq.popleft()\nreturn [Counter('aab').most_common(1)[0][1], d, list(q)]", [2, {"a": [1]}, [2]]),
    "namedtuple": ("from collections import namedtuple\nP = namedtuple('P', 'x y')\nreturn P(1, 2).y", 2),
    "itertools": ("from itertools import groupby, chain, islice, product\nreturn [[k, len(list(g))] for k, g in groupby('aab')] + [len(list(product('ab', repeat=2)))]", [["a", 2], ["b", 1], 4]),
    "functools": ("from functools import reduce, partial\nreturn reduce(lambda a, b: a + b, map(partial(pow, 2), range(3)))", 7),
    "math": ("import math\nreturn [math.isclose(math.sqrt(2) ** 2, 2), math.ceil(1.2), math.gcd(12, 18)]", [True, 2, 6]),
    "statistics": ("import statistics\nreturn statistics.mean([1, 2, 3])", 2),
    "decimal": ("from decimal import Decimal\nreturn str(Decimal('0.1') + Decimal('0.2'))", "0.3"),
    "random": ("import random\nrandom.seed(3)\na = random.randint(1, 100)\nrandom.seed(3)\nreturn a == random.randint(1, 100)", True),
    "uuid": ("import uuid\nreturn len(str(uuid.uuid4()))", 36),
    "base64_hashlib": ("import base64, hashlib\nreturn [base64.b64encode(b'ab').decode(), hashlib.sha256(b'a').hexdigest()[:8]]", ["YWI=", "ca978112"]),
    "csv": ("import csv, io\nreturn list(csv.reader(io.StringIO('a,b')))", [["a", "b"]]),
    "urllib_quote": ("from urllib.parse import quote\nreturn quote('a b')", "a%20b"),
    "textwrap": ("import textwrap\nreturn textwrap.dedent('  a\\n  b')", "a\nb"),
    "copy": ("import copy\na = {'x': [1]}\nb = copy.deepcopy(a)\nb['x'].append(2)\nreturn a", {"x": [1]}),
    "unimported_module": ("return json.dumps([math.floor(2.5)])", "[2]"),
    "print_and_input": ("print('seen', input['n'])\nreturn input['n']", 41),
}


class Outcome(NamedTuple):
    name: str
    ok: bool
    advice: str
    """What the program's author is told when it does not work."""


def try_all(engine: PythonEngine) -> list[Outcome]:
    return [_outcome(engine, name, source, expected) for name, (source, expected) in PROBES.items()]


def run(report: Report) -> None:
    """Figures `language.python.passed` and `language.python.advised`; what does not pass goes to the notes."""
    engine = PythonEngine.load(peers_folder() / "images", watched=False)
    engine.attach()
    try:
        outcomes = try_all(engine)
    finally:
        engine.close()
    gaps = [outcome for outcome in outcomes if not outcome.ok]
    for gap in gaps:
        report.note(f"language.python: {gap.name}: {gap.advice or 'WITHOUT ADVICE'}")
    report.figure("language.python.passed", len(outcomes) - len(gaps), f"of {len(outcomes)}")
    report.figure("language.python.advised", sum(1 for gap in gaps if gap.advice), f"of {len(gaps)} gaps")


def _outcome(engine: PythonEngine, name: str, source: str, expected: Any) -> Outcome:
    prepared = engine.prepare(source, _NAMES)
    if prepared.problems:
        told = prepared.problems[0]
        return Outcome(name, False, told.message if told.code == "unsupported" else "")
    try:
        value = _value(engine, prepared.code)
    except InhabitError as error:
        return Outcome(name, False, error.fix or "")
    if isinstance(value, _Failed):
        return Outcome(name, False, value.message.partition("; ")[2])
    return Outcome(name, bool(value == expected), "")


class _Failed(NamedTuple):
    message: str


def _value(engine: PythonEngine, code: str) -> Any:
    guest = engine.create(Boot(code, _NAMES, b'{"n":41}', seed=1, clock_ms=_CLOCK_MS))
    try:
        turn = guest.start()
        clock, waiting = _CLOCK_MS, list(turn.calls)
        while turn.finished is None:
            if waiting:
                call = waiting.pop(0)
                fails = call.operation.endswith(".fail")
                answer = {"code": "gone", "message": "no stock"} if fails else {"n": 4}
                delivery = Delivery("error" if fails else "result", call.sequence, json.dumps(answer).encode(), clock)
            elif turn.timer is not None:
                clock = turn.timer.due_ms
                delivery = Delivery("timer", turn.timer.id, b"null", clock)
            else:
                return _Failed("never finished")
            turn = guest.deliver([delivery])
            waiting += turn.calls
    finally:
        guest.close()
    value = json.loads(turn.finished.value)
    return value if turn.finished.ok else _Failed(value["message"])
