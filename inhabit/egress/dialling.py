"""The network backend under the connection pool: it turns a decided host into a connection to a checked address.

The pool above knows names only; TLS is started by it with the name, so the certificate is checked against what
was decided while the socket goes to the address that was checked.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import httpcore2

from inhabit.egress.origins import Origin
from inhabit.egress.resolve import Resolver, checked_addresses

__all__ = ["CheckedDialler"]

_MAX_TRIES = 4


class CheckedDialler(httpcore2.AsyncNetworkBackend):
    """Resolves once, checks every address, dials in order. Unix sockets are refused."""

    def __init__(self, resolver: Resolver, *, private: bool) -> None:
        self._resolver = resolver
        self._private = private
        self._dial = cast(httpcore2.AsyncNetworkBackend, httpcore2.AnyIOBackend())  # its own stub hides its base

    async def connect_tcp(self, host: str, port: int, timeout: float | None = None, local_address: str | None = None,
                          socket_options: Iterable[Any] | None = None) -> httpcore2.AsyncNetworkStream:
        addresses = await checked_addresses(Origin("https", host, port), self._resolver, private=self._private)
        failure: Exception = httpcore2.ConnectError("no address answered")
        for address in addresses[:_MAX_TRIES]:
            try:
                return await self._dial.connect_tcp(address, port, timeout=timeout, socket_options=socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise failure

    async def connect_unix_socket(self, path: str, timeout: float | None = None,
                                  socket_options: Iterable[Any] | None = None) -> httpcore2.AsyncNetworkStream:
        raise httpcore2.ConnectError("unix sockets are not dialled")

    async def sleep(self, seconds: float) -> None:
        await self._dial.sleep(seconds)
