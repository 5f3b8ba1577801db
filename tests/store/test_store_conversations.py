"""Labels of conversations: kept as long as runs are, and who took them off is in the audit log."""

from __future__ import annotations

from pathlib import Path

import pytest

from inhabit.contracts.clock import now_ms
from inhabit.contracts.principal import Principal
from inhabit.store.audit.erase import erase
from inhabit.store.retention import Retention
from inhabit.store.store import Store
from tests.store.audit.audit_kit import Sample, sample

DAY_MS = 86_400_000
ADA = Principal("ada")
READ = [("U", "web.fetch"), ("P", "inbox.list")]


async def cleared(folder: Path) -> Sample:
    made = await sample(folder)
    store = Store.open(made.path)
    for user in ("ada", "bob"):
        await store.conversations.join(Principal(user), "chat", "r", READ, now_ms())
        await store.conversations.clear(Principal(user), "chat", by="boss", reason="harmless", now_ms=now_ms())
    await store.close()
    return made


@pytest.mark.parametrize(("change", "found"), [
    ("UPDATE conversations_cleared SET actor = 'eve' WHERE user = 'ada'", "is not what was recorded"),
    ("UPDATE conversations_cleared SET reason = 'other'", "is not what was recorded"),
    ("UPDATE conversations_cleared SET salt = x'00'", "is not what was recorded"),
    ("DELETE FROM conversations_cleared WHERE user = 'bob'", "no note says that it was erased"),
    ("INSERT INTO conversations_cleared SELECT tenant, user, scope, labels, 'eve', reason, at_ms, position, salt FROM conversations_cleared LIMIT 1",
     "is not what was recorded"),
])
async def test_F10_who_cleared_labels_and_why_cannot_be_changed_unseen(tmp_path: Path, change: str, found: str) -> None:
    made = await cleared(tmp_path)
    assert made.verify(external=True).findings == ()
    made.sql(change)
    assert any(found in finding.what for finding in made.verify().findings)


async def test_F15_clearings_go_with_their_user_and_the_log_verifies(tmp_path: Path) -> None:
    made = await cleared(tmp_path)
    store = Store.open(made.path)
    await erase(store.database, tenant="default", user="ada")
    assert [one.user for one in await store.conversations.cleared(tenant="default")] == ["bob"]
    await store.close()
    assert made.verify(external=True).findings == ()


async def test_conversations_are_forgotten_a_retention_after_their_last_use(tmp_path: Path) -> None:
    store, now = Store.open(tmp_path / "journal.db"), now_ms()
    for scope in ("left", "used"):
        await store.conversations.join(ADA, scope, "r", READ, now - 40 * DAY_MS)
    await store.close()
    store = Store.open(tmp_path / "journal.db")
    assert await store.conversations.labels(ADA, "used")        # somebody takes it up again
    await store.prune(now)
    assert {one.scope for one in await store.conversations.list(tenant="default")} == {"used"}
    await store.prune(now + 30 * DAY_MS)    # when one was used is kept to the day
    assert {one.scope for one in await store.conversations.list(tenant="default")} == {"used"}
    await store.prune(now + 32 * DAY_MS)
    assert await store.conversations.list(tenant="default") == []
    await store.close()


async def test_a_conversation_in_use_is_not_forgotten_however_short_the_retention(tmp_path: Path) -> None:
    store, now = Store.open(tmp_path / "journal.db"), now_ms()
    await store.conversations.join(ADA, "chat", "r", READ, now - 13 * DAY_MS // 24)
    assert await store.conversations.labels(ADA, "chat")
    await store.prune(now, Retention(max_age_days=0.5))
    assert await store.conversations.labels(ADA, "chat")
    await store.close()


async def test_a_run_that_outlives_its_conversations_rows_writes_them_again(tmp_path: Path) -> None:
    """What is not on disk any more must not be taken for known."""
    store, now = Store.open(tmp_path / "journal.db"), now_ms()
    await store.conversations.join(ADA, "chat", "r", READ, now)
    await store.prune(now + 32 * DAY_MS)
    await store.conversations.join(ADA, "chat", "r", READ, now + 32 * DAY_MS)
    await store.close()
    store = Store.open(tmp_path / "journal.db")
    assert dict(await store.conversations.labels(ADA, "chat")) == dict(READ)
    await store.close()


async def test_clearings_are_pruned_with_a_note(tmp_path: Path) -> None:
    made = await cleared(tmp_path)
    store = Store.open(made.path)
    await store.prune(now_ms() + 31 * DAY_MS)
    assert await store.conversations.cleared(tenant="default") == []
    await store.close()
    assert made.verify(external=True).findings == ()
