"""Counters of this server in the Prometheus text format. Labels come from fixed sets, never from a client."""

from __future__ import annotations

import bisect
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Meter", "Metrics"]

_BUCKETS_S = (0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0)


class Metrics:
    """What `GET /v1/metrics` shows. One a server; not shared between processes."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, str]] = Counter()
        self.programs: Counter[tuple[str, str]] = Counter()
        self.streams = 0
        self._durations: Counter[int] = Counter()
        self._seconds = 0.0

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        self.requests[method, route, f"{status // 100}xx"] += 1
        self._durations[bisect.bisect_left(_BUCKETS_S, seconds)] += 1
        self._seconds += seconds

    def text(self, health: Mapping[str, Any]) -> str:
        lines = ["# TYPE inhabit_http_requests_total counter"]
        lines += [f'inhabit_http_requests_total{{method="{m}",route="{r}",status="{s}"}} {n}'
                  for (m, r, s), n in sorted(self.requests.items())]
        lines += ["# TYPE inhabit_programs_total counter"]
        lines += [f'inhabit_programs_total{{door="{door}",state="{state}"}} {n}'
                  for (door, state), n in sorted(self.programs.items())]
        lines += self._histogram()
        gauges = {"event_streams": self.streams, **{k: v for k, v in health.items() if type(v) in (int, float)}}
        for name, value in sorted(gauges.items()):
            lines += [f"# TYPE inhabit_{name} gauge", f"inhabit_{name} {value}"]
        return "\n".join(lines) + "\n"

    def _histogram(self) -> list[str]:
        name, total = "inhabit_http_request_seconds", 0
        lines = [f"# TYPE {name} histogram"]
        for position, bound in enumerate((*_BUCKETS_S, "+Inf")):
            total += self._durations[position]
            lines.append(f'{name}_bucket{{le="{bound}"}} {total}')
        return [*lines, f"{name}_sum {self._seconds:.6f}", f"{name}_count {total}"]


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
