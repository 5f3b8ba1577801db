"""A home with one journal for all tenants opens as one with a store for each, and nothing of it is lost on the way."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from inhabit.contracts.clock import now_ms
from inhabit.contracts.connections import ConnectionInfo, StoredConnection
from inhabit.contracts.connector import Secret
from inhabit.contracts.principal import Principal
from inhabit.contracts.run import Suspended
from inhabit.errors import Unavailable
from inhabit.store.audit.notes import PublicKey, public_key
from inhabit.store.audit.verify import newest_checkpoint, verify
from inhabit.store.connections import ConnectionStore
from inhabit.store.store import Store
from inhabit.store.tenants import moving
from inhabit.store.tenants.connections import TenantsConnections
from inhabit.store.tenants.naming import journal_of
from tests.store.store_samples import ended, header, intent, outcome
from tests.store.tenants.tenants_kit import files_with, opened, recorded

TENANTS = ("acme", "Globex", "default")


async def old_home(home: Path) -> tuple[dict[str, str], str, str]:
    """As an older version left it: runs and tokens of three tenants in one file. Returns the open runs, a token, a checkpoint."""
    home.mkdir(parents=True)
    store = Store.open(home / "journal.db")
    runs: dict[str, str] = {}
    for n, tenant in enumerate(TENANTS * 4):
        head = header(n, tenant=tenant, user=f"ada-{tenant}")
        kept = await store.blobs.put(f"blob of {tenant}".encode() * 500, tenant=tenant, mime="text/plain")
        store.journal.begin(head)
        store.journal.append(head.run_id, intent(1), outcome(1, f'"canary-{tenant}"'.encode()),
                             outcome(1, b'{"$binary":"%s"}' % kept["$binary"].encode())._replace(binaries=(kept["$binary"],)))
        if n < 9:
            await store.journal.append(head.run_id, ended(now_ms())).durable()
        else:
            await store.journal.append(head.run_id, Suspended(1, {})).durable()
            runs[tenant] = head.run_id
        who = Principal(f"ada-{tenant}", tenant)
        await store.conversations.join(who, "chat", head.run_id, [("U", "web.fetch")], now_ms())
        if n > 9:
            await store.conversations.clear(who, "chat", by="op", reason=f"canary-{tenant}", now_ms=now_ms())
    token, _ = await store.tokens.create(Principal("ada-acme", "acme"), {}, now_ms=now_ms())
    await store.close()
    vault = ConnectionStore(home / "connections.db", home / "connections.key")
    for tenant in TENANTS:
        await vault.put(StoredConnection(ConnectionInfo("github", Principal("ada", tenant), "key"), {"token": Secret(f"of {tenant}")}))
    vault.close()
    kept_elsewhere = newest_checkpoint(home / "journal.db")
    assert kept_elsewhere
    return runs, token, kept_elsewhere


async def moved_as_it_should(home: Path, runs: dict[str, str], token: str, kept: str) -> None:
    stores = opened(home)
    assert sorted(stores.tenants()) == sorted(TENANTS) and not list(home.glob("journal.db*")) and not (home / "tenants.moving").exists()
    found = await stores.tokens.verify(token, now_ms=now_ms())
    assert found is not None and found.principal.tenant == "acme"
    for tenant in TENANTS:
        assert len(await stores.journal.list(tenant=tenant)) == 4
        assert (await stores.journal.read(runs[tenant], tenant=tenant)).state == "suspended"
        await stores.journal.append(runs[tenant], ended(1)).durable()      # what was open goes on
    assert await stores.check() == ()
    await stores.close()
    key = PublicKey(public_key(home / "audit.key"))
    for tenant in TENANTS:
        assert verify(journal_of(home, tenant), [key], kept, tenant).findings == ()     # the log went on from what was signed before
        assert all(name.startswith(str(journal_of(Path(), tenant))) for name in files_with(home, f"canary-{tenant}".encode()))
    assert verify(journal_of(home, "acme"), [key], None, "default").findings
    vault = TenantsConnections(home)
    for tenant in TENANTS:
        held = await vault.get("github", Principal("ada", tenant))
        assert held is not None and held.values["token"].reveal() == f"of {tenant}"
    vault.close()
    assert sqlite3.connect(home / "connections.db").execute("SELECT count(*) FROM connections").fetchone() == (0,)


async def test_a_home_with_one_journal_is_moved_over(tmp_path: Path) -> None:
    told = await old_home(tmp_path / "home")
    await moved_as_it_should(tmp_path / "home", *told)


class Cut(Exception):
    pass


@pytest.mark.parametrize("step", range(9))
async def test_F02_a_crash_at_any_step_of_the_move_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """The home is copied as it is when step N is about to be taken: what a kill would have left."""
    told = await old_home(tmp_path / "home")
    steps = 0

    def watched(does: object) -> object:
        def instead(*args: object, **more: object) -> object:
            nonlocal steps
            if steps == step:
                shutil.copytree(tmp_path / "home", tmp_path / "crashed", ignore=shutil.ignore_patterns("*.lock", "*-shm"))
                raise Cut
            steps += 1
            return does(*args, **more)     # type: ignore[operator]
        return instead

    for name in ("rename", "replace", "unlink"):
        monkeypatch.setattr(Path, name, watched(getattr(Path, name)))
    monkeypatch.setattr(moving, "synced", watched(moving.synced))
    try:
        await opened(tmp_path / "home").close()
    except Cut:
        monkeypatch.undo()
        await moved_as_it_should(tmp_path / "crashed", *told)
    else:
        pytest.fail(f"there are only {steps} steps")


async def test_a_journal_that_an_older_version_began_beside_the_stores_is_not_thrown_away(tmp_path: Path) -> None:
    stores = opened(tmp_path)
    await recorded(stores, "acme", 1)
    await stores.close()
    old = Store.open(tmp_path / "journal.db", key=tmp_path / "audit.key")
    head = header(1)
    old.journal.begin(head)
    await old.journal.append(head.run_id, ended(1)).durable()
    await old.close()
    with pytest.raises(Unavailable, match="beside them"):
        opened(tmp_path)
    assert (tmp_path / "journal.db").exists()


async def test_F07_a_home_that_an_older_server_has_is_not_moved(tmp_path: Path) -> None:
    await old_home(tmp_path / "home")
    old = Store.open(tmp_path / "home" / "journal.db", key=tmp_path / "home" / "journal.db.audit-key")
    with pytest.raises(Unavailable, match="in use by another process"):
        opened(tmp_path / "home")
    await old.close()
    assert not (tmp_path / "home" / "tenants").exists()
