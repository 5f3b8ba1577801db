"""A program, what the check learns of it, and the shapes a host and an isolate exchange.

Determinism rests on three rules that every engine keeps:
1. A guest acts only when started or delivered to; between deliveries it is quiescent.
2. One result per delivery: jobs are drained until nothing can run before the next one is settled.
3. Clock, timers and random come from `Boot` and `Delivery` alone.
So the sequence of deliveries decides everything a guest does, and a replay of it takes the same path.

What is made anew for every call is a named tuple: a third of the time of a frozen dataclass.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from inhabit.limits import DEFAULT_LIMITS, Limits

__all__ = [
    "Boot", "CallSite", "Delivery", "Engine", "Finished", "Guest", "Isolate", "IsolatePool", "IssuedCall",
    "Language", "LogLine", "Prepared", "Problem", "Program", "Timer", "Turn", "Usage",
]

Language = Literal["typescript", "python"]
"""JavaScript is TypeScript without types; "javascript" is accepted at the doors as another word for it."""


@dataclass(frozen=True, slots=True)
class Program:
    """Source as the model wrote it (fences and all)."""

    source: str
    language: Language

    @property
    def hash(self) -> str:
        return hashlib.sha256(f"{self.language}\n{self.source}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a program cannot run. Lines and columns count from 1, in the source as given."""

    message: str
    line: int = 0
    column: int = 0
    code: str = "syntax"
    nearest: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CallSite:
    """A call that the source plainly makes: `shop.orders.list({since: "x"})`.

    `arguments` is what can be known without running, as plain JSON data ("shape"):
    `{"kind": "object", "properties": {NAME: shape}, "open": bool}` (open: a spread or computed key is present),
    `{"kind": "array", "items": [shape], "open": bool}`, `{"kind": "literal", "value": v}`,
    `{"kind": "string" | "number" | "boolean"}` or `{"kind": "unknown"}`, which has `"input": [name, …]` where the text reads as
    that member of the run's input. None: called with no argument.
    Python keyword arguments give an object shape.
    """

    path: str
    line: int
    column: int
    arguments: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """`code` is what the engine executes and the journal keeps (types stripped, wrapper applied)."""

    code: str
    calls: tuple[CallSite, ...] = ()
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Boot:
    """All a guest is born with. `names`: the top-level namespaces it sees (`shop`, `github`).

    `input` is JSON; the guest reads it as `input`. `seed` feeds its random; `clock_ms` is Unix time.
    """

    code: str
    names: tuple[str, ...]
    input: bytes = b"null"
    seed: int = 0
    clock_ms: int = 0
    limits: Limits = DEFAULT_LIMITS


class IssuedCall(NamedTuple):
    """`sequence` counts from 1 in program order. `arguments` is JSON text of one object, still unchecked."""

    sequence: int
    operation: str
    arguments: bytes


class Timer(NamedTuple):
    id: int
    due_ms: int


class LogLine(NamedTuple):
    level: Literal["log", "info", "warn", "error", "debug"]
    text: str


class Delivery(NamedTuple):
    """One event given to a guest. `id` is the call's sequence or the timer's id; `value` is JSON:
    the result, or for an error `{code, message, ...}`. `clock_ms` becomes the guest's time.
    """

    kind: Literal["result", "error", "timer"]
    id: int
    value: bytes
    clock_ms: int


class Finished(NamedTuple):
    """`value` is JSON: the program's result, or for `ok=False` `{name, message, stack?, code?}`."""

    ok: bool
    value: bytes


class Usage(NamedTuple):
    cpu_ms: float = 0.0
    memory_bytes: int = 0


class Turn(NamedTuple):
    """What a guest did between two quiescent points.

    `issued_before[i]` is how many calls had been issued, in the whole run, before delivery i of this batch
    was settled. `timer` is the earliest pending timer. A turn without `finished`, without outstanding calls
    and without a timer is a deadlock, which the host names.
    """

    calls: tuple[IssuedCall, ...] = ()
    issued_before: tuple[int, ...] = ()
    finished: Finished | None = None
    timer: Timer | None = None
    logs: tuple[LogLine, ...] = ()
    usage: Usage = Usage()


class Guest(Protocol):
    """A running program inside the worker. Synchronous: the worker has one thread.

    Raises `LimitExceeded` when a bound is reached; the guest is dead then.
    """

    def start(self) -> Turn: ...

    def deliver(self, deliveries: Sequence[Delivery]) -> Turn: ...

    def close(self) -> None: ...


class Engine(Protocol):
    """An interpreter inside the worker. `version` names engine and image; it goes into the journal."""

    language: Language
    version: str

    def prepare(self, source: str, names: tuple[str, ...]) -> Prepared:
        """Strip, parse, find call sites. Never raises for bad source: problems are values."""
        ...

    def typecheck(self, code: str, stubs: str) -> tuple[Problem, ...]:
        """Check against declarations, where the engine can. An engine that cannot returns ()."""
        ...

    def create(self, boot: Boot) -> Guest: ...


class Isolate(Protocol):
    """The host's end of one guest in a jailed worker.

    Raises `LimitExceeded`, `WorkerLost` or `ProtocolError`; after any of them only `close` may be called.
    """

    engine_version: str

    async def prepare(self, program: Program, names: tuple[str, ...]) -> Prepared: ...

    async def typecheck(self, code: str, stubs: str) -> tuple[Problem, ...]: ...

    async def start(self, boot: Boot) -> Turn: ...

    async def deliver(self, deliveries: Sequence[Delivery]) -> Turn: ...

    async def close(self) -> None:
        """Release the isolate; idempotent; never raises."""
        ...


class IsolatePool(Protocol):
    """Jailed workers, each bound to one tenant from its first run until it dies."""

    async def start(self) -> None: ...

    async def acquire(self, language: Language, tenant: str, limits: Limits) -> Isolate: ...

    async def close(self) -> None: ...
