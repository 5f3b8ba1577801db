"""F15: an erased tenant is in no file of the home, and what is left of its log still verifies."""

from __future__ import annotations

from pathlib import Path

import pytest

from inhabit.contracts.clock import now_ms
from inhabit.contracts.connections import ConnectionInfo, StoredConnection
from inhabit.contracts.connector import Secret
from inhabit.contracts.principal import Principal
from inhabit.errors import InvalidInput, NotFound
from inhabit.store.audit.notes import PublicKey, public_key
from inhabit.store.audit.verify import newest_checkpoint, verify
from inhabit.store.tenants.connections import TenantsConnections
from inhabit.store.tenants.erasing import erase_tenant
from inhabit.store.tenants.naming import journal_of
from tests.store.tenants.tenants_kit import files_with, opened, recorded

CANARY = "canary-51d0c4"


async def lived_in(home: Path) -> str:
    """A home where the canary tenant did everything, and others beside it. Returns a checkpoint of its log that is kept elsewhere."""
    stores = opened(home)
    for n in range(8):
        await recorded(stores, CANARY, n, CANARY)
        await recorded(stores, "bystander", n)
        await stores.tokens.create(Principal(f"{CANARY}-{n}", CANARY), {"clauses": [CANARY]}, now_ms=now_ms(), label=CANARY)
    who = Principal(f"u-{CANARY}", CANARY)
    await stores.conversations.clear(who, f"chat {CANARY}", by=f"{CANARY}/op", reason=f"read {CANARY}", now_ms=now_ms())
    await recorded(stores, CANARY, 20, CANARY)
    await stores.tokens.create(Principal("bob", "bystander"), {}, now_ms=now_ms())
    await stores.passkeys.add(who, CANARY.encode(), CANARY.encode(), 0, CANARY, now_ms())
    vault = TenantsConnections(home)
    for tenant in (CANARY, "bystander"):
        await vault.put(StoredConnection(ConnectionInfo("github", Principal(CANARY if tenant == CANARY else "bob", tenant), "key"), {"token": Secret(CANARY)}))
    await vault.keep_note("flow", "state", {"who": CANARY})
    vault.close()
    assert stores.opening.close_one() and stores.opening.close_one()
    kept = newest_checkpoint(journal_of(home, CANARY))
    assert kept and files_with(home, CANARY.encode())
    await stores.close()
    return kept


async def test_F15_an_erased_tenant_is_in_no_file_and_its_log_verifies(tmp_path: Path) -> None:
    kept = await lived_in(tmp_path)
    stores = opened(tmp_path)
    gone = await erase_tenant(stores, CANARY)
    assert (gone.runs, gone.tokens, gone.copies) == (9, 9, ()) and gone.log is not None
    assert files_with(tmp_path, CANARY.encode()) == []       # while it is open: write-ahead logs too
    vault = TenantsConnections(tmp_path)
    assert await vault.note("flow", "state") is None         # sealed: no search for its bytes would see it
    vault.close()
    assert stores.tenants() == ("bystander",)
    await recorded(stores, "bystander", 30)
    assert await stores.check() == ()
    await stores.close()
    assert files_with(tmp_path, CANARY.encode()) == []
    key = PublicKey(public_key(tmp_path / "audit.key"))
    left = verify(gone.log, [key], kept)
    assert left.findings == () and (left.runs, left.erased) == (0, 9)
    for path in (journal_of(tmp_path, "bystander"), tmp_path / "server.db"):
        assert verify(path, [key]).findings == ()


async def test_F15_the_log_that_is_left_is_not_to_be_changed_either(tmp_path: Path) -> None:
    kept = await lived_in(tmp_path)
    stores = opened(tmp_path)
    gone = await erase_tenant(stores, CANARY)
    await stores.close()
    assert gone.log is not None
    body = gone.log.read_bytes()
    at = body.index(b"the tenant's data was erased")
    gone.log.write_bytes(body[:at] + b"T" + body[at + 1:])
    assert verify(gone.log, [PublicKey(public_key(tmp_path / "audit.key"))], kept).findings


async def test_F15_erasing_a_tenant_waits_for_its_runs_and_can_be_done_again(tmp_path: Path) -> None:
    stores = opened(tmp_path)
    run = await recorded(stores, "acme", 1, end=False)
    await stores.close()
    stores = opened(tmp_path)
    with pytest.raises(InvalidInput, match=run):
        await erase_tenant(stores, "acme")
    with pytest.raises(NotFound, match="no tenant nobody"):
        await erase_tenant(stores, "nobody")
    (tmp_path / "tenants" / "half").mkdir()      # an erasure that was cut off behind its journal
    assert (await erase_tenant(stores, "half")).log is None and stores.tenants() == ("acme",)
    again = await recorded(stores, "half", 1)    # the name may come back, and begins anew
    assert [one.run_id for one in await stores.journal.list(tenant="half")] == [again]
    await stores.close()
