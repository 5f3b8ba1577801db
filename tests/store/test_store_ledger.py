"""Usage that outlives runs, restarts and clocks."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inhabit.contracts.effects import Effects
from inhabit.contracts.operation import Operation
from inhabit.contracts.principal import Principal
from inhabit.kernel.decide import Charge, Facts, RunFacts, decide
from inhabit.kernel.grants import Grant
from inhabit.kernel.policy import Condition, Limit, Policy, Unjudgeable
from inhabit.store import ledger as ledger_module
from inhabit.store.codec import INTENT
from inhabit.store.database import Database
from inhabit.store.journal import SqliteJournal
from inhabit.store.ledger import Ledger, TenantLedger
from tests.store.ledger_victim import KEY, START_MS, WINDOW_MS
from tests.store.store_samples import END, header, intent

DAY = 86_400_000
ROOT = Path(__file__).parents[2]
PAY = Operation("shop.refunds.pay", {"type": "object"}, effects=Effects("none", "trusted", "internal", False))


class Amount(Condition):
    text = "args.amount"
    reads = frozenset({"args.amount"})

    def __call__(self, facts: Any, /) -> Any:
        return facts["args"]["amount"]


class Boot:
    """A clock that nobody sets."""

    def __init__(self) -> None:
        self.ms = 5_000

    def __call__(self) -> int:
        return self.ms


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@pytest.fixture
def boot() -> Iterator[Boot]:
    yield Boot()


def refund(usage: TenantLedger, amount: float, maximum: float, run_id: str, window_ms: int = DAY) -> tuple[bool, Any]:
    policy = Policy((), [Limit("refunds", ("**",), maximum, window_ms, Amount())])
    decision = decide(Facts(PAY, {"amount": amount}, START_MS, run=RunFacts(run_id, Principal("ada")), usage=usage), Grant.of("**"), policy)
    allowed = decision.verdict == "allow"
    return allowed, usage.reserve(decision.charges, run_id) if allowed else ()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=40), st.integers(1, 200))
def test_E08_concurrent_calls_cannot_pass_a_limit_together(tmp_path_factory: pytest.TempPathFactory, amounts: list[int], maximum: int) -> None:
    async def scene() -> None:
        database = Database(tmp_path_factory.mktemp("ledger") / "journal.db")
        journal, usage = SqliteJournal(database), Ledger(database, START_MS).of("default")
        runs = [header(number) for number in range(3)]
        for run in runs:
            journal.begin(run)
        paid: list[int] = []

        async def call(number: int, amount: int) -> None:
            await asyncio.sleep(0)
            run = runs[number % 3]
            allowed, writes = refund(usage, amount, maximum, run.run_id)
            if allowed:
                await journal.append(run.run_id, intent(number), also=writes).durable()
                paid.append(amount)

        await asyncio.gather(*(call(number, amount) for number, amount in enumerate(amounts)))
        assert sum(paid) <= maximum
        assert not paid or usage.used(KEY, DAY, 0) == sum(paid)
        assert any(sum(paid) + amount > maximum for amount in amounts) or sorted(paid) == sorted(amounts)
        await database.close()

    asyncio.run(scene())


async def test_F01_a_restart_knows_what_was_used(path: Path, boot: Boot) -> None:
    database = Database(path)
    journal, run = SqliteJournal(database), header()
    journal.begin(run)
    ledger = Ledger(database, START_MS, boot)
    for _ in range(3):
        _, writes = refund(ledger.of("default"), 30, 100, run.run_id)
        journal.append(run.run_id, intent(1), also=writes)
    other = ledger.of("other").reserve([Charge(KEY, 7, DAY)], run.run_id)
    await journal.append(run.run_id, intent(2), also=other).durable()
    await database.close()

    database = Database(path)
    again = Ledger(database, START_MS + 1, boot)
    assert again.of("default").used(KEY, DAY, 0) == 90 and again.of("other").used(KEY, DAY, 0) == 7
    assert refund(again.of("default"), 11, 100, "r")[0] is False and refund(again.of("default"), 10, 100, "r")[0] is True
    boot.ms += DAY + DAY // 32 + 1
    assert again.of("default").used(KEY, DAY, 0) == 0
    await again.prune()
    assert await database.read(lambda c: c.execute("SELECT count(*) FROM charges").fetchone()) == (0,)
    await database.close()
    database = Database(path)
    assert Ledger(database, START_MS, boot).of("default").used(KEY, DAY, 0) == 0
    await database.close()


async def test_F01_kills_lose_no_acknowledged_charge_and_charges_are_the_intents(path: Path) -> None:
    chance = random.Random(3)
    told = sum([_killed(path, chance.randrange(1, 60)) for _ in range(12)])
    database = Database(path, lock_wait_s=10)
    used = Ledger(database, START_MS).of("default").used(KEY, WINDOW_MS, 0)
    intents = await database.read(lambda c: c.execute("SELECT count(*) FROM entries WHERE kind = ?", (INTENT,)).fetchone())
    await database.close()
    assert used >= told >= 100 and (used,) == intents


@pytest.mark.parametrize("jump", [-365 * DAY, -1, 365 * DAY])
async def test_F06_wall_clock_that_jumps_moves_no_window(path: Path, boot: Boot, jump: int) -> None:
    database = Database(path)
    usage = Ledger(database, START_MS, boot).of("default")
    usage.reserve([Charge(KEY, 90, DAY)], "r")
    assert usage.used(KEY, DAY, START_MS + jump) == 90
    usage.reserve([Charge(KEY, 5, DAY)], "r")
    assert usage.used(KEY, DAY, START_MS) == 95
    boot.ms += 2 * DAY
    assert usage.used(KEY, DAY, START_MS + jump) == 0
    await database.close()


async def test_F06_start_with_a_clock_set_back_forgets_nothing_and_hangs_on_to_nothing(path: Path, boot: Boot) -> None:
    database = Database(path)
    journal, run = SqliteJournal(database), header()
    journal.begin(run)
    writes = Ledger(database, START_MS, boot).of("default").reserve([Charge(KEY, 90, DAY)], run.run_id)
    await journal.append(run.run_id, intent(1), also=writes).durable()
    back = Ledger(database, START_MS - 365 * DAY, boot)
    assert back.of("default").used(KEY, DAY, 0) == 90 and back.time_ms() == START_MS
    boot.ms += DAY + DAY // 16
    assert back.of("default").used(KEY, DAY, 0) == 0
    await database.close()


async def test_what_counts_for_a_run_ends_with_it(path: Path, boot: Boot) -> None:
    database = Database(path)
    journal, ledger = SqliteJournal(database), Ledger(database, START_MS, boot)
    usage = ledger.of("default")
    runs = [header(number) for number in range(2)]
    for run in runs:
        journal.begin(run)
        journal.append(run.run_id, intent(1), also=usage.reserve([Charge(f"1:a{run.run_id}", 4, 0)], run.run_id))
    boot.ms += 400 * DAY
    assert [usage.used(f"1:a{run.run_id}", 0, 0) for run in runs] == [4, 4]
    await journal.append(runs[0].run_id, END, also=usage.ended(runs[0].run_id)).durable()
    assert [usage.used(f"1:a{run.run_id}", 0, 0) for run in runs] == [0, 4] and usage.ended(runs[0].run_id) == ()
    await journal.append(runs[1].run_id, END).durable()     # by a process that knew of no limits
    assert Ledger(database, START_MS, boot).of("default").used(f"1:a{runs[1].run_id}", 0, 0) == 0
    await ledger.prune()
    assert await database.read(lambda c: c.execute("SELECT count(*) FROM charges").fetchone()) == (0,)
    await database.close()


async def test_E08_a_program_cannot_fill_the_memory_with_keys(path: Path, boot: Boot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "MAX_KEYS_PER_TENANT", 20)
    database = Database(path)
    ledger = Ledger(database, START_MS, boot)
    usage = ledger.of("default")
    for number in range(20):
        assert usage.used(f"k{number}", DAY, 0) == 0
        usage.reserve([Charge(f"k{number}", 1, DAY), Charge("none", 0, DAY), Charge("0.0", 1)], "r")
    for _ in range(3):
        with pytest.raises(Unjudgeable, match="under 20 keys"):
            usage.used("one more", DAY, 0)
    assert usage.used("k3", DAY, 0) == 1 and ledger.of("other").used("one more", DAY, 0) == 0
    policy = Policy((), [Limit("other", ("**",), 100, DAY)])
    assert decide(Facts(PAY, {}, 0, usage=usage), Grant.of("**"), policy).verdict == "deny"
    boot.ms += 2 * DAY
    assert usage.used("one more", DAY, 0) == 0
    await database.close()


def _killed(path: Path, wanted: int) -> int:
    """A process that charges until it has acknowledged so many and more; returns how many it did."""
    with subprocess.Popen([sys.executable, "-m", "tests.store.ledger_victim", str(path)], stdout=subprocess.PIPE, cwd=ROOT) as victim:
        assert victim.stdout is not None
        told = sum(victim.stdout.readline() == b"charged\n" for _ in range(wanted))
        victim.send_signal(signal.SIGKILL)
        told += victim.stdout.read().count(b"\n")
    assert victim.returncode == -9
    return told
