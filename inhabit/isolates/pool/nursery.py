"""The host's end of the zygote: started when first needed, started again when it dies, asked for workers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from typing import Any

from inhabit.errors import InhabitError, Unavailable
from inhabit.isolates.pool.control import Settings, receive, send
from inhabit.isolates.pool.process import WorkerProcess

__all__ = ["Nursery"]

_BOOT = "import sys; sys.path[:] = {path!r}; from inhabit.isolates.pool.zygote import main; main({descriptor})"
_LOAD_S = 120   # the first start of a version compiles the engine's image
_FORK_S = 20
_END_S = 5


class Nursery:
    """One zygote at a time. Workers of a zygote that died are dead too."""

    def __init__(self, loop: asyncio.AbstractEventLoop, settings: Settings) -> None:
        self._loop = loop
        self._settings = settings
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._loaded: asyncio.Future[None] | None = None
        self._tickets: dict[int, asyncio.Future[WorkerProcess]] = {}
        self._next = 0
        self._endings: set[asyncio.Task[None]] = set()

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    async def fork(self, language: str) -> tuple[socket.socket, WorkerProcess]:
        """A new worker, not yet READY. Raises `Unavailable`."""
        await self._running()
        ours, theirs = socket.socketpair()
        self._next += 1
        ticket = self._next
        answer = self._tickets[ticket] = self._loop.create_future()
        try:
            with theirs:
                self._send({"fork": language, "ticket": ticket}, [theirs.fileno()])
            async with asyncio.timeout(_FORK_S):
                return ours, await answer
        except BaseException as error:
            ours.close()
            if answer.done() and not answer.cancelled() and answer.exception() is None:
                answer.result().kill()   # it came as its asker left
            if isinstance(error, TimeoutError):
                raise Unavailable("a worker could not be forked in time", fix="look at the load of the machine") from None
            raise
        finally:
            self._tickets.pop(ticket, None)

    async def close(self) -> None:
        """End the zygote; its workers die with it."""
        self._drop(Unavailable("the pool was closed"))
        await asyncio.gather(*self._endings)

    # -- the process --------------------------------------------------------------------------------------

    async def _running(self) -> None:
        if self._loaded is None:
            self._start()
        loaded = self._loaded
        assert loaded is not None
        try:
            async with asyncio.timeout(_LOAD_S):
                await asyncio.shield(loaded)
        except TimeoutError:
            self._drop(Unavailable("the engines did not load in time"))
            raise Unavailable(f"the engines did not load within {_LOAD_S} s", fix="look at the load of the machine") from None

    def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET if sys.platform == "linux" else socket.SOCK_DGRAM)
        path = [os.path.abspath(each) for each in sys.path]
        with theirs:
            command = [sys.executable, "-I", "-c", _BOOT.format(path=path, descriptor=theirs.fileno())]
            self._process = subprocess.Popen(
                command, env={}, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()], close_fds=True)
        ours.setblocking(False)
        self._control = ours
        self._loaded = self._loop.create_future()
        self._loaded.add_done_callback(lambda future: future.cancelled() or future.exception())   # heard or not
        self._loop.add_reader(ours.fileno(), self._heard)
        self._send(self._settings.as_value())

    def _send(self, message: dict[str, Any], descriptors: list[int] | None = None) -> None:
        if self._control is None:
            raise Unavailable("the process that forks workers ended")
        try:
            send(self._control, message, descriptors or [])
        except OSError as error:
            self._drop(Unavailable(f"the process that forks workers cannot be reached: {error}"))
            raise Unavailable("the process that forks workers ended", fix="try again: it is started anew") from None

    def _heard(self) -> None:
        assert self._control is not None
        try:
            message, descriptors = receive(self._control)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            message, descriptors = None, []
        if message is None:
            self._drop(Unavailable("the process that forks workers ended", fix="try again: it is started anew"))
            return
        self._act(message, descriptors[0] if descriptors else None)

    def _act(self, message: dict[str, Any], descriptor: int | None) -> None:
        if "loaded" in message and self._loaded and not self._loaded.done():
            self._loaded.set_result(None)
        elif "broken" in message:
            self._drop(Unavailable(f"the engines cannot be loaded: {message['broken']}", fix=message.get("fix")))
        elif "forked" in message:
            worker = WorkerProcess(message["pid"], descriptor)
            waiting = self._tickets.pop(message["forked"], None)
            if waiting is None or waiting.done():
                worker.kill()
            else:
                waiting.set_result(worker)
        elif "failed" in message:
            waiting = self._tickets.pop(message["failed"], None)
            if waiting is not None and not waiting.done():
                waiting.set_exception(Unavailable(f"a worker could not be forked: {message['why']}"))

    def _drop(self, error: InhabitError) -> None:
        """Forget this zygote; the next fork starts another."""
        if self._control is not None:
            self._loop.remove_reader(self._control.fileno())
            self._control.close()
            self._control = None
        for waiting in (*self._tickets.values(), *([self._loaded] if self._loaded else [])):
            if not waiting.done():
                waiting.set_exception(error)
        self._loaded = None
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            self._endings.add(task := self._loop.create_task(self._ended(process)))
            task.add_done_callback(self._endings.discard)

    async def _ended(self, process: subprocess.Popen[bytes]) -> None:
        """Reap a zygote whose socket was closed; kill it if it stays."""
        deadline = self._loop.time() + _END_S
        while process.poll() is None:
            if self._loop.time() > deadline:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
            await asyncio.sleep(0.01)
