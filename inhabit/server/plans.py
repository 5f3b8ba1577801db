"""The routes over plans: the change set of one, applying it, dropping it."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from inhabit.contracts.run import TERMINAL_STATES
from inhabit.runtime.plans import Plans
from inhabit.server.auth import caller_of
from inhabit.server.endpoints import Endpoint, json_response
from inhabit.server.requests import ApplyBody, NoQuery, read_body, read_query

__all__ = ["PlanRoutes"]


class PlanRoutes:
    def __init__(self, plans: Plans) -> None:
        self._plans = plans

    def endpoints(self) -> tuple[Endpoint, ...]:
        run = "/v1/runs/{run_id}"
        return (
            Endpoint("GET", run + "/plan", self.show, "What a plan would write", {200: "its change set"}, answer_schema={"type": "object"},
                     errors=(404, 422)),
            Endpoint("DELETE", run + "/plan", self.drop, "Never apply a plan", {200: "it is dropped"}, answer_schema={"type": "object"},
                     errors=(404, 409, 422)),
            Endpoint("POST", run + "/apply", self.apply, "Apply a plan, as a run of its own",
                     {200: "the run ended", 202: "it goes on, or waits for a person's approval"}, body=ApplyBody,
                     answer_schema={"type": "object"}, errors=(404, 409, 422, 429, 503)),
        )

    async def show(self, request: Request) -> Response:
        read_query(request, NoQuery)
        return json_response(await self._plans.show(request.path_params["run_id"], caller_of(request)))

    async def drop(self, request: Request) -> Response:
        read_query(request, NoQuery)
        await self._plans.drop(request.path_params["run_id"], caller_of(request))
        return json_response({"plan": request.path_params["run_id"], "dropped": True})

    async def apply(self, request: Request) -> Response:
        asked = await read_body(request, ApplyBody)
        result = await self._plans.apply(request.path_params["run_id"], caller_of(request), digest=asked.hash, wait_s=asked.wait_s)
        return json_response(result.as_value(), 200 if result.state in TERMINAL_STATES else 202)
