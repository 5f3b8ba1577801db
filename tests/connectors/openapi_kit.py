"""An upstream on loopback that keeps what it was sent, and what a connector is given when it opens."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inhabit.connectors.openapi import OpenApiConnector
from inhabit.contracts.connector import Call, ConnectorContext, Secret
from inhabit.contracts.principal import Principal
from inhabit.egress import Broker
from inhabit.errors import MissingConnection, NotFound

ADA = Principal("ada")


@dataclass
class Seen:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Upstream:
    """`reply` maps a target (without its query) to (status, content type, body[, more headers])."""

    port: int = 0
    seen: list[Seen] = field(default_factory=list)
    reply: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    _server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Upstream:
        self._server = await asyncio.start_server(self._handle, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    def answer(self, target: str, headers: dict[str, str]) -> tuple[Any, ...]:
        return self.reply.get(target.partition("?")[0], (200, "application/json", b"{}"))

    async def before(self, target: str) -> None:
        """Before an answer is worked out."""

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                method, target, _ = head[0].split(" ")
                headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in head[1:] if line)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self.seen.append(Seen(method, target, headers, body))
                await self.before(target)
                status, kind, content, *more = self.answer(target, headers)
                extra = "".join(f"{k}: {v}\r\n" for k, v in (more[0] if more else {}).items())
                sent = b"" if method == "HEAD" else content
                kind_line = f"Content-Type: {kind}\r\n" if kind else ""
                writer.write(f"HTTP/1.1 {status} X\r\n{kind_line}Content-Length: {len(content)}\r\n{extra}\r\n".encode() + sent)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


class MemoryBlobs:
    def __init__(self) -> None:
        self.held: dict[tuple[str, str], bytes] = {}

    async def put(self, data: bytes, *, tenant: str, mime: str) -> dict[str, Any]:
        key = hashlib.sha256(data).hexdigest()
        self.held[tenant, key] = data
        return {"$binary": key, "type": mime, "size": len(data)}

    async def get(self, reference: Mapping[str, Any], *, tenant: str) -> bytes:
        try:
            return self.held[tenant, reference["$binary"]]
        except KeyError:
            raise NotFound("no such reference") from None


class NoConnections:
    def __init__(self, values: Mapping[str, Mapping[str, str]] | None = None) -> None:
        self._values = values or {}

    async def credential(self, connector: str, principal: Principal) -> Mapping[str, Secret]:
        found = self._values.get(str(principal))
        if found is None:
            raise MissingConnection(f"{principal} has no connection for {connector}")
        return {name: Secret(value) for name, value in found.items()}


def context(cache: Path, *, secrets: Mapping[str, str] | None = None, connections: Mapping[str, Mapping[str, str]] | None = None,
            outbound: Any = None) -> ConnectorContext:
    async def changed(_connector: Any) -> None: ...

    held = dict(secrets or {})

    async def secret(name: str) -> Secret | None:
        return Secret(held[name]) if name in held else None

    return ConnectorContext(outbound=outbound or Broker(), connections=NoConnections(connections), cache=cache, changed=changed,
                            secret=secret)


async def call(connector: OpenApiConnector, name: str, arguments: dict[str, Any] | None = None, *, blobs: MemoryBlobs | None = None,
               principal: Principal = ADA) -> Any:
    operation = connector.operation(name)
    assert operation is not None, f"no operation {name}: {[o.name for o in connector.operations()]}"
    return await connector.call(Call(
        operation=operation, arguments=arguments or {}, principal=principal, run_id="r1", sequence=1, idempotency_key="r1:1",
        deadline_s=asyncio.get_running_loop().time() + 10, blobs=blobs or MemoryBlobs()))
