"""One table of a policy file, read field by field: each problem is noted at its place, and reading goes on."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from inhabit.contracts.json import is_array, is_number, is_object
from inhabit.kernel.effects import READS, TRUST, WRITES
from inhabit.kernel.grants import is_pattern
from inhabit.kernel.policy import Scope, Verdict
from inhabit.policy.conditions import FACTS, CelCondition, CelError, compiled
from inhabit.policy.problems import Place, Problem, suggestion
from inhabit.policy.toml import Path, Toml

__all__ = ["MAX_WINDOW_MS", "VERDICTS", "Table"]

VERDICTS: tuple[Verdict, ...] = ("allow", "ask", "hold", "deny")
MAX_WINDOW_MS = 366 * 86_400_000
_UNITS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_WINDOW = re.compile(r"([1-9][0-9]{0,8})([smhd])\Z")
_EFFECTS: Mapping[str, tuple[Any, ...]] = {
    "reads": READS, "trust": TRUST, "writes": WRITES, "irreversible": (False, True), "idempotent": (False, True)}
_MAX_TEXT = 1_000
_MAX_LIST = 200
_MAX_NUMBER = 1e15
_UNDECLARED = re.compile(r"undeclared reference to '([A-Za-z_][\w.]*)'")


class Table:
    """`[[kind]]` number `number` (from 0). `taken` notes the fields that were asked for: others are unknown keys."""

    def __init__(self, toml: Toml, kind: str, number: int, problems: list[Problem]) -> None:
        self.path: Path = (kind, number)
        self._toml = toml
        self._problems = problems
        given = toml.value[kind][number]
        self._given: Mapping[str, Any] = given if is_object(given) else {}
        self.name = f"{kind} {number + 1}"
        self.sound = is_object(given)
        if not self.sound:
            self.error((), "it must be a table", f"[[{kind}]]")

    def has(self, key: str) -> bool:
        return key in self._given

    def get(self, key: str) -> Any:
        return self._given.get(key)

    def place(self, at: Path = ()) -> Place:
        return self._toml.place((*self.path, *at))

    def error(self, at: Path, message: str, fix: str = "", *, severity: str = "error") -> None:
        self.sound = self.sound and severity != "error"
        self._problems.append(Problem(cast(Any, severity), self.place(at), self.name, message, fix))

    def warn(self, at: Path, message: str, fix: str = "") -> None:
        self.error(at, message, fix, severity="warning")

    def only(self, known: Sequence[str]) -> None:
        for key in self._given:
            if key not in known:
                self.error((key,), f"unknown key {key!r}", suggestion(key, known))

    def text(self, key: str, missing: str | None = None) -> str:
        """A short text; without `missing` it must be there."""
        value = self._given.get(key, missing)
        if isinstance(value, str) and len(value) <= _MAX_TEXT and (value or missing is not None):
            return value
        what = f"{key} is missing" if value is None else f"{key} must be text of 1 to {_MAX_TEXT} characters"
        self.error((key,), what, f'{key} = "…"')
        return ""

    def texts(self, key: str) -> tuple[str, ...]:
        """A text or a list of texts."""
        value = self._given.get(key, ())
        found: Sequence[Any] = (value,) if isinstance(value, str) else value if is_array(value) else (None,)
        if len(found) > _MAX_LIST or not all(isinstance(item, str) and len(item) <= 4 * _MAX_TEXT for item in found):
            self.error((key,), f"{key} must be text or a list of at most {_MAX_LIST} texts")
            return ()
        return tuple(found)

    def patterns(self) -> tuple[str, ...]:
        found = self.texts("on")
        if not found:
            self.error(("on",), "`on` is empty: it would concern nothing", 'on = "shop.orders.*", or "**" for every operation')
        for pattern in found:
            if not is_pattern(pattern):
                self.error(("on",), f"{pattern!r} is no pattern", "a.b.c, a.b.*, a.** or **")
        return found

    def verdict(self, key: str = "then", missing: Verdict | None = None) -> Verdict:
        value = self._given.get(key, missing)
        if isinstance(value, str) and value in VERDICTS:
            return value
        self.error((key,), f"`{key}` is missing" if value is None else f"`{key}` is {value!r}",
                   suggestion(value, VERDICTS) if isinstance(value, str) else f"one of {', '.join(VERDICTS)}")
        return "deny"

    def number(self, key: str) -> float:
        value = self._given.get(key)
        if is_number(value) and 0 <= value <= _MAX_NUMBER:
            return value
        self.error((key,), f"{key} is missing" if value is None else f"{key} must be a number from 0 to {_MAX_NUMBER:g}")
        return 0

    def window(self) -> int:
        """In ms; 0 is the run."""
        value = self._given.get("window")
        found = _WINDOW.match(value) if isinstance(value, str) else None
        window_ms = int(found[1]) * _UNITS[found[2]] if found else 0
        if value == "run" or 0 < window_ms <= MAX_WINDOW_MS:
            return window_ms
        self.error(("window",), "`window` is missing: a limit needs a time after which it is forgotten" if value is None
                   else f"`window` is {value!r}", 'window = "1m", "1h", "1d", "30d" (at most 366d) or "run"')
        return 0

    def effects(self) -> dict[str, tuple[Any, ...]]:
        given = self._given.get("effects", {})
        if not is_object(given):
            self.error(("effects",), "effects must be a table", 'effects = { writes = ["external"] }')
            return {}
        found: dict[str, tuple[Any, ...]] = {}
        for key, value in given.items():
            allowed = _EFFECTS.get(key)
            values = tuple(value) if is_array(value) else (value,)
            if allowed is None:
                self.error(("effects", key), f"unknown effect {key!r}", suggestion(key, list(_EFFECTS)))
            elif not values or not all(type(item) is type(allowed[0]) and item in allowed for item in values):
                self.error(("effects", key), f"effects.{key} is {value!r}", f"one or more of {', '.join(map(str, allowed))}")
            else:
                found[key] = values
        return found

    def scope(self, around: Scope) -> Scope:
        """What the table says, within what its layer is bound to."""
        given = self._given.get("scope", {})
        if not is_object(given) or not all(isinstance(value, str) and value for value in given.values()):
            self.error(("scope",), "scope must be a table of texts", 'scope = { tenant = "acme" }')
            return around
        bound = around._asdict()
        for key, value in given.items():
            if key not in bound:
                self.error(("scope", key), f"unknown key {key!r} in scope", suggestion(key, Scope._fields))
            elif bound[key] not in (None, value):
                self.error(("scope", key), f"this file speaks for {key} {bound[key]} alone, not for {value}")
            else:
                bound[key] = value
        return Scope(**bound)

    def condition(self, key: str, *gives: str) -> CelCondition | None:
        return self._cel((key,), self._given[key], gives) if key in self._given else None

    def conditions(self, key: str, most: int) -> tuple[CelCondition, ...]:
        value = self._given.get(key, ())
        texts = value if is_array(value) else (value,)
        if len(texts) > most:
            self.error((key,), f"{key} has at most {most} expressions")
        ats: list[Path] = [(key, number) for number in range(len(texts))] if is_array(value) else [(key,)]
        found = [self._cel(at, text, ()) for at, text in zip(ats, texts[:most], strict=False)]
        return tuple(condition for condition in found if condition is not None)

    def fault(self, at: Path, line: int, column: int, message: str, fix: str = "", *, severity: str = "error") -> None:
        """A problem within an expression."""
        self.sound = self.sound and severity != "error"
        self._problems.append(Problem(cast(Any, severity), self._toml.within((*self.path, *at), line, column), self.name, message, fix))

    def _cel(self, at: Path, text: Any, gives: tuple[str, ...]) -> CelCondition | None:
        if not isinstance(text, str):
            self.error(at, f"{at[0]} must be an expression in text", f'{at[0]} = "args.amount > 100"')
            return None
        try:
            condition = compiled(text)
        except CelError as error:
            for fault in error.faults:
                found = _UNDECLARED.search(fault.message)
                self.fault(at, fault.line, fault.column, fault.message, suggestion(found[1].split(".")[0], list(FACTS)) if found else "")
            return None
        if gives and condition.gives not in (*gives, "DYN"):
            self.error(at, f"{at[0]} gives {condition.gives}, not {' or '.join(gives)}")
        self._known_facts(at, condition)
        return condition

    def _known_facts(self, at: Path, condition: CelCondition) -> None:
        for path in sorted(condition.paths):
            known = FACTS[path[0]]
            if known is not None and len(path) > 1 and path[1] not in known:
                self.error(at, f"there is no {path[0]}.{path[1]}", suggestion(path[1], sorted(known)))
