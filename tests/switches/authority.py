"""Controls of who may do what: grants, policy and its books, tokens, approvals and passkeys, what a caller sees."""

from __future__ import annotations

import types
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import orjson

from inhabit import app
from inhabit.errors import InvalidInput
from inhabit.kernel import caveats, grants
from inhabit.kernel import decide as decide_kernel
from inhabit.kernel import policy as policy_kernel
from inhabit.kernel.decide import Decision
from inhabit.kernel.grants import Grant, Permitted
from inhabit.kernel.policy import Policy
from inhabit.policy import conditions, loader
from inhabit.runtime import bridge, visibility
from inhabit.runtime.approvals import Desk
from inhabit.runtime.check import Checker
from inhabit.runtime.context import RunContext
from inhabit.runtime.driving import Driving
from inhabit.runtime.questions import OpenQuestions
from inhabit.runtime.service import Runtime
from inhabit.server import approvals, attenuable, ceremonies, showing
from inhabit.server import tokens as server_tokens
from inhabit.server.attenuable import Attenuable
from inhabit.server.ceremonies import Ceremonies
from inhabit.store import ledger, tokens
from inhabit.store.passkeys import Passkeys
from inhabit.tokens import chain
from tests.switches.off import Control, all_of, gone, replaced

CONDITIONS, ATTACKS_ON_POLICY, POLICY_KERNEL = "tests/policy/test_conditions.py", "tests/attacks/test_attack_policy.py", "tests/kernel/test_policy.py"
BRIDGE, AUTHORITY, TENANTS = "tests/runtime/test_bridge.py", "tests/attacks/test_attack_authority.py", "tests/attacks/test_attack_tenants.py"
LEDGER = "tests/store/test_store_ledger.py"


ASKING, APPROVALS, PASSKEYS = "tests/runtime/test_asking.py", "tests/server/test_approvals.py", "tests/app/test_passkeys.py"
CHAIN, ATTENUABLE, REVOKE, STORE_TOKENS = ("tests/tokens/test_chain.py", "tests/app/test_attenuable.py", "tests/attacks/test_attack_revoke.py",
                                          "tests/store/test_store_tokens.py")
HTTP_TOKENS, AUTHOR = "tests/server/test_http_tokens.py", "tests/attacks/test_attack_author.py"

_desk, _decided, _bridged, _call = Desk.decide, Desk._record, bridge.decide, approvals.shown_call
_server, _signed, _said, _read = ceremonies._server, Ceremonies.signed, chain._said, chain.read
_checked, _agrees = caveats.checked, RunContext.agrees


# -- approvals ------------------------------------------------------------------------------------------------


async def _of_another_digest(desk: Any, approval: Any, verdict: Any, by: Any, *, digest: Any = None, **more: Any) -> Any:
    return await _desk(desk, approval, verdict, by, **more)


async def _by_whoever_asked(desk: Any, *given: Any, **more: Any) -> Any:
    own, desk.own = desk.own, True
    try:
        return await _desk(desk, *given, **more)
    finally:
        desk.own = own


def _whatever_was_told(context: Any, *given: Any) -> None:
    told, context.told = context.told, {}
    try:
        _agrees(context, *given)
    finally:
        context.told = told


async def _by_an_agent(desk: Any, approval: Any, verdict: Any, by: Any, **more: Any) -> Any:
    return await _desk(desk, approval, verdict, by._replace(principal=replace(by.principal, agent=None)), **more)


async def _twice(desk: Any, approval: Any, decided: Any) -> None:
    run = await desk._runtime.parts.journal.summary(approval.run_id, tenant=approval.principal.tenant)
    await desk._runtime.decide(run, decided).durable()


def _as_approved(facts: Any, *given: Any) -> Any:
    return Decision("allow", "approval", "a person said yes") if facts.approved else _bridged(facts, *given)


# -- passkeys -------------------------------------------------------------------------------------------------


def _of_any_page(origin: str) -> Any:
    server = _server(origin)
    server._verify = lambda _: True
    return server


def _unverified(origin: str) -> Any:
    """Nobody is asked for a finger, a face or a PIN."""
    server = _server(origin)
    complete = server.authenticate_complete
    server.authenticate_complete = lambda state, *given: complete({**state, "user_verification": None}, *given)
    return server


async def _again_and_again(held: Any, principal: Any, answer: Any, challenge_id: str, assertion: Any) -> int:
    opened = held._asked.get(challenge_id)
    try:
        return await _signed(held, principal, answer, challenge_id, assertion)
    finally:
        if opened is not None:
            held._asked[challenge_id] = opened


async def _of_anybody(held: Any, principal: Any) -> Any:
    return [passkey for passkey in await held._passkeys.list(tenant=principal.tenant) if passkey.revoked_ms is None]


async def _revoked_too(held: Any, principal: Any) -> Any:
    return await held._passkeys.of(principal)


# -- tokens ---------------------------------------------------------------------------------------------------


def _the_first_block(biscuit: Any) -> Any:
    return _said(types.SimpleNamespace(block_count=lambda: 1, block_external_key=biscuit.block_external_key, block_source=biscuit.block_source,
                                       revocation_ids=biscuit.revocation_ids))


def _whatever_it_is(biscuit: Any, number: int) -> dict[str, Any]:
    """A block of which only what is known is read."""
    found = chain._FACT.search(biscuit.block_source(number))
    try:
        value = orjson.loads(bytes.fromhex(found[1])) if found else {}
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _what_is_known(caveat: Any) -> Any:
    try:
        return _checked(caveat)
    except InvalidInput:
        return {"calls": 10**6}


async def _only_marked(driving: Any, names: Iterable[str]) -> None:
    """The runs are told, and nobody waits for their calls."""
    for asked in driving._tokens_asked:
        asked.revoked |= any(frozenset(name.split(".")) <= asked.ids for name in names)


async def _by_what_it_says(held: Any, token: str, *, now_ms: int) -> Any:
    """Without a record of having been issued."""
    try:
        said = _read(token, lambda public: held._keys.known(public, now_ms))
    except InvalidInput:
        return None
    return said


async def _of_any_tenant(checker: Any, program: Any, isolate: Any, names: Any, shows: Any, bounds: Any, _: str) -> Any:
    """What one tenant's worker made of a program is what every tenant runs."""
    return await _check(checker, program, isolate, names, shows, bounds, "all")


_check = Checker.check


def _fields_pass(source: Any, names: Any) -> Any:
    return {name: source[name] for name in names if name in source}


CONTROLS: dict[str, Control] = {
    "tenants: whose a run is": Control(gone((visibility.Sight, "sees"), answer=True), (TENANTS, "-k", "E18")),
    "tenants: what a worker made": Control(replaced(Checker, "check", _of_any_tenant), (AUTHORITY, "-k", "E19")),
    "grants": Control(all_of(replaced(Grant, "permits", lambda *_: Permitted("**", ())), gone((Grant, "shows"), answer=True)), (
        "tests/kernel", BRIDGE, AUTHORITY, "-k", "E01 or E02 or E03 or denied_call or outside_the_grant or counted_over_the_run")),
    "policy: what conditions may see": Control(replaced(conditions, "_fields", _fields_pass), (
        CONDITIONS, ATTACKS_ON_POLICY, "-k", "E23_what_cannot or E08_no_key")),
    "policy: amounts": Control(gone((policy_kernel, "_is_amount"), answer=True), (POLICY_KERNEL, "-k", "E08")),
    "policy: keys of limits": Control(replaced(policy_kernel, "_key", lambda parts: "".join(map(str, parts))), (POLICY_KERNEL, "-k", "E08")),
    "policy: rules": Control(gone((decide_kernel, "judged")), (POLICY_KERNEL, ATTACKS_ON_POLICY, "tests/policy", "-k", "E02 or strictest or cannot_be_judged or examples")),
    "policy: URLs by parts": Control(all_of(gone((caveats, "_stays"), answer=True), gone((caveats, "is_url"), answer=False)), (
        CONDITIONS, ATTACKS_ON_POLICY, "-k", "E03 or E23")),
    "policy: half a file": Control(replaced(loader, "SETTLE_S", 0.0), ("tests/policy/test_loader.py",)),
    "policy: the last good one stays": Control(replaced(loader.Loader, "_judged", lambda *_: (Policy(version="empty"), ())), ("tests/policy/test_loader.py", "-k", "E21")),
    "ledger: keys of a tenant": Control(gone((ledger.TenantLedger, "_room"), answer=True), (LEDGER, "-k", "E08_a_program")),
    "ledger: charges are booked": Control(gone((ledger.TenantLedger, "reserve"), answer=()), (LEDGER, "-k", "E08_concurrent or F01_a_restart")),
    "approvals: of what was shown": Control(replaced(Desk, "decide", _of_another_digest), (ASKING, APPROVALS, "-k", "E04")),
    "approvals: one answer": Control(replaced(Desk, "_record", _twice), (ASKING, "-k", "E04_an_answer")),
    "approvals: limits that they tell of": Control(replaced(RunContext, "agrees", _whatever_was_told), (ASKING, "-k", "E08_calls_that_wait")),
    "approvals: edits are decided anew": Control(replaced(bridge, "decide", _as_approved), (ASKING, APPROVALS, "-k", "E04_an_edit or edited_call")),
    "approvals: never by whoever asks": Control(replaced(Desk, "decide", _by_whoever_asked), (APPROVALS, PASSKEYS, "-k", "E07_no_program or who_may_not")),
    "approvals: never by an agent": Control(replaced(Desk, "decide", _by_an_agent), (ASKING, "-k", "E07")),
    "approvals: shown whole": Control(replaced(approvals, "shown_call", lambda *given: _call(*given)._replace(truncated=False)), (APPROVALS, "-k", "E05_what_hides")),
    "approvals: shown as it is": Control(all_of(replaced(showing, "_visible", lambda char: char), replaced(showing, "_unmixed", lambda word: word)), (
        APPROVALS, "-k", "E05")),
    "approvals: what is odd stands first": Control(replaced(approvals, "oddities", lambda calls: [[] for _ in calls]), (APPROVALS, "-k", "E06_the_odd")),
    "approvals: not too many": Control(gone((OpenQuestions, "admit")), (APPROVALS, "-k", "E06_a_run")),
    "passkeys: asked of who has one": Control(gone((Ceremonies, "enrolled"), answer=False), (PASSKEYS, "-k", "E07_who_has")),
    "passkeys: the page": Control(replaced(ceremonies, "_server", _of_any_page), (PASSKEYS, "-k", "E04_a_signature_of")),
    "passkeys: the person was verified": Control(replaced(ceremonies, "_server", _unverified), (PASSKEYS, "-k", "E07_nobody_verified")),
    "passkeys: a challenge is used up": Control(replaced(Ceremonies, "signed", _again_and_again), (PASSKEYS, "-k", "E04_a_signature_counts")),
    "passkeys: signed for one answer": Control(gone((ceremonies, "_about"), answer=b""), (PASSKEYS, "-k", "E04_a_signature_counts")),
    "passkeys: the counter": Control(gone((Passkeys, "_used")), (PASSKEYS, "-k", "counter_that_goes_back")),
    "passkeys: one's own": Control(replaced(Ceremonies, "_valid", _of_anybody), (PASSKEYS, "-k", "E04_another_persons")),
    "passkeys: revoked ones": Control(all_of(replaced(Ceremonies, "_valid", _revoked_too), gone((Passkeys, "_used"))), (PASSKEYS, "-k", "E22 or E07_who_has")),
    "tokens: later blocks narrow": Control(replaced(chain, "_said", _the_first_block), (CHAIN, "-k", "E02_narrowing or E02_whatever_else or E02_a_later")),
    "tokens: nothing unknown in a block": Control(all_of(replaced(chain, "_block", _whatever_it_is), gone((chain, "_only"))), (
        CHAIN, "-k", "E02_whatever_else or E02_an_unknown or E02_a_block_has or third_party")),
    "tokens: unknown caveats": Control(replaced(grants, "checked", _what_is_known), (CHAIN, "tests/kernel/test_grants.py", "-k", "E02_an_unknown or E02_unknown")),
    "tokens: no rights for agents": Control(all_of(gone((server_tokens, "check_rights")), gone((app, "check_rights"))), (AUTHOR, "-k", "E07_no_agent")),
    "tokens: the server's own keys": Control(replaced(attenuable, "read", lambda token, _: chain.shown(token)), (ATTENUABLE, "-k", "E02_a_token_without")),
    "tokens: the record of the issue": Control(replaced(Attenuable, "check", _by_what_it_says), (ATTENUABLE, "-k", "E02_a_token_without or E18")),
    "tokens: it says what was issued": Control(gone((attenuable, "_agrees"), answer=True), (ATTENUABLE, "-k", "E02_a_token_without")),
    "tokens: revoked, no call starts": Control(replaced(Driving, "revoke", _only_marked), (REVOKE, ATTENUABLE, "-k", "E22_after or (E22_no_call and own)")),
    "tokens: let in before": Control(gone((Runtime, "_still")), (ATTENUABLE, "-k", "E22_a_request")),
    "tokens: revoked ones wake nothing": Control(gone((Driving, "alive"), answer=True), (
        REVOKE, ATTENUABLE, "-k", "F14")),
    "tokens: dead with their parent": Control(gone((tokens, "_depth"), answer=0), (STORE_TOKENS, HTTP_TOKENS, "-k", "parent or expired or E02")),
}
