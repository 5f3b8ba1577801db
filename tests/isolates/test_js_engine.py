"""The contract of a guest: turns, calls, deliveries, time, random, limits, values in and out."""

from __future__ import annotations

import itertools
import json
import os

import pytest
from js_harness import CLOCK_MS, Host, OperationFailed, ProgramFailed, loaded

from inhabit.contracts.program import Boot, Delivery, Timer
from inhabit.errors import LimitExceeded, WorkerLost
from inhabit.limits import Limits


@pytest.fixture(scope="module")
def js(request: pytest.FixtureRequest) -> Host:
    return loaded(request.config)


def test_a_call_is_issued_with_its_arguments_and_its_result_comes_back(js: Host) -> None:
    outcome = js.run("const o = await shop.orders.get({ id: 'a1' }); return o.total * 2", lambda call: {"total": 21})
    assert outcome.value == 42
    assert outcome.calls == [("shop.orders.get", {"id": "a1"})]


def test_sequences_count_in_program_order(js: Host) -> None:
    guest = js.engine.create(js.boot("await Promise.all([shop.a({ n: 1 }), shop.b({ n: 2 }), shop.c()])"))
    turn = guest.start()
    assert [(c.sequence, c.operation, c.arguments) for c in turn.calls] == [
        (1, "shop.a", b'{"n":1}'), (2, "shop.b", b'{"n":2}'), (3, "shop.c", b"{}")]
    guest.close()


def test_a_turn_without_calls_or_timers_is_a_deadlock_the_host_can_see(js: Host) -> None:
    guest = js.engine.create(js.boot("await new Promise(() => {})"))
    turn = guest.start()
    assert (turn.calls, turn.finished, turn.timer) == ((), None, None)
    guest.close()


RACE = """
const seen = [];
const one = shop.a({}).then(async (v) => { seen.push(v); seen.push(await shop.after({ of: v })) });
const two = shop.b({}).then((v) => seen.push(v));
await Promise.all([one, two]);
return seen;
"""


def test_jobs_are_drained_between_the_deliveries_of_one_batch(js: Host) -> None:
    guest = js.engine.create(js.boot(RACE))
    guest.start()
    turn = guest.deliver([Delivery("result", 1, b'"A"', CLOCK_MS), Delivery("result", 2, b'"B"', CLOCK_MS)])
    assert turn.issued_before == (2, 3), "the first result's follow-up call was issued before the second was settled"
    assert [c.operation for c in turn.calls] == ["shop.after"]
    assert guest.deliver([Delivery("result", 3, b'"C"', CLOCK_MS)]).finished.value == b'["A","B","C"]'
    guest.close()


def test_one_batch_and_single_deliveries_take_the_same_path(js: Host) -> None:
    deliveries = [Delivery("result", 2, b'"B"', CLOCK_MS + 1), Delivery("result", 1, b'"A"', CLOCK_MS + 2),
                  Delivery("result", 3, b'"C"', CLOCK_MS + 2)]
    batched, single = js.engine.create(js.boot(RACE)), js.engine.create(js.boot(RACE))
    batched.start()
    single.start()
    together = batched.deliver(deliveries)
    apart = [single.deliver([delivery]) for delivery in deliveries]
    assert together.issued_before == tuple(itertools.chain.from_iterable(t.issued_before for t in apart))
    assert together.calls == tuple(itertools.chain.from_iterable(t.calls for t in apart))
    assert together.finished == apart[-1].finished
    batched.close()
    single.close()


REPLAYED = """
const log = [];
for (const name of ['a', 'b', 'c']) shop.tick({ name, at: Date.now(), r: Math.random(), id: crypto.randomUUID() });
setTimeout(() => log.push(['timer', Date.now()]), 12);
const first = await Promise.race([shop.x({}), shop.y({})]);
await new Promise((go) => setTimeout(go, 40));
console.log(first, performance.now());
return [first, log, Math.random(), [...crypto.getRandomValues(new Uint32Array(2))]];
"""


def test_the_same_deliveries_give_the_same_run(js: Host) -> None:
    one, two = (js.run(REPLAYED, lambda call: call.operation, last_first=True) for _ in range(2))
    assert one.trace == two.trace
    assert one.value == two.value
    assert js.run(REPLAYED, lambda call: call.operation, last_first=True, seed=8).value != one.value


def test_another_order_of_deliveries_is_another_run(js: Host) -> None:
    assert js.value(REPLAYED, lambda c: c.operation)[0] == "shop.x"
    assert js.value(REPLAYED, lambda c: c.operation, last_first=True)[0] == "shop.y"


def test_random_is_spread_and_seeded(js: Host) -> None:
    numbers = js.value("return Array.from({ length: 2000 }, Math.random)")
    assert all(0 <= n < 1 for n in numbers)
    assert 0.45 < sum(numbers) / 2000 < 0.55
    assert len(set(numbers)) == 2000
    assert js.value("return Math.random()", seed=0) != js.value("return Math.random()", seed=2**64 - 1)


def test_the_clock_is_the_deliverys(js: Host) -> None:
    guest = js.engine.create(js.boot("const a = Date.now(); await shop.x({}); return [a, Date.now(), new Date().getTime(), performance.now()]"))
    guest.start()
    turn = guest.deliver([Delivery("result", 1, b"null", CLOCK_MS + 1234)])
    assert json.loads(turn.finished.value) == [CLOCK_MS, CLOCK_MS + 1234, CLOCK_MS + 1234, 1234]
    guest.close()


def test_the_earliest_timer_is_reported_and_fired_by_delivery(js: Host) -> None:
    guest = js.engine.create(js.boot("const s = []; setTimeout(() => s.push(3), 30); const gone = setTimeout(() => s.push(0), 10);"
                                     "setTimeout((x) => s.push(x), 20, 2); clearTimeout(gone); await new Promise((r) => setTimeout(r, 31)); return s"))
    turn = guest.start()
    fired = []
    while turn.timer is not None:
        fired.append(turn.timer.due_ms - CLOCK_MS)
        turn = guest.deliver([Delivery("timer", turn.timer.id, b"", turn.timer.due_ms)])
    assert fired == [20, 30, 31]
    assert turn.finished.value == b"[2,3]"
    guest.close()


def test_a_timer_that_went_off_within_a_batch_is_not_reported_again(js: Host) -> None:
    guest = js.engine.create(js.boot("setTimeout(() => {}, 5); await shop.a({}); await shop.b({});"))
    assert guest.start().timer == Timer(1, CLOCK_MS + 5)
    turn = guest.deliver([Delivery("result", 1, b"1", CLOCK_MS + 1), Delivery("timer", 1, b"null", CLOCK_MS + 5)])
    assert turn.timer is None and turn.issued_before == (1, 2)
    guest.close()


def test_intervals_repeat_until_cleared(js: Host) -> None:
    assert js.value("let n = 0; await new Promise((done) => { const t = setInterval(() => { if (++n === 3) { clearInterval(t); done() } }, 10) }); return n") == 3


def test_an_error_thrown_in_a_timer_ends_the_program(js: Host) -> None:
    error = js.error("setTimeout(() => { throw new Error('late') }, 5); await new Promise(() => {})")
    assert error["message"] == "late"


def _deny(_call: object) -> None:
    raise OperationFailed({"code": "denied", "message": "not yours", "details": {"rule": "r1"}, "fix": "ask ada", "__proto__": {"x": 1}})


def test_a_delivered_error_is_an_error_with_fields(js: Host) -> None:
    caught = js.value("try { await shop.orders.cancel({ id: 1 }) } catch (e) { return [e instanceof Error, e.name, e.code, e.message, e.operation, e.details.rule, e.fix, e.x] }", _deny)
    assert caught == [True, "OperationError", "denied", "not yours", "shop.orders.cancel", "r1", "ask ada", None]


def test_an_uncaught_operation_error_names_the_operation(js: Host) -> None:
    error = js.error("await shop.orders.cancel({ id: 1 })", _deny)
    assert {k: error[k] for k in ("name", "code", "message", "operation")} == {
        "name": "OperationError", "code": "denied", "message": "not yours", "operation": "shop.orders.cancel"}


def test_an_uncaught_error_shows_the_line_as_written(js: Host) -> None:
    error = js.error("interface A {\n  b: number\n}\nconst check = (n: number): void => {\n  if (n > 1) throw new TypeError('too many')\n};\n\ncheck(2);\n")
    assert (error["name"], error["message"]) == ("TypeError", "too many")
    assert error["stack"].splitlines()[0].strip().startswith("at check (program.ts:5:")
    assert "program.ts:8:" in error["stack"]
    assert "inhabit" not in error["stack"]


def test_columns_of_the_first_line_are_as_written(js: Host) -> None:
    assert "program.ts:1:8" in js.error("missing(1); return 1".replace("missing", "       missing"))["stack"]


@pytest.mark.parametrize(("thrown", "message"), [("'text'", "text"), ("{ a: 1 }", "{ a: 1 }"), ("null", "null"), ("undefined", "undefined"),
                                                 ("{ get message() { throw 1 }, toString() { throw 2 } }", "{ message: [Getter], toString: [Function: toString] }")])
def test_anything_can_be_thrown(js: Host, thrown: str, message: str) -> None:
    assert js.error(f"throw {thrown}")["message"] == message


@pytest.mark.parametrize(("expression", "value"), [
    ("undefined", None), ("new Map([['a', 1], [2, 'b']])", {"a": 1, "2": "b"}), ("new Set([1, 1, 2])", [1, 2]), ("new Date(0)", "1970-01-01T00:00:00.000Z"),
    ("10n ** 20n", "100000000000000000000"), ("new Uint8Array([1, 2])", [1, 2]), ("new Uint8Array([3]).buffer", [3]), ("/x+/gi", "/x+/gi"),
    ("[NaN, Infinity, -0]", ["NaN", "Infinity", 0]), ("{ a: undefined, f() {}, b: [undefined] }", {"b": [None]}),
    ("new RangeError('far', { cause: 1 })", {"name": "RangeError", "message": "far"}), ("new URL('http://a/b')", "http://a/b"),
    ("new (class Point { x = 1; #y = 2 })()", {"x": 1}), ("Object.create(null, { k: { value: 1, enumerable: true } })", {"k": 1}),
    ("'\\ud800'", "\ud800"), ("'\\u001e\\u001f'", "\x1e\x1f"),
])
def test_results_are_read_as_documented(js: Host, expression: str, value: object) -> None:
    assert js.value(f"return ({expression})") == value


@pytest.mark.parametrize(("expression", "words"), [
    ("(() => { const a = {}; a.a = a; return a })()", "circular"), ("shop.orders", "capability shop.orders"), ("{ p: Promise.resolve(1) }", "await"),
    ("Symbol('s')", "symbol"), ("new Map([[{}, 1]])", "keys that are not strings"),
])
def test_results_that_are_no_data_are_errors(js: Host, expression: str, words: str) -> None:
    assert words in js.error(f"return ({expression})")["message"]


@pytest.mark.parametrize(("arguments", "words"), [
    ("1", "takes one object"), ("...[{}, {}]", "takes one object"), ("[1]", "takes one object"), ("'id'", "takes one object"), ("null", "takes one object"),
    ("{ a: NaN }", "NaN"), ("{ a: [1, Infinity] }", "Infinity"), ("{ a: { b: 10n } }", "BigInt"), ("{ a: () => 1 }", "function"), ("{ a: Symbol() }", "symbol"),
    ("cycle", "circular"), ("{ a: shop.x }", "capability shop.x"), ("{ a: Promise.resolve() }", "await"), ("{ toJSON() { return 5 } }", "turned into 5"),
])
def test_arguments_that_cannot_be_carried_are_catchable_errors(js: Host, arguments: str, words: str) -> None:
    source = f"const cycle: any = {{}}; cycle.c = cycle;\ntry {{ await shop.x({arguments}); return 'sent' }} catch (e) {{ return e.message }}"
    outcome = js.run(source)
    assert words in outcome.value
    assert outcome.calls == []


def test_arguments_are_copied_when_the_call_is_made(js: Host) -> None:
    outcome = js.run("const a = { n: 1, when: new Date(0), tags: new Set(['x']), none: undefined }; const p = shop.x(a); a.n = 2; await p")
    assert outcome.calls == [("shop.x", {"n": 1, "when": "1970-01-01T00:00:00.000Z", "tags": ["x"]})]


def test_input_is_there(js: Host) -> None:
    assert js.value("return input.items.map((x: number) => x + 1)", input={"items": [1, 2]}) == [2, 3]


def test_a_result_carries_prototype_keys_as_plain_data(js: Host) -> None:
    value = js.value("const r = await shop.x({}); return [Object.keys(r), r.polluted, ({}).polluted]",
                     lambda call: json.loads('{"__proto__": {"polluted": 1}, "constructor": 2}'))
    assert value == [["__proto__", "constructor"], None, None]


def test_a_capability_is_not_thenable_nor_walkable(js: Host) -> None:
    value = js.value("const s = await shop; return [typeof shop.then, typeof s.orders.list, `${shop.orders}`, Object.keys(shop), shop.constructor, JSON.stringify({ shop }), shop.orders === shop.orders]")
    assert value == ["undefined", "function", "[capability shop.orders]", [], None, "{}", True]


@pytest.mark.parametrize("change", ["shop.x = 1", "delete shop.x", "Object.defineProperty(shop, 'x', {})", "Object.setPrototypeOf(shop, {})", "Object.freeze(shop)"])
def test_a_capability_cannot_be_changed(js: Host, change: str) -> None:
    assert "cannot be changed" in js.error(change)["message"]


def test_limits_of_calls_are_catchable_in_the_guest(js: Host) -> None:
    source = "const f = []; for (let i = 0; i < 5; i++) f.push(shop.x({ i }).then(() => 'ok', (e) => e.details.limit)); return Promise.all(f)"
    assert js.value(source, calls_in_flight=3) == ["ok", "ok", "ok", "calls_in_flight", "calls_in_flight"]
    assert js.value(source, calls=2) == ["ok", "ok", "calls", "calls", "calls"]
    assert js.value("return shop.x({ s: 'x'.repeat(2000) }).catch((e) => [e.code, e.details])", value_bytes=1000) == [
        "limit_exceeded", {"limit": "value_bytes", "value": 1000, "unit": "bytes"}]


def test_limit_of_timers(js: Host) -> None:
    assert js.value("try { for (;;) setTimeout(() => {}, 5) } catch (e) { return e.details.value }", timers=4) == 4


def test_limit_of_logs_drops_the_rest_and_says_so(js: Host) -> None:
    logs = js.run("for (let i = 0; i < 100; i++) console.log('x'.repeat(50))", log_bytes=1000).logs
    assert sum(len(line.text) for line in logs) < 1200
    assert (logs[-1].level, "log limit" in logs[-1].text) == ("warn", True)


def test_cpu_runs_out_over_many_turns(js: Host) -> None:
    with pytest.raises(LimitExceeded, match="cpu_ms"):
        js.run("for (;;) { for (let i = 0; i < 1e5; i++); await shop.x({}) }", cpu_ms=60)


def test_usage_reports_computing_and_memory(js: Host) -> None:
    idle, busy = (js.run(s).turns[-1].usage for s in ("return 1", "const a = []; for (let i = 0; i < 3e5; i++) a.push({ i }); return a.length"))
    assert busy.cpu_ms > idle.cpu_ms > 0
    assert busy.memory_bytes > idle.memory_bytes + 5_000_000


def test_a_dead_guest_stays_dead(js: Host) -> None:
    guest = js.engine.create(js.boot("for (;;);", cpu_ms=10))
    with pytest.raises(LimitExceeded):
        guest.start()
    with pytest.raises(WorkerLost):
        guest.deliver([Delivery("result", 1, b"null", CLOCK_MS)])
    guest.close()
    guest.close()


def test_too_little_memory_for_the_interpreter_is_a_limit(js: Host) -> None:
    with pytest.raises(LimitExceeded, match="memory_bytes"):
        js.engine.create(Boot("(async () => 1)", (), limits=Limits(memory_bytes=1000)))


def test_guests_share_nothing(js: Host) -> None:
    js.run("globalThis.left = 1; Array.prototype.left = 2; (shop as any); Object.prototype.left = 3")
    assert js.value("return [typeof left, [].left, ({}).left]") == ["undefined", None, None]


def test_deliveries_that_nobody_waits_for_change_nothing(js: Host) -> None:
    guest = js.engine.create(js.boot("return (await shop.x({})) + 1"))
    guest.start()
    turn = guest.deliver([Delivery("result", 99, b"1", CLOCK_MS), Delivery("timer", 5, b"", CLOCK_MS), Delivery("error", 7, b'{"code":"a","message":"b"}', CLOCK_MS)])
    assert (turn.calls, turn.finished, turn.issued_before) == ((), None, (1, 1, 1))
    assert guest.deliver([Delivery("result", 1, b"1", CLOCK_MS)]).finished.value == b"2"
    guest.close()


def test_a_large_value_goes_in_and_out(js: Host) -> None:
    text = "ü" * 700_000
    assert js.value("const r = await shop.x({ s: input }); return [r === input, r.length]", lambda call: json.loads(call.arguments)["s"], input=text) == [True, 700_000]


def test_nothing_is_read_and_no_thread_is_made_after_load(js: Host) -> None:
    threads, descriptors = len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))
    js.run("enum A { B }\nawait shop.x({ a: A.B }); return new Intl.NumberFormat('de').format(1.5)")
    assert (len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))) == (threads, descriptors)


def test_the_version_names_engine_and_image(js: Host) -> None:
    assert js.engine.language == "typescript"
    assert js.engine.version.startswith("quickjs-ng ")
    assert js.engine.typecheck("1", "") == ()


def test_memory_comes_back_when_guests_close(js: Host) -> None:
    def resident() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096

    def one() -> None:
        js.run("const a = new Array(1e5).fill(1).map((x) => ({ x })); await shop.x({}); return a.length")

    for _ in range(5):
        one()
    before = resident()
    for _ in range(20):
        one()
    assert resident() - before < 16 * 1024 * 1024



@pytest.mark.parametrize(("details", "kept"), [
    ({"body": {"error": "no such order"}}, {"body": {"error": "no such order"}}), ({}, None), ({"body": "x" * 9_000}, '{"body":"' + "x" * 2_039 + " …"),
])
def test_an_uncaught_operation_error_keeps_why_it_failed(js: Host, details: dict[str, object], kept: object) -> None:
    def fail(_call: object) -> object:
        raise OperationFailed({"code": "http_404", "message": "404: Not Found", "details": details, "fix": "look again"})

    with pytest.raises(ProgramFailed) as failed:
        js.run("await shop.orders.get({})", fail)
    error = failed.value.error
    assert (error["code"], error["message"], error["fix"], error.get("details")) == ("http_404", "404: Not Found", "look again", kept)


def test_details_that_cannot_be_read_cost_nothing_but_themselves(js: Host) -> None:
    source = "try { await shop.a({}) } catch (e) { e.details = {}; e.details.self = e.details; throw e }"

    def fail(_call: object) -> object:
        raise OperationFailed({"code": "x", "message": "y", "details": {"a": 1}})

    with pytest.raises(ProgramFailed) as failed:
        js.run(source, fail)
    assert failed.value.error["code"] == "x" and "details" not in failed.value.error
