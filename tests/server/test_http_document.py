"""The OpenAPI document, health and metrics."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx2
import jsonschema_rs
import orjson
import pytest
from starlette.routing import Route

from inhabit.server.endpoints import routes
from inhabit.server.http import endpoints_of
from inhabit.server.metrics import Metrics


async def no_backup(target: Path) -> Path:
    return target


async def test_every_route_is_documented_and_nothing_else(nobody: httpx2.AsyncClient, runtime: Any, journal: Any, tokens: Any):
    served = {(method, re.sub(r":\w+\}", "}", route.path))
              for route in routes(endpoints_of(runtime, journal, Metrics(), "x", tokens, no_backup)) if isinstance(route, Route)
              for method in route.methods or () if method != "HEAD"}
    document = (await nobody.get("/openapi.json")).json()
    described = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    assert described == served and len(served) == 21
    ids = [operation["operationId"] for item in document["paths"].values() for operation in item.values()]
    assert len(set(ids)) == len(ids)


async def test_the_document_says_which_refusals_there_are(nobody: httpx2.AsyncClient):
    document = (await nobody.get("/openapi.json")).json()
    for path, item in document["paths"].items():
        for method, operation in item.items():
            statuses = set(operation["responses"])
            assert {"403", "421", "431", "500"} <= statuses
            assert ("401" in statuses) == (operation.get("security") != [])
            assert {"408", "413", "415", "422"} <= statuses or "requestBody" not in operation
            names = {p["name"] for p in operation["parameters"] if p["in"] == "path"}
            assert names == set(re.findall(r"\{(\w+)\}", path)), (method, path)
    assert "429" in document["paths"]["/v1/runs"]["post"]["responses"]
    text = orjson.dumps(document).decode()
    for ref in set(re.findall(r'"\$ref":"([^"]+)"', text)):
        node: Any = document
        for part in ref.removeprefix("#/").split("/"):
            node = node[part]


async def test_every_schema_in_the_document_is_a_valid_schema(nobody: httpx2.AsyncClient):
    document = (await nobody.get("/openapi.json")).json()
    for schema in document["components"]["schemas"].values():
        jsonschema_rs.Draft202012Validator(schema)
    for item in document["paths"].values():
        for operation in item.values():
            if "requestBody" in operation:
                jsonschema_rs.Draft202012Validator(operation["requestBody"]["content"]["application/json"]["schema"])


@pytest.mark.parametrize("program", ["value", "fail", "wait"])
async def test_answers_fit_the_document(ada: httpx2.AsyncClient, program: str):
    document = (await ada.get("/openapi.json")).json()
    answer = await ada.post("/v1/runs", json={"program": program, "wait_s": 0})
    described = document["paths"]["/v1/runs"]["post"]["responses"][str(answer.status_code)]
    jsonschema_rs.validate({**described["content"]["application/json"]["schema"], "components": {"schemas": {"Error": {}}}},
                           answer.json())


async def test_health_is_open_and_tells_little(nobody: httpx2.AsyncClient, runtime: Any):
    answer = await nobody.get("/v1/health")
    assert answer.status_code == 200 and set(answer.json()) == {"status", "version"}
    runtime.status = "no runs: /var/lib/inhabit/journal.db: disk full"
    failing = await nobody.get("/v1/health")
    assert failing.status_code == 503 and "/var/lib" not in failing.text


async def test_metrics_count_by_route_and_never_by_id(ada: httpx2.AsyncClient):
    await ada.post("/v1/runs", json={"program": "value"})
    await ada.get("/v1/runs/run00000")
    await ada.get("/v1/runs/run77777")
    await ada.get("/no/such/path")
    answer = await ada.get("/v1/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = answer.text.splitlines()
    assert 'inhabit_http_requests_total{method="POST",route="/v1/runs",status="2xx"} 1' in lines
    assert 'inhabit_http_requests_total{method="GET",route="/v1/runs/{run_id}",status="4xx"} 1' in lines
    assert 'inhabit_http_requests_total{method="GET",route="none",status="4xx"} 1' in lines
    assert 'inhabit_programs_total{door="http",state="completed"} 1' in lines
    assert "inhabit_operations 6" in lines and 'inhabit_http_request_seconds_count{route="/v1/runs/{run_id}"} 2' in lines
    assert "run77777" not in answer.text
    assert all(re.fullmatch(r'# TYPE \w+ \w+|\w+(\{[^}]*(\{run_id\}[^}]*)?\})? [\d.e+-]+', line) for line in lines)
