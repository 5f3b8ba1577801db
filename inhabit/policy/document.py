"""A policy file as values: rules, limits, results and examples, each with the place it was written at.

Everything that can be wrong is named at once. A document with errors has no policy: what is in force stays so.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from inhabit.contracts.json import is_array, is_object
from inhabit.errors import ConfigError
from inhabit.kernel.policy import EVERYBODY, Limit, Policy, ResultRule, Rule, Scope
from inhabit.policy.conditions import CelCondition
from inhabit.policy.examples import Example, read_example
from inhabit.policy.problems import Place, Problem, ordered, suggestion
from inhabit.policy.tables import Table
from inhabit.policy.toml import Toml, read_toml

__all__ = ["LIMIT_KEYS", "MAX_TABLES", "RESULT_KEYS", "RULE_KEYS", "Document", "Written", "compose", "read_policy"]

MAX_TABLES = 20_000
MAX_PER = 5
_KINDS: tuple[str, ...] = ("rule", "limit", "result", "test")
_NUMBERS = ("INT", "UINT", "DOUBLE")
RULE_KEYS = ("name", "on", "effects", "when", "then", "reason", "scope")
LIMIT_KEYS = ("name", "on", "effects", "when", "amount", "per", "max", "window", "then", "reason", "scope")
RESULT_KEYS = ("name", "on", "redact", "schema", "scope")


class Written(NamedTuple):
    """A rule, limit or result with the table it was read from, for checks that need more than the file."""

    item: Rule | Limit | ResultRule
    table: Table
    conditions: Mapping[tuple[str | int, ...], CelCondition]


@dataclass(frozen=True, slots=True)
class Document:
    """`problems` are of the file alone; what operations there are is for `check`."""

    file: str
    toml: Toml
    written: tuple[Written, ...]
    examples: tuple[Example, ...]
    problems: tuple[Problem, ...]
    version: str

    @property
    def sound(self) -> bool:
        return not any(problem.severity == "error" for problem in self.problems)

    def policy(self) -> Policy:
        """Raises `ConfigError` with every error, one a line."""
        if not self.sound:
            raise refused(self.file, self.problems)
        return _policy([self], self.version)


def read_policy(given: str | Mapping[str, Any], *, file: str = "policy.toml", scope: Scope = EVERYBODY) -> Document:
    """From TOML, or from the same as values. `scope` binds the whole file to a tenant, a user or a program: it can then
    say nothing about others.
    """
    toml = read_toml(given) if isinstance(given, str) else Toml(given, {}, {})
    if isinstance(toml, Problem):
        return Document(file, Toml({}, {}, {}), (), (), (toml,), "")
    problems: list[Problem] = []
    counts = _counts(toml, problems)
    written = [*_read(toml, "rule", counts, problems, scope), *_read(toml, "limit", counts, problems, scope),
               *_read(toml, "result", counts, problems, scope)]
    _named_once(written)
    limits = [one.item.name for one in written if isinstance(one.item, Limit)]
    _known_usage(written, limits)
    tables = [Table(toml, "test", number, problems) for number in range(counts["test"])]
    examples = tuple(example for table in tables if (example := read_example(table, limits)) is not None)
    return Document(file, toml, tuple(written), examples, ordered(problems), _version(toml.value, scope))


def compose(documents: Sequence[Document]) -> Policy:
    """One policy of all layers: every rule of every layer is judged, and the strictest word holds.

    Raises `ConfigError` where one has errors, or where two give one name to different things.
    """
    for document in documents:
        if not document.sound:
            raise refused(document.file, document.problems)
    owners: dict[str, str] = {}
    for document in documents:
        for one in document.written:
            if owners.setdefault(one.item.name, document.file) != document.file:
                raise ConfigError(f"{document.file} and {owners[one.item.name]} both have {one.item.name!r}",
                                  fix="give each a name of its own: limits count by name")
    versions = [document.version for document in documents]
    return _policy(documents, versions[0] if len(versions) == 1 else _digest(versions))


def refused(file: str, problems: Sequence[Problem]) -> ConfigError:
    errors = [problem for problem in problems if problem.severity == "error"]
    return ConfigError("\n".join(problem.text(file) for problem in errors), code="policy_invalid", details={"problems": [
        {"line": p.place.line, "column": p.place.column, "where": p.where, "message": p.message, "fix": p.fix} for p in errors]})


def _policy(documents: Sequence[Document], version: str) -> Policy:
    items = [one.item for document in documents for one in document.written]
    return Policy([x for x in items if isinstance(x, Rule)], [x for x in items if isinstance(x, Limit)],
                  [x for x in items if isinstance(x, ResultRule)], version)


def _counts(toml: Toml, problems: list[Problem]) -> dict[str, int]:
    """How many tables of each kind there are; nothing is read of what is no list of tables."""
    counts: dict[str, int] = dict.fromkeys(_KINDS, 0)
    for key, value in toml.value.items():
        if key not in _KINDS:
            problems.append(Problem("error", toml.place((key,)), "", f"unknown key {key!r}", suggestion(key, _KINDS)))
        elif not is_array(value):
            problems.append(Problem("error", toml.place((key,)), "", f"[{key}] must be a list of tables", f"[[{key}]]"))
        elif len(value) > MAX_TABLES:
            problems.append(Problem("error", toml.place((key,)), "", f"more than {MAX_TABLES} tables [[{key}]]"))
        else:
            counts[key] = len(value)
    return counts


def _read(toml: Toml, kind: str, counts: Mapping[str, int], problems: list[Problem], scope: Scope) -> list[Written]:
    read = {"rule": _rule, "limit": _limit, "result": _result}[kind]
    return [read(Table(toml, kind, number, problems), scope) for number in range(counts[kind])]


def _rule(table: Table, around: Scope) -> Written:
    _name(table)
    table.only(RULE_KEYS)
    when = table.condition("when", "BOOL")
    rule = Rule(table.name, table.patterns(), table.verdict(), table.text("reason", ""), when, table.effects(), table.scope(around))
    return Written(rule, table, {("when",): when} if when else {})


def _limit(table: Table, around: Scope) -> Written:
    _name(table)
    table.only(LIMIT_KEYS)
    when, amount = table.condition("when", "BOOL"), table.condition("amount", *_NUMBERS)
    per = table.conditions("per", MAX_PER)
    maximum = table.number("max")
    if maximum == 0 and table.get("max") == 0:
        table.warn(("max",), "max = 0 lets nothing through", 'a [[rule]] with then = "deny" says so plainly')
    limit = Limit(table.name, table.patterns(), maximum, table.window(), amount, per, when, table.verdict(missing="deny"),
                  table.text("reason", ""), table.effects(), table.scope(around))
    places = [("per", number) if is_array(table.get("per")) else ("per",) for number in range(len(per))]
    conditions = {("when",): when, ("amount",): amount, **dict(zip(places, per, strict=True))}
    return Written(limit, table, {at: condition for at, condition in conditions.items() if condition is not None})


def _result(table: Table, around: Scope) -> Written:
    if table.has("name"):
        _name(table)
    table.only(RESULT_KEYS)
    redact, schema = table.texts("redact"), table.get("schema")
    for path in redact:
        if not path or any(not part for part in path.split(".")):
            table.error(("redact",), f"{path!r} is no path of a field", "customer.iban, or lines.*.price")
    if schema is not None and not is_object(schema):
        table.error(("schema",), "schema must be a JSON Schema")
        schema = None
    if not redact and schema is None:
        table.error((), "it neither redacts a field nor holds a schema", 'redact = ["customer.iban"]')
    return Written(ResultRule(table.name, table.patterns(), redact, schema, table.scope(around)), table, {})


def _name(table: Table) -> None:
    name = table.text("name")
    if name and not (name.isprintable() and len(name) <= 100):
        table.error(("name",), "a name is one line of at most 100 characters")
    elif name:
        table.name = name


def _named_once(written: Sequence[Written]) -> None:
    seen: dict[str, Place] = {}
    for one in written:
        if one.item.name in seen:
            one.table.error(("name",), f"the name is given twice, first in line {seen[one.item.name].line}", "limits count by name")
        seen.setdefault(one.item.name, one.table.place())


def _known_usage(written: Sequence[Written], limits: Sequence[str]) -> None:
    """`usage["…"]` names limits of this file."""
    for one in written:
        for at, condition in one.conditions.items():
            for path in sorted(condition.paths):
                if path[:1] == ("usage",) and len(path) > 1 and path[1] != "*" and path[1] not in limits:
                    one.table.error(at, f"there is no limit {path[1]!r} to know the usage of", suggestion(path[1], limits))
                elif path[:1] == ("usage",) and isinstance(one.item, Limit):
                    one.table.error(at, "usage is known to rules, not to limits")


def _version(value: Mapping[str, Any], scope: Scope) -> str:
    """Of what decides; examples may change without a new version."""
    return _digest([{key: value[key] for key in _KINDS[:3] if key in value}, scope._asdict()])


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=_as_json).encode()).hexdigest()[:16]


def _as_json(value: Any) -> Any:
    return dict(value) if is_object(value) else repr(value)
