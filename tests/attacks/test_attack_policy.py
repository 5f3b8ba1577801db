"""Ways around a policy: small steps, odd numbers, spellings of keys and URLs, layers that would widen."""

from __future__ import annotations

import random
from typing import Any

import httpx2
import pytest

from inhabit.contracts.effects import Effects
from inhabit.contracts.operation import Operation
from inhabit.contracts.principal import Principal
from inhabit.errors import ConfigError
from inhabit.kernel.decide import Decision, Facts, RunFacts, decide
from inhabit.kernel.grants import Grant
from inhabit.kernel.policy import Policy, Scope
from inhabit.kernel.windows import Windows
from inhabit.policy.conditions import compiled
from inhabit.policy.document import compose, read_policy
from inhabit.policy.urls import below, host

PAY = Operation("bank.pay", {"type": "object"}, effects=Effects("none", "trusted", "internal", False))
POLICY = """
[[rule]]
name = "large"
on = "bank.**"
when = "args.amount > 100"
then = "deny"
[[limit]]
name = "a day"
on = "bank.pay"
amount = "args.amount"
per = "args.customer"
max = 200
window = "1d"
"""


class Teller:
    """Pays as the bridge would: decides, and books what an allowed call uses."""

    def __init__(self, policy: Policy | None = None) -> None:
        self.policy = policy or read_policy(POLICY).policy()
        self.used = Windows()
        self.paid = 0.0

    def pay(self, amount: Any, customer: Any = "c1", run: str = "r", user: str = "ada", now_ms: int = 0) -> Decision:
        facts = Facts(PAY, {"amount": amount, "customer": customer}, now_ms, run=RunFacts(run, Principal(user)), usage=self.used)
        decision = decide(facts, Grant.of("**"), self.policy)
        if decision.verdict == "allow":
            for key, charge, window_ms in decision.charges:
                self.used.add(key, window_ms or 0, charge, now_ms)
            self.paid += amount
        return decision


def test_E08_many_small_payments_are_one_large_one() -> None:
    teller = Teller()
    verdicts = [teller.pay(amount, run=f"r{number}", user=f"u{number % 7}").verdict for number, amount in enumerate([9.5, 0.5, 20, 99, 3] * 100)]
    assert "deny" in verdicts and teller.paid <= 200
    assert teller.pay(0.01, now_ms=20).verdict == ("allow" if teller.paid < 200 else "deny")
    for number in range(10_000):
        teller.pay(0.001, run=f"s{number}")
    assert teller.paid <= 200.0001


@pytest.mark.parametrize("amount", [-50, -1e-9, "10", "1e1", None, True, [10], {"$binary": "x"}, float("nan"), float("inf"), -0.1, 10**400, 2**63, 1e308])
def test_E08_no_amount_makes_room(amount: Any) -> None:
    teller = Teller()
    assert teller.pay(100).verdict == teller.pay(100).verdict == "allow"
    assert teller.pay(amount).verdict == "deny"
    assert teller.pay(1).verdict == "deny"


@pytest.mark.parametrize("customer", ["c1\0", "c1\ud800", ["c1"], {"c1": 1}, None, "c" * 600])
def test_E08_no_key_is_kept_beside_the_books(customer: Any) -> None:
    assert Teller().pay(1, customer).verdict == "deny"


def test_E08_a_number_and_its_spelling_are_one_customer() -> None:
    teller = Teller()
    assert teller.pay(100, 7).verdict == teller.pay(100, "7").verdict == "allow"
    assert teller.pay(1, 7.0).verdict == teller.pay(1, 7).verdict == "deny"


@pytest.mark.parametrize("given", [
    "[[rule]]\nname='mine'\non='**'\nthen='allow'", "[[rule]]\nname='mine'\non='**'\nwhen='args.amount > 100 || true'\nthen='allow'",
    "[[limit]]\nname='mine'\non='**'\nmax=1000000000\nwindow='1d'", "[[rule]]\nname='mine'\non='bank.pay'\nthen='allow'\neffects={writes=['internal']}"])
def test_E02_no_layer_widens_another(given: str) -> None:
    mine = read_policy(given, file="ada.toml", scope=Scope("default", "ada"))
    teller = Teller(compose([read_policy(POLICY), mine]))
    assert teller.pay(101).verdict == "deny" and teller.pay(100).verdict == teller.pay(100).verdict == "allow"
    assert teller.pay(1).verdict == "deny"


@pytest.mark.parametrize("given", [
    "[[rule]]\nname='large'\non='**'\nthen='allow'", "[[rule]]\nname='x'\non='**'\nthen='allow'\noverride=true", "[[rule]]\nname='x'\non='**'\nthen='permit'",
    "[[limit]]\nname='a day'\non='bank.pay'\nmax=1000000\nwindow='1d'", "[[grant]]\non='**'", "[[rule]]\nname='x'\non='**'\nthen='deny'\nscope={user='bob'}"])
def test_E02_what_would_replace_or_is_not_understood_is_refused(given: str) -> None:
    with pytest.raises(ConfigError):
        compose([read_policy(POLICY), read_policy(given, file="ada.toml", scope=Scope("default", "ada"))])


PIECES = ["https", "http", "HTTPS", "ftp", "://", ":/", "//", "\\", "/", "api.test", "API.Test", "evil.org", "127.0.0.1", "0x7f.1", "[::1]", "[::ffff:7f00:1]", "@", ":", "443", "80", "0443",
          "%2e", "%2E%2e", "..", ".", ";", "?", "#", "&", "=", "%", "%00", "\t", "\n", " ", "a", "v1", "v10", "％", "。", "ⓐpi.test", "xn--", "é", "%2f", "%5c", "user", "​"]
SHAPES = ["https://{}", "https://api.test{}", "https://api.test/v1{}", "http://user{}", "https://{}/v1/x", "{}"]


def test_E23_a_hundred_thousand_urls_are_one_place_for_policy_and_client() -> None:
    chance = random.Random(23)
    agreed = disagreed = 0
    for _ in range(100_000):
        url = chance.choice(SHAPES).format("".join(chance.choices(PIECES, k=chance.randrange(0, 6))))
        ours = host(url)
        if not ours:
            assert not below(url, "https://api.test/v1")
            continue
        try:
            theirs = httpx2.URL(url)
        except (httpx2.InvalidURL, UnicodeError, ValueError):
            continue    # the client asks nobody
        agreed += 1
        disagreed += theirs.raw_host.decode().rstrip(".") != ours.strip("[]")
        if below(url, "https://api.test/v1"):
            assert theirs.scheme == "https" and theirs.port in (None, 443) and theirs.raw_host.rstrip(b".") == b"api.test"
            path = theirs.raw_path.split(b"?")[0]
            assert (path == b"/v1" or path.startswith(b"/v1/")) and b".." not in path.split(b"/"), (url, path)
    assert disagreed == 0 and agreed > 20_000


def test_E03_a_pattern_from_the_program_costs_no_time() -> None:
    condition = compiled("args.text.matches('^(([a-z])+.)+[A-Z]([a-z])+$') || args.text.matches(args.pattern)")
    for pattern in ("(a*)*b", "(a|aa)+$", "(.*)*x", "(x+x+)+y"):
        assert condition({"args": {"text": "a" * 50_000, "pattern": pattern}}) is (pattern == "(a|aa)+$")
