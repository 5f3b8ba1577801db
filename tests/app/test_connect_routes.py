"""A person connects a source in a browser: a real authorization server, a real MCP server behind it, and Inhabit, all over HTTP."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
import uvicorn

from inhabit import Inhabit
from inhabit.config import parse_config
from tests.connectors.oauth_site import Site, running_site

WHOAMI = "return (await notes.whoami({})).result"


class Served:
    """An app on a port of its own; `tokens` by user."""

    def __init__(self, app: Inhabit, url: str, tokens: dict[str, str]) -> None:
        self.app = app
        self.url = url
        self.tokens = tokens

    @asynccontextmanager
    async def browser(self) -> AsyncIterator[httpx2.AsyncClient]:
        async with httpx2.AsyncClient(base_url=self.url, headers={"accept": "text/html", "origin": self.url}, timeout=30) as client:
            yield client

    @asynccontextmanager
    async def api(self, user: str) -> AsyncIterator[httpx2.AsyncClient]:
        async with httpx2.AsyncClient(base_url=self.url, headers={"authorization": f"Bearer {self.tokens[user]}"}, timeout=30) as client:
            yield client

    async def run(self, user: str, program: str = WHOAMI) -> Any:
        return await self.app.execute(program, principal=user)

    async def sign_in(self, user: str) -> httpx2.Response:
        """What a person does: open the page, give the token, agree at the source, be sent back."""
        async with self.browser() as browser:
            page = await browser.get("/connect/notes")
            assert page.status_code == 200 and "name=token type=password" in page.text
            sent = await browser.post("/connect/notes", data={"token": self.tokens[user]})
            assert sent.status_code == 303, sent.text
            agreed = await browser.get(sent.headers["location"])
            assert agreed.headers["location"].startswith(f"{self.url}/connect/callback?")
            return await browser.get(agreed.headers["location"])


@asynccontextmanager
async def serving(app: Inhabit) -> AsyncIterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as opened:
        url = f"http://127.0.0.1:{opened.getsockname()[1]}"
        app.home.url = url
        server = uvicorn.Server(uvicorn.Config(app.asgi(), log_level="critical", lifespan="off", timeout_graceful_shutdown=1))
        task = asyncio.create_task(server.serve([opened]))
        async with asyncio.timeout(10):
            while not server.started:
                await asyncio.sleep(0.01)
        yield url
        server.should_exit = True
        await task


@pytest.fixture
async def site() -> AsyncGenerator[Site]:
    async with running_site() as running:
        yield running


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compiled engine images for every home of these tests: making them takes seconds."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
async def served(site: Site, tmp_path: Path, cache: Path) -> AsyncGenerator[Served]:
    (tmp_path / ".inhabit").mkdir()
    (tmp_path / ".inhabit" / "cache").symlink_to(cache)
    text = f'[mcp.notes]\nurl = "{site.mcp}"\nauth = "oauth"\n[openapi.keyed]\nsource = "keyed.json"\nauth = "bearer"\n[openapi.open]\nsource = "keyed.json"\n[grants]\ndefault = ["**"]\neve = ["other.**"]'
    (tmp_path / "keyed.json").write_text('{"openapi": "3.0.3", "info": {"title": "k", "version": "1"}, "paths": {}}')
    async with Inhabit.from_config(parse_config(text, tmp_path / "inhabit.toml")) as app:
        tokens = {user: (await app.create_token(user))[0] for user in ("ada", "bob", "eve")}
        tokens["part"], _ = await app.create_token("ada", grant=["notes.whoami"])
        tokens["capped"], _ = await app.create_token("ada", grant=[{"pattern": "**", "caveats": [{"effects": {"writes": "none"}}]}])
        async with serving(app) as url:
            yield Served(app, url, tokens)


async def test_two_people_connect_one_server_each_with_their_own_account(served: Served, site: Site) -> None:
    assert "notes." not in await served.app.search("whoami", principal="ada")
    for user in ("ada", "bob"):
        site.user = f"{user}-upstream"
        done = await served.sign_in(user)
        assert done.status_code == 200 and f"default/{user} is connected to notes" in done.text
    assert [(await served.run(user)).value for user in ("ada", "bob")] == ["ada-upstream", "bob-upstream"]
    assert "whoami" in await served.app.search("notes.whoami", principal="ada")     # without a restart


async def test_a_call_without_a_connection_says_where_to_make_one(served: Served, site: Site) -> None:
    await served.sign_in("ada")
    error = (await served.run("bob")).error
    assert error["code"] == "connection_missing" and "bob has no connection to notes" in error["message"]
    assert f"open {served.url}/connect/notes" in error["message"]


async def test_a_product_gets_the_address_for_its_user_with_the_users_token(served: Served, site: Site) -> None:
    async with served.api("ada") as api:
        begun = await api.get("/connect/notes")
        assert begun.status_code == 200 and begun.json()["principal"] == "default/ada"
        address = urlsplit(begun.json()["authorize_url"])
        asked = {name: values[0] for name, values in parse_qs(address.query).items()}
        assert asked["code_challenge_method"] == "S256" and len(asked["code_challenge"]) == 43 and len(asked["state"]) >= 32
        cookie = begun.headers["set-cookie"].lower()
        assert "httponly" in cookie and "samesite=lax" in cookie and "path=/connect" in cookie and served.tokens["ada"].lower() not in cookie
        agreed = await api.get(begun.json()["authorize_url"])
        async with httpx2.AsyncClient(cookies={"inhabit_connect": api.cookies["inhabit_connect"]}) as browser:
            assert (await browser.get(agreed.headers["location"])).status_code == 200
    assert (await served.run("ada")).value == "ada"


async def test_E16_a_sign_in_is_ended_by_the_browser_that_began_it_and_once(served: Served, site: Site) -> None:
    """Mallory hands Ada the address of her own sign-in: Ada's account must not become Mallory's connection."""
    async with served.browser() as mallory, served.browser() as ada:
        begun = await mallory.post("/connect/notes", data={"token": served.tokens["bob"]})
        agreed = await ada.get(begun.headers["location"])
        refused = await ada.get(agreed.headers["location"])
        assert refused.status_code == 403 and "another browser" in refused.text
        again = await mallory.get(agreed.headers["location"])
        assert again.status_code == 403 and "used up" in again.text
    assert (await served.app.home.connections.list(tenant="default")) == []


async def test_E17_a_callback_is_good_once_and_not_without_its_state(served: Served, site: Site) -> None:
    async with served.browser() as browser:
        begun = await browser.post("/connect/notes", data={"token": served.tokens["ada"]})
        agreed = await browser.get(begun.headers["location"])
        assert (await browser.get(re.sub(r"state=[^&]+", "state=forged", agreed.headers["location"]))).status_code == 403
        begun = await browser.post("/connect/notes", data={"token": served.tokens["ada"]})
        agreed = await browser.get(begun.headers["location"])
        assert (await browser.get(agreed.headers["location"])).status_code == 200
        assert (await browser.get(agreed.headers["location"])).status_code == 403


async def test_who_may_connect_a_source(served: Served, site: Site) -> None:
    async with served.browser() as browser:
        wrong = await browser.post("/connect/notes", data={"token": "inh_wrong"})
        assert wrong.status_code == 401 and "set-cookie" not in wrong.headers
        foreign = await browser.post("/connect/notes", data={"token": served.tokens["ada"]}, headers={"origin": "https://mallory.example"})
        assert foreign.status_code == 403
    async with httpx2.AsyncClient(base_url=served.url) as nobody:
        assert (await nobody.get("/connect/notes")).status_code == 401
    for user, path, status in (("eve", "/connect/notes", 404), ("ada", "/connect/missing", 404), ("ada", "/connect/keyed", 422),
                               ("part", "/connect/notes", 403), ("capped", "/connect/notes", 403)):
        async with served.api(user) as api:
            assert (await api.get(path)).status_code == status, (user, path)
    async with served.api("part") as api:
        assert (await api.delete("/v1/connections/notes")).status_code == 403
    assert not [path for path in site.asked if path == "/register"]


async def test_a_revoked_connection_fails_by_name_and_is_revoked_upstream(served: Served, site: Site) -> None:
    await served.sign_in("ada")
    assert (await served.run("ada")).value == "ada"
    async with served.api("ada") as api:
        [listed] = (await api.get("/v1/connections")).json()["connections"]
        assert listed["connector"] == "notes" and listed["kind"] == "oauth" and "at-" not in str(listed)
        assert (await api.delete("/v1/connections/notes")).status_code == 204
        assert (await api.delete("/v1/connections/notes")).status_code == 404
    assert len(site.revoked) == 2
    error = (await served.run("ada")).error
    assert error["code"] == "connection_missing" and "notes" in error["message"]


async def test_an_expired_token_is_refreshed_and_an_ended_grant_says_where_to_connect_again(served: Served, site: Site) -> None:
    await served.sign_in("ada")
    site.tokens.clear()
    assert (await served.run("ada")).value == "ada" and site.asked.count("/token") == 2
    site.tokens.clear()
    site.refreshes.clear()
    error = (await served.run("ada")).error
    assert error["code"] == "connection_missing" and "has ended" in error["message"] and "/connect/notes" in error["message"]


async def test_a_person_who_declines_is_not_connected(served: Served, site: Site) -> None:
    site.broken = "declined"
    done = await served.sign_in("ada")
    assert done.status_code == 403 and "Not connected" in done.text and "access_denied" in done.text


async def test_a_key_is_stored_by_the_page_or_the_route_and_never_shown(served: Served) -> None:
    async with served.browser() as browser:
        page = await browser.post("/connect/keyed", data={"token": served.tokens["ada"]})
        assert page.status_code == 200 and "name=value type=password" in page.text
        done = await browser.post("/connect/keyed", data={"token": served.tokens["ada"], "value": "CANARY-page"})
        assert done.status_code == 200 and "CANARY" not in done.text
    async with served.api("bob") as api:
        assert (await api.put("/v1/connections/keyed", json={"values": {"token": "CANARY-route"}})).status_code == 200
        assert (await api.put("/v1/connections/notes", json={"values": {"token": "x"}})).status_code == 422
        assert "CANARY" not in (await api.get("/v1/connections")).text
        unused = await api.put("/v1/connections/open", json={"values": {"token": "CANARY-nobody-sends-it"}})
        assert (unused.status_code, unused.json()["code"]) == (422, "key_unused") and 'auth = "bearer" under [openapi.open]' in unused.json()["fix"]
        assert [one["connector"] for one in (await api.get("/v1/connections")).json()["connections"]] == ["keyed"]
    kept = {info.principal.user for info in await served.app.home.connections.list(tenant="default")}
    assert kept == {"ada", "bob"}


async def test_what_comes_from_outside_is_text_on_the_page(served: Served) -> None:
    async with served.browser() as browser:
        page = await browser.get("/connect/%3Cscript%3Ealert(1)%3C%2Fscript%3E")
        assert "<script" not in page.text
        page = await browser.get("/connect/callback", params={"state": "x", "error": "<script>"})
        assert page.status_code == 403 and "<script" not in page.text


async def test_a_client_that_was_registered_by_hand(site: Site, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For authorization servers that register nobody by themselves."""
    site.broken, site.method = "registration", "client_secret_post"
    (tmp_path / ".inhabit").mkdir()
    (tmp_path / ".inhabit" / "cache").symlink_to(cache)
    monkeypatch.setenv("NOTES_CLIENT_SECRET", "cs-by-hand")
    text = f'[mcp.notes]\nurl = "{site.mcp}"\nauth = "oauth"\n'
    by_hand = text + 'client_id = "by-hand"\nclient_secret = "NOTES_CLIENT_SECRET"\n'
    async with Inhabit.from_config(parse_config(by_hand, tmp_path / "inhabit.toml")) as app, serving(app) as url:
        served = Served(app, url, {"ada": (await app.create_token("ada"))[0]})
        site.clients["by-hand"] = {"redirect_uris": [f"{url}/connect/callback"], "client_secret": "cs-by-hand"}
        assert (await served.sign_in("ada")).status_code == 200
        assert (await served.run("ada")).value == "ada"
    async with Inhabit.from_config(parse_config(text, tmp_path / "inhabit.toml")) as app, serving(app) as url:
        token, _ = await app.create_token("bob")
        async with Served(app, url, {"bob": token}).api("bob") as api:
            refused = (await api.get("/connect/notes")).json()
            assert "takes no new clients" in refused["detail"] and "client_id under [mcp.notes]" in refused["fix"]
