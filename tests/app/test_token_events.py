"""What befalls tokens is in the audit log, from each door: who did it, for whom, with which grant and caveats; never the secret."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest

from inhabit import Capability, Inhabit
from inhabit.cli import main
from inhabit.contracts.clock import now_ms
from inhabit.contracts.principal import Principal
from inhabit.kernel.grants import Grant
from inhabit.server.auth import Identity
from inhabit.store.audit.notes import PublicKey, public_key
from inhabit.store.audit.verify import verify
from inhabit.store.retention import Retention
from inhabit.store.tenants.erasing import erase_user
from inhabit.store.tenants.stores import Stores
from inhabit.tokens import attenuate, shown
from tests.store.tenants.tenants_kit import files_with

CLAUSE = {"pattern": "shop.orders.*", "caveats": [{"calls": 5}]}


def app_at(home: Path) -> Inhabit:
    return Inhabit([Capability("lab")], home=home)


def door(app: Inhabit, token: str = "") -> httpx2.AsyncClient:
    async def operator(_: str) -> Identity:
        return Identity("op", Principal("root"), Grant.of("**"), operator=True)

    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app.http_app(app.check_token if token else operator)), base_url="http://localhost",
                              headers={"authorization": f"Bearer {token or 'x'}"})


def told(home: Path, capsys: pytest.CaptureFixture[str], *more: str) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert main(["audit", "tokens", "--home", str(home), "--json", *more]) == 0
    return orjson.loads(capsys.readouterr().out)


def findings(home: Path) -> list[str]:
    return [str(one) for one in verify(home / "server.db", [PublicKey(public_key(home / "audit.key"))]).findings]


async def lived_in(home: Path) -> dict[str, str]:
    """Tokens made and revoked by the operator, by a holder over HTTP, and in Python; the ids and the secrets."""
    async with app_at(home) as app, door(app) as operator:
        made = (await operator.post("/v1/tokens", json={"principal": "ada", "grant": [CLAUSE], "label": "laptop", "attenuable": True})).json()
        narrowed = attenuate(made["token"], grant=["shop.orders.list"])
        async with door(app, narrowed) as holder:
            assert (await holder.delete(f"/v1/tokens/{shown(narrowed).name}")).status_code == 204
        plain = (await operator.post("/v1/tokens", json={"principal": "bob", "approve": True})).json()
        for _ in range(3):      # what is revoked already is not revoked again
            assert (await operator.delete(f"/v1/tokens/{plain['id']}")).status_code == 204
        secret, record = await app.create_token("carol", grant=["lab.*"])
        await app.revoke_token(record.id)
        assert (await operator.post("/v1/tokens/rotate-key", json={})).status_code == 200
    return {"made": made["id"], "below": shown(narrowed).name, "plain": plain["id"], "python": record.id, "secret": secret, "bearer": plain["token"],
            "signed": made["token"]}


async def test_F10_who_made_and_revoked_which_token_is_in_the_audit_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids = await lived_in(tmp_path)
    events = told(tmp_path, capsys)
    assert [(e["event"], e["token"], e["principal"], e["by"], e["credential"]) for e in events[:-1]] == [
        ("token_created", ids["made"], "default/ada", "default/root", "operator"),
        ("token_revoked", ids["below"], "default/ada", "default/ada", f"token {ids['below']}"),
        ("token_created", ids["plain"], "default/bob", "default/root", "operator"),
        ("token_revoked", ids["plain"], "default/bob", "default/root", "operator"),
        ("token_created", ids["python"], "default/carol", "", "python"),
        ("token_revoked", ids["python"], "default/carol", "", "python")]
    assert (events[-1]["event"], events[-1]["by"]) == ("token_key_rotated", "default/root")
    assert events[0]["grant"] == {"layers": [[CLAUSE]]} and events[0]["label"] == "laptop" and events[0]["expires_ms"] > now_ms()
    assert events[2]["approve"] is True and not events[0]["approve"]
    assert all(abs(e["at_ms"] - now_ms()) < 600_000 for e in events)
    for secret in ("secret", "bearer", "signed"):
        assert files_with(tmp_path, ids[secret][4:].encode()) == []
    assert main(["audit", "tokens", "--home", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "approve; nothing" in said and '{"calls":5}' in said and "default/root (operator)" in said
    assert told(tmp_path, capsys, "--tenant", "acme") == [] and findings(tmp_path) == []


async def test_a_grant_that_matches_nothing_names_the_nearest_operations_that_may_be_seen(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shop = Capability("shop.orders")

    @shop.operation(reads="private")
    async def list() -> int:
        return 1

    async with Inhabit([shop], home=tmp_path) as app, door(app) as operator:
        made = (await operator.post("/v1/tokens", json={"principal": "ada", "grant": ["shop.order.*", "shop.orders.*", "shop.orders.lst"]})).json()
        assert made["warnings"] == [f"{pattern} matches no operation that there is now; the nearest are {near}"
                                    for pattern, near in (("shop.order.*", "shop.orders.*"), ("shop.orders.lst", "shop.orders.list"))]
        narrow, _ = await app.create_token("bob", grant=["mail.*"])
        assert "a token for bob: mail.* matches no operation" in caplog.text
        async with door(app, narrow) as bob:
            said = (await bob.post("/v1/tokens", json={"grant": ["shop.orders.lst"]})).json()["warnings"]
            assert said == ["shop.orders.lst matches no operation that there is now"]       # what bob may not see is not named


async def test_F10_verify_finds_a_token_event_that_was_changed_or_taken_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids = await lived_in(tmp_path)
    for statement in ("UPDATE token_events SET body = replace(CAST(body AS TEXT), 'root', 'carl')", "UPDATE token_events SET user = 'eve' WHERE user = 'ada'",
                      f"DELETE FROM token_events WHERE token = '{ids['plain']}'"):
        kept = (tmp_path / "server.db").read_bytes()
        with closing(sqlite3.connect(tmp_path / "server.db", isolation_level=None)) as connection:
            connection.execute(statement.replace("replace(CAST(body AS TEXT), 'root', 'carl')", "CAST(replace(CAST(body AS TEXT), 'root', 'carl') AS BLOB)"))
        assert any("token event" in found for found in findings(tmp_path)), statement
        assert main(["audit", "verify", "--home", str(tmp_path)]) == 1
        assert "server.db: NOT SOUND" in capsys.readouterr().out
        (tmp_path / "server.db").write_bytes(kept)
    assert main(["audit", "verify", "--home", str(tmp_path)]) == 0
    assert "server.db: sound" in capsys.readouterr().out


async def test_F15_token_events_go_with_whom_they_are_about_and_with_who_did_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    await lived_in(tmp_path)
    stores = Stores.open(tmp_path, now_ms)
    await erase_user(stores, Principal("carol"))
    await stores.close()
    assert {e["principal"] for e in told(tmp_path, capsys)} == {"default/ada", "default/bob", "default/root"} and findings(tmp_path) == []
    stores = Stores.open(tmp_path, now_ms)
    await erase_user(stores, Principal("root"))
    await stores.close()
    assert [e["by"] for e in told(tmp_path, capsys)] == ["default/ada"]
    assert files_with(tmp_path, b"carol") == [] == files_with(tmp_path, b"default/root") and findings(tmp_path) == []


async def test_token_events_stay_as_long_as_the_record_of_their_token(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids = await lived_in(tmp_path)
    stores = Stores.open(tmp_path, now_ms)
    later = now_ms() + 31 * 86_400_000
    await stores.prune(later, Retention())
    assert await stores.tokens.list(tenant="default") and (await stores.prune(later, Retention())).tokens == 0
    await stores.close()
    assert {e["token"] for e in told(tmp_path, capsys)} == {ids["made"], ids["below"]} and findings(tmp_path) == []
