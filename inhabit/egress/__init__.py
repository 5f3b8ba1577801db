"""The one way out: every byte that leaves the host for a network leaves through `Broker`.

It never reads proxy settings from the environment, never keeps a cookie, never dials an address that it has
not checked, and never follows a redirect without deciding it like a first request.
"""

from inhabit.egress.broker import Broker
from inhabit.egress.resolve import Resolver, SystemResolver

__all__ = ["Broker", "Resolver", "SystemResolver"]
