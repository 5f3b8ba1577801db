"""A policy in a real app: what it refuses, counts over restarts, hides, and how a changed file takes effect."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from typing import Any

import pytest

from inhabit import Capability, Inhabit
from inhabit.errors import CallError, ConfigError
from inhabit.server.http import create_app
from tests.server.conftest import as_user

DENY = '[[rule]]\nname = "small"\non = "bank.refund"\nwhen = "args.amount > 100"\nthen = "deny"\nreason = "too much"\n'
BUDGET = """
[[limit]]
name = "refunds"
on = "bank.refund"
amount = "args.amount"
per = ["args.customer"]
max = 200
window = "1d"
"""
REDACT = '[[result]]\non = "bank.customer"\nredact = ["iban", "cards.*.number"]\n'


class Bank:
    def __init__(self, home: Path, cache: Path) -> None:
        self.home = home
        home.mkdir(parents=True, exist_ok=True)
        if not (home / "cache").exists():
            (home / "cache").symlink_to(cache)
        self.policy = home / "policy.toml"
        self.refunded: list[float] = []
        self.gate, self.entered = asyncio.Event(), asyncio.Event()

    def app(self, policy: str | None = None) -> Inhabit:
        if policy is not None:
            self.write(policy)
        bank = Capability("bank")

        @bank.operation(writes="internal", irreversible=False)
        async def refund(amount: float, customer: str = "ada") -> str:
            self.refunded.append(amount)
            return "refunded"

        @bank.operation(reads="private")
        async def customer(broken: bool = False, fails: bool = False) -> dict[str, Any]:
            if fails:
                raise CallError("no luck with DE-SECRET", details={"iban": "DE-SECRET"})
            return {"name": "Ada", "iban": "DE-SECRET", "cards": [{"number": "4111-SECRET"}], "age": "old" if broken else 36}

        @bank.operation(reads="public")
        async def wait() -> str:
            self.entered.set()
            await self.gate.wait()
            return "waited"

        return Inhabit([bank], home=self.home, policy=self.policy)

    def write(self, policy: str) -> None:
        """As `mv` puts a new file in the place of the old one."""
        new = self.policy.with_suffix(".new")
        new.write_text(policy)
        os.utime(new, (1, 1))      # written some time ago
        new.replace(self.policy)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def bank(tmp_path: Path, cache: Path) -> Bank:
    return Bank(tmp_path / "home", cache)


async def refund(app: Inhabit, amount: float, customer: str = "ada") -> str:
    run = await app.execute(f"return await bank.refund({{ amount: {amount}, customer: '{customer}' }})", principal="ada")
    return run.value if run.state == "completed" else str((run.error or {})["code"])


async def test_denied_by_argument_and_the_header_says_under_which_policy(bank: Bank) -> None:
    async with bank.app(DENY) as app:
        assert await refund(app, 101) == "denied" and bank.refunded == []
        assert await refund(app, 100) == "refunded"
        (run, _) = (await app.runtime.list(app.caller("ada"))).runs
        header = await app.home.journal.header(run.run_id, tenant="default")
        assert len(header.policy_version) == 16


async def test_a_budget_per_customer_and_day_holds_over_restarts(bank: Bank) -> None:
    async with bank.app(BUDGET) as app:
        assert [await refund(app, 120), await refund(app, 90), await refund(app, 90, "bob")] == ["refunded", "denied", "refunded"]
    async with bank.app() as app:
        assert await refund(app, 81) == "denied"
        assert await refund(app, 80) == "refunded"
        both = await app.execute("return (await Promise.allSettled([1, 2, 3].map(() => bank.refund({ amount: 100, customer: 'eve' }))))"
                                 ".map(one => one.status)", principal="ada")
        assert sorted(both.value) == ["fulfilled", "fulfilled", "rejected"]
    assert sum(bank.refunded) == 120 + 90 + 80 + 200


async def test_a_changed_file_holds_from_a_running_programs_next_call_on(bank: Bank) -> None:
    async with bank.app(BUDGET) as app:
        going = asyncio.create_task(app.execute(
            "await bank.refund({ amount: 150, customer: 'ada' }); await bank.wait({}); return await bank.refund({ amount: 101, customer: 'bob' })", principal="ada"))
        await asyncio.wait_for(bank.entered.wait(), 10)
        bank.write(DENY)
        bank.gate.set()
        run = await going
        assert run.state == "failed" and run.error and run.error["code"] == "denied" and "too much" in run.error["message"]
    assert bank.refunded == [150]


async def test_what_is_redacted_is_in_no_reply_and_no_record(bank: Bank) -> None:
    async with bank.app(REDACT) as app:
        run = await app.execute("return await bank.customer({})", principal="ada")
        assert run.value == {"name": "Ada", "iban": "[redacted]", "cards": [{"number": "[redacted]"}], "age": 36}
        for argument in ("fails", "broken"):
            await app.execute(f"return await bank.customer({{ {argument}: true }})", principal="ada")
        record = await app.home.journal.read(run.run_id, tenant="default")
        assert b"SECRET" not in b"".join(getattr(stored.entry, "value", b"") for stored in record.entries)
    assert not [path for path in bank.home.glob("journal.db*") if b"SECRET" in path.read_bytes()]


async def test_a_result_that_does_not_fit_the_policys_schema_is_not_delivered(bank: Bank) -> None:
    async with bank.app('[[result]]\nname = "ages"\non = "bank.customer"\n[result.schema.properties.age]\ntype = "integer"\n') as app:
        assert (await app.execute("return (await bank.customer({})).age", principal="ada")).value == 36
        run = await app.execute("return await bank.customer({ broken: true })", principal="ada")
        assert run.error and run.error["code"] == "result_refused" and "/age" in run.error["message"], run.error
        assert "SECRET" not in str(run.error)


async def test_a_file_with_a_type_error_keeps_the_last_good_policy(bank: Bank, caplog: pytest.LogCaptureFixture) -> None:
    async with bank.app(DENY) as app:
        assert app.runtime.health()["policy"] == ""
        bank.write(DENY.replace("> 100", "> 'x'").replace('"deny"', '"allow"'))
        with caplog.at_level(logging.ERROR):
            assert await refund(app, 101) == "denied"
            assert await refund(app, 102) == "denied"
        assert len([r for r in caplog.records if "policy.toml:4" in r.message]) == 1
        assert "last good policy" in app.runtime.health()["policy"] and app.runtime.gauges()["policy_failed"] == 1
        async with as_user(create_app(app.runtime, journal=app.home.journal, check_token=app.check_token), None) as nobody:
            assert "last good" in (await nobody.get("/v1/health")).json()["policy"]
        bank.write(BUDGET)
        caplog.clear()
        assert await refund(app, 150) == "refunded" and app.runtime.health()["policy"] == ""
        assert [r.message for r in caplog.records if "in order again" in r.message and r.levelno == logging.WARNING]


@pytest.mark.parametrize(("text", "said"), [
    (DENY.replace("bank.refund", "bank.refnd"), "policy.toml:3.*bank.refund"),
    (DENY.replace("args.amount", "args.amuont"), "policy.toml:4.*args.amuont.*amount"),
    (DENY.replace("then", "than"), "policy.toml"),
])
async def test_a_wrong_policy_is_refused_at_the_start(bank: Bank, text: str, said: str) -> None:
    app = bank.app(text)
    with pytest.raises(ConfigError, match=said):
        await app.start()
    assert not app.started


async def test_a_policy_as_values(bank: Bank) -> None:
    app = bank.app(DENY)
    other = Inhabit(app._sources, home=bank.home, policy={"rule": [{"name": "none", "on": "bank.**", "then": "deny"}]})  # pyright: ignore[reportPrivateUsage]
    async with other:
        assert await refund(other, 1) == "denied"
