"""The globals that models expect, and the advice where one is missing."""

from __future__ import annotations

from typing import Any

import pytest
from js_harness import Host, loaded


@pytest.fixture(scope="module")
def js(request: pytest.FixtureRequest) -> Host:
    return loaded(request.config)


@pytest.mark.parametrize(("call", "level", "text"), [
    ("console.log('a', 1, true, null, undefined, 2n)", "log", "a 1 true null undefined 2n"), ("console.info({ a: [1, 'x'], 'b-c': { d: {} } })", "info", "{ a: [ 1, \"x\" ], \"b-c\": { d: {} } }"),
    ("console.warn(new Map([['k', { v: 1 }]]), new Set([1]))", "warn", 'Map(1) { "k" => { v: 1 } } Set(1) { 1 }'), ("console.error('%s is %d of %i %%', 'x', 1.5, 2.7, 'rest')", "error", "x is 1.5 of 2 % rest"),
    ("console.debug(() => 1, class A {}, Symbol('s'), new Date(0), /x/g)", "debug", "[Function] [Function: A] Symbol(s) 1970-01-01T00:00:00.000Z /x/g"),
    ("const a: any = {}; a.self = a; console.log(a)", "log", "{ self: [Circular] }"), ("console.log({ get x() { return 1 } }, [, 1], -0)", "log", "{ x: [Getter] } [ undefined, 1 ] -0"),
    ("console.log(shop.orders, Promise.resolve(1), new Uint8Array([1, 2]))", "log", "[capability shop.orders] Promise { … } Uint8Array(2) [ 1, 2 ]"),
    ("console.assert(1 === 2, 'no')", "error", "Assertion failed: no"), ("console.count('x')", "log", "x: 1"), ("console.log({ a: { b: { c: { d: { e: 1 } } } } })", "log", "{ a: { b: { c: { d: [Object] } } } }"),
])
def test_console(js: Host, call: str, level: str, text: str) -> None:
    (line,) = js.run(call).logs
    assert (line.level, line.text) == (level, text)


def test_console_shows_an_error_with_its_place(js: Host) -> None:
    (line,) = js.run("\nconsole.log(new TypeError('bad'))").logs
    assert line.text.startswith("TypeError: bad\n    at program.ts:2:")


@pytest.mark.parametrize(("url", "base", "href"), [
    ("HTTP://User:p w@EXAMPLE.com:80/a/./b/../c?x=1 2#h h", None, "http://User:p%20w@example.com/a/c?x=1%202#h%20h"), ("//b/c", "http://a/x", "http://b/c"), ("../q", "http://a/x/y/z", "http://a/x/q"),
    ("?z", "http://a/x?y", "http://a/x?z"), ("#z", "http://a/x?y", "http://a/x?y#z"), ("mailto:a@b.c", None, "mailto:a@b.c"), ("http://münchen.de/ü", None, "http://xn--mnchen-3ya.de/%C3%BC"),
    ("http://[1:2:0:0:0:0:0:8]/", None, "http://[1:2::8]/"), ("http:\\\\a\\b", None, "http://a/b"), ("", "http://h/a?b#c", "http://h/a?b"), ("x:y/../z", None, "x:y/../z"), ("https://h:443/", None, "https://h/"),
])
def test_url(js: Host, url: str, base: str | None, href: str) -> None:
    assert js.value("return new URL(input[0], input[1] ?? undefined).href", input=[url, base]) == href


@pytest.mark.parametrize("url", ["foo", "http://ex ample", "https://h:99999/", "http://256.1.1.1/", "http://0x7f.1/", "http://[::1/", "http://a%00b/", "https://"])
def test_url_that_is_none(js: Host, url: str) -> None:
    assert js.value("return [URL.canParse(input), URL.parse(input)]", input=url) == [False, None]
    assert "Invalid URL" in js.error("new URL(input)", input=url)["message"]


def test_url_search_params_write_back(js: Host) -> None:
    assert js.value("const u = new URL('http://a/?b=1&b=2&c=%20x'); u.searchParams.delete('b', '1'); u.searchParams.set('c', 'é&'); u.searchParams.append('d', '+'); return [u.href, [...u.searchParams], u.searchParams.size]") == [
        "http://a/?b=2&c=%C3%A9%26&d=%2B", [["b", "2"], ["c", "é&"], ["d", "+"]], 3]
    assert js.value("const p = new URLSearchParams({ z: 1, a: 'x y' }); p.sort(); return p.toString()") == "a=x+y&z=1"


@pytest.mark.parametrize(("expression", "value"), [
    ("[...new TextEncoder().encode('a€😀\\ud800')]", [97, 226, 130, 172, 240, 159, 152, 128, 239, 191, 189]), ("new TextDecoder().decode(new Uint8Array([0xef, 0xbb, 0xbf, 0x61, 0xff, 0xe2, 0x82]))", "a\ufffd\ufffd"),
    ("(() => { const d = new TextDecoder(); return d.decode(new Uint8Array([0xe2, 0x82]), { stream: true }) + d.decode(new Uint8Array([0xac])) })()", "€"),
    ("new TextDecoder('utf-16le').decode(new Uint8Array([0x61, 0, 0x3d, 0xd8, 0, 0xde]))", "a😀"), ("new TextEncoder().encodeInto('€€', new Uint8Array(4))", {"read": 1, "written": 3}),
    ("btoa('a\\xff') + atob('aGk=')", "Yf8=hi"), ("structuredClone(new Map([[{ a: 1 }, new Set([new Date(5)])]])).size", 1), ("structuredClone({ e: new RangeError('r') }).e.message", "r"),
    ("(() => { try { structuredClone(() => 1) } catch (e) { return e.name } })()", "DataCloneError"), ("structuredClone(new Float64Array([1.5]))[0]", 1.5),
])
def test_data(js: Host, expression: str, value: Any) -> None:
    assert js.value(f"return {expression}") == value


def test_decoding_strictly_fails(js: Host) -> None:
    assert js.error("new TextDecoder('utf-8', { fatal: true }).decode(new Uint8Array([0xff]))")["name"] == "TypeError"
    assert "utf-8, utf-16le and windows-1252" in js.error("new TextDecoder('shift_jis')")["message"]


def test_abort_signals(js: Host) -> None:
    assert js.value("const c = new AbortController(); const s = AbortSignal.any([c.signal, new AbortController().signal]); const seen = []; s.addEventListener('abort', () => seen.push(1), { once: true });"
                    "s.onabort = () => seen.push(2); c.abort('why'); c.abort(); try { s.throwIfAborted() } catch (e) { seen.push(e) } return seen") == [2, 1, "why"]
    assert js.value("const s = AbortSignal.timeout(20); await new Promise((r) => s.addEventListener('abort', r)); return s.reason.name") == "TimeoutError"


@pytest.mark.parametrize(("expression", "text"), [
    ("(1234567.891).toLocaleString('en-US')", "1,234,567.891"), ("(1234567.891).toLocaleString('de-DE')", "1.234.567,891"), ("(1234567.891).toLocaleString('fr-FR')", "1\u202f234\u202f567,891"),
    ("(1234.5).toLocaleString('es-ES')", "1234,5"), ("(12345.5).toLocaleString('es-ES')", "12.345,5"), ("(1234.5).toLocaleString('ja-JP', { style: 'currency', currency: 'JPY' })", "￥1,235"),
    ("(1234.5).toLocaleString('de-DE', { style: 'currency', currency: 'EUR' })", "1.234,50\u00a0€"), ("(-0.256).toLocaleString('en', { style: 'percent', maximumFractionDigits: 1 })", "-25.6%"),
    ("(1.005).toLocaleString('en', { maximumFractionDigits: 2 })", "1.01"), ("new Intl.NumberFormat('en', { notation: 'compact' }).format(1234567)", "1.2M"), ("(12345678901234567890n).toLocaleString('en')", "12,345,678,901,234,567,890"),
    ("new Date(0).toLocaleDateString('en-US')", "1/1/1970"), ("new Date(0).toLocaleString('en-US')", "1/1/1970, 12:00:00 AM"), ("new Date(0).toLocaleDateString('de-DE')", "1.1.1970"), ("new Date(0).toLocaleTimeString('fr-FR')", "00:00:00"),
    ("new Date(0).toLocaleDateString('es-ES', { dateStyle: 'full' })", "jueves, 1 de enero de 1970"), ("new Date(0).toLocaleDateString('ja-JP', { dateStyle: 'full' })", "1970年1月1日木曜日"),
    ("new Date(0).toLocaleDateString('en-US', { weekday: 'long', year: 'numeric', month: 'long', day: 'numeric' })", "Thursday, January 1, 1970"),
    ("new Intl.DateTimeFormat('en-US', { timeZone: '+05:30', dateStyle: 'short', timeStyle: 'short' }).format(0)", "1/1/70, 5:30 AM"), ("new Intl.DateTimeFormat('en').resolvedOptions().timeZone", "UTC"),
    ("new Intl.PluralRules('en', { type: 'ordinal' }).select(22)", "two"), ("['Z', 'é', 'e', 'a10', 'a9'].sort(new Intl.Collator('en', { numeric: true }).compare).join()", "a9,a10,e,é,Z"),
    ("new Intl.ListFormat('en').format(['a', 'b', 'c'])", "a, b, and c"), ("new Intl.RelativeTimeFormat('en', { numeric: 'auto' }).format(-1, 'day')", "yesterday"),
    ("new Intl.NumberFormat('en', { style: 'currency', currency: 'USD' }).formatToParts(-1.5).map((p) => p.type).join()", "minusSign,currency,integer,decimal,fraction"),
    ("new Intl.DateTimeFormat('en-US').formatToParts(0).map((p) => p.type).join()", "month,literal,day,literal,year"),
])
def test_intl(js: Host, expression: str, text: str) -> None:
    assert js.value(f"return {expression}") == text


def test_an_unknown_locale_falls_back_visibly(js: Host) -> None:
    outcome = js.run("const f = new Intl.NumberFormat('pl-PL'); (5).toLocaleString('pl-PL'); return [f.format(1234.5), f.resolvedOptions().locale]")
    assert outcome.value == ["1,234.5", "en"]
    assert [line.level for line in outcome.logs] == ["warn"]
    assert "pl-PL" in outcome.logs[0].text


@pytest.mark.parametrize(("source", "words"), [
    ("await fetch('https://x')", "http.fetch"), ("require('fs')", "cannot load modules"), ("process.exit(1)", "no process"), ("Deno.readTextFile('x')", "no process"), ("await import('x')", "cannot load modules"),
    ("Buffer.from('x')", "Uint8Array"), ("new XMLHttpRequest()", "http.fetch"), ("document.title", "no browser"), ("new Intl.DateTimeFormat('en', { timeZone: 'Europe/Berlin' })", "fixed offsets"),
])
def test_what_is_missing_says_what_to_do(js: Host, source: str, words: str) -> None:
    assert words in js.error(source)["message"]
    assert words in js.value(f"try {{ {source} }} catch (e) {{ return e.message }}")


def test_what_is_missing_looks_missing(js: Host) -> None:
    assert js.value("return [typeof fetch, typeof process, typeof require, typeof Deno, typeof Buffer, typeof window]") == ["undefined"] * 6


def test_globals_do_not_show_when_enumerated(js: Host) -> None:
    assert js.value("return Object.keys(globalThis)") == []
