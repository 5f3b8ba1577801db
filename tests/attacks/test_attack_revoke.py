"""Authority that was taken away: of runs that go on, and of runs that only wait to go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from inhabit import Capability, Inhabit

POLICY = {"rule": [{"name": "people pay", "on": "lab.pay", "then": "ask"}]}


class Lab:
    def __init__(self, home: Path) -> None:
        self.home = home
        self.begun = 0
        self.paid = 0
        self.busy = asyncio.Event()

    def app(self) -> Inhabit:
        lab = Capability("lab")

        @lab.operation(reads="public")
        async def step() -> int:
            self.begun += 1
            if self.begun >= 100:
                self.busy.set()
            await asyncio.sleep(0.02)
            return self.begun

        @lab.operation(writes="internal", irreversible=False)
        async def pay() -> str:
            self.paid += 1
            return "paid"

        return Inhabit([lab], home=self.home, policy=POLICY)

    async def client(self, app: Inhabit, token: str) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app.http_app(app.check_token)), base_url="http://localhost",
                                  headers={"authorization": f"Bearer {token}"})


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncGenerator[Lab]:
    yield Lab(tmp_path / "home")


@pytest.mark.parametrize("of", ["own", "parent"])
async def test_E22_after_a_revocation_is_acknowledged_no_call_starts(lab: Lab, of: str) -> None:
    async with lab.app() as app:
        owner, _ = await app.create_token("ada")
        async with await lab.client(app, owner) as ada:
            made = (await ada.post("/v1/tokens", json={})).json()
            child = (await lab.client(app, made["token"])) if of == "own" else (
                await lab.client(app, (await (await lab.client(app, made["token"])).post("/v1/tokens", json={})).json()["token"]))
            async with child:
                program = "while (true) await Promise.all(Array.from({ length: 10 }, () => lab.step({})))"
                runs = [(await child.post("/v1/runs", json={"program": program, "wait_s": 0})).json()["run"] for _ in range(10)]
                await asyncio.wait_for(lab.busy.wait(), 20)
                assert (await ada.delete(f"/v1/tokens/{made['id']}")).status_code == 204
                begun = lab.begun
                assert (await child.post("/v1/runs", json={"program": "return 1"})).status_code == 401
                await asyncio.sleep(0.1)
            assert lab.begun == begun
            for run in runs:
                ended = (await ada.get(f"/v1/runs/{run}")).json()
                assert ended["state"] == "failed" and "end of the token" in ended["error"]["message"], ended


@pytest.mark.parametrize("restarted", [False, True])
async def test_F14_a_sleeping_run_dies_with_the_token_that_started_it(lab: Lab, restarted: bool) -> None:
    async with lab.app() as app:
        token, record = await app.create_token("ada")
        async with await lab.client(app, token) as ada:
            run: dict[str, Any] = (await ada.post("/v1/runs", json={"program": "return await lab.pay({})"})).json()
            assert run["state"] == "suspended"
            assert (await ada.delete(f"/v1/tokens/{record.id}")).status_code == 204
        if not restarted:
            await approved(app, run)
    if restarted:
        async with lab.app() as app:
            await approved(app, run)
    assert lab.paid == 0


async def approved(app: Inhabit, run: dict[str, Any]) -> None:
    boss, _ = await app.create_token("boss", grant=[], approve=True)
    headers = {"authorization": f"Bearer {boss}"}
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app.http_app(app.check_token)), base_url="http://localhost", headers=headers) as client:
        path = f"/v1/approvals/{run['approvals'][0]['id']}"
        digest = (await client.get(path)).json()["digest"]
        assert (await client.post(path, json={"verdict": "approve", "digest": digest})).status_code == 200
    async with asyncio.timeout(10):
        while (ended := await app.runtime.wait(run["run"], app.caller("ada"))).state in ("running", "suspended"):
            await asyncio.sleep(0.01)
    assert ended.state == "failed" and ended.error is not None and "end of the token" in ended.error["message"]
