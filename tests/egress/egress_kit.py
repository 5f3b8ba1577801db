"""Real servers on loopback, and a resolver whose answers a test writes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import pytest

Respond = Callable[[asyncio.StreamReader, asyncio.StreamWriter, bytes], Awaitable[None]]


@dataclass
class Server:
    """Counts connections and keeps each request's head as it came over the wire."""

    port: int = 0
    heads: list[bytes] = field(default_factory=list)
    connections: int = 0

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@dataclass
class ScriptedResolver:
    """Each name has a list of answers, used up in order; the last one stays."""

    answers: dict[str, list[Sequence[str]]]
    asked: list[str] = field(default_factory=list)

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        given = self.answers.get(host)
        if not given:
            raise OSError("no such name")
        return given.pop(0) if len(given) > 1 else given[0]


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Awaitable[Server]]]:
    """`serve(respond)` starts a server; `respond` gets reader, writer and the head of each request."""
    running: list[asyncio.Server] = []

    async def start(respond: Respond, *, ssl: object = None) -> Server:
        state = Server()

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            state.connections += 1
            try:
                while True:
                    head = await reader.readuntil(b"\r\n\r\n")
                    state.heads.append(head)
                    await respond(reader, writer, head)
                    await writer.drain()
            except (asyncio.IncompleteReadError, ConnectionError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=ssl)  # type: ignore[arg-type]
        state.port = server.sockets[0].getsockname()[1]
        running.append(server)
        return state

    yield start
    for server in running:
        server.close()


def answer(body: bytes = b"ok", status: str = "200 OK", headers: str = "") -> Respond:
    async def respond(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
        sent = b"" if head.startswith(b"HEAD") else body
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + sent)

    return respond


def redirect(location: str, status: int = 302) -> Respond:
    return answer(b"", f"{status} Moved", f"Location: {location}\r\n")
