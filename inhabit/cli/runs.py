"""Look at runs: list, show, tail (follow a run as it goes), cancel, resume (a parked one)."""

from __future__ import annotations

import argparse
import json
from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Any, get_args

from inhabit.cli.client import Api, api
from inhabit.cli.following import follow
from inhabit.cli.loop import run_async
from inhabit.cli.options import add_app_options, add_principal_option
from inhabit.cli.terminal import complain, say, show_json, table
from inhabit.contracts.run import DOUBT, TERMINAL_STATES, RunKind, RunState


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|show|tail|cancel|resume")
    for name, help_text in (("list", "your runs, newest first"), ("show", "a run with its journal"),
                            ("tail", "a run's journal as it is written"), ("cancel", "stop a run"),
                            ("resume", "try again to go on with a parked run")):
        action = actions.add_parser(name, help=help_text)
        add_app_options(action)
        add_principal_option(action)
        action.add_argument("--json", action="store_true")
        if name == "list":
            action.add_argument("--state", choices=get_args(RunState))
            action.add_argument("--kind", choices=get_args(RunKind), help="recheck: reads again what a plan read, before it is applied")
            action.add_argument("--before", metavar="RUN", help="the page after this run")
            action.add_argument("-n", "--limit", type=int, default=20)
        else:
            action.add_argument("run_id", metavar="RUN")


def run(args: argparse.Namespace) -> int:
    actions = {"list": _list, "show": _show, "tail": _tail, "cancel": _change, "resume": _change}
    return run_async(_with_api(args, actions[args.action]))


async def _with_api(args: argparse.Namespace, action: Any) -> int:
    async with api(args) as client:
        await action(client, args)
    return 0


async def _list(client: Api, args: argparse.Namespace) -> None:
    answer = await client.get("/v1/runs", state=args.state, kind=args.kind, before=args.before, limit=args.limit)
    if args.json:
        show_json(answer)
        return
    table(("RUN", "KIND", "STATE", "STARTED", "TOOK", "CALLS", "LANGUAGE", "FROM"), [
        (r["run"], r["kind"], r["state"], _clock(r["created_ms"]), _took(r), r["calls"], r["language"], r["origin"]) for r in answer["runs"]])
    if answer["before"]:
        say("more: inhabit runs list" + "".join(f" --{name} {value}" for name in ("state", "kind") if (value := getattr(args, name)))
            + f" --before {answer['before']}")


async def _show(client: Api, args: argparse.Namespace) -> None:
    path = f"/v1/runs/{args.run_id}"
    state = await client.get(path)
    header = (await client.get(path + "/entries", limit=1))["header"]
    entries = [entry async for entry in _so_far(client, path)]
    if args.json:
        show_json({**state, "header": header, "entries": entries})
        return
    of = {"apply": f" of plan {header['plan']}", "rollback": f" of run {header['parent_run']}"}.get(header["kind"], "")
    say(f"{header['kind'].replace('program', 'run')} {header['run']}{of}: {state['state']}, for {header['principal']}, {header['language']} on {header['engine']}, "
        f"{_clock(header['clock_ms'])}, from {header['origin']}")
    say("\n" + header["source"].strip() + "\n")
    for entry in entries:
        say(_line(entry))


async def _tail(client: Api, args: argparse.Namespace) -> None:
    path = f"/v1/runs/{args.run_id}"
    state = (await client.get(path))["state"]
    alone = not client.serves and state not in TERMINAL_STATES
    async for entry in _so_far(client, path) if alone else follow(args, client, args.run_id):
        if args.json:
            show_json(entry, indent=False)
        else:
            say(_line(entry))
    if alone:
        complain(f"run {args.run_id} is {state} and nobody carries it on: `inhabit serve` takes it up")


async def _change(client: Api, args: argparse.Namespace) -> None:
    answer = await client.post(f"/v1/runs/{args.run_id}/{args.action}")
    show_json(answer) if args.json else say(f"run {answer['run']}: {answer['state']}")
    if answer["state"] == "parked" and not args.json:
        say(f"  {answer['error']['message']}")


async def _so_far(client: Api, path: str) -> AsyncGenerator[dict[str, Any]]:
    """What the journal of a run has now."""
    after: int | None = 0
    while after is not None:
        page = await client.get(path + "/entries", after=after, limit=1000)
        for entry in page["entries"]:
            yield entry
        after = page["after"]


def _line(entry: dict[str, Any]) -> str:
    """One entry as one line."""
    match entry["type"]:
        case "intent":
            text = f"call {entry['sequence']}: {entry['operation']}({_short(entry['arguments'])}) {entry['decision'].get('verdict', '')}"
        case "outcome":
            text = f"{'result' if entry['ok'] else 'error'} {entry['sequence']}: {_short(entry['value'])} in {entry['duration_ms']:.1f} ms"
        case "delivered":
            text = f"delivered {entry['kind']} {entry['id']}"
        case "logged":
            text = f"{entry['level']}: {entry['text']}"
        case "asked":
            waits = "waits for a person's word (inhabit settle)" if DOUBT in entry["approval"] else "waits for approval"
            text = f"asked {entry['sequence']}: {entry['operation']} {waits}: {entry['reason']}; {entry['approval']}"
        case "decided":
            text = f"{entry['verdict']} {entry['sequence']} by {entry['by'] or 'nobody'} ({entry['credential']}) {entry['reason']}"
        case "terminal":
            text = f"{entry['state']}: {_short(entry['value'])}"
        case "suspended" if entry.get("parked"):
            stuck = entry["parked"]
            written = ", ".join(f"{call['sequence']} {call['operation']}" for call in stuck.get("details", {}).get("written_calls", ()))
            sides = {side: stuck["details"][side] for side in ("recorded", "now") if side in stuck.get("details", {})}
            text = f"parked: {stuck['message']}" + (f"; written before: {written}" if written else "") + "".join(
                f"\n       {side}: {_short(what)}" for side, what in sides.items())
        case other:
            text = f"{other} {entry.get('reason', '')}"
    return f"{entry['number']:>5}  {text}"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 160 else f"{text[:160]}… ({len(text)} characters)"


def _clock(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _took(run: dict[str, Any]) -> str:
    return f"{(run['ended_ms'] - run['created_ms']) / 1000:.2f} s" if run["ended_ms"] else ""
