"""Preparing a source: forms, types, positions, problems, call sites."""

from __future__ import annotations

from typing import Any

import pytest
from js_harness import Host, loaded

from bench.probes_javascript import FORMS, LANGUAGE
from inhabit.contracts.program import CallSite, Problem
from inhabit.isolates.javascript.typescript.undeclared import GLOBALS

KNOWN_GAPS = {"intl_time_zone_of_the_world", "temporal"}


@pytest.fixture(scope="module")
def js(request: pytest.FixtureRequest) -> Host:
    return loaded(request.config)


@pytest.mark.parametrize("form", FORMS)
def test_form(js: Host, form: str) -> None:
    assert js.value(FORMS[form], input={"n": 41}) is True


@pytest.mark.parametrize("probe", sorted(LANGUAGE.keys() - KNOWN_GAPS))
def test_language_probe(js: Host, probe: str) -> None:
    assert js.value(LANGUAGE[probe]) is True


@pytest.mark.parametrize("probe", sorted(KNOWN_GAPS))
def test_a_known_gap_says_what_to_do(js: Host, probe: str) -> None:
    assert any(word in js.error(LANGUAGE[probe])["message"] for word in ("UTC and fixed offsets", "use Date"))


@pytest.mark.parametrize(("source", "value"), [
    ("return", None), ("if (!input) { return 1 }\n2", None), ("5 // five", 5), ("const a = 1;", None),
    ("(async (given) => given.k)", "v"), ("function main(given) { return given.k }", "v"), ("export const a = 1;\nexport { a };\nreturn a", 1),
    ("export default function (given) { return given.k }", "v"), ("export default class A { static b = 1 }\n", None),
    ("export type { X } from './x';\n3", 3), ("~~~js\n7\n~~~", 7), ("Here it is\nreturn 1", None), ("'use strict'; 4", 4), ("`a${1}\n${2}`", "a1\n2"),
    ("function outer() { return 1 }\nouter() + 1", 2), ("label: for (const x of [1]) { continue label }\n9", 9), ("class A { m() { return 2 } }\nnew A().m()", 2),
])
def test_what_a_program_gives(js: Host, source: str, value: Any) -> None:
    if source.startswith("Here"):
        assert js.engine.prepare(source, ()).problems
    elif "class A { static" in source:
        assert "constructor" in js.error(source)["message"] or "new" in js.error(source)["message"]
    else:
        assert js.value(source, input={"k": "v"}) == value


@pytest.mark.parametrize(("source", "code"), [
    ("let a: number = 1, b!: string", "let a         = 1, b         "),
    ("function f<T>(this: X, a?: T, ...r: T[]): a is T {}", "function f   (         a    , ...r     )         {}"),
    ("const v = x! as unknown as T[]", "const v = x                   "),
    ("type A = {\n  b: 1\n}\nreturn 1", ";         \n      \n \nreturn 1"),
    ("class A<T> extends B<T> implements C { private x?: number = 1; declare y: 2; m?(): void {} }",
     "class A    extends B                 { ;       x          = 1; ;           ; m ()       {} }"),
    ("const f = () => <any>{ a: 1 }", "const f = () => (    { a: 1 })"),
    ("const f = (a: {\n  b: 1\n}): Promise<\n  void\n> => a", "const f = (a   \n      \n )                  =>\n\n a"),
])
def test_types_become_spaces(js: Host, source: str, code: str) -> None:
    prepared = js.engine.prepare(source, ())
    assert not prepared.problems or prepared.problems[0].code == "syntax"
    body = js.engine._preparer._stripped(js.engine._preparer.parser.parse(source.encode()), ())[0].decode()
    assert body.rsplit("\n", 1)[0] == code


def test_lines_stay_where_they_were_under_an_enum(js: Host) -> None:
    error = js.error("enum A {\n  B,\n  C = 5,\n}\n\nthrow new Error(String(A.C))")
    assert error["message"] == "5"
    assert "program.ts:6:" in error["stack"]


@pytest.mark.parametrize(("source", "line", "column", "words"), [
    ("for (;;) {", 1, 11, "}"), ("const a: = 1;", 1, 8, "Unexpected token"), ("let x = 1\nlet x = 2", 2, 7, "redefinition"),
    ("return 1 +", 1, 11, "end"), ("let y = {a: 1,, b}", 1, 15, "property name"), ("\n\nif (x {\n}", 3, 7, "expected"),
    ("const s = 'abc", 1, 11, ""), ("await await", 1, 12, "end"), ("```ts\nlet a = ;\n```", 2, 9, "Unexpected"),
])
def test_a_source_that_does_not_parse(js: Host, source: str, line: int, column: int, words: str) -> None:
    prepared = js.engine.prepare(source, ())
    assert prepared.code == ""
    problem = prepared.problems[0]
    assert problem.line == line, problem
    assert abs(problem.column - column) <= 1, problem
    assert words.lower() in problem.message.lower()
    assert problem.code == "syntax"


@pytest.mark.parametrize(("source", "code", "words"), [
    ("import fs from 'fs';\n1", "import", "cannot import"), ("export * from './x'", "import", "cannot import"),
    ("@log class A {}", "unsupported", "decorators"), ("shop.x(1, 2)", "arguments", "one object"),
    ("export default 1; export default 2", "syntax", "default export already"),
])
def test_what_is_refused_before_it_runs(js: Host, source: str, code: str, words: str) -> None:
    problem = js.engine.prepare(source, ("shop",)).problems[0]
    assert (problem.code, problem.line) == (code, 1)
    assert words in problem.message


def test_problems_are_values(js: Host) -> None:
    assert js.engine.prepare("\x00\ud800 ((((", ()).problems


def _calls(js: Host, source: str, names: tuple[str, ...] = ("shop", "mail")) -> list[CallSite]:
    return [call for call in js.engine.prepare(source, names).calls if call.path.partition(".")[0] in names]


def test_a_call_site_has_its_place_and_the_shape_of_its_arguments(js: Host) -> None:
    (call,) = _calls(js, "const p = '😀';\n  await shop.orders.list({ since: '2024', n: -1.5, deep: [1, ...a], t: `x`, k: !p, v, 'q-r': null, ...rest })")
    assert (call.path, call.line, call.column) == ("shop.orders.list", 2, 9)
    assert call.arguments == {"kind": "object", "open": True, "properties": {
        "since": {"kind": "literal", "value": "2024"}, "n": {"kind": "literal", "value": -1.5},
        "deep": {"kind": "array", "items": [{"kind": "literal", "value": 1}, {"kind": "unknown"}], "open": True},
        "t": {"kind": "literal", "value": "x"}, "k": {"kind": "boolean"}, "v": {"kind": "unknown"}, "q-r": {"kind": "literal", "value": None}}}


@pytest.mark.parametrize(("source", "paths"), [
    ("shop.a.b()", ["shop.a.b"]), ("shop?.a?.b?.()", ["shop.a.b"]), ("shop['a'][`b`]({})", ["shop.a.b"]), ("(shop as any).a!.b()", ["shop.a.b"]),
    ("shop.a.b().then(f)", ["shop.a.b"]), ("const { a: { b }, c } = shop; b(); c.d()", ["shop.a.b", "shop.c.d"]),
    ("const s = shop.a; const t = s.b; t.c()", ["shop.a.b.c"]), ("const { a = 1 } = shop; a.b()", []),
    ("function f(shop) { shop.a() } mail.b()", ["mail.b"]), ("{ let shop = 1; shop.a() } shop.b()", ["shop.b"]), ("(shop) => shop.a()", []), ("shop => shop.a()", []),
    ("for (const shop of []) shop.a()", []), ("try {} catch (shop) { shop.a() }", []), ("class C { m(shop) { shop.a() } n() { shop.b() } }", ["shop.b"]),
    ("let s = shop.a; s.b()", []), ("other.a()", []), ("shop[name]()", []), ("items.map((i) => shop.a({ i }))", ["shop.a"]), ("f({ shop: 1 }); x.shop.a()", []),
    ("shop.a(...args)", ["shop.a"]), ("function shop() {} shop.a()", []), ("await Promise.all([shop.a(), mail.b()])", ["shop.a", "mail.b"]),
])
def test_which_calls_are_seen(js: Host, source: str, paths: list[str]) -> None:
    assert [call.path for call in _calls(js, source)] == paths


@pytest.mark.parametrize(("literal", "value"), [
    (r"'a\n\x41\u{1F600}\'\\'", "a\nA😀'\\"), ("0x10", 16), ("1_000", 1000), ("1e3", 1000.0), ("0b11", 3), ("true", True), ("null", None), ("'x' as const", "x")])
def test_literals_are_read(js: Host, literal: str, value: Any) -> None:
    (call,) = _calls(js, f"shop.x({{ v: {literal} }})")
    assert call.arguments is not None
    assert call.arguments["properties"]["v"] == {"kind": "literal", "value": value}


def test_a_call_without_arguments(js: Host) -> None:
    assert _calls(js, "shop.x()")[0].arguments is None


def test_B30_compile_bombs_are_bounded(js: Host) -> None:
    nested = [("(" * 20_000) + ")" * 20_000, "[" * 50_000 + "]" * 50_000, "!" * 60_000 + "1", "a?" * 20_000, "x=>" * 15_000 + "1", "{" * 50_000 + "}" * 50_000,
              "if(1)" * 30_000 + ";", "`${" * 9_000 + "}`" * 9_000, "1+" * 60_000 + "1", "f(" + "1," * 60_000 + "1)", "type A = " + "[" * 20_000 + "]" * 20_000]
    for source in nested:
        prepared = js.engine.prepare(source, ("shop",))
        assert prepared.code or prepared.problems
    assert js.value("return 1") == 1, "the engine goes on"


def test_B30_too_large_a_source_is_refused_with_the_limit(js: Host) -> None:
    assert js.engine.prepare("x;" * 3_000_000, ()).problems == (
        Problem("the program has 6000000 bytes; the most is 4194304", 1, 1, "size"),)


def test_A15_crashers_of_interpreters_are_syntax_errors_or_run(js: Host) -> None:
    for source in ("a" + " < a" * 20_000, "[" + "a," * 30_000 + "] = 1", "f(" * 20_000 + ")" * 20_000, "-" * 20_001 + "1", "var " + ",".join(f"a{i}" for i in range(20_000))):
        prepared = js.engine.prepare(source, ())
        assert prepared.code or prepared.problems


@pytest.mark.parametrize("source", [
    "await biling.x({})", "biling?.x?.()", "const r = biling.x({}); biling.y(r)", "function f() { return biling.x() }", "[1].map(n => biling.x({ n }))",
    "try { biling['x']() } catch {}", "declare const biling: any; await biling.x({})", "const a = { biling: 1 }; a.biling; biling.x()",
])
def test_a_name_that_nobody_declares_is_told_as_a_call(js: Host, source: str) -> None:
    prepared = js.engine.prepare(source, ("shop",))
    assert [call.path for call in prepared.calls][:1] == ["biling.x"]


@pytest.mark.parametrize("source", [
    "const biling = {}; biling.x()", "let biling; biling.x()", "var { biling } = {}; biling.x()", "const { a: biling } = {}; biling.x()",
    "const [biling] = []; biling.x()", "const { ...biling } = {}; biling.x()", "(biling) => biling.x()", "async biling => biling.x()",
    "({ biling }) => biling.x()", "(a, ...biling) => biling.x()", "(a = 1, [biling] = [a]) => biling.x()", "function biling() {} biling.x()",
    "class biling {} biling.x()", "enum biling { A } biling.x()", "namespace biling { export const x = () => 1 } biling.x()",
    "const f = function biling() { biling.x() }", "const f = class biling { m() { biling.x() } }", "for (const biling of []) biling.x()",
    "for (let biling = 0;;) biling.x()", "try {} catch (biling) { biling.x() }", "try {} catch ({ biling }) { biling.x() }",
    "biling = {}; biling.x()", "[biling] = []; biling.x()", "if (typeof biling !== 'undefined') biling.x()", "globalThis.biling = {}; biling.x()",
    "this.biling = {}; biling.x()", "eval('var biling = {}'); biling.x()", "new Function('x')(); biling.x()", "biling({}); biling.x()",
    "import type { biling } from 'x'; biling.x()", "process.exit(1)", "document.getElementById('x')", "input.map(x => x.y())",
    "class C<T> { constructor(private biling: T) { biling.x() } }", "function f<T>(biling?: T) { biling.x() }", "label: for (;;) { console.log(1); break label }",
])
def test_a_name_that_may_be_somebodys_is_left_to_run_time(js: Host, source: str) -> None:
    assert js.engine.prepare(source, ("shop",)).calls == ()


def test_what_a_guest_is_born_with_is_no_unknown_name(js: Host) -> None:
    assert set(js.value("return Object.getOwnPropertyNames(globalThis)", names=())) <= GLOBALS


@pytest.mark.parametrize(("source", "line", "column"), [
    ("const x = shop.a.b({});\nreturn x.cents", 2, 8), ("return shop.a.b({}).length", 1, 8), ("const x = (shop.a.b({}) as any)!;\nx[0]", 2, 1),
    ("const { id } = shop.a.b({ id: 1 }); return id", 1, 16), ("const s = shop.a; const x = s.b(); { x.y.z }", 1, 38),
    ("const x = shop.a.b();\n[1].map(n => n + x.cents)", 2, 18), ("return (await shop.a.b().items)", 1, 15),
])
def test_a_forgotten_await_is_refused_where_it_is_plain(js: Host, source: str, line: int, column: int) -> None:
    (problem,) = js.engine.prepare(source, ("shop",)).problems
    assert (problem.code, problem.line, problem.column) == ("missing_await", line, column)
    assert "(await shop.a.b(…))" in problem.message or "taking it apart" in problem.message


@pytest.mark.parametrize("source", [
    "const x = await shop.a.b({}); return x.cents", "const x = shop.a.b({}); return (await x).cents", "const x = shop.a.b({}); x.then(y => y.z)",
    "const x = shop.a.b({}); { const x = {}; x.y }", "const x = shop.a.b({}); f(x => x.y)", "let x = shop.a.b({}); x = await x; return x.y",
    "return shop.a.b({}).then(x => x.y).catch(e => e.code).finally(() => 1)", "const f = shop.a.b.bind(null); return f.name",
    "const x = shop.a.b({}); return [x, x instanceof Promise]", "const x = other(); return x.y", "const [x] = await Promise.all([shop.a.b()]); x.y",
    "const { then } = shop.a.b()", "const x = shop.a.b(); function f({ x }) { return x.y }",
])
def test_a_promise_used_as_one_is_not_refused(js: Host, source: str) -> None:
    assert js.engine.prepare(source, ("shop",)).problems == ()


@pytest.mark.parametrize("source", ["", "  \n", "// nothing", "/* nothing */ ;", "```ts\n```"])
def test_an_empty_program_is_refused_by_name(js: Host, source: str) -> None:
    (problem,) = js.engine.prepare(source, ()).problems
    assert (problem.code, problem.message) == ("empty", "the program is empty")


@pytest.mark.parametrize("source", [
    "Here is the program:\n\n```ts\nreturn 7\n```\nIt returns seven; don't worry.", "Program:\n```\nreturn 7\n```", "```js\nreturn 7\n```\nThat is it.",
    "Größe:\n```javascript\nreturn 7\n```",
])
def test_the_only_fence_is_taken_out_of_the_prose_around_it(js: Host, source: str) -> None:
    assert js.value(source) == 7


def test_lines_count_as_in_the_text_with_the_prose(js: Host) -> None:
    (problem,) = js.engine.prepare("This is it.\n\n```ts\nreturn 1 +\n```\n", ()).problems
    assert problem.line == 4


def test_two_fences_are_not_guessed_at(js: Host) -> None:
    assert js.engine.prepare("Here is one:\n```ts\nreturn 1\n```\ntwo:\n```ts\nreturn 2\n```\n", ()).problems
