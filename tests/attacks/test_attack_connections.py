"""Two users of one program reach the same upstreams with their own credentials, and no secret is anywhere but upstream.

Upstreams on loopback that check credentials: an HTTP API with keys that echoes what it was sent, an MCP server behind a real
authorization server with refresh, and a host asked by `http.fetch` with the operator's own secret. Every byte that goes
to a worker, lies in the home (write-ahead log included), is logged, or is answered over HTTP is searched for every
secret that was ever issued, in the forms that a reflection takes.
"""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from inhabit import Inhabit
from inhabit.config import parse_config
from inhabit.contracts.connector import Secret
from inhabit.isolates.pool.channel import Channel
from inhabit.store.sealed import SealedSecrets
from tests.app.test_connect_routes import Served, serving
from tests.connectors.oauth_site import Site, running_site
from tests.connectors.openapi_kit import Upstream

KEYS = {"ada": "CANARY-key-ada-7f/3+q==", "bob": "CANARY-key-bob-91c0=="}
DOCUMENT = {
    "openapi": "3.0.3", "info": {"title": "who", "version": "1"}, "security": [{"key": []}],
    "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
    "paths": {"/me": {"get": {"operationId": "me", "tags": ["users"], "responses": {"200": {
        "description": "ok", "content": {"application/json": {"schema": {"type": "object"}}}}}}}},
}
PROGRAMS = {
    "typescript": "const signed = await notes.whoami({});\nconst key = await keyed.users.me({});\nconst shared = await http.fetch({ url: input.url });\n"
                  "console.log(JSON.stringify([key, signed, shared]));\nreturn [key.user, signed.result, key, shared]",
    "python": "signed = await notes.whoami()\nkey = await keyed.users.me()\nshared = await http.fetch(url=input['url'])\n"
              "print(key, signed, shared)\nreturn [key['user'], signed['result'], key, shared]",
}


class Keyed(Upstream):
    """Knows its users by their keys, and says back what it was sent, in body and headers."""

    def __init__(self) -> None:
        super().__init__()
        self.users = {f"Bearer {key}": user for user, key in KEYS.items()}

    def answer(self, target: str, headers: dict[str, str]) -> tuple[Any, ...]:
        given = headers.get("authorization", "")
        key = given.removeprefix("Bearer ")
        forms = [key, base64.b64encode(key.encode()).decode(), key.encode().hex(), quote(key, safe="")]
        if given not in self.users:
            return 401, "application/json", json.dumps({"error": f"the key {key} is not known"}).encode()
        body = {"user": self.users[given], "you_sent": given, "forms": forms}
        return 200, "application/json", json.dumps(body).encode(), {"X-Echo": given}


@dataclass
class World:
    served: Served
    site: Site
    keyed: Keyed
    home: Path
    sent: bytearray = field(default_factory=bytearray)
    answers: bytearray = field(default_factory=bytearray)
    issued: set[str] = field(default_factory=set)

    async def run(self, user: str, language: str) -> dict[str, Any]:
        async with self.api(user) as api:
            body = {"program": PROGRAMS[language], "language": language, "input": {"url": self.keyed.url + "/shared"}}
            made = (await api.post("/v1/runs", json=body)).json()
            assert made["state"] in ("completed", "failed"), made
            for path in ("", "/result", "/entries", "/events"):
                await api.get(f"/v1/runs/{made['run']}{path}")
            return made

    def api(self, user: str) -> httpx2.AsyncClient:
        async def noted(response: httpx2.Response) -> None:
            self.answers += await response.aread() + str(response.headers.raw).encode()

        return httpx2.AsyncClient(base_url=self.served.url, headers={"authorization": f"Bearer {self.served.tokens[user]}"}, timeout=30,
                                  event_hooks={"response": [noted]})

    def forms(self) -> list[bytes]:
        secrets = [*self.issued, *(key.removeprefix("Bearer ") for key in self.keyed.users)]
        return [form for text in secrets for form in (
            text.encode(), base64.b64encode(text.encode()).rstrip(b"=")[:-1], text.encode().hex().encode(), quote(text, safe="").encode())]

    def found_in(self, data: bytes | bytearray) -> list[bytes]:
        return [form for form in self.forms() if form in data]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
async def world(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> AsyncGenerator[World]:
    home, sent = tmp_path / ".inhabit", bytearray()
    home.mkdir()
    (home / "cache").symlink_to(cache)
    (tmp_path / "keyed.json").write_text(json.dumps(DOCUMENT))
    operator = "CANARY-operator-1"
    sealed(home).put("SHARED", Secret(operator))
    send = Channel._send
    monkeypatch.setattr(Channel, "_send", lambda channel, piece: (sent.extend(piece), send(channel, piece))[1])
    caplog.set_level(logging.DEBUG)
    async with running_site() as site, Keyed() as keyed:
        keyed.users[f"Bearer {operator}"] = "operator"
        text = (f'[secrets]\nbackend = "file"\n[mcp.notes]\nurl = "{site.mcp}"\nauth = "oauth"\n'
                f'[openapi.keyed]\nsource = "keyed.json"\nbase_url = "{keyed.url}"\n'
                f'[http.http]\nallow = [{{origin = "{keyed.url}", path = "/shared", secret = "SHARED"}}]\n')
        async with Inhabit.from_config(parse_config(text, tmp_path / "inhabit.toml")) as app:
            assert app.problems == {}
            tokens = {user: (await app.create_token(user))[0] for user in ("ada", "bob", "eve")}
            async with serving(app) as url:
                made = World(Served(app, url, tokens), site, keyed, home, sent)
                issue = site.issue
                monkeypatch.setattr(site, "issue", lambda user: _noted(made.issued, issue(user)))
                for user, key in KEYS.items():
                    site.user = user
                    assert (await made.served.sign_in(user)).status_code == 200
                    async with made.api(user) as api:
                        assert (await api.put("/v1/connections/keyed", json={"values": {"token": key}})).status_code == 200
                yield made


def _noted(issued: set[str], answer: dict[str, Any]) -> dict[str, Any]:
    issued.update((answer["access_token"], answer["refresh_token"]))
    return answer


def sealed(home: Path) -> SealedSecrets:
    return SealedSecrets(home / "secrets.sealed", home / "secrets.key")


@pytest.mark.parametrize("language", PROGRAMS)
async def test_C15_O1_two_users_reach_the_same_upstreams_as_themselves_and_no_secret_is_found_anywhere(
        language: str, world: World, caplog: pytest.LogCaptureFixture) -> None:
    for user in ("ada", "bob"):
        world.site.tokens.clear()       # upstream has ended the access tokens: each call begins with a refresh
        run = await world.run(user, language)
        assert run["state"] == "completed" and run["result"][:2] == [user, user], run
    assert world.site.asked.count("/token") == 4 and len(world.issued) == 8
    assert [seen.headers["authorization"] for seen in world.keyed.seen if seen.target == "/me"] == [f"Bearer {KEYS[user]}" for user in ("ada", "bob")]
    open_files = {str(path.relative_to(world.home)): path.read_bytes() for path in world.home.rglob("*") if path.is_file()}
    assert {"journal.db", "journal.db-wal", "connections.db", "server.db"} <= {Path(name).name for name in open_files}
    assert b"keyed.users.me" in world.sent and len(world.answers) > 2_000 and len(caplog.text) > 1_000      # what is searched holds something
    assert b"[redacted]" in world.answers and b"[redacted]" in world.sent
    assert {name: world.found_in(data) for name, data in open_files.items() if world.found_in(data)} == {}
    assert (world.found_in(world.sent), world.found_in(world.answers), world.found_in(caplog.text.encode())) == ([], [], [])


async def test_a_revoked_connection_fails_by_name_and_the_other_users_goes_on(world: World, caplog: pytest.LogCaptureFixture) -> None:
    async with world.api("bob") as api:
        assert (await api.delete("/v1/connections/keyed")).status_code == 204
    run = await world.run("bob", "typescript")
    assert run["error"]["code"] == "connection_missing" and "default/bob has no connection to keyed" in run["error"]["message"]
    assert (await world.run("ada", "typescript"))["state"] == "completed"
    async with world.api("ada") as api:
        assert (await api.delete("/v1/connections/notes")).status_code == 204
    run = await world.run("ada", "python")
    assert run["error"]["code"] == "connection_missing" and "default/ada has no connection to notes" in run["error"]["message"]
    assert len(world.site.revoked) == 2
    run = await world.run("eve", "typescript")
    assert run["error"]["code"] == "connection_missing" and "default/eve has no connection to notes" in run["error"]["message"]


async def test_C28_what_the_upstream_itself_revoked_fails_by_name_and_its_words_are_scrubbed(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.keyed.users = {key: user for key, user in world.keyed.users.items() if user != "ada"}
    run = await world.run("ada", "python")
    assert run["state"] == "failed" and "keyed.users.me" in run["error"]["message"] and "401" in run["error"]["message"], run
    world.site.tokens.clear()
    world.site.refreshes.clear()
    run = await world.run("ada", "typescript")
    assert run["error"]["code"] == "connection_missing" and "notes" in run["error"]["message"]
    world.keyed.users[f"Bearer {KEYS['ada']}"] = "ada"        # searched for, too
    assert (world.found_in(world.sent), world.found_in(world.answers), world.found_in(caplog.text.encode())) == ([], [], [])


async def test_a_rotated_secret_or_key_counts_at_the_next_call_without_a_restart(world: World) -> None:
    def used(target: str) -> str:
        return [seen.headers["authorization"] for seen in world.keyed.seen if seen.target == target][-1]

    assert (await world.run("ada", "typescript"))["state"] == "completed"
    assert (used("/me"), used("/shared")) == (f"Bearer {KEYS['ada']}", "Bearer CANARY-operator-1")
    world.keyed.users = {"Bearer CANARY-operator-2": "operator", "Bearer CANARY-key-ada-new": "ada"}
    sealed(world.home).put("SHARED", Secret("CANARY-operator-2"))
    async with world.api("ada") as api:
        assert (await api.put("/v1/connections/keyed", json={"values": {"token": "CANARY-key-ada-new"}})).status_code == 200
    assert (await world.run("ada", "typescript"))["state"] == "completed"
    assert (used("/me"), used("/shared")) == ("Bearer CANARY-key-ada-new", "Bearer CANARY-operator-2")
    assert world.found_in(world.answers) == []
    sealed(world.home).remove("SHARED")
    refused = (await world.run("ada", "typescript"))["error"]
    assert "SHARED" in refused["message"] and "CANARY" not in str(refused)
