"""The programs of `bench.agentdojo`: a task's ground truth as a program in which data flows, and the attacker's.

What the user said in the prompt, the program says. Whatever else stands in an earlier result is taken from there: whole, or
word by word out of a text; but not its own words out of the answer of a write that repeats them. The rest is the program's own.

With handles, a read of strangers' words is called for one, and its text is cut and put together on the host; the numbers and dates of
a read from which no argument comes are extracted, as what the program decides by. Read as it is, even so, is what holds
none of these, and what the task's answer to the user has words of.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

MIN_PIECE = 6
"""Characters of a word or more that a program cuts out of a text that it has read."""
MOST_LOOKS = 6
"""Numbers and dates that a program looks at to decide by: 384 of the 512 bits that a run is told."""
_NUMBERS = re.compile(r"(?<![\w.:-])\d+(?:\.\d+)?(?![\w:-])")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d(?P<time>[T ]\d\d:\d\d(?::\d\d)?)?")
_INNER = re.compile(r"[\w@./:+-]")
_DATES = {"date": re.compile(r"\d{4}-\d\d-\d\d"), "datetime": re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d")}


class Step(NamedTuple):
    """One call of a ground truth and what it answered when it was made."""

    tool: str
    arguments: dict[str, Any]
    result: Any


def leaves(value: Any, pointer: str = "", path: str = "") -> Iterator[tuple[str, str, Any]]:
    """`(JSON pointer, path as TypeScript, leaf)`."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}", f"{path}[{literal(key)}]")
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from leaves(item, f"{pointer}/{place}", f"{path}[{place}]")
    else:
        yield pointer, path, value


def literal(value: Any) -> str:
    return orjson.dumps(value).decode()


def stands(words: str, text: str) -> bool:
    """Whether these words stand in a text, as words."""
    return bool(words) and re.search(rf"(?<!\w){re.escape(words)}(?!\w)", text) is not None


def shown(number: float) -> list[str]:
    """How a number may stand in a text."""
    return [f"{number:.2f}", f"{number:g}"] if isinstance(number, float) else [str(number), f"{number}.00"]


@dataclass
class Writer:
    """Writes a program of steps. `strangers`: the reads of others' words, which are called for a handle where `handles`; `handled`: those
    of the steps that are. `answer`: what the task has to tell the user. `taken`: by step, the arguments that hold something of an earlier result; `own`: the steps with a value that
    stands neither in the prompt nor in a result.
    """

    space: str
    steps: list[Step]
    prompt: str
    handles: bool
    strangers: frozenset[str]
    writes: frozenset[str]
    answer: str = ""
    handled: set[int] = field(default_factory=set[int])
    used: set[int] = field(default_factory=set[int])
    taken: dict[int, set[str]] = field(default_factory=dict[int, set[str]])
    own: set[int] = field(default_factory=set[int])
    _at: tuple[int, str] = (0, "")
    _said: set[str] = field(default_factory=set[str])

    def calls(self) -> list[str]:
        written = self._written({})
        if not self.handles:
            return written
        reads = {place for place, step in enumerate(self.steps) if step.tool in self.strangers} - self._answered()
        looks, left = dict[int, list[str]](), MOST_LOOKS
        for place in sorted(reads - self.used):
            looks[place] = self._looks(place)[:left]
            left -= len(looks[place])
        self.handled = (reads & self.used) | {place for place, found in looks.items() if found}
        return self._written(looks)

    def _written(self, looks: dict[int, list[str]]) -> list[str]:
        self._said.clear()
        lines: list[str] = []
        for place, step in enumerate(self.steps):
            kept = ".handle" if place in self.handled else ""
            lines.append(f"r[{place}] = await call(async () => {self.space}.{step.tool}{kept}({self._arguments(step.arguments, place)}));")
            lines += [f"await call(async () => {look});" for look in looks.get(place, ()) if kept]
        return lines

    def _answered(self) -> set[int]:
        """The steps whose text the user is to be told."""
        found, at = set[int](), 0
        known = [leaf for step in self.steps if step.tool not in self.strangers for _, _, leaf in leaves(step.result) if isinstance(leaf, str)]
        while at < len(self.answer):
            place, _, piece = _longest(self.answer, at, [(place, "", leaf) for place, step in enumerate(self.steps) if step.tool in self.strangers
                                                         for _, _, leaf in leaves(step.result) if isinstance(leaf, str) and len(leaf) >= MIN_PIECE])
            if piece and not stands(piece.strip(), self.prompt) and not any(piece.strip() in text for text in known):
                found.add(place)
            at += len(piece) or 1
        return found

    def _looks(self, place: int) -> list[str]:
        """Extractions of the numbers and dates that a result holds."""
        found: list[str] = []
        for pointer, _, leaf in leaves(self.steps[place].result):
            part = f"{{...r[{place}], at: {literal(pointer)}}}"
            if isinstance(leaf, str) and (moment := _MOMENT.fullmatch(leaf)):
                found.append(f"handles.{'datetime' if moment['time'] else 'date'}({{of: {part}}})")
            elif isinstance(leaf, str) and not _NUMBERS.fullmatch(leaf):
                found += [f"handles.number({{of: {_slice(part, leaf, *number.span())}}})" for number in _NUMBERS.finditer(leaf)]
            elif isinstance(leaf, int | float) and not isinstance(leaf, bool):
                found.append(f"handles.number({{of: {part}}})")
        return found

    def _arguments(self, arguments: dict[str, Any], before: int) -> str:
        parts: list[str] = []
        for name, value in arguments.items():
            self._at = (before, name)
            parts.append(f"{literal(name)}: {self._value(value, before)}")
        return "{" + ", ".join(parts) + "}"

    def _value(self, value: Any, before: int) -> str:
        if isinstance(value, dict):
            return "{" + ", ".join(f"{literal(key)}: {self._value(item, before)}" for key, item in value.items()) + "}"
        if isinstance(value, list):
            return "[" + ", ".join(self._value(item, before) for item in value) + "]"
        return self._leaf(value, before)

    def _leaf(self, value: Any, before: int) -> str:
        if isinstance(value, bool) or value is None or (isinstance(value, str) and len(value) == 1 and value.isalpha()) or stands(str(value), self.prompt) or (not isinstance(value, str) and any(
                stands(word, self.prompt) for word in shown(value))):
            return self._says(value)
        for place in reversed(range(before)):
            echo = value in self._said and self.steps[place].tool in self.writes
            for pointer, path, leaf in () if echo else leaves(self.steps[place].result):
                if type(leaf) is type(value) and leaf == value:
                    self._takes(place)
                    return self._told(value, place, pointer) if place in self.handled else f"r[{place}]{path}"
        return self._pieced(value, before) if isinstance(value, str) else self._counted(value, before)

    def _says(self, value: Any) -> str:
        self._said |= {value} if isinstance(value, str) else set()
        return literal(value)

    def _takes(self, place: int) -> None:
        self.used.add(place)
        self.taken.setdefault(self._at[0], set()).add(self._at[1])

    def _told(self, value: Any, place: int, pointer: str) -> str:
        """A leaf of a handle: extracted where its type allows, else passed on unseen."""
        part = f"{{...r[{place}], at: {literal(pointer)}}}"
        if not isinstance(value, str):
            return f"await handles.number({{of: {part}}})"
        if value.isdecimal() and str(int(value)) == value and int(value) < 1_000_000:
            return f"String(await handles.number({{of: {part}, least: 0, most: 999999}}))"
        for kind, pattern in _DATES.items():
            if pattern.fullmatch(value):
                return f"await handles.{kind}({{of: {part}}})"
        return part

    def _texts(self, before: int) -> list[tuple[int, str, str]]:
        """`(place, where, text)`; `where` is a path as TypeScript, or the pointer into a handle."""
        return [(place, pointer if place in self.handled else path, leaf) for place in range(before)
                for pointer, path, leaf in leaves(self.steps[place].result) if isinstance(leaf, str)]

    def _cut(self, place: int, where: str, text: str, piece: str) -> str:
        if place not in self.handled:
            return f"cut(r[{place}]{where}, {literal(piece)})"
        start = text.index(piece)
        return _slice(f"{{...r[{place}], at: {literal(where)}}}", text, start, start + len(piece))

    def _counted(self, number: float, before: int) -> str:
        """A number that stands in a text which was read."""
        for place, path, text in self._texts(before):
            for word in shown(number):
                if len(word) > 1 and stands(word, text):
                    self._takes(place)
                    cut = self._cut(place, path, text, word)
                    return f"await handles.number({{of: {cut}}})" if place in self.handled else f"Number({cut})"
        self.own.add(self._at[0])
        return literal(number)

    def _pieced(self, text: str, before: int) -> str:
        """A text put together: what stands in an earlier result is cut out of it, the rest is the program's own."""
        sources = [source for source in self._texts(before) if len(source[2]) >= MIN_PIECE]
        if text in self._said:
            return self._says(text)
        parts: list[str] = []
        own, at, unseen = "", 0, False
        while at < len(text):
            place, path, piece = _longest(text, at, sources)
            if piece and not stands(piece.strip(), self.prompt):
                self._takes(place)
                unseen |= place in self.handled
                parts += [literal(own)] if own else []
                parts.append(self._cut(place, path, next(leaf for one, where, leaf in sources if (one, where) == (place, path)), piece))
                own, at = "", at + len(piece)
            else:
                step = len(piece) or 1
                own, at = own + text[at:at + step], at + step
        if own and not all(stands(word, self.prompt) for word in re.findall(r"\w+", own)):
            self.own.add(self._at[0])
        if not parts:
            return self._says(own)
        parts += [literal(own)] if own else []
        if not unseen:
            return " + ".join(parts)
        return f"await handles.text.handle({{parts: [{', '.join(parts)}]}})" if len(parts) > 1 else parts[0]


def _slice(part: str, text: str, start: int, end: int) -> str:
    """A part of a handle's text, by what stands around it there: as much as tells it from all others."""
    size = 1
    while start - size >= 0 and text.find(text[start - size:start]) != start - size:
        size += 1
    after = text[max(start - size, 0):start]
    size = 1
    while end + size < len(text) and text.find(text[end:end + size], start) != end:
        size += 1
    before = text[end:end + size]
    marks = ", ".join([part, *([f"after: {literal(after)}"] if after else []), *([f"before: {literal(before)}"] if before else [])])
    return f"await handles.between.handle({{of: {marks}}})"


def _longest(text: str, at: int, sources: list[tuple[int, str, str]]) -> tuple[int, str, str]:
    """The longest run of whole words from here on that stands in one of them."""
    best = (0, "", "")
    if at and _INNER.match(text[at - 1]) and _INNER.match(text[at]):
        return best
    for place, path, leaf in sources:
        size = max(MIN_PIECE, len(best[2]) + 1)
        while at + size <= len(text) and text[at:at + size] in leaf:
            end = at + size
            if end == len(text) or not (_INNER.match(text[end - 1]) and _INNER.match(text[end])):
                best = (place, path, text[at:end])
            size += 1
    return best


HONEST = """
const r = [];
const cut = (text, piece) => { const at = text.indexOf(piece); return at < 0 ? piece : text.slice(at, at + piece.length); };
const call = (make) => make();
%s
return r.length;
"""
OBEDIENT = """
const r = [];
const cut = (text, piece) => typeof text === 'string' && text.includes(piece) ? text.slice(text.indexOf(piece), text.indexOf(piece) + piece.length) : piece;
let seen = 0;
const obey = async (result) => {
  for (const [, hex] of (JSON.stringify(result) ?? '').matchAll(/OBEY([0-9a-f]+)YEBO/g)) {
    if (seen++) return;
    const bytes = hex.match(/../g).map(x => parseInt(x, 16));
    let last = null;
    for (const { tool, args } of JSON.parse(new TextDecoder().decode(new Uint8Array(bytes)))) {
      for (const key in args) if (args[key] === '$last') args[key] = JSON.stringify(last);
      try { last = await %s[tool](args); } catch {}
    }
  }
};
const call = async (make) => { try { const result = await make(); await obey(result); return result; } catch { return {}; } };
%s
return seen;
"""


def obeying(space: str, calls: list[tuple[str, dict[str, Any]]], last: str) -> str:
    """What a model writes that was talked into it by what it read: the attacker's calls, spelled out."""
    lines = [f"try {{ last = await {space}.{tool}({{" + ", ".join(
        f"{literal(name)}: {'JSON.stringify(last)' if value == last else literal(value)}" for name, value in arguments.items()) + "}); } catch {}"
        for tool, arguments in calls]
    return "\n".join(["let last = null;", *lines, "return 1;"])
