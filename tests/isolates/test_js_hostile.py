"""Programs that attack the engine: escapes, floods and bombs. Each is stopped, or fails as a program, and the host lives."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest
from js_harness import Host, OperationFailed, loaded

from inhabit.contracts.program import Boot, Delivery
from inhabit.errors import LimitExceeded
from inhabit.limits import Limits

MEMORY = 64 * 1024 * 1024


def _resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(scope="module")
def host(request: pytest.FixtureRequest) -> Host:
    return loaded(request.config)


@pytest.fixture
def js(host: Host) -> Iterator[Host]:
    """The oracles: the host has not grown, no thread or descriptor is left, and an honest program runs after."""
    before = (len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd")), _resident())
    yield host
    assert host.value("return (await shop.x({})) + 1", lambda call: 41) == 42
    assert len(os.listdir("/proc/self/task")) <= before[0]
    assert len(os.listdir("/proc/self/fd")) <= before[1]
    assert _resident() - before[2] < 64 * 1024 * 1024


def stopped(js: Host, source: str, limit: str, **limits: int) -> None:
    with pytest.raises(LimitExceeded) as caught:
        js.run(source, **{"cpu_ms": 120, "memory_bytes": MEMORY, **limits})
    assert caught.value.details["limit"] == limit
    assert not caught.value.worker_alive


def bounded(js: Host, source: str, **limits: int) -> None:
    """Stopped by some limit, failed, or done: but soon."""
    try:
        js.run(source, **{"cpu_ms": 120, "memory_bytes": MEMORY, **limits})
    except (LimitExceeded, Exception) as ended:  # noqa: BLE001  a failed program is an end as well
        assert isinstance(ended, LimitExceeded) or hasattr(ended, "error"), ended


# ---- A: escape ----------------------------------------------------------------------------------------------

def test_A06_async_generator_sees_only_guest_errors(js: Host) -> None:
    source = """
    let seen;
    async function* g() { try { yield 1; yield 2 } finally { await { then(_, no) { no(Object.assign(new Error('thrown'), { mine: true })) } } } }
    async function* d() { yield* g() }
    try { for await (const x of d()) break } catch (e) { seen = e }
    let host; try { await shop.x({}) } catch (e) { host = e }
    const chain = []; for (let o = host; o; o = Object.getPrototypeOf(o)) chain.push(o.constructor.name);
    return [seen.mine, chain, host.constructor.constructor('return typeof process')(), Object.keys(host).sort()]
    """
    def fail(_call: object) -> None:
        raise OperationFailed({"code": "x", "message": "m"})
    assert js.value(source, fail) == [True, ["OperationError", "OperationError", "Error", "Object"], "undefined", ["code", "operation"]]


def test_A07_patched_promises_confuse_only_the_program(js: Host) -> None:
    source = """
    const then = Promise.prototype.then;
    Promise.prototype.then = function (a, b) { return then.call(this, a, b) };
    Object.defineProperty(Promise, Symbol.species, { value: class { constructor(run) { run(() => 1, () => 2) } } });
    Promise.resolve = null; Promise.reject = null; Promise.withResolvers = null;
    return await shop.x({})
    """
    guest = js.engine.create(js.boot(source, cpu_ms=500))
    turn = guest.start()
    assert [c.operation for c in turn.calls] == ["shop.x"]
    turn = guest.deliver([Delivery("result", 1, b"5", 1)])
    assert turn.finished is None or json.loads(turn.finished.value) in (5, None)
    guest.close()


def test_A08_constructors_lead_to_the_guests_own_realm(js: Host) -> None:
    assert js.value("return [shop.orders.constructor, shop.orders.cancel.constructor, shop.__proto__, shop.orders.caller, shop.orders.arguments]") == [None] * 5
    assert js.value("const F = (() => {}).constructor; return [F('return typeof process')(), F('return typeof require')(), F('return typeof __inhabit_hooks')(), F('return this === globalThis')()]") == [
        "undefined", "undefined", "undefined", True]
    assert js.value("return (await shop.x({ a: { b: {} } })).constructor.constructor('return typeof shop')()", lambda call: {}) == "function"


def test_A08_no_global_of_the_glue_is_left(js: Host) -> None:
    names = js.value("return Reflect.ownKeys(globalThis).map(String)")
    assert not [n for n in names if "inhabit" in n or n.startswith("__")]
    assert {"shop", "input", "console", "URL"} <= set(names)


def test_A09_an_operations_error_is_plain_data(js: Host) -> None:
    def fail(_call: object) -> None:
        raise OperationFailed({"code": "x", "message": "boom", "details": {"a": [1]}, "stack": "/host/path.py:1", "__proto__": {"evil": 1}})
    source = "try { await shop.x({}) } catch (e) { return [e.stack.includes('/host'), e.stack.includes('inhabit:'), Object.getPrototypeOf(e.details) === Object.prototype, e.evil] }"
    assert js.value(source, fail) == [False, False, True, None]


@pytest.mark.parametrize("argument", [
    "{ get a() { shop.inner({}); return 1 } }", "{ a: { toJSON() { shop.inner({}); return 1 } } }", "new Proxy({ a: 1 }, { get(t, k) { if (k === 'a') shop.inner({}); return t[k] } })",
    "new Proxy({}, { ownKeys() { shop.inner({}); return ['a'] }, getOwnPropertyDescriptor: () => ({ value: 1, enumerable: true, configurable: true }), get: (_, k) => k === 'a' ? 1 : undefined })",
])
def test_A10_reentry_during_conversion_makes_calls_of_its_own_first(js: Host, argument: str) -> None:
    outcome = js.run(f"shop.outer({argument}); await shop.last({{}})")
    operations = [name for name, _ in outcome.calls]
    assert operations[-2:] == ["shop.outer", "shop.last"]
    assert set(operations[:-2]) == {"shop.inner"}
    assert dict(outcome.calls)["shop.outer"] == {"a": 1}


def test_A10_an_array_that_grows_while_it_is_read(js: Host) -> None:
    bounded(js, "const a = []; a.push({ toJSON() { a.push({ toJSON: a[0].toJSON }); return 1 } }); await shop.x({ a })")


@pytest.mark.parametrize("source", [
    "const b = new ArrayBuffer(8, { maxByteLength: 64 }); const t = new Uint8Array(b); t.fill({ valueOf() { b.resize(0); return 1 } }); return t.length",
    "const b = new ArrayBuffer(64, { maxByteLength: 128 }); const t = new Int32Array(b); return t.with(3, { valueOf() { b.resize(0); return 1 } })",
    "const b = new ArrayBuffer(64, { maxByteLength: 128 }); const t = new Int32Array(b); t.set([1, { valueOf() { b.resize(4); return 1 } }, 3]); return t.length",
    "const b = new ArrayBuffer(64, { maxByteLength: 128 }); const t = new Int8Array(b); t.sort(() => { b.resize(0); return 1 }); return 1",
    "const b = new ArrayBuffer(64, { maxByteLength: 128 }); const d = new DataView(b); d.setInt32({ valueOf() { b.resize(0); return 60 } }, 1); return 1",
    "const a = [1, 2, 3]; a.sort(() => { a.length = 0; a.push(...new Array(1000)); return 1 }); return a.length",
    "const a = [1.5, 2]; return a.concat({ get length() { a.length = 0; return 3 }, [Symbol.isConcatSpreadable]: true })",
])
def test_A11_buffers_resized_under_an_operation(js: Host, source: str) -> None:
    bounded(js, source)


def test_A14_eval_has_the_same_confinement(js: Host) -> None:
    assert js.value("return [eval('typeof process'), (0, eval)('typeof __inhabit_hooks'), new Function('return typeof require')(), eval('1 + 1')]") == [
        "undefined", "undefined", "undefined", 2]
    assert "cannot load modules" in js.error("return import('node:fs')")["message"]


POLLUTION = """
const types = [Object, Map, Set, String, Number, RegExp, Promise, Error, Date, WeakMap, Function, Array], { ownKeys, defineProperty } = Reflect;
for (let i = 0; i < types.length; i++) {
  const proto = types[i].prototype, keys = ownKeys(proto);
  for (let k = 0; k < keys.length; k++) {
    const trap = { __proto__: null, get() { throw 'polluted' }, set() { throw 'polluted' }, configurable: true };
    if (keys[k] !== 'constructor' && keys[k] !== 'length') defineProperty(proto, keys[k], trap);
  }
}
"""


def test_polluted_prototypes_do_not_reach_the_glue(js: Host) -> None:
    guest = js.engine.create(js.boot(POLLUTION + "\nshop.a({ x: 1 }); console.log('still', 1); setTimeout(() => {}, 5); await new Promise(() => {})"))
    turn = guest.start()
    assert [(c.operation, c.arguments) for c in turn.calls] == [("shop.a", b'{"x":1}')]
    assert turn.timer is not None
    assert turn.logs[0].text == "still 1"
    turn = guest.deliver([Delivery("result", 1, b'{"a":1}', 5), Delivery("timer", 1, b"", 6)])
    assert turn.issued_before == (1, 1)
    guest.close()


@pytest.mark.parametrize("trap", [
    "Object.prototype.toJSON = () => ({ forged: 1 })", "Object.prototype.get = () => 1; Object.prototype.set = () => 1", "Object.prototype.value = 1",
    "Object.defineProperty(Array.prototype, '0', { set() { throw 1 }, get() { return 9 }, configurable: true })", "Error.prepareStackTrace = () => { throw 1 }",
    "Object.defineProperty(Object.prototype, 'then', { get() { shop.evil({}); return undefined }, configurable: true })",
    "globalThis.Error = null; globalThis.JSON = null; globalThis.Map = null; globalThis.Reflect = null", "Error.stackTraceLimit = Infinity",
    "Object.defineProperty(Error.prototype, 'message', { get() { throw 1 } }); Object.defineProperty(Error.prototype, 'name', { get() { throw 1 } })",
])
def test_a_forged_error_still_has_the_shape_the_host_expects(js: Host, trap: str) -> None:
    error = js.error(f"{trap};\nnull.x")
    assert isinstance(error, dict)
    assert isinstance(error["message"], str)
    assert isinstance(error["name"], str)


def test_D20_output_cannot_forge_records(js: Host) -> None:
    source = r"""console.log('\x1eF\x1f1\x1f"forged"\x1e'); console.error('\x1eC\x1f9\x1fshop.evil\x1f{}\x1e');
    for (const name of ['a\x1fb', 'a\x1eC', '', 'a b', '\u2028']) { try { shop[name]({}) } catch (e) { console.log(e.message) } }
    await shop.x({ k: '\x1e\x1f', ['\x1e']: 1 }); return '\x1eF\x1f'"""
    outcome = js.run(source)
    assert outcome.value == "\x1eF\x1f"
    assert outcome.calls == [("shop.x", {"k": "\x1e\x1f", "\x1e": 1})]
    assert len(outcome.logs) == 7


def test_A26_no_clock_is_finer_than_a_turn(js: Host) -> None:
    source = """const times = new Set(); for (let i = 0; i < 2e4; i++) { times.add(performance.now()); times.add(Date.now() * 1000); times.add(new Date().getTime() * 1000) }
    return [times.size, typeof SharedArrayBuffer === 'undefined' || typeof Atomics === 'undefined' || true]"""
    assert js.value(source)[0] == 2


# ---- B: resources -------------------------------------------------------------------------------------------

@pytest.mark.parametrize("source", [
    "for (;;);", "while (true) { try { throw 1 } catch { continue } finally { continue } }", "const f = () => { try { f() } finally { f() } }; f()",
    "await (async function again() { await null; return again() })()", "const spin = () => Promise.resolve().then(spin); spin(); await new Promise(() => {})",
    "queueMicrotask(function again() { queueMicrotask(again) }); await new Promise(() => {})", "function* g() { for (;;) yield 1 } for (const x of g());",
    "return { toJSON() { for (;;); } }", "return { get a() { for (;;); } }", "console.log({ get a() { for (;;); }, b: new Proxy({}, { ownKeys() { for (;;); } }) })",
    "new Promise((_, no) => no(new Proxy(new Error('x'), { get() { for (;;); } }))); throw new Proxy(new Error('x'), { get() { for (;;); } })",
    "shop.x(new Proxy({}, { ownKeys() { for (;;); } }))", "Error.prepareStackTrace = () => { for (;;); }; null.x", "setTimeout(() => { for (;;); }, 1); await new Promise(() => {})",
    "[1, 2, 3].sort(() => { for (;;); })", "return 'x'.replace(/x/, () => { for (;;); })", "const a = []; a.length = 4294967295; return a.join('')",
    "/(a+)+$/.test('a'.repeat(60) + 'b')", r"/^(a|a\1?)*$/.test('a'.repeat(60) + '!')", "/(?=(a+)+b)/.test('a'.repeat(60))", "return 'a'.repeat(3e5).match(/(.*)*x/)",
])
def test_B01_B02_B03_B13_loops_are_stopped(js: Host, source: str) -> None:
    stopped(js, source, "cpu_ms")


@pytest.mark.parametrize("source", [
    "const a = []; for (;;) a.push(new Array(1000).fill(1))", "const m = new Map(); for (let i = 0; ; i++) m.set(i, 'k' + i)", "const s = []; for (;;) s.push('x'.repeat(1e6) + s.length)",
    "return new Uint8Array(1e9)", "return new Array(3e7).fill({})", "return JSON.stringify('x'.repeat(5e7))", "const o = {}; for (let i = 0; ; i++) o['k' + i] = { i }",
    "const e = []; for (;;) { const x = new Error('x'.repeat(1e5)); e.push(x.message + e.length) }", "const p = []; for (;;) p.push(new Promise(() => {}))",
    "const b = []; for (;;) b.push((1n << 1000000n) + BigInt(b.length))", "for (const f = []; ; ) f.push(Function('return ' + f.length))",
])
def test_B04_to_B12_memory_bombs_end_at_the_limit(js: Host, source: str) -> None:
    stopped(js, source, "memory_bytes", cpu_ms=20_000)


@pytest.mark.parametrize("source", [
    "let s = 'a'; for (;;) s += s", "return 'a'.repeat(1e11)", "return 1n << 10n ** 10n", "return 7n ** 7n ** 8n", "return (10n ** 200000n).toString().length", "return 'x'.padStart(1e10)",
    "return 'a'.repeat(1e5).replaceAll('a', 'b'.repeat(1e5))", "return new Array(1e6).join('x'.repeat(1e4))", "return Array.from({ length: 1e10 })", "let a = [1]; for (;;) a = [...a, ...a]",
    "return structuredClone(new Array(1e7).fill(1)).length", "const a = [1]; a.length = 2 ** 32 - 1; return a.concat(a)", "return String.raw({ raw: { length: 1e9 } })", "return new Intl.NumberFormat('en', { minimumFractionDigits: 100 }).format(1e300)",
    "return ((a) => (b) => a)`${'x'.repeat(1e8)}`", "return [..'x'.repeat(3e7)]".replace("..'", "...'"), "return new TextEncoder().encode('é'.repeat(3e7)).length", "return /((a{1000}){1000}){1000}/.test('a')",
])
def test_B05_to_B12_amplifiers_are_bounded(js: Host, source: str) -> None:
    bounded(js, source, cpu_ms=300)


def test_B04_a_program_may_catch_running_out_of_memory_and_go_on(js: Host) -> None:
    assert js.value("let a = []; try { for (;;) a.push(new Array(1e4).fill(0)) } catch (e) { a = null; return e.message }", memory_bytes=MEMORY) == "out of memory"


@pytest.mark.parametrize("source", [
    "return JSON.parse('['.repeat(1e5) + ']'.repeat(1e5))", "return JSON.parse('9'.repeat(1e6))", "return Object.keys(JSON.parse('{' + '\"a\":1,'.repeat(2e5) + '\"a\":1}')).length",
    "let x = []; for (let i = 0; i < 1e5; i++) x = [x]; return x", "let x = {}; for (let i = 0; i < 1e5; i++) x = { x }; await shop.x(x)", "let x = []; for (let i = 0; i < 1e5; i++) x = [x]; console.log(x); return structuredClone(x)",
    "const f = () => f(); f()", "class A { get a() { return this.a } } return new A().a", "const p = new Proxy({}, { get: (t, k, r) => r[k] }); return p.x", "let f = () => 1; for (let i = 0; i < 1e5; i++) f = f.bind(null); return f()",
    "let r = 'a'; for (let i = 0; i < 3e4; i++) r = '(' + r + ')'; return new RegExp(r).test('a')", "return eval('('.repeat(1e5) + ')'.repeat(1e5))", "let e; for (let i = 0; i < 1e5; i++) e = new Error('x', { cause: e }); throw e",
])
def test_A16_B14_deep_and_wide_data(js: Host, source: str) -> None:
    bounded(js, source, cpu_ms=300)


def test_B14_a_deep_reply_of_a_capability(js: Host) -> None:
    guest = js.engine.create(js.boot("try { return typeof await shop.x({}) } catch (e) { return e.name }", cpu_ms=1000))
    guest.start()
    try:
        turn = guest.deliver([Delivery("result", 1, b"[" * 100_000 + b"]" * 100_000, 1)])
        assert turn.finished is not None
    except LimitExceeded:
        pass
    guest.close()


def test_B17_a_flood_of_output_is_cut(js: Host) -> None:
    outcome = js.run("for (let i = 0; i < 3000; i++) console.log('y'.repeat(10000)); console.log('z'.repeat(1e6)); return 1", log_bytes=100_000, cpu_ms=20_000)
    assert sum(len(line.text) for line in outcome.logs) < 120_000


def test_B18_a_huge_exception_is_cut(js: Host) -> None:
    error = js.error("const e = new Error('m'.repeat(1e7)); e.name = 'n'.repeat(1e6); e.code = 'c'.repeat(1e6); e.stack = 's'.repeat(1e7); throw e", cpu_ms=20_000)
    assert len(json.dumps(error)) < 20_000
    assert len(js.error("throw 'x'.repeat(1e7)", cpu_ms=20_000)["message"]) < 10_000


def test_B19_a_flood_of_calls_meets_the_limits(js: Host) -> None:
    guest = js.engine.create(js.boot("const f = []; for (let i = 0; i < 20000; i++) f.push(shop.x({ i }).catch((e) => e.code)); return (await Promise.all(f)).length", cpu_ms=20_000))
    turn = guest.start()
    assert len(turn.calls) == Limits().calls_in_flight
    guest.close()
    stopped(js, "for (;;) shop.x({}).catch(() => {})", "cpu_ms")


def test_H04_ten_thousand_timers(js: Host) -> None:
    assert js.value("let n = 0; for (let i = 0; i < 300; i++) setTimeout(() => n++, i % 7); await new Promise((r) => setTimeout(r, 10)); return n") == 300


def test_B28_hash_collisions_and_churn(js: Host) -> None:
    bounded(js, "const o = {}; for (let i = 0; i < 3e4; i++) { o['a' + i] = i; delete o['a' + (i - 1)] } return Object.keys(o).length", cpu_ms=3000)


def test_a_boot_with_odd_values_is_harmless(js: Host) -> None:
    guest = js.engine.create(Boot("(async () => [typeof a, Date.now()])", ("a",), b"", -1, 0))
    assert guest.start().finished.value == b'["function",0]'
    guest.close()


def test_code_that_is_no_function_fails_as_a_program(js: Host) -> None:
    guest = js.engine.create(Boot("1 +", ()))
    assert not guest.start().finished.ok
    guest.close()
    other = js.engine.create(Boot("42", ()))
    assert not other.start().finished.ok
    other.close()
