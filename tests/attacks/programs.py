"""Hostile programs by attack id and language, for `test_attack_programs`: each runs through the whole app, jail on.

`STOPPED` only a limit ends. `HELD` end in an error or in a bounded value, or are refused before they run. The finer
questions, what exactly an attack sees, are asked in the engines' own tests.
"""

from __future__ import annotations

from inhabit.contracts.program import Language

__all__ = ["HELD", "STOPPED", "Case"]

Case = tuple[str, Language, str]

_STOPPED: dict[str, dict[Language, tuple[str, ...]]] = {
    "B01_infinite_loop": {"typescript": ("while (true) {}", "const f = () => { Promise.resolve().then(f); }; f(); await new Promise(() => {})"), "python": ("while True: pass",)},
    "B02_loop_swallowing_everything": {
        "typescript": ("while (true) { try { while (true) {} } catch (e) {} }",),
        "python": ("while True:\n    try:\n        while True: pass\n    except BaseException: pass",)},
    "B03_finally_loop": {
        "typescript": ("try { while (true) {} } finally { while (true) {} }",),
        "python": ("try:\n    while True: pass\nfinally:\n    while True: pass",)},
    "B13_regex_backtrack": {"typescript": ("return /^(a+)+$/.test('a'.repeat(60) + 'b')",)},
    "B28_gc_churn": {"typescript": ("while (true) { const a = []; for (let i = 0; i < 1000; i++) a.push({i}) }",)},
}

_HELD: dict[str, dict[Language, tuple[str, ...]]] = {
    "A01_subclasses_walk": {"python": ("return ().__class__.__base__.__subclasses__()", "return [].__class__.__mro__[1].__subclasses__()", "return (lambda: 0).__globals__")},
    "A02_format_field_walk": {"python": (
        "return '{0.__class__.__mro__}'.format(1)", "return '{a.__class__}'.format_map({'a': 1})", "f = '{0.__cl' + 'ass__}'\nreturn f.format(1)",
        "import string\nreturn string.Formatter().format('{0.__class__}', 1)")},
    "A03_exception_frame_walk": {"python": (
        "try:\n    1 / 0\nexcept Exception as e:\n    return str(e.__traceback__.tb_frame.f_globals)", "try:\n    shop.nothing\nexcept AttributeError as e:\n    return str(e.obj)",
        "try:\n    next(iter([]))\nexcept StopIteration as e:\n    return str(e.__context__.__traceback__)")},
    "A04_generator_frame_walk": {"python": ("return (i for i in [1]).gi_frame.f_back.f_globals", "async def f(): pass\nreturn f().cr_frame")},
    "A05_except_star_confusion": {"python": ("try:\n    raise ExceptionGroup('x', [ValueError(1)])\nexcept* ValueError as e:\n    return str(e.exceptions[0].__traceback__)",)},
    "A06_async_generator_host_exception": {
        "typescript": (
            "async function* g() { try { yield* { [Symbol.asyncIterator]: () => ({ next: () => shop.fail({}), return: (v) => { throw v } }) } } catch (e) { yield e.constructor.constructor('return typeof process')() } }"
            " const out = []; for await (const v of g()) out.push(v); return out",
            "return await ({ then(ok, no) { shop.fail({}).catch((e) => no(e)) } }).then.call(null, (v) => v, (e) => 0)"),
        "python": ("async def g():\n    yield await shop.fail()\ntry:\n    async for v in g():\n        pass\nexcept Exception as e:\n    return str(e.__traceback__)",)},
    "A07_promise_then": {"typescript": (
        "Promise.prototype.then = function (a, b) { return [this.constructor.constructor('return this')()] }; return await shop.echo({ value: 1 })",
        "Object.defineProperty(Promise, Symbol.species, { get() { return class { constructor(run) { run(() => 0, () => 0) } } } }); return await shop.echo({ value: 1 })")},
    "A08_constructor": {
        "typescript": ("return shop.echo.constructor('return process')().env", "return (await shop.echo({ value: {} })).constructor.constructor('return typeof process')()"),
        "python": ("return shop.echo.__globals__", "return shop.echo.__self__", "return shop.echo.__code__.co_filename")},
    "A09_host_exception_object": {
        "typescript": ("try { await shop.fail({}) } catch (e) { return [e.stack, Object.getOwnPropertyNames(e), String(e.cause)] }",),
        "python": ("try:\n    await shop.fail()\nexcept Exception as e:\n    return [str(e), repr(e), str(e.__cause__)]",)},
    "A10_reentry": {"typescript": ("await shop.echo({ value: { toJSON() { return shop.echo({ value: 1 }) }, get x() { return shop.echo({}) } } }); return 1",)},
    "A11_resizable_buffer": {"typescript": (
        "const b = new ArrayBuffer(64, { maxByteLength: 128 }); const t = new Int32Array(b); t.set([1, { valueOf() { b.resize(4); return 1 } }, 3]); return t.length",
        "const b = new ArrayBuffer(64, { maxByteLength: 2 ** 30 }); const d = new DataView(b); d.setInt32({ valueOf() { b.resize(0); return 60 } }, 1); return 1")},
    "A12_nested_sandbox": {
        "typescript": (
            "return [typeof ShadowRealm, typeof Worker, typeof SharedArrayBuffer, typeof WebAssembly, typeof importScripts]",
            "const inner = new Function('return [typeof process, typeof shop.__proto__, typeof require]'); return [inner(), eval('typeof __inhabit_hooks')]",
            "return eval('while (true) {}')", "return new Function('return new Array(1e9).fill(1)')().length"),
        "python": (
            "return eval('().__class__.__base__.__subclasses__()', {'__builtins__': {}})", "exec('while True: pass', {})",
            "import subprocess\nreturn subprocess.run(['id'])", "return compile('import os', 'x', 'exec')", "import pydantic_monty\nreturn pydantic_monty.Monty('1').run()")},
    "A13_import": {
        "typescript": ("return await import('node:fs')", "return require('fs')"),
        "python": ("import ctypes\nreturn ctypes", "import gc\nreturn gc.get_objects()", "import marshal\nreturn marshal", "return __import__('inspect').stack()")},
    "A14_eval": {
        "typescript": ("return (0, eval)('typeof process + typeof require')",),
        "python": ("return eval('open(\"/etc/passwd\").read()')", "exec('import os; x = os.environ')", "return __builtins__['open']('/etc/passwd').read()")},
    "A15_crashers": {
        "typescript": ("return " + "(" * 20_000 + ")" * 20_000, "return " + "-" * 40_000 + "1", "return " + "[" * 20_000 + "]" * 20_000),
        "python": ("return " + "(" * 20_000 + ")" * 20_000, "return " + "-" * 40_000 + "1", "x = 1\nreturn " + "<".join(["x"] * 50_000),
                   "return print(" + ",".join(["1"] * 60_000) + ")", "(" * 300 + "a" + ",)" * 300 + " = 1")},
    "A16_deep_data": {
        "typescript": ("let a = []; for (let i = 0; i < 100000; i++) a = [a]; return a", "let a = {}; for (let i = 0; i < 100000; i++) a = { a }; await shop.echo({ value: a })"),
        "python": ("a = []\nfor i in range(100000): a = [a]\nreturn a", "a = []\nfor i in range(100000): a = [a]\nreturn repr(a)", "a = []\na.append(a)\nreturn a == a")},
    "A18_mount_symlink_out": {"python": (
        "import os\nos.symlink('/etc', '/tmp/a')\no = open\nreturn o('/tmp/a/passwd').read()", "from pathlib import Path\nreturn Path('/proc/self/root/etc/passwd').read_text()",
        "import os\nreturn os.listdir('/')")},
    "A19_mount_unicode_case": {"python": tuple(
        f"return open({path!r}).read()" for path in ("/etc/./passwd", "//etc//passwd", "/etc/passwd/", "/ETC/passwd", "/etc/pa\u0308sswd", "/etc/passwd\0.txt", "../../../../etc/passwd"))},
    "A20_proc_self": {
        "typescript": ("return [typeof process, typeof require, typeof std, typeof os, typeof WebAssembly, typeof Deno]",),
        "python": ("o = open\nreturn o('/etc/passwd').read()", "import os\nreturn dict(os.environ)", "o = open\nreturn o('/proc/self/environ').read()", "import os\nreturn os.getcwd()")},
    "A26_clock": {
        "typescript": ("const s = new Set(); for (let i = 0; i < 1e4; i++) { s.add(performance.now()); s.add(Date.now()) } if (s.size > 3) throw new Error('CANARY_CLOCK'); return s.size",),
        "python": ("import time\ns = set()\nfor i in range(3000):\n    s.add(time.time())\nif len(s) > 2:\n    raise ValueError('CANARY_CLOCK')\nreturn len(s)",)},
    "A27_ansi": {
        "typescript": (r"console.log('\x1b]52;c;eA==\x07\x1b[2J'); return '\x1b]0;x\x07'",),
        "python": (r"print('\x1b]52;c;eA==\x07\x1b[2J')" "\n" r"return '\x1b]0;x\x07'",)},
    "B04_memory_list": {
        "typescript": ("const a = []; while (true) a.push(new Array(10000).fill(a.length))",), "python": ("a = []\nwhile True: a.append('x' * 100000)",)},
    "B05_string_doubling": {"typescript": ("let s = 'x'; while (true) s += s",), "python": ("s = 'x'\nwhile True: s += s",)},
    "B06_repeat": {"typescript": ("return 'a'.repeat(2 ** 31).length", "return 'a'.repeat(2 ** 29).length"), "python": ("return len('a' * 10 ** 11)",)},
    "B07_shift": {"typescript": ("return (1n << (10n ** 10n)).toString().length",), "python": ("return 1 << 10 ** 10",)},
    "B08_power": {"typescript": ("return (7n ** 7n ** 8n).toString().length",), "python": ("return 7 ** 10 ** 7",)},
    "B09_str_of_a_number": {"typescript": ("return (10n ** 200000n).toString().length",), "python": ("return len(str(10 ** 200000))", "return int('9' * 10 ** 6)")},
    "B10_width": {"typescript": ("return 'x'.padStart(2 ** 30).length",), "python": ("return len(f'{1:>{10 ** 10}}')", "return len('x'.zfill(10 ** 10))", "return len('x'.center(10 ** 10))", "return len('%10000000000d' % 1)")},
    "B11_replace_amplification": {
        "typescript": ("return 'a'.repeat(1e5).replaceAll('a', 'b'.repeat(1e5)).length", "return 'a'.repeat(1e5).replace(/a/g, () => 'b'.repeat(1e5)).length"),
        "python": ("return len(('a' * 10 ** 5).replace('a', 'b' * 10 ** 6))", "s = 'aa'\nfor i in range(60): s = s.replace('a', 'aa')\nreturn len(s)")},
    "B12_join": {
        "typescript": ("return new Array(1e9).join('abcdef').length", "return new Array(1e6).join('x'.repeat(1e4)).length"),
        "python": ("return len(','.join('x' * 1000 for _ in range(10 ** 6)))", "return len(('x' * 10 ** 6).join(['y'] * 10 ** 5))")},
    "B13_regex_backtrack": {
        "typescript": (r"return /^(a|a\1?)*$/.test('a'.repeat(60) + '!')", "return /(?=(a+)+b)/.test('a'.repeat(60))", "return /((a{1000}){1000}){1000}/.test('a')"),
        "python": ("import re\nreturn bool(re.match('(a+)+$', 'a' * 60 + '!'))", "import re\nreturn bool(re.match('((a{1000}){1000}){1000}', 'a'))")},
    "B14_json_bomb": {
        "typescript": ("return JSON.parse('['.repeat(100000) + ']'.repeat(100000))", "return JSON.parse('9'.repeat(1e6))", "return Object.keys(JSON.parse('{' + '\"a\":1,'.repeat(2e5) + '\"a\":1}')).length",
                       "return (await shop.bomb({})).length"),
        "python": ("import json\nreturn json.loads('[' * 100000 + ']' * 100000)", "import json\nreturn json.loads('9' * 1000000)", "return len(await shop.bomb())")},
    "B17_print_flood": {"typescript": ("for (let i = 0; i < 100000; i++) console.log('x'.repeat(1000)); return 1",), "python": ("for i in range(100000): print('x' * 1000)", "print('x' * 10 ** 8)")},
    "B18_huge_exception": {
        "typescript": ("throw new Error('x'.repeat(10_000_000))", "const f = (n) => f(n + 1); f(0)"), "python": ("raise ValueError('x' * 10_000_000)", "def f(n): return f(n + 1)\nf(0)")},
    "B19_host_call_flood": {
        "typescript": ("while (true) await shop.echo({})", "await Promise.all(Array.from({ length: 10000 }, () => shop.echo({})))", "for (;;) shop.echo({}).catch(() => 0)"),
        "python": ("while True: await shop.echo()", "import asyncio\nawait asyncio.gather(*[shop.echo() for _ in range(10000)])")},
    "B22_sleep_forever": {
        "typescript": ("await new Promise(() => {})", "await new Promise((done) => setTimeout(done, 1e9))"), "python": ("import asyncio\nawait asyncio.sleep(10 ** 9)", "import time\ntime.sleep(10 ** 9)")},
    "B25_journal_bloat": {"typescript": ("for (;;) await shop.echo({ value: 'x'.repeat(500_000) })",), "python": ("while True: await shop.echo(value='x' * 500_000)",)},
    "B28_hash_collision": {
        "typescript": ("const o = {}; for (let i = 0; i < 3e5; i++) o['k' + i * 4294967296] = i; return Object.keys(o).length",),
        "python": ("d = {}\nfor i in range(10 ** 6): d[i * (2 ** 61 - 1)] = i\nreturn len(d)",)},
    "B30_compile_bomb": {
        "typescript": ("function f() {}\n" * 20_000 + "return 1", "return `" + "${`" * 3_000 + "`}" * 3_000 + "`", "type A<T> = { a: A<A<T>> };\n" * 3_000 + "return 1"),
        "python": ("def f(): pass\n" * 20_000 + "return 1", "x = " + "[" * 90 + "1" + "]" * 90 + "\nreturn 1", "x: " + "list[" * 3_000 + "int" + "]" * 3_000 + " = []\nreturn 1")},
}


def _cases(table: dict[str, dict[Language, tuple[str, ...]]]) -> dict[str, Case]:
    return {f"{name}-{language}-{number}": (name, language, source)
            for name, languages in table.items() for language, sources in languages.items() for number, source in enumerate(sources, 1)}


STOPPED = _cases(_STOPPED)
HELD = _cases(_HELD)
