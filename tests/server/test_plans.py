"""Plans at the doors: HTTP, the tools of a model, both languages in real workers, and a server that is killed while it applies."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from typing_extensions import TypedDict

from inhabit import Capability, Inhabit
from inhabit.contracts.connector import Call
from inhabit.contracts.operation import Resource
from inhabit.server.toolset import Toolset

pytestmark = pytest.mark.asyncio(loop_scope="module")
PROGRAMS = {
    "typescript": """
const before = await shop.list({});
const made = await Promise.all(["a", "b", "c"].map(name => shop.create({ name })));
const seen = await shop.get({ id: made[1].id });
await shop.note({ text: `${made[0].id} ${before.length}` });
return [seen.name, (await shop.list({})).length];
""",
    "python": """
import asyncio
before = await shop.list()
made = await asyncio.gather(*[shop.create(name=name) for name in ["a", "b", "c"]])
seen = await shop.get(id=made[1]["id"])
await shop.note(text=made[0]["id"] + " " + str(len(before)))
return [seen["name"], len(await shop.list())]
""",
}


class Thing(TypedDict):
    id: str
    name: str


def shop_of(things: list[dict[str, Any]], written: list[str]) -> Capability:
    shop = Capability("shop")

    @shop.operation(reads="private", resource=Resource("thing", "read", argument="id"))
    async def get(id: str) -> dict[str, Any]:
        return next(thing for thing in things if thing["id"] == id)

    @shop.operation(name="list", reads="private", resource=Resource("thing", "list"))
    async def all_of_them() -> list[dict[str, Any]]:
        return things

    @shop.operation(writes="internal", resource=Resource("thing", "create"))
    async def create(name: str) -> Thing:
        written.append(name)
        things.append({"id": f"t{len(things) + 1}", "name": name})
        return Thing(**things[-1])

    @shop.operation(writes="external", irreversible=True)
    async def note(text: str) -> None:
        written.append(text)
    return shop


class World:
    def __init__(self, home: Path) -> None:
        self.written: list[str] = []
        self.things: list[dict[str, Any]] = []
        self.app = Inhabit([shop_of(self.things, self.written)], home=home)

    async def client(self, who: str) -> httpx2.AsyncClient:
        token, _ = await self.app.create_token(who)
        return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=self.app.http_app(self.app.check_token)), base_url="http://localhost",
                                  headers={"authorization": f"Bearer {token}"})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[World]:
    made = World(tmp_path_factory.mktemp("plans") / "home")
    async with made.app:
        yield made


@pytest.mark.parametrize("language", PROGRAMS)
async def test_E20_over_http_a_plan_is_shown_applied_once_and_by_its_owner_alone(world: World, language: str) -> None:
    world.things.clear()
    world.written.clear()
    ada, eve = await world.client("ada"), await world.client("eve")
    run = (await ada.post("/v1/runs", json={"program": PROGRAMS[language], "language": language, "mode": "plan"})).json()
    assert run["state"] == "completed" and run["result"] == ["b", 3] and world.written == [], run
    plan, apply = f"/v1/runs/{run['run']}/plan", f"/v1/runs/{run['run']}/apply"
    changes = (await ada.get(plan)).json()
    assert [write["operation"] for write in changes["writes"]] == ["shop.create"] * 3 + ["shop.note"]
    assert changes["writes"][3]["effects"]["irreversible"] and changes["writes"][3]["reads"] == [1]
    assert [(await eve.get(plan)).status_code, (await eve.post(apply, json={"hash": changes["hash"]})).status_code] == [404, 404]
    assert (await ada.post(apply, json={"hash": "0" * 64})).json()["code"] == "plan_changed" and world.written == []
    done = (await ada.post(apply, json={"hash": changes["hash"]})).json()
    assert done["state"] == "completed" and sorted(world.written) == ["a", "b", "c", f"{world.things[0]['id']} 0"], done
    again = await ada.post(apply, json={"hash": changes["hash"]})
    assert (again.status_code, again.json()["code"]) == (409, "already_applied") and len(world.written) == 4
    assert (await ada.delete(plan)).status_code == 409


async def test_conflicts_are_told_and_a_dropped_plan_is_gone(world: World) -> None:
    world.things.clear()
    world.written.clear()
    ada = await world.client("ada")
    run = (await ada.post("/v1/runs", json={"program": PROGRAMS["typescript"], "mode": "plan"})).json()["run"]
    changes = (await ada.get(f"/v1/runs/{run}/plan")).json()
    world.things.append({"id": "x", "name": "of another"})
    refused = await ada.post(f"/v1/runs/{run}/apply", json={"hash": changes["hash"]})
    assert refused.status_code == 409 and refused.json()["details"]["conflicts"][0]["operation"] == "shop.list" and world.written == []
    assert (await ada.delete(f"/v1/runs/{run}/plan")).json()["dropped"]
    assert (await ada.post(f"/v1/runs/{run}/apply", json={"hash": changes["hash"]})).status_code == 409 and world.written == []


async def test_a_model_plans_with_the_same_tool(world: World) -> None:
    world.things.clear()
    world.written.clear()
    tools = Toolset(world.app.runtime)
    answer = await tools.call("execute", {"program": PROGRAMS["typescript"], "mode": "plan"}, world.app.caller("ada", door="mcp"))
    assert answer.value is not None and answer.value["state"] == "completed" and world.written == []
    assert len((await world.app.plans.show(answer.value["run"], world.app.caller("ada")))["writes"]) == 4


async def test_a_plan_that_is_read_again_after_a_restart_is_the_same(tmp_path: Path) -> None:
    world = World(tmp_path / "home")
    async with world.app:
        run = await world.app.execute(PROGRAMS["typescript"], principal="ada", language="typescript", mode="plan")
        before = await world.app.plans.show(run.run_id, world.app.caller("ada"))
    async with world.app:
        assert await world.app.plans.show(run.run_id, world.app.caller("ada")) == before


SERVER = """
import asyncio, sys
from pathlib import Path
from tests.server.test_plans import killable

asyncio.run(killable(Path(sys.argv[1]), sys.argv[2]))
"""
APPLIED = """
const a = await sink.make({ name: "a" });
const b = await sink.make({ name: "b:" + a.id });
const c = await sink.make({ name: "c:" + b.id });
return [a.id, b.id, c.id];
"""


def sink_of(folder: Path) -> Capability:
    """Each write leaves a line; the second one kills the server after it, once."""
    sink = Capability("sink")

    @sink.operation(writes="internal", irreversible=False, idempotent=True)
    async def make(call: Call, name: str) -> Thing:
        made = folder / call.idempotency_key.replace(":", "_")
        new = not made.exists()
        made.write_text(name)
        with (folder / "calls.txt").open("a") as calls:
            calls.write(f"{name} {'new' if new else 'again'}\n")
        if name.startswith("b") and new:
            os.kill(os.getpid(), signal.SIGKILL)
        return Thing(id=f"id-{name[0]}", name=name)
    return sink


async def killable(folder: Path, what: str) -> None:
    app = Inhabit([sink_of(folder)], home=folder / "home")
    async with app:
        ada = app.caller("ada")
        if what == "plan":
            run = await app.execute(APPLIED, principal="ada", language="typescript", mode="plan")
            changes = await app.plans.show(run.run_id, ada)
            sys.stdout.write(json.dumps([run.run_id, changes["hash"], len(changes["writes"])]))
        elif what == "settle":
            run = await settled(app)
            sys.stdout.write(json.dumps([run.state, run.value]))
        else:
            run_id, digest = what.split(",")
            await app.plans.apply(run_id, ada, digest=digest)


async def settled(app: Inhabit) -> Any:
    async with asyncio.timeout(30):
        while app.runtime.live:
            await asyncio.sleep(0.02)
    page = await app.runtime.list(app.caller("ada"))
    applied = [run for run in page.runs if (await app.runtime.parts.journal.header(run.run_id, tenant="default")).mode == "apply"]
    return await app.runtime.wait(applied[0].run_id, app.caller("ada"))


async def test_F02_a_server_killed_while_it_applies_goes_on_and_doubles_no_write(tmp_path: Path) -> None:
    async def served(what: str) -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", SERVER, str(tmp_path), what, stdout=asyncio.subprocess.PIPE)
        out, _ = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode is not None
        return process.returncode, out.decode()

    code, said = await served("plan")
    run, digest, writes = json.loads(said)
    assert (code, writes) == (0, 3) and not (tmp_path / "calls.txt").exists()
    assert (await served(f"{run},{digest}"))[0] == -signal.SIGKILL
    code, said = await served("settle")
    assert (code, json.loads(said)) == (0, ["completed", ["id-a", "id-b", "id-c"]])
    assert (tmp_path / "calls.txt").read_text().splitlines() == ["a new", "b:id-a new", "b:id-a again", "c:id-b new"]
