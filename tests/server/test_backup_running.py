"""A backup taken over the running server, and what a server that starts from it knows, has and does."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx2

from inhabit import Inhabit, Principal
from inhabit.app.home import now_ms
from inhabit.kernel.grants import Grant
from inhabit.server.auth import Identity
from inhabit.server.http import create_app
from inhabit.store.tenants.copies import restore_home
from tests.server.test_with_runtime import PICTURE, World


async def operator(_: str, /) -> Identity:
    return Identity("t-op", Principal("ada", "acme"), Grant.of("**"), operator=True)


def client(app: Inhabit) -> httpx2.AsyncClient:
    server = create_app(app.runtime, journal=app.home.journal, check_token=operator, blobs=app.home.blobs, backup=app.home.store.backup)
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=server), base_url="http://localhost", headers={"authorization": "Bearer x"})


async def test_F17_a_backup_of_a_running_server_is_whole_and_honest_and_does_nothing_again(tmp_path: Path):
    world, again = World(tmp_path / "home"), World(tmp_path / "restored")
    async with world.app, client(world.app) as http:

        async def run(program: str, wait_s: float) -> dict[str, Any]:
            return (await http.post("/v1/runs", json={"program": program, "wait_s": wait_s})).json()

        done = await run("return [await lab.picture(), 'x'.repeat(300000)]", 30)
        held = [await run("return await lab.send()", 0), await run("return await lab.wait()", 0)]
        await asyncio.wait_for(world.entered.wait(), 10)
        load = [asyncio.create_task(run("for (let i = 0; i < 20; i++) await lab.picture(); return 'y'.repeat(9000)", 30)) for _ in range(6)]
        made = await http.post("/v1/backup", json={"file": str(tmp_path / "copy")})
        assert made.status_code == 201 and made.json()["bytes"] == sum(file.stat().st_size for file in (tmp_path / "copy").rglob("*.db"))
        world.gate.set()
        later = [await task for task in load]
        assert {answer["state"] for answer in later} == {"completed"}
        assert (await http.get(f"/v1/runs/{held[0]['run']}", params={"wait_s": 10})).json()["state"] == "completed"

    restored = restore_home(tmp_path / "copy", tmp_path / "restored", now_ms=now_ms())
    assert {answer["run"] for answer in held} <= set(restored.closed)
    async with again.app, client(again.app) as http:
        assert await again.app.home.store.check() == ()
        known = {summary["run"]: summary["state"] for summary in (await http.get("/v1/runs", params={"limit": 200})).json()["runs"]}
        assert known[done["run"]] == "completed" and all(known[answer["run"]] == "unknown" for answer in held)
        assert set(known.values()) <= {"completed", "unknown"}
        whole = (await http.get(f"/v1/runs/{done['run']}/result")).json()["result"]
        assert len(whole[1]) == 300_000 and await again.app.home.blobs.get(whole[0], tenant="acme") == PICTURE
        for number in known:
            assert (await http.get(f"/v1/runs/{number}/entries", params={"limit": 1_000})).json()["after"] is None
        assert (await http.get(f"/v1/runs/{held[0]['run']}")).json()["error"]["code"] == "restored"
        assert not again.entered.is_set()   # nothing of the past was done again
