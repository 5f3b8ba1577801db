"""What models expect of JavaScript and TypeScript: one small program a feature, true when it works.

`LANGUAGE` are the 41 language and platform probes (two of them, world time zones and Temporal, are known not to
pass); `FORMS` are the shapes of a program and the TypeScript that must be accepted.
"""

from __future__ import annotations

import json

from bench.report import Report, peers_folder
from inhabit.contracts.program import Boot, Delivery
from inhabit.errors import InhabitError
from inhabit.isolates.javascript import JavaScriptEngine

__all__ = ["FORMS", "LANGUAGE", "run"]

LANGUAGE: dict[str, str] = {
    "regexp_lookbehind": r"return 'b7'.match(/(?<=b)\d/)?.[0] === '7'",
    "regexp_named_groups": r"return /(?<year>\d{4})/.exec('in 2024').groups.year === '2024'",
    "regexp_v_flag": r"return /[\p{L}--[a-z]]/v.test('Q') && !/^[\p{L}--[a-z]]$/v.test('q')",
    "regexp_unicode_property": r"return /^\p{Lu}$/u.test('Ä')",
    "class_private_members": "class Box { #v = 4; static made = 1; get v() { return this.#v } } return new Box().v === 4 && Box.made === 1",
    "optional_chaining": "const order = {}; return (order?.customer?.name ?? 'none') === 'none'",
    "logical_assignment": "let limit = null; limit ??= 9; let on = 1; on &&= 2; return limit === 9 && on === 2",
    "bigint": "return (2n ** 64n).toString() === '18446744073709551616'",
    "spread_and_rest": "const { id, ...rest } = { ...{ id: 1 }, total: 5 }; return rest.total === 5 && !('id' in rest)",
    "generators": "function* count() { yield 1; yield 2 } return [...count()].join() === '1,2'",
    "async_generators": "async function* pages() { yield 3; yield 4 } let sum = 0; for await (const p of pages()) sum += p; return sum === 7",
    "promise_all_settled": "const [a, b] = await Promise.allSettled([1, Promise.reject(new Error('x'))]); return a.value === 1 && b.reason.message === 'x'",
    "promise_with_resolvers": "const { promise, resolve } = Promise.withResolvers(); resolve(6); return await promise === 6",
    "array_at": "return ['a', 'b'].at(-1) === 'b'",
    "array_by_copy": "const list = [3, 1]; return list.toSorted()[0] === 1 && list.with(0, 8)[0] === 8 && list[0] === 3",
    "object_group_by": "return Object.groupBy([1, 2, 3], (n) => n % 2 ? 'odd' : 'even').odd.length === 2",
    "iterator_helpers": "return [1, 2, 3].values().filter((n) => n > 1).map((n) => n * 2).toArray().join() === '4,6'",
    "set_methods": "return new Set([1, 2]).intersection(new Set([2, 3])).has(2)",
    "structured_clone": "const a = { when: new Date(5), tags: new Set(['x']) }; a.self = a; const b = structuredClone(a); return b.self === b && b.when.getTime() === 5 && b.tags.has('x')",
    "url": "const u = new URL('../b?q=1#z', 'https://shop.example:443/a/c'); u.searchParams.append('p', 'a b'); return u.href === 'https://shop.example/b?q=1&p=a+b#z'",
    "text_encoder": "return new TextDecoder().decode(new TextEncoder().encode('grün €')) === 'grün €'",
    "base64": "return atob(btoa('program')) === 'program'",
    "intl_number_format": "return new Intl.NumberFormat('en-US', { style: 'currency', currency: 'USD' }).format(-1234.5) === '-$1,234.50'",
    "number_to_locale_string": "return (1234567.891).toLocaleString('de-DE') === '1.234.567,891'",
    "intl_time_zone_of_the_world": "return new Intl.DateTimeFormat('en-US', { timeZone: 'America/New_York' }).format(new Date(0)) === '12/31/1969'",
    "locale_compare": "return ['b', 'Ä', 'a'].sort((x, y) => x.localeCompare(y)).join('') === 'aÄb'",
    "string_normalize": r"return 'e\u0301'.normalize('NFC') === '\u00e9'",
    "date_parse": "return new Date('2024-02-29T12:00:00+02:00').toISOString() === '2024-02-29T10:00:00.000Z'",
    "timers": "const seen = []; setTimeout(() => seen.push('late'), 20); setTimeout(() => seen.push('soon'), 10); await new Promise((go) => setTimeout(go, 30)); return seen.join() === 'soon,late'",
    "console": "console.log('total', { sum: 3 }); console.error(new Error('seen')); return true",
    "crypto": "const bytes = crypto.getRandomValues(new Uint8Array(8)); return /^[0-9a-f-]{36}$/.test(crypto.randomUUID()) && bytes.some((b) => b !== 0)",
    "error_cause": "return new Error('outer', { cause: new Error('inner') }).cause.message === 'inner'",
    "weak_references": "const key = {}; const held = new WeakRef(key); return held.deref() === key && new WeakMap([[key, 2]]).get(key) === 2",
    "proxy": "const p = new Proxy({}, { get: (_, name) => name.length }); return p.four === 4",
    "labels": "let n = 0; outer: for (;;) { for (;;) { n++; break outer } } return n === 1",
    "abort_controller": "const c = new AbortController(); let seen; c.signal.addEventListener('abort', (e) => { seen = e.type }); c.abort(); return c.signal.aborted && seen === 'abort'",
    "explicit_resource_management": "let closed = false; { using file = { [Symbol.dispose]() { closed = true } } } return closed",
    "temporal": "return Temporal.PlainDate.from('2024-02-29').add({ years: 1 }).toString() === '2025-02-28'",
    "queue_microtask": "const seen = []; queueMicrotask(() => seen.push(2)); seen.push(1); await null; return seen.join() === '1,2'",
    "no_fetch": "try { await fetch('https://example.com'); return false } catch (e) { return typeof fetch === 'undefined' && e.message.includes('http.fetch') }",
    "no_host_objects": "return typeof process === 'undefined' && typeof require === 'undefined' && typeof Deno === 'undefined'",
}

_FENCE = "`" * 3
FORMS: dict[str, str] = {
    "top_level_await_and_return": "const n: number = await Promise.resolve(1);\nreturn n === 1",
    "last_expression": "const n: number = 2;\nn === 2",
    "bare_async_arrow": "async () => { const n: number = 3; return n === 3 }",
    "async_function": "async function main(): Promise<boolean> { return true }",
    "called_async_arrow": "(async () => { return true })()",
    "export_default_function": "const one = (): number => 1;\nexport default async function main() { return one() === 1 }",
    "export_default_arrow": "export default async (given: { n: number }) => given.n === 41",
    "export_default_value": "export default true",
    "markdown_fence": f"{_FENCE}typescript\nconst yes: boolean = true;\nreturn yes\n{_FENCE}",
    "type_annotations": "type Order = { id: string; total?: number };\nconst o: Order = { id: 'a' };\nfunction f(x: Order, ...r: number[]): x is Order { return true }\nreturn f(o)",
    "interfaces_and_generics": "interface Page<T extends object = {}> { items: T[] }\nconst first = <T extends object>(p: Page<T>): T | undefined => p.items[0];\nreturn first<{ n: number }>({ items: [{ n: 1 }] })!.n === 1",
    "as_and_satisfies": "const a = { k: 1 } as const satisfies Record<string, number>;\nreturn (a as any).k === 1 && (<number>a.k) === 1",
    "enums": "enum State { Open, Done = 4, Late, Name = 'n' }\nconst enum Flag { A = 1 << 1, B = A | 1 }\nreturn State.Late === 5 && State[4] === 'Done' && Flag.B === 3",
    "parameter_properties": "class A { constructor(private readonly x: number, public y = 2) {} sum() { return this.x + this.y } }\nclass B extends A { constructor(public z: number) { super(1) } }\nconst b = new B(7); return b.sum() === 3 && b.z === 7",
    "namespaces": "namespace Money { export const cents = (n: number) => n * 100 }\nreturn Money.cents(2) === 200",
    "abstract_and_overloads": "abstract class S { abstract area(): number; declare tag: string; protected n?: number }\nclass Q extends S { override area() { return 4 } }\nfunction g(a: string): string; function g(a: number): number; function g(a: any) { return a }\nreturn new Q().area() === 4 && g(1) === 1",
    "type_only_imports": "import type { Order } from './types';\nconst o: Order = { id: 1 };\nreturn o.id === 1",
    "declare_and_assertions": "declare const missing: number;\nlet later!: string; later = 'x';\nconst m = new Map<string, number[]>([['a', [1]]]);\nreturn m.get('a')![0] === 1 && later === 'x'",
    "using_with_types": "const log: string[] = [];\n{ using r: Disposable = { [Symbol.dispose]() { log.push('x') } } as Disposable }\nreturn log.length === 1",
    "arrow_generics_and_regexp": "const pick = async <T,>(x: T): Promise<T> => x;\nreturn /a<b>/.test('a<b>') && await pick<boolean>(true)",
}


def _works(engine: JavaScriptEngine, source: str) -> str:
    """Empty when the program returned true, else why not. Timers are fired as they fall due."""
    prepared = engine.prepare(source, ())
    if prepared.problems:
        return prepared.problems[0].message
    guest = engine.create(Boot(code=prepared.code, names=(), input=b'{"n":41}', clock_ms=1_700_000_000_000, seed=1))
    try:
        turn = guest.start()
        while turn.finished is None and turn.timer is not None:
            turn = guest.deliver([Delivery("timer", turn.timer.id, b"", turn.timer.due_ms)])
    except InhabitError as error:
        return error.message
    finally:
        guest.close()
    if turn.finished is None:
        return "never finished"
    return "" if turn.finished.ok and turn.finished.value == b"true" else json.loads(turn.finished.value).__repr__()[:200]


def run(report: Report) -> None:
    """Figures `language.javascript.passed` and `language.typescript.forms_passed`; what fails goes to the notes."""
    engine = JavaScriptEngine.load(peers_folder() / "images")
    for name, table in (("language.javascript.passed", LANGUAGE), ("language.typescript.forms_passed", FORMS)):
        failed = {probe: why for probe, source in table.items() if (why := _works(engine, source))}
        for probe, why in failed.items():
            report.note(f"{name}: {probe}: {why}")
        report.figure(name, len(table) - len(failed), f"of {len(table)}")
