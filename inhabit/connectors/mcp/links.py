"""The live sessions of one connector: one for a shared server, one a principal where credentials are personal.

A session that ended is started again at the next call; after a failure not before its back-off has passed, which
doubles from half a second to a minute and is forgotten after the server has lived for a while. The number of
sessions is bounded: the one idle longest is closed for a new one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from inhabit.connectors.mcp.link import Link, LinkFailed
from inhabit.errors import MissingConnection, Unavailable

__all__ = ["BACKOFF_FIRST_S", "BACKOFF_MOST_S", "Down", "Links"]

BACKOFF_FIRST_S = 0.5
BACKOFF_MOST_S = 60.0
HEALTHY_AFTER_S = 30.0
WAIT_FOR_BACKOFF_S = 2.0        # a call waits this long for the next attempt, else it is told
MAX_SESSIONS = 64


class Down(Exception):
    """The server is not to be had now. `again_s`: seconds until the next attempt is allowed."""

    def __init__(self, reason: str, again_s: float, cause: BaseException | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.again_s = again_s
        self.cause = cause


@dataclass(slots=True)
class _Place:
    link: Link | None = None
    failures: int = 0
    not_before: float = 0.0
    reason: str = ""
    cause: BaseException | None = None


class Links:
    """`make` builds (and so starts) the session of a key."""

    def __init__(self, make: Callable[[str], Link], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._make = make
        self._clock = clock
        self._places: dict[str, _Place] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False

    async def get(self, key: str) -> Link:
        """A started session. Raises `Down`, `Unavailable`."""
        place = self._places.setdefault(key, _Place())
        while True:
            if self._closed:
                raise Unavailable("this connector is closed")
            if place.link is not None and place.link.alive:
                link = place.link
            else:
                self._account(place)
                await self._backed_off(place)
                link = self._started(place, key)
            try:
                await link.session()
            except LinkFailed as failure:
                self._failed(place, link, failure)
                raise Down(place.reason, max(0.0, place.not_before - self._clock()), place.cause) from failure
            link.used_at = self._clock()
            return link

    def existing(self, key: str) -> Link | None:
        place = self._places.get(key)
        return place.link if place is not None and place.link is not None and place.link.alive else None

    def drop(self, link: Link) -> None:
        """End a session that proved unusable; the next call starts another."""
        for place in self._places.values():
            if place.link is link:
                place.link = None
        self._retire(link)

    async def close(self) -> None:
        self._closed = True
        links = [place.link for place in self._places.values() if place.link is not None]
        await asyncio.gather(*(link.close() for link in links), *self._closing, return_exceptions=True)
        self._places.clear()

    def _started(self, place: _Place, key: str) -> Link:
        if place.link is None or not place.link.alive:      # another call may have been faster
            self._make_room()
            place.link = self._make(key)
        return place.link

    def _account(self, place: _Place) -> None:
        """A session that ended soon counts as a failure, one that lived long wipes the slate."""
        link = place.link
        if link is None:
            return
        place.link = None
        self._retire(link)
        if self._clock() - link.started_at >= HEALTHY_AFTER_S:
            place.failures = 0
        else:
            self._count(place, "the server ended soon after its start")

    def _failed(self, place: _Place, link: Link, failure: LinkFailed) -> None:
        if place.link is link:
            place.link = None
            self._retire(link)
            self._count(place, str(failure), failure.__cause__)
            if isinstance(failure.__cause__, MissingConnection):    # not the server's fault: may be mended any moment
                place.failures = 0
                place.not_before = 0.0

    def _count(self, place: _Place, reason: str, cause: BaseException | None = None) -> None:
        place.failures += 1
        place.reason = reason
        place.cause = cause
        place.not_before = self._clock() + min(BACKOFF_MOST_S, BACKOFF_FIRST_S * 2 ** (place.failures - 1))

    async def _backed_off(self, place: _Place) -> None:
        wait = place.not_before - self._clock()
        if wait > WAIT_FOR_BACKOFF_S:
            raise Down(place.reason, wait, place.cause)
        if wait > 0:
            await asyncio.sleep(wait)

    def _make_room(self) -> None:
        live = [place for place in self._places.values() if place.link is not None]
        if len(live) < MAX_SESSIONS:
            return
        idle = [place.link for place in live if place.link is not None and place.link.in_flight == 0]
        if not idle:
            raise Unavailable(f"{MAX_SESSIONS} sessions of this connector are busy", fix="try again shortly")
        self.drop(min(idle, key=lambda link: link.used_at))

    def _retire(self, link: Link) -> None:
        task = asyncio.create_task(link.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
