"""What goes on around approvals by itself: questions whose time is over are answered, a webhook hears of new ones.

The webhook learns that somebody is asked, never what with: no arguments leave. It is told once and not again; the list
of what waits is the truth.
"""

from __future__ import annotations

import asyncio
import logging
from urllib.parse import urlsplit

import httpx2

from inhabit.app.sources import is_local
from inhabit.contracts.outbound import Outbound, Reach
from inhabit.contracts.principal import Principal
from inhabit.contracts.run import Asked
from inhabit.errors import InhabitError
from inhabit.runtime.approvals import Desk

__all__ = ["Notices", "keep_expiring"]

_log = logging.getLogger(__name__)
_EXPIRE_EVERY_S = 15.0
_MAX_UNSENT = 100
_TIMEOUT_S = 10.0


async def keep_expiring(desk: Desk) -> None:
    """Until cancelled."""
    while True:
        try:
            await desk.expire()
        except InhabitError as error:
            _log.warning("approvals were not looked through: %s", error)
        await asyncio.sleep(_EXPIRE_EVERY_S)


class Notices:
    """At most `_MAX_UNSENT` under way; more are dropped and said."""

    def __init__(self, url: str | None, outbound: Outbound) -> None:
        self._url = url
        self._outbound = outbound
        self._sending: set[asyncio.Task[None]] = set()

    def tell(self, who: Principal, asked: Asked) -> None:
        if self._url is None:
            return
        if len(self._sending) >= _MAX_UNSENT:
            _log.warning("the webhook is not told of %s: %d notices are under way", asked.approval, _MAX_UNSENT)
            return
        task = asyncio.create_task(self._send(self._url, who, asked), name=f"notice {asked.approval}")
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _send(self, url: str, who: Principal, asked: Asked) -> None:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        reach = Reach((f"{parts.scheme}://{parts.hostname}:{port}",), private_addresses=is_local(url), max_redirects=0, timeout_s=_TIMEOUT_S)
        body = {"event": "doubt_asked" if asked.doubt else "approval_asked", "id": asked.approval, "principal": str(who), "operation": asked.operation,
                "rule": asked.rule, "expires_ms": asked.expires_ms}   # not its reason: that of a limit counts what the arguments say
        try:
            async with self._outbound.client(reach) as client:
                response = await client.post(url, json=body)
            told = "" if response.is_success else f"HTTP status {response.status_code}"
        except InhabitError as error:
            told = error.message
        except httpx2.HTTPError as error:
            told = type(error).__name__     # its words may hold the address, and that is often a secret
        if told:
            _log.warning("the webhook was not told of %s: %s", asked.approval, told)
