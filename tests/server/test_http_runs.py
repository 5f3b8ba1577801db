"""Runs over HTTP: start, look, list, read, stop."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import orjson

from tests.server.conftest import PICTURE


async def start(client: httpx2.AsyncClient, program: str, **more: Any) -> httpx2.Response:
    return await client.post("/v1/runs", json={"program": program, **more})


async def test_a_program_that_ends_answers_200_with_its_result(ada: httpx2.AsyncClient):
    answer = await start(ada, "value", input={"a": [1]})
    assert answer.status_code == 200
    assert answer.json() == {"run": "run00000", "state": "completed", "result": {"given": {"a": [1]}},
                             "logs": ["hello"], "calls": 1}
    assert answer.headers["location"] == "/v1/runs/run00000"


async def test_a_program_that_goes_on_answers_202_and_can_be_waited_for(ada: httpx2.AsyncClient, runtime: Any):
    answer = await start(ada, "wait", wait_s=0)
    assert (answer.status_code, answer.json()["state"]) == (202, "running")
    waiting = asyncio.create_task(ada.get(answer.headers["location"], params={"wait_s": 30}))
    await asyncio.sleep(0)
    runtime.end("run00000")
    assert (await waiting).json()["state"] == "completed"


async def test_a_program_that_does_not_fit_answers_422_with_its_problems(ada: httpx2.AsyncClient, journal: Any):
    answer = await start(ada, "bad")
    assert answer.status_code == 422 and answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": "urn:inhabit:error:program_invalid", "title": "Unprocessable Entity", "status": 422,
        "detail": "1:3: unexpected token", "code": "program_invalid", "retryable": False, "effect": "none",
        "details": {"problems": [{"line": 1, "column": 3, "message": "x"}]}}
    assert journal.headers == {}


async def test_a_failed_run_is_an_answer_with_its_error(ada: httpx2.AsyncClient):
    answer = await start(ada, "fail")
    assert answer.status_code == 200
    assert answer.json()["state"] == "failed" and answer.json()["error"]["code"] == "program_error"


async def test_what_nobody_expected_is_a_500_that_tells_nothing(app: Any):
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost",
                                  headers={"authorization": "Bearer ada-token"}) as client:
        answer = await start(client, "crash")
    assert answer.status_code == 500 and answer.json()["code"] == "internal"
    assert "secret detail" not in answer.text


async def test_H05_one_run_too_many_is_429_and_says_which_limit_and_when_to_come_again(ada: httpx2.AsyncClient):
    answer = await start(ada, "many")
    assert (answer.status_code, answer.json()["code"], answer.json()["retryable"]) == (429, "too_many_runs", True)
    assert answer.json()["details"] == {"limit": "live_runs_per_user", "value": 250, "unit": "runs"}
    assert int(answer.headers["retry-after"]) > 0


async def test_cancel_stops_a_run(ada: httpx2.AsyncClient):
    await start(ada, "wait", wait_s=0)
    answer = await ada.post("/v1/runs/run00000/cancel")
    assert answer.json()["state"] == "failed" and answer.json()["error"]["code"] == "cancelled"


async def test_the_list_is_paged_newest_first_and_holds_only_own_runs(ada: httpx2.AsyncClient, bob: httpx2.AsyncClient):
    for _ in range(3):
        await start(ada, "value")
    await start(bob, "value")
    first = (await ada.get("/v1/runs", params={"limit": 2})).json()
    assert [run["run"] for run in first["runs"]] == ["run00002", "run00001"]
    second = (await ada.get("/v1/runs", params={"limit": 2, "before": first["before"]})).json()
    assert [run["run"] for run in second["runs"]] == ["run00000"] and second["before"] is None
    assert (await ada.get("/v1/runs", params={"state": "failed"})).json()["runs"] == []


async def test_the_journal_is_readable_json(ada: httpx2.AsyncClient):
    await start(ada, "value", input=7)
    page = (await ada.get("/v1/runs/run00000/entries", params={"limit": 3})).json()
    assert page["header"]["source"] == "value" and page["header"]["input"] == 7
    assert [(e["number"], e["type"]) for e in page["entries"]] == [(1, "intent"), (2, "outcome"), (3, "delivered")]
    assert page["entries"][0]["arguments"] == {"limit": 3}
    rest = (await ada.get("/v1/runs/run00000/entries", params={"after": page["after"]})).json()
    assert [e["type"] for e in rest["entries"]] == ["logged", "terminal"] and rest["after"] is None


async def test_a_long_value_is_left_out_of_pages_and_whole_alone(ada: httpx2.AsyncClient):
    await start(ada, "value", input="x" * 70_000)
    entries = (await ada.get("/v1/runs/run00000/entries")).json()["entries"]
    assert entries[-1]["value"] == {"$omitted": len(orjson.dumps({"given": "x" * 70_000}))}
    assert len((await ada.get("/v1/runs/run00000/entries/5")).json()["value"]["given"]) == 70_000
    assert len((await ada.get("/v1/runs/run00000/result")).json()["result"]["given"]) == 70_000
    assert (await ada.get("/v1/runs/run00000/entries/6")).status_code == 404


async def test_a_run_without_an_end_has_no_result_yet(ada: httpx2.AsyncClient):
    await start(ada, "wait", wait_s=0)
    answer = await ada.get("/v1/runs/run00000/result")
    assert answer.status_code == 404 and "wait for its end" in answer.json()["fix"]


async def test_search_and_capabilities_show_what_the_token_may_use(ada: httpx2.AsyncClient, bob: httpx2.AsyncClient, runtime: Any):
    answer = await ada.post("/v1/search", json={"query": "orders", "language": "javascript", "budget_tokens": 500})
    assert answer.json() == {"declarations": "declare namespace shop {} // orders"}
    assert runtime.searches == [("orders", "typescript", 500)]
    assert [c["name"] for c in (await ada.get("/v1/capabilities")).json()["capabilities"]] == ["github", "shop"]
    assert [c["name"] for c in (await bob.get("/v1/capabilities")).json()["capabilities"]] == ["shop"]


async def call_and_vanish(app: Any, body: dict[str, Any], until: asyncio.Event) -> None:
    """A client that sends a request and closes its connection before the answer."""
    sent = [{"type": "http.request", "body": orjson.dumps(body), "more_body": False}]

    async def receive() -> dict[str, Any]:
        if sent:
            return sent.pop()
        await until.wait()
        return {"type": "http.disconnect"}

    async def send(_: Any) -> None:
        pass

    headers = [(b"host", b"localhost"), (b"authorization", b"Bearer ada-token"), (b"content-type", b"application/json")]
    await app({"type": "http", "http_version": "1.1", "method": "POST", "path": "/v1/runs", "raw_path": b"/v1/runs",
               "query_string": b"", "headers": headers, "root_path": "", "scheme": "http"}, receive, send)


async def test_a_client_that_disconnects_leaves_the_run_or_ends_it_as_it_asked(app: Any, runtime: Any, journal: Any):
    gone = asyncio.Event()
    gone.set()
    await call_and_vanish(app, {"program": "wait"}, gone)
    assert journal.state("run00000") == "running" and runtime.cancelled == []
    await call_and_vanish(app, {"program": "wait", "on_disconnect": "cancel"}, gone)
    assert journal.state("run00001") == "failed" and runtime.cancelled == ["run00001"]


async def test_a_binary_value_is_given_to_those_who_may_open_its_run_and_only_if_the_run_was_given_it(
        ada: httpx2.AsyncClient, bob: httpx2.AsyncClient):
    made = (await start(ada, "image")).json()
    path = f"/v1/runs/{made['run']}/binaries/{made['result']['picture']['$binary']}"
    answer = await ada.get(path)
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, PICTURE, "application/octet-stream")
    assert (await bob.get(path)).status_code == 404
    named = (await start(ada, "value", input=made["result"])).json()
    assert (await ada.get(path.replace(made["run"], named["run"]))).status_code == 404
