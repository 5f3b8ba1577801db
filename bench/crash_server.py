"""The whole server, killed under load: the other half of `bench.crash`.

A lane is a home of its own. Its round: fork `inhabit serve` (see `crash_nursery`), let clients run programs over
HTTP, SIGKILL it at a random moment: most often under load, every fifth time while it still starts and settles what
the last one left. At the end one more start, and then every run is asked for: what a client was told must still be so,
every run must have an honest end, and the ledger must hold each write that must not be repeated once.

Several lanes run at once: a start waits for its workers for much of its time. What clients were told and how often
was killed lies in the lane's folder, so that a bench that was stopped goes on where it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from bench.crash_ledger import connect
from bench.crash_nursery import ALL_STEPS, ServerNursery, Step
from bench.crash_told import summed
from inhabit.store.store import Store

__all__ = ["Findings", "ServerCrashes", "journal_steps", "random_kills"]

CLIENTS = 6
LANES = 3
_SETTLE_S = 60.0
_UNDER_LOAD_S, _WHILE_STARTING_S = 0.6, 0.5
_PROGRAM = """
const { tag } = input as { tag: string };
const seen = await ledger.look({ tag });
const [a, b] = await Promise.all([ledger.put({ tag }), ledger.look({ tag: "other" })]);
const sent = await ledger.send({ tag });
return `${seen}:${a}:${sent}`;
"""
_HONEST = {"completed", "suspended", "failed"}
"""A run whose write is in doubt sleeps over the question what became of it."""


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


async def random_kills(folder: Path, kills: int, seed: str) -> Findings:
    """`kills` in all, over several lanes at once."""
    shares = [len(range(lane, kills, LANES)) for lane in range(LANES)]
    lanes = [ServerCrashes(folder / f"lane{lane}", f"{seed} lane {lane}") for lane in range(LANES)]
    running = (lane.run(share) for lane, share in zip(lanes, shares, strict=True) if share)
    return summed(Findings(), await asyncio.gather(*running))


async def journal_steps(folder: Path, every: int = 1) -> tuple[Findings, list[str]]:
    """Kill at each step of recording one run, or at every n-th; also the steps' names. Always done anew."""
    await asyncio.to_thread(shutil.rmtree, folder / "steps", ignore_errors=True)
    crashes = ServerCrashes(folder / "steps", "steps")
    return await crashes.run_steps(every)


class ServerCrashes:
    """`folder` gets the configuration, the home and the ledger. Raises `RuntimeError` when the server does not start."""

    def __init__(self, folder: Path, seed: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._log = folder / "told.jsonl"
        self._told: dict[str, tuple[str, Any, str]] = {}
        self._token = ""
        self._kills = 0
        for line in self._log.read_text().splitlines() if self._log.exists() else ():
            self._remember(json.loads(line))
        self._chance = random.Random(f"{seed} from {self._kills}")
        (folder / "inhabit.toml").write_text('name = "crash"\n[python.world]\nmodule = "bench.crash_ledger:capabilities"\n')
        connect(str(folder / "ledger.db")).close()

    async def run(self, kills: int) -> Findings:
        """Kill until it was done `kills` times in this folder, and then look."""
        async with ServerNursery(self._folder) as nursery, httpx2.AsyncClient(timeout=90.0) as http:
            while self._kills < kills:
                await self._round(nursery, http)
                self._note({"kill": self._kills + 1})
            return await self._look_at_the_rest(nursery, http)

    async def run_steps(self, every: int) -> tuple[Findings, list[str]]:
        async with ServerNursery(self._folder) as nursery, httpx2.AsyncClient(timeout=90.0) as http:
            await self._killed_at(ALL_STEPS, nursery, http)
            said, nursery.steps = nursery.steps, []
            for step in said[::every]:
                await self._killed_at(step, nursery, http)
            return await self._look_at_the_rest(nursery, http), [" ".join(step) for step in nursery.steps]

    async def _round(self, nursery: ServerNursery, http: httpx2.AsyncClient) -> None:
        await nursery.fork()
        if self._token and self._chance.random() < 0.2:
            await asyncio.sleep(self._chance.uniform(0.0, _WHILE_STARTING_S))
            await nursery.kill()
            return
        url = await self._listening(nursery)
        load = [asyncio.create_task(self._client(http, url)) for _ in range(CLIENTS)]
        await asyncio.sleep(self._chance.uniform(0.0, _UNDER_LOAD_S))
        await nursery.kill()
        _, late = await asyncio.wait(load, timeout=5)   # each hears that its server is gone
        for task in late:
            task.cancel()
        for task in load:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _killed_at(self, step: Step, nursery: ServerNursery, http: httpx2.AsyncClient) -> None:
        """Record one run; if it has this step, the server kills itself there."""
        await nursery.fork(kill_at=step)
        url = await self._listening(nursery)
        answered = await self._one_run(http, url, wait_s=30.0)
        if answered:
            await nursery.kill()
        else:
            await nursery.dead()
            self._note({"kill": self._kills + 1})

    async def _listening(self, nursery: ServerNursery) -> str:
        served = await nursery.listening()
        if served.token:
            self._note({"token": served.token})
        return served.url

    def _note(self, what: dict[str, Any]) -> None:
        with self._log.open("a") as log:
            log.write(json.dumps(what) + "\n")
        self._remember(what)

    def _remember(self, what: dict[str, Any]) -> None:
        self._kills = what.get("kill", self._kills)
        self._token = what.get("token", self._token)
        if "run" in what:
            self._told[what["run"]] = (what["state"], what["result"], what["tag"])

    async def _client(self, http: httpx2.AsyncClient, url: str) -> None:
        """Run programs until the server is gone."""
        while await self._one_run(http, url, wait_s=self._chance.choice((0.0, 30.0))):
            pass

    async def _one_run(self, http: httpx2.AsyncClient, url: str, wait_s: float) -> bool:
        """Whether it was answered. What was answered is told, and must stay true."""
        tag = f"{self._chance.getrandbits(64):016x}"
        try:
            answer = await http.post(f"{url}/v1/runs", json={"program": _PROGRAM, "input": {"tag": tag}, "wait_s": wait_s},
                                     headers=self._headers)
        except httpx2.HTTPError:
            return False
        if answer.status_code not in (200, 202):
            raise RuntimeError(f"the server answered {answer.status_code}: {answer.text[:400]}")
        body = answer.json()
        self._note({"run": body["run"], "state": body["state"], "result": body.get("result"), "tag": tag})
        return True

    @property
    def _headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self._token}"}

    async def _look_at_the_rest(self, nursery: ServerNursery, http: httpx2.AsyncClient) -> Findings:
        found = Findings(kills=self._kills)
        await nursery.fork()
        url = await self._listening(nursery)
        try:
            await self._compare(http, url, found)
        finally:
            await nursery.kill()
        home = self._folder / ".inhabit"
        store = Store.open(home / "tenants" / "default" / "journal.db", key=home / "audit.key")
        found.lost += await store.check()
        await store.close()
        return found

    async def _compare(self, http: httpx2.AsyncClient, url: str, found: Findings) -> None:
        ends: dict[str, dict[str, Any]] = {}
        before: str | None = None
        while True:
            page = (await http.get(f"{url}/v1/runs", params={"limit": 200} | ({"before": before} if before else {}), headers=self._headers)).json()
            for shown in page["runs"]:
                answer = await http.get(f"{url}/v1/runs/{shown['run']}", params={"wait_s": _SETTLE_S}, headers=self._headers)
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
