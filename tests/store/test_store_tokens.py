"""Bearer tokens: only their hash is kept, and a dead one is like one that never was."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inhabit.contracts.principal import Principal
from inhabit.errors import InvalidInput, NotFound
from inhabit.store.retention import Retention
from inhabit.store.store import Store
from tests.store.store_samples import header

ADA = Principal("ada", "acme")
GRANT = {"layers": [[{"pattern": "shop.**", "caveats": []}]]}


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = Store.open(tmp_path / "journal.db")
    yield opened
    await opened.close()


async def test_a_token_stands_for_its_principal(store: Store) -> None:
    token, made = await store.tokens.create(ADA, GRANT, now_ms=5, label="laptop")
    assert await store.tokens.verify(token, now_ms=10**15) == made
    assert (made.principal, made.authority, made.label, made.expires_ms) == (ADA, GRANT, "laptop", None)
    assert token.startswith("inh_")
    assert len(token) == 68
    for wrong in ("", "inh_", token[:-1], token + "0", token.upper(), "\ud800"):
        assert await store.tokens.verify(wrong, now_ms=6) is None


async def test_an_expired_or_revoked_token_is_refused(store: Store) -> None:
    token, _ = await store.tokens.create(ADA, GRANT, now_ms=5, expires_ms=10)
    assert await store.tokens.verify(token, now_ms=9) is not None
    assert await store.tokens.verify(token, now_ms=10) is None
    token, made = await store.tokens.create(ADA, GRANT, now_ms=5)
    with pytest.raises(NotFound):
        await store.tokens.revoke(made.id, tenant="other", now_ms=6)
    assert await store.tokens.verify(token, now_ms=7) is not None
    await store.tokens.revoke(made.id, tenant="acme", now_ms=6)
    assert await store.tokens.verify(token, now_ms=7) is None
    (listed,) = [r for r in await store.tokens.list(tenant="acme") if r.id == made.id]
    assert listed.revoked_ms == 6
    assert await store.tokens.list(tenant="other") == []


async def test_a_token_dies_with_its_parent(store: Store) -> None:
    token, parent = await store.tokens.create(ADA, GRANT, now_ms=5)
    for _ in range(16):
        token, parent = await store.tokens.create(ADA, GRANT, now_ms=5, parent=parent.id)
    assert await store.tokens.verify(token, now_ms=6) is not None
    with pytest.raises(InvalidInput, match="16 tokens deep"):
        await store.tokens.create(ADA, GRANT, now_ms=5, parent=parent.id)
    with pytest.raises(InvalidInput, match="cannot be passed on"):
        await store.tokens.create(Principal("eve", "other"), GRANT, now_ms=5, parent=parent.id)
    root = next(r for r in await store.tokens.list(tenant="acme") if r.parent is None)
    await store.tokens.revoke(root.id, tenant="acme", now_ms=7)
    assert await store.tokens.verify(token, now_ms=8) is None


async def test_refusals(store: Store) -> None:
    with pytest.raises(InvalidInput, match="expired already"):
        await store.tokens.create(ADA, GRANT, now_ms=5, expires_ms=5)
    with pytest.raises(InvalidInput, match="200 characters"):
        await store.tokens.create(ADA, GRANT, now_ms=5, label="x" * 201)


async def test_G17_the_file_never_holds_a_token(store: Store, tmp_path: Path) -> None:
    token, _ = await store.tokens.create(ADA, GRANT, now_ms=5)
    await store.journal.begin(header()).durable()
    for file in tmp_path.iterdir():
        content = file.read_bytes()
        assert token.encode() not in content
        assert bytes.fromhex(token[4:]) not in content


async def test_dead_tokens_are_pruned(store: Store) -> None:
    _, old = await store.tokens.create(ADA, GRANT, now_ms=5, expires_ms=10)
    _, revoked = await store.tokens.create(ADA, GRANT, now_ms=5)
    await store.tokens.revoke(revoked.id, tenant="acme", now_ms=20)
    _, alive = await store.tokens.create(ADA, GRANT, now_ms=5)
    day_ms = 86_400_000
    assert (await store.prune(2 * day_ms, Retention(max_age_days=3))).tokens == 0
    assert (await store.prune(3 * day_ms, Retention(max_age_days=1))).tokens == 2
    assert [r.id for r in await store.tokens.list(tenant="acme")] == [alive.id]
    assert old.id != alive.id
