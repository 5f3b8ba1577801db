"""Credentials at rest: sealed, listed without values, bound to their owner."""

import asyncio
import sqlite3
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from inhabit.contracts.connections import ConnectionInfo, StoredConnection
from inhabit.contracts.connector import Secret
from inhabit.contracts.principal import Principal
from inhabit.errors import ConfigError, InvalidInput, LimitExceeded, Unavailable
from inhabit.store.connections import ConnectionStore

ADA = Principal("ada", "acme")
BOB = Principal("bob", "acme")
TOKEN = "the-token-that-must-not-be-seen"


@pytest.fixture
def store(tmp_path: Path):
    made = ConnectionStore(tmp_path / "home" / "connections.db", tmp_path / "home" / "connections.key", clock=lambda: 1_000.0)
    yield made
    made.close()


def of(principal: Principal, connector: str = "github", token: str = TOKEN, **more) -> StoredConnection:
    return StoredConnection(ConnectionInfo(connector, principal, "oauth", **more), {"token": Secret(token)}, {"issuer": "https://as.example"})


async def test_kept_found_and_removed(store: ConnectionStore) -> None:
    assert await store.get("github", ADA) is None
    await store.put(of(ADA, scopes=("repo", "user"), expires_ms=5_000_000))
    found = await store.get("github", ADA)
    assert found.values["token"].reveal() == TOKEN and found.details == {"issuer": "https://as.example"}
    assert found.info == ConnectionInfo("github", ADA, "oauth", ("repo", "user"), 5_000_000, 1_000_000, 1_000_000)
    for other in (BOB, Principal("ada", "other"), Principal("ada", "acme", "helper")):
        assert await store.get("github", other) is None
    assert await store.get("gitlab", ADA) is None
    assert await store.remove("github", ADA) and not await store.remove("github", ADA)
    assert await store.get("github", ADA) is None


async def test_a_list_shows_no_values(store: ConnectionStore) -> None:
    await store.put(of(ADA))
    await store.put(of(BOB, "slack"))
    await store.put(of(Principal("eve", "other")))
    listed = await store.list(tenant="acme")
    assert [(info.connector, info.principal) for info in listed] == [("github", ADA), ("slack", BOB)]
    assert TOKEN not in repr(listed) and TOKEN not in repr(await store.get("github", ADA))
    assert [info.connector for info in await store.list(tenant="acme", user="bob")] == ["slack"]
    assert await store.list(tenant="acme", connector="nothing") == []


async def test_no_plaintext_in_any_file(store: ConnectionStore, tmp_path: Path) -> None:
    for number in range(50):
        await store.put(of(Principal(f"u{number}", "acme"), token=f"{TOKEN}-{number}"))
    await store.keep_note("flow", "state", {"verifier": TOKEN})
    await store.remove("github", Principal("u7", "acme"))
    files = [file for file in (tmp_path / "home").iterdir() if file.is_file()]
    assert {file.name for file in files} >= {"connections.db", "connections.db-wal", "connections.key"}
    for file in files:
        assert TOKEN.encode() not in file.read_bytes(), file
        assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0, file
    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o700


async def test_survives_a_restart_and_another_process(store: ConnectionStore, tmp_path: Path) -> None:
    await store.put(of(ADA))
    other = ConnectionStore(tmp_path / "home" / "connections.db", tmp_path / "home" / "connections.key")
    assert (await other.get("github", ADA)).values["token"].reveal() == TOKEN
    await other.put(of(ADA, token="newer"))
    other.close()
    assert (await store.get("github", ADA)).values["token"].reveal() == "newer"
    assert (await store.get("github", ADA)).info.created_ms == 1_000_000


async def test_a_row_moved_to_another_owner_does_not_open(store: ConnectionStore, tmp_path: Path) -> None:
    await store.put(of(ADA))
    with sqlite3.connect(tmp_path / "home" / "connections.db") as raw:
        raw.execute("UPDATE connections SET user = 'bob'")
    raw.close()
    with pytest.raises(Unavailable, match="does not open"):
        await store.get("github", BOB)


async def test_another_key_opens_nothing(store: ConnectionStore, tmp_path: Path) -> None:
    await store.put(of(ADA))
    other = ConnectionStore(tmp_path / "home" / "connections.db", tmp_path / "home" / "other.key")
    with pytest.raises(Unavailable, match="does not open"):
        await other.get("github", ADA)
    other.close()


@pytest.mark.parametrize("spoil", [
    lambda key: key.chmod(0o644), lambda key: key.chmod(0o620), lambda key: key.write_text("inhabit-key-1:AAAA"),
    lambda key: key.write_bytes(b"\xff" * 32), lambda key: key.parent.chmod(0o777),
])
def test_a_key_that_cannot_be_trusted_is_refused(tmp_path: Path, spoil) -> None:
    home = tmp_path / "home"
    ConnectionStore(home / "c.db", home / "c.key").close()
    spoil(home / "c.key")
    with pytest.raises(ConfigError):
        ConnectionStore(home / "c.db", home / "c.key")


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "c.db").write_bytes(b"not a database" * 100)
    with pytest.raises(Unavailable, match=r"c\.db"):
        ConnectionStore(tmp_path / "c.db", tmp_path / "key" / "c.key")


async def test_notes_are_taken_once_and_expire(tmp_path: Path) -> None:
    now = [1_000.0]
    store = ConnectionStore(tmp_path / "c.db", tmp_path / "k" / "c.key", clock=lambda: now[0])
    await store.keep_note("flow", "a", {"x": 1}, expires_ms=1_010_000)
    assert await store.note("flow", "a") == {"x": 1} and await store.note("other", "a") is None
    taken = await asyncio.gather(*(store.take_note("flow", "a") for _ in range(20)))
    assert [value for value in taken if value is not None] == [{"x": 1}]
    await store.keep_note("flow", "b", {"x": 2}, expires_ms=1_010_000)
    now[0] = 1_011.0
    assert await store.take_note("flow", "b") is None
    store.close()
    with pytest.raises(Unavailable, match="closed"):
        await store.note("flow", "b")


async def test_values_are_bounded(store: ConnectionStore) -> None:
    with pytest.raises(InvalidInput, match="bytes"):
        await store.put(of(ADA, token="x" * 100_000))
    await store.put(replace(of(ADA), values={}))
    assert (await store.get("github", ADA)).values == {}


async def test_a_full_tenant_can_still_renew_what_it_has(store: ConnectionStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refresh token that was rotated and could not be kept would end the connection."""
    monkeypatch.setattr("inhabit.store.connections.MAX_CONNECTIONS_PER_TENANT", 1)
    await store.put(of(ADA))
    await store.put(of(ADA, token="rotated"))
    assert (await store.get("github", ADA)).values["token"].reveal() == "rotated"
    with pytest.raises(LimitExceeded, match="connections"):
        await store.put(of(BOB))
