"""Approvals at the doors: who may answer, what they are shown, and what an answer does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx2
import mcp_types as types
import pytest
import pytest_asyncio
from mcp import Client

from inhabit import Capability, Inhabit
from inhabit.config import ApprovalsConfig
from inhabit.server.auth import Identity
from inhabit.server.mcp import create_mcp_server
from inhabit.server.showing import oddities, shown_call
from inhabit.server.toolset import Toolset

pytestmark = pytest.mark.asyncio(loop_scope="module")
POLICY = {"rule": [{"name": "people pay", "on": "bank.pay", "then": "ask", "reason": "it moves money"}]}
PAY = "return await bank.pay({ to: 'bob', amount: 5 })"


class World:
    """`own`: an app for oneself, where the operator answers; else one where it takes another person."""

    def __init__(self, home: Path, cache: Path, *, own: bool, webhook: str | None = None) -> None:
        home.mkdir()
        (home / "cache").symlink_to(cache)
        self.paid: list[Any] = []
        bank = Capability("bank")

        @bank.operation(writes="internal", irreversible=False)
        async def pay(to: str, amount: float) -> str:
            self.paid.append((to, amount))
            return "paid"

        self.app = Inhabit([bank], home=home, policy=POLICY,
                           approvals=ApprovalsConfig.model_validate({"self": own, "webhook": webhook}))

    async def client(self, who: str, *, operator: bool = False, **token: Any) -> httpx2.AsyncClient:
        made, _ = await self.app.create_token(who, **token)
        identity = await self.app.check_token(made)
        assert identity is not None

        async def check(given: str) -> Identity | None:
            if operator:
                return Identity("op", identity.principal, identity.grant, operator=True)
            return await self.app.check_token(given)

        return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=self.app.http_app(check)), base_url="http://localhost",
                                  headers={"authorization": f"Bearer {made}"})

    async def approver(self, who: str = "boss") -> httpx2.AsyncClient:
        return await self.client(who, grant=[], approve=True)

    async def ask(self, program: str = PAY) -> dict[str, Any]:
        """A run that waits, as its caller sees it."""
        run = await self.app.execute(program, principal="ada", language="typescript")
        assert run.state == "suspended", run.error
        return run.as_value()

    async def ended(self, run_id: str) -> dict[str, Any]:
        async with asyncio.timeout(10):
            while (result := await self.app.runtime.wait(run_id, self.app.caller("ada"), wait_s=0.2)).state in ("running", "suspended"):
                await asyncio.sleep(0.01)
        return result.as_value()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> AsyncGenerator[World]:
    made = World(tmp_path_factory.mktemp("two") / "home", cache, own=False)
    async with made.app:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mine(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> AsyncGenerator[World]:
    made = World(tmp_path_factory.mktemp("mine") / "home", cache, own=True)
    async with made.app:
        yield made


async def pending(client: httpx2.AsyncClient, run: str) -> dict[str, Any]:
    groups = (await client.get("/v1/approvals", params={"limit": 500})).json()["groups"]
    return next(a for group in groups for a in group["approvals"] if a["run"] == run)


async def test_a_person_with_an_approvers_token_answers(world: World) -> None:
    run = await world.ask()
    (named,) = run["approvals"]
    assert named["operation"] == "bank.pay" and named["reason"] == "it moves money" and named["expires_ms"] > 0
    async with await world.approver() as boss:
        shown = await pending(boss, run["run"])
        assert json.loads(shown["arguments"]) == {"to": "bob", "amount": 5} and shown["id"] == named["id"]
        text = (await boss.get("/v1/metrics")).text
        assert f"inhabit_pending_approvals {world.app.runtime.parts.questions.open}" in text and world.app.runtime.parts.questions.open >= 1
        before = list(world.paid)
        answer = await boss.post(f"/v1/approvals/{shown['id']}", json={"verdict": "approve", "digest": shown["digest"], "reason": "fine"})
        assert answer.json() == {"id": shown["id"], "verdict": "approve", "by": "default/boss", "credential": "token"}
        assert (await world.ended(run["run"]))["result"] == "paid" and world.paid == [*before, ("bob", 5)]
        again = await boss.post(f"/v1/approvals/{shown['id']}", json={"verdict": "reject"})
        assert again.status_code == 409 and again.json()["code"] == "already_decided"


async def test_E04_an_edit_is_decided_anew_and_another_digest_is_refused(world: World) -> None:
    run = await world.ask()
    async with await world.approver() as boss:
        shown = await pending(boss, run["run"])
        path = f"/v1/approvals/{shown['id']}"
        assert (await boss.post(path, json={"verdict": "approve"})).status_code == 422
        assert (await boss.post(path, json={"verdict": "approve", "digest": "0" * 64})).status_code == 409
        other = await world.ask("return await bank.pay({ to: 'eve', amount: 9 })")
        stolen = await boss.post(f"/v1/approvals/{other['approvals'][0]['id']}", json={"verdict": "approve", "digest": shown["digest"]})
        assert stolen.status_code == 409
        done = await boss.post(path, json={"verdict": "approve", "digest": shown["digest"], "arguments": {"to": "bob", "amount": 1}})
        assert done.status_code == 200
        assert (await world.ended(run["run"]))["state"] == "completed" and world.paid[-1] == ("bob", 1)


async def test_E07_no_program_agent_or_asker_can_answer(world: World) -> None:
    run = await world.ask()
    (named,) = run["approvals"]
    paid = list(world.paid)
    clients = {"asker": await world.client("ada"), "other": await world.client("bob"), "agent": await world.client("default/bob/helper"),
               "operator": await world.client("root", operator=True), "self": await world.approver("ada")}
    async with await world.approver() as boss:
        digest = (await pending(boss, run["run"]))["digest"]
    for name, client in clients.items():
        async with client:
            answer = await client.post(f"/v1/approvals/{named['id']}", json={"verdict": "approve", "digest": digest})
            assert answer.status_code == 403, (name, answer.text)
            seen = await client.get(f"/v1/approvals/{named['id']}")
            assert seen.status_code == (404 if name in ("other", "agent") else 200), name
            if name in ("asker", "other", "agent", "self"):
                made = await client.post("/v1/tokens", json={"approve": True})
                assert made.status_code == 403, name
    assert (await world.app.runtime.wait(run["run"], world.app.caller("ada"))).state == "suspended" and world.paid == paid


async def test_E18_another_tenants_approver_sees_and_answers_nothing(world: World) -> None:
    run = await world.ask()
    (named,) = run["approvals"]
    async with await world.approver("other/boss") as stranger:
        assert (await stranger.get("/v1/approvals")).json() == {"groups": [], "waiting": 0}
        assert (await stranger.get(f"/v1/approvals/{named['id']}")).status_code == 404
        answer = await stranger.post(f"/v1/approvals/{named['id']}", json={"verdict": "approve", "digest": "0" * 64})
        assert answer.status_code == 404


async def test_an_approvers_token_may_do_nothing_else(world: World) -> None:
    async with await world.approver() as boss:
        assert (await boss.get("/v1/capabilities")).json() == {"capabilities": []}
        refused = (await boss.post("/v1/runs", json={"program": PAY})).json()
        assert refused["code"] == "program_invalid" or refused["state"] == "failed"


async def test_E05_what_hides_is_shown_and_what_is_cut_cannot_be_approved(world: World) -> None:
    long = "x" * 50_000
    run = await world.ask(f"return await bank.pay({{ to: 'bob\\u202eevil\\u200b{long}', amount: 5 }})")
    async with await world.approver() as boss:
        shown = await pending(boss, run["run"])
        assert shown["truncated"] and "digest" not in shown and "more characters" in shown["arguments"]
        assert "\\u202e" in shown["arguments"] and "\u202e" not in shown["arguments"] and len(shown["arguments"]) < 10_000
        whole = (await boss.get(f"/v1/approvals/{shown['id']}", params={"whole": "true"})).json()
        assert long in whole["arguments"] and not whole["truncated"]
        done = await boss.post(f"/v1/approvals/{shown['id']}", json={"verdict": "approve", "digest": whole["digest"]})
        assert done.status_code == 200
        await world.ended(run["run"])


@pytest.mark.parametrize(("text", "hidden"), [
    ("a\u202eb", "\\u202e"), ("a\u200bb", "\\u200b"), ("a\u2066b", "\\u2066"), ("a\x1b[2Jb", "\\u001b"), ("a\u2028b", "\\u2028"),
    ("p\u0430ypal", "\\u0430"), ("a\U000e0041b", "\\udb40\\udc41"), ("a\u3000b", "\\u3000"), ("a\ue000b", "\\ue000"), ("\uff50aypal", "\\uff50"),
])
async def test_E05_characters_that_mislead_are_escaped(text: str, hidden: str) -> None:
    call = shown_call(json.dumps({"to": text}).encode())
    assert hidden in call.text and call.warnings and (text.isascii() or text not in call.text)


async def test_E05_honest_words_stay_readable() -> None:
    call = shown_call('{"to":"Zoë Müller, 東京 Москва Αθήνα <b>*x*</b>"}'.encode())
    assert "Zoë Müller, 東京 Москва Αθήνα <b>*x*</b>" in call.text and call.warnings == ()


async def test_E06_the_odd_one_of_many_alike_stands_first(world: World) -> None:
    run = await world.ask("await Promise.allSettled(Array.from({ length: 30 }, (_, i) => "
                          "bank.pay(i === 17 ? { to: 'eve', amount: 9000 } : { to: 'bob', amount: 5 + i % 3 })))")
    async with await world.approver("judge") as boss:
        groups = (await boss.get("/v1/approvals", params={"limit": 500})).json()["groups"]
        first = next(a for a in groups[0]["approvals"] if a["run"] == run["run"])
        assert json.loads(first["arguments"]) == {"to": "eve", "amount": 9000}
        assert any("amount is 9000" in why for why in first["odd"]) and any('to is "eve"' in why for why in first["odd"])
    await world.app.runtime.cancel(run["run"], world.app.caller("ada"))


async def test_E06_a_run_that_asks_too_much_is_refused_more(world: World) -> None:
    open_before = world.app.runtime.parts.questions.open
    run = await world.ask("const all = await Promise.allSettled(Array.from({ length: 60 }, () => bank.pay({ to: 'bob', amount: 5 })));"
                          "return all.filter(one => one.reason?.code === 'too_many_questions').length")
    assert len(run["approvals"]) == 50 and world.app.runtime.parts.questions.open == open_before + 50
    async with await world.approver() as boss:
        for named in run["approvals"]:
            assert (await boss.post(f"/v1/approvals/{named['id']}", json={"verdict": "reject"})).status_code == 200
    assert (await world.ended(run["run"]))["result"] == 10
    assert world.app.runtime.parts.questions.open == open_before


async def test_odd_is_what_differs_from_most() -> None:
    calls = [json.dumps({"to": "bob", "note": f"n{n}"}).encode() for n in range(5)]
    assert oddities(calls) == [[]] * 5
    assert oddities([*calls, b'{"to":"bob","note":"x","force":true}'])[5] == ["force is true, most are left out"]
    assert oddities(calls[:2]) == [[], []]


async def test_for_oneself_the_operator_answers_and_it_is_marked(mine: World) -> None:
    run = await mine.ask()
    async with await mine.client("ada", operator=True) as ada, await mine.client("ada") as program:
        shown = await pending(ada, run["run"])
        body = {"verdict": "reject", "reason": "not now"}
        assert (await program.post(f"/v1/approvals/{shown['id']}", json=body)).status_code == 403
        answer = await ada.post(f"/v1/approvals/{shown['id']}", json=body)
        assert answer.json()["credential"] == "operator, unprotected"
        assert (await mine.ended(run["run"]))["error"]["message"].endswith("not now")
        entries = (await ada.get(f"/v1/runs/{run['run']}/entries")).json()["entries"]
        kinds = [entry["type"] for entry in entries]
        assert [k for k in kinds if k in ("asked", "suspended", "decided")] == ["asked", "suspended", "decided"]
        stream = (await ada.get(f"/v1/runs/{run['run']}/events")).text
        assert "event: asked" in stream and "event: decided" in stream and "event: suspended" in stream


@pytest.mark.parametrize(("action", "content", "state"), [
    ("accept", {"approve": True}, "completed"), ("accept", {"approve": False, "reason": "no"}, "rejected"), ("decline", None, "rejected"),
    ("cancel", None, "suspended"),
])
async def test_a_client_that_can_ask_its_person_does(mine: World, action: Any, content: Any, state: str) -> None:
    app, said = mine.app, list[str]()

    async def person(_: Any, params: Any) -> types.ElicitResult:
        said.append(params.message)
        return types.ElicitResult(action=action, content=content)

    server = create_mcp_server(Toolset(app.runtime), app.runtime, caller=app.caller("ada", door="mcp"), desk=app.desk)
    async with Client(server, elicitation_callback=person, mode="legacy") as client:
        answer = await client.call_tool("execute", {"program": PAY})
    value = answer.structured_content
    assert value is not None and value["state"] == state, value
    assert len(said) == 1 and "it moves money" in said[0] and '"amount": 5' in said[0]
    if state == "suspended":
        assert value["approvals"][0]["operation"] == "bank.pay"


async def test_a_client_that_cannot_ask_is_told_what_waits(mine: World) -> None:
    server = create_mcp_server(Toolset(mine.app.runtime), mine.app.runtime, caller=mine.app.caller("ada", door="mcp"), desk=mine.app.desk)
    async with Client(server) as client:
        answer = await client.call_tool("execute", {"program": PAY})
    value = answer.structured_content
    assert value is not None and value["state"] == "suspended" and not answer.is_error and value["approvals"][0]["reason"] == "it moves money"


async def test_the_webhook_hears_of_a_question_without_its_arguments(tmp_path: Path, cache: Path) -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        heard.put_nowait(await reader.readexactly(length))
        writer.write(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(receive, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    made = World(tmp_path / "home", cache, own=True, webhook=url)
    async with server, made.app:
        run = await made.ask()
        body = json.loads(await asyncio.wait_for(heard.get(), 10))
    assert body["id"] == run["approvals"][0]["id"] and body["operation"] == "bank.pay"
    assert body.keys() == {"event", "id", "principal", "operation", "rule", "expires_ms"}   # a limit's reason would count the arguments
    assert body["rule"] == "people pay" and "bob" not in json.dumps(body)
