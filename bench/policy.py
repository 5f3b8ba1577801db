"""What a decision costs: `python -m bench.policy [--json] [--quick]`.

`policy.decide100.p50_us` is one decision under a policy of 100 rules and limits, of which five concern the call: three
rules and one limit with conditions in CEL, and one rule without. `policy.decide10000` has 10,000 of them, and the same
five. `…cel_share` is the part of it that is spent in conditions. The rest is about other operations.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from typing import Any

from bench.report import Options, Report, options, percentile
from inhabit.contracts.effects import Effects
from inhabit.contracts.operation import Operation
from inhabit.contracts.principal import Principal
from inhabit.kernel.decide import Facts, RunFacts, decide, visible
from inhabit.kernel.grants import Grant
from inhabit.kernel.policy import Policy
from inhabit.kernel.windows import Windows
from inhabit.policy.document import read_policy

OPERATION = Operation("shop.refunds.pay", {"type": "object"}, effects=Effects("private", "trusted", "internal", False))
ARGUMENTS = {"order_id": "o-1", "customer": "c-17", "amount_cents": 1_250, "note": "the box was damaged", "lines": [{"id": 1, "quantity": 2}]}
FIVE = """
[[rule]]
name = "large refunds need a person"
on = "shop.refunds.*"
when = "args.amount_cents > 5000"
then = "ask"
[[rule]]
name = "nothing at night"
on = "shop.**"
when = "now.getHours('Europe/Berlin') < 5 && effects.writes != 'none'"
then = "hold"
[[rule]]
name = "agents pay known customers"
on = "shop.refunds.pay"
when = "principal.agent != '' && !args.customer.startsWith('c-')"
then = "deny"
[[rule]]
name = "refunds are allowed"
on = "shop.refunds.pay"
then = "allow"
[[limit]]
name = "refunds per customer and day"
on = "shop.refunds.pay"
amount = "args.amount_cents"
per = "args.customer"
max = 20000
window = "1d"
"""


def policy_of(count: int) -> Policy:
    others = "".join(f"[[rule]]\nname = 'other {number}'\non = 'crm.part{number}.*'\nwhen = 'args.n > {number}'\nthen = 'ask'\n"
                     for number in range(count - 5))
    return read_policy(others + FIVE).policy()


def facts() -> Facts:
    usage = Windows()
    for at in range(10):
        usage.add("28:refunds per customer and day4:c-17", 86_400_000, 100, 1_790_000_000_000 + at * 1_000_000)
    run = RunFacts("run", Principal("ada", "acme", "helper"), "program", "javascript", "mcp", True)
    return Facts(OPERATION, ARGUMENTS, 1_790_010_000_000, run=run, usage=usage)


def timed(work: Callable[[], Any], rounds: int, calls: int) -> list[float]:
    """Microseconds of one call, one figure a round of `calls`."""
    found: list[float] = []
    for _ in range(rounds):
        begun = time.perf_counter()
        for _ in range(calls):
            work()
        found.append((time.perf_counter() - begun) / calls * 1e6)
    return found


def measure(report: Report, given: Options) -> None:
    rounds, calls = (40, 100) if given.quick else (200, 200)
    grant, call = Grant.of("shop.**"), facts()
    for count in (100, 10_000):
        policy = policy_of(count)
        here = policy.applicable(OPERATION)
        assert len(here.rules) + len(here.limits) == 5
        assert len(policy.rules) + len(policy.limits) == count
        assert decide(call, grant, policy).verdict == "allow"
        gc.collect()
        whole = percentile(timed(lambda policy=policy: decide(call, grant, policy), rounds, calls), 0.5)
        seen = visible(call, {})
        conditions = [c for r in here.rules for c in [r.condition] if c] + [c for x in here.limits for c in (x.amount, *x.per) if c]
        cel = percentile(timed(lambda seen=seen, conditions=conditions: [c(seen) for c in conditions], rounds, calls), 0.5)
        report.figure(f"policy.decide{count}.p50_us", whole, "us")
        report.figure(f"policy.decide{count}.cel_share", cel / whole, "share")
        first = policy_of(count)
        begun = time.perf_counter()
        decide(call, grant, first)
        report.figure(f"policy.decide{count}.first_us", (time.perf_counter() - begun) * 1e6, "us")


def main() -> int:
    given = options(__doc__ or "")
    measure(Report(given.json), given)
    return 0


if __name__ == "__main__":
    sys.exit(main())
