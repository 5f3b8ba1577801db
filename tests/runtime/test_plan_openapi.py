"""A plan over documents: later reads see what was held where the document says enough, and the change set names the writes that they may not
show. Nothing but reads reaches the upstream, and what is applied reaches it as it was shown.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from inhabit.connectors.openapi import OpenApiConnector
from inhabit.contracts.principal import Principal
from inhabit.errors import Unavailable
from inhabit.kernel.grants import Grant
from inhabit.runtime.plans import Plans
from inhabit.runtime.service import Caller
from tests.connectors.openapi_kit import Upstream, context
from tests.runtime.conftest import left
from tests.runtime.test_asking import settled

ADA = Caller(Principal("ada"), Grant.of("**"))
TEXT, NUMBER = {"type": "string"}, {"type": "integer"}
ISSUE = {"type": "object", "required": ["id", "number", "title", "state", "labels", "user"], "properties": {
    "id": NUMBER, "number": NUMBER, "title": TEXT, "state": TEXT, "body": {"type": "string", "nullable": True},
    "labels": {"type": "array", "items": {"type": "object", "properties": {"name": TEXT}}},
    "user": {"type": "object", "required": ["login"], "properties": {"login": TEXT}}}}
CUSTOMER = {"type": "object", "required": ["id"], "properties": {"id": TEXT, "email": TEXT, "balance": NUMBER}}
ISSUES, CUSTOMERS = "/repos/{owner}/{repo}/issues", "/v1/customers"


def operation(name: str, answer: Any = None, form: bool = False, query: tuple[str, ...] = (), **body: Any) -> dict[str, Any]:
    media = "application/x-www-form-urlencoded" if form else "application/json"
    said: dict[str, Any] = {"operationId": name, "responses": {"200": {"description": "", **({"content": {
        "application/json": {"schema": answer}}} if answer else {})}}}
    if query:
        said["parameters"] = [{"name": one, "in": "query", "schema": TEXT} for one in query]
    if body:
        said["requestBody"] = {"content": {media: {"schema": {"type": "object", "properties": body}}}}
    return said


def document() -> dict[str, Any]:
    issue, customer = {"$ref": "#/components/schemas/Issue"}, {"$ref": "#/components/schemas/Customer"}
    wrapped = {"type": "object", "required": ["data"], "properties": {"data": customer, "request": {"type": "object", "properties": {"took": NUMBER}}}}
    return {"openapi": "3.0.3", "info": {"title": "forge", "version": "1"}, "components": {"schemas": {"Issue": ISSUE, "Customer": CUSTOMER}}, "paths": {
        ISSUES: {"get": operation("listIssues", {"type": "array", "items": issue}, query=("state",)),
                 "post": operation("createIssue", issue, title=TEXT, body=TEXT, labels={"type": "array", "items": TEXT})},
        ISSUES + "/{issue_number}": {"parameters": [{"name": "issue_number", "in": "path", "required": True, "schema": NUMBER}], "get": operation("getIssue", issue), "patch": operation(
            "updateIssue", issue, title=TEXT, state=TEXT, labels={"type": "array", "items": TEXT})},
        "/repos/{owner}/{repo}/stats": {"get": operation("stats", {"type": "object", "properties": {"open": NUMBER}})},
        CUSTOMERS: {"get": operation("listCustomers", {"type": "object", "properties": {"data": {"type": "array", "items": customer}}}),
                    "post": operation("createCustomer", wrapped, form=True, email=TEXT)},
        CUSTOMERS + "/{customer}": {"get": operation("getCustomer", wrapped), "post": operation("updateCustomer", wrapped, form=True, email=TEXT),
                                    "delete": operation("deleteCustomer")}}}


class Forge(Upstream):
    """Two repositories with an issue each, one customer. `wrote`: method, path and body of everything but reads."""

    issues: dict[str, list[dict[str, Any]]]
    customers: dict[str, dict[str, Any]]
    wrote: list[tuple[str, str, bytes]]
    slow: asyncio.Event
    reached: asyncio.Event

    async def before(self, target: str) -> None:
        if target.endswith("/stats"):
            self.reached.set()
            await self.slow.wait()

    def start(self) -> Forge:
        self.issues = {"ada/shop": [issue(7, "leak")], "ada/other": [issue(7, "elsewhere")]}
        self.slow, self.reached = asyncio.Event(), asyncio.Event()
        self.slow.set()
        self.customers, self.wrote = {"cus_1": {"id": "cus_1", "email": "a@x.test", "balance": 5}}, []
        return self

    def answer(self, target: str, headers: dict[str, str]) -> tuple[Any, ...]:
        asked = self.seen[-1]
        if asked.method != "GET":
            self.wrote.append((asked.method, target, asked.body))
        value = self.value(asked.method, target.partition("?")[0], asked.body)
        return (404, "application/json", b"{}") if value is None else (200, "application/json", json.dumps(value).encode())

    def value(self, method: str, path: str, body: bytes) -> Any:
        if found := re.fullmatch(r"/repos/(\w+/\w+)/issues(?:/(\d+))?", path):
            issues = self.issues[found[1]]
            if method == "POST":
                issues.append(issue(len(issues) + 7, json.loads(body)["title"]))
                return issues[-1]
            if found[2] is None:
                return issues
            one = next((one for one in issues if one["number"] == int(found[2])), None)
            if one and method == "PATCH":
                one.update({name: value for name, value in json.loads(body).items() if name != "labels"})
            return one
        if path.endswith("/stats"):
            return {"open": 1}
        key = path.removeprefix(CUSTOMERS).strip("/")
        if key:
            if method == "DELETE":
                return self.customers.pop(key)
            return {"data": self.customers[key], "request": {"took": 3}} if key in self.customers else None
        return {"data": list(self.customers.values())}


def issue(number: int, title: str) -> dict[str, Any]:
    return {"id": number * 1000, "number": number, "title": title, "state": "open", "body": None, "labels": [], "user": {"login": "ada"}}


@pytest.fixture
def opened(opened_runtime: Any, tmp_path: Path) -> Any:
    @asynccontextmanager
    async def open_forge() -> AsyncGenerator[tuple[Any, Forge]]:
        forge = Forge().start()
        async with forge:
            (tmp_path / "forge.json").write_text(json.dumps(document()))
            connector = OpenApiConnector("forge", tmp_path / "forge.json", base_url=forge.url, effects={"forge.*": {"trust": "trusted"}})
            await connector.open(context(tmp_path / "cache"))
            try:
                async with opened_runtime(connector) as (runtime, _store):
                    yield runtime, forge
            finally:
                await connector.close()
    return open_forge


def spelled(source: str) -> str:
    """`forge.getIssue` as the connector names it."""
    def name(found: re.Match[str]) -> str:
        words = re.sub(r"([A-Z])", r"_\1", found[1]).lower()
        return f"forge.{'customers' if 'ustomer' in found[1] else 'repos'}.{words}("
    return re.sub(r"forge\.(\w+)\(", name, source)


async def planned(runtime: Any, source: str) -> tuple[Any, Any]:
    run = await runtime.execute(spelled(source), ADA, mode="plan")
    assert run.state == "completed", run.error
    return run, await Plans(runtime).show(run.run_id, ADA)


async def test_E20_issues_that_were_made_and_closed_are_seen_by_later_reads_and_then_applied(opened: Any) -> None:
    source = """
const repo = { owner: "ada", repo: "shop" };
const made = await forge.createIssue({ ...repo, title: "crash", body: "it does" });
await forge.updateIssue({ ...repo, issue_number: 7, state: "closed" });
const again = await forge.getIssue({ ...repo, issue_number: made.number });
const all = await forge.listIssues(repo);
const open = await forge.listIssues({ ...repo, state: "open" });
const other = await forge.listIssues({ owner: "ada", repo: "other" });
await forge.updateIssue({ ...repo, issue_number: made.number, title: `${again.title} (${all.length})` });
const last = await forge.getIssue({ ...repo, issue_number: made.number });
return [again.title, again.body, all.map(i => [i.title, i.state]), open.map(i => i.title), other.map(i => i.title), last.title, made.number];
"""
    async with opened() as (runtime, forge):
        run, changes = await planned(runtime, source)
        assert forge.wrote == []
        title, body, listed, still_open, other, last, number = run.value
        assert (title, body, last) == ("crash", "it does", "crash (2)")
        assert listed == [["leak", "closed"], ["crash", ""]] and still_open == [] and other == ["elsewhere"]
        assert number > 2**52 and [write["from"] for write in changes["writes"]] == ["simulation"] * 3
        done = await Plans(runtime).apply(run.run_id, ADA, digest=changes["hash"])
        assert done.state == "completed", done.error
        assert [(method, path) for method, path, _ in forge.wrote] == [
            ("POST", "/repos/ada/shop/issues"), ("PATCH", "/repos/ada/shop/issues/7"), ("PATCH", "/repos/ada/shop/issues/8")]
        assert [one["title"] for one in forge.issues["ada/shop"]] == ["leak", "crash (2)"]


async def test_what_a_simulation_made_up_is_not_laid_over_what_is_live(opened: Any) -> None:
    """A change without a read before it: its answer has the least of all that is required, the later read has what is true."""
    source = """
const repo = { owner: "ada", repo: "shop" };
const said = await forge.updateIssue({ ...repo, issue_number: 7, title: "new" });
const read = await forge.getIssue({ ...repo, issue_number: 7 });
return [said.user.login, read.title, read.state, read.user.login, read.id];
"""
    async with opened() as (runtime, forge):
        run, _ = await planned(runtime, source)
        assert run.value == ["", "new", "open", "ada", 7000] and forge.wrote == []


async def test_customers_in_an_envelope(opened: Any) -> None:
    source = """
const made = (await forge.createCustomer({ email: "b@x.test" })).data;
await forge.updateCustomer({ customer: "cus_1", email: "c@x.test" });
const one = await forge.getCustomer({ customer: "cus_1" });
const two = await forge.getCustomer({ customer: made.id });
const all = (await forge.listCustomers({})).data;
await forge.deleteCustomer({ customer: "cus_1" });
let gone = "";
try { await forge.getCustomer({ customer: "cus_1" }) } catch (error) { gone = error.code }
const left = (await forge.listCustomers({})).data;
return [one.data, one.request.took, two.data.email, all.map(c => c.email), gone, left.map(c => c.email), made.id];
"""
    async with opened() as (runtime, forge):
        run, changes = await planned(runtime, source)
        one, took, two, emails, gone, left, made = run.value
        assert one == {"id": "cus_1", "email": "c@x.test", "balance": 5} and took == 3 and two == "b@x.test"
        assert emails == ["c@x.test", "b@x.test"] and gone == "not_found" and left == ["b@x.test"] and made.startswith("planned_")
        assert forge.wrote == [] and not any("unseen" in read for read in changes["reads"])


async def test_a_read_names_the_held_writes_that_it_may_not_show(opened: Any) -> None:
    source = """
const repo = { owner: "ada", repo: "shop" };
await forge.updateIssue({ ...repo, issue_number: 7, title: "new", labels: ["bug"] });
await forge.updateIssue({ owner: "ada", repo: "other", issue_number: 7, title: "other" });
await forge.getIssue({ ...repo, issue_number: 7 });
await forge.stats(repo);
await forge.listIssues({ ...repo, state: "open" });
await forge.deleteCustomer({ customer: "cus_1" });
"""
    async with opened() as (runtime, _forge):
        _, changes = await planned(runtime, source)
        assert [(read["operation"], read.get("unseen")) for read in changes["reads"]] == [
            ("forge.repos.get_issue", [1]),            # labels are answered as something else than they are given
            ("forge.repos.stats", [1, 2]),            # nothing says what it counts
            ("forge.repos.list_issues", [1, 2])]       # a filter of the upstream's


async def test_a_plan_that_is_taken_up_again_lays_the_same_over_its_reads(opened: Any) -> None:
    source = """
const made = (await forge.createCustomer({ email: "b@x.test" })).data;
await forge.updateCustomer({ customer: "cus_1", email: "c@x.test" });
await forge.stats({ owner: "ada", repo: "shop" });
const all = (await forge.listCustomers({})).data;
return all.map(c => [c.email, c.id === made.id]);
"""
    async with opened() as (runtime, forge):
        forge.slow.clear()
        task = asyncio.create_task(runtime.execute(spelled(source), ADA, mode="plan"))
        await forge.reached.wait()
        run_id = left(runtime)
        with pytest.raises(Unavailable):
            await task
        forge.slow.set()
    async with opened() as (runtime, forge):
        done = await settled(runtime, run_id)
        assert done.value == [["c@x.test", False], ["b@x.test", True]] and forge.wrote == []
