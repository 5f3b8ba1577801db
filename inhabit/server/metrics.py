"""What an operator watches, in the Prometheus text format. Labels come from fixed sets, never from a client.

Requests are counted here, runs and calls where they are recorded (`runtime.tally`).
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from inhabit.runtime.tally import Histogram, Tally

__all__ = ["Meter", "Metrics"]


class Metrics:
    """What `GET /v1/metrics` shows. One a server; not shared between processes."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, str]] = Counter()
        self.programs: Counter[tuple[str, str]] = Counter()
        self.streams = 0
        self._seconds: defaultdict[str, Histogram] = defaultdict(Histogram)

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        self.requests[method, route, f"{status // 100}xx"] += 1
        self._seconds[route].observe(seconds)

    def text(self, tally: Tally, gauges: Mapping[str, int]) -> str:
        requests = {f'method="{m}",route="{r}",status="{s}"': n for (m, r, s), n in self.requests.items()}
        programs = {f'door="{door}",state="{state}"': n for (door, state), n in self.programs.items()}
        lines = [
            *_counter("http_requests", requests),
            *_histogram("http_request_seconds", {f'route="{route}",': held for route, held in self._seconds.items()}),
            *_counter("programs", programs),
            *_counter("runs_ended", {f'state="{state}"': n for state, n in tally.runs.items()}),
            *_counter("runs_refused", {f'limit="{limit}"': n for limit, n in tally.refused.items()}),
            *_counter("calls", {f'verdict="{verdict}"': n for verdict, n in tally.calls.items()}),
            *_counter("call_failures", {"": tally.failed_calls}),
            *_histogram("call_seconds", {"": tally.call_seconds}),
        ]
        for name, value in sorted({"event_streams": self.streams, **gauges}.items()):
            lines += [f"# TYPE inhabit_{name} gauge", f"inhabit_{name} {value}"]
        return "\n".join(lines) + "\n"


def _counter(name: str, values: Mapping[str, int]) -> list[str]:
    return [f"# TYPE inhabit_{name}_total counter",
            *(f"inhabit_{name}_total{{{labels}}} {n}" if labels else f"inhabit_{name}_total {n}" for labels, n in sorted(values.items()))]


def _histogram(name: str, held: Mapping[str, Histogram]) -> list[str]:
    """`held`: by labels, each followed by a comma."""
    lines = [f"# TYPE inhabit_{name} histogram"]
    for labels, histogram in sorted(held.items()):
        buckets = histogram.cumulative()
        own = f"{{{labels.removesuffix(',')}}}" if labels else ""
        lines += [f'inhabit_{name}_bucket{{{labels}le="{bound}"}} {count}' for bound, count in buckets]
        lines += [f"inhabit_{name}_sum{own} {histogram.seconds:.6f}", f"inhabit_{name}_count{own} {buckets[-1][1]}"]
    return lines


class Meter:
    """ASGI middleware that counts requests by the route that answered, so that ids never become labels."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status = time.perf_counter(), 500
        note: dict[str, str] = {}
        scope = {**scope, "inhabit.note": note}  # one dict, seen through every copy of the scope further in

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            method = scope["method"] if scope["method"] in ("GET", "POST", "DELETE") else "other"
            self._metrics.observe(method, note.get("route", "none"), status, time.perf_counter() - begun)
