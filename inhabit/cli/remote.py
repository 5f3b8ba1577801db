"""A runtime in another process, seen through its HTTP API: what `inhabit mcp` speaks to where a server runs already."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from inhabit.cli.client import Api
from inhabit.contracts.program import LogLine
from inhabit.contracts.result import RunResult
from inhabit.contracts.run import Asked, Blobs, Mode
from inhabit.errors import NotFound, Unavailable
from inhabit.runtime.bodies import references
from inhabit.runtime.service import Caller, Runtime

__all__ = ["RemoteBlobs", "RemoteRuntime"]

_HELD = 1_000
"""Binary values whose run is known."""


class RemoteRuntime(Runtime):
    """The caller is the token that `api` sends, whatever is passed here. What systems upstream say of a call's progress
    stays in the server."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._capabilities: Sequence[Mapping[str, Any]] = ()
        self.blobs = RemoteBlobs(api)

    async def start(self) -> None:
        self._capabilities = (await self._api.get("/v1/capabilities"))["capabilities"]

    async def stop(self) -> None:
        """The server goes on."""

    async def search(self, query: str, caller: Caller, *, language: str = "typescript", budget_tokens: int = 1_500) -> str:
        answer = await self._api.post("/v1/search", {"query": query, "language": language, "budget_tokens": budget_tokens})
        return str(answer["declarations"])

    async def execute(self, source: str, caller: Caller, *, language: str | None = None, input: Any = None,
                      limits: Mapping[str, Any] | None = None, wait_s: float | None = None,
                      progress: Callable[[str], None] = lambda _text: None, mode: Mode = "live") -> RunResult:
        body = {"program": source, "language": language, "input": input, "limits": dict(limits) if limits else None,
                "wait_s": 30.0 if wait_s is None else wait_s, "conversation": caller.conversation or None, "mode": mode}
        return self.blobs.noted(await self._api.post("/v1/runs", body))

    async def wait(self, run_id: str, caller: Caller, *, wait_s: float = 0.0) -> RunResult:
        return self.blobs.noted(await self._api.get(f"/v1/runs/{run_id}", wait_s=wait_s))

    async def cancel(self, run_id: str, caller: Caller, *, by: str = "its owner") -> RunResult:
        """The record says that the owner did, whatever `by` is: to the server, this process is its owner."""
        return self.blobs.noted(await self._api.post(f"/v1/runs/{run_id}/cancel"))

    def capabilities(self, caller: Caller) -> Sequence[Mapping[str, Any]]:
        return self._capabilities

    def health(self) -> Mapping[str, Any]:
        return {"status": "ok"}


class RemoteBlobs(Blobs):
    """Binary values in results that were seen here. The server judges each: it gives out what the run itself was given."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._runs: OrderedDict[str, str] = OrderedDict()

    def noted(self, value: Mapping[str, Any]) -> RunResult:
        """A run as the server shows it; of the binary values in it is kept whose they are."""
        binaries = tuple(dict.fromkeys(str(reference["$binary"]) for reference in references(value.get("result"))))
        for name in binaries:
            self._runs[name] = str(value["run"])
            self._runs.move_to_end(name)
        while len(self._runs) > _HELD:
            self._runs.popitem(last=False)
        return RunResult(
            value["run"], value["state"], value.get("result"), value.get("truncated", False), value.get("error"),
            tuple(LogLine("log", line) for line in value.get("logs", ())), value.get("logs_truncated", False),
            value["calls"], next=value.get("next", ""), binaries=binaries, approvals=tuple(
                Asked(a["id"], 0, a["operation"], "", "", a["reason"], 0, a["expires_ms"]) for a in value.get("approvals", ())))

    async def put(self, data: bytes, *, tenant: str, mime: str) -> dict[str, Any]:
        raise Unavailable("binary values are kept by the server")

    async def get(self, reference: Mapping[str, Any], *, tenant: str) -> bytes:
        name = str(reference["$binary"])
        run = self._runs.get(name)
        if run is None or not name.isalnum():
            raise NotFound(f"no binary value {name[:12]}")
        return await self._api.bytes_of(f"/v1/runs/{run}/binaries/{name}")
