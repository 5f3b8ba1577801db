"""One running Python program: deliveries in, turns out, limits kept.

Model: Monty runs until it must ask; each question is a snapshot. Calls of operations are answered at once with
a promise, so a program goes on issuing until every task of it waits; that is the quiescent point, a
`FutureSnapshot`, and it is kept. A delivery settles one promise and the program is driven to the next quiescent
point before the next delivery is looked at. `time.sleep` stops the whole program, so the snapshot of the sleep
itself is kept; results that arrive meanwhile wait their turn in order of arrival. A call outside of any function
(`rewrite` marks it) stops the program in the same way: nothing else could run, and it saves a question.

A name of the run (`shop`) and everything under it is a proxy that answers any attribute. Calls written in full
(`shop.orders.list(...)`) were made plain functions by `rewrite` and need no proxy.

CPU is that of the child and of this process, read between questions; inside one stretch of guest code Monty's own
clock stops it. Both count computing only. After `LimitExceeded` or `WorkerLost` the guest is dead.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import Any, cast
from uuid import UUID

import orjson
from pydantic_monty import (
    ClassInstance,
    FunctionSnapshot,
    FutureSnapshot,
    MontyComplete,
    MontyConversionError,
    MontyCrashedError,
    MontyError,
    NameLookupSnapshot,
    SyncSnapshot,
)

from inhabit.contracts.program import Boot, Delivery, Finished, IssuedCall, Timer, Turn, Usage
from inhabit.errors import LimitExceeded, WorkerLost
from inhabit.isolates.python.ambient import MAX_SLEEP_MS, Ambient
from inhabit.isolates.python.child import Child, Session
from inhabit.isolates.python.failures import OperationErrors, failure_of
from inhabit.isolates.python.modules import Modules
from inhabit.isolates.python.output import Output
from inhabit.isolates.python.plan import DOT, ERROR_FIELD, PRELUDE, Plan
from inhabit.isolates.python.values import NotData, to_json

__all__ = ["PythonGuest"]

_PROMISE: Any = {"future": ...}
_MEMORY_WORDS = ("memory limit exceeded", "exceeded its memory limit")
_TIME_WORDS = "time limit exceeded"


class operations:
    """What a namespace is in the guest: nothing but its path. The class's name is what a program sees printed."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path


@functools.lru_cache(maxsize=4096)
def _function(name: str) -> Callable[[], None]:
    """A host function as Monty knows it: a name. It is never called here."""
    def function() -> None: ...
    function.__name__ = name
    return function


class PythonGuest:
    """Implements `inhabit.contracts.program.Guest`."""

    def __init__(self, child: Child, boot: Boot) -> None:
        self._child = child
        self._boot = boot
        self._limits = boot.limits
        self._plan = Plan.read(boot.code)
        self._ambient = Ambient(boot.seed, boot.clock_ms)
        self._modules = Modules(self._ambient)
        self._errors = OperationErrors()
        self._output = Output(boot.limits.log_bytes)
        self._session: Session | None = None
        self._waiting: SyncSnapshot | None = None
        self._namespaces: dict[UUID, str] = {}
        self._outstanding: dict[int, tuple[int, str]] = {}  # sequence → Monty's id of the call, operation
        self._settled: dict[int, Any] = {}                  # Monty's id → outcome, in order of arrival
        self._timers: dict[int, tuple[int, int, Any]] = {}   # id → due, Monty's id, value
        self._issued = 0
        self._timer_ids = 0
        self._calls: list[IssuedCall] = []
        self._finished: Finished | None = None

    # -- the protocol ---------------------------------------------------------------------------------------

    def start(self) -> Turn:
        """Run to the first quiescent point. Raises `LimitExceeded` or `WorkerLost`."""
        with self._stopping():
            session = self._open()
            if self._plan.prelude:
                session.monty.feed_run(PRELUDE)
            self._advance(session.monty.feed_start(self._boot.code, inputs=self._inputs(), print_callback=self._output.write))
        return self._turn(())

    def deliver(self, deliveries: Sequence[Delivery]) -> Turn:
        """Settle each, draining between them. Raises `LimitExceeded` or `WorkerLost`."""
        assert self._session is not None
        self._session.go_on()
        issued_before: list[int] = []
        for delivery in deliveries:   # each is answered for, also those that come after the one the program failed over
            issued_before.append(self._issued)
            self._ambient.clock_ms = delivery.clock_ms
            if self._finished is None:
                with self._stopping():
                    self._settle(delivery)
        return self._turn(issued_before)

    def close(self) -> None:
        if self._session is not None:
            self._session.close()
        self._waiting = None

    # -- one turn -------------------------------------------------------------------------------------------

    def _open(self) -> Session:
        limits = self._limits
        self._session = self._child.open(
            cpu_s=limits.cpu_ms / 1000, memory_bytes=limits.memory_bytes, script_name="program.py",
            os_policy=self._ambient.policy(), external_modules=self._modules.provided)
        return self._session

    def _inputs(self) -> dict[str, Any]:
        roots = self._boot.names
        given: dict[str, Any] = {"input": orjson.loads(self._boot.input)}
        for name in self._plan.operations:
            if name.partition(".")[0] in roots:
                given[name.replace(".", DOT)] = _function(name.replace(".", DOT))
        return given

    def _turn(self, issued_before: Sequence[int]) -> Turn:
        calls, self._calls = tuple(self._calls), []
        assert self._session is not None
        usage = Usage(self._session.rest())
        if self._finished is not None:
            self.close()
        return Turn(calls, tuple(issued_before), self._finished, None if self._finished else self._next_timer(),
                    self._output.take(), usage)

    def _next_timer(self) -> Timer | None:
        if not self._timers:
            return None
        due, number = min((due, number) for number, (due, _, _) in self._timers.items())
        return Timer(number, due)

    @contextlib.contextmanager
    def _stopping(self) -> Any:
        """Turns what Monty raises into the program's end, or into an error of ours with the guest dead."""
        try:
            yield
        except MontyError as error:
            self._ended(error)
        except (LimitExceeded, WorkerLost):
            self.close()
            raise

    def _ended(self, error: MontyError) -> None:
        if isinstance(error, MontyCrashedError):
            self.close()
            gone = self._child.gone(str(error))
            raise self._cpu_limit() if error.timed_out else gone
        text = str(error)
        if any(words in text for words in _MEMORY_WORDS):
            self._child.lost = self._child.lost or "terminated" in text
            self.close()
            raise LimitExceeded.of("memory_bytes", self._limits.memory_bytes, "bytes", what="the program",
                                   fix="keep less at once, or work page by page")
        if _TIME_WORDS in text:
            self.close()
            raise self._cpu_limit()
        if isinstance(error, MontyConversionError):
            self._fail({"name": "TypeError", "message": text})
        else:
            self._fail(failure_of(error, self._errors))

    def _fail(self, value: dict[str, Any]) -> None:
        self._finished = Finished(False, orjson.dumps(value))

    def _cpu_limit(self) -> LimitExceeded:
        return LimitExceeded.of("cpu_ms", self._limits.cpu_ms, "ms of computing", what="the program",
                                fix="do less in the program, or ask the operation for less")

    # -- driving --------------------------------------------------------------------------------------------

    def _advance(self, snapshot: SyncSnapshot) -> None:
        """Answer until the guest waits for the host or ends."""
        session = self._session
        assert session is not None
        while True:
            if session.cpu_ms() > self._limits.cpu_ms:
                raise self._cpu_limit()
            if isinstance(snapshot, MontyComplete):
                return self._complete(snapshot)
            if isinstance(snapshot, FutureSnapshot):
                ready = self._ready(snapshot.pending_call_ids)
                if ready is None:
                    self._waiting = snapshot
                    return None
                snapshot = snapshot.resume(ready)
            elif isinstance(snapshot, NameLookupSnapshot):
                snapshot = self._look_up(snapshot)
            else:
                following = self._ask(snapshot)
                if following is None:
                    self._waiting = snapshot
                    return None
                snapshot = following

    def _complete(self, snapshot: MontyComplete) -> None:
        try:
            self._finished = Finished(True, to_json(snapshot.output, "the program's result", self._limits.value_bytes))
        except NotData as error:
            self._fail({"name": "TypeError", "message": str(error), "code": "result_not_json"})

    def _ready(self, pending: Sequence[int]) -> dict[int, Any] | None:
        """The outcome that arrived first of those the program waits for now."""
        for call_id in self._settled:
            if call_id in pending:
                return {call_id: self._settled.pop(call_id)}
        return None

    def _settle(self, delivery: Delivery) -> None:
        """What nobody waits for changes nothing: a replay that takes another path than its record is told by its calls."""
        waiting = self._waiting
        if delivery.id not in (self._timers if delivery.kind == "timer" else self._outstanding):
            return None
        if delivery.kind == "timer":
            _, call_id, outcome = self._timers.pop(delivery.id)
        else:
            call_id, operation = self._outstanding.pop(delivery.id)
            outcome = self._outcome(delivery, operation)
        self._settled[call_id] = outcome
        if isinstance(waiting, FunctionSnapshot) and call_id == waiting.call_id:
            self._waiting = None
            return self._advance(waiting.resume(self._settled.pop(call_id)))
        if isinstance(waiting, FutureSnapshot) and call_id in waiting.pending_call_ids:
            self._waiting = None
            return self._advance(waiting)
        return None

    def _outcome(self, delivery: Delivery, operation: str) -> Any:
        value = orjson.loads(delivery.value)
        if delivery.kind == "result":
            return {"return_value": value}
        return {"exc_type": "RuntimeError", "message": self._errors.note(value, operation)}

    # -- questions ------------------------------------------------------------------------------------------

    def _look_up(self, snapshot: NameLookupSnapshot) -> SyncSnapshot:
        name = snapshot.variable_name
        if snapshot.object_id is not None:
            path = self._namespaces.get(snapshot.object_id)
            if path is None or name.startswith("_"):
                return snapshot.resume()
            return snapshot.resume(value=self._namespace(f"{path}.{name}"))
        if name in self._boot.names:
            return snapshot.resume(value=self._namespace(name))
        if self._operation_of(name):
            return snapshot.resume(value=_function(name))
        return snapshot.resume()

    def _namespace(self, path: str) -> ClassInstance:
        proxy = ClassInstance(operations(path), lazy_attrs="all", allowed_methods="all")
        self._namespaces[proxy.id] = path
        return proxy

    def _operation_of(self, name: str) -> str | None:
        root, dot, _ = name.partition(DOT)
        return name.rstrip(DOT).replace(DOT, ".") if dot and root in self._boot.names else None

    def _ask(self, snapshot: FunctionSnapshot) -> SyncSnapshot | None:
        """The next snapshot, or None when the program is held."""
        name = str(snapshot.function_name)
        if snapshot.is_os_function:
            return self._system(snapshot, name)
        if snapshot.object_id is not None:
            path = self._namespaces.get(snapshot.object_id)
            if path is not None and not (name.startswith("_") and name != "__call__"):
                return self._call(snapshot, path if name == "__call__" else f"{path}.{name}")
        elif (operation := self._operation_of(name)) is not None:
            return self._call(snapshot, operation, held=name.endswith(DOT))
        elif name == ERROR_FIELD:
            return snapshot.resume(self._errors.field(snapshot.args))
        elif (answer := self._modules.call(name, snapshot)) is not None:
            return snapshot.resume(answer)
        return snapshot.resume({"exc_type": "NameError", "message": f"name '{name}' is not defined"})

    def _call(self, snapshot: FunctionSnapshot, operation: str, *, held: bool = False) -> SyncSnapshot | None:
        try:
            arguments = to_json(_arguments(snapshot, operation), f"the arguments of {operation}", self._limits.value_bytes)
        except NotData as error:
            return snapshot.resume({"exc_type": "TypeError", "message": str(error)})
        limits = self._limits
        if self._issued >= limits.calls:
            raise LimitExceeded.of("calls", limits.calls, "calls")
        if len(self._outstanding) >= limits.calls_in_flight:
            raise LimitExceeded.of("calls_in_flight", limits.calls_in_flight, "calls at once",
                                   fix="await them in smaller groups")
        self._issued += 1
        self._calls.append(IssuedCall(self._issued, operation, arguments))
        self._outstanding[self._issued] = (snapshot.call_id, operation)
        return None if held else snapshot.resume(_PROMISE)

    def _system(self, snapshot: FunctionSnapshot, name: str) -> SyncSnapshot | None:
        if name == "import":
            return snapshot.resume_auto() if snapshot.args[0] in self._modules.provided else snapshot.resume_not_handled()
        if name in {"asyncio.sleep", "time.sleep"}:
            return self._sleep(snapshot, name)
        answer: Any = self._ambient.answer(name, snapshot.args)
        return snapshot.resume_not_handled() if answer is None else snapshot.resume(answer)

    def _sleep(self, snapshot: FunctionSnapshot, name: str) -> SyncSnapshot | None:
        seconds = float(snapshot.args[0]) if snapshot.args else 0.0
        value = snapshot.args[1] if len(snapshot.args) > 1 else None
        outcome: Any = {"return_value": value}
        if not seconds > 0:
            return self._yield(snapshot, outcome, name)
        if len(self._timers) >= self._limits.timers:
            raise LimitExceeded.of("timers", self._limits.timers, "pending timers")
        blocking = name == "time.sleep"
        self._timer_ids += 1
        due = self._ambient.clock_ms + int(min(seconds * 1000, MAX_SLEEP_MS))
        self._timers[self._timer_ids] = (due, snapshot.call_id, outcome)
        return None if blocking else snapshot.resume(_PROMISE)

    def _yield(self, snapshot: FunctionSnapshot, outcome: Any, name: str) -> SyncSnapshot:
        """A sleep of nothing lets the other tasks run, and needs no timer."""
        if name == "time.sleep":
            return snapshot.resume(outcome)
        self._settled[snapshot.call_id] = outcome
        return snapshot.resume(_PROMISE)


def _arguments(snapshot: FunctionSnapshot, operation: str) -> dict[Any, Any]:
    """Keyword arguments, or one positional dict. Raises `NotData` for anything else."""
    args, kwargs = snapshot.args, snapshot.kwargs
    if not args:
        return kwargs
    if len(args) == 1 and not kwargs and isinstance(args[0], dict):
        return cast("dict[Any, Any]", args[0])
    raise NotData(f"{operation} takes keyword arguments, such as {operation}(name=value)")
