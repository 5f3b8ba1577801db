"""Attenuable tokens at the doors of an app: taken beside plain ones, never more than the configuration gives now, and revoked for good."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest
from biscuit_auth import KeyPair

from inhabit import Capability, Inhabit
from inhabit.contracts.principal import Principal
from inhabit.errors import InvalidInput
from inhabit.kernel.grants import Grant
from inhabit.server.auth import Identity
from inhabit.tokens import attenuate, mint, shown
from inhabit.tokens.chain import key_bytes

POLICY = {"rule": [{"name": "people pay", "on": "lab.pay", "then": "ask"}]}


class Lab:
    def __init__(self) -> None:
        self.begun = 0
        self.paid = 0
        self.gate = asyncio.Event()

    def app(self, home: Path, **more: Any) -> Inhabit:
        lab = Capability("lab")

        @lab.operation(reads="public")
        async def step() -> int:
            self.begun += 1
            await self.gate.wait()
            return self.begun

        @lab.operation(reads="public")
        async def look() -> int:
            return 7

        @lab.operation(writes="internal", irreversible=False)
        async def pay() -> str:
            self.paid += 1
            return "paid"

        return Inhabit([lab], home=home, **{"policy": POLICY, **more})


def client(app: Inhabit, token: str) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app.http_app(app.check_token)), base_url="http://localhost",
                              headers={"authorization": f"Bearer {token}"})


def operator(app: Inhabit) -> httpx2.AsyncClient:
    async def check(_: str) -> Identity:
        return Identity("op", Principal("root"), Grant.of("**"), operator=True)

    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app.http_app(check)), base_url="http://localhost", headers={"authorization": "Bearer x"})


async def run(http: httpx2.AsyncClient, program: str) -> Any:
    return await http.post("/v1/runs", json={"program": program, "wait_s": 20})


async def test_a_narrowed_token_does_what_it_says_and_no_more(tmp_path: Path) -> None:
    async with Lab().app(tmp_path) as app:
        token, record = await app.create_token("ada", attenuable=True)
        assert record.expires_ms is not None and record.expires_ms - record.created_ms == 30 * 86_400_000
        async with client(app, token) as ada, client(app, attenuate(token, grant=["lab.look"])) as part:
            assert (await run(ada, "return await lab.look({})")).json()["result"] == 7
            assert (await run(part, "return await lab.look({})")).json()["result"] == 7
            assert (await run(part, "return await lab.pay({})")).status_code == 422
            named = (await part.get("/v1/capabilities")).json()["capabilities"]
            assert [(c["name"], c["operations"]) for c in named] == [("lab", 1)]
            hello = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
                "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}}
            over_mcp = await part.post("/mcp", json=hello, headers={"accept": "application/json, text/event-stream"})
            assert over_mcp.status_code == 200 and "Available: lab" in over_mcp.text


async def test_E02_a_token_holds_no_more_than_the_configuration_gives_now(tmp_path: Path) -> None:
    async with Lab().app(tmp_path) as app:
        token, _ = await app.create_token("ada", attenuable=True)
    async with Lab().app(tmp_path, grants={"ada": ["lab.look"]}) as app, client(app, attenuate(token, grant=["**"])) as ada:
        assert (await run(ada, "return await lab.look({})")).json()["result"] == 7
        assert (await run(ada, "return await lab.step({})")).status_code == 422
    async with Lab().app(tmp_path, grants={"bob": ["**"]}) as app, client(app, token) as ada:
        assert (await ada.get("/v1/capabilities")).json() == {"capabilities": []}


async def test_E02_a_token_without_the_record_that_issued_it_is_refused(tmp_path: Path) -> None:
    """Even with the server's own key: another id, principal, grant or end than was issued is nobody's."""
    async with Lab().app(tmp_path / "a") as app:
        token, record = await app.create_token("ada", grant=["lab.look"], attenuable=True)
        signing = app.attenuable._keys.signing(record.created_ms)   # pyright: ignore[reportPrivateUsage]
        assert record.expires_ms is not None
        same: dict[str, Any] = {"token_id": record.id, "principal": record.principal, "grant": Grant.of("lab.look"), "expires_ms": record.expires_ms}
        others = [{"token_id": "f" * 16}, {"principal": Principal("root")}, {"principal": Principal("ada", "acme")}, {"grant": Grant.of("**")},
                  {"expires_ms": record.expires_ms + 1}]
        assert await app.check_token(mint(signing.private, signing.public, **same)) is not None
        for other in others:
            assert await app.check_token(mint(signing.private, signing.public, **same | other)) is None, other
        own = KeyPair()
        assert await app.check_token(mint(own.private_key, key_bytes(own.public_key), **same)) is None
    async with Lab().app(tmp_path / "b") as elsewhere:
        assert await elsewhere.check_token(token) is None


async def test_a_token_ends_and_its_run_calls_nothing_any_more(tmp_path: Path) -> None:
    lab = Lab()
    async with lab.app(tmp_path) as app:
        token, record = await app.create_token("ada", attenuable=True)
        short = attenuate(token, expires_ms=record.created_ms + 1_500)
        async with client(app, short) as ada, client(app, token) as owner:
            begun = (await ada.post("/v1/runs", json={"wait_s": 0, "program":
                     "await lab.step({}); try { await lab.look({}); return 'called' } catch (e) { return e.code + ': ' + e.message }"})).json()
            while await app.check_token(short) is not None:
                await asyncio.sleep(0.05)
            assert (await ada.get("/v1/capabilities")).status_code == 401
            lab.gate.set()
            ended = (await owner.get(f"/v1/runs/{begun['run']}", params={"wait_s": 20})).json()
            assert ended["result"].startswith("denied") and "expired" in ended["result"]
        with pytest.raises(InvalidInput, match="at most 366 days"):
            await app.create_token("ada", attenuable=True, expires_ms=record.created_ms + 400 * 86_400_000)


@pytest.mark.parametrize("named", ["own", "parent", "root"])
async def test_E22_no_call_of_a_run_starts_after_the_revocation_of_its_token_is_acknowledged(named: str, tmp_path: Path) -> None:
    lab = Lab()
    async with lab.app(tmp_path) as app:
        token, record = await app.create_token("ada", attenuable=True)
        parent = attenuate(token, grant=["lab.**"])
        child = attenuate(parent, grant=["lab.step"])
        other = attenuate(token, grant=["lab.*"])
        async with client(app, child) as holder, client(app, token) as owner, client(app, other) as sibling:
            program = "await Promise.all(Array.from({length: 10}, async () => { while (true) await lab.step({}) }))"
            runs = [(await holder.post("/v1/runs", json={"program": program, "wait_s": 0})).json()["run"] for _ in range(10)]
            apart = (await sibling.post("/v1/runs", json={"program": "await lab.step({}); return 'on'", "wait_s": 0})).json()["run"]
            while lab.begun < 101:
                await asyncio.sleep(0.01)
            path = {"own": shown(child).name, "parent": shown(parent).name, "root": record.id}[named]
            revoking = asyncio.create_task(owner.delete(f"/v1/tokens/{path}"))
            lab.gate.set()    # all hundred answer while it is being revoked, and each would be followed by another call
            assert (await revoking).status_code == 204
            begun = lab.begun
            assert (await holder.post("/v1/runs", json={"program": "return 1"})).status_code == 401
            await asyncio.sleep(0.2)
            assert lab.begun == begun
            full = await client(app, (await app.create_token("ada"))[0]).__aenter__()
            for each in runs:
                ended = (await full.get(f"/v1/runs/{each}")).json()
                assert ended["state"] == "failed" and "end of the token" in ended["error"]["message"], ended
            if named == "root":
                assert (await sibling.get(f"/v1/runs/{apart}")).status_code == 401
            else:
                assert (await sibling.get(f"/v1/runs/{apart}", params={"wait_s": 20})).json()["result"] == "on"
                assert (await owner.get("/v1/capabilities")).status_code == 200
            await full.aclose()


async def test_E22_a_request_that_was_let_in_before_the_revocation_begins_nothing_after_it(tmp_path: Path) -> None:
    lab = Lab()
    async with lab.app(tmp_path) as app:
        token, _ = await app.create_token("ada", attenuable=True)
        child = attenuate(token, grant=["lab.look"])
        identity = await app.check_token(child)
        assert identity is not None

        async def let_in(_: str) -> Identity:
            return identity

        async with client(app, token) as owner:
            assert (await owner.delete(f"/v1/tokens/{shown(child).name}")).status_code == 204
        late = httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app.http_app(let_in)), base_url="http://localhost", headers={"authorization": "Bearer x"})
        async with late:
            answer = await run(late, "return await lab.look({})")
        assert (answer.status_code, answer.json()["code"]) == (403, "token_revoked")


@pytest.mark.parametrize("restarted", [False, True])
async def test_F14_a_run_that_sleeps_does_not_wake_for_a_revoked_token(restarted: bool, tmp_path: Path) -> None:
    lab = Lab()
    app = lab.app(tmp_path)
    await app.start()
    token, _ = await app.create_token("ada", attenuable=True)
    boss, _ = await app.create_token("boss", grant=[], approve=True)
    child = attenuate(token, grant=["lab.pay"])
    async with client(app, child) as ada, client(app, token) as owner:
        asked = (await run(ada, "return await lab.pay({})")).json()
        assert asked["state"] == "suspended"
        assert (await owner.delete(f"/v1/tokens/{shown(child).name}")).status_code == 204
    if restarted:
        await app.stop()
        app = lab.app(tmp_path)
        await app.start()
    async with client(app, boss) as answering, client(app, token) as owner:
        path = f"/v1/approvals/{asked['approvals'][0]['id']}"
        digest = (await answering.get(path)).json()["digest"]
        await answering.post(path, json={"verdict": "approve", "digest": digest})
        while (ended := (await owner.get(f"/v1/runs/{asked['run']}")).json())["state"] in ("running", "suspended"):
            await asyncio.sleep(0.01)
    assert ended["state"] == "failed" and "end of the token" in ended["error"]["message"] and lab.paid == 0
    await app.stop()


async def test_E18_who_was_handed_a_part_revokes_only_what_was_made_from_it(tmp_path: Path) -> None:
    async with Lab().app(tmp_path) as app:
        token, record = await app.create_token("ada", attenuable=True)
        one, two = attenuate(token, grant=["lab.look"]), attenuate(token, grant=["lab.*"])
        below = attenuate(one, expires_ms=shown(token).expires_ms)
        eve, _ = await app.create_token("eve")
        elsewhere, _ = await app.create_token("acme/ada")
        names = [record.id, shown(one).name, shown(two).name, shown(below).name, f"{record.id}.{'0' * 32}", f"{record.id}.x", "x", "a" * 4_000]
        for stranger in (eve, elsewhere):
            async with client(app, stranger) as http:
                assert {(await http.delete(f"/v1/tokens/{name}")).status_code for name in names} == {404}
        async with client(app, one) as http:
            assert [(await http.delete(f"/v1/tokens/{name}")).status_code for name in (names[0], names[2], names[1])] == [404, 404, 204]
        assert [await app.check_token(t) is None for t in (token, one, two, below)] == [False, True, False, True]
        async with client(app, two) as http:   # not even by claiming that it comes from its own
            claimed = f"{shown(two).name}.{shown(one).name.partition('.')[2]}"
            assert (await http.delete(f"/v1/tokens/{claimed}")).status_code == 204
        assert [await app.check_token(t) is None for t in (token, two)] == [False, False]
        async with client(app, token) as http:
            listed = (await http.get("/v1/tokens")).json()["tokens"]
            assert [(t["id"], t["attenuable"]) for t in listed] == [(record.id, True)]
            made = await http.post("/v1/tokens", json={})
            assert (made.status_code, made.json()["code"]) == (403, "attenuate_offline")
            assert (await http.delete(f"/v1/tokens/{record.id}")).status_code == 204
        assert await app.check_token(two) is None


async def test_E09_a_narrower_token_is_no_clean_slate(tmp_path: Path) -> None:
    """Bounds and what was read count for the issued token, so that nobody starts anew by narrowing their own."""
    async with Lab().app(tmp_path) as app:
        token, record = await app.create_token("ada", attenuable=True)
        whole, part = await app.check_token(token), await app.check_token(attenuate(token, grant=["**"]))
        assert whole is not None and part is not None
        assert whole.token_id == part.token_id == record.id and whole.name != part.name


async def test_a_rotated_key_goes_on_for_the_tokens_it_signed_or_makes_them_void(tmp_path: Path) -> None:
    lab = Lab()
    async with lab.app(tmp_path) as app, operator(app) as op:
        old, record = await app.create_token("ada", attenuable=True)
        rotated = (await op.post("/v1/tokens/rotate-key", json={})).json()
        assert rotated["kept"] == [record.id] and rotated["void"] == [] and rotated["until_ms"] == record.expires_ms
        new, fresh = await app.create_token("bob", attenuable=True)
        assert await app.check_token(attenuate(old, grant=["lab.step"])) is not None and await app.check_token(new) is not None
        kept = json.loads((tmp_path / "tokens.keys").read_text())["keys"]
        assert [bool(key["private"]) for key in kept] == [False, True] and kept[1]["public"] == rotated["key"]
        assert (tmp_path / "tokens.keys").stat().st_mode & 0o077 == 0
    async with lab.app(tmp_path) as app, operator(app) as op, client(app, old) as ada:
        assert await app.check_token(old) is not None
        going = (await ada.post("/v1/runs", json={"program": "while (true) await lab.step({})", "wait_s": 0})).json()["run"]
        voided = (await op.post("/v1/tokens/rotate-key", json={"void": True})).json()
        assert sorted(voided["void"]) == sorted([record.id, fresh.id]) and voided["kept"] == []
        assert await app.check_token(old) is None and await app.check_token(new) is None
        plain, _ = await app.create_token("ada")
        async with client(app, plain) as http:
            assert (await http.get(f"/v1/runs/{going}")).json()["state"] == "failed"
            assert (await http.post("/v1/tokens/rotate-key", json={})).status_code == 403
        assert await app.check_token((await app.create_token("ada", attenuable=True))[0]) is not None


async def test_a_token_that_approves_is_not_attenuable_and_one_that_is_never_approves(tmp_path: Path) -> None:
    async with Lab().app(tmp_path) as app, operator(app) as op:
        assert (await op.post("/v1/tokens", json={"approve": True, "attenuable": True, "principal": "boss"})).status_code == 422
        with pytest.raises(InvalidInput):
            await app.create_token("boss", approve=True, attenuable=True)
        identity = await app.check_token((await app.create_token("boss", attenuable=True))[0])
        assert identity is not None and not identity.approve and not identity.operator


SERVED = '''
import asyncio, os
from inhabit import Capability

lab = Capability("lab")

@lab.operation(reads="public")
async def step() -> int:
    with open(os.environ["STEPS"], "a") as file:
        file.write("x")
    await asyncio.sleep(0.02)
    return 1

capabilities = [lab]
'''


def test_E22_a_revocation_that_was_acknowledged_outlives_a_killed_server(tmp_path: Path) -> None:
    (tmp_path / "lab.py").write_text(SERVED)
    (tmp_path / "inhabit.toml").write_text('name = "lab"\n[server]\nport = 0\n[python.lab]\nmodule = "lab:capabilities"\n')
    steps = tmp_path / "steps"
    env = {**os.environ, "STEPS": str(steps), "PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(__file__).parents[2]}"}

    def inhabit(*words: str) -> str:
        done = subprocess.run([sys.executable, "-m", "inhabit", *words], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def serve() -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen([sys.executable, "-m", "inhabit", "serve"], cwd=tmp_path, env=env, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("MCP"):
                return process, line.split()[1].removesuffix("/mcp")
        raise AssertionError("it did not start")

    process, url = serve()
    try:
        token = inhabit("token", "create", "--attenuable", "--days", "1")
        child = inhabit("token", "attenuate", token, "--grant", '{"pattern": "lab.step", "caveats": []}')
        name = json.loads(inhabit("token", "show", child, "--json"))["id"]
        headers = {"authorization": f"Bearer {child}"}
        program = "await Promise.all(Array.from({length: 100}, async () => { while (true) await lab.step({}) }))"
        going = httpx2.post(f"{url}/v1/runs", json={"program": program, "wait_s": 0}, headers=headers).json()["run"]
        while not steps.exists() or steps.stat().st_size < 200:
            time.sleep(0.01)
        revoked = httpx2.delete(f"{url}/v1/tokens/{name}", headers={"authorization": f"Bearer {token}"})
        begun = steps.stat().st_size
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)
        assert revoked.status_code == 204
        process, url = serve()
        assert httpx2.get(f"{url}/v1/capabilities", headers=headers).status_code == 401
        ended = httpx2.get(f"{url}/v1/runs/{going}", params={"wait_s": 10}, headers={"authorization": f"Bearer {token}"}).json()
        assert ended["state"] == "failed" and steps.stat().st_size == begun
        assert "goes on" in inhabit("token", "rotate-key") and "void" in inhabit("token", "rotate-key", "--void")
        assert httpx2.get(f"{url}/v1/capabilities", headers={"authorization": f"Bearer {token}"}).status_code == 401
    finally:
        process.kill()
        process.communicate(timeout=30)
