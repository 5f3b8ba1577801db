"""A decision is a value with its rule and reason."""

from typing import Any

import pytest

from inhabit.contracts.effects import Effects
from inhabit.contracts.operation import Operation
from inhabit.kernel.decide import Charge, Facts, decide, settled
from inhabit.kernel.grants import Grant

OPERATION = Operation("shop.orders.cancel", {"type": "object"}, effects=Effects("private", "trusted", "internal", False))


def test_allow_names_the_clauses_and_charges_the_bounded_one() -> None:
    grant = Grant.of("shop.**").narrowed({"pattern": "shop.orders.*", "caveats": [{"calls": 1}]})
    decision = decide(Facts(OPERATION, {}, 0), grant)
    assert decision.as_value() == {"verdict": "allow", "rule": "shop.** & shop.orders.*", "reason": "granted"}
    assert decision.charges == (Charge("1.0"),)
    assert decide(Facts(OPERATION, {}, 0, {"1.0": 1}), grant).verdict == "deny"


def test_deny_says_why() -> None:
    decision = decide(Facts(OPERATION, {}, 0), Grant.of("crm.**"))
    assert decision.verdict == "deny" and decision.charges == ()
    assert decision.reason == "shop.orders.cancel is not granted"
    assert Facts(OPERATION, {}, 0).effects.writes == "internal"


@pytest.mark.parametrize("caveats", [(), [{"effects": {"writes": "internal"}}], [{"effects": {"writes": "none"}}]])
def test_decision_that_rests_on_name_and_effects_is_settled_once(caveats: Any) -> None:
    grant = Grant.of("shop.**").narrowed({"pattern": "shop.orders.*", "caveats": caveats})
    assert settled(OPERATION, grant) == decide(Facts(OPERATION, {"amount": 1}, 5), grant)


@pytest.mark.parametrize("caveat", [
    {"argument": "amount", "max": 5}, {"expires_ms": 10}, {"calls": 1}, {"argument": "path", "prefix": "docs/"}])
def test_decision_that_looks_at_a_call_is_never_kept(caveat: Any) -> None:
    bounded = {"pattern": "shop.orders.*", "caveats": [caveat]}
    assert settled(OPERATION, Grant.of("shop.**").narrowed(bounded)) is None
    assert settled(OPERATION, Grant.of("**", bounded)) is None
    assert settled(OPERATION, Grant.of("shop.**", {"pattern": "crm.**", "caveats": [caveat]})) is not None
