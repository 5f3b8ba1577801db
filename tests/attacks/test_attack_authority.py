"""Ways around a grant: spellings, second names, references, caches, derived tokens, other users."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from inhabit.connectors.mcp.tools import Listing, read_tools
from inhabit.connectors.openapi import OpenApiConnector
from inhabit.contracts.effects import Effects
from inhabit.contracts.operation import Operation
from inhabit.contracts.principal import Principal
from inhabit.contracts.program import CallSite, IssuedCall, Prepared, Program
from inhabit.errors import InvalidInput
from inhabit.kernel.grants import Grant, Permitted
from inhabit.limits import Limits
from inhabit.runtime.bridge import Bridge
from inhabit.runtime.check import Checker
from inhabit.runtime.context import RunContext
from inhabit.runtime.schemas import Validators
from tests.attacks.conftest import Target
from tests.connectors.openapi_kit import Upstream, call, context

OPERATION = Operation("kit.write", {"type": "object"}, effects=Effects())


def permits(caveat: dict[str, Any], arguments: dict[str, Any]) -> bool:
    grant = Grant.of({"pattern": "kit.write", "caveats": [caveat]})
    return isinstance(grant.permits(OPERATION, arguments, 0, {}), Permitted)


@pytest.mark.parametrize("path", [
    "docs/../x", "docs\\..\\x", "docs/..%2fx", "docs/%2e%2e/x", "docs/%252e%252e/x", "docs/%25252e%25252e/x", "docs/..;/x", "docs/.. /x", "docs/．．/x",
    "docs/.\t./x", "docs/..\x00/x", "docs/%2E./x", "docs/%5c..%5cx", "docs/....//x", "docs/..\u200b/x", "docs/.%00./x", "docs/..\r\n/x",
    "docs/․․/x", "docs/..?a", "docs/..#a", "docs/..", "docs/%c0%ae%c0%ae/../x", "/docs/x", "C:\\x", "\\\\host\\x", "file:///x", 7, None, ["docs/"],
])
def test_E03_a_prefix_is_not_left_by_any_spelling(path: Any):
    assert not permits({"argument": "path", "prefix": "docs/"}, {"path": path})


@pytest.mark.parametrize("path", ["docs/a", "docs/", "docs/a b/ü.txt", "docs/a..b/c", "docs/a%20b", "docs/100%", "docs/.hidden", "docs/v1.2/…"])
def test_E03_plain_paths_below_a_prefix_are_granted(path: str):
    assert permits({"argument": "path", "prefix": "docs/"}, {"path": path}) == ("…" not in path)


@pytest.mark.parametrize(("allowed", "value"), [(1, True), ([1], [True]), ({"x": 1}, {"x": True}), ([0], [False]), ("\u00e9", "e\u0301"), (1, 1.0), (None, 0), ("", None)])
def test_E03_one_of_takes_no_look_alike(allowed: Any, value: Any):
    assert permits({"argument": "a", "one_of": [allowed]}, {"a": allowed})
    assert not permits({"argument": "a", "one_of": [allowed]}, {"a": value})


def test_E03_a_bounded_argument_has_no_second_name_in_mcp():
    listing = Listing(({"name": "page", "inputSchema": {"type": "object", "properties": {"per-page": {"type": "integer"}}}},))
    tool = read_tools("kit", listing, lambda _name, _tool: Effects()).by_operation["kit.page"]
    assert tool.arguments({"per_page": 5}) == {"per-page": 5}
    for both in ({"per_page": 5, "per-page": 1000}, {"per-page": 1000, "per_page": 5}):
        with pytest.raises(InvalidInput):
            tool.arguments(both)


async def test_E03_a_bounded_argument_has_no_second_name_in_openapi(tmp_path: Any):
    body = {"type": "object", "properties": {"max-amount": {"type": "number"}}, "additionalProperties": True}
    document = {"openapi": "3.1.0", "info": {"title": "t", "version": "1"}, "paths": {"/pay": {"post": {
        "operationId": "pay", "requestBody": {"content": {"application/json": {"schema": body}}}, "responses": {"200": {"description": "ok"}}}}}}
    async with Upstream() as upstream:
        source = tmp_path / "pay.json"
        source.write_text(json.dumps({**document, "servers": [{"url": upstream.url}]}))
        connector = OpenApiConnector("bank", str(source), base_url=upstream.url)
        await connector.open(context(tmp_path))
        try:
            await call(connector, "bank.pay.pay", {"max_amount": 5})
            assert upstream.seen[-1].json == {"max-amount": 5}
            with pytest.raises(InvalidInput):
                await call(connector, "bank.pay.pay", {"max_amount": 5, "max-amount": 1e9})
            assert len(upstream.seen) == 1
        finally:
            await connector.close()


@pytest.mark.asyncio(loop_scope="session")
async def test_E03_a_default_does_not_get_past_a_bound(target: Target):
    grant = [{"pattern": "kit.write", "caveats": [{"argument": "amount", "max": 100}]}]
    run = await target.run("return await kit.write({ path: 'x' }).catch(e => e.code)", grant=grant)
    assert run.value == "denied" and target.wrote == []
    assert (await target.run("return await kit.write({ path: 'x', amount: 5 })", grant=grant)).value == "x"


# -- binary references ------------------------------------------------------------------------------------------------


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("key", ["$binary", "\\u0024binary", "$\\u0062inary", "\\u0024\\u0062inary"])
async def test_E01_a_reference_that_the_run_was_not_given_opens_nothing(target: Target, key: str):
    stored = (await target.run("return await kit.store({ text: 'of bob' })", principal="bob")).value
    run = await target.run(f"return await kit.open({{ reference: JSON.parse('{{\"{key}\": \"{stored['$binary']}\"}}') }}).catch(e => e.code)")
    assert run.value == "arguments_invalid"


@pytest.mark.parametrize("body", [
    b'{"reference":{"$binary":"%s"}}', b'{"reference":{"\\u0024binary":"%s"}}', b'{"reference":{"$\\u0062inary":"%s"}}', b'{"reference":{"a":[{"\\u0024binary":"%s"}]}}'])
@pytest.mark.asyncio(loop_scope="session")
async def test_D17_a_worker_cannot_escape_a_reference_past_the_bridge(target: Target, body: bytes):
    parts = target.app.runtime.parts
    bridge = Bridge(parts.directory, parts.journal, parts.blobs, parts.now_ms)
    held = RunContext("r", Principal("eve"), Grant.of("**"), Limits())
    admitted = bridge.admit(held, IssuedCall(1, "kit.open", body.replace(b"%s", b"0" * 64)))
    assert admitted.error is not None and admitted.error.specific_code == "arguments_invalid"


# -- what is kept between runs ----------------------------------------------------------------------------------------


class _LyingIsolate:
    engine_version = "e"

    def __init__(self, code: str) -> None:
        self.code = code

    async def prepare(self, program: Program, names: tuple[str, ...]) -> Prepared:
        return Prepared(self.code, (CallSite("kit.echo", 1, 1),))


class _AnyCatalog:
    def check(self, calls: Any, visible: Any) -> tuple[()]:
        return ()

    def stubs_for(self, names: Any) -> str:
        return ""


async def test_E19_a_worker_of_one_tenant_does_not_write_what_another_tenant_runs():
    checker = Checker(_AnyCatalog())
    program = Program("return await kit.echo({})", "typescript")

    async def prepared(isolate: Any, tenant: str) -> str:
        return (await checker.check(program, isolate, ("kit",), lambda _: True, Limits(), tenant)).code

    assert await prepared(_LyingIsolate("stolen"), "evil") == "stolen"
    assert await prepared(_LyingIsolate("honest"), "acme") == "honest"


async def test_B30_what_a_worker_prepares_is_not_kept_without_bound():
    checker, huge = Checker(_AnyCatalog()), _LyingIsolate("x" * 5_000_000)
    await checker.check(Program("return 1", "typescript"), huge, (), lambda _: True, Limits(), "t")  # pyright: ignore[reportArgumentType]
    again = _LyingIsolate("small")
    assert (await checker.check(Program("return 1", "typescript"), again, (), lambda _: True, Limits(), "t")).code == "small"  # pyright: ignore[reportArgumentType]


# -- schemas that cost ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", ["(.*)(?<=a)(.*)(.*)(.*)b$", "^(?:(?=a)a+)+$", "(a|aa)+\\1$", "(x+x+)+(?!y)y"])
def test_B13_a_pattern_does_not_hold_the_host(pattern: str):
    operation = Operation("kit.echo", {"type": "object", "properties": {"a": {"type": "string", "pattern": pattern}}})
    with pytest.raises(InvalidInput):
        Validators().arguments(operation, {"a": "a" * 100_000 + "!"})


@pytest.mark.parametrize("word", ["allOf", "anyOf", "oneOf"])
@pytest.mark.parametrize("place", [{"$ref": "#/$defs/t0"}, {"properties": {"a": {"$ref": "#/$defs/t0"}}}], ids=["whole", "property"])
def test_B14_a_schema_that_doubles_at_each_step_does_not_hold_the_host(word: str, place: dict[str, Any]):
    steps = {f"t{n}": {word: [{"$ref": f"#/$defs/t{n + 1}"}, {"$ref": f"#/$defs/t{n + 1}"}]} for n in range(40)}
    operation = Operation("kit.echo", {"type": "object", **place}, definitions={**steps, "t40": {"type": "integer"}})
    with pytest.raises(InvalidInput, match=r"kit\.echo cannot be called.* 100000 places") as refused:
        Validators().ready(operation)
    assert refused.value.specific_code == "schema_too_large"
    with pytest.raises(InvalidInput, match="cannot be called"):
        Validators().ready(Operation("kit.echo", {"type": "object"}, output_schema=operation.input_schema, definitions=operation.definitions))


def test_B14_a_recursive_schema_is_still_enforced():
    tree = {"anyOf": [{"type": "array", "items": {"$ref": "#/$defs/tree"}}, {"type": "integer"}]}
    operation = Operation("kit.echo", {"type": "object", "properties": {"a": {"$ref": "#/$defs/tree"}}}, definitions={"tree": tree})
    Validators().arguments(operation, {"a": [1, [2]]})
    with pytest.raises(InvalidInput):
        Validators().arguments(operation, {"a": [1, ["x"]]})


def test_B13_patterns_with_look_around_still_match():
    operation = Operation("kit.echo", {"type": "object", "properties": {"a": {"type": "string", "pattern": r"^(?=.*\d)(?=.*[a-z])\S{8,}$"}}})
    Validators().arguments(operation, {"a": "abc12345678"})


# -- tokens and users -------------------------------------------------------------------------------------------------


@pytest.mark.asyncio(loop_scope="session")
async def test_E02_a_derived_token_cannot_revoke_or_see_the_one_it_came_from(target: Target):
    token, root = await target.app.create_token("ada")
    async with target.client_of(token) as owner:
        made = (await owner.post("/v1/tokens", json={"grant": ["kit.echo"]})).json()
        async with target.client_of(made["token"]) as child:
            assert [t["id"] for t in (await child.get("/v1/tokens")).json()["tokens"]] == [made["id"]]
            assert (await child.delete(f"/v1/tokens/{root.id}")).status_code == 404
            grandchild = (await child.post("/v1/tokens", json={"grant": ["**"]})).json()
            assert (await child.delete(f"/v1/tokens/{grandchild['id']}")).status_code == 204
        assert (await owner.get("/v1/runs")).status_code == 200
        assert (await owner.delete(f"/v1/tokens/{made['id']}")).status_code == 204


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize(("principal", "grant", "status"), [
    ("ada", ["kit.fail"], 404), ("default/ada/helper", ["**"], 404), ("ada", ["**"], 200), ("ada", ["kit.*"], 200)])
async def test_E02_a_part_of_the_authority_reads_a_part_of_the_past(target: Target, principal: str, grant: list[str], status: int):
    run = await target.run("return await kit.echo({ value: 'CANARY_SECRET' })")
    async with await target.client(principal, grant=grant) as client:
        for path in ("", "/result", "/entries", "/events"):
            answer = await client.get(f"/v1/runs/{run.run_id}{path}")
            assert answer.status_code == status and ("CANARY_SECRET" in answer.text) == (status == 200)
        assert (await client.post(f"/v1/runs/{run.run_id}/cancel")).status_code == status
        own = (await client.post("/v1/runs", json={"program": "return 1"})).json()["run"]
        assert (await client.get(f"/v1/runs/{own}")).status_code == 200


@pytest.mark.asyncio(loop_scope="session")
async def test_E18_nothing_of_a_run_is_shown_to_another_user_or_tenant(target: Target):
    run = await target.run("return 'CANARY_TENANT'", principal="acme/ada")
    for other in ("acme/bob", "evil/ada", "ada"):
        async with await target.client(other) as client:
            for path in ("", "/result", "/entries", "/entries/1", "/events", "/entries?after=0&limit=1000"):
                answer = await client.get(f"/v1/runs/{run.run_id}{path}")
                assert answer.status_code == 404 and "CANARY" not in answer.text
            assert "CANARY" not in (await client.get("/v1/runs?limit=200")).text


@pytest.mark.asyncio(loop_scope="session")
async def test_E01_search_check_and_nearest_name_nothing_outside_the_grant(target: Target):
    grant = Grant.of("kit.echo")
    caller = target.app.caller("ada", grant=grant)
    for query in ("write", "kit", "kit.write", "kit.wrote", "type Tree", "", "kit.*", "**", "amount path"):
        for language in ("typescript", "python"):
            assert "write" not in (await target.app.runtime.search(query, caller, language=language)).replace(repr(query), "").replace(f"unknown: {query}", "")
    run = await target.run("return [typeof kit.write, await kit['wri' + 'te']({ path: 'x' }).catch(e => [e.code, e.message])]", grant=grant)
    assert target.wrote == [] and run.value is not None and "nearest: kit.write" not in str(run.value)


@pytest.mark.asyncio(loop_scope="session")
async def test_D17_names_that_an_object_has_by_itself_are_no_operations(target: Target):
    run = await target.run(
        "const r = []; for (const n of ['__proto__', 'constructor', 'then', 'hasOwnProperty', '__defineGetter__']) {"
        " try { r.push(typeof (await kit[n]({}))) } catch (e) { r.push(e.code ?? e.name) } } return r")
    assert set(run.value) <= {"unknown_operation", "TypeError", "undefined", "not_found"}


@pytest.mark.asyncio(loop_scope="session")
async def test_B19_a_storm_of_unknown_names_leaves_the_host_answering(target: Target):
    gaps: list[float] = []
    done = asyncio.Event()

    async def heartbeat() -> None:
        while not done.is_set():
            begun = time.thread_time()
            await asyncio.sleep(0.005)
            gaps.append(time.thread_time() - begun)

    beating = asyncio.create_task(heartbeat())
    run = await target.run("const p = []; for (let i = 0; i < 900; i++) p.push(kit['n' + i + 'x'.repeat(1500)]({}).catch(e => 0)); return (await Promise.all(p)).length")
    done.set()
    await beating
    assert run.value == 900 and max(gaps) < 15   # of computing, whoever else computes; a search for each name takes minutes
