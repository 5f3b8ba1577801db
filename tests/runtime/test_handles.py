"""What a refusal tells of a handle: nothing of its length, and of its content only with its labels."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from inhabit.connectors.functions import Capability
from inhabit.contracts.principal import Principal
from inhabit.contracts.run import Outcome
from inhabit.kernel.grants import Grant
from inhabit.runtime.service import Caller

ADA = Caller(Principal("ada"), Grant.of("**"))
PROBE = """
const held = await box.secret.handle({});
const told = [];
for (const arguments_ of PROBES) { try { await box.take(arguments_); told.push("fits") } catch (error) { told.push(error.code) } }
return told;
"""


def box(length: int) -> Capability:
    made = Capability("box")

    @made.operation(reads="private", trust="untrusted")
    async def secret() -> dict[str, Any]:
        return {"text": "s" * length, "level": "high"}

    @made.operation(reads="none")
    async def take(level: Literal["low", "mid"] | None = None, things: list[dict[str, Any]] | None = None) -> str:
        return "x"

    return made


async def probed(opened_runtime: Any, length: int, probes: str) -> tuple[Any, set[tuple[str, ...]]]:
    async with opened_runtime(box(length).connector()) as (runtime, store):
        run = await runtime.execute(PROBE.replace("PROBES", probes), ADA, limits={"value_bytes": 10_000})
        record = await store.journal.read(run.run_id, tenant="default")
        return run.value, {e.entry.labels for e in record.entries if isinstance(e.entry, Outcome) and e.entry.sequence > 1}


@pytest.mark.parametrize("probes", ['[{ level: { ...held, at: "/level" } }]', "[{ things: Array(20).fill(held) }]"])
async def test_E11_a_refusal_that_tells_of_a_handle_carries_its_labels(opened_runtime: Any, probes: str) -> None:
    value, labels = await probed(opened_runtime, 900, probes)
    assert value == ["handle_refused"] and labels == {("private", "untrusted")}


async def test_E01_no_refusal_that_is_free_of_labels_tells_a_length(opened_runtime: Any) -> None:
    probes = "[...Array(30).keys()].map(n => ({ things: [...Array(n + 1).fill(held), { $handle: 'of nobody' }] }))"
    told = [await probed(opened_runtime, length, probes) for length in (1, 900, 9_000)]
    assert told[0] == told[1] == told[2] == (["handle_unknown"] * 30, {()})
