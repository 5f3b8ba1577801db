"""The whole server, killed under load: the other half of `bench.crash`.

A round: start `inhabit serve`, let clients run programs over HTTP, SIGKILL it at a random moment. The next round's
start settles what was left. At the end one more start, and then every run is asked for: what a client was told must
still be so, every run must have an honest end, and the ledger must hold each write that must not be repeated once.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from bench.crash_ledger import LEDGER_ENV, connect
from bench.report import ROOT
from inhabit.store.store import Store

__all__ = ["Findings", "ServerCrashes"]

CLIENTS = 6
_START_S = 60.0
_SETTLE_S = 60.0
_PROGRAM = """
const { tag } = input as { tag: string };
const seen = await ledger.look({ tag });
const [a, b] = await Promise.all([ledger.put({ tag }), ledger.look({ tag: "other" })]);
const sent = await ledger.send({ tag });
return `${seen}:${a}:${sent}`;
"""
_HONEST = {"completed", "unknown", "failed"}


@dataclass
class Findings:
    """`lost`: told and not so. `dishonest`: runs without an honest end, or whose end contradicts the ledger."""

    kills: int = 0
    told: int = 0
    runs: int = 0
    states: Counter[str] = field(default_factory=Counter[str])
    lost: list[str] = field(default_factory=list[str])
    dishonest: list[str] = field(default_factory=list[str])
    repeated: list[str] = field(default_factory=list[str])


class ServerCrashes:
    """`folder` gets the configuration, the home and the ledger. Raises `RuntimeError` when the server does not start."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self._folder = folder
        self._chance = chance
        self._told: dict[str, tuple[str, Any, str]] = {}
        self._token = ""
        (folder / "inhabit.toml").write_text('name = "crash"\n[python.world]\nmodule = "bench.crash_ledger:capabilities"\n')
        connect(str(folder / "ledger.db")).close()

    async def run(self, kills: int) -> Findings:
        found = Findings()
        for _ in range(kills):
            server, url = await self._start()
            load = [asyncio.create_task(self._client(url)) for _ in range(CLIENTS)]
            await asyncio.sleep(self._chance.uniform(0.0, 0.6))
            server.send_signal(signal.SIGKILL)
            await server.wait()
            for task in load:
                task.cancel()
            await asyncio.gather(*load, return_exceptions=True)
            found.kills += 1
        await self._look_at_the_rest(found)
        return found

    async def _start(self) -> tuple[asyncio.subprocess.Process, str]:
        environment = os.environ | {LEDGER_ENV: str(self._folder / "ledger.db"), "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
        server = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "import sys; from inhabit.cli import main; sys.exit(main())", "serve", "--port", "0",
            "--as", "ada", "--config", str(self._folder / "inhabit.toml"), cwd=self._folder, env=environment,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
        assert server.stdout is not None
        said, url = "", ""
        async with asyncio.timeout(_START_S):
            while "token" not in said:
                line = (await server.stdout.readline()).decode()
                if not line:
                    stderr = (await server.communicate())[1].decode()
                    raise RuntimeError(f"the server did not start: {stderr[-800:]}")
                said += line
        url = re.search(r"http://\S+", said)[0].removesuffix("/mcp")  # type: ignore[index]
        if token := re.search(r"inh_[0-9a-f]{64}", said):
            self._token = token[0]
        self._drain = asyncio.create_task(server.communicate())
        return server, url

    def _http(self, url: str) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(base_url=url, headers={"authorization": f"Bearer {self._token}"}, timeout=90.0)

    async def _client(self, url: str) -> None:
        """Run programs until the server is gone. Told is what was answered."""
        async with self._http(url) as http:
            while True:
                tag = f"{self._chance.getrandbits(64):016x}"
                wait_s = self._chance.choice((0.0, 30.0))
                try:
                    answer = await http.post("/v1/runs", json={"program": _PROGRAM, "input": {"tag": tag}, "wait_s": wait_s})
                except httpx2.HTTPError:
                    return
                if answer.status_code not in (200, 202):
                    raise RuntimeError(f"the server answered {answer.status_code}: {answer.text[:400]}")
                body = answer.json()
                self._told[body["run"]] = (body["state"], body.get("result"), tag)

    async def _look_at_the_rest(self, found: Findings) -> None:
        server, url = await self._start()
        try:
            async with self._http(url) as http:
                await self._compare(http, found)
        finally:
            server.send_signal(signal.SIGKILL)
            await server.wait()
        store = Store.open(self._folder / ".inhabit" / "journal.db")
        found.lost += await store.check()
        await store.close()

    async def _compare(self, http: httpx2.AsyncClient, found: Findings) -> None:
        ends: dict[str, dict[str, Any]] = {}
        before: str | None = None
        while True:
            page = (await http.get("/v1/runs", params={"limit": 200} | ({"before": before} if before else {}))).json()
            for shown in page["runs"]:
                answer = await http.get(f"/v1/runs/{shown['run']}", params={"wait_s": _SETTLE_S})
                ends[shown["run"]] = answer.json()
            before = page["before"]
            if not before:
                break
        sent = self._effects()  # only now: a run that went on after the last start may have sent since
        for run_id, now in ends.items():
            self._judge(run_id, now, sent, found)
        found.runs, found.told = len(ends), len(self._told)
        found.repeated += [tag for tag, count in sent.items() if count > 1]
        found.lost += [f"run {run_id} was answered and is gone" for run_id in self._told.keys() - ends.keys()]

    def _judge(self, run_id: str, now: dict[str, Any], sent: Counter[str], found: Findings) -> None:
        found.states[now["state"]] += 1
        if now["state"] not in _HONEST:
            found.dishonest.append(f"run {run_id} is {now['state']}")
        if now["state"] == "completed":
            tag = str(now["result"]).rpartition(":")[2]
            if sent[tag] != 1:
                found.dishonest.append(f"run {run_id} is completed and sent {sent[tag]} times")
        if run_id in self._told:
            state, result, tag = self._told[run_id]
            if state == "completed" and (now["state"], now.get("result")) != (state, result):
                found.lost.append(f"run {run_id} was answered as completed {result}, it is {now['state']}")
            if now["state"] == "failed" and sent[tag]:
                found.dishonest.append(f"run {run_id} failed ({now.get('error')}) and had sent")

    def _effects(self) -> Counter[str]:
        connection = connect(str(self._folder / "ledger.db"))
        try:
            return Counter(tag for (tag,) in connection.execute("SELECT tag FROM effects WHERE operation = 'send'"))
        finally:
            connection.close()
