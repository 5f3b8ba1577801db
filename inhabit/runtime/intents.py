"""What the bridge makes of a call before it is carried out: its arguments, its intent, the labels that its answer brings."""

from __future__ import annotations

from typing import Any, cast

from inhabit.contracts.operation import Operation
from inhabit.contracts.program import IssuedCall
from inhabit.contracts.run import Intent
from inhabit.errors import InhabitError, InvalidInput, LimitExceeded, ProtocolError
from inhabit.kernel.decide import Decision
from inhabit.kernel.flow import Labels, Source, labels_of
from inhabit.limits import MAX_JSON_DEPTH
from inhabit.runtime.bodies import NAME_CHARS, canonical
from inhabit.runtime.context import Admitted, RunContext, Standing
from inhabit.runtime.extraction import bits_of
from inhabit.wire.values import TOO_MANY_ITEMS, decode_value, encode_value

__all__ = ["UNDECIDED", "brought_by", "decoded", "intended"]

UNDECIDED = "bridge"
"""The rule of a call that was refused before there was a decision."""


def decoded(context: RunContext, operation: Operation, body: bytes) -> dict[str, Any]:
    """Raises `LimitExceeded`, `InvalidInput`."""
    if len(body) > context.limits.value_bytes:
        raise LimitExceeded.of("value_bytes", context.limits.value_bytes, "bytes", what=f"the argument of {operation.name}")
    try:
        value = decode_value(body, max_depth=MAX_JSON_DEPTH, max_items=context.limits.value_items)
    except ProtocolError as error:
        if error.specific_code == TOO_MANY_ITEMS:
            raise LimitExceeded.of("value_items", context.limits.value_items, "items", what=f"the argument of {operation.name}") from None
        raise InvalidInput(f"{operation.name}: {error.message}", code="arguments_invalid") from None
    if not isinstance(value, dict):
        raise InvalidInput(f"{operation.name} takes one object of named arguments", code="arguments_invalid")
    return cast(dict[str, Any], value)


def brought_by(admitted: Admitted, preview: Standing | None = None) -> Labels:
    """What the answer brings, an error's words like a result's: they may repeat what the call was given. A held call's may
    come from a preview.
    """
    assert admitted.standing is not None
    operation, source = admitted.standing.operation, Source(admitted.issued.operation, admitted.issued.sequence)
    # A number, a date, one of the program's own words: nothing that a stranger could say anything in.
    carried = admitted.carried._replace(untrusted=None) if operation.extracts else admitted.carried
    brought = labels_of(operation.effects, source).joined(carried)
    return brought if preview is None else brought.joined(labels_of(preview.operation.effects, source))


def intended(context: RunContext, issued: IssuedCall, standing: Standing | None, arguments: dict[str, Any], body: bytes,
            decision: Decision, error: InhabitError | None, now_ms: int) -> Intent:
    """The intent, with the arguments as the program gave them: a handle in them stays one."""
    shown: dict[str, Any] = {"verdict": decision.verdict, "rule": decision.rule, "reason": decision.reason}
    if error is not None:
        shown = {**(shown if decision.verdict != "allow" else {"verdict": "deny", "rule": "limits"}), "reason": error.message}
    elif decision.charges:
        shown["counts"] = [charge.key for charge in decision.charges if charge.window_ms is None]
    if error is None and standing is not None and standing.operation.extracts:
        shown["bits"] = bits_of(standing.operation, arguments)
    effective = standing if error is None else None
    return Intent(
        issued.sequence, issued.operation[:NAME_CHARS],
        encode_value(arguments, canonical=True) if arguments else canonical(body),
        shown, standing.schema_hash if standing is not None else "", f"{context.run_id}:{issued.sequence}",
        effective is not None and effective.may_write, effective is not None and effective.idempotent, now_ms)
