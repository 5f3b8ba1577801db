"""What is exported proves itself, and traces are in the words of the GenAI conventions."""

from __future__ import annotations

import base64
from pathlib import Path

import orjson
import pytest
from opentelemetry.proto_json.trace.v1.trace import TracesData
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes

from inhabit.store.audit.export import lines, spans
from inhabit.store.audit.merkle import Frontier, leaf_hash
from inhabit.store.audit.verify import open_readonly
from tests.store.audit.audit_kit import LONG, sample


async def test_every_record_is_a_line_with_its_leaf(tmp_path: Path) -> None:
    made = await sample(tmp_path)
    connection = open_readonly(made.path)
    read = [orjson.loads(line) for line in lines(connection)]
    assert len(read) == 12 * 7
    assert [one["kind"] for one in read[:7]] == ["header", "intent", "outcome", "intent", "outcome", "asked", "terminal"]
    assert all(one["audit"]["first"] <= one["number"] < one["audit"]["first"] + one["audit"]["records"] for one in read)
    assert read[2]["record"]["value"] == LONG.decode()
    connection.close()


async def test_a_run_is_a_trace_and_its_calls_are_tool_spans_without_values(tmp_path: Path) -> None:
    made = await sample(tmp_path)
    connection = open_readonly(made.path)
    documents = list(spans(connection))
    connection.close()
    assert len(documents) == 12 and not any(b"vvvv" in document for document in documents)
    run, *calls = orjson.loads(documents[0])["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert len(calls) == 2 and {call["parentSpanId"] for call in calls} == {run["spanId"]}
    names = {item["key"]: item["value"] for item in calls[0]["attributes"]}
    assert names["gen_ai.operation.name"] == {"stringValue": "execute_tool"}
    assert names["gen_ai.tool.name"] == {"stringValue": "shop.orders.cancel"}
    assert (names["inhabit.decision"], names["inhabit.rule"]) == ({"stringValue": "allow"}, {"stringValue": "r"})
    assert {item["key"] for call in calls for item in call["attributes"]} & {"gen_ai.tool.call.arguments", "gen_ai.tool.call.result"} == set()
    assert len(run["traceId"]) == 32 and len(run["spanId"]) == 16 and "parentSpanId" not in run


@pytest.mark.parametrize("values", [False, True])
async def test_traces_are_read_by_opentelemetrys_own_parser_and_speak_its_conventions(values: bool, tmp_path: Path) -> None:
    made = await sample(tmp_path)
    connection = open_readonly(made.path)
    documents = [TracesData.from_json(line) for line in spans(connection, values=values)]
    connection.close()
    known = {value for name, value in vars(gen_ai_attributes).items() if name.isupper() and isinstance(value, str)}
    operations = {one.value for one in gen_ai_attributes.GenAiOperationNameValues}
    seen = [span for document in documents for resource in document.resource_spans for scope in resource.scope_spans for span in scope.spans]
    assert len(seen) == 12 * 3 and len({span.span_id for span in seen}) == len(seen)
    for span in seen:
        attributes = {one.key: one.value.string_value for one in span.attributes}
        assert len(span.trace_id) == 16 and len(span.span_id) == 8 and span.end_time_unix_nano >= span.start_time_unix_nano > 0
        assert {key for key in attributes if key.startswith("gen_ai.")} <= known and attributes["gen_ai.operation.name"] in operations
        assert span.name == " ".join(filter(None, [attributes["gen_ai.operation.name"], attributes.get("gen_ai.tool.name") or attributes.get("gen_ai.agent.name")]))
        called = attributes["gen_ai.operation.name"] == "execute_tool"
        assert (span.parent_span_id != b"") is called
        assert ("gen_ai.tool.call.arguments" in attributes, "gen_ai.tool.call.result" in attributes) == (called and values,) * 2


def test_the_tree_is_that_of_RFC_6962() -> None:
    """Vectors of the certificate transparency reference implementation."""
    leaves = [bytes.fromhex(text) for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")]
    roots = ["6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d", "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
             "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77", "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
             "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4", "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
             "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c", "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"]
    tree = Frontier()
    for leaf, root in zip(leaves, roots, strict=True):
        tree.extend([leaf_hash(leaf)])
        assert tree.root().hex() == root
        assert Frontier(tree.size, tree.peaks).root() == tree.root()
    assert base64.b64encode(Frontier().root()) == b"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
