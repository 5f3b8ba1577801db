"""The routes over runs: start, look, wait, cancel, resume, read the journal.

Visibility is the runtime's: a run of another tenant or user is answered exactly like one that does not exist,
and every route here asks the runtime before it reads the journal.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response

from inhabit.contracts.result import RunResult
from inhabit.contracts.run import TERMINAL_STATES, Blobs, Journal
from inhabit.errors import Denied, InhabitError, InvalidInput, NotFound
from inhabit.runtime.service import Caller, Runtime
from inhabit.server.auth import Identity, caller_of, identity_of
from inhabit.server.endpoints import Endpoint, json_response
from inhabit.server.entries import as_json, entry_json, header_json, summary_json
from inhabit.server.metrics import Metrics
from inhabit.server.requests import (
    MAX_NUMBER,
    EntriesQuery,
    ListQuery,
    NoQuery,
    RollbackBody,
    RunBody,
    SearchBody,
    WaitQuery,
    read_body,
    read_query,
)

__all__ = ["RunRoutes"]

_RUN_SCHEMA = {
    "type": "object", "required": ["run", "state", "calls"],
    "properties": {
        "run": {"type": "string"},
        "state": {"enum": ["queued", "running", "suspended", "parked", *sorted(TERMINAL_STATES)]},
        "result": {"description": "what the program returned, bounded; whole under /result"},
        "truncated": {"type": "boolean"}, "error": {"$ref": "#/components/schemas/Error"},
        "logs": {"type": "array", "items": {"type": "string"}}, "logs_truncated": {"type": "boolean"},
        "calls": {"type": "integer"}, "next": {"type": "string", "description": "what to do now"},
    },
}


class RunRoutes:
    def __init__(self, runtime: Runtime, journal: Journal, metrics: Metrics, blobs: Blobs | None) -> None:
        self._runtime = runtime
        self._journal = journal
        self._blobs = blobs
        self._metrics = metrics

    def endpoints(self) -> tuple[Endpoint, ...]:
        run = "/v1/runs/{run_id}"
        return (
            Endpoint("POST", "/v1/runs", self.start, "Run a program", {200: "the run ended", 202: "the run goes on"},
                     body=RunBody, answer_schema=_RUN_SCHEMA, errors=(403, 413, 415, 422, 429, 503)),
            Endpoint("GET", "/v1/runs", self.list, "Your runs, newest first", {200: "a page of runs"}, query=ListQuery,
                     errors=(422,)),
            Endpoint("GET", run, self.look, "A run as far as it is", {200: "its state"}, query=WaitQuery,
                     answer_schema=_RUN_SCHEMA, errors=(404, 422)),
            Endpoint("GET", run + "/result", self.result, "The whole result of an ended run",
                     {200: "what the program returned, or the error's value"}, answer_schema={}, errors=(404,)),
            Endpoint("GET", run + "/binaries/{hash}", self.binary, "The bytes of a binary value in the run's result",
                     {200: "the bytes"}, content="application/octet-stream", answer_schema={"type": "string", "format": "binary"},
                     errors=(404,)),
            Endpoint("GET", run + "/entries", self.entries, "The run's journal", {200: "a page of entries, with the header"},
                     query=EntriesQuery, errors=(404, 422)),
            Endpoint("GET", run + "/entries/{number:int}", self.entry, "One entry with its values whole", {200: "the entry"},
                     errors=(404,)),
            Endpoint("POST", run + "/cancel", self.cancel, "Stop a run", {200: "its state afterwards"},
                     answer_schema=_RUN_SCHEMA, errors=(404,)),
            Endpoint("POST", run + "/resume", self.resume, "Try again to go on with a parked run", {200: "its state afterwards"},
                     answer_schema=_RUN_SCHEMA, errors=(404, 422, 429, 503)),
            Endpoint("GET", run + "/rollback", self.undoing, "What a rollback of the run would do", {200: "its steps, and what would stand"},
                     answer_schema={"type": "object"}, errors=(404, 422)),
            Endpoint("POST", run + "/rollback", self.rollback, "Undo what the run wrote, as a run of its own",
                     {200: "the rollback ended", 202: "it goes on"}, body=RollbackBody, answer_schema=_RUN_SCHEMA,
                     errors=(404, 422, 429, 503)),
            Endpoint("POST", "/v1/search", self.search, "Find operations", {200: "typed declarations as text"},
                     body=SearchBody, errors=(422,)),
            Endpoint("GET", "/v1/capabilities", self.capabilities, "What the token may call", {200: "capabilities"}),
        )

    async def start(self, request: Request) -> Response:
        asked = await read_body(request, RunBody)
        caller = caller_of(request, conversation=f"http:{asked.conversation}" if asked.conversation else "")
        if asked.closed:
            caller = _vouched(caller, identity_of(request))
        language = "typescript" if asked.language == "javascript" else asked.language
        result = await self._runtime.execute(asked.program, caller, language=language, input=asked.input,
                                             limits=asked.limits, wait_s=0, mode=asked.mode)
        if result.state not in TERMINAL_STATES and asked.wait_s > 0:
            result = await self._wait_connected(request, caller, result, asked)
        self._metrics.programs["http", result.state] += 1
        status = 200 if result.state in TERMINAL_STATES else 202
        location = f"{request.scope.get('root_path', '')}/v1/runs/{result.run_id}"
        return json_response(result.as_value(), status, {"location": location})

    async def _wait_connected(self, request: Request, caller: Caller, started: RunResult, asked: RunBody) -> RunResult:
        """Wait for the end or for the client to go, whichever is first."""
        waiting = asyncio.ensure_future(self._runtime.wait(started.run_id, caller, wait_s=asked.wait_s))
        gone = asyncio.ensure_future(_disconnected(request))
        try:
            await asyncio.wait({waiting, gone}, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                return waiting.result()
            if asked.on_disconnect == "cancel":
                return await self._runtime.cancel(started.run_id, caller, by="its client going away")
            return started
        finally:
            for task in (waiting, gone):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, InhabitError):
                    await task

    async def list(self, request: Request) -> Response:
        query = read_query(request, ListQuery)
        page = await self._runtime.list(caller_of(request), state=query.state, kind=query.kind, before=query.before, limit=query.limit)
        return json_response({"runs": [summary_json(summary) for summary in page.runs], "before": page.before})

    async def look(self, request: Request) -> Response:
        query = read_query(request, WaitQuery)
        result = await self._runtime.wait(request.path_params["run_id"], caller_of(request), wait_s=query.wait_s)
        return json_response(result.as_value())

    async def cancel(self, request: Request) -> Response:
        read_query(request, NoQuery)
        return json_response((await self._runtime.cancel(request.path_params["run_id"], caller_of(request))).as_value())

    async def resume(self, request: Request) -> Response:
        read_query(request, NoQuery)
        return json_response((await self._runtime.resume(request.path_params["run_id"], caller_of(request))).as_value())

    async def undoing(self, request: Request) -> Response:
        read_query(request, NoQuery)
        return json_response(await self._runtime.undoing(request.path_params["run_id"], caller_of(request)))

    async def rollback(self, request: Request) -> Response:
        asked = await read_body(request, RollbackBody)
        result = await self._runtime.rollback(request.path_params["run_id"], caller_of(request), wait_s=asked.wait_s)
        return json_response(result.as_value(), 200 if result.state in TERMINAL_STATES else 202)

    async def result(self, request: Request) -> Response:
        read_query(request, NoQuery)
        run_id, tenant = await self._visible(request)
        last = (await self._journal.ending(run_id, tenant=tenant)).terminal
        if last is None:
            raise NotFound(f"run {run_id} has no result yet", fix="wait for its end: GET /v1/runs/{id}?wait_s=30")
        key = "result" if last.state == "completed" else "error"
        return json_response({"run": run_id, "state": last.state, key: as_json(last.value)})

    async def binary(self, request: Request) -> Response:
        """Only what the run was given itself: a hash that a program merely returns opens nothing. The type is the
        reference's word, so the bytes go out as bytes."""
        read_query(request, NoQuery)
        run_id, tenant = await self._visible(request)
        wanted = str(request.path_params["hash"])
        last = (await self._journal.ending(run_id, tenant=tenant)).terminal
        if self._blobs is None or last is None or wanted not in last.binaries:
            raise NotFound(f"the result of run {run_id} has no binary value {wanted[:12]}")
        return Response(await self._blobs.get({"$binary": wanted}, tenant=tenant), media_type="application/octet-stream")

    async def entries(self, request: Request) -> Response:
        query = read_query(request, EntriesQuery)
        run_id, tenant = await self._visible(request)
        header = await self._journal.header(run_id, tenant=tenant)
        page = await self._journal.page(run_id, tenant=tenant, after=query.after, limit=query.limit)
        reached = page.entries[-1].number if page.entries else page.last
        return json_response({
            "header": header_json(header), "entries": [entry_json(stored) for stored in page.entries],
            "after": reached if reached < page.last else None,
        })

    async def entry(self, request: Request) -> Response:
        read_query(request, NoQuery)
        number = request.path_params["number"]
        run_id, tenant = await self._visible(request)
        stored = await self._journal.entry(run_id, number, tenant=tenant) if 0 < number < MAX_NUMBER else None
        if stored is None:
            raise NotFound(f"the run has no entry {str(number)[:20]}")
        return json_response(entry_json(stored))

    async def search(self, request: Request) -> Response:
        asked = await read_body(request, SearchBody)
        language = "typescript" if asked.language == "javascript" else asked.language
        text = await self._runtime.search(asked.query, caller_of(request), language=language,
                                          budget_tokens=asked.budget_tokens)
        return json_response({"declarations": text})

    async def capabilities(self, request: Request) -> Response:
        read_query(request, NoQuery)
        return json_response({"capabilities": list(self._runtime.capabilities(caller_of(request)))})

    async def _visible(self, request: Request) -> tuple[str, str]:
        """Id and tenant of the run that is asked for, when the caller may see it. Raises `NotFound`."""
        caller = caller_of(request)
        run = await self._runtime.visible(request.path_params["run_id"], caller)
        return run.run_id, caller.principal.tenant


def _vouched(caller: Caller, identity: Identity) -> Caller:
    """Who starts a program is believed about its author where the operator made the token for that; whoever writes programs has no such
    token. Without a conversation nothing would tell that the author has read a result since. Raises `Denied`, `InvalidInput`.
    """
    if not identity.vouch:
        raise Denied("this token vouches for nobody", code="may_not_vouch",
                     fix="leave closed out; or the operator makes the product's backend a token: `inhabit token create --vouches`")
    if not caller.conversation:
        raise InvalidInput("closed without a conversation", code="closed_alone", fix="name the conversation that the program was written in")
    return replace(caller, closed=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
