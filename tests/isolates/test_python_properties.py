"""What must hold of every Python program: preparing never fails, lines never move, a replay takes the same path."""

from __future__ import annotations

import ast
import random
from collections.abc import Iterator

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from python_support import CLOCK_MS, NAMES

from inhabit.contracts.program import Boot, Delivery, Turn
from inhabit.errors import WorkerLost
from inhabit.isolates.python import PythonEngine
from inhabit.isolates.python.prepare import checkable, prepare
from inhabit.isolates.python.typecheck import problems_of

STATEMENTS = [
    "x = await shop.orders.list(customer='ä', n=1)", "for o in shop.orders.list():\n    print(o)", "y = shop.orders\nz = await y.get(id=3)",
    "try:\n    await shop.a.b()\nexcept OperationError as e:\n    print(e.code, (e).message,\n          e.details)", "d = {'a': 1}\ndel d['a']",
    "xs = [1, 2, 3]\ndel xs[\n    0]\ndel xs[0:1]", "import asyncio\nr = await asyncio.gather(shop.a.b(), shop.a.c(x=1),\n    return_exceptions=True\n)",
    "import asyncio\nt = asyncio.create_task(shop.a.b(\n  z=2))\nawait t", "import shop", "from typing import (Any,\n    TypedDict,\n)\nclass R(TypedDict):\n    n: int\n    m: str",
    "async def f(q):\n    return await shop.a.b(q=q)\nw = [await f(i) for i in range(2)]", "s = f'''{shop.a.b()['n']}\n é'''", "len(shop.a.b()); v = 1",
    "import functools\np = functools.partial(shop.a.b, x=1)", "import asyncio, time\nawait asyncio.sleep(1.5)\ntime.sleep(1)", "await shop.a.b({'k': [1, 2],\n  'l': 2})",
    "print('·', 'shop.a.b', \"\\N{BULLET}\")", "# shop.a.b(\nm = 'é'; n = shop.a.b", "if True:\n    pass\nelse:\n    shop.a.b()",
    "async def g():\n    import random\n    a = await shop.a.b(r=random.random())\n    return (a, await shop.a.c())\nimport asyncio\nh = await asyncio.gather(*[g() for _ in range(3)])",
]
programs = st.lists(st.sampled_from(STATEMENTS), min_size=1, max_size=6).map("\n".join)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PythonEngine]:
    engine = PythonEngine.load(tmp_path_factory.mktemp("cache"), watched=False)
    engine.attach()
    yield engine
    engine.close()


@given(programs)
@settings(max_examples=200, deadline=None)
def test_edits_keep_lines_and_grammar(source: str) -> None:
    source += "\nlast = 1\nlast"
    prepared, failure = prepare(source, NAMES)
    assert failure is None
    body = prepared.code.rpartition("\n# inhabit ")[0]
    assert body.count("\n") == source.count("\n")
    ast.parse(prepared.code)
    ast.parse(checkable(source, frozenset(NAMES)))
    assert checkable(source, frozenset(NAMES)).count("\n") == source.count("\n")


@given(st.text(max_size=300) | st.binary(max_size=300).map(lambda data: data.decode("utf-8", "surrogateescape"))
       | st.lists(st.sampled_from([*"()[]{}:=.,'\"\n \\#@", "shop.a.b(", "await ", "del ", "except ", "as e", "def f", "class ", "lambda ", "f'{", "'''",
                                   "import ", "yield", "e.code", "OperationError", "return ", "\t", "é", "·", "\ud800", "\0"]), max_size=60).map("".join))
@settings(max_examples=600, deadline=None)
def test_any_text_is_prepared_or_refused(source: str) -> None:
    prepared, _ = prepare(source, NAMES)
    assert prepared.problems or prepared.code
    checkable(source, frozenset(NAMES))
    for problem in prepared.problems:
        assert problem.message and problem.line >= 0


@given(st.text(max_size=200), st.text(max_size=200))
def test_any_report_is_read(report: str, stubs: str) -> None:
    problems_of(f"main.py:3:1: error[invalid-argument-type] {report}\nmain.py:2:2: error[{report}", stubs, frozenset())


@given(programs, st.integers(0, 2**32), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_same_deliveries_take_the_same_path(engine: PythonEngine, source: str, seed: int, order: int) -> None:
    prepared = engine.prepare(source, NAMES)
    assert not prepared.problems
    boot = Boot(prepared.code, NAMES, seed=seed, clock_ms=CLOCK_MS)
    deliveries, live = _drive(engine, boot, random.Random(order))
    replayed = _replay(engine, boot, deliveries, batch=1)
    batched = _replay(engine, boot, deliveries, batch=256)
    assert [_did(turn) for turn in replayed] == [_did(turn) for turn in live]
    assert _flat(batched) == _flat(live)


def _drive(engine: PythonEngine, boot: Boot, choose: random.Random) -> tuple[list[Delivery], list[Turn]]:
    """A live run whose answers come in any order."""
    guest = engine.create(boot)
    turns, deliveries, waiting, clock = [guest.start()], list[Delivery](), list[int](), CLOCK_MS
    while turns[-1].finished is None and len(turns) < 200:
        waiting += [call.sequence for call in turns[-1].calls]
        timer = turns[-1].timer
        assert waiting or timer
        if timer and (not waiting or choose.random() < 0.3):
            clock = max(clock, timer.due_ms)
            deliveries.append(Delivery("timer", timer.id, b"null", clock))
        else:
            clock += 3
            number = waiting.pop(choose.randrange(len(waiting)))
            kind = "error" if choose.random() < 0.2 else "result"
            value = {"code": "c", "message": str(number)} if kind == "error" else {"n": number}
            deliveries.append(Delivery(kind, number, orjson.dumps(value), clock))
        turns.append(guest.deliver(deliveries[-1:]))
    guest.close()
    return deliveries, turns


def _replay(engine: PythonEngine, boot: Boot, deliveries: list[Delivery], batch: int) -> list[Turn]:
    guest = engine.create(boot)
    turns = [guest.start()]
    turns += [guest.deliver(deliveries[at:at + batch]) for at in range(0, len(deliveries), batch)]
    guest.close()
    return turns


def _did(turn: Turn) -> tuple[object, ...]:
    """A turn without what it cost."""
    return turn.calls, turn.issued_before, turn.finished, turn.timer, turn.logs


def _flat(turns: list[Turn]) -> list[object]:
    return [[call for turn in turns for call in turn.calls], [before for turn in turns for before in turn.issued_before],
            turns[-1].finished, [line for turn in turns for line in turn.logs]]


def test_generated_programs_end_in_one_of_the_known_ways(engine: PythonEngine) -> None:
    """A thousand programs cut and joined at random: each is refused, finishes, or waits; none kills the interpreter."""
    choose = random.Random(5)
    pieces = [line for statement in STATEMENTS for line in statement.split("\n")]
    for _ in range(1_000):
        source = "\n".join(choose.choices(pieces, k=choose.randrange(1, 8)))
        prepared = engine.prepare(source, NAMES)
        if prepared.problems:
            continue
        guest = engine.create(Boot(prepared.code, NAMES, clock_ms=CLOCK_MS))
        try:
            turn = guest.start()
        except WorkerLost as error:   # pragma: no cover - the failure this test looks for
            pytest.fail(f"{error}: {source!r}")
        assert turn.finished or turn.calls or turn.timer
        guest.close()
