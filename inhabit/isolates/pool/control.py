"""What the host and its zygote say to each other: one JSON datagram a message, descriptors beside it.

Both ends are our own code and no guest reaches this socket, so the messages are plain.
host → zygote: the `Settings` first, then `{"fork": LANGUAGE, "ticket": N}` with the worker's end of its socket.
zygote → host: `{"loaded": true}` or `{"broken": WHY, "fix": …}`; `{"forked": N, "pid": PID}` with a pidfd where
the system has them, or `{"failed": N, "why": …}`; and `{"exited": PID, "status": WAITSTATUS}`.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson

from inhabit.isolates.jail import JailPolicy

__all__ = ["Settings", "receive", "send"]

_MESSAGE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Settings:
    """What a zygote is born with. `engines`: language → "module:Class". `looks_s`: how long a worker looks for the host's
    next word before it sleeps.
    """

    engines: Mapping[str, str]
    cache: str
    host_pid: int
    looks_s: float = 0.0
    jail: JailPolicy = field(default_factory=JailPolicy)

    def as_value(self) -> dict[str, Any]:
        return {"engines": dict(self.engines), "cache": self.cache, "host_pid": self.host_pid, "looks_s": self.looks_s,
                "jail": {**asdict(self.jail), "accept_missing": sorted(self.jail.accept_missing), "off": sorted(self.jail.off)}}

    @classmethod
    def from_value(cls, value: Mapping[str, Any]) -> Settings:
        jail = value["jail"]
        policy = JailPolicy(jail["require"], frozenset(jail["accept_missing"]), frozenset(jail["off"]), jail["data_bytes"])
        return cls(value["engines"], value["cache"], value["host_pid"], value["looks_s"], policy)


def send(connection: socket.socket, message: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Raises `OSError` when the other end is gone or its queue is full."""
    socket.send_fds(connection, [orjson.dumps(message)], list(descriptors))


def receive(connection: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """One message and its descriptors (close-on-exec); None at the end."""
    data, descriptors, _, _ = socket.recv_fds(connection, _MESSAGE_BYTES, 2)
    return (orjson.loads(data) if data else None), descriptors
