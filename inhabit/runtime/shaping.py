"""What the policy makes of a result before anybody sees it: a schema that must hold, fields that are hidden.

It stands between the connector and the journal, so that a hidden field is in no record and no reply. An error of an
operation whose results are redacted tells no details, since upstream systems repeat in them what they were asked.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import jsonschema_rs

from inhabit.contracts.operation import Operation
from inhabit.errors import CallError, CallTimeout, InhabitError, MissingConnection, ResultInvalid
from inhabit.kernel.decide import RunFacts
from inhabit.kernel.policy import ResultRule
from inhabit.policy.results import redacted
from inhabit.runtime.patterns import Validator, compiled

__all__ = ["ResultRules", "discreet"]

_KEPT = 500
_SHOWN = 5


class ResultRules:
    """Schemas of result rules, compiled when first needed."""

    def __init__(self) -> None:
        self._compiled: OrderedDict[str, tuple[ResultRule, Validator | None]] = OrderedDict()

    def shaped(self, operation: Operation, rules: Sequence[ResultRule], run: RunFacts, value: Any) -> Any:
        """The value as it may be seen. Raises `ResultInvalid`, which names the rule and the place, never what was there."""
        concerned = _concerned(rules, run)
        for rule in concerned:
            if rule.schema is not None:
                self._hold(operation, rule, value)
        for rule in concerned:
            value = redacted(value, rule.redact)
        return value

    def _hold(self, operation: Operation, rule: ResultRule, value: Any) -> None:
        validator = self._validator(rule)
        if validator is not None and validator.is_valid(value):
            return
        places = ["".join(f"/{part}" for part in error.instance_path) or "/" for error in validator.iter_errors(value)] if validator else ["/"]
        shown = list(dict.fromkeys(places))[:_SHOWN]
        raise ResultInvalid(
            f"{operation.name} answered with what the policy does not let through, at {', '.join(shown)}", code="result_refused",
            effect="happened" if operation.effects.may_write else "none", details={"rule": rule.name, "places": shown})

    def _validator(self, rule: ResultRule) -> Validator | None:
        """None for what is no schema: then nothing fits it."""
        held = self._compiled.get(rule.name)
        if held is None or held[0] is not rule:
            held = self._compiled[rule.name] = (rule, _compiled(rule))
            if len(self._compiled) > _KEPT:
                self._compiled.popitem(last=False)
        return held[1]


def discreet(rules: Sequence[ResultRule], run: RunFacts, error: InhabitError) -> InhabitError:
    """The error without details and words that might show what is redacted."""
    ours = error.specific_code == "result_refused" or not isinstance(error, CallError) or isinstance(error, MissingConnection | CallTimeout)
    if ours or not any(rule.redact for rule in _concerned(rules, run)):
        return error
    return type(error)("the call failed; its words are kept back, since the policy redacts this operation's results",
                       effect=error.effect, code=error.specific_code)


def _concerned(rules: Sequence[ResultRule], run: RunFacts) -> list[ResultRule]:
    who = run.principal
    return [rule for rule in rules if rule.scope.covers(who.tenant, who.user, run.program)]


def _compiled(rule: ResultRule) -> Validator | None:
    try:
        return compiled(dict(rule.schema or {}))
    except (jsonschema_rs.ValidationError, ValueError):
        return None
