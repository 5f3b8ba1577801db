"""The parts of `bench.openapi` that run in a process of their own: one load, measured from outside its imports."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from inhabit.catalog import Catalog
from inhabit.connectors.openapi import OpenApiConnector
from inhabit.contracts.connector import ConnectorContext
from inhabit.contracts.principal import Principal
from inhabit.egress import Broker
from inhabit.errors import MissingConnection

__all__ = ["declare"]


class _NoConnections:
    async def credential(self, connector: str, principal: Principal) -> Any:
        raise MissingConnection(f"{principal} has no connection for {connector}")


def _context(cache: Path) -> ConnectorContext:
    async def changed(_connector: object) -> None: ...
    async def secret(_name: str) -> None: ...

    return ConnectorContext(outbound=Broker(), connections=_NoConnections(), cache=cache, changed=changed, secret=secret)


async def _load(document: Path, cache: Path) -> dict[str, float]:
    """Open the connector and its index, and look one operation up; milliseconds and megabytes."""
    started = time.perf_counter()
    connector = OpenApiConnector("api", document)
    await connector.open(_context(cache))
    opened = time.perf_counter()
    catalog = Catalog(cache / "catalog")
    await catalog.add(connector)
    names = catalog.names()
    assert connector.operation(names[len(names) // 2]) is not None
    ended = time.perf_counter()
    found = catalog.search("send a mail message")
    assert found.text
    return {"operations": len(names), "open_ms": (opened - started) * 1000, "ms": (ended - started) * 1000,
            "search_ms": (time.perf_counter() - ended) * 1000, "peak_rss_mb": _peak_mb()}


def _peak_mb() -> float:
    """Of this process alone: `ru_maxrss` starts with what the parent had."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def declare(name: str, document: Path, cache: Path, folder: Path) -> dict[str, Path]:
    """Whole declaration files of a document, one for each language."""
    folder.mkdir(parents=True)
    files = {"typescript": folder / f"{name}.d.ts", "python": folder / f"{name}_stub.pyi"}

    async def write() -> None:
        connector = OpenApiConnector(name, document)
        await connector.open(_context(cache))
        catalog = Catalog(cache / "catalog")
        await catalog.add(connector)
        with files["typescript"].open("w") as file:
            file.writelines(catalog.declarations(connector, "typescript"))
        with files["python"].open("w") as file:
            file.writelines(catalog.declarations(connector, "python"))
        await connector.close()

    asyncio.run(write())
    return files


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_load(Path(sys.argv[2]), Path(sys.argv[3])))))
