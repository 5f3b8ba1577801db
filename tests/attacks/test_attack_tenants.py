"""E18: every route of the document that the server itself serves, with everything that another tenant or user owns.

The walk is made from `/openapi.json`: a route that is added is walked, and one with an id that this file does not know fails.
A real server on loopback, real tokens; what is owned: runs (ended with a binary value, and asleep over an approval), a token,
an approval, a connection, labels of a conversation.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from inhabit import Capability, Inhabit, openapi
from inhabit.contracts.connector import Call
from tests.app.test_connect_routes import serving

pytestmark = pytest.mark.asyncio(loop_scope="module")
CANARY = "CANARY_TENANT_5d1e"
ATTACKERS = ("globex/ada", "globex/bob", "acme/bob", "default/ada")
SHARED_IDS = {"name"}       # names of sources are the app's, not a tenant's: what lies behind them is looked at by itself
POLICY = {"rule": [{"name": "people pay", "on": "bank.pay", "then": "ask"}]}


@dataclass
class World:
    app: Inhabit
    url: str
    tokens: dict[str, str]
    owned: dict[str, list[str]] = field(default_factory=dict)
    paid: list[str] = field(default_factory=list)

    def client(self, who: str) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(base_url=self.url, headers={"authorization": f"Bearer {self.tokens[who]}", "origin": self.url}, timeout=30)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[World]:
    folder = tmp_path_factory.mktemp("tenants")
    bank, paid = Capability("bank"), list[str]()

    @bank.operation(writes="internal", irreversible=False)
    async def pay(to: str) -> str:
        paid.append(to)
        return to

    @bank.operation(reads="private")
    async def statement(call: Call) -> dict[str, Any]:
        return await call.blobs.put(CANARY.encode(), tenant=call.principal.tenant, mime="image/png")

    (folder / "keyed.json").write_text(json.dumps({"openapi": "3.0.3", "info": {"title": "k", "version": "1"}, "paths": {}}))
    source = openapi(folder / "keyed.json", base_url="http://127.0.0.1:9", auth="bearer")
    async with Inhabit([bank, source], home=folder / "home", policy=POLICY) as app:
        tokens = {who: (await app.create_token(who))[0] for who in ("acme/ada", *ATTACKERS)}
        tokens |= {f"{who} approves": (await app.create_token(who, grant=[], approve=True))[0] for who in ATTACKERS if not who.startswith("acme")}
        async with serving(app) as url:
            made = World(app, url, tokens, paid=paid)
            made.owned = await own(made)
            yield made


async def own(world: World) -> dict[str, list[str]]:
    async with world.client("acme/ada") as ada:
        program = f"const [a] = await Promise.all([bank.statement({{}})]); console.log('{CANARY}'); return [a, '{CANARY}']"
        ended = (await ada.post("/v1/runs", json={"program": program, "conversation": CANARY})).json()
        asleep = (await ada.post("/v1/runs", json={"program": f"return await bank.pay({{ to: '{CANARY}' }})"})).json()
        assert (ended["state"], asleep["state"]) == ("completed", "suspended"), (ended, asleep)
        token = (await ada.post("/v1/tokens", json={"label": CANARY})).json()
        assert (await ada.put("/v1/connections/keyed", json={"values": {"token": CANARY}})).status_code == 200
        return {"run_id": [ended["run"], asleep["run"]], "hash": [ended["result"][0]["$binary"]], "number": ["1"], "token_id": [token["id"]],
                "approval": [asleep["approvals"][0]["id"]], "name": ["keyed"]}


async def document(world: World) -> dict[str, Any]:
    async with httpx2.AsyncClient(base_url=world.url) as nobody:
        return (await nobody.get("/openapi.json")).json()


def requests(described: dict[str, Any], ids: dict[str, list[str]]) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """(method, template, path, options): every operation with every combination of the ids that its path takes."""
    for template, operations in described["paths"].items():
        names = re.findall(r"\{(\w+)\}", template)
        for method, operation in operations.items():
            schema = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
            body = {"json": example(schema, schema.get("$defs", {}))} if schema is not None else {}
            for values in itertools.product(*(ids[name] for name in names)):
                yield method.upper(), template, template.format(**dict(zip(names, values, strict=True))), body


def example(schema: dict[str, Any], defs: dict[str, Any]) -> Any:
    """The least value that fits, as far as the routes' own schemas go."""
    if "$ref" in schema:
        return example(defs[schema["$ref"].rpartition("/")[2]], defs)
    if "enum" in schema or "const" in schema:
        return schema.get("const", schema.get("enum", [None])[0])
    if "anyOf" in schema:
        return example(schema["anyOf"][0], defs)
    match schema.get("type"):
        case "object" if "properties" in schema:
            return {name: example(schema["properties"][name], defs) for name in schema.get("required", ())}
        case "object":
            return {"token": "x"}
        case "array":
            return []
        case "integer" | "number":
            return 1
        case "boolean":
            return True
        case _:
            return "x"


@pytest.mark.parametrize("who", [*ATTACKERS, "globex/ada approves", "default/ada approves"])
async def test_E18_every_route_answers_for_anothers_ids_as_for_none(who: str, world: World) -> None:
    described = await document(world)
    unknown = {name: ["no" + value[2:] if name != "number" else value for value in values] for name, values in world.owned.items()}
    walked = 0
    async with world.client(who) as stranger:
        for (method, template, theirs, options), (_, _, none, _) in zip(requests(described, world.owned), requests(described, unknown), strict=True):
            names = set(re.findall(r"\{(\w+)\}", template))
            if not names or names & SHARED_IDS:
                continue
            status = 403 if template.startswith("/v1/passkeys/") else 404      # the operator's alone, whatever the number
            if template.startswith("/v1/approvals/{approval}") and method == "POST":
                options = {"json": {"verdict": "approve", "digest": "0" * 64}}
                status = 404 if "approves" in who else 403      # whose token may not answer at all is told that, whatever the id
            found, missing = await stranger.request(method, theirs, **options), await stranger.request(method, none, **options)
            assert (found.status_code, missing.status_code) == (status, status), (method, theirs, found.text)
            assert masked(found.text, world.owned) == masked(missing.text, unknown)
            walked += 1
    assert walked > 15
    await intact(world)


@pytest.mark.parametrize("who", [*ATTACKERS, "globex/ada approves"])
async def test_E18_no_list_page_or_source_tells_of_another(who: str, world: World) -> None:
    described = await document(world)
    said = ""
    ids = [value for name, values in world.owned.items() if name not in {"name", "number"} for value in values]
    async with world.client(who) as stranger:
        for method, template, path, options in requests(described, world.owned):
            if set(re.findall(r"\{(\w+)\}", template)) - SHARED_IDS or path == "/v1/backup":
                continue
            asked = described["paths"][template][method.lower()]
            answers = [await stranger.request(method, path, **options)]
            for parameter in asked["parameters"]:
                if parameter["in"] == "query" and parameter["schema"].get("type") != "integer" and method == "GET":
                    answers += [await stranger.get(path, params={parameter["name"]: value}) for value in ids]
            assert all(answer.status_code < 500 for answer in answers if path != "/v1/runs"), (method, path)
            said += "".join(answer.text for answer in answers if answer.request.url.query == b"")
            assert all(CANARY not in answer.text for answer in answers), (method, path)
    assert [value for value in ids if value in said] == []
    await intact(world)


async def intact(world: World) -> None:
    """Nothing of the owner's was cancelled, revoked, answered, replaced or undone."""
    async with world.client("acme/ada") as ada:
        ended, asleep = world.owned["run_id"]
        assert (await ada.get(f"/v1/runs/{ended}")).json()["state"] == "completed"
        assert (await ada.get(f"/v1/runs/{asleep}")).json()["state"] == "suspended" and world.paid == []
        assert world.owned["token_id"][0] in [one["id"] for one in (await ada.get("/v1/tokens")).json()["tokens"]]
    connections = await world.app.home.connections.list(tenant="acme")
    assert [(info.connector, info.principal.user) for info in connections if info.principal.user == "ada"] == [("keyed", "ada")]
    kept = await world.app.home.connections.credential("keyed", connections[0].principal)
    assert kept["token"].reveal() == CANARY


def masked(text: str, ids: dict[str, list[str]]) -> str:
    for values in ids.values():
        for value in values:
            text = text.replace(value, "ID") if len(value) > 8 else text
    return text
