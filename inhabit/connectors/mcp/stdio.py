"""A local server as a child process: JSON lines over its pipes, and an end that leaves nothing behind.

The server is the operator's own program. It gets only its declared environment (plus PATH, HOME and the locale),
leads its own process group, and carries a random marker in its environment, by which descendants that left the
group are found at the end (Linux). A line longer than the bound ends it; what it writes to stderr, or to stdout
without being a message, is kept as a bounded tail for error messages, with the given secrets removed.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import anyio
import orjson
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp import types
from mcp.shared.message import SessionMessage

from inhabit.connectors.mcp.text import clean
from inhabit.connectors.pipes import close_pipes

__all__ = ["MAX_LINE_BYTES", "Command", "Streams", "Tail", "serve_stdio"]

MAX_LINE_BYTES = 32 * 1024 * 1024
TAIL_BYTES = 16 * 1024
EXIT_GRACE_S = 1.0          # after stdin closed, and again after SIGTERM
FLUSH_S = 0.5
LAST_WORDS_S = 0.2          # after the exit, for what is still in the pipe
MAX_KILL_ROUNDS = 50
MARKER = "INHABIT_SERVER_MARKER"
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SYSTEMROOT", "USERPROFILE", "APPDATA", "LOCALAPPDATA")
_PROC = Path("/proc")

_Item = SessionMessage | Exception
Streams = tuple[MemoryObjectReceiveStream[_Item], MemoryObjectSendStream[SessionMessage]]


@dataclass(frozen=True, slots=True)
class Command:
    """`environment` is all that the server gets beyond the inherited minimum; its values may be secret."""

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    cwd: Path | None = None


class Tail:
    """A process as seen from outside: whether it lives, and its last words, bounded, clean, without the given secrets."""

    def __init__(self) -> None:
        self._kept = b""
        self._secrets: list[str] = []
        self.exit_code: int | None = None
        self._process: asyncio.subprocess.Process | None = None

    def watch(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    def running(self) -> bool:
        """Whether the process still lives, as the kernel sees it: the loop may learn of an end later."""
        process = self._process
        if process is None or process.returncode is not None:
            return process is None
        if not hasattr(os, "waitid"):
            return True
        try:
            return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        except ChildProcessError:
            return False

    def hide(self, secret_values: Sequence[str]) -> None:
        self._secrets = [value for value in secret_values if len(value) >= 4]

    def add(self, data: bytes) -> None:
        self._kept = (self._kept + data)[-TAIL_BYTES:]

    def text(self, limit: int = 1_000) -> str:
        words = self._kept.decode("utf-8", "replace")
        for value in self._secrets:
            words = words.replace(value, "(redacted)")
        return clean(words[-limit:], limit)


@asynccontextmanager
async def serve_stdio(command: Command, tail: Tail) -> AsyncGenerator[Streams]:
    """Start the server and yield its message streams; on leaving, the whole process tree is gone.

    Raises `OSError` when it cannot be started. The read stream ends when the server dies.
    """
    marker = secrets.token_hex(16)
    process = await asyncio.create_subprocess_exec(
        *command.argv, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        limit=MAX_LINE_BYTES, env=_environment(command.environment, marker), cwd=command.cwd, start_new_session=True)
    tail.watch(process)
    to_session, incoming = anyio.create_memory_object_stream[_Item](0)
    outgoing, from_session = anyio.create_memory_object_stream[SessionMessage](0)
    reader = asyncio.create_task(_read(process, to_session, tail))
    writer = asyncio.create_task(_write(process, from_session, to_session))
    pumps = [reader, writer, asyncio.create_task(_drain_errors(process, tail)), asyncio.create_task(_watch(process, reader))]
    try:
        yield incoming, outgoing
    finally:
        with anyio.CancelScope(shield=True):
            outgoing.close()
            incoming.close()
            await asyncio.wait([writer], timeout=FLUSH_S)
            await _end(process, marker)
            tail.exit_code = process.returncode
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            for stream in (to_session, from_session):
                stream.close()


async def _read(process: asyncio.subprocess.Process, to_session: MemoryObjectSendStream[_Item], tail: Tail) -> None:
    stdout = _pipe(process.stdout)
    with to_session:
        while True:
            try:
                line = await stdout.readline()
            except ValueError:      # longer than the bound: the stream cannot be trusted any more
                tail.add(f"\n[a line longer than {MAX_LINE_BYTES} bytes]\n".encode())
                _signal_group(process.pid, signal.SIGKILL)
                return
            if not line:
                return
            item = _message(line)
            if item is None:
                tail.add(line[:1_000])
                continue
            try:
                await to_session.send(item)
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                return


async def _write(process: asyncio.subprocess.Process, from_session: MemoryObjectReceiveStream[SessionMessage],
                 to_session: MemoryObjectSendStream[_Item]) -> None:
    stdin = process.stdin
    assert stdin is not None
    try:
        async for item in from_session:
            stdin.write(item.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n")
            await stdin.drain()
    except (ConnectionError, RuntimeError):
        to_session.close()      # the session sees the end instead of waiting for an answer


async def _drain_errors(process: asyncio.subprocess.Process, tail: Tail) -> None:
    stderr = _pipe(process.stderr)
    while data := await stderr.read(8_192):
        tail.add(data)


async def _watch(process: asyncio.subprocess.Process, reader: asyncio.Task[None]) -> None:
    """End the session when the server has ended, even if a child of its still holds the pipes open."""
    if hasattr(os, "pidfd_open"):
        await _exit_by_descriptor(process.pid)
    else:
        while process.returncode is None:       # noqa: ASYNC110 - no descriptor to wait on here
            await asyncio.sleep(0.2)
    await asyncio.wait([reader], timeout=LAST_WORDS_S)
    reader.cancel()


async def _exit_by_descriptor(pid: int) -> None:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    try:
        loop.add_reader(descriptor, ended.set)
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def _message(line: bytes) -> SessionMessage | None:
    """A message; None for what is not one (a banner, a log line).

    An answer that cannot be read becomes an error under its own id, so that its caller does not wait in vain.
    """
    try:
        return SessionMessage(types.jsonrpc_message_adapter.validate_json(line, by_name=False))
    except ValueError:
        pass
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(value, dict):
        return None
    answer = cast("dict[str, Any]", value)
    id_ = answer.get("id")
    if not isinstance(id_, str | int) or isinstance(id_, bool) or "method" in answer:
        return None
    error = types.ErrorData(code=types.PARSE_ERROR, message="the server's answer is not a JSON-RPC message, or nested too deep")
    return SessionMessage(types.JSONRPCError(jsonrpc="2.0", id=id_, error=error))


def _environment(given: Mapping[str, str], marker: str) -> dict[str, str]:
    minimum = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return {**minimum, **given, MARKER: marker}


async def _end(process: asyncio.subprocess.Process, marker: str) -> None:
    """Close stdin, wait, terminate, wait, kill; then whatever of its tree is still there."""
    if process.stdin is not None:
        process.stdin.close()
    if not await _exits(process):
        _signal_group(process.pid, signal.SIGTERM)
        await _exits(process)
    if process.returncode is None or not _PROC.is_dir():    # a reaped leader's id may already be another's
        _signal_group(process.pid, signal.SIGKILL)
    await _kill_marked(marker)
    await _exits(process)
    close_pipes(process)   # a surviving holder of them must not keep it open


async def _exits(process: asyncio.subprocess.Process) -> bool:
    # Not process.wait(): that also waits for the pipes, which a grandchild may hold.
    with anyio.move_on_after(EXIT_GRACE_S):
        while process.returncode is None:       # noqa: ASYNC110 - there is no event for the exit alone
            await asyncio.sleep(0.01)
    return process.returncode is not None


def _signal_group(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


async def _kill_marked(marker: str) -> None:
    """Until none is left: one may have forked while the others were found."""
    for _round in range(MAX_KILL_ROUNDS):
        left = _marked(marker)
        if not left:
            return
        for pid in left:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(0.01)


def _marked(marker: str) -> list[int]:
    """Processes that inherited the marker, wherever they went. Linux only; elsewhere the group is all."""
    found: list[int] = []
    needle = f"{MARKER}={marker}".encode()
    for entry in _PROC.glob("[0-9]*/environ"):
        with suppress(OSError):
            if needle in entry.read_bytes().split(b"\0"):
                found.append(int(entry.parent.name))
    return found


def _pipe(stream: asyncio.StreamReader | None) -> asyncio.StreamReader:
    assert stream is not None
    return stream
