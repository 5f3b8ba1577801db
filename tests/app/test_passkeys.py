"""Approvals by passkey: one signature is one answer to one question by one person, and without it nobody answers who has one.

The authenticator is software (`tests.authenticator`): `bench/passkey.py` does the same with a real browser.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest

from inhabit import Capability, Inhabit
from inhabit.config import ApprovalsConfig
from inhabit.contracts.principal import Principal
from inhabit.errors import Denied
from inhabit.kernel.grants import Grant
from inhabit.server.auth import Identity
from inhabit.server.ceremonies import CHALLENGE_MS, INVITATION_MS, Ceremonies
from tests.authenticator import FLAG, Authenticator

POLICY = {"rule": [{"name": "people pay", "on": "lab.pay", "then": "ask"}]}


class Scene:
    """A server, its operator, a program's owner, and an approver called boss."""

    def __init__(self, app: Inhabit) -> None:
        self.app = app
        self.paid: list[int] = []

    def http(self, token: str) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=self.served), base_url="http://localhost", headers={"authorization": f"Bearer {token}"})

    async def begin(self) -> None:
        async def check(token: str) -> Identity | None:
            if token == "operator":
                return Identity("operator", Principal("root"), Grant.of("**"), operator=True)
            return await self.app.check_token(token)

        self.served = self.app.http_app(check)
        self.operator = self.http("operator")
        self.ada = self.http((await self.app.create_token("ada"))[0])
        self.boss = await self.approver("boss")

    async def approver(self, name: str) -> httpx2.AsyncClient:
        return self.http((await self.app.create_token(name, grant=[], approve=True))[0])

    async def enrol(self, name: str = "boss", key: Authenticator | None = None) -> Authenticator:
        key = key or Authenticator()
        secret = (await self.operator.post("/v1/passkeys/invitations", json={"principal": name})).json()["url"].partition("#")[2]
        options = (await self.boss.post("/v1/passkeys/begin", json={"invitation": secret})).json()
        made = await self.boss.post("/v1/passkeys/finish", json={"invitation": secret, "credential": key.create(options)})
        assert made.status_code == 201, made.text
        return key

    async def asked(self, amount: int = 1) -> dict[str, Any]:
        run = (await self.ada.post("/v1/runs", json={"program": f"return await lab.pay({{amount: {amount}}})", "wait_s": 20})).json()
        assert run["state"] == "suspended", run
        return (await self.boss.get(f"/v1/approvals/{run['approvals'][0]['id']}")).json()

    async def ended(self, run: str) -> dict[str, Any]:
        while (found := (await self.ada.get(f"/v1/runs/{run}", params={"wait_s": 20})).json())["state"] in ("running", "suspended"):
            await asyncio.sleep(0.01)
        return found

    async def challenge(self, question: dict[str, Any], said: dict[str, Any] | None = None, by: httpx2.AsyncClient | None = None) -> Any:
        answer = {"verdict": "approve", "digest": question["digest"], **(said or {})}
        return await (by or self.boss).post(f"/v1/approvals/{question['id']}/challenge", json=answer)

    async def answer(self, question: dict[str, Any], options: dict[str, Any], assertion: Any, said: dict[str, Any] | None = None,
                     by: httpx2.AsyncClient | None = None) -> httpx2.Response:
        body = {"verdict": "approve", "digest": question["digest"], **(said or {}), "challenge": options["challenge_id"], "assertion": assertion}
        return await (by or self.boss).post(f"/v1/approvals/{question['id']}", json=body)

    async def refused(self, question: dict[str, Any], options: dict[str, Any], assertion: Any, said: dict[str, Any] | None = None,
                      by: httpx2.AsyncClient | None = None) -> str:
        answer = await self.answer(question, options, assertion, said, by)
        assert answer.status_code == 403, answer.text
        assert (await self.boss.get(f"/v1/approvals/{question['id']}")).json()["verdict"] is None and not self.paid
        return answer.json()["code"]


def built(home: Path, paid: list[int], **more: Any) -> Inhabit:
    lab = Capability("lab")

    @lab.operation(writes="internal", irreversible=False)
    async def pay(amount: int) -> str:
        paid.append(amount)
        return "paid"

    return Inhabit([lab], home=home, policy=POLICY, approvals=ApprovalsConfig.model_validate({"self": False, **more}))


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncGenerator[Scene]:
    paid: list[int] = []
    async with built(tmp_path, paid) as app:
        made = Scene(app)
        made.paid = paid
        await made.begin()
        yield made


async def test_an_answer_that_a_passkey_signed_counts_and_is_protected(scene: Scene) -> None:
    key = await scene.enrol()
    question = await scene.asked(5)
    options = (await scene.challenge(question)).json()
    assert options["userVerification"] == "required" and options["rpId"] == "localhost"
    answered = await scene.answer(question, options, key.get(options))
    assert answered.status_code == 200 and answered.json()["credential"] == "passkey 1"
    assert (await scene.ended(question["run"]))["result"] == "paid" and scene.paid == [5]
    said = {"verdict": "reject", "reason": "no"}
    question = await scene.asked()
    options = (await scene.challenge(question, said)).json()
    assert (await scene.answer(question, options, key.get(options), said)).json()["verdict"] == "reject"
    edited = {"arguments": {"amount": 2}}
    question = await scene.asked(9)
    options = (await scene.challenge(question, edited)).json()
    assert (await scene.answer(question, options, key.get(options), edited)).status_code == 200
    await scene.ended(question["run"])
    assert scene.paid == [5, 2]


async def test_E07_who_has_a_passkey_answers_with_it_or_not_at_all(scene: Scene) -> None:
    other = await scene.approver("deputy")
    question = await scene.asked()
    key = await scene.enrol()
    for verdict in ("approve", "reject"):
        plain = await scene.boss.post(f"/v1/approvals/{question['id']}", json={"verdict": verdict, "digest": question["digest"]})
        assert (plain.status_code, plain.json()["code"]) == (403, "passkey_needed")
    await scene.operator.delete("/v1/passkeys/1")     # taking it away is no way round it
    plain = await scene.boss.post(f"/v1/approvals/{question['id']}", json={"verdict": "approve", "digest": question["digest"]})
    assert plain.json()["code"] == "passkey_needed" and not scene.paid
    assert (await scene.challenge(question)).json()["code"] == "passkey_missing"
    assert key.counter == 0
    answered = await other.post(f"/v1/approvals/{question['id']}", json={"verdict": "approve", "digest": question["digest"]})
    assert answered.json()["credential"] == "token"


async def test_E07_who_has_no_passkey_edits_and_answers_on_the_page_with_the_token_alone(scene: Scene) -> None:
    """What the page does where it is told `passkey_missing`; with a passkey that takes the same answer to the server, which refuses it."""
    question = await scene.asked(9)
    assert (question["question"], question["sequence"]) == ("may_it_happen", 1)
    assert orjson.loads(question["arguments"]) == {"amount": 9}      # what is shown is what can be edited
    said = {"arguments": {"amount": 8}}
    assert (await scene.challenge(question, said)).json()["code"] == "passkey_missing"
    answered = await scene.boss.post(f"/v1/approvals/{question['id']}", json={"verdict": "approve", "digest": question["digest"], **said})
    assert answered.status_code == 200 and (await scene.ended(question["run"]))["result"] == "paid"
    assert scene.paid == [8]


async def test_E07_a_configuration_can_ask_it_of_all_or_of_nobody(tmp_path: Path) -> None:
    for chosen, status in (("required", 403), ("optional", 200)):
        async with built(tmp_path / chosen, [], passkeys=chosen) as app:
            scene = Scene(app)
            await scene.begin()
            if chosen == "optional":
                await scene.enrol()
            question = await scene.asked()
            plain = await scene.boss.post(f"/v1/approvals/{question['id']}", json={"verdict": "approve", "digest": question["digest"]})
            assert plain.status_code == status


@pytest.mark.parametrize("said", [{"origin": "http://localhost:9"}, {"origin": "https://evil.example"}, {"origin": "http://localhost.evil.example"},
                                  {"challenge": "AAAA"}, {"type": "webauthn.create"}, {"crossOrigin": True}])
async def test_E04_a_signature_of_another_page_or_challenge_is_refused(scene: Scene, said: dict[str, Any]) -> None:
    key = await scene.enrol()
    question = await scene.asked()
    options = (await scene.challenge(question)).json()
    assert await scene.refused(question, options, key.get(options, **said)) == "passkey_refused"


async def test_E04_a_signature_counts_once_and_for_its_own_answer_alone(scene: Scene) -> None:
    key = await scene.enrol()
    one, two = await scene.asked(1), await scene.asked(1_000)
    options = (await scene.challenge(one)).json()
    assert await scene.refused(two, options, key.get(options)) == "challenge_mismatch"      # another question
    for said in ({"verdict": "reject", "digest": one["digest"]}, {"arguments": {"amount": 7}}, {"reason": "other"}, {"digest": two["digest"]}):
        options = (await scene.challenge(one)).json()
        assert await scene.refused(one, options, key.get(options), said) == "challenge_mismatch"
    options = (await scene.challenge(one)).json()
    assertion = key.get(options)
    assert (await scene.answer(one, options, assertion)).status_code == 200
    assert (await scene.ended(one["run"]))["result"] == "paid"
    again = await scene.answer(one, options, assertion)
    assert (again.status_code, again.json()["code"]) == (403, "challenge_unknown")          # replayed
    fresh = (await scene.challenge(two)).json()
    assert (await scene.answer(two, fresh, assertion)).json()["code"] == "passkey_refused"  # under another challenge
    assert scene.paid == [1]


async def test_E04_another_persons_passkey_answers_nothing(scene: Scene) -> None:
    own = await scene.enrol()
    deputy = await scene.approver("deputy")
    theirs = await scene.enrol("deputy")
    question = await scene.asked()
    options = (await scene.challenge(question)).json()
    assert await scene.refused(question, options, theirs.get(options)) == "passkey_refused"
    options = (await scene.challenge(question)).json()
    assert await scene.refused(question, options, own.get(options), by=deputy) == "challenge_unknown"
    stolen = Authenticator(credential=own.credential)     # the right name, another key
    options = (await scene.challenge(question)).json()
    assert await scene.refused(question, options, stolen.get(options)) == "passkey_refused"


async def test_E07_nobody_verified_nobody_present_another_party(scene: Scene) -> None:
    key = await scene.enrol()
    question = await scene.asked()
    for flags, party in ((FLAG.UP, "localhost"), (FLAG.UV, "localhost"), (FLAG.UP | FLAG.UV, "evil.example")):
        options = (await scene.challenge(question)).json()
        key.flags, key.party = flags, party
        assert await scene.refused(question, options, key.get(options)) == "passkey_refused"


async def test_a_counter_that_goes_back_or_stands_still_is_a_copy(scene: Scene) -> None:
    key = await scene.enrol(key=Authenticator(counter=10))
    for step in (0, -5):
        question = await scene.asked()
        options = (await scene.challenge(question)).json()
        assert await scene.refused(question, options, key.get(options, step=step)) == "passkey_copied"
        key.counter = 10
    question = await scene.asked()
    options = (await scene.challenge(question)).json()
    assert (await scene.answer(question, options, key.get(options))).status_code == 200
    silent = await scene.enrol(key=Authenticator(counter=0))    # one that does not count
    for _ in range(2):
        question = await scene.asked()
        options = (await scene.challenge(question)).json()
        assert (await scene.answer(question, options, silent.get(options, step=0))).status_code == 200
        await scene.ended(question["run"])


async def test_E22_a_revoked_approver_or_passkey_answers_nothing_even_in_the_middle(scene: Scene) -> None:
    key = await scene.enrol()
    question = await scene.asked()
    options = (await scene.challenge(question)).json()
    assert (await scene.operator.delete("/v1/passkeys/1")).status_code == 204
    assert await scene.refused(question, options, key.get(options)) == "passkey_refused"
    second = await scene.enrol()
    token, record = await scene.app.create_token("boss", grant=[], approve=True)
    async with scene.http(token) as boss:
        options = (await scene.challenge(question, by=boss)).json()
        await scene.operator.delete(f"/v1/tokens/{record.id}")
        gone = await scene.answer(question, options, second.get(options), by=boss)
    assert gone.status_code == 401 and not scene.paid


async def test_who_may_not_answer_is_not_helped_by_a_passkey(scene: Scene) -> None:
    key = await scene.enrol("ada")
    question = await scene.asked()
    asker = await scene.approver("ada")     # the program's own user, with an approver's token and a passkey
    options = (await scene.challenge(question, by=asker)).json()
    assert await scene.refused(question, options, key.get(options), by=asker) == "own_request"
    assert (await scene.challenge(question, by=scene.ada)).json()["code"] == "not_an_approver"


async def test_an_invitation_is_the_operators_and_good_once(scene: Scene) -> None:
    assert (await scene.boss.post("/v1/passkeys/invitations", json={"principal": "boss"})).status_code == 403
    assert (await scene.operator.post("/v1/passkeys/invitations", json={"principal": "acme/boss/bot"})).status_code == 403
    secret = (await scene.operator.post("/v1/passkeys/invitations", json={"principal": "boss"})).json()["url"].partition("#")[2]
    async with scene.http("nobody") as stranger:
        assert (await stranger.post("/v1/passkeys/begin", json={"invitation": "guess"})).status_code == 403
        options = (await stranger.post("/v1/passkeys/begin", json={"invitation": secret})).json()
        key = Authenticator()
        for _, status in (("first", 403), ("again", 403)):     # a wrong try uses it up
            wrong = key.create(options, origin="https://evil.example")
            assert (await stranger.post("/v1/passkeys/finish", json={"invitation": secret, "credential": wrong})).status_code == status
        right = await stranger.post("/v1/passkeys/finish", json={"invitation": secret, "credential": key.create(options)})
        assert right.json()["code"] == "invitation_unknown"
    assert (await scene.operator.get("/v1/passkeys")).json() == {"passkeys": []}


@pytest.mark.parametrize("credential", [{}, {"id": 3}, {"id": "AA", "rawId": "AA", "type": "public-key", "response": {}},
                                        {"id": "AA", "rawId": "AA", "type": "public-key", "response": {"clientDataJSON": "!!", "attestationObject": "AA"}}])
async def test_D01_what_is_no_credential_is_refused_and_nothing_worse(scene: Scene, credential: Any) -> None:
    secret = (await scene.operator.post("/v1/passkeys/invitations", json={"principal": "boss"})).json()["url"].partition("#")[2]
    await scene.boss.post("/v1/passkeys/begin", json={"invitation": secret})
    made = await scene.boss.post("/v1/passkeys/finish", json={"invitation": secret, "credential": credential})
    assert (made.status_code, made.json()["code"]) == (403, "passkey_refused")
    await scene.enrol()
    question = await scene.asked()
    options = (await scene.challenge(question)).json()
    assert await scene.refused(question, options, credential) == "passkey_refused"


async def test_an_invitation_that_is_used_up_while_its_page_opens_again_stays_used_up() -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    class SlowPasskeys:
        async def of(self, _principal: Principal) -> list[Any]:
            asked.set()
            await go_on.wait()
            return []

    ceremonies = Ceremonies(SlowPasskeys(), lambda: 0)  # type: ignore[arg-type]
    secret = ceremonies.invite(Principal("boss"), "")
    begun = asyncio.create_task(ceremonies.begin_enrolling(secret, "http://localhost"))
    await asked.wait()
    for _ in range(2):
        with pytest.raises(Denied):
            await ceremonies.enrol(secret, {})
    go_on.set()
    with pytest.raises(Denied, match="used up"):
        await begun


async def test_challenges_and_invitations_end(scene: Scene) -> None:
    now = 1_000

    def clock() -> int:
        return now

    ceremonies = Ceremonies(scene.app.home.store.passkeys, clock)
    boss, key, origin = Principal("boss"), Authenticator(), "http://localhost"
    late = ceremonies.invite(boss, "")
    now += INVITATION_MS
    with pytest.raises(Exception, match="ten minutes"):
        await ceremonies.begin_enrolling(late, origin)
    secret = ceremonies.invite(boss, "")
    await ceremonies.enrol(secret, key.create(dict(await ceremonies.begin_enrolling(secret, origin))))
    answer = {"approval": "a", "digest": "d", "verdict": "approve"}
    options = dict(await ceremonies.challenge(boss, answer, origin))
    now += CHALLENGE_MS
    with pytest.raises(Exception, match="too long ago"):
        await ceremonies.signed(boss, answer, options["challenge_id"], key.get(options))
    for origin_without in ("http://127.0.0.1", "http://10.0.0.1:80", "http://example.com", "http://[::1]:8642"):
        with pytest.raises(Exception, match="no passkeys"):
            await ceremonies.challenge(boss, answer, origin_without)


async def test_E05_the_pages_run_only_their_own_script_and_put_in_text(scene: Scene) -> None:
    for name in ("enrol", "approvals", "passkeys.js"):
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=scene.served), base_url="http://localhost") as anybody:
            page = await anybody.get(f"/people/{name}")
        policy = page.headers["content-security-policy"]
        assert page.status_code == 200 and "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy and page.headers["x-content-type-options"] == "nosniff"
        assert "innerHTML" not in page.text and " onclick" not in page.text and "<script>" not in page.text


async def test_a_run_is_attended_where_somebody_else_can_answer(tmp_path: Path) -> None:
    async with built(tmp_path, []) as app:
        ada, boss = Principal("ada"), Principal("boss")
        assert not await app.attended_for(ada)
        _, record = await app.create_token("boss", grant=[], approve=True)
        assert await app.attended_for(ada) and not await app.attended_for(boss) and not await app.attended_for(Principal("ada", "acme"))
        token, _ = await app.create_token("ada")
        identity = await app.check_token(token)
        assert identity is not None and identity.attended
        await app.home.tokens.revoke(record.id, tenant="default", now_ms=record.created_ms + 1)
        assert not await app.attended_for(ada)
    async with Inhabit([], home=tmp_path / "own") as own:
        assert await own.attended_for(Principal("ada"))
