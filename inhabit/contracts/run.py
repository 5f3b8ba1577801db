"""A run, its states, and the entries its journal is made of.

The journal of a run is a header and then entries numbered from 1 without gaps. Everything else (the state
shown, the live stream, resume, audit) is a reading of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

from inhabit.contracts.principal import Principal
from inhabit.contracts.program import Language
from inhabit.errors import Unavailable

__all__ = [
    "DOUBT", "HOST_RUNG", "TERMINAL_STATES", "Approval", "Asked", "Blobs", "Decided", "Delivered", "Entry", "EntryPage", "Intent", "Journal", "Logged", "Mode",
    "Outcome", "Recorder", "Resumed", "RunEnding", "RunHeader", "RunKind", "RunRecord", "RunState", "RunSummary", "StoredEntry", "Suspended",
    "Terminal", "Ticket", "Verdict", "Write",
]

RunState = Literal["queued", "running", "suspended", "parked", "completed", "failed", "rejected", "rolled_back", "unknown"]
TERMINAL_STATES: frozenset[str] = frozenset({"completed", "failed", "rejected", "rolled_back", "unknown"})
"""`unknown`: the run ended (or its server died) while a call that may write had no recorded result.
(`parked`, which is no end: the run cannot go on here as it is, and says why; each start tries again.)"""


Mode = Literal["live", "plan", "apply"]
"""`plan`: reads are live, writes are held. `apply`: live, with the change set of a plan as its authority."""
RunKind = Literal["program", "plan", "apply", "recheck", "rollback"]
"""What a list tells runs apart by. `recheck`: reads again what a plan read, before it is applied."""
HOST_RUNG = "host"
"""Of runs whose steps the host knows: no program runs in them."""
Verdict = Literal["approve", "reject", "expire", "happened", "not_done", "give_up"]
"""Of people. The last three answer a doubt, which `expire` gives up too."""
DOUBT = ".doubt"
"""In the id of a question that is about a doubt."""


@dataclass(frozen=True, slots=True)
class RunHeader:
    """Fixed at the start of a run. `seed` and `clock_ms` make its random and clock repeatable. `attended`: a person
    can be asked. `labels`: `(name, operation)` of what the run begins with, from its conversation. `plan`: the run
    whose change set this one applies. `token`: the id of the bearer token that started it; the run ends with that.
    `spelled`: `[operation, shape]` of the calls that its source spells out, where the author is vouched for; None: they are not.
    """

    run_id: str
    principal: Principal
    language: Language
    program_hash: str
    source: str
    code: str
    input: bytes
    engine: str
    seed: int
    clock_ms: int
    names: tuple[str, ...] = ()
    grant: Mapping[str, Any] = field(default_factory=dict[str, Any])
    limits: Mapping[str, int] = field(default_factory=dict[str, int])
    policy_version: str = ""
    schema_hashes: Mapping[str, str] = field(default_factory=dict[str, str])
    rung: str = "isolate"
    origin: str = "python"
    parent_run: str | None = None
    mode: Mode = "live"
    attended: bool = False
    labels: tuple[tuple[str, str], ...] = ()
    conversation: str = ""
    plan: str | None = None
    token: str = ""
    spelled: Sequence[Sequence[Any]] | None = None

    @property
    def kind(self) -> RunKind:
        if self.rung == HOST_RUNG:
            return "recheck" if self.mode == "plan" else "rollback"
        return "program" if self.mode == "live" else self.mode


class Intent(NamedTuple):
    """A call about to be made: written before, durable before if it may write. `arguments` is canonical JSON."""

    sequence: int
    operation: str
    arguments: bytes
    decision: Mapping[str, Any]
    schema_hash: str
    idempotency_key: str
    may_write: bool
    idempotent: bool
    at_ms: int


class Outcome(NamedTuple):
    """How a call ended. `value` is JSON: the result, or the error's value when `ok` is False. `binaries`: hashes of the
    bytes that the host kept for this call; a `$binary` that a value merely contains gives a run nothing. `kept`: what a
    handle stands for, where `value` is the handle; the program never sees it. `simulated`: a held write was answered. `seen`: what a
    plan read live, as a version or a hash.
    """

    sequence: int
    ok: bool
    value: bytes
    duration_ms: float
    at_ms: int
    labels: tuple[str, ...] = ()
    binaries: tuple[str, ...] = ()
    simulated: bool = False
    kept: bytes | None = None
    seen: str = ""


class Asked(NamedTuple):
    """A call waits for a person: may it be made, or (`doubt`) did it take effect before the server stopped? `digest` binds
    what is answered for: operation, canonical arguments, run, expiry.
    """

    approval: str
    sequence: int
    operation: str
    digest: str
    rule: str
    reason: str
    at_ms: int
    expires_ms: int

    @property
    def doubt(self) -> bool:
        return DOUBT in self.approval


class Decided(NamedTuple):
    """The answer to an `Asked`, once and for good. `by` is the principal, `credential` how they proved themselves.
    `arguments`: canonical JSON of the edited call, None where it was taken as it stood; of a call that has `happened`, its
    result.
    """

    approval: str
    sequence: int
    verdict: Verdict
    by: str
    credential: str
    reason: str
    at_ms: int
    arguments: bytes | None = None

    @property
    def doubt(self) -> bool:
        return DOUBT in self.approval


class Suspended(NamedTuple):
    """From here on the run holds no worker and no task: it waits for people alone. `usage`: what it has used so far.
    `parked`: the error's value of what keeps it from going on (an engine that is gone), where that is why.
    """

    at_ms: int
    usage: Mapping[str, float]
    parked: Mapping[str, Any] | None = None


class Delivered(NamedTuple):
    """One delivery to the guest, in order. `issued_before`: calls issued before it; the replay's alignment."""

    kind: Literal["result", "error", "timer"]
    id: int
    issued_before: int
    clock_ms: int


class Logged(NamedTuple):
    level: str
    text: str


@dataclass(frozen=True, slots=True)
class Resumed:
    """The run was taken up again by replay; `reissued` lists the calls issued again."""

    at_ms: int
    reason: str
    reissued: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Terminal:
    """The end. `value` is JSON: the full result, or the error's value. `usage`: limits used. `binaries`: hashes in the
    value which the run held: what a door may open for whoever asked.
    """

    state: RunState
    value: bytes
    at_ms: int
    usage: Mapping[str, float] = field(default_factory=dict[str, float])
    binaries: tuple[str, ...] = ()


Entry = Intent | Outcome | Asked | Decided | Suspended | Delivered | Logged | Resumed | Terminal


class Approval(NamedTuple):
    """What a list of approvals shows: an `Asked` with its run, and the answer when there is one."""

    run_id: str
    principal: Principal
    asked: Asked
    decided_ms: int | None = None
    verdict: str | None = None


class Write(NamedTuple):
    """One SQL statement of ours that is committed together with the entries it belongs to."""

    sql: str
    values: tuple[Any, ...]


class StoredEntry(NamedTuple):
    number: int
    entry: Entry


@dataclass(frozen=True, slots=True)
class EntryPage:
    """`last` is the number of the newest entry: there is more after this page while it is greater than the page's."""

    entries: tuple[StoredEntry, ...]
    last: int


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run without its values. `grant`: what it was started under, for whoever decides who may see it; `conversation`:
    the one that it was started in.
    """

    run_id: str
    principal: Principal
    language: Language
    program_hash: str
    state: RunState
    created_ms: int
    ended_ms: int | None
    calls: int
    origin: str
    grant: Mapping[str, Any] = field(default_factory=dict[str, Any])
    limits: Mapping[str, int] = field(default_factory=dict[str, int])
    kind: RunKind = "program"
    conversation: str = ""


@dataclass(frozen=True, slots=True)
class RunEnding:
    """How a run ended (None: it goes on) and the last lines it printed; `logs_cut`: there were more. `parked`: why it
    cannot go on now; `asked`: the questions that it sleeps for.
    """

    terminal: Terminal | None
    logs: tuple[Logged, ...]
    logs_cut: bool = False
    parked: Mapping[str, Any] | None = None
    asked: tuple[Asked, ...] = ()


@dataclass(frozen=True, slots=True)
class RunRecord:
    header: RunHeader
    entries: tuple[StoredEntry, ...]
    state: RunState


class Ticket(Protocol):
    """A place in the journal's queue."""

    async def durable(self) -> None:
        """Return once the entries are on disk (fsynced). Raises `Unavailable` if they cannot be written."""
        ...


class Recorder(Protocol):
    """The power to append to runs, and nothing else: what bridge and driver hold."""

    def append(self, run_id: str, *entries: Entry, also: Sequence[Write] = ()) -> Ticket:
        """`also` is committed with the entries or not at all."""
        ...


class Journal(Recorder, Protocol):
    """Append-only record of runs. An append is ordered when the method returns and on disk when its ticket says so.

    After a failed write every later append raises `Unavailable`: no record, no effect.
    """

    @property
    def failure(self) -> Unavailable | None:
        """Why nothing can be recorded now; None when all is well."""
        ...

    def gauges(self) -> Mapping[str, int]:
        """For whoever watches: `journal_commits` so far, `journal_pending_bytes` on their way to the disk."""
        ...

    def begin(self, header: RunHeader) -> Ticket: ...

    async def read(self, run_id: str, *, tenant: str) -> RunRecord:
        """The whole record, for a replay. Raises `NotFound`, for another tenant's run too, as all that follow do."""
        ...

    async def summary(self, run_id: str, *, tenant: str) -> RunSummary: ...

    async def header(self, run_id: str, *, tenant: str) -> RunHeader:
        """For showing: a long input is `{"$omitted": BYTES}`."""
        ...

    async def ending(self, run_id: str, *, tenant: str) -> RunEnding: ...

    async def page(self, run_id: str, *, tenant: str, after: int = 0, limit: int = 200) -> EntryPage:
        """Entries after number `after`, at most `limit` and about 4 MiB of them; a long value is `{"$omitted": BYTES}`."""
        ...

    async def entry(self, run_id: str, number: int, *, tenant: str) -> StoredEntry | None:
        """One entry, its values whole."""
        ...

    async def child(self, run_id: str, rung: str, *, tenant: str) -> str | None:
        """The newest run of that rung that was begun for this one; None: there is none."""
        ...

    async def list(self, *, tenant: str, user: str | None = None, state: RunState | None = None,
                   before: str | None = None, limit: int = 50) -> Sequence[RunSummary]: ...

    def unfinished(self) -> AsyncIterator[RunRecord]:
        """Runs without a terminal entry, of all tenants: what a start after a crash must settle. One is in memory at a time."""
        ...

    def follow(self, run_id: str, *, tenant: str, after: int = 0) -> AsyncIterator[StoredEntry]:
        """Entries after number `after` as `page` gives them, then live ones, ending after the terminal entry."""
        ...


class Blobs(Protocol):
    """Content-addressed bytes of a tenant. A reference is `{"$binary": HEX_SHA256, "type": MIME, "size": BYTES}`."""

    async def put(self, data: bytes, *, tenant: str, mime: str) -> dict[str, Any]: ...

    async def get(self, reference: Mapping[str, Any], *, tenant: str) -> bytes:
        """Raises `NotFound` for an unknown or another tenant's reference."""
        ...
