"""The process that workers are forked from: one thread, everything loaded, nothing of any tenant.

Model: the host starts it with an empty environment and one socket. It loads the engines once; then every request
to fork gives a worker that shares what was loaded, enters the jail by its own hand, and serves one language.
The zygote never reads a byte that a guest wrote: a worker's socket passes through it unread.
It ends when the host's end of the socket closes, and is killed when the host dies; its workers die with it.

An engine whose interpreter is a child of its own has two more methods than `Engine`: `executables()`, the files
that the child needs, asked here; and `attach()`, called in the worker once it is confined but for the last step.
One that needs a thread has `keep_time()`, called there as well.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import select
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from inhabit.contracts.program import Engine
from inhabit.errors import InhabitError
from inhabit.isolates.jail.enter import Entrance, Jail, die_with_parent, open_descriptors
from inhabit.isolates.jail.policy import Layer
from inhabit.isolates.pool.control import Settings, receive, send
from inhabit.isolates.worker import Worker
from inhabit.wire.frames import Kind, frame
from inhabit.wire.replies import Ready, ReportedLayer, encode_failed

__all__ = ["main"]


@runtime_checkable
class Spawning(Protocol):
    def executables(self) -> Sequence[str]: ...

    def attach(self) -> None: ...


@runtime_checkable
class Timekeeping(Protocol):
    def keep_time(self) -> None: ...


class Zygote:
    def __init__(self, control: socket.socket, settings: Settings) -> None:
        self._control = control
        self._looks_s = settings.looks_s
        self._engines = {language: _load(where, settings.cache) for language, where in settings.engines.items()}
        needed = [path for engine in self._engines.values() if isinstance(engine, Spawning) for path in engine.executables()]
        self._jail = Jail(settings.jail, needed)
        self._kept = frozenset(open_descriptors() - {control.fileno()})   # the engines' own: images in memory
        self._children: dict[int, int] = {}   # pidfd → pid
        gc.collect()
        gc.freeze()

    def serve(self) -> None:
        """Fork on request, reap on exit, until the host closes its end."""
        control = self._control.fileno()
        poll = select.poll()
        poll.register(control, select.POLLIN)
        while True:
            for descriptor, _ in poll.poll():
                if descriptor != control:
                    poll.unregister(descriptor)
                    self._reap(descriptor)
                    continue
                message, descriptors = receive(self._control)
                if message is None:
                    return
                child = self._fork(message["fork"], message["ticket"], descriptors[0])
                if child is not None:
                    poll.register(child, select.POLLIN)

    def _fork(self, language: str, ticket: int, descriptor: int) -> int | None:
        try:
            pid = self._jail.fork(self._kept | {descriptor}, lambda entrance: self._become(language, descriptor, entrance))
        except OSError as error:
            send(self._control, {"failed": ticket, "why": str(error)})
            return None
        finally:
            os.close(descriptor)
        if not hasattr(os, "pidfd_open"):
            send(self._control, {"forked": ticket, "pid": pid})
            return None
        child = os.pidfd_open(pid)
        self._children[child] = pid
        send(self._control, {"forked": ticket, "pid": pid}, [child])
        return child

    def _reap(self, child: int) -> None:
        pid = self._children.pop(child)
        os.close(child)
        _, status = os.waitpid(pid, 0)
        send(self._control, {"exited": pid, "status": status})

    def _become(self, language: str, descriptor: int, entrance: Entrance) -> None:
        """In the worker: confine this process, then serve until the host is gone."""
        connection = socket.socket(fileno=descriptor)
        engine: Engine = self._engines[language]
        try:
            layers = self._jail.confine(entrance, engine.attach if isinstance(engine, Spawning) else None,
                                        engine.keep_time if isinstance(engine, Timekeeping) else None)
        except Exception as error:   # noqa: BLE001 - the host must hear why this worker never got ready
            connection.sendall(frame(Kind.FAILED, 0, encode_failed(error)))
            return
        Worker(connection, {language: engine}, looks_s=self._looks_s).serve(Ready({language: engine.version}, _reported(layers)))


def _reported(layers: Sequence[Layer]) -> tuple[ReportedLayer, ...]:
    return tuple(ReportedLayer(layer.name, layer.active, layer.detail, layer.fix) for layer in layers)


def _load(where: str, cache: str) -> Any:
    module, _, name = where.partition(":")
    return getattr(importlib.import_module(module), name).load(Path(cache))


def main(descriptor: int) -> None:
    """Entry of the process: the control socket is `descriptor`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)   # Ctrl-C reaches the whole group; the host decides
    if not hasattr(os, "pidfd_open"):
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    control = socket.socket(fileno=descriptor)
    message, _ = receive(control)
    if message is None:
        return
    settings = Settings.from_value(message)
    if sys.platform == "linux":
        die_with_parent()
        if os.getppid() != settings.host_pid:
            return
    try:
        zygote = Zygote(control, settings)
    except Exception as error:   # noqa: BLE001 - whatever an engine's loading fails with, the host says it
        shown = error.message if isinstance(error, InhabitError) else f"{type(error).__name__}: {error}"
        send(control, {"broken": shown, "fix": getattr(error, "fix", None)})
        return
    with contextlib.suppress(OSError):   # the host is gone: so are we
        send(control, {"loaded": True})
        zygote.serve()
