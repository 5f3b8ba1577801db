"""Tokens over HTTP: they narrow, belong to their principal, and only the operator makes them for others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2
import pytest

from inhabit.contracts.operation import Operation
from inhabit.kernel.grants import Grant, Permitted
from inhabit.server import tokens as routes_of_tokens


def permits(grant: Grant, name: str) -> bool:
    return isinstance(grant.permits(Operation(name, {}), {}, 0, {}), Permitted)


async def test_E02_attenuation_a_token_from_a_token_can_only_do_less(bob: httpx2.AsyncClient, tokens: Any):
    answer = await bob.post("/v1/tokens", json={"grant": ["**"], "label": "laptop", "expires_s": 60})
    assert answer.status_code == 201 and answer.json()["token"] == "inh_id0"
    assert answer.json()["principal"] == "acme/bob" and answer.json()["parent"] == "t-bob"
    assert answer.json()["expires_ms"] - answer.json()["created_ms"] == 60_000
    grant = Grant.from_value(tokens.records["id0"].authority)
    assert permits(grant, "shop.orders.list") and not permits(grant, "github.issues.list")


async def test_a_grant_that_matches_nothing_is_warned_of_and_made(bob: httpx2.AsyncClient):
    made = await bob.post("/v1/tokens", json={"grant": ["shp.**", "shop.**"]})
    assert made.status_code == 201 and made.json()["warnings"] == ["shp.** matches no operation"]
    assert (await bob.post("/v1/tokens", json={})).json()["warnings"] == []


@pytest.mark.parametrize("body", [{"grant": ["no good!"]}, {"grant": [{"pattern": "**", "caveats": [{"until": 3}]}]},
                                  {"expires_s": 0}, {"expires_s": 1e99}, {"label": "x" * 300}, {"grants": []}])
async def test_a_wrong_ask_makes_no_token(bob: httpx2.AsyncClient, tokens: Any, body: dict[str, Any]):
    assert (await bob.post("/v1/tokens", json=body)).status_code == 422
    assert tokens.records == {}


async def test_only_the_operator_makes_tokens_for_others(bob: httpx2.AsyncClient, operator: httpx2.AsyncClient, tokens: Any):
    refused = await bob.post("/v1/tokens", json={"principal": "acme/ada"})
    assert refused.status_code == 403 and tokens.records == {}
    made = await operator.post("/v1/tokens", json={"principal": "acme/ada", "grant": ["shop.**"]})
    assert made.json()["principal"] == "acme/ada" and made.json()["parent"] is None


async def test_E18_tokens_of_others_are_neither_listed_nor_revoked(
        ada: httpx2.AsyncClient, bob: httpx2.AsyncClient, eve: httpx2.AsyncClient, operator: httpx2.AsyncClient, tokens: Any):
    await ada.post("/v1/tokens", json={})
    for client in (bob, eve):
        assert (await client.get("/v1/tokens")).json() == {"tokens": []}
        assert (await client.delete("/v1/tokens/id0")).status_code == 404
    assert tokens.records["id0"].revoked_ms is None
    listed = (await operator.get("/v1/tokens")).json()["tokens"]
    assert [record["id"] for record in listed] == ["id0"] and "token" not in listed[0]
    assert (await ada.delete("/v1/tokens/id0")).status_code == 204
    assert tokens.records["id0"].revoked_ms is not None


async def test_only_the_operator_makes_a_backup_and_of_an_absolute_path(bob: httpx2.AsyncClient, operator: httpx2.AsyncClient, tmp_path: Path):
    target = tmp_path / "copy.db"
    assert (await bob.post("/v1/backup", json={"file": str(target)})).status_code == 403
    assert (await operator.post("/v1/backup", json={"file": "copy.db"})).status_code == 422
    assert not target.exists()
    made = await operator.post("/v1/backup", json={"file": str(target)})
    assert made.status_code == 201 and made.json() == {"file": str(target), "bytes": 4}


async def test_B30_a_huge_grant_is_refused_since_every_request_would_read_it(ada: httpx2.AsyncClient):
    grant = [{"pattern": "**", "caveats": [{"argument": "a", "one_of": [f"x{n}" for n in range(20_000)]}]}]
    answer = await ada.post("/v1/tokens", json={"grant": grant})
    assert (answer.status_code, answer.json()["details"]["limit"]) == (413, "grant_bytes")
    assert (await ada.get("/v1/tokens")).json() == {"tokens": []}


async def test_B30_tokens_of_a_user_are_bounded_and_revoking_makes_room(ada: httpx2.AsyncClient, bob: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(routes_of_tokens, "MAX_TOKENS_PER_USER", 3)
    made = [(await ada.post("/v1/tokens", json={})).json()["id"] for _ in range(3)]
    refused = await ada.post("/v1/tokens", json={})
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_tokens") and refused.headers["retry-after"]
    assert (await bob.post("/v1/tokens", json={})).status_code == 201
    assert (await ada.delete(f"/v1/tokens/{made[0]}")).status_code == 204
    assert (await ada.post("/v1/tokens", json={})).status_code == 201
