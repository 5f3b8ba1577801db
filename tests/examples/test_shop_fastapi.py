"""The shop's FastAPI app with Inhabit mounted in it."""

from __future__ import annotations

import importlib
from pathlib import Path

import httpx2
import pytest


async def test_the_mounted_runtime_serves_beside_the_shops_own_routes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("SHOP_HOME", str(tmp_path))
    module = importlib.import_module("examples.shop.fastapi_app")
    async with module.lifespan(module.api), httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=module.api), base_url="http://localhost") as client:
        assert (await client.get("/")).json()["shop"] == "open"
        token, _ = await module.app.create_token("ada", grant=["shop.catalog.*"])
        answer = await client.post("/inhabit/v1/runs", headers={"authorization": f"Bearer {token}"},
                                   json={"program": "return (await shop.catalog.search({organic: true, limit: 3})).length"})
        assert answer.json()["result"] == 3
        assert (await client.post("/inhabit/v1/runs", json={"program": "return 1"})).status_code == 401
