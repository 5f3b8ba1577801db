"""Names to addresses, once, all of them checked. One bad address rejects the name.

A resolver can be replaced (tests of rebinding, a DNS-over-TLS one); what it answers is checked here and the
checked addresses are the ones dialled, so a second answer has nobody to deceive.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Sequence
from typing import Protocol

from inhabit.egress.addresses import refusal
from inhabit.egress.origins import Origin
from inhabit.errors import Denied, UpstreamError

__all__ = ["Resolver", "SystemResolver", "checked_addresses"]

_MAX_ADDRESSES = 16
_log = logging.getLogger(__name__)


class Resolver(Protocol):
    async def resolve(self, host: str, port: int) -> Sequence[str]:
        """IP addresses as text, in the order to try. Raises `OSError` for an unknown name."""
        ...


class SystemResolver:
    """The host's own resolver, in a thread."""

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))


async def checked_addresses(origin: Origin, resolver: Resolver, *, private: bool) -> Sequence[str]:
    """Raises `Denied` when any address is refused, `UpstreamError` when there is none."""
    addresses = [origin.host] if _is_address(origin.host) else await _resolve(origin, resolver)
    for address in addresses:
        reason = refusal(address, private=private)
        if reason is not None:
            # The address itself is the operator's knowledge, not the program's.
            _log.warning("egress: %s:%d refused, it leads to %s (%s); a private one is allowed where inhabit.toml names it "
                         "(base_url, url or origin)", origin.host, origin.port, address, reason)
            raise Denied(f"outbound request refused: {origin.host} leads to an address that may not be dialled",
                         code="egress_denied", details={"rule": "egress.address", "reason": reason},
                         fix="an operator allows a private address by naming it in inhabit.toml (base_url, url or origin); metadata services never")
    return addresses


async def _resolve(origin: Origin, resolver: Resolver) -> Sequence[str]:
    try:
        addresses = list(await resolver.resolve(origin.host, origin.port))[:_MAX_ADDRESSES]
    except (OSError, UnicodeError):
        addresses = []
    if not addresses:
        raise UpstreamError(f"the name {origin.host} could not be resolved", code="name_not_resolved",
                            fix="check the host name, and this machine's DNS")
    return addresses


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
