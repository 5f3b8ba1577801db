"""`Broker`: makes clients that can reach what they were granted, and nothing else."""

from __future__ import annotations

import logging
import ssl
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpcore2
import httpx2

from inhabit.contracts.outbound import Reach
from inhabit.egress.resolve import Resolver, SystemResolver
from inhabit.egress.transport import GuardedTransport
from inhabit.errors import Denied

__all__ = ["Broker"]


class Broker:
    """Implements `inhabit.contracts.outbound.Outbound`.

    `resolver` answers names (default: the host's); `tls` is the context that certificates are checked with
    (default: the system's trust store; no environment variable is read). A client belongs to whoever asked
    for it: close it with `aclose`.
    """

    def __init__(self, *, resolver: Resolver | None = None, tls: ssl.SSLContext | None = None) -> None:
        self._resolver = resolver or SystemResolver()
        # At DEBUG the library logs the headers of answers as they came, with what an upstream echoes of a credential.
        logging.getLogger(httpcore2.__name__).setLevel(logging.INFO)
        logging.getLogger(httpx2.__name__).setLevel(logging.WARNING)    # at INFO whole addresses, with a key that goes into their query
        self._tls = tls

    def client(self, reach: Reach) -> httpx2.AsyncClient:
        """Raises `ConfigError` for an origin that is not one. Every origin outside `reach` raises `Denied`."""
        if self._tls is None:
            self._tls = httpx2.create_ssl_context(trust_env=False)
        transport = GuardedTransport(reach, self._resolver, self._tls)
        # The transport follows and decides redirects and keeps the total deadline; the client does neither.
        return _Client(transport=transport, trust_env=False, follow_redirects=False, timeout=None,
                       cookies=_no_cookies(), headers={"User-Agent": "inhabit"})


class _Client(httpx2.AsyncClient):
    def build_request(self, *args: Any, **kwargs: Any) -> httpx2.Request:
        try:
            return super().build_request(*args, **kwargs)
        except (httpx2.InvalidURL, UnicodeError) as error:
            raise Denied("outbound request refused: not a URL", code="egress_denied",
                         details={"rule": "egress.url", "reason": type(error).__name__}) from None


def _no_cookies() -> CookieJar:
    return CookieJar(policy=DefaultCookiePolicy(allowed_domains=[]))
