"""A decision is a value with its rule and reason."""

from inhabit.contracts.effects import Effects
from inhabit.contracts.operation import Operation
from inhabit.kernel.decide import Charge, Facts, decide
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
