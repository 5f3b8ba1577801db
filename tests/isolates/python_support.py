"""A small host for one Python guest: drives it against answers, in the order the test gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from inhabit.contracts.program import Boot, Delivery, Finished, IssuedCall, LogLine, Turn
from inhabit.isolates.python.engine import PythonEngine
from inhabit.limits import Limits

NAMES = ("shop", "mail")
CLOCK_MS = 1_700_000_000_000


class Fails(Exception):
    """An answer that is an error."""

    def __init__(self, code: str, message: str, **more: Any) -> None:
        super().__init__(code)
        self.value = {"code": code, "message": message, **more}


Answers = Mapping[str, Any] | Callable[[IssuedCall, dict[str, Any]], Any]


@dataclass
class Ran:
    finished: Finished
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    logs: list[LogLine] = field(default_factory=list)

    @property
    def value(self) -> Any:
        assert self.finished.ok, self.finished.value
        return orjson.loads(self.finished.value)

    @property
    def error(self) -> dict[str, Any]:
        assert not self.finished.ok, self.finished.value
        return orjson.loads(self.finished.value)


class Host:
    def __init__(self, engine: PythonEngine) -> None:
        self.engine = engine

    def prepare(self, source: str, names: tuple[str, ...] = NAMES) -> str:
        prepared = self.engine.prepare(source, names)
        assert not prepared.problems, prepared.problems
        return prepared.code

    def problems(self, source: str) -> list[tuple[int, str]]:
        return [(problem.line, problem.message) for problem in self.engine.prepare(source, NAMES).problems]

    def run(self, source: str, answers: Answers = {}, *, input: Any = None, limits: Mapping[str, Any] | None = None,  # noqa: B006
            last_first: bool = False, seed: int = 7, prepared: bool = True, tick_ms: int = 5) -> Ran:
        """Prepare and run to the end, one delivery at a time."""
        code = self.prepare(source) if prepared else source
        boot = Boot(code, NAMES, orjson.dumps(input), seed, CLOCK_MS, Limits.of(limits))
        guest = self.engine.create(boot)
        try:
            return self._drive(guest, answers, last_first, tick_ms)
        finally:
            guest.close()

    def _drive(self, guest: Any, answers: Answers, last_first: bool, tick_ms: int) -> Ran:
        ran = Ran(Finished(False, b"{}"))
        clock, waiting = CLOCK_MS, list[IssuedCall]()
        turn = guest.start()
        while True:
            ran.turns.append(turn)
            ran.logs += turn.logs
            ran.calls += [(call.operation, orjson.loads(call.arguments)) for call in turn.calls]
            waiting += turn.calls
            if turn.finished:
                ran.finished = turn.finished
                return ran
            clock += tick_ms
            if waiting:
                delivery = _answer(waiting.pop(-1 if last_first else 0), answers, clock)
            else:
                assert turn.timer, "deadlock"
                clock = max(clock, turn.timer.due_ms)
                delivery = Delivery("timer", turn.timer.id, b"null", clock)
            turn = guest.deliver([delivery])


def _answer(call: IssuedCall, answers: Answers, clock: int) -> Delivery:
    arguments = orjson.loads(call.arguments)
    try:
        value = answers(call, arguments) if callable(answers) else answers.get(call.operation, {"sequence": call.sequence})
        if isinstance(value, Fails):
            raise value
    except Fails as error:
        return Delivery("error", call.sequence, orjson.dumps(error.value), clock)
    return Delivery("result", call.sequence, orjson.dumps(value), clock)
