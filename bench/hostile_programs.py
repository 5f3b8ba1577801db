"""Programs nobody would write: a seeded grammar that mixes legal and hostile constructs, in both languages.

The same seed gives the same program. Most parse; some do not, and that is part of it.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Literal

__all__ = ["Language", "program"]

Language = Literal["typescript", "python"]

_NAMES = ("kit", "input", "console", "globalThis", "__proto__", "constructor", "self", "x", "y", "z", "arguments", "os", "__builtins__")
_TEXT = ("", "a", "\\ud800", "\\u0000", "\\u001e\\u001f", "é", "😀", "${x}", "{0.__class__}", "__proto__", "$binary", "then", "]]>", "\\n\\ndata: x")
_NUMBERS = ("0", "-0", "1", "2**53", "1e308*10", "0/1", "-1", "1e21", "9007199254740993", "0xffffffff", "3.5e-324")

_TS_HOSTILE = (
    "while (true) {{ try {{ {a} }} catch {{}} }}", "for (;;) console.log({a});", "new Array(2**31).fill({a});",
    "(function f() {{ return f() + {a}; }})();", "'a'.repeat(2**29) + {a};", "await new Promise(() => {{}});",
    "Promise.prototype.then = () => {{ throw {a}; }};", "Object.prototype.toJSON = () => {a};", "JSON.stringify = () => '\\u001eF';",
    "({a}).constructor.constructor('return this')();", "kit.echo.constructor('return process')();", "throw {a};",
    "Array.prototype[Symbol.iterator] = function*() {{ yield {a}; }};", "Object.defineProperty(globalThis, 'kit', {{ get() {{ throw {a}; }} }});",
    "Reflect.setPrototypeOf(Object.prototype, null);", "new Proxy({{}}, {{ get() {{ return {a}; }} }}).x.y();", "eval({a});",
    "new Function({a})();", "await Promise.all(Array.from({{length: 300}}, () => kit.echo({{value: {a}}})));",
    "setTimeout(() => {{ throw {a}; }}, 1); await kit.echo({{}});", "await import({a});", "/(a+)+$/.test('a'.repeat(28) + '!');",
    "new WebAssembly.Module({a});", "const b = new ArrayBuffer(8, {{maxByteLength: 2**30}}); b.resize(2**30);",
    "let d = {a}; for (let i = 0; i < 3000; i++) d = [d]; return d;", "const c = {{}}; c.c = c; return c;", "return Array(300000).fill({a});",
    "for (let i = 0; i < 400; i++) kit.fail({{how: {a}}}).catch(() => 0);", "return kit[{a}]({{}});", "await kit.echo({{value: 1}}, {a});",
    "await kit.echo(JSON.parse('{{\"__proto__\":{{\"value\":1}}}}'));", "class T {{ then(f) {{ f({a}); }} }} return await new T();",
    "return new Proxy([], {{ ownKeys() {{ throw {a}; }} }});", "Symbol.prototype.toString = null; return Symbol({a});", "{a}; }} }} ((",
    "Date.now = () => {a}; Math.random = Date.now;", "await kit.echo({{value: {{toJSON() {{ return kit.echo({{}}); }}}}}});",
)
_PY_HOSTILE = (
    "while True:\n    try:\n        {a}\n    except BaseException:\n        pass", "while True: print({a})", "x = [{a}] * 10**9", "x = 'a' * 10**10",
    "x = 1 << 10**9", "x = 7 ** 10**6", "def f(n): return f(n + 1)\nf(0)", "x = ().__class__.__base__.__subclasses__()",
    "x = '{{0.__class__.__mro__}}'.format({a})", "import os\nos.system({a})", "import ctypes", "x = __import__('os')", "raise BaseException({a})",
    "x = eval({a})", "exec({a})", "x = open('/etc/passwd').read()", "x = (i for i in [1]).gi_frame", "try:\n    1 / 0\nexcept Exception as e:\n    x = e.__traceback__.tb_frame",
    "x = kit.echo.__globals__", "x = kit.__class__", "x = await kit.echo(value={a}, other=1)", "x = await kit.nothing(a={a})", "x = getattr(kit, {a})",
    "x = [kit.echo(value={a}) for _ in range(300)]\nreturn await asyncio.gather(*x)", "x = {a}\nfor _ in range(3000): x = [x]\nreturn x", "x = []\nx.append(x)\nreturn x",
    "class A:\n    def __getattr__(self, n): return A()\nreturn A().b.c", "class B(dict):\n    def keys(self): raise {a}\nreturn B()", "x = float('nan')\nreturn x",
    "return lambda: {a}", "return {{(1, 2): {a}}}", "return b'\\xff'", "x = sorted([{a}, None, 'a'])", "del kit", "kit = {a}\nreturn await kit.echo(value=1)",
    "import re\nre.match('(a+)+$', 'a' * 28 + '!')", "import json\njson.loads('[' * 100000)", "x = '%' * 5 % {a}", "global x\nnonlocal y", "async def g():\n    yield {a}\nreturn [i async for i in g()]",
    "try:\n    await kit.fail(how='x')\nexcept* ValueError:\n    pass", "await asyncio.sleep(10**9)", "print({a}, sep={a}, end={a})", "return (((", "if True:\n{a}",
)


def program(seed: int, language: Language) -> str:
    """The program of a seed: 1 to 6 statements and mostly a return."""
    rng = random.Random(f"{language}:{seed}")
    write = _typescript if language == "typescript" else _python
    lines = [write(rng) for _ in range(rng.randint(1, 6))]
    if rng.random() < 0.8:
        lines.append(f"return {_expression(rng, language, 3)}")
    return "\n".join(lines)


def _typescript(rng: random.Random) -> str:
    def inner(depth: int) -> str:
        return _expression(rng, "typescript", depth)

    legal: tuple[Callable[[], str], ...] = (
        lambda: f"const v{rng.randrange(9**6)} = {inner(3)};", lambda: f"await kit.echo({{value: {inner(3)}}});",
        lambda: f"try {{ await kit.fail({{how: {_text(rng)}}}); }} catch (e) {{ console.log(e.code, {inner(1)}); }}",
        lambda: f"for (const i of [1, 2, 3]) {{ {_typescript(rng)} }}", lambda: f"if ({inner(2)}) {{ {_typescript(rng)} }}",
        lambda: f"console.log({inner(2)}, {inner(1)});", lambda: f"await new Promise(r => setTimeout(r, {rng.randint(0, 3)}));",
        lambda: f"async function f{rng.randrange(9**6)}(a: any): Promise<any> {{ return {inner(2)}; }}",
    )
    if rng.random() < 0.35:
        return rng.choice(_TS_HOSTILE).format(a=inner(2))
    return rng.choice(legal)()


def _python(rng: random.Random) -> str:
    def inner(depth: int) -> str:
        return _expression(rng, "python", depth)

    legal: tuple[Callable[[], str], ...] = (
        lambda: f"v{rng.randrange(9**6)} = {inner(3)}", lambda: f"await kit.echo(value={inner(3)})", lambda: "import asyncio",
        lambda: f"try:\n    await kit.fail(how={_text(rng)})\nexcept OperationError as e:\n    print(e.code, {inner(1)})",
        lambda: f"for i in [1, 2, 3]:\n    v = {inner(2)}", lambda: f"if {inner(2)}:\n    pass", lambda: f"print({inner(2)}, {inner(1)})",
        lambda: f"await asyncio.sleep({rng.random() / 300:.4f})", lambda: f"async def f{rng.randrange(9**6)}(a):\n    return {inner(2)}",
    )
    if rng.random() < 0.35:
        return rng.choice(_PY_HOSTILE).format(a=inner(2))
    return rng.choice(legal)()


def _expression(rng: random.Random, language: Language, depth: int) -> str:
    def inner() -> str:
        return _expression(rng, language, depth - 1)

    typescript = language == "typescript"
    leaves: tuple[Callable[[], str], ...] = (
        lambda: rng.choice(_NUMBERS), lambda: _text(rng), lambda: rng.choice(_NAMES), lambda: "null" if typescript else "None",
        lambda: "true" if typescript else "True", lambda: "undefined" if typescript else "b''", lambda: "1n" if typescript else "{1, 2}")
    nodes: tuple[Callable[[], str], ...] = (
        lambda: f"[{inner()}, {inner()}]", lambda: f"{{{_text(rng)}: {inner()}, 'k': {inner()}}}", lambda: f"({inner()} + {inner()})",
        lambda: f"({inner()} == {inner()})", lambda: f"({inner()})[{inner()}]", lambda: f"(await kit.echo({{value: {inner()}}}))" if typescript else f"(await kit.echo(value={inner()}))",
        lambda: f"({inner()}).{rng.choice(_NAMES)}", lambda: f"[{inner()}].map(x => {inner()})" if typescript else f"[{inner()} for x in [1, 2]]",
        lambda: f"`${{{inner()}}}`" if typescript else f"f'{{{rng.choice(_NAMES)}!r}}'")
    return rng.choice(leaves)() if depth <= 0 or rng.random() < 0.3 else rng.choice(nodes)()


def _text(rng: random.Random) -> str:
    return f'"{rng.choice(_TEXT)}"'
