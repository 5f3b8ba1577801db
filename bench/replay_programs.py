"""Programs for the replay benchmark: generated from a seed, in both languages, out of constructs that are counted.

Each call carries `n`, its number in program order, so that the world can tell calls apart without help from the
runtime. A construct is a piece of source that adds to `out`; what came first, a random number or the clock may decide
which piece comes next. `world.look` reads, `world.put` writes and may be repeated, `world.sell` is asked of a person,
`world.send` writes and must not be repeated.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from inhabit.contracts.program import Language

__all__ = ["Generated", "generate"]

_MOST_PIECES = 6
_DEEPEST = 2


@dataclass
class Generated:
    """`constructs`: what the source holds, whether or not its branch is taken."""

    seed: int
    language: Language
    source: str
    constructs: set[str] = field(default_factory=set[str])


def generate(seed: int) -> Generated:
    """The program of this seed; every fourth is Python."""
    chance = random.Random(f"program {seed}")
    writer: _Writer = _Python(chance) if seed % 4 == 3 else _TypeScript(chance)
    source = writer.program()
    return Generated(seed, writer.language, source, writer.used)


class _Writer:
    language: Language
    pieces: tuple[Callable[..., list[str]], ...]

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.used: set[str] = set()
        self._names = 0

    def program(self) -> str:
        raise NotImplementedError

    def name(self) -> str:
        self._names += 1
        return f"v{self._names}"

    def some(self, depth: int, most: int) -> list[str]:
        lines: list[str] = []
        for _ in range(self.chance.randint(1, most)):
            piece = self.chance.choice(self.pieces)
            self.used.add(f"{self.language}.{piece.__name__.strip('_')}")
            lines += piece(self, depth)
        return lines

    def ms(self) -> int:
        return self.chance.randint(1, 60)


class _TypeScript(_Writer):
    language = "typescript"

    def program(self) -> str:
        body = self.some(0, _MOST_PIECES)
        return "\n".join(("const out: any[] = []; let k = 0;",
                          "const N = (x?: any) => x === undefined ? { n: ++k } : { n: ++k, x };",
                          "const code = (e: any) => out.push(String(e?.code ?? e?.message));", *body,
                          "out.push(Date.now(), Math.random());", "return out;"))

    def call(self, kinds: str = "llllppsf") -> str:
        match self.chance.choice(kinds):
            case "p":
                return "world.put(N())"
            case "s":
                return "world.sell(N())"
            case "f":
                return "world.look(N('fail'))"
            case _:
                return "world.look(N())"

    def slow(self) -> str:
        return f"new Promise(r => setTimeout(() => r({self.ms()}), {self.ms()}))"

    def several(self, kinds: str = "llllppsf") -> str:
        parts = [self.slow() if self.chance.random() < 0.2 else f"{self.call(kinds)}.then((r: any) => r.v)" for _ in range(self.chance.randint(2, 5))]
        return ", ".join(parts)

    def caught(self, lines: list[str]) -> list[str]:
        return ["try {", *lines, "} catch (e: any) { code(e); }"]

    def one(self, _depth: int) -> list[str]:
        return self.caught([f"out.push((await {self.call()}).v);"])

    def all(self, _depth: int) -> list[str]:
        return self.caught([f"out.push(await Promise.all([{self.several()}]));"])

    def race(self, _depth: int) -> list[str]:
        return self.caught([f"out.push(await Promise.race([{self.several()}]));"])

    def any(self, _depth: int) -> list[str]:
        return ["try {", f"out.push(await Promise.any([{self.several('lfffs')}]));", "} catch (e: any) { out.push(e.name, e.errors.length); }"]

    def all_settled(self, _depth: int) -> list[str]:
        return [f"for (const s of await Promise.allSettled([{self.several('llpssf')}])) out.push(s.status, s.status === 'fulfilled' ? s.value : s.reason.code);"]

    def closures(self, _depth: int) -> list[str]:
        v = self.name()
        return [f"const {v} = [1, 2, 3].map(i => {{ let held = i * 10; return async () => {{ held += (await world.look(N(i))).v; return held; }}; }});",
                f"{v}.sort(() => Math.random() - 0.5);", f"for (const f of {v}) out.push(await f());", f"out.push(await Promise.all({v}.map(f => f())));"]

    def async_iterator(self, _depth: int) -> list[str]:
        v = self.name()
        return [f"async function* {v}() {{ try {{ for (let i = 0; i < {self.chance.randint(2, 5)}; i++) yield (await {self.call('lllp')}).v; }} finally {{ out.push('closed'); {'await world.put(N());' if self.chance.random() < 0.5 else ''} }} }}",
                f"for await (const x of {v}()) {{ out.push(x); if (x % 4 === 0) break; }}"]

    def try_finally(self, depth: int) -> list[str]:
        inside = self.some(depth + 1, 1) if depth < _DEEPEST else []
        return ["try {", "try {", f"out.push((await {self.call('lfs')}).v);", *inside, "} finally {", f"await {self.call('lp')};", "out.push('finally');", "}",
                "} catch (e: any) { code(e); }"]

    def timers(self, _depth: int) -> list[str]:
        return [f"await Promise.all([{', '.join(f'new Promise<void>(r => setTimeout(() => {{ out.push({self.ms()}); r(); }}, {self.ms()}))' for _ in range(self.chance.randint(1, 4)))}]);"]

    def cancelled_timer(self, _depth: int) -> list[str]:
        v = self.name()
        return [f"const {v} = setTimeout(() => out.push('late'), {self.ms()});", *self.one(0), f"clearTimeout({v});"]

    def interval(self, _depth: int) -> list[str]:
        v = self.name()
        return [f"await new Promise<void>(r => {{ let left = 3; const {v} = setInterval(() => {{ out.push(Date.now() % 1000); if (--left === 0) {{ clearInterval({v}); r(); }} }}, {self.ms()}); }});"]

    def chance_branch(self, depth: int) -> list[str]:
        return self._branch("Math.random() < 0.5", depth)

    def clock_branch(self, depth: int) -> list[str]:
        return self._branch("Date.now() % 2 === 0", depth)

    def order_branch(self, depth: int) -> list[str]:
        v = self.name()
        lines = [f"const {v}: number[] = [];",
                 f"await Promise.all([world.look(N()).then(() => {v}.push(1)), world.look(N()).then(() => {v}.push(2)), {self.slow()}.then(() => {v}.push(3))]);", f"out.push({v});"]
        return lines + self._branch(f"{v}[0] === 1", depth)

    def _branch(self, condition: str, depth: int) -> list[str]:
        if depth >= _DEEPEST:
            return [f"out.push({condition});"]
        return [f"if ({condition}) {{", *self.some(depth + 1, 2), "} else {", *self.some(depth + 1, 2), "}"]

    def random_argument(self, _depth: int) -> list[str]:
        return ["out.push((await world.look(N(Math.random()))).v);", "out.push((await world.look(N(crypto.randomUUID()))).v);"]

    def clock_argument(self, _depth: int) -> list[str]:
        return ["out.push((await world.put(N(Date.now()))).v, performance.now());"]

    def workers(self, _depth: int) -> list[str]:
        v = self.name()
        return [f"const {v} = [1, 2, 3, 4, 5, 6];",
                f"await Promise.all([0, 1, 2].map(async w => {{ while ({v}.length) {{ const job = {v}.shift(); out.push([w, job, (await world.look(N(job))).v]); }} }}));"]

    def not_awaited(self, _depth: int) -> list[str]:
        return [f"{self.call('llps')}.then((r: any) => {{ out.push(r.v); }}, code).finally(() => out.push('then'));"]

    def recursion(self, _depth: int) -> list[str]:
        v = self.name()
        return [f"const {v} = async (d: number): Promise<number> => d === 0 ? (await world.look(N())).v : (await Promise.all([{v}(d - 1), {v}(d - 1)])).reduce((a, b) => a + b);",
                f"out.push(await {v}(2));"]

    def asked(self, _depth: int) -> list[str]:
        return self.caught(["out.push((await world.sell(N())).v);"])

    def asked_with_timer(self, _depth: int) -> list[str]:
        return self.caught([f"out.push(await Promise.race([world.sell(N()).then((r: any) => r.v), {self.slow()}]));"])

    def asked_and_more(self, _depth: int) -> list[str]:
        return [f"out.push((await Promise.allSettled([world.sell(N()), world.sell(N()), {self.call('ll')}.then(() => world.look(N()))])).map(s => s.status));"]

    def sent(self, _depth: int) -> list[str]:
        return ["out.push((await world.send(N())).v);"] if self.chance.random() < 0.3 else self.one(0)

    def logged(self, _depth: int) -> list[str]:
        return ["console.log('seen', out.length, Date.now());", "console.warn(k);"]

    def thrown(self, _depth: int) -> list[str]:
        return ["if (Math.random() < 0.2) throw new Error('thrown at ' + k);"]

    pieces = (one, all, race, any, all_settled, closures, async_iterator, try_finally, timers, cancelled_timer, interval, chance_branch, clock_branch,
              order_branch, random_argument, clock_argument, workers, not_awaited, recursion, asked, asked_with_timer, asked_and_more, sent, logged, thrown)


class _Python(_Writer):
    language = "python"

    def program(self) -> str:
        body = self.some(0, _MOST_PIECES)
        return "\n".join((
            "import asyncio, random, time", "out = []", "k = [0]", "def N():", "    k[0] += 1", "    return k[0]",
            "async def look():", "    return (await world.look(n=N()))['v']", "async def put():", "    return (await world.put(n=N()))['v']",
            "async def sell():", "    return (await world.sell(n=N()))['v']", "async def fail():", "    return (await world.look(n=N(), x='fail'))['v']",
            "async def nap(ms):", "    await asyncio.sleep(ms / 1000)", "    return ms", *body,
            "out.append(int(time.time() * 1000))", "out.append(random.random())", "return out"))

    def call(self, kinds: str = "llllppsf") -> str:
        return {"l": "look()", "p": "put()", "s": "sell()", "f": "fail()"}[self.chance.choice(kinds)]

    def several(self, kinds: str = "llllpps") -> str:
        return ", ".join(f"nap({self.ms()})" if self.chance.random() < 0.2 else self.call(kinds) for _ in range(self.chance.randint(2, 5)))

    def caught(self, lines: list[str]) -> list[str]:
        return ["try:", *_in(lines), "except OperationError as e:", "    out.append(e.code)"]

    def one(self, _depth: int) -> list[str]:
        return self.caught([f"out.append(await {self.call()})"])

    def gather(self, _depth: int) -> list[str]:
        return self.caught([f"out.append(list(await asyncio.gather({self.several()})))"])

    def gather_exceptions(self, _depth: int) -> list[str]:
        return [f"for r in await asyncio.gather({self.several('lpsff')}, return_exceptions=True):", "    out.append('failed' if isinstance(r, Exception) else r)"]

    def gather_many(self, _depth: int) -> list[str]:
        return [f"out.append(sum(await asyncio.gather(*[look() for _ in range({self.chance.randint(2, 6)})])))"]

    def closures(self, _depth: int) -> list[str]:
        v = self.name()
        return [f"def {v}(start):", "    held = [start]", "    async def up():", "        held[0] += await look()", "        return held[0]", "    return up",
                f"{v}s = [{v}(1), {v}(10)]", f"for f in {v}s:", "    out.append(await f())", f"out.append(list(await asyncio.gather(*[f() for f in {v}s])))"]

    def try_finally(self, _depth: int) -> list[str]:
        return self.caught(["try:", f"    out.append(await {self.call('lfs')})", "finally:", f"    await {self.call('lp')}", "    out.append('finally')"])

    def naps(self, _depth: int) -> list[str]:
        return [f"out.append(list(await asyncio.gather({', '.join(f'nap({self.ms()})' for _ in range(self.chance.randint(1, 4)))})))"]

    def order_branch(self, depth: int) -> list[str]:
        v = self.name()
        lines = [f"{v} = []", f"async def {v}_mark(i):", "    await look()", f"    {v}.append(i)", f"await asyncio.gather({v}_mark(1), {v}_mark(2), {v}_mark(3))", f"out.append(list({v}))"]
        return lines + self._branch(f"{v}[0] == 1", depth)

    def chance_branch(self, depth: int) -> list[str]:
        return self._branch("random.random() < 0.5", depth)

    def clock_branch(self, depth: int) -> list[str]:
        return self._branch("int(time.time() * 1000) % 2 == 0", depth)

    def _branch(self, condition: str, depth: int) -> list[str]:
        if depth >= _DEEPEST:
            return [f"out.append({condition})"]
        return [f"if {condition}:", *_in(self.some(depth + 1, 2)), "else:", *_in(self.some(depth + 1, 2))]

    def random_argument(self, _depth: int) -> list[str]:
        return ["out.append((await world.look(n=N(), x=random.random()))['v'])", "out.append((await world.look(n=N(), x=random.randint(1, 1000)))['v'])"]

    def clock_argument(self, _depth: int) -> list[str]:
        return ["out.append((await world.put(n=N(), x=time.time()))['v'])"]

    def loop(self, _depth: int) -> list[str]:
        return ["while True:", "    got = await look()", "    out.append(got)", "    if got % 3:", "        break"]

    def asked(self, _depth: int) -> list[str]:
        return self.caught(["out.append(await sell())"])

    def asked_and_more(self, _depth: int) -> list[str]:
        return ["for r in await asyncio.gather(sell(), sell(), look(), return_exceptions=True):", "    out.append('failed' if isinstance(r, Exception) else r)"]

    def logged(self, _depth: int) -> list[str]:
        return ["print('seen', len(out), time.time())"]

    def thrown(self, _depth: int) -> list[str]:
        return ["if random.random() < 0.2:", "    raise ValueError(f'thrown at {k[0]}')"]

    pieces = (one, gather, gather_exceptions, gather_many, closures, try_finally, naps, order_branch, chance_branch, clock_branch, random_argument,
              clock_argument, loop, asked, asked_and_more, logged, thrown)


def _in(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]
