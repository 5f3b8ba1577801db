"""The choke point: what passes, what does not, and what stands in the journal before anything happens."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import orjson
import pytest

from inhabit.connectors.functions import Capability
from inhabit.contracts.connector import Call
from inhabit.contracts.operation import Operation
from inhabit.contracts.program import IssuedCall
from inhabit.contracts.run import Intent, Outcome
from inhabit.errors import InvalidInput, LimitExceeded, Unavailable
from inhabit.runtime.bridge import Bridge
from inhabit.runtime.schemas import Validators


def shop() -> Capability:
    capability = Capability("shop")

    @capability.operation
    async def echo(text: str, times: int = 1) -> str:
        return text * times

    @capability.operation(writes="external")
    async def pay(amount: float) -> dict[str, float]:
        return {"paid": amount}

    @capability.operation
    async def lie() -> int:
        return "not a number"  # type: ignore[return-value]

    @capability.operation
    async def raw(kind: str):  # type: ignore[no-untyped-def]
        return {"set": {1, 2}, "deep": None, "big": "x" * 5_000, "reference": {"$binary": "abc", "type": "text/plain", "size": 3}}[kind]

    @capability.operation(writes="internal", timeout_s=0.01)
    async def hang() -> None:
        await asyncio.Event().wait()

    @capability.operation(timeout_s=0.01)
    async def slow_read() -> None:
        await asyncio.Event().wait()

    @capability.operation(writes="internal")
    async def crash() -> None:
        raise RuntimeError("/srv/secret/path.py CANARY_SECRET")

    @capability.operation
    async def refuse() -> None:
        raise ValueError("out of stock")

    @capability.operation
    async def use(file: Any, call: Call) -> str:
        return call.idempotency_key

    return capability


async def call(world: Any, context: Any, operation: str, arguments: Any, sequence: int = 1) -> Outcome:
    body = arguments if isinstance(arguments, bytes) else orjson.dumps(arguments)
    admitted = world.bridge.admit(context, IssuedCall(sequence, operation, body))
    ticket = world.journal.append("run", admitted.intent)
    return await world.bridge.perform(context, admitted, ticket, lambda _text: None)


@pytest.fixture
def shop_world(world: Any) -> Any:
    return world(shop())


async def test_call_passes_and_is_recorded_in_order(shop_world: Any) -> None:
    outcome = await call(shop_world, shop_world.context(), "shop.echo", {"text": "ab", "times": 2})
    assert (outcome.ok, outcome.value) == (True, b'"abab"')
    intent, recorded = shop_world.journal.entries["run"]
    assert isinstance(intent, Intent) and recorded is outcome
    assert intent.decision["verdict"] == "allow" and intent.idempotency_key == "run:1" and not intent.may_write
    assert len(intent.schema_hash) == 32


async def test_write_waits_for_its_intent_to_be_durable_and_a_read_does_not(shop_world: Any) -> None:
    await call(shop_world, shop_world.context(), "shop.echo", {"text": "a"})
    assert shop_world.journal.waits == 0
    await call(shop_world, shop_world.context(), "shop.pay", {"amount": 1}, 2)
    assert shop_world.journal.waits == 1


async def test_F19_no_record_no_effect(world: Any) -> None:
    paid: list[float] = []
    capability = Capability("shop")

    @capability.operation(writes="external")
    async def pay(amount: float) -> None:
        paid.append(amount)

    here = world(capability)
    context = here.context()
    admitted = here.bridge.admit(context, IssuedCall(1, "shop.pay", b'{"amount": 1}'))
    ticket = here.journal.append("run", admitted.intent)
    here.journal.broken = True
    with pytest.raises(Unavailable):
        await here.bridge.perform(context, admitted, ticket, lambda _text: None)
    assert paid == [] and here.outcomes() == [] and context.in_flight == 0


@pytest.mark.parametrize(("operation", "arguments", "code", "words"), [
    ("shop.ecko", {}, "unknown_operation", "nearest: shop.echo"),
    ("crm.list", {}, "unknown_operation", "no operation 'crm.list'"),
    ("shop.echo", {"txt": "a"}, "arguments_invalid", "txt"),
    ("shop.echo", {"text": 3}, "arguments_invalid", "/text: 3 is not of type"),
    ("shop.echo", {"text": "a", "times": [[1]]}, "arguments_invalid", "/times"),
    ("shop.echo", b"[1]", "arguments_invalid", "one object"),
    ("shop.echo", b"{", "arguments_invalid", "not JSON"),
    ("shop.lie", {}, "result_invalid", "another shape"),
    ("shop.raw", {"kind": "set"}, "result_invalid", "not JSON data"),
    ("shop.crash", {}, "call_failed", "RuntimeError"),
    ("shop.refuse", {}, "rejected", "out of stock"),
    ("shop.hang", {}, "call_timeout", "10 ms"),
    ("shop.slow_read", {}, "call_timeout", "10 ms"),
])
async def test_failure_is_a_value_with_its_reason(shop_world: Any, operation: str, arguments: Any, code: str, words: str) -> None:
    outcome = await call(shop_world, shop_world.context(), operation, arguments)
    error = orjson.loads(outcome.value)
    assert not outcome.ok and error["code"] == code and words in error["message"] and error["operation"] == operation
    assert shop_world.operations() == [operation]
    if code == "arguments_invalid" and "problems" in error.get("details", {}):
        assert error["details"]["parameters"] == ["text", "times?"]


async def test_result_of_another_shape_travels_in_the_error(shop_world: Any) -> None:
    error = orjson.loads((await call(shop_world, shop_world.context(), "shop.lie", {})).value)
    assert error["details"]["value"] == "not a number" and error["details"]["problems"][0]["pointer"] == ""


async def test_timeout_of_a_write_leaves_its_effect_unknown(shop_world: Any) -> None:
    written = orjson.loads((await call(shop_world, shop_world.context(), "shop.hang", {})).value)
    read = orjson.loads((await call(shop_world, shop_world.context(), "shop.slow_read", {}, 2)).value)
    assert written["effect"] == "unknown" and "fix" in written
    assert read["effect"] == "none" and "fix" not in read


async def test_A09_host_exception_stays_on_the_host(shop_world: Any, caplog: pytest.LogCaptureFixture) -> None:
    outcome = await call(shop_world, shop_world.context(), "shop.crash", {})
    assert b"CANARY" not in outcome.value and b"/srv" not in outcome.value and b"Traceback" not in outcome.value
    assert "CANARY_SECRET" in caplog.text


async def test_denied_call_is_recorded_and_not_made(shop_world: Any) -> None:
    context = shop_world.context({"pattern": "shop.pay", "caveats": [{"argument": "amount", "max": 10}]})
    outcome = await call(shop_world, context, "shop.pay", {"amount": 11})
    error = orjson.loads(outcome.value)
    assert error["code"] == "denied" and error["details"]["rule"] == "shop.pay" and "at most 10" in error["message"]
    [intent] = shop_world.journal.of(Intent)
    assert intent.decision["verdict"] == "deny" and not intent.may_write
    assert shop_world.journal.waits == 0


async def test_operation_outside_the_grant_looks_like_none(shop_world: Any) -> None:
    error = orjson.loads((await call(shop_world, shop_world.context("shop.echo"), "shop.pay", {"amount": 1})).value)
    assert error["code"] == "unknown_operation" and "shop.pay" not in error["details"]["nearest"]


async def test_granted_calls_are_counted_over_the_run(shop_world: Any) -> None:
    context = shop_world.context({"pattern": "shop.echo", "caveats": [{"calls": 2}]})
    outcomes = [await call(shop_world, context, "shop.echo", {"text": "a"}, n) for n in (1, 2, 3)]
    assert [o.ok for o in outcomes] == [True, True, False]


async def test_B19_calls_in_flight_are_bounded(shop_world: Any) -> None:
    context = shop_world.context(calls_in_flight=2)
    admitted = [shop_world.bridge.admit(context, IssuedCall(n, "shop.echo", b'{"text": "a"}')) for n in (1, 2, 3)]
    assert [a.error is None for a in admitted] == [True, True, False]
    assert admitted[2].intent.decision["verdict"] == "deny"
    for one in admitted:
        await shop_world.bridge.perform(context, one, shop_world.journal.append("run", one.intent), lambda _text: None)
    assert context.in_flight == 0


async def test_value_bounds(shop_world: Any) -> None:
    context = shop_world.context(value_bytes=1_000)
    too_long = orjson.loads((await call(shop_world, context, "shop.echo", {"text": "x" * 2_000})).value)
    too_much = orjson.loads((await call(shop_world, context, "shop.raw", {"kind": "big"}, 2)).value)
    assert too_long["code"] == too_much["code"] == "limit_exceeded"
    assert too_much["details"] == {"limit": "value_bytes", "value": 1_000, "unit": "bytes"}


async def test_B25_journal_quota_ends_the_run(shop_world: Any) -> None:
    context = shop_world.context(journal_bytes=100)
    with pytest.raises(LimitExceeded, match="journal_bytes"):
        for sequence in range(1, 10):
            await call(shop_world, context, "shop.echo", {"text": "x" * 20}, sequence)


async def test_binary_reference_must_have_been_given(shop_world: Any) -> None:
    context = shop_world.context()
    forged = orjson.loads((await call(shop_world, context, "shop.use", {"file": {"$binary": "abc"}})).value)
    assert forged["code"] == "arguments_invalid" and "was not given" in forged["message"]
    await call(shop_world, context, "shop.raw", {"kind": "reference"}, 2)   # an upstream that repeats a hash gives nothing
    repeated = await call(shop_world, context, "shop.use", {"file": [{"$binary": "abc"}]}, 3)
    assert not repeated.ok and orjson.loads(repeated.value)["code"] == "arguments_invalid"


class KeptBlobs:
    async def put(self, data: bytes, *, tenant: str, mime: str) -> dict[str, Any]:
        return {"$binary": data.hex(), "type": mime, "size": len(data)}

    async def get(self, reference: Any, *, tenant: str) -> bytes:
        return bytes.fromhex(reference["$binary"])


async def test_binary_value_that_the_host_kept_for_a_run_may_be_used_in_it_and_its_outcome_says_so(world: Any) -> None:
    files = Capability("files")

    @files.operation
    async def make(call: Call) -> Any:
        return {"file": await call.blobs.put(b"ab", tenant=call.principal.tenant, mime="text/plain")}

    @files.operation
    async def read(file: Any, call: Call) -> str:
        return (await call.blobs.get(file, tenant=call.principal.tenant)).decode()

    here = world(files)
    here.bridge = Bridge(here.directory, here.journal, KeptBlobs(), lambda: here.now)
    context = here.context()
    made = await call(here, context, "files.make", {})
    assert made.binaries == ("6162",) and context.binaries == {"6162"}
    assert (await call(here, context, "files.read", {"file": {"$binary": "6162"}}, 2)).value == b'"ab"'
    elsewhere = await call(here, here.context(), "files.read", {"file": {"$binary": "6162"}}, 1)
    assert orjson.loads(elsewhere.value)["code"] == "arguments_invalid"


async def test_B30_the_number_of_values_is_bounded_by_name(world: Any) -> None:
    many = Capability("many")
    made: list[int] = []

    @many.operation(writes="internal")
    async def make(count: int) -> Any:
        made.append(count)
        return [0] * count

    @many.operation
    async def take(items: Any) -> int:
        return len(items)

    here = world(many)
    context = here.context(value_items=100)
    assert (await call(here, context, "many.make", {"count": 99})).ok
    assert (await call(here, context, "many.take", {"items": [0] * 90}, 2)).ok
    for sequence, operation, arguments in ((3, "many.make", {"count": 200}), (4, "many.take", {"items": [0] * 200})):
        error = orjson.loads((await call(here, context, operation, arguments, sequence)).value)
        assert error["code"] == "limit_exceeded" and error["details"] == {"limit": "value_items", "value": 100, "unit": "items"}
        assert error["effect"] == ("happened" if operation == "many.make" else "none")
    assert made == [99, 200]


async def test_B14_an_operation_whose_schema_cannot_be_enforced_is_not_called(world: Any) -> None:
    wide = Capability("wide")
    called: list[int] = []

    @wide.operation
    async def write(a: int) -> int:
        called.append(a)
        return a

    here = world(wide)
    steps = {f"t{n}": {"allOf": [{"$ref": f"#/$defs/t{n + 1}"}] * 2} for n in range(30)}
    real = here.directory.operation("wide.write")
    here.directory.operation = lambda name: replaced  # type: ignore[method-assign]
    replaced = replace(real, output_schema={"$ref": "#/$defs/t0"}, definitions={**steps, "t30": {"type": "integer"}})
    error = orjson.loads((await call(here, here.context(), "wide.write", {"a": 1})).value)
    assert error["code"] == "schema_too_large" and "wide.write" in error["message"] and called == []


async def test_undeclared_output_is_observed_and_declared_is_not(world: Any) -> None:
    capability = Capability("loose")

    @capability.operation
    async def anything():  # type: ignore[no-untyped-def]
        return {"a": 1}

    @capability.operation
    async def declared() -> dict[str, int]:
        return {"a": 1}

    here = world(capability)
    await call(here, here.context(), "loose.anything", {})
    await call(here, here.context(), "loose.declared", {}, 2)
    assert here.directory.observed == [("loose.anything", {"a": 1})]


async def test_A10_arguments_are_data_before_anything_else_sees_them(shop_world: Any) -> None:
    outcome = await call(shop_world, shop_world.context(), "shop.echo", b'{"text": "a", "__proto__": {"times": 9}}')
    assert orjson.loads(outcome.value)["code"] == "arguments_invalid"


def test_D16_deep_arguments_are_refused(shop_world: Any) -> None:
    admitted = shop_world.bridge.admit(shop_world.context(), IssuedCall(1, "shop.raw", b'{"kind":' + b"[" * 5_000 + b"]" * 5_000 + b"}"))
    assert admitted.error is not None


def test_long_operation_name_is_cut_in_the_record(shop_world: Any) -> None:
    admitted = shop_world.bridge.admit(shop_world.context(), IssuedCall(1, "x" * 10_000, b"{}"))
    assert len(admitted.intent.operation) == 256


def test_a_chain_of_thousands_of_references_is_refused_like_any_argument() -> None:
    types = {f"T{n}": {"$ref": f"#/$defs/T{n + 1}"} for n in range(3_000)} | {"T3000": {"type": "string"}}
    operation = Operation("evil.go", {"type": "object", "properties": {"x": {"$ref": "#/$defs/T0"}}}, definitions=types)
    with pytest.raises(InvalidInput, match="cannot be called"):   # a refusal that the program hears, not a RecursionError
        Validators().arguments(operation, {"x": "a"})


def test_broken_schema_of_a_source_does_not_stop_calls() -> None:
    validators = Validators()
    validators.arguments(Operation("a.b", {"type": "object", "properties": {"x": {"type": "strin"}}}), {"x": 1})
    with pytest.raises(InvalidInput):
        validators.arguments(Operation("a.c", {"type": "object", "required": ["x"]}), {})


async def test_pins_kept_are_bounded(shop_world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inhabit.runtime.bridge._HASHES_KEPT", 1)
    context = shop_world.context()
    names = ("shop.echo", "shop.raw", "shop.echo")
    pins = [shop_world.bridge.admit(context, IssuedCall(n, name, b'{"text": "a"}')).intent.schema_hash for n, name in enumerate(names, 1)]
    assert pins[0] == pins[2] != pins[1] and all(pins)


async def test_what_is_kept_of_an_operation_is_bounded_and_gone_when_the_operation_changes(
        shop_world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inhabit.runtime.bridge._STANDINGS_KEPT", 2)
    context = shop_world.context()
    for sequence, operation in enumerate(("shop.refuse", "shop.lie", "shop.echo"), 1):
        await call(shop_world, context, operation, {"text": "a"} if operation == "shop.echo" else {}, sequence)
    assert list(context.standings) == ["shop.echo"]
    real = shop_world.directory.operation("shop.echo")
    changed = replace(real, effects=replace(real.effects, writes="internal"))
    shop_world.directory.operation = lambda name: changed
    await call(shop_world, context, "shop.echo", {"text": "a"}, 4)
    assert [intent.may_write for intent in shop_world.journal.of(Intent)] == [False, False, False, True]
    shop_world.directory.operation = lambda name: None
    gone = await call(shop_world, context, "shop.echo", {"text": "a"}, 5)
    assert orjson.loads(gone.value)["code"] == "unknown_operation"
