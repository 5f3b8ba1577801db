"""Errors between host and program: what a program catches, and what an uncaught one becomes.

Monty has no exception classes beyond its own, so an operation's error arrives as a `RuntimeError` with the text
`code: message`; `OperationError` in a program is that class (see `rewrite`), and `e.code`, `e.message`,
`e.operation`, `e.details`, … of a caught error are looked up here by its text.
"""

from __future__ import annotations

from typing import Any

from pydantic_monty import Frame, MontyError, MontyRuntimeError, MontySyntaxError

from inhabit.isolates.python.advice import explain
from inhabit.isolates.python.plan import DOT

__all__ = ["OperationErrors", "failure_of", "frames_of"]

_KEPT = 10_000
_MESSAGE = 8_000
_FRAMES = 20
_PLAIN = frozenset({"Exception", "RuntimeError", "SyntaxError"})
"""Kinds of errors whose name adds nothing to the message."""


class OperationErrors:
    """The errors delivered to one guest, by the text it sees."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, Any]] = {}

    def note(self, value: Any, operation: str) -> str:
        """The exception's text for a delivered error value."""
        fields: dict[str, Any] = dict(value) if isinstance(value, dict) else {"message": str(value)}   # pyright: ignore
        fields.setdefault("code", "call_failed")
        fields.setdefault("message", "the call failed")
        fields.setdefault("operation", operation)
        fields.setdefault("details", {})
        text = f"{fields['code']}: {fields['message']}"
        if fields.get("fix"):
            text += f" ({fields['fix']})"
        if len(self._known) < _KEPT:
            self._known[text] = fields
        return text

    def of(self, error: BaseException | None) -> dict[str, Any] | None:
        return self._known.get(str(error)) if isinstance(error, RuntimeError) else None

    def field(self, args: tuple[Any, ...]) -> Any:
        """Answers `e.NAME`, rewritten to a call with the exception and the name."""
        error, name = args if len(args) == 2 else (None, "?")
        fields = self.of(error)
        if fields is None or name not in fields:
            kind = "OperationError" if fields is not None else type(error).__name__
            return {"exc_type": "AttributeError", "message": f"'{kind}' object has no attribute '{name}'"}
        return {"return_value": fields[name]}


def failure_of(error: MontyError, known: OperationErrors) -> dict[str, Any]:
    """`{name, message, line?, column?, stack?, code?, operation?}` for `Finished(ok=False)`."""
    inner = error.exception()
    fields = known.of(inner)
    name = type(inner).__name__
    value: dict[str, Any] = {"name": name, "message": _clean(_message(inner))}
    if fields is not None:
        value |= {"name": "OperationError", "code": fields["code"], "operation": fields["operation"], "message": str(fields["message"])[:_MESSAGE]}
        value |= {key: fields[key] for key in ("fix", "details") if fields.get(key)}
    else:
        hint = explain(name, value["message"])
        kind = f"{name}: " if name not in _PLAIN else ""   # `'total'` alone says nothing, `KeyError: 'total'` does
        value["message"] = f"{kind}{value['message']}" + (f"; {hint}" if hint else "")
    if isinstance(error, MontySyntaxError):
        value["code"] = "syntax"
    frames = frames_of(error)
    if frames:
        value |= {"line": frames[-1].line, "column": frames[-1].column, "stack": _stack(frames)}
    return value


def frames_of(error: MontyError) -> list[Frame]:
    return error.traceback() if isinstance(error, MontySyntaxError | MontyRuntimeError) else []


def _message(error: BaseException) -> str:
    if isinstance(error, KeyError) and error.args:
        return repr(error.args[0])[:_MESSAGE]   # a bare key says little: shown as Python shows it
    return str(error)[:_MESSAGE]


def _stack(frames: list[Frame]) -> str:
    shown = frames if len(frames) <= _FRAMES else [*frames[:_FRAMES // 2], *frames[-_FRAMES // 2:]]
    return "\n".join(f"line {frame.line} in {_clean(frame.function_name or 'the program')}" for frame in shown)


def _clean(text: str) -> str:
    return text.replace(DOT, ".")
