"""Tenants' credentials: files are opened in a thread, once, whoever asks; and closed where many are open."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from inhabit.contracts.connections import ConnectionInfo, StoredConnection
from inhabit.contracts.connector import Secret
from inhabit.contracts.principal import Principal
from inhabit.errors import Unavailable
from inhabit.store.connections import ConnectionStore
from inhabit.store.tenants import connections
from inhabit.store.tenants.connections import TenantsConnections


def kept(tenant: str) -> StoredConnection:
    return StoredConnection(ConnectionInfo("github", Principal("ada", tenant), "key"), {"token": Secret(f"s-{tenant}")})


class Watched(ConnectionStore):
    """Where files were opened, and whether the first waits to be let go on."""

    threads: list[threading.Thread]
    gate: threading.Event

    def __init__(self, path: Path, key_path: Path) -> None:
        self.threads.append(threading.current_thread())
        assert self.gate.wait(30)
        super().__init__(path, key_path)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> type[Watched]:
    Watched.threads, Watched.gate = [], threading.Event()
    monkeypatch.setattr(connections, "ConnectionStore", Watched)
    return Watched


async def vault_at(home: Path, watched: type[Watched]) -> TenantsConnections:
    watched.gate.set()
    vault = TenantsConnections(home)
    watched.gate.clear()
    watched.threads.clear()
    return vault


async def test_a_slow_disk_holds_up_no_other_work_and_many_askers_open_one_file(tmp_path: Path, watched: type[Watched]) -> None:
    vault = await vault_at(tmp_path, watched)
    asking = [asyncio.create_task(vault.put(kept("acme"))) for _ in range(5)]
    while not watched.threads:
        await asyncio.sleep(0)      # the loop goes round while the file is opened
    watched.gate.set()
    await asyncio.gather(*asking)
    assert len(watched.threads) == 1 and threading.main_thread() not in watched.threads
    assert (await vault.get("github", Principal("ada", "acme"))) is not None and await vault.get("github", Principal("ada", "nobody")) is None
    vault.close()


async def test_an_asker_who_goes_leaves_what_was_opened_to_the_next(tmp_path: Path, watched: type[Watched]) -> None:
    vault = await vault_at(tmp_path, watched)
    gone = asyncio.create_task(vault.put(kept("acme")))
    while not watched.threads:
        await asyncio.sleep(0)
    gone.cancel()
    await asyncio.wait([gone])
    watched.gate.set()
    await vault.put(kept("acme"))
    assert len(await vault.list(tenant="acme")) == 1
    vault.close()
    with pytest.raises(Unavailable, match="closed"):
        await vault.list(tenant="acme")


async def test_the_longest_unused_files_are_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_OPEN", 2)
    vault = TenantsConnections(tmp_path)
    for tenant in ("a", "b", "c", "d"):
        await vault.put(kept(tenant))
    for tenant in ("a", "b", "c", "d"):
        assert (found := await vault.get("github", Principal("ada", tenant))) and found.values["token"].reveal() == f"s-{tenant}"
    assert await vault.holder("github") is not None
    vault.close()
