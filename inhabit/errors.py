"""The one error tree.

    InhabitError
    ├── InvalidInput            the caller's words are wrong; nothing ran
    │   ├── ProgramError        the source does not parse or does not fit the operations it calls
    │   └── ConfigError         inhabit.toml or an argument to `Inhabit(...)`
    ├── NotFound                no such run, operation, connector (or not visible: the same answer)
    ├── Denied                  a grant or the policy says no
    │   └── Rejected            a person says no, or nobody said yes in time
    ├── CallError               one call of an operation failed; a program can catch it
    │   ├── UpstreamError       the system behind the connector answered with an error or died
    │   ├── MissingConnection   no credential of this principal for this connector
    │   ├── CallTimeout         the deadline passed; `effect` says what is known
    │   └── ResultInvalid       the answer does not fit the operation's output schema
    ├── LimitExceeded           a bound was reached; names the limit, its value and its unit
    ├── TooMany                 the caller's share of the server is in use; names the limit and its value
    ├── WorkerLost              the isolate's process is gone (killed, crashed, jail refused)
    │   └── ProtocolError       the worker said something the wire does not allow; it was killed
    ├── Unavailable             a needed part is not there now (journal, jail layer, engine image, port)
    └── Cancelled               the run was cancelled by its owner or its client

Each error answers three questions for whoever must go on: may the same thing be tried again (`retryable`),
did an effect reach the outside (`effect`), and does the isolate's worker live on (`worker_alive`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

__all__ = [
    "CallError", "CallTimeout", "Cancelled", "ConfigError", "Denied", "Effect", "InhabitError", "InvalidInput",
    "LimitExceeded", "MissingConnection", "NotFound", "ProgramError", "ProtocolError", "Rejected", "ResultInvalid",
    "TooMany", "Unavailable", "UpstreamError", "WorkerLost",
]

Effect = Literal["none", "happened", "unknown"]


class InhabitError(Exception):
    """Base of every error Inhabit raises on purpose.

    `message` says what was wrong and where; `fix` says what to do; `details` is plain JSON data.
    """

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False
    worker_alive: ClassVar[bool] = True

    def __init__(self, message: str, *, fix: str | None = None, effect: Effect = "none",
                 details: Mapping[str, Any] | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix
        self.effect: Effect = effect
        self.details: dict[str, Any] = dict(details or {})
        self.specific_code = code or type(self).code

    def as_value(self) -> dict[str, Any]:
        """The stable JSON shape: `{code, message, retryable, effect, fix?, details?}`."""
        value: dict[str, Any] = {
            "code": self.specific_code, "message": self.message,
            "retryable": self.retryable, "effect": self.effect,
        }
        if self.fix:
            value["fix"] = self.fix
        if self.details:
            value["details"] = self.details
        return value


class InvalidInput(InhabitError):
    code = "invalid_input"
    status = 422


class ProgramError(InvalidInput):
    """The message says each problem; `details["problems"]` lists `{line, column, code, nearest?}` in the same order; nothing ran."""

    code = "program_invalid"


class ConfigError(InvalidInput):
    code = "config_invalid"


class NotFound(InhabitError):
    code = "not_found"
    status = 404


class Denied(InhabitError):
    """`details` carries the decision: rule and reason."""

    code = "denied"
    status = 403


class Rejected(Denied):
    """A call that was asked for and not approved; the call was not made. A program can catch it and go on."""

    code = "rejected"


class CallError(InhabitError):
    code = "call_failed"
    status = 502


class UpstreamError(CallError):
    code = "upstream_error"


class MissingConnection(CallError):
    code = "connection_missing"
    status = 424


class CallTimeout(CallError):
    code = "call_timeout"
    status = 504


class ResultInvalid(CallError):
    code = "result_invalid"


class LimitExceeded(InhabitError):
    """`details`: `{limit, value, unit}`."""

    code = "limit_exceeded"
    status = 413
    worker_alive = False

    @classmethod
    def of(cls, limit: str, value: float, unit: str, *, what: str | None = None, fix: str | None = None) -> LimitExceeded:
        shown = int(value) if float(value).is_integer() else value
        message = f"{what or 'the run'} exceeded its limit {limit} = {shown} {unit}"
        return cls(message, fix=fix, details={"limit": limit, "value": shown, "unit": unit})


class TooMany(InhabitError):
    """`details`: `{limit, value, unit}`. Nothing was begun; the same thing may be asked again later."""

    code = "too_many"
    status = 429
    retryable = True


class WorkerLost(InhabitError):
    """`neighbours`: it died while it worked for another run of the tenant, so that this one has no part in it."""

    neighbours = False
    code = "worker_lost"
    status = 503
    retryable = True
    worker_alive = False


class ProtocolError(WorkerLost):
    code = "protocol_error"


class Unavailable(InhabitError):
    code = "unavailable"
    status = 503
    retryable = True


class Cancelled(InhabitError):
    code = "cancelled"
    status = 409
