"""A little host around the JavaScript engine: prepares a program, answers its calls one by one, fires its timers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from inhabit.contracts.program import Boot, Delivery, IssuedCall, LogLine, Turn
from inhabit.isolates.javascript import JavaScriptEngine
from inhabit.limits import Limits

CLOCK_MS = 1_700_000_000_000
Answer = Callable[[IssuedCall], Any]


class OperationFailed(Exception):
    """Raised by an answer function: the call is answered with this error value."""

    def __init__(self, value: dict[str, Any]) -> None:
        self.value = value


class ProgramFailed(Exception):
    """The program ended with an uncaught error; its fields are in `error`."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error.get("message"))
        self.error = error


@dataclass
class Outcome:
    value: Any = None
    calls: list[tuple[str, Any]] = field(default_factory=list)
    logs: list[LogLine] = field(default_factory=list)
    trace: list[Any] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)


@dataclass
class Host:
    engine: JavaScriptEngine

    def boot(self, source: str, names: tuple[str, ...] = ("shop",), input: Any = None, seed: int = 7, **limits: int) -> Boot:
        prepared = self.engine.prepare(source, names)
        assert prepared.problems == (), prepared.problems
        return Boot(prepared.code, names, json.dumps(input).encode(), seed, CLOCK_MS, Limits(**limits))

    def run(self, source: str, answer: Answer = lambda call: None, *, last_first: bool = False, input: Any = None, seed: int = 7,
            names: tuple[str, ...] = ("shop",), **limits: int) -> Outcome:
        """To the end. Calls are answered in order (or newest first), each as a delivery of its own."""
        guest = self.engine.create(self.boot(source, names, input, seed, **limits))
        outcome, waiting, clock = Outcome(), [], CLOCK_MS
        try:
            turn = guest.start()
            while True:
                self._note(outcome, turn)
                waiting += turn.calls
                if turn.finished is not None:
                    break
                clock += 5
                if waiting:
                    delivery = self._answered(waiting.pop(-1 if last_first else 0), answer, clock)
                else:
                    assert turn.timer is not None, "deadlock"
                    clock = max(clock, turn.timer.due_ms)
                    delivery = Delivery("timer", turn.timer.id, b"", clock)
                turn = guest.deliver([delivery])
        finally:
            guest.close()
        outcome.value = json.loads(turn.finished.value)
        if not turn.finished.ok:
            raise ProgramFailed(outcome.value)
        return outcome

    def value(self, source: str, answer: Answer = lambda call: None, **options: Any) -> Any:
        return self.run(source, answer, **options).value

    def error(self, source: str, answer: Answer = lambda call: None, **options: Any) -> dict[str, Any]:
        try:
            value = self.run(source, answer, **options).value
        except ProgramFailed as failed:
            return failed.error
        raise AssertionError(f"the program succeeded with {value!r}")

    @staticmethod
    def _note(outcome: Outcome, turn: Turn) -> None:
        outcome.turns.append(turn)
        outcome.calls += [(call.operation, json.loads(call.arguments)) for call in turn.calls]
        outcome.logs += turn.logs
        outcome.trace.append((turn.calls, turn.issued_before, turn.timer, turn.finished, turn.logs))

    @staticmethod
    def _answered(call: IssuedCall, answer: Answer, clock: int) -> Delivery:
        try:
            return Delivery("result", call.sequence, json.dumps(answer(call)).encode(), clock)
        except OperationFailed as failed:
            return Delivery("error", call.sequence, json.dumps(failed.value).encode(), clock)


def loaded(config: pytest.Config) -> Host:
    """A host around the engine; images are kept in pytest's own cache, so that only the first run builds them."""
    engine = JavaScriptEngine.load(config.cache.mkdir("inhabit-images"))
    engine.keep_time()
    return Host(engine)
