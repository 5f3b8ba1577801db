"""What one exchange says when it fails: the destination as the program knows it, and whether it may have acted.

No resolved address, no library text, no stack leaves this file.
"""

from __future__ import annotations

from dataclasses import dataclass

import httpcore2

from inhabit.egress.origins import Origin
from inhabit.errors import CallTimeout, Effect, UpstreamError

__all__ = ["Exchange"]

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "QUERY"})


@dataclass(slots=True)
class Exchange:
    """One request and its response. `deadline` is loop time in seconds; `answered`: a status line came."""

    origin: Origin
    method: str
    deadline: float
    timeout_s: float
    answered: bool = False

    def effect(self, *, sent: bool = True) -> Effect:
        if not sent or self.method in _SAFE_METHODS:
            return "none"
        return "happened" if self.answered else "unknown"

    def timed_out(self) -> CallTimeout:
        effect = self.effect()
        return CallTimeout(f"{self.origin.host} did not answer in full within {self.timeout_s:g} s", effect=effect,
                           fix="it may have taken effect: read before trying again" if effect != "none" else None)

    def too_large(self, max_bytes: int) -> UpstreamError:
        return UpstreamError(f"the answer of {self.origin.host} exceeded {max_bytes} bytes (decoded) and was cut off",
                             code="response_too_large", effect=self.effect(), fix="ask for less: a filter, a page, a range",
                             details={"limit": "max_response_bytes", "value": max_bytes, "unit": "bytes"})

    def refused(self, what: str) -> UpstreamError:
        return UpstreamError(f"{self.origin.host} answered with {what}", code="response_refused", effect=self.effect())

    def broke(self, error: Exception) -> UpstreamError:
        if isinstance(error, httpcore2.ConnectError):
            tls = "certificate" in str(error).lower() or "ssl" in str(error).lower()
            return UpstreamError(
                f"{self.origin.host}: " + ("its certificate was not accepted" if tls else "no connection"),
                code="tls_refused" if tls else "connection_failed", effect="none")
        if isinstance(error, httpcore2.LocalProtocolError):
            return UpstreamError("the request cannot be sent: a header or the method is not valid HTTP",
                                 code="request_invalid", effect="none")
        if isinstance(error, httpcore2.ProtocolError):
            return UpstreamError(f"{self.origin.host} answered with something that is not valid HTTP",
                                 code="protocol_error", effect=self.effect())
        return UpstreamError(f"the connection to {self.origin.host} broke", code="connection_lost", effect=self.effect())
