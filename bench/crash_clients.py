"""Clients and people of the control plane over HTTP, for a server that can be gone at any moment.

They begin runs, answer what waits, plan, apply (some plans twice at once, some again and again), drop plans, roll runs back.
What they were told stands in `told`; an answer that never came tells nothing. The person here looks into the outside ledger
and says what is so.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx2

from bench.crash_ledger import Thing, connect, note, things
from bench.crash_told import GONE, STRANGER, Plan, Seen, Told, Work

__all__ = ["CONFIG", "POLICY", "Clients"]

POLICY = '[[rule]]\nname = "people pay"\non = ["ledger.pay", "ledger.send"]\nthen = "ask"\nreason = "a person looks"\n'
CONFIG = ('name = "control"\n[policy]\nfile = "policy.toml"\n[approvals]\nself = true\n[python.world]\nmodule = "bench.crash_ledger:capabilities"\n')
_ENDED = ("completed", "failed", "rejected", "unknown", GONE)
_SETTLE_ROUNDS = 400
_DIRECT = """
const { tag } = input as { tag: string };
const tried = await Promise.allSettled([ledger.pay({ tag }), ledger.send({ tag }), ledger.put({ tag })]);
await ledger.look({ tag });
return tried.map(one => one.status);
"""
_DIRECT_WRITES = ("pay", "send", "put")
_PLANNED = """
const { tag, asked, reads } = input as { tag: string; asked: boolean; reads: boolean };
if (reads) await ledger.look({ tag });
const thing = await ledger.make({ tag });
const tried = await Promise.allSettled([
    ledger.mark({ id: thing.id, tag }), ledger.put({ tag }), ...(asked ? [ledger.pay({ tag }), ledger.send({ tag })] : [])]);
return ["fulfilled", ...tried.map(one => one.status)];
"""
_PLANNED_WRITES = ("make", "mark", "put")
_ASKED_WRITES = (*_PLANNED_WRITES, "pay", "send")
"""For the last two of them a rule asks, so a person is asked about the change set."""


class Clients:
    """Those of one home. `serve` names the server of the moment. `moods`: what a person says, each as often as it stands there, and
    then somebody else writes meanwhile, now and then; without any they say yes and nobody does.

    Every method may raise `httpx2.HTTPError`, when the server is gone.
    """

    def __init__(self, ledger: Path, http: httpx2.AsyncClient, chance: random.Random, moods: Sequence[str]) -> None:
        self.told = Told()
        self._ledger = ledger
        self._http = http
        self._chance = chance
        self._moods = moods
        self._url = self._token = ""
        self._posted: set[str] = set()
        self._over: set[str] = set()
        connect(str(ledger)).close()

    def serve(self, url: str, token: str) -> None:
        self._url, self._token = url, token

    # -- what clients do ----------------------------------------------------------------------------------

    async def begin(self, *, wait_s: float = 0.0) -> str:
        """A run whose writes are asked about one by one; "" when it was refused."""
        return await self._started({"program": _DIRECT}, Work(self._tag(), _DIRECT_WRITES), wait_s)

    async def plan(self, *, asked: bool, reads: bool, wait_s: float) -> str:
        """A plan. `asked`: a person will be asked about it. `reads`: it rests on what its own writes change, which keeps it
        from being done twice, whatever else does.
        """
        plan = Plan(self._tag(), _ASKED_WRITES if asked else _PLANNED_WRITES, reads=reads)
        return await self._started({"program": _PLANNED, "mode": "plan"}, plan, wait_s)

    async def apply(self, plan_id: str, *, wait_s: float = 0.0) -> bool:
        """Whether it was taken. One that is applied or dropped is asked for all the same: that is for the server to refuse."""
        plan = self.told.plans[plan_id]
        if not await self._shown(plan_id, plan):
            return False
        plan.tried = True
        answer = await self._ask("POST", f"/v1/runs/{plan_id}/apply", {"hash": plan.shown, "wait_s": wait_s})
        if answer.status_code in (200, 202):
            plan.runs.add(answer.json()["run"])
            return True
        self._refused(f"applying plan {plan_id}", answer, "already_applied", *(("plan_conflict",) if plan.disturbed else ()))
        if answer.status_code == 409 and plan.disturbed:
            self._over.add(plan_id)
        return False

    async def drop(self, plan_id: str) -> None:
        answer = await self._ask("DELETE", f"/v1/runs/{plan_id}/plan")
        if answer.status_code == 200:
            self.told.plans[plan_id].dropped = True
        else:
            self._refused(f"dropping plan {plan_id}", answer, "already_applied", "plan_incomplete")

    async def roll_back(self, run_id: str) -> None:
        answer = await self._ask("POST", f"/v1/runs/{run_id}/rollback", {"wait_s": 0})
        if answer.status_code in (200, 202):
            self.told.rollbacks.setdefault(run_id, set()).add(answer.json()["run"])
        else:
            self._refused(f"rolling back {run_id}", answer, "already_rolled_back", "invalid_input")

    async def answer(self, most: int) -> int:
        """Answer some of what waits; how much that is. An answer counts once it was acknowledged."""
        before = set(self.told.answered)
        listed = (await self._ask("GET", "/v1/approvals?limit=100")).json()
        waiting = [approval for group in listed["groups"] for approval in group["approvals"]]
        self.told.forgotten |= before & {approval["id"] for approval in waiting}
        self._chance.shuffle(waiting)
        for approval in waiting[:most]:
            await self._answer(approval)
        return len(waiting)

    async def some(self) -> None:
        """What a busy client does next."""
        works, plans = list(self.told.works), list(self.told.plans)
        match self._chance.choices(("begin", "answer", "plan", "use", "roll back"), (2, 3, 3, 5, 1))[0]:
            case "begin":
                await self.begin()
            case "answer":
                await self.answer(self._chance.choice((1, 3, 5)))
            case "plan":
                asked, reads = self._chance.choice((True, False)), self._chance.choice((True, False))
                await self.plan(asked=asked, reads=reads, wait_s=self._chance.choice((0.0, 30.0)))
            case "use" if plans:
                await self._use(self._chance.choice((plans[-1], self._chance.choice(plans))))
            case "roll back" if works:
                await self.roll_back(self._chance.choice(works))
            case _:
                pass

    async def _use(self, plan_id: str) -> None:
        """Apply it, or twice at once, or drop it; before that, somebody else may write what it has read."""
        plan, dice = self.told.plans[plan_id], self._chance.random()
        if dice < 0.1:
            await self.drop(plan_id)
        else:
            if dice < 0.2 and plan.reads and not plan.tried and await self._shown(plan_id, plan) and not plan.tried:
                self._disturb(plan)
            times = 2 if dice > 0.7 else 1
            await asyncio.gather(*(self.apply(plan_id, wait_s=self._chance.choice((0.0, 1.0))) for _ in range(times)))

    # -- how it ends --------------------------------------------------------------------------------------

    async def settle(self) -> None:
        """Answer everything, apply every plan, wait for every end."""
        for _ in range(_SETTLE_ROUNDS):
            waiting = await self.answer(100)
            for plan_id, plan in self.told.plans.items():
                if not (plan.used or plan.dropped or plan_id in self._over):
                    await self.apply(plan_id)
            states = [await self._state(run) for run in self._all_runs() if run not in self._over]
            self._over |= {run["run"] for run in states if run["state"] in _ENDED}
            if not waiting and all(run["state"] in _ENDED for run in states):
                return
            await asyncio.sleep(0.1)
        self.told.odd.append("not every run came to an end")

    async def apply_again(self) -> None:
        """Every plan, though all is over: each must be refused."""
        for plan_id, plan in self.told.plans.items():
            if plan.shown and await self.apply(plan_id):
                self.told.odd.append(f"plan {plan_id} was applied when everything was over")

    def _all_runs(self) -> list[str]:
        used = [plan.used for plan in self.told.plans.values() if plan.used]
        return list(dict.fromkeys((*self.told.works, *used, *self.told.plans, *(one for many in self.told.rollbacks.values() for one in many))))

    async def seen(self) -> Seen:
        """How everything stands."""
        seen = Seen(effects=self._effects())
        for plan_id in self.told.plans:
            changes = await self._ask("GET", f"/v1/runs/{plan_id}/plan")
            seen.plans[plan_id] = changes.json() if changes.status_code == 200 else {"state": GONE, "answer": changes.text[:300]}
        appliers = [used["run"] for changes in seen.plans.values() if (used := changes.get("used"))]
        for run_id in {*self._all_runs(), *appliers}:
            seen.runs[run_id] = await self._state(run_id)
        for approval in {*self.told.answered, *(f"{run_id}.0" for run_id in appliers)}:
            now = await self._ask("GET", f"/v1/approvals/{approval}")
            if now.status_code == 200:
                seen.verdicts[approval] = now.json()["verdict"]
        return seen

    # -- inside -------------------------------------------------------------------------------------------

    async def _started(self, asked: dict[str, Any], work: Work, wait_s: float) -> str:
        given: dict[str, Any] = {"tag": work.tag}
        if isinstance(work, Plan):
            given |= {"asked": work.writes == _ASKED_WRITES, "reads": work.reads}
        answer = await self._ask("POST", "/v1/runs", {**asked, "input": given, "wait_s": wait_s})
        if answer.status_code not in (200, 202):
            self._refused("starting a run", answer)
            return ""
        run_id: str = answer.json()["run"]
        if isinstance(work, Plan):
            self.told.plans[run_id] = work
        else:
            self.told.runs[run_id] = work
        return run_id

    async def _shown(self, plan_id: str, plan: Plan) -> bool:
        """Whether the plan is there to be applied; what it shows must stay as it was."""
        shown = await self._ask("GET", f"/v1/runs/{plan_id}/plan")
        if shown.status_code != 200:
            self._refused(f"showing plan {plan_id}", shown, "plan_incomplete")
            return False
        changes = shown.json()
        now, used = changes["hash"], changes["used"]["run"] if "used" in changes else ""
        if plan.shown not in ("", now) or plan.used not in ("", used):
            self.told.odd.append(f"plan {plan_id} was shown as {plan.shown} used by {plan.used!r}, then as {now} used by {used!r}")
        plan.shown, plan.used = now, used
        return True

    async def _answer(self, approval: dict[str, Any]) -> None:
        if approval["truncated"]:   # a change set too long for a list
            approval = (await self._ask("GET", f"/v1/approvals/{approval['id']}?whole=true")).json()
        body = self._word(approval)
        self._posted.add(approval["id"])
        answer = await self._ask("POST", f"/v1/approvals/{approval['id']}", {**body, "digest": approval["digest"]})
        if answer.status_code == 200:
            self.told.answered[approval["id"]] = body["verdict"], approval["operation"]
            self.told.doubts += approval["question"] == "did_it_happen"
        else:
            self._refused(f"answering {approval['id']}", answer, "already_decided")

    def _word(self, approval: dict[str, Any]) -> dict[str, Any]:
        if approval["question"] == "may_it_happen":
            if not self._moods:
                return {"verdict": "approve"}
            if approval["operation"] == "plan.apply" and approval["id"] not in self._posted and self._chance.random() < 0.1:
                for plan in self.told.plans.values():
                    if plan.reads and approval["run"] in plan.runs:
                        self._disturb(plan)
            return {"verdict": self._chance.choice(self._moods)}
        meant = json.loads(approval["arguments"])
        tag = meant.get("arguments", meant)["tag"]   # a rollback asks about a call of another run
        operation = approval["operation"].rpartition(".")[2]
        if not self._effects()[operation, tag]:
            return {"verdict": "not_done"}
        return {"verdict": "happened", "value": vars(self._thing(tag)) if operation == "make" else tag}

    def _disturb(self, plan: Plan) -> None:
        """Nobody has tried to apply it, or said yes: from now on it must not be applied."""
        plan.disturbed = True
        connection = connect(str(self._ledger))
        note(connection, STRANGER, plan.tag)
        connection.close()

    def _thing(self, tag: str) -> Thing:
        connection = connect(str(self._ledger))
        try:
            return things(connection, tag)[0]
        finally:
            connection.close()

    def _effects(self) -> Counter[tuple[str, str]]:
        connection = connect(str(self._ledger))
        try:
            return Counter((operation, tag) for operation, tag in connection.execute("SELECT operation, tag FROM effects"))
        finally:
            connection.close()

    async def _state(self, run_id: str) -> dict[str, Any]:
        answer = await self._ask("GET", f"/v1/runs/{run_id}")
        return {"run": run_id, "state": GONE} if answer.status_code == 404 else answer.json()

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> httpx2.Response:
        return await self._http.request(method, self._url + path, json=body, headers={"authorization": f"Bearer {self._token}"})

    def _refused(self, what: str, answer: httpx2.Response, *codes: str) -> None:
        """It is odd, unless it is for one of these reasons or since there is too much to do."""
        if answer.status_code not in (429, 503) and answer.json().get("code") not in codes:
            self.told.odd.append(f"{what} was refused with {answer.status_code}: {answer.text[:600]}")

    def _tag(self) -> str:
        return f"{self._chance.getrandbits(64):016x}"
