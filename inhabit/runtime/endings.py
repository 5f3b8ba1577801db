"""How a program ended, as it is recorded. What it returned or threw is the worker's word and hostile.

Invariant: the value of a terminal entry is JSON that can be read again, whatever the worker sent.
"""

from __future__ import annotations

from typing import Any, Literal

from inhabit.contracts.json import is_object
from inhabit.contracts.program import Finished
from inhabit.errors import ProtocolError
from inhabit.limits import Limits
from inhabit.wire.values import decode_value, encode_value

__all__ = ["ended"]

_CODE_CHARS = 100
_WORDS_CHARS = 64 * 1024
"""Of an error's message or stack: what a program threw is kept whole up to here."""


def ended(finished: Finished, limits: Limits) -> tuple[Literal["completed", "failed"], bytes]:
    """The run's state and the value to record."""
    if not finished.ok:
        return "failed", encode_value(_thrown(finished.value))
    try:
        decode_value(finished.value, max_bytes=limits.value_bytes)
    except ProtocolError as error:
        return "failed", encode_value({
            "code": "result_not_json", "message": f"the program returned what cannot be recorded: {error.message}", "retryable": False,
            "effect": "none", "fix": "return plain JSON data without half surrogate pairs, and less of it"})
    return "completed", finished.value


def _thrown(body: bytes) -> dict[str, Any]:
    """The error's value of a program that threw. Each part of the report is taken only as what it should be, and cut."""
    try:
        thrown = decode_value(body)
    except ProtocolError:
        thrown = None
    if not is_object(thrown):
        thrown = {"message": "the program failed with an error that is not JSON data"}
    code, message = thrown.get("code"), thrown.get("message")
    details = {key: _cut(value) for key in ("name", "stack", "line", "column", "operation")
               if isinstance(value := thrown.get(key), str | int | float)}
    return {"code": code[:_CODE_CHARS] if isinstance(code, str) and code else "program_failed",
            "message": _cut(message) if isinstance(message, str) else "the program failed",
            "retryable": False, "effect": "none", "details": details}


def _cut(value: Any) -> Any:
    rest = len(value) - _WORDS_CHARS if isinstance(value, str) else 0
    return f"{value[:_WORDS_CHARS]}… {rest} more characters" if rest > 0 else value
