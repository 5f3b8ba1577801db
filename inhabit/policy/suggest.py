"""The narrowest authority that recorded runs would have needed, written down for a person to accept, change or refuse.

The suggestion is true of the records and of nothing else: every number in it is the largest that was seen. Judged by it,
the same runs pass.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from inhabit.contracts.json import is_number
from inhabit.contracts.operation import Operation
from inhabit.contracts.run import RunRecord
from inhabit.kernel.windows import Windows
from inhabit.policy.records import PastRun, past_runs

__all__ = ["Suggestion", "suggested"]

_WINDOWS = {"1h": 3_600_000, "1d": 86_400_000}
_NAMES = ("id", "_id", "Id", "page", "limit", "offset")
"""Numbers that name things or pages: their size says nothing."""
_NAME_CHARS = 40


class Suggestion(NamedTuple):
    """`grant`: clauses as in `[grants]`. `policy`: the text of a policy file."""

    runs: int
    grant: tuple[Mapping[str, Any], ...]
    policy: str


class _Seen:
    """What was seen of one operation."""

    def __init__(self) -> None:
        self.in_one_run = 0
        self.most: dict[str, float] = {}
        self.rates: dict[str, float] = dict.fromkeys(_WINDOWS, 0.0)


def suggested(records: Iterable[RunRecord], operations: Mapping[str, Operation]) -> Suggestion:
    runs = list(past_runs(records))
    if not runs:
        return Suggestion(0, (), "# No run that has ended is recorded yet, so there is nothing to suggest: let the product run with a wide policy first.\n")
    seen = _observed(runs)
    writes = {name: what for name, what in seen.items() if name in operations and operations[name].effects.may_write}
    grant = tuple(_clause(name, seen[name], bounded=name in writes) for name in sorted(seen))
    tables = [table for name, what in sorted(writes.items()) for table in _bounds(name, what)]
    tables += _invariants(runs, operations)
    head = [f"# What {len(runs)} recorded runs needed, and no more. Read it, change it, keep it under version control.", "#",
            "# The grant that goes with it, for [grants] of inhabit.toml:",
            "#   default = [", *(f"#     {_inline(clause)}," for clause in grant), "#   ]", ""]
    return Suggestion(len(runs), grant, "\n".join(head + tables))


def _observed(runs: list[PastRun]) -> dict[str, _Seen]:
    seen: dict[str, _Seen] = {}
    windows = Windows()
    for run in runs:
        counts: dict[str, int] = {}
        for call in run.calls:
            counts[call.operation] = counts.get(call.operation, 0) + 1
            most = seen.setdefault(call.operation, _Seen()).most
            for name, value in call.arguments.items():
                if is_number(value) and not name.endswith(_NAMES) and name.isprintable() and len(name) <= _NAME_CHARS:
                    most[name] = max(most.get(name, value), value)
        for name, count in counts.items():
            seen[name].in_one_run = max(seen[name].in_one_run, count)
    for user, call in sorted(((run.principal.user, call) for run in runs for call in run.calls), key=lambda one: one[1].at_ms):
        for word, window_ms in _WINDOWS.items():
            windows.add(f"{call.operation} {user}", window_ms, 1, call.at_ms)
            rates = seen[call.operation].rates
            rates[word] = max(rates[word], windows.used(f"{call.operation} {user}", window_ms, call.at_ms))
    return seen


def _clause(name: str, what: _Seen, *, bounded: bool) -> Mapping[str, Any]:
    caveats: list[Mapping[str, Any]] = []
    if bounded:
        caveats = [{"calls": what.in_one_run}]
    return {"pattern": name, "caveats": caveats} if caveats else {"pattern": name}


def _bounds(name: str, what: _Seen) -> list[str]:
    """Rates of a writing operation, where they say more than the longest, and the largest of each number it was given."""
    day = what.rates["1d"]
    tables = [_table("limit", name=f"{name} in 1d", on=name, per="principal.user", max=int(day), window="1d", then="ask")]
    if what.rates["1h"] < day:
        tables.append(_table("limit", name=f"{name} in 1h", on=name, per="principal.user", max=int(what.rates["1h"]), window="1h", then="ask"))
    if what.in_one_run < day:
        tables.append(_table("limit", name=f"{name} in a run", on=name, max=what.in_one_run, window="run", then="ask"))
    for argument, most in sorted(what.most.items()):
        field = f"args[{json.dumps(argument)}]"
        tables.append(_table("rule", name=f"{name}: {argument} above {most:g}", on=name, then="ask",
                             when=f"{json.dumps(argument)} in args && type({field}) in [int, double] && {field} > {_number(most)}"))
    return tables


def _invariants(runs: list[PastRun], operations: Mapping[str, Operation]) -> list[str]:
    """What never happened in one run: an outward write after private data was read, and after a stranger's words were."""
    found: list[str] = []
    used = [operations[name] for name in sorted({call.operation for run in runs for call in run.calls}) if name in operations]
    outward = [operation.name for operation in used if operation.effects.writes == "external"]
    for label, brings in (("private", [o.name for o in used if o.effects.reads == "private"]),
                          ("untrusted", [o.name for o in used if o.effects.trust == "untrusted"])):
        if outward and brings and not any(_follows(run, set(brings), set(outward)) for run in runs):
            found.append(_table("rule", name=f"no outward write after {label} data", on=outward, when=f"labels.{label}", then="ask"))
    return found


def _follows(run: PastRun, first: set[str], then: set[str]) -> bool:
    before = False
    for call in run.calls:
        if before and call.operation in then:
            return True
        before = before or call.operation in first
    return False


def _table(kind: str, **fields: Any) -> str:
    return f"[[{kind}]]\n" + "".join(f"{name} = {_toml(value)}\n" for name, value in fields.items())


def _toml(value: Any) -> str:
    """JSON's spelling of text, numbers and lists is TOML's, but for characters that TOML wants escaped."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")


def _inline(clause: Mapping[str, Any]) -> str:
    if len(clause) == 1:
        return _toml(clause["pattern"])
    caveats = ", ".join("{" + ", ".join(f"{key} = {_toml(value)}" for key, value in caveat.items()) + "}" for caveat in clause["caveats"])
    return f"{{pattern = {_toml(clause['pattern'])}, caveats = [{caveats}]}}"


def _number(value: float) -> str:
    return repr(float(value)) if isinstance(value, float) and "e" not in repr(value) else str(int(value))
