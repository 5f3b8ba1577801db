"""Policies held against recorded runs, and the policy that recorded runs suggest."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inhabit.contracts.principal import Principal
from inhabit.contracts.run import Intent, Outcome, RunHeader, RunRecord, StoredEntry, Terminal
from inhabit.kernel.grants import Grant, Permitted
from inhabit.policy.backtest import Backtest, backtest
from inhabit.policy.check import checked
from inhabit.policy.document import read_policy
from inhabit.policy.suggest import suggested
from tests.policy.policy_kit import LIST, OPERATIONS, PAY, SEND, rule

BY_NAME = {operation.name: operation for operation in OPERATIONS}
START_MS = 1_790_000_000_000
HOUR = 3_600_000


def record(run_id: str, *calls: tuple[str, dict[str, Any], int], user: str = "ada", verdict: str = "allow") -> RunRecord:
    """A run with calls as (operation, arguments, ms after the start)."""
    header = RunHeader(run_id, Principal(user), "javascript", "h", "", "", b"null", "e", 0, START_MS)
    entries: list[Any] = []
    for sequence, (operation, arguments, after) in enumerate(calls, 1):
        entries.append(Intent(sequence, operation, orjson.dumps(arguments), {"verdict": verdict}, "s", "k", True, False, START_MS + after))
        entries.append(Outcome(sequence, True, b"1", 1.0, START_MS + after + 1))
    entries.append(Terminal("completed", b"null", START_MS))
    return RunRecord(header, tuple(StoredEntry(number, entry) for number, entry in enumerate(entries, 1)), "completed")


def pay(amount: float, after: int = 0, customer: str = "c1") -> tuple[str, dict[str, Any], int]:
    return PAY.name, {"amount": amount, "customer": customer, "status": "open", "lines": []}, after


def judged(text: str, *records: RunRecord) -> Backtest:
    return backtest(records, read_policy(text).policy(), BY_NAME)


def stops(found: Backtest) -> list[tuple[str, int, str, str]]:
    return [(stop.run_id, stop.sequence, stop.verdict, stop.rule) for stop in found.stopped]


DAILY = "[[limit]]\nname='daily'\non='shop.refunds.*'\namount='args.amount'\nper='args.customer'\nmax=100\nwindow='1d'\n"


def test_rule_names_runs_calls_and_reasons() -> None:
    found = judged(rule("args.amount > 50", then="ask"), record("r1", pay(20), pay(60)), record("r2", (LIST.name, {}, 5)))
    assert (found.runs, found.calls, found.runs_stopped, found.unknown) == (2, 3, ("r1",), ())
    assert stops(found) == [("r1", 2, "ask", "r")]
    assert found.stopped[0].reason == "rule 'r'" and found.stopped[0].arguments["amount"] == 60 and found.stopped[0].principal == "default/ada"


def test_windows_are_gone_through_in_the_order_of_time() -> None:
    later, first = record("r2", pay(60, 2 * HOUR)), record("r1", pay(60, HOUR), pay(30, 3 * HOUR))
    assert stops(judged(DAILY, later, first)) == [("r2", 1, "deny", "daily")]
    assert stops(judged(DAILY, record("r1", pay(60)), record("r2", pay(60, 27 * HOUR)))) == []
    assert stops(judged(DAILY, record("r1", pay(60)), record("r2", pay(60, HOUR, "c2")))) == []
    assert stops(judged(DAILY.replace("'1d'", "'run'"), record("r1", pay(60), pay(30)), record("r2", pay(60), pay(60)))) == [("r2", 2, "deny", "daily")]


def test_invariants_see_the_run_before() -> None:
    text = rule(f"run.calls.exists(c, c.operation == '{LIST.name}')", on="mail.*")
    assert stops(judged(text, record("r1", (LIST.name, {}, 0), (SEND.name, {"to": "x"}, 1)), record("r2", (SEND.name, {"to": "x"}, 2)))) == [("r1", 2, "deny", "r")]
    assert stops(judged(rule("labels.private", on="mail.*"), record("r1", (LIST.name, {}, 0), (SEND.name, {"to": "x"}, 1)))) == [("r1", 2, "deny", "r")]


def test_what_was_refused_then_or_is_unknown_now_is_not_judged() -> None:
    found = judged(rule(on="**"), record("r1", pay(1), verdict="deny"), record("r2", ("crm.gone", {}, 0)))
    assert (found.stopped, found.calls, found.unknown) == ((), 1, ("crm.gone",))


def test_a_record_that_cannot_be_read_as_arguments_is_judged_without() -> None:
    broken = record("r1", pay(1))
    intent = broken.entries[0].entry
    assert isinstance(intent, Intent)
    for body in (b"...", b"[1]"):
        entries = (StoredEntry(1, intent._replace(arguments=body)),)
        assert len(judged(rule("args.amount > 5"), RunRecord(broken.header, entries, "running")).stopped) == 1


CALLS = st.lists(st.tuples(st.sampled_from([PAY.name, LIST.name, SEND.name]), st.sampled_from([1, 2.5, 60, 10**6]), st.integers(0, 40 * HOUR)), max_size=8)


@settings(max_examples=60, deadline=None)
@given(st.lists(CALLS, max_size=6))
def test_suggestion_is_sound_and_lets_the_same_runs_pass(runs: list[list[tuple[str, float, int]]]) -> None:
    records = [record(f"r{number}", *(pay(amount, after) if name == PAY.name else (name, {"to": "x"} if name == SEND.name else {}, after)
                                      for name, amount, after in sorted(calls, key=lambda call: call[2])))
               for number, calls in enumerate(runs)]
    found = suggested(records, BY_NAME)
    document = read_policy(found.policy)
    assert checked(document, OPERATIONS) == ()
    assert backtest(records, document.policy(), BY_NAME).stopped == ()
    grant = Grant.of(*found.grant)
    for one in records:
        used: dict[str, int] = {}
        for stored in one.entries:
            if isinstance(stored.entry, Intent):
                answer = grant.permits(BY_NAME[stored.entry.operation], orjson.loads(stored.entry.arguments), 0, used)
                assert isinstance(answer, Permitted)
                used |= {key: used.get(key, 0) + 1 for key in answer.counted}


def test_suggestion_is_narrow() -> None:
    records = [record("r1", (LIST.name, {}, 0)), record("r2", pay(60), pay(20, HOUR)), record("r3", (SEND.name, {"to": "x"}, 0))]
    found = suggested(records, BY_NAME)
    assert found.grant == ({"pattern": SEND.name, "caveats": [{"calls": 1}]}, {"pattern": LIST.name}, {"pattern": PAY.name, "caveats": [{"calls": 2}]})
    policy = read_policy(found.policy).policy()
    assert [r.name for r in policy.rules] == [f"{PAY.name}: amount above 60", "no outward write after private data"]
    for more, stopped in (([pay(61)], 1), ([pay(1), pay(1, 1), pay(1, 2)], 3), ([(LIST.name, {}, 0), (SEND.name, {"to": "x"}, 1)], 1), ([pay(60)], 0)):
        found_now = backtest([record("new", *more)], policy, BY_NAME)
        assert bool(found_now.stopped) is bool(stopped), found_now


@pytest.mark.parametrize("name", ["a\"b", "a\\b", "ü", "a]b", "'"])
def test_suggestion_quotes_what_it_saw(name: str) -> None:
    call = (PAY.name, {name: 5, **pay(1)[1]}, 0)
    text = suggested([record("r1", call)], BY_NAME).policy
    document = read_policy(text)
    assert document.sound and backtest([record("r1", call)], document.policy(), BY_NAME).stopped == ()
    assert backtest([record("r1", (PAY.name, {**call[1], name: 6}, 0))], document.policy(), BY_NAME).stopped != ()


def test_suggestion_leaves_out_names_that_nobody_could_read() -> None:
    for name in ("a\x7f", "\0", "x" * 300, "order_id"):
        assert read_policy(suggested([record("r1", (PAY.name, {name: 5}, 0))], BY_NAME).policy).policy().rules == ()
