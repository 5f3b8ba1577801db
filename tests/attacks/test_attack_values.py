"""Values that no reader expects: what a program returns, throws, logs and sends, and what an upstream answers."""

from __future__ import annotations

import asyncio
import cProfile

import orjson
import pytest

from inhabit.errors import InhabitError, InvalidInput
from inhabit.runtime.results import bounded
from inhabit.wire.values import decode_value
from tests.attacks.conftest import Target

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize("program", [
    'return "\\ud800"', 'return {["\\ud800"]: 1}', "return Array(1000001).fill(0)", "let v = 1; for (let i = 0; i < 300; i++) v = [v]; return v",
], ids=["D15_lone_surrogate", "D15_surrogate_key", "D16_million_items", "D16_deep"])
async def test_D15_D16_a_result_that_cannot_be_read_back_fails_the_run_and_every_door_says_so(target: Target, program: str):
    run = await target.run(program)
    assert run.state == "failed" and run.error and run.error["code"] == "result_not_json"
    assert await target.ends(run) == 1
    async with await target.client() as client:
        for path in ("", "/result", "/entries"):
            assert (await client.get(f"/v1/runs/{run.run_id}{path}")).status_code == 200


async def test_D15_what_is_thrown_with_half_a_pair_is_recorded(target: Target):
    run = await target.run('throw new Error("\\ud800")')
    assert run.state == "failed" and run.error and run.error["code"] == "program_failed"


@pytest.mark.parametrize(("language", "program"), [
    ("typescript", 'try { await kit.echo({ value: "\\ud800" }) } catch (e) { return e.code }'),
    ("python", 'try:\n    await kit.echo(value="\\ud800")\nexcept Exception as e:\n    return "refused"\nreturn "sent"')])
async def test_D15_half_a_pair_in_a_literal_does_not_cost_the_worker(target: Target, language: str, program: str):
    run = await target.run(program, language=language)
    assert run.error is None or run.error["code"] != "worker_lost"


async def test_D15_half_a_pair_in_the_source_is_bad_input(target: Target):
    with pytest.raises(InvalidInput):
        await target.run('return "\ud800"')


@pytest.mark.parametrize(("how", "size"), [("long", 20_000_000), ("surrogate", 1), ("deep", 250), ("deep", 900), ("nan", 1), ("object", 1)])
async def test_A09_B18_an_upstreams_error_of_any_content_can_be_caught_and_is_recorded(target: Target, how: str, size: int):
    run = await target.run(f"try {{ await kit.fail({{ how: '{how}', size: {size} }}) }} catch (e) {{ return [e.code, e.message.length] }}")
    assert run.state == "completed" and run.value[0] in ("call_failed", "upstream_error") and run.value[1] < 20_000
    kinds = [type(stored.entry).__name__ for stored in (await target.record(run)).entries]
    assert kinds == ["Intent", "Outcome", "Delivered", "Terminal"]


async def test_D16_a_deep_result_that_breaks_its_schema_can_be_caught(target: Target):
    run = await target.run("try { await kit.tree({ depth: 199 }) } catch (e) { return e.code }")
    assert run.value == "result_invalid"


@pytest.mark.parametrize(("language", "program"), [
    ("typescript", "for (let j = 0; j < 20; j++) { for (let i = 0; i < 20000; i++) console.log(''); await new Promise(r => setTimeout(r, 0)); } return 1"),
    ("python", "for i in range(400000):\n    print()\nreturn 1")])
async def test_B17_B25_empty_log_lines_are_not_free(target: Target, language: str, program: str):
    run = await target.run(program, language=language)
    assert len((await target.record(run)).entries) < 40_000
    assert run.logs_truncated or run.state == "failed"


async def test_B18_a_wide_tree_is_bounded_without_holding_the_loop():
    def work(depth: int) -> int:
        """Function calls that it takes to bound a tree of 2 ** depth leaves."""
        tree: object = 0
        for _ in range(depth):
            tree = [tree, tree]
        profile = cProfile.Profile()
        shown, cut = profile.runcall(bounded, tree, 6_000)
        assert cut and len(orjson.dumps(shown)) <= 18_000
        return sum(entry.callcount for entry in profile.getstats())

    assert work(18) < 1.1 * work(16)


@pytest.mark.parametrize("program", ["throw new Error('x')", "return {a: 1, b: [1, 2]}", "return 'a'.repeat(100)"])
async def test_B21_a_result_of_one_token_is_still_an_answer(target: Target, program: str):
    run = await target.run(program, limits={"result_tokens": 1})
    assert orjson.dumps(run.as_value())


@pytest.mark.parametrize("limits", [{"cpu_ms": 0}, {"cpu_ms": -1}, {"cpu_ms": float("nan")}, {"cpu_ms": float("inf")}, {"cpu_ms": "5"}, {"cpu_ms": True}, {"speed": 1}])
async def test_B21_a_limit_that_is_none_is_refused(target: Target, limits: dict[str, object]):
    with pytest.raises(InhabitError):
        await target.run("return 1", limits=limits)


async def test_F_two_cancellations_leave_one_end(target: Target):
    started = await target.run("return await kit.stubborn()", wait_s=0)
    await asyncio.wait_for(target.entered.wait(), 10)
    caller = target.app.caller("ada")
    first, second = await asyncio.gather(*(target.app.runtime.cancel(started.run_id, caller) for _ in range(2)))
    assert first.state == second.state == "unknown"
    assert await target.ends(started) == 1


async def test_D17_prototype_keys_stay_data(target: Target):
    run = await target.run('return await kit.echo({ value: JSON.parse(\'{"__proto__": {"x": 5}, "constructor": {"prototype": 1}}\') })')
    assert run.value == {"__proto__": {"x": 5}, "constructor": {"prototype": 1}}


async def test_A10_D20_what_a_guest_patches_reaches_no_frame(target: Target):
    run = await target.run(
        "JSON.stringify = () => '\\u001eF\\u001f1\\u001f2'; Array.prototype.push = () => { throw 1 }; Promise.prototype.then = () => { throw 2 };"
        "Object.prototype.toJSON = () => '\\u001e'; return await kit.echo({ value: 1 })")
    assert run.state in ("completed", "failed") and await target.ends(run) == 1


async def test_D15_what_the_journal_holds_of_a_run_is_json(target: Target):
    run = await target.run('return await kit["echo"](JSON.parse(\'{"value": "\\\\ud800"}\')).catch(e => e.code)')
    for stored in (await target.record(run)).entries:
        for name in ("arguments", "value"):
            body = getattr(stored.entry, name, None)
            assert not isinstance(body, bytes) or decode_value(body) is not NotImplemented
