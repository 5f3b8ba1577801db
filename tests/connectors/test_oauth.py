"""OAuth against a real authorization server, and calls over streamable HTTP with the tokens it gave.

All dialling goes through the real broker.
"""

import asyncio
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from inhabit.connectors.connections import OAuthConnections
from inhabit.connectors.mcp import McpConnector
from inhabit.connectors.oauth import OAuthFlows, OAuthTarget
from inhabit.connectors.oauth_loopback import sign_in
from inhabit.contracts.connector import Secret
from inhabit.contracts.principal import Principal
from inhabit.egress.broker import Broker
from inhabit.errors import CallTimeout, ConfigError, Denied, MissingConnection, Unavailable, UpstreamError
from inhabit.store.connections import ConnectionStore
from tests.connectors.mcp_support import Host
from tests.connectors.oauth_site import Site, running_site

ADA, BOB = Principal("ada"), Principal("bob")
BACK = "http://127.0.0.1:8642/connect/callback"


class World:
    """The host's side: a vault, flows, connections, a clock that can be moved."""

    def __init__(self, home: Path) -> None:
        self.now = 1_000_000.0
        self.vault = ConnectionStore(home / "c.db", home / "c.key", clock=lambda: self.now)
        self.flows = OAuthFlows(Broker(), self.vault, redirect_uri=BACK, clock=lambda: self.now)
        self.connections = OAuthConnections(self.vault, self.flows, clock=lambda: self.now)
        self.host = Host(home / "cache", connections=self.connections, outbound=Broker())

    async def sign_in(self, target: OAuthTarget, principal: Principal = ADA) -> None:
        await self.flows.callback(await browse(await self.flows.authorize_url(target, principal)), principal=principal)


async def browse(url: str) -> dict[str, str]:
    """What the person's browser does: go there, be sent back."""
    async with httpx2.AsyncClient() as browser:
        answer = await browser.get(url)
    assert answer.status_code == 302, answer.text
    assert answer.headers["location"].startswith(BACK)
    return {key: values[0] for key, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}


@pytest.fixture
async def site():
    async with running_site() as running:
        yield running


@pytest.fixture
def world(tmp_path: Path):
    made = World(tmp_path / "home")
    yield made
    made.vault.close()


@pytest.fixture
def target(site: Site) -> OAuthTarget:
    return OAuthTarget("notes", site.mcp, private_addresses=True)


@pytest.fixture
async def notes(site: Site, world: World):
    connector = McpConnector("notes", url=site.mcp, private_addresses=True)
    await connector.open(world.host.context)
    yield connector
    await connector.close()


async def test_each_principal_calls_with_their_own_connection(site: Site, world: World, notes: McpConnector) -> None:
    [problem] = notes.problems()        # not connected: said, not raised
    assert "inhabit connect notes" in problem.reason and list(notes.operations()) == []
    target = await notes.oauth_target()
    await world.sign_in(target, ADA)
    site.user = "bob"
    await world.sign_in(target, BOB)
    await notes.refresh(ADA)
    assert notes.problems() == () and {o.name for o in notes.operations()} == {"notes.whoami", "notes.slow"}
    assert await world.host.call(notes, "whoami", principal=ADA) == {"result": "ada"}
    assert await world.host.call(notes, "whoami", principal=BOB) == {"result": "bob"}
    assert await world.host.call(notes, "whoami", principal=Principal("ada", agent="helper")) == {"result": "ada"}
    with pytest.raises(MissingConnection, match="notes") as caught:
        await world.host.call(notes, "whoami", principal=Principal("eve"))
    assert "inhabit connect notes" in (caught.value.fix or "")
    assert len(site.clients) == 1       # registered once for all


async def test_an_expired_token_is_refreshed_once_for_many_calls(site: Site, world: World, notes: McpConnector) -> None:
    await world.sign_in(await notes.oauth_target())
    await notes.refresh(ADA)
    world.now += 3600
    site.tokens.clear()
    before = site.asked.count("/token")
    results = await asyncio.gather(*(world.host.call(notes, "whoami") for _ in range(20)))
    assert results == [{"result": "ada"}] * 20 and site.asked.count("/token") == before + 1


async def test_a_token_that_ends_early_is_renewed_on_401(site: Site, world: World, notes: McpConnector) -> None:
    await world.sign_in(await notes.oauth_target())
    await notes.refresh(ADA)
    site.tokens.clear()
    assert await world.host.call(notes, "whoami") == {"result": "ada"}


async def test_when_the_grant_is_over_the_person_is_asked_to_connect_again(site: Site, world: World, notes: McpConnector) -> None:
    await world.sign_in(await notes.oauth_target())
    await notes.refresh(ADA)
    site.tokens.clear()
    site.refreshes.clear()
    with pytest.raises(MissingConnection, match="has ended"):
        await world.host.call(notes, "whoami")
    assert await world.vault.get("notes", ADA) is None


async def test_an_authorization_server_that_is_down_costs_no_connection(site: Site, world: World, target: OAuthTarget) -> None:
    await world.sign_in(target)
    world.now += 3600
    site.broken = "down"
    with pytest.raises(UpstreamError, match="503"):
        await world.connections.credential("notes", ADA)
    site.broken = ""
    assert (await world.connections.credential("notes", ADA)).keys() == {"token"}


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
async def test_a_client_with_a_secret(site: Site, world: World, target: OAuthTarget, method: str) -> None:
    site.method = method
    await world.sign_in(target)
    world.now += 3600
    assert (await world.connections.credential("notes", ADA)).keys() == {"token"}       # refreshed, without the secrets
    site.clients.clear()
    with pytest.raises(Denied, match="invalid_client"):
        await world.flows.callback(await _answered(world, target, site))
    await world.sign_in(target)     # registered anew after that
    assert len(site.clients) == 1


async def _answered(world: World, target: OAuthTarget, site: Site) -> dict[str, str]:
    """An answer for a client that the server has forgotten since."""
    url = await world.flows.authorize_url(target, ADA)
    state = parse_qs(urlsplit(url).query)["state"][0]
    return {"state": state, "code": "any", "iss": site.base}


async def test_revoking_ends_it_here_and_there(site: Site, world: World, target: OAuthTarget) -> None:
    await world.sign_in(target)
    tokens = set(site.tokens) | set(site.refreshes)
    assert await world.connections.disconnect("notes", ADA) and set(site.revoked) == tokens
    assert not await world.connections.disconnect("notes", ADA)
    with pytest.raises(MissingConnection):
        await world.connections.credential("notes", ADA)


async def test_an_operators_secret_serves_all(site: Site, world: World, tmp_path: Path) -> None:
    site.tokens["shared-key"] = "operator"
    host = Host(tmp_path / "other", secrets={"NOTES_KEY": "shared-key"}, outbound=Broker())
    connector = McpConnector("notes", url=site.mcp, secret="NOTES_KEY", private_addresses=True)
    await connector.open(host.context)
    assert await host.call(connector, "whoami", principal=BOB) == {"result": "operator"}
    site.tokens.clear()
    with pytest.raises(MissingConnection, match="NOTES_KEY") as caught:
        await host.call(connector, "whoami", principal=BOB)
    assert "shared-key" not in str(caught.value.as_value())
    await connector.close()


async def test_the_operators_default_serves_who_has_no_connection(site: Site, world: World) -> None:
    shared = OAuthConnections(world.vault, world.flows, shared=lambda name: {"token": Secret("default")} if name == "notes" else None)
    assert (await shared.credential("notes", BOB))["token"].reveal() == "default"
    await shared.connect_key("notes", BOB, {"token": "own"})
    assert (await shared.credential("notes", BOB))["token"].reveal() == "own"
    with pytest.raises(MissingConnection):
        await shared.credential("other", BOB)


async def test_an_open_server_needs_nobody(tmp_path: Path) -> None:
    async with running_site(guarded=False) as site:
        host = Host(tmp_path, outbound=Broker())
        connector = McpConnector("notes", url=site.mcp, private_addresses=True)
        await connector.open(host.context)
        assert await host.call(connector, "whoami") == {"result": "nobody"}
        slow = asyncio.create_task(host.call(connector, "slow", {"seconds": 30}, seconds=0.5))
        assert await host.call(connector, "whoami") == {"result": "nobody"}
        with pytest.raises(CallTimeout):
            await slow
        await connector.close()


async def test_a_restarted_server_is_met_with_a_new_session(tmp_path: Path) -> None:
    host = Host(tmp_path, outbound=Broker())
    async with running_site(guarded=False) as site:
        connector = McpConnector("notes", url=site.mcp, private_addresses=True)
        await connector.open(host.context)
        assert connector.problems() == ()
    with pytest.raises(UpstreamError, match=r"cannot be reached|no connection|refused"):
        await host.call(connector, "whoami")
    async with running_site(port=urlsplit(site.base).port, guarded=False):
        assert await host.call(connector, "whoami") == {"result": "nobody"}     # it knew nothing of the old session
    await connector.close()


async def test_a_private_address_needs_the_operators_word(site: Site, tmp_path: Path) -> None:
    host = Host(tmp_path, outbound=Broker())
    connector = McpConnector("notes", url=site.mcp)
    await connector.open(host.context)
    assert connector.problems() and "/mcp" not in site.asked
    await connector.close()


# E17 and its neighbours: what an attacker would answer

async def test_E17_a_state_that_was_never_given_out(world: World, target: OAuthTarget) -> None:
    answer = await browse(await world.flows.authorize_url(target, ADA))
    for state in ("", "guessed", answer["state"] + "x"):
        with pytest.raises(Denied, match="unknown, used up or too old"):
            await world.flows.callback({**answer, "state": state})
    with pytest.raises(Denied):
        await world.flows.callback({key: value for key, value in answer.items() if key != "state"})
    assert await world.vault.get("notes", ADA) is None


async def test_E17_a_callback_that_is_replayed(site: Site, world: World, target: OAuthTarget) -> None:
    answer = await browse(await world.flows.authorize_url(target, ADA))
    outcomes = await asyncio.gather(*(world.flows.callback(answer) for _ in range(5)), return_exceptions=True)
    assert sum(not isinstance(outcome, Exception) for outcome in outcomes) == 1
    assert site.asked.count("/token") == 1


async def test_E17_a_sign_in_that_took_too_long(world: World, target: OAuthTarget) -> None:
    answer = await browse(await world.flows.authorize_url(target, ADA))
    world.now += 601
    with pytest.raises(Denied, match="too old"):
        await world.flows.callback(answer)


async def test_E17_the_callback_of_someone_else(world: World, target: OAuthTarget) -> None:
    """An attacker's sign-in finished in a victim's browser would connect the victim to the attacker's account."""
    answer = await browse(await world.flows.authorize_url(target, ADA))
    with pytest.raises(Denied, match="someone else"):
        await world.flows.callback(answer, principal=BOB)
    assert await world.vault.get("notes", BOB) is None


async def test_E17_mix_up_of_issuers(site: Site, world: World, target: OAuthTarget) -> None:
    site.broken = "mix-up"
    answer = await browse(await world.flows.authorize_url(target, ADA))
    with pytest.raises(Denied, match="another authorization server"):
        await world.flows.callback(answer)
    site.broken = ""
    answer = await browse(await world.flows.authorize_url(target, ADA))
    del answer["iss"]       # promised in the metadata, so its absence is no accident
    with pytest.raises(Denied, match="another authorization server"):
        await world.flows.callback(answer)
    assert "/token" not in site.asked


async def test_E17_a_code_without_its_verifier_is_worth_nothing(site: Site, world: World, target: OAuthTarget) -> None:
    """The code of one sign-in put into another: PKCE binds it to the first."""
    first = await browse(await world.flows.authorize_url(target, ADA))
    second = await browse(await world.flows.authorize_url(target, BOB))
    with pytest.raises(Denied, match="invalid_grant"):
        await world.flows.callback({**second, "code": first["code"]})


async def test_E17_a_refresh_token_is_used_once_even_by_two_processes(site: Site, world: World, target: OAuthTarget) -> None:
    await world.sign_in(target)
    stale = await world.vault.get("notes", ADA)
    await world.flows.refresh(stale)
    again = await world.flows.refresh(stale)        # the other process was slower: it takes what is there now
    assert again.values["token"].reveal() in site.tokens and await world.vault.get("notes", ADA) is not None


async def test_a_person_who_declines(site: Site, world: World, target: OAuthTarget) -> None:
    site.broken = "declined"
    with pytest.raises(Denied, match="access_denied"):
        await world.flows.callback(await browse(await world.flows.authorize_url(target, ADA)))


@pytest.mark.parametrize(("broken", "reason"), [
    ("issuer", "names another issuer"), ("resource", "another resource"), ("pkce", "PKCE"), ("plain-http", "not an https"),
    ("metadata-address", "not an https"), ("nonsense", "no address"), ("registration", "takes no new clients"),
])
async def test_discovery_that_cannot_be_trusted(site: Site, world: World, target: OAuthTarget, broken: str, reason: str) -> None:
    site.broken = broken
    with pytest.raises(UpstreamError, match=reason):
        await world.flows.authorize_url(target, ADA)
    assert site.clients == {}


async def test_E15_the_token_goes_to_its_resource_only(site: Site, world: World, notes: McpConnector) -> None:
    """Another connector, even on the same site, does not get it."""
    await world.sign_in(await notes.oauth_target())
    other = McpConnector("other", url=site.mcp, private_addresses=True)
    await other.open(world.host.context)
    site.seen_authorization.clear()
    with pytest.raises(MissingConnection):
        await other.refresh(ADA)
    assert not any(sent for sent in site.seen_authorization)
    await other.close()


async def test_no_token_in_a_message_or_a_file(site: Site, world: World, notes: McpConnector, tmp_path: Path) -> None:
    await world.sign_in(await notes.oauth_target())
    await notes.refresh(ADA)
    stored = await world.vault.get("notes", ADA)
    tokens = [*site.tokens, *site.refreshes]
    assert tokens and not any(token in repr(stored) for token in tokens)
    for file in (path for path in tmp_path.rglob("*") if path.is_file()):
        assert not any(token.encode() in file.read_bytes() for token in tokens), file


async def test_a_sign_in_from_a_terminal(site: Site, world: World, target: OAuthTarget) -> None:
    shown: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    signing = asyncio.create_task(sign_in(world.flows, target, ADA, shown.set_result))
    url = await shown
    back = parse_qs(urlsplit(url).query)["redirect_uri"][0]
    async with httpx2.AsyncClient(follow_redirects=True) as browser:
        assert (await browser.get(back.replace("/callback", "/other"))).status_code == 404
        page = await browser.get(url)
    assert "Connected" in page.text
    info = await signing
    assert info.connector == "notes" and info.principal == ADA and info.scopes == ("notes",)
    with pytest.raises(Unavailable, match="nobody signed in"):
        await sign_in(world.flows, target, ADA, lambda _url: None, wait_s=0.05)


def test_a_url_with_a_credential_is_refused() -> None:
    with pytest.raises(ConfigError, match="carries a credential"):
        McpConnector("notes", url="https://user:key@notes.example/mcp")
