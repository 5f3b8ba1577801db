"""The control plane, killed: suspend, approve, reject, settle, roll back, while the server dies at random moments.

    control.kills                      SIGKILLs, most of them while people answer and rollbacks go on
    control.answers                    answers that were acknowledged
    control.lost                       of those, not there afterwards; and runs that were answered and are gone
    control.repeated                   writes that must not be repeated and were
    control.dishonest                  runs whose end the outside ledger contradicts, or that have none in the end

A lane is a home whose policy asks for both writes of a program: `pay` can say itself whether it took effect (`reconcile`) and
has a revert, `send` cannot, so its doubts are asked of a person. The person here looks into the outside ledger and says
what is so. At the end everything is answered, every run must have an end, and each is held against the ledger.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from bench.crash_ledger import connect
from bench.crash_nursery import ServerNursery
from bench.report import Report
from inhabit.cli.client import NOTE_NAME

__all__ = ["control"]

_LANES = 2
_CLIENTS = 3
_UNDER_LOAD_S, _STARTING_S = 1.5, 0.6
_SETTLE_ROUNDS = 400
_POLICY = '[[rule]]\nname = "people pay"\non = ["ledger.pay", "ledger.send"]\nthen = "ask"\nreason = "a person looks"\n'
_CONFIG = ('name = "control"\n[policy]\nfile = "policy.toml"\n[approvals]\nself = true\n[python.world]\nmodule = "bench.crash_ledger:capabilities"\n')
_PROGRAM = """
const { tag } = input as { tag: string };
const tried = await Promise.allSettled([ledger.pay({ tag }), ledger.send({ tag }), ledger.put({ tag })]);
await ledger.look({ tag });
return tried.map(one => one.status);
"""
_HONEST = {"completed", "failed", "rejected"}


@dataclass
class Controlled:
    kills: int = 0
    answers: int = 0
    doubts: int = 0
    states: Counter[str] = field(default_factory=Counter[str])
    lost: list[str] = field(default_factory=list[str])
    repeated: list[str] = field(default_factory=list[str])
    dishonest: list[str] = field(default_factory=list[str])

    def add(self, other: Controlled) -> None:
        self.kills += other.kills
        self.answers += other.answers
        self.doubts += other.doubts
        self.states += other.states
        self.lost += other.lost
        self.repeated += other.repeated
        self.dishonest += other.dishonest


class _Lane:
    def __init__(self, folder: Path, seed: str) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._chance = random.Random(seed)
        self._token = ""
        self._runs: dict[str, str] = {}
        self._answered: dict[str, str] = {}
        self._rollbacks: dict[str, str] = {}
        self.found = Controlled()
        (folder / "inhabit.toml").write_text(_CONFIG)
        (folder / "policy.toml").write_text(_POLICY)
        connect(str(folder / "ledger.db")).close()

    async def run(self, kills: int) -> Controlled:
        async with ServerNursery(self._folder) as nursery, httpx2.AsyncClient(timeout=60.0) as http:
            for _ in range(kills):
                await self._round(nursery, http)
                self.found.kills += 1
            await nursery.fork()
            url = await self._listening(nursery)
            await self._to_the_end(http, url)
            await self._compare(http, url)
            await nursery.kill()
        return self.found

    async def _round(self, nursery: ServerNursery, http: httpx2.AsyncClient) -> None:
        await nursery.fork()
        if self._token and self._chance.random() < 0.2:
            await asyncio.sleep(self._chance.uniform(0.0, _STARTING_S))
            await nursery.kill()
            return
        url = await self._listening(nursery)
        work = [asyncio.create_task(self._busy(http, url)) for _ in range(_CLIENTS)]
        await asyncio.sleep(self._chance.uniform(0.0, _UNDER_LOAD_S))
        await nursery.kill()
        for task in work:
            task.cancel()
        for ended in await asyncio.gather(*work, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended

    async def _listening(self, nursery: ServerNursery) -> str:
        """The operator answers here, with the credential of this start."""
        served = await nursery.listening()
        note = self._folder / ".inhabit" / NOTE_NAME
        for _ in range(1_000):   # it is written after the first line that is printed
            if note.exists() and (said := json.loads(note.read_text()))["url"] == served.url:
                self._token = said["token"]
                return served.url
            await asyncio.sleep(0.01)
        raise RuntimeError("the server leaves no note")

    async def _busy(self, http: httpx2.AsyncClient, url: str) -> None:
        """Begin runs, answer what waits, roll back what has ended, until the server is gone."""
        with contextlib.suppress(httpx2.HTTPError):
            while True:
                await self._begin(http, url)
                await self._answer(http, url, self._chance.choice((1, 3)))
                await self._roll_back(http, url)

    async def _begin(self, http: httpx2.AsyncClient, url: str) -> None:
        tag = f"{self._chance.getrandbits(64):016x}"
        answer = await http.post(f"{url}/v1/runs", json={"program": _PROGRAM, "input": {"tag": tag}, "wait_s": 0}, headers=self._headers)
        if answer.status_code in (200, 202):
            self._runs[answer.json()["run"]] = tag

    async def _answer(self, http: httpx2.AsyncClient, url: str, most: int) -> int:
        """Answer some of what waits; an answer counts once it was acknowledged."""
        listed = (await http.get(f"{url}/v1/approvals", params={"limit": 100}, headers=self._headers)).json()
        waiting = [approval for group in listed["groups"] for approval in group["approvals"]]
        self._chance.shuffle(waiting)
        for approval in waiting[:most]:
            body = self._word(approval)
            answer = await http.post(f"{url}/v1/approvals/{approval['id']}", json={**body, "digest": approval["digest"]}, headers=self._headers)
            if answer.status_code == 200:
                self._answered[approval["id"]] = body["verdict"]
                self.found.answers += 1
                self.found.doubts += approval["question"] == "did_it_happen"
            elif answer.status_code != 409:
                raise RuntimeError(f"an answer was refused with {answer.status_code}: {answer.text[:300]}")
        return len(waiting)

    def _word(self, approval: dict[str, Any]) -> dict[str, Any]:
        if approval["question"] == "may_it_happen":
            return {"verdict": self._chance.choice(("approve", "approve", "approve", "reject"))}
        meant = json.loads(approval["arguments"])
        tag = meant.get("arguments", meant)["tag"]   # a rollback asks about a call of another run
        operation = approval["operation"].rpartition(".")[2]
        return {"verdict": "happened", "value": tag} if self._effects()[operation, tag] else {"verdict": "not_done"}

    async def _roll_back(self, http: httpx2.AsyncClient, url: str) -> None:
        run_id = self._chance.choice(list(self._runs)) if self._runs else ""
        if not run_id or self._chance.random() < 0.5:
            return
        answer = await http.post(f"{url}/v1/runs/{run_id}/rollback", json={"wait_s": 0}, headers=self._headers)
        if answer.status_code in (200, 202):
            self._rollbacks[run_id] = answer.json()["run"]

    async def _to_the_end(self, http: httpx2.AsyncClient, url: str) -> None:
        for _ in range(_SETTLE_ROUNDS):
            waiting = await self._answer(http, url, 100)
            states = [(await self._state(http, url, run))["state"] for run in (*self._runs, *self._rollbacks.values())]
            if not waiting and all(state in ("completed", "failed", "rejected", "unknown", "gone") for state in states):
                return
            await asyncio.sleep(0.1)
        self.found.dishonest.append("not every run came to an end")

    async def _state(self, http: httpx2.AsyncClient, url: str, run_id: str) -> dict[str, Any]:
        answer = await http.get(f"{url}/v1/runs/{run_id}", headers=self._headers)
        return {"state": "gone"} if answer.status_code == 404 else answer.json()

    async def _compare(self, http: httpx2.AsyncClient, url: str) -> None:
        effects = self._effects()
        self.found.repeated += [f"{operation} {tag} {times} times" for (operation, tag), times in effects.items()
                                if times > 1 and operation != "put"]
        for approval, verdict in self._answered.items():
            now = await http.get(f"{url}/v1/approvals/{approval}", headers=self._headers)
            if now.status_code != 200 or now.json()["verdict"] != verdict:
                self.found.lost.append(f"{approval} was answered {verdict}, it is {now.text[:200]}")
        for run_id, tag in self._runs.items():
            self._judge(run_id, tag, await self._state(http, url, run_id), effects)
        for run_id, rollback in self._rollbacks.items():
            undone = await self._state(http, url, rollback)
            if undone["state"] != "completed":
                self.found.dishonest.append(f"rollback {rollback} is {undone['state']}: {undone.get('error')}")
                continue
            said = {call["operation"] for call in undone["result"]["undone"]}
            if effects["refund", self._runs[run_id]] != ("ledger.pay" in said):
                self.found.dishonest.append(f"rollback {rollback} says it undid {said}, refunds are {effects['refund', self._runs[run_id]]}")

    def _judge(self, run_id: str, tag: str, now: dict[str, Any], effects: Counter[tuple[str, str]]) -> None:
        self.found.states[now["state"]] += 1
        if now["state"] == "gone":
            self.found.lost.append(f"run {run_id} was answered and is gone")
        elif now["state"] not in _HONEST:
            self.found.dishonest.append(f"run {run_id} is {now['state']}: {now.get('error')}")
        elif now["state"] == "completed":
            told = [status == "fulfilled" for status in now["result"]]
            happened = [bool(effects[operation, tag]) for operation in ("pay", "send", "put")]
            if told != happened:
                self.found.dishonest.append(f"run {run_id} was told {told}, the ledger has {happened}")

    def _effects(self) -> Counter[tuple[str, str]]:
        connection = connect(str(self._folder / "ledger.db"))
        try:
            return Counter((operation, tag) for operation, tag in connection.execute("SELECT operation, tag FROM effects"))
        finally:
            connection.close()

    @property
    def _headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self._token}"}


async def _lanes(folder: Path, kills: int, seed: str) -> Controlled:
    found = Controlled()
    shares = [len(range(lane, kills, _LANES)) for lane in range(_LANES)]
    for lane in await asyncio.gather(*(_Lane(folder / f"control{n}", f"{seed} {n}").run(share) for n, share in enumerate(shares) if share)):
        found.add(lane)
    return found


def control(folder: Path, kills: int, seed: str, report: Report) -> int:
    """Returns how much was lost, repeated or dishonest."""
    found = asyncio.run(_lanes(folder, kills, seed))
    for line in (*found.lost, *found.repeated, *found.dishonest)[:30]:
        report.note(line)
    report.note(f"{sum(found.states.values())} runs, {found.doubts} doubts settled by the person; ends: {dict(found.states)}")
    report.figure("control.kills", found.kills, "SIGKILL")
    report.figure("control.answers", found.answers, "answers")
    report.figure("control.lost", len(found.lost), "answers and runs")
    report.figure("control.repeated", len(found.repeated), "writes")
    report.figure("control.dishonest", len(found.dishonest), "runs")
    return len(found.lost) + len(found.repeated) + len(found.dishonest)
