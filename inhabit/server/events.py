"""The live stream of a run: its journal's entries as server-sent events, from any entry on.

An event's id is its entry's number, so a client that reconnects with Last-Event-ID misses nothing and gets
nothing twice. The stream ends after the terminal entry; asking again from there is answered 204, at which an
EventSource stops. Streams are bounded per token and in all, and no tenant has them all; a comment every `HEARTBEAT_S` finds clients that vanished.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from inhabit.contracts.run import TERMINAL_STATES, Journal, StoredEntry
from inhabit.errors import InvalidInput
from inhabit.runtime.service import Runtime
from inhabit.server.auth import caller_of, identity_of
from inhabit.server.endpoints import STOPPING, Endpoint
from inhabit.server.entries import entry_json
from inhabit.server.metrics import Metrics
from inhabit.server.problems import problem
from inhabit.server.requests import EventsQuery, read_query
from inhabit.server.shares import has_room

__all__ = ["EventRoutes"]

HEARTBEAT_S = 15.0
MAX_STREAMS_PER_TOKEN = 16
MAX_STREAMS = 1_000


class EventRoutes:
    def __init__(self, runtime: Runtime, journal: Journal, metrics: Metrics, heartbeat_s: float = HEARTBEAT_S) -> None:
        self._runtime = runtime
        self._journal = journal
        self._metrics = metrics
        self._heartbeat_s = heartbeat_s
        self._open: Counter[str] = Counter()
        self._tenants: Counter[str] = Counter()

    def endpoints(self) -> tuple[Endpoint, ...]:
        return (Endpoint("GET", "/v1/runs/{run_id}/events", self.events, "The run's journal as it is written (server-sent events)",
                         {200: "entries, each with its number as id", 204: "the run has ended and you have it all"},
                         query=EventsQuery, content="text/event-stream", answer_schema={"type": "string"},
                         errors=(404, 422, 429)),)

    async def events(self, request: Request) -> Response:
        query = read_query(request, EventsQuery)
        after = _last_event_id(request, query.after)
        run_id, caller, token = request.path_params["run_id"], caller_of(request), identity_of(request).token_id
        run = await self._runtime.visible(run_id, caller)  # NotFound for a run that is not the caller's
        if run.state in TERMINAL_STATES:
            rest = await self._journal.page(run_id, tenant=caller.principal.tenant, after=after, limit=1)
            if after >= rest.last:
                return Response(status_code=204)
        tenant = caller.principal.tenant
        if self._open[token] >= MAX_STREAMS_PER_TOKEN or not has_room(self._tenants[tenant], self._open.total(), MAX_STREAMS):
            return problem(429, "too_many_streams", f"this token has {self._open[token]} streams open, its tenant {self._tenants[tenant]}",
                           fix="close one first", headers={"retry-after": "5"})
        entries = self._journal.follow(run_id, tenant=tenant, after=after)
        stopping: asyncio.Event = request.scope.get(STOPPING) or asyncio.Event()
        return StreamingResponse(self._stream(entries, token, tenant, stopping), media_type="text/event-stream",
                                 headers={"cache-control": "no-store", "x-accel-buffering": "no"})

    async def _stream(self, entries: AsyncIterator[StoredEntry], token: str, tenant: str, stopping: asyncio.Event) -> AsyncIterator[bytes]:
        """To the terminal entry, or until the server stops: an end without a terminal entry means that it goes on elsewhere."""
        stop = asyncio.ensure_future(stopping.wait())
        self._open[token] += 1
        self._tenants[tenant] += 1
        self._metrics.streams += 1
        upcoming: asyncio.Future[StoredEntry | None] | None = None
        try:
            yield b"retry: 1000\n\n"
            while True:
                upcoming = upcoming or asyncio.ensure_future(_next(entries))
                done, _ = await asyncio.wait({upcoming, stop}, timeout=self._heartbeat_s, return_when=asyncio.FIRST_COMPLETED)
                if stop in done and upcoming not in done:
                    return
                if not done:
                    yield b": still here\n\n"
                    continue
                stored, upcoming = upcoming.result(), None
                if stored is None:
                    return
                yield _event(stored)
        finally:
            stop.cancel()
            self._metrics.streams -= 1
            for held, name in ((self._open, token), (self._tenants, tenant)):
                held[name] -= 1
                if held[name] == 0:
                    del held[name]
            await _close(entries, upcoming)


async def _next(entries: AsyncIterator[StoredEntry]) -> StoredEntry | None:
    return await anext(entries, None)


async def _close(entries: AsyncIterator[StoredEntry], upcoming: asyncio.Future[StoredEntry | None] | None) -> None:
    if upcoming is not None:
        upcoming.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await upcoming
    if isinstance(entries, AsyncGenerator):
        await entries.aclose()


def _event(stored: StoredEntry) -> bytes:
    """JSON has no raw line breaks, so one data line holds it."""
    value = entry_json(stored)
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (stored.number, value["type"].encode(), orjson.dumps(value, default=dict))


def _last_event_id(request: Request, otherwise: int) -> int:
    given = request.headers.get("last-event-id")
    if given is None or given == "":
        return otherwise
    if not given.isascii() or not given.isdigit() or len(given) > 15:
        raise InvalidInput("Last-Event-ID must be the number of an entry")
    return int(given)
