"""F17: backups of a home and of one tenant, taken while it is in use, and put back."""

from __future__ import annotations

from pathlib import Path

import pytest

from inhabit.contracts.clock import now_ms
from inhabit.contracts.connections import ConnectionInfo, StoredConnection
from inhabit.contracts.connector import Secret
from inhabit.contracts.principal import Principal
from inhabit.errors import InvalidInput, NotFound, Unavailable
from inhabit.kernel.decide import Charge
from inhabit.store.store import Store
from inhabit.store.tenants.connections import TenantsConnections
from inhabit.store.tenants.copies import restore_home, restore_tenant
from inhabit.store.tenants.erasing import erase_tenant, erase_user
from inhabit.store.tenants.moving import LAST_OF_ONE_FILE
from tests.store.store_samples import ended, header
from tests.store.tenants.tenants_kit import files_with, opened, recorded


async def test_F17_a_whole_home_goes_back_as_it_was(tmp_path: Path) -> None:
    home, stores = tmp_path / "home", opened(tmp_path / "home")
    runs = {tenant: [await recorded(stores, tenant, 1, f"canary-{tenant}"), await recorded(stores, tenant, 2, end=False)] for tenant in ("a", "B")}
    revoked, record = await stores.tokens.create(Principal("ada", "a"), {}, now_ms=now_ms())
    made = await stores.backup(tmp_path / "copy")
    assert files_with(made, b"canary-a") == ["tenants/a/journal.db"]
    with pytest.raises(InvalidInput, match="exists already"):
        await stores.backup(tmp_path / "copy")
    await stores.tokens.revoke(record.id, tenant="a", now_ms=now_ms())
    later = await recorded(stores, "c", 3)
    with pytest.raises(Unavailable, match="in use"):
        restore_home(made, home, now_ms=now_ms())
    await stores.close()
    vault = TenantsConnections(home)
    await vault.put(StoredConnection(ConnectionInfo("github", Principal("ada", "a"), "key"), {"token": Secret("t")}))
    vault.close()
    restored = restore_home(made, home, now_ms=now_ms())
    assert set(restored.closed) == {runs["a"][1], runs["B"][1]} and restored.kept is not None and files_with(restored.kept, later.encode()[:8])
    stores = opened(home)
    assert sorted(stores.tenants()) == ["B", "a"] and await stores.check() == ()
    assert [(await stores.journal.read(run, tenant="a")).state for run in runs["a"]] == ["completed", "unknown"]
    assert await stores.tokens.verify(revoked, now_ms=now_ms()) is None      # revoked since
    vault = TenantsConnections(home)
    assert await vault.get("github", Principal("ada", "a")) is not None     # no backup has it, and it is not lost
    vault.close()
    await stores.close()


async def test_F17_nobody_is_asked_for_a_run_that_a_restore_closed(tmp_path: Path) -> None:
    """Its questions would count against the tenant's for ever."""
    home, stores = tmp_path / "home", opened(tmp_path / "home")
    await recorded(stores, "a", 1, end=False, asks=now_ms() + 60_000)
    assert len(await stores.approvals.pending(tenant="a")) == 1
    await stores.backup(tmp_path / "copy")
    await stores.close()
    restore_home(tmp_path / "copy", home, now_ms=now_ms())
    stores = opened(home)
    assert await stores.approvals.pending(tenant="a") == []
    await stores.close()


async def test_F17_who_only_connected_stays_connected(tmp_path: Path) -> None:
    """No journal, so in no backup."""
    home, eve = tmp_path / "home", Principal("eve", "only")
    home.mkdir()
    stores = opened(home)
    await recorded(stores, "a", 1)
    vault = TenantsConnections(home)
    await vault.put(StoredConnection(ConnectionInfo("crm", eve, "key"), {"token": Secret("t")}))
    vault.close()
    await stores.backup(tmp_path / "copy")
    await stores.close()
    restore_home(tmp_path / "copy", home, now_ms=now_ms())
    vault = TenantsConnections(home)
    assert await vault.get("crm", eve) is not None
    vault.close()


async def test_F17_one_tenant_goes_back_and_the_others_stay_as_they_are(tmp_path: Path) -> None:
    home, stores = tmp_path / "home", opened(tmp_path / "home")
    run = await recorded(stores, "a", 1)
    await recorded(stores, "b", 1)
    file = await stores.backup(tmp_path / "a.db", "a")
    whole = await stores.backup(tmp_path / "whole")
    with pytest.raises(NotFound, match="no tenant nobody"):
        await stores.backup(tmp_path / "n.db", "nobody")
    since = await recorded(stores, "b", 2)
    await erase_tenant(stores, "a")
    await stores.close()
    with pytest.raises(InvalidInput, match="backup of one tenant"):
        restore_home(file, home, now_ms=now_ms())
    with pytest.raises(InvalidInput, match="holds runs of a"):
        restore_tenant(file, home, "b", now_ms=now_ms())
    with pytest.raises(InvalidInput, match="no tenant c"):
        restore_tenant(whole, home, "c", now_ms=now_ms())
    for source in (file, whole):
        restore_tenant(source, home, "a", now_ms=now_ms())
        stores = opened(home)
        assert (await stores.journal.read(run, tenant="a")).state == "completed"
        assert (await stores.journal.read(since, tenant="b")).state == "completed" and await stores.check() == ()
        await stores.close()


async def test_F17_a_backup_of_an_older_home_goes_back_as_one_with_stores(tmp_path: Path) -> None:
    old = Store.open(tmp_path / "old" / "journal.db")
    runs: list[tuple[str, str]] = []
    for tenant in ("a", "b"):
        old.journal.begin(head := header(1, tenant=tenant))
        await old.journal.append(head.run_id, ended(now_ms())).durable()
        runs.append((tenant, head.run_id))
    await old.database.writer.maintain(lambda c: [c.execute(sql) for sql in (
        "DROP INDEX conversations_by_use", "ALTER TABLE conversations DROP COLUMN used_ms", "ALTER TABLE conversations_cleared DROP COLUMN position",
        "ALTER TABLE conversations_cleared DROP COLUMN salt", "DROP TABLE token_events", f"PRAGMA user_version = {LAST_OF_ONE_FILE}")])
    await old.backup(tmp_path / "old.db")
    await old.close()
    stores = opened(tmp_path / "home")
    await recorded(stores, "else", 1)
    await stores.close()
    restored = restore_home(tmp_path / "old.db", tmp_path / "home", now_ms=now_ms())
    assert restored.kept is not None and (restored.kept / "else").exists()
    stores = opened(tmp_path / "home")
    assert sorted(stores.tenants()) == ["a", "b"]
    for tenant, run in runs:
        assert (await stores.journal.read(run, tenant=tenant)).state == "completed"
    await stores.close()


@pytest.mark.parametrize("cut", ["before", "between"])
async def test_F02_a_restore_that_was_cut_off_leaves_one_home_or_the_other(tmp_path: Path, cut: str) -> None:
    stores = opened(tmp_path)
    run = await recorded(stores, "a", 1)
    await stores.close()
    new = tmp_path / "tenants.restoring"
    new.mkdir()
    if cut == "between":
        new.rmdir()
        (tmp_path / "tenants").rename(new)
    stores = opened(tmp_path)
    assert (await stores.journal.read(run, tenant="a")).state == "completed" and not new.exists()
    await stores.close()


async def test_F17_a_restore_takes_no_restriction_back(tmp_path: Path) -> None:
    """What was revoked, forgotten, used up or read since the backup stays so, and what was done since is named."""
    home, ada, stores = tmp_path / "home", Principal("ada", "a"), opened(tmp_path / "home")
    done, spent = await recorded(stores, "a", 1), [Charge("pay", 5, 86_400_000)]
    await stores.tokens.create(ada, {}, now_ms=now_ms())
    erased, _ = await stores.tokens.create(Principal("eve", "a"), {}, now_ms=now_ms())
    lost = await stores.passkeys.add(ada, b"lost", b"key", 7, "phone", now_ms())
    await stores.backup(tmp_path / "copy")
    writes = stores.ledger_of("a").reserve(spent, done)
    await stores.opening.now("a").store.database.writer.perform(lambda c: [c.execute(write.sql, write.values) for write in writes])
    await stores.conversations.join(ada, "chat", done, [("untrusted", "web.fetch")], now_ms())
    await stores.passkeys.used(lost, 9)
    await stores.passkeys.revoke(lost, tenant="a", now_ms=now_ms())
    await stores.passkeys.add(Principal("bob", "a"), b"new", b"key", 0, "key", now_ms())
    await erase_user(stores, Principal("eve", "a"))
    stores.journal.begin(undone := header(5, tenant="a", parent_run=done))
    await stores.journal.append(undone.run_id, ended(now_ms())).durable()
    await stores.close()

    restored = restore_home(tmp_path / "copy", home, now_ms=now_ms())
    assert restored.acted_on == (done,) and restored.revocations
    stores = opened(home)
    await stores.journal.ready("a")
    assert stores.ledger_of("a").used("pay", 86_400_000, now_ms()) == 5
    assert await stores.conversations.labels(ada, "chat") == (("untrusted", "web.fetch"),)
    assert [(key.user, key.sign_count, key.revoked_ms is None) for key in await stores.passkeys.list(tenant="a")] == [("ada", 9, False), ("bob", 0, True)]
    assert await stores.tokens.verify(erased, now_ms=now_ms()) is None
    assert [record.revoked_ms is None for record in await stores.tokens.list(tenant="a") if record.principal == ada] == [True]
    assert await stores.check() == ()
    await stores.close()
    fresh = opened(tmp_path / "new")        # another home, which never had these tokens
    await fresh.close()
    restore_home(tmp_path / "copy", tmp_path / "new", now_ms=now_ms())
    fresh = opened(tmp_path / "new")
    assert await fresh.tokens.verify(erased, now_ms=now_ms()) is not None
    await fresh.close()
