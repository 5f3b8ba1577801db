"""A connector turns something that exists into operations, and carries out calls of them.

The runtime has already checked the arguments against the schema, decided, and written the intent when `call`
is reached; a connector never decides and never journals.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from inhabit.contracts.operation import Operation
from inhabit.contracts.outbound import Outbound
from inhabit.contracts.principal import Principal
from inhabit.contracts.run import Blobs

__all__ = ["Call", "Connections", "Connector", "ConnectorContext", "ConnectorProblem", "Secret"]


class Secret:
    """A credential value whose printable form is safe by construction. `reveal()` is the one way out."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret(redacted)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "Secret(redacted)"

    def __reduce__(self) -> Any:
        raise TypeError("a Secret is never pickled")


class Connections(Protocol):
    """Upstream credentials, one per principal and connector."""

    async def credential(self, connector: str, principal: Principal) -> Mapping[str, Secret]:
        """The named values of this principal's connection (`{"token": …}`), refreshed if they had expired.
        Raises `MissingConnection`, naming the connector and how to connect."""
        ...


class Call(NamedTuple):
    """One decided, journaled call. `deadline_s` is in `asyncio` loop time. `preview`: it is to say what a write would do; a
    connector gives it no way out and nothing to write with, or refuses it. `planned`: members that the plan which asks has given the
    thing so far, None where it has not touched it.
    """

    operation: Operation
    arguments: dict[str, Any]
    principal: Principal
    run_id: str
    sequence: int
    idempotency_key: str
    deadline_s: float
    blobs: Blobs
    progress: Callable[[str], None] = lambda _text: None
    preview: bool = False
    planned: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ConnectorProblem:
    """A part of a source that could not be used; the rest was. `pointer` is a JSON pointer or tool name."""

    connector: str
    pointer: str
    reason: str


@dataclass(frozen=True, slots=True)
class ConnectorContext:
    """What a connector is given when it opens. `changed` is called when its operations are other ones."""

    outbound: Outbound
    connections: Connections
    cache: Path
    changed: Callable[[Connector], Awaitable[None]]
    secret: Callable[[str], Awaitable[Secret | None]]
    """An operator's secret by name ; None when it does not resolve. Raises `Unavailable` when where it lies does not answer."""


class Connector(Protocol):
    """`name` is the capability prefix: every operation is `name.…`."""

    name: str

    async def open(self, context: ConnectorContext) -> None:
        """Load descriptions; dial as little as possible. Raises `ConfigError` when the source is unusable."""
        ...

    def fingerprint(self) -> str:
        """Changes whenever `operations()` would; cheap, so that an index can be kept."""
        ...

    def operations(self) -> Iterable[Operation]:
        """All operations, for indexing."""
        ...

    def operation(self, name: str) -> Operation | None:
        """One operation by full name, lazily."""
        ...

    def problems(self) -> tuple[ConnectorProblem, ...]: ...

    async def call(self, call: Call) -> Any:
        """Carry out; returns plain JSON data. Raises `CallError` kinds."""
        ...

    async def close(self) -> None: ...
