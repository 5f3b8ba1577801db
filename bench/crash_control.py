"""The control plane, killed: suspend, approve, reject, settle, plan, apply, roll back, while the server dies.

    control.kills                      SIGKILLs at random moments, most of them while clients and people are at work
    control.steps                      SIGKILLs at steps of the journal, each step of the two scenes below once
    control.answers, .plans, .applied  answers and plans that were acknowledged; plans whose writes were done
    control.doubts                     calls of which nobody knew whether they took effect, settled by a person
    control.lost                       acknowledged and not so afterwards: answers, runs, plans, appliers of plans, drops
    control.repeated                   writes that must not be repeated and were; plans applied twice, runs rolled back twice
    control.dishonest                  runs whose end the outside ledger contradicts, or that have none in the end

A lane is a home whose policy asks for two of five writes. `put` may be repeated, no other: `pay` can say itself whether it took
effect and has a revert, `make` can for every second thing, and its id is used by `mark`; the doubts of the rest are a
person's to settle. After the last kill everything is answered and applied, each run must have an end, and each end is held
against the ledger (`crash_told`).

The scenes: `applied`, a plan that is applied at once, asked for again, and rolled back; `asked`, a plan about which a person is
asked, and a run that is asked about call by call. Each is played once to learn its steps, and then, for each record of it, once
until it is about to be handed to the journal, is about to be committed, is committed; the start after that settles everything.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import shutil
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path

import httpx2

from bench.crash_clients import CONFIG, POLICY, Clients
from bench.crash_nursery import ALL_STEPS, ServerNursery, Step
from bench.crash_told import Findings, judge
from bench.report import Report
from inhabit.cli.client import NOTE_NAME

__all__ = ["control"]

_LANES = 6
_CLIENTS = 3
_UNDER_LOAD_S, _STARTING_S = 2.0, 0.6
_MOODS = ("approve", "approve", "approve", "reject")
_Scene = Callable[[Clients], Awaitable[None]]


class _Home:
    """One server at a time over one home, and the clients of it. Whatever they do, `busy` cuts it off when the server dies."""

    def __init__(self, folder: Path, nursery: ServerNursery, clients: Clients) -> None:
        self._note = folder / ".inhabit" / NOTE_NAME
        self.nursery = nursery
        self.clients = clients

    async def start(self, *, kill_at: Step | None = None) -> None:
        await self.nursery.fork(kill_at=kill_at)
        await self.listening()

    async def listening(self) -> None:
        """The operator answers here, with the credential of this start."""
        served = await self.nursery.listening()
        for _ in range(1_000):   # it is written after the first line that is printed
            if self._note.exists() and (said := json.loads(self._note.read_text()))["url"] == served.url:
                return self.clients.serve(served.url, said["token"])
            await asyncio.sleep(0.01)
        raise RuntimeError("the server leaves no note")

    @property
    def begun(self) -> bool:
        """Whether a server of it has listened."""
        return self._note.exists()

    async def settled(self) -> Findings:
        """One more start, at which everything comes to its end, every plan is applied once more, and all is judged."""
        await self.start()
        await self.clients.settle()
        await self.clients.apply_again()
        found = judge(self.clients.told, await self.clients.seen())
        await self.nursery.kill()
        return found


@contextlib.asynccontextmanager
async def _home(folder: Path, chance: random.Random, moods: tuple[str, ...]) -> AsyncGenerator[_Home]:
    await asyncio.to_thread(_prepare, folder)
    async with ServerNursery(folder) as nursery, httpx2.AsyncClient(timeout=300.0) as http:
        yield _Home(folder, nursery, Clients(folder / "ledger.db", http, chance, moods))


def _prepare(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "inhabit.toml").write_text(CONFIG)
    (folder / "policy.toml").write_text(POLICY)


# -- at random moments ------------------------------------------------------------------------------------


async def _lane(folder: Path, kills: int, seed: str) -> Findings:
    chance = random.Random(seed)
    async with _home(folder, chance, _MOODS) as home:
        for _ in range(kills):
            await _killed_at_random(home, chance)
        found = await home.settled()
    found.kills = kills
    return found


async def _killed_at_random(home: _Home, chance: random.Random) -> None:
    await home.nursery.fork()
    if home.begun and chance.random() < 0.2:
        await asyncio.sleep(chance.uniform(0.0, _STARTING_S))
        await home.nursery.kill()
        return
    await home.listening()
    work = [asyncio.create_task(_busy(home.clients)) for _ in range(_CLIENTS)]
    await asyncio.sleep(chance.uniform(0.0, _UNDER_LOAD_S))
    await home.nursery.kill()
    for task in work:
        task.cancel()
    for ended in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(ended, Exception):
            raise ended


async def _busy(clients: Clients) -> None:
    with contextlib.suppress(httpx2.HTTPError):
        while True:
            await clients.some()


# -- at steps ---------------------------------------------------------------------------------------------


async def _applied(clients: Clients) -> None:
    plan = await clients.plan(asked=False, reads=False, wait_s=30.0)
    await clients.apply(plan, wait_s=30.0)
    await clients.apply(plan)
    await clients.settle()
    for run in clients.told.plans[plan].runs:
        await clients.roll_back(run)
    await clients.settle()


async def _asked(clients: Clients) -> None:
    await clients.apply(await clients.plan(asked=True, reads=True, wait_s=30.0), wait_s=30.0)
    await clients.settle()
    await clients.begin(wait_s=30.0)
    await clients.settle()


_SCENES: tuple[_Scene, ...] = (_applied, _asked)


async def _steps(folder: Path, every: int) -> tuple[Findings, list[str]]:
    """Kill at each step of the scenes, or at every n-th; also the steps' names."""
    said = [[(scene, step) for step in await _said(folder / "steps", scene)] for scene in _SCENES]
    due = [step for steps in said for step in steps][::every]
    parts = await asyncio.gather(*(_killed_at_each(folder / f"steps{lane}", due[lane::_LANES]) for lane in range(_LANES)))
    return Findings.joined(found for found, _ in parts), [step for _, steps in parts for step in steps]


async def _said(folder: Path, scene: _Scene) -> list[Step]:
    """The steps of a scene that nobody kills."""
    async with _home(folder, random.Random(scene.__name__), ()) as home:
        await home.start(kill_at=ALL_STEPS)
        await scene(home.clients)
        await home.nursery.kill()
        return home.nursery.steps


async def _killed_at_each(folder: Path, due: list[tuple[_Scene, Step]]) -> tuple[Findings, list[str]]:
    kills: list[str] = []
    wrong: list[Findings] = []
    async with _home(folder, random.Random(folder.name), ()) as home:
        for scene, step in due:
            if await _killed_at(home, step, scene):
                kills.append(f"{scene.__name__.strip('_')}: {' '.join(step)}")
            wrong.append(await home.settled())
    found = wrong[-1] if wrong else Findings()
    for part in wrong[:-1]:   # what was wrong once is said, also where a later start mends it
        found.also(part)
    found.kills = len(kills)
    return found, kills


async def _killed_at(home: _Home, step: Step, scene: _Scene) -> bool:
    """Whether the scene came to this step: the server killed itself there."""
    await home.start(kill_at=step)
    try:
        await scene(home.clients)
    except httpx2.HTTPError:
        await home.nursery.dead()
        return True
    await home.nursery.kill()
    return False


async def _random(folder: Path, kills: int, seed: str) -> Findings:
    shares = [len(range(lane, kills, _LANES)) for lane in range(_LANES)]
    return Findings.joined(await asyncio.gather(
        *(_lane(folder / f"control{n}", share, f"{seed} {n}") for n, share in enumerate(shares) if share)))


def control(folder: Path, kills: int, every_step: int, seed: str, report: Report) -> int:
    """Returns how much was lost, repeated or dishonest."""
    at_random = asyncio.run(_random(folder, kills, seed))
    _say("at random moments", at_random, report)
    report.figure("control.kills", at_random.kills, "SIGKILL")
    at_steps, steps = asyncio.run(_steps(folder, every_step))
    _say("at steps", at_steps, report)
    report.note("steps: " + "; ".join(steps))
    report.figure("control.steps", at_steps.kills, "SIGKILL")
    found = Findings.joined((at_random, at_steps))
    for name in ("answers", "plans", "applied", "doubts"):
        report.figure(f"control.{name}", getattr(found, name), name)
    report.figure("control.lost", len(found.lost), "answers, runs and plans")
    report.figure("control.repeated", len(found.repeated), "writes, plans and rollbacks")
    report.figure("control.dishonest", len(found.dishonest), "runs")
    return found.wrong


def _say(when: str, found: Findings, report: Report) -> None:
    for line in (*found.lost, *found.repeated, *found.dishonest)[:30]:
        report.note(line)
    report.note(f"{when}: {found.kills} kills, {found.plans} plans, {found.applied} applied, {found.doubts} doubts settled by the person; "
                f"{found.wrong} wrong; ends: " + ", ".join(f"{count} {state}" for state, count in found.states.most_common()))
