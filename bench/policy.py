"""What a decision costs: `python -m bench.policy [--json] [--quick]`.

`policy.decide100.p50_us` is one decision under a policy of 100 rules and limits, of which five concern the call: three
rules and one limit with conditions in CEL, and one rule without. `policy.decide10000` has 10,000 of them, and the same
five. `…cel_share` is the part of it that is spent in conditions, `…first_us` the first decision on an operation, which
finds its rules.

`policy.backtest500.s` is a back-test of a policy with rules, a limit and an invariant over 500 runs of the shop's three
programs, read from the journal and judged; `policy.backtest500.judging_s` the part of it that is judging.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvloop

from bench.report import Options, Report, options, percentile
from examples.shop.app import PROGRAMS, build
from inhabit.contracts.effects import Effects
from inhabit.contracts.operation import Operation
from inhabit.contracts.principal import Principal
from inhabit.kernel.decide import Facts, RunFacts, decide, visible
from inhabit.kernel.grants import Grant
from inhabit.kernel.policy import Policy
from inhabit.kernel.windows import Windows
from inhabit.policy.backtest import backtest
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


NEW = """
[[rule]]
name = "retries are for people"
on = "shop.invoices.retry"
then = "ask"
[[rule]]
name = "no order after a retry"
on = "shop.orders.place"
when = "run.calls.exists(c, c.operation == 'shop.invoices.retry')"
then = "deny"
[[limit]]
name = "calls of a user in an hour"
on = "shop.**"
per = "principal.user"
max = 200
window = "1h"
"""
RUNS = 500


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
    rounds, calls = (500, 10) if given.quick else (4_000, 10)   # short rounds: a neighbour takes the processor in few of them
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


async def measure_backtest(report: Report) -> None:
    policy = read_policy(NEW).policy()
    programs = [path for path in sorted(PROGRAMS.iterdir()) if path.suffix in (".ts", ".py")]
    with tempfile.TemporaryDirectory() as home:
        async with build(Path(home)) as app:
            for number in range(RUNS):
                path = programs[number % len(programs)]
                await app.execute(path.read_text(), principal="ada", language="python" if path.suffix == ".py" else "javascript")
            operations = {operation.name: operation for operation in app.operations()}
            begun = time.perf_counter()
            records = [await app.home.journal.read(run.run_id, tenant="default")
                       for run in await app.home.journal.list(tenant="default", limit=RUNS)]
            read = time.perf_counter()
            found = backtest(records, policy, operations)
            ended = time.perf_counter()
    assert found.runs == RUNS and found.stopped, found
    report.note(f"{found.calls} calls; {len(found.runs_stopped)} runs would have been stopped")
    report.figure("policy.backtest500.s", ended - begun, "s")
    report.figure("policy.backtest500.judging_s", ended - read, "s")


def main() -> int:
    given = options(__doc__ or "")
    report = Report(given.json)
    measure(report, given)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(measure_backtest(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
